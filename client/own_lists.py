"""A user's own lists of words and links: a warning on his device, which tells nobody.

What may live here: reading the lists, and what they find in a message, in words. What may not:
sending any of it anywhere; there is no such code, in no mode. moderation.md, Proactive scanning.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crypto_modes import scanning
from crypto_modes.errors import BadArgument, BadConfig
from crypto_modes.scanning import Links, TextScanner, Words

LIST_LIMIT = 2**20


class OwnLists:
    """Lists from files, one entry a line. Raises ``BadArgument`` for a file that is none."""

    def __init__(self, words: Iterable[Path] = (), links: Iterable[Path] = ()) -> None:
        self._scanners: list[TextScanner] = [_list(Words, file) for file in words]
        self._scanners += [_list(Links, file) for file in links]

    def find(self, content: bytes) -> str:
        """What the lists have of a message, such as ``'x' (on words.txt)``; empty for nothing."""
        if not self._scanners:
            return ""
        text = scanning.comparable(scanning.words_of(content))
        hits = [hit for scanner in self._scanners for hit in scanner.scan(text)]
        return ", ".join(f"{hit.entry!r} (on {hit.list})" for hit in hits)


def _list(kind: type[Words] | type[Links], file: Path) -> TextScanner:
    try:
        with file.open("rb") as opened:
            raw = opened.read(LIST_LIMIT + 1)
    except OSError as error:
        raise BadArgument(f"cannot read the list {file}: {error.strerror}") from None
    if len(raw) > LIST_LIMIT:
        raise BadArgument(f"the list {file} has more than {LIST_LIMIT // 2**20} MiB")
    try:
        return kind(file.name, "flag", scanning.parse_list(file.name, raw))
    except BadConfig as error:
        raise BadArgument(str(error)) from None
