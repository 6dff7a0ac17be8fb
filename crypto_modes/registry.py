"""The registry: which modes this program knows, by name.

What may live here: the built-in modes and what every mode must declare to be registered. What
may not: looking for installed packages. The composition roots do that, through the entry-point
group ``GROUP``, and hand in what they found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from crypto_modes import at_rest, e2ee, tls
from crypto_modes.contract import ADVERSARIES, Mode
from crypto_modes.errors import BadConfig

GROUP = "louver.modes"
BUILTIN: tuple[Mode, ...] = (tls.MODE, at_rest.MODE, e2ee.MODE)

_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}")


def registry(modes: Iterable[Mode]) -> dict[str, Mode]:
    """The modes by name, weakest first.

    Raises:
        BadConfig: a mode has no legal name, words or visibility, or shares its name or its
            strength with another: then nobody could say which of the two is the floor.
    """
    known: dict[str, Mode] = {}
    for mode in sorted(modes, key=lambda mode: mode.strength):
        _check(mode)
        if mode.name in known:
            raise BadConfig(f"two modes are named {mode.name!r}; uninstall one of the packages")
        for other in known.values():
            if other.strength == mode.strength:
                raise BadConfig(
                    f"modes {other.name!r} and {mode.name!r} both have strength {mode.strength};"
                    " one of them must be stronger"
                )
        known[mode.name] = mode
    return known


def strengths(modes: Mapping[str, Mode]) -> dict[str, int]:
    """How strong each mode is; what ``policy`` and ``pins`` compare by."""
    return {name: mode.strength for name, mode in modes.items()}


def _check(mode: Mode) -> None:
    if not _WORD.fullmatch(mode.name):
        raise BadConfig(f"a mode's name is a lower-case word of at most 32, not {mode.name!r}")
    if not mode.words:
        raise BadConfig(f"mode {mode.name!r} must say in words who can read")
    if mode.visibility.keys() != set(ADVERSARIES):
        wrong = ", ".join(sorted(mode.visibility.keys() ^ set(ADVERSARIES)))
        raise BadConfig(f"mode {mode.name!r} must declare each adversary once; check: {wrong}")
