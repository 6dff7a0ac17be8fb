"""How modes and their changes are put to people: who can read, in the mode's own words.

Only text lives here. ``words`` gives the sentence of a mode; it may come from the relay, so it
goes through ``plain``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from client.wording import plain
from crypto_modes import wire

Words = Callable[[str], str]


def shown(modes: wire.Modes, words: Words) -> list[str]:
    """One line for the mode of text, and one for each mode that other kinds of content are in."""
    first = modes["text"]
    said = [_sentence(first, words)]
    for mode, kinds in _grouped(modes).items():
        if mode != first:
            said.append(f"  but {', '.join(kinds)}: {_sentence(mode, words)}")
    return said


def changes(old: Mapping[wire.Kind, str], new: wire.Modes, words: Words) -> str:
    """What ``new`` changes: each new mode, with its kinds where they are not all."""
    changed = {kind: mode for kind, mode in new.items() if old.get(kind) != mode}
    whole = changed == new or not changed
    grouped = _grouped(changed or new)
    return "; ".join(
        f"{_sentence(mode, words)}{'' if whole and len(grouped) == 1 else _only(kinds)}"
        for mode, kinds in grouped.items()
    )


def until(milliseconds: int) -> str:
    """A moment as people say it, in their own time zone."""
    return time.strftime("%d %b %H:%M", time.localtime(milliseconds / 1000))


def _sentence(mode: str, words: Words) -> str:
    return f"mode {plain(mode)}: {plain(words(mode))}"


def _only(kinds: list[str]) -> str:
    return f" (for {', '.join(kinds)})"


def _grouped(modes: Mapping[wire.Kind, str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for kind, mode in modes.items():
        grouped.setdefault(mode, []).append(kind)
    return grouped
