"""Of which conversations this vault opened a report: those whose context may be asked for.

What may live here: that memory and its journal, 16 bytes for each conversation. What may not: what
a report proves (``crypto_modes.verdicts``), what is read.

Readings on a report are found by no user, for of two users only the other can have reported. So the
basis must not be anybody's choice: without a report the same two people would open what they like
and be found by nobody but an auditor.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crypto_modes.contract import ID_SIZE
from server.vault.journal import Journal


class Revealed:
    """The conversations; ``path`` is the journal. ``open`` first."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, ID_SIZE)
        self._known: set[bytes] = set()

    def open(self) -> None:
        """Raises ``BadConfig``."""
        self._known = set(self._journal.read())
        self._journal.begin(sorted(self._known))

    def __contains__(self, conversation: object) -> bool:
        return conversation in self._known

    async def add(self, conversations: Iterable[bytes]) -> None:
        """Returns once they are remembered. Raises ``StoreUnavailable``."""
        for each in sorted(set(conversations) - self._known):
            await self._journal.add(each)
            self._known.add(each)

    def close(self) -> None:
        self._journal.close()
