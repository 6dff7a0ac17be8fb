"""Which reported messages this vault saw proven, and when: around them context may be asked for.

What may live here: that memory and its journal, 32 bytes for each message: its conversation, its
number, and the time. What may not: what a report proves (``crypto_modes.verdicts``), what is read.

Readings on a report are found by no user, for of two users only the other can have reported. So
neither the basis nor the place must be anybody's choice: one report would let the same two people
open all that its two users ever said, for ever, and be found by nobody but an auditor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import GrantRefused
from crypto_modes.grants import RULES, Grant
from server.vault.journal import Journal

LIFE = RULES["user_report"].life
PLACES = 100_000  # about 22 MB; beyond it the oldest is forgotten, and its report is opened again
NAMED = 20  # messages in a refusal
_DAYS = LIFE // (24 * 3_600_000)
_SIZE = ID_SIZE + 8 + 8


class Revealed:
    """The messages; ``path`` is the journal, ``now`` the clock in milliseconds. ``open`` first."""

    def __init__(self, path: Path, now: Callable[[], int]) -> None:
        self._journal = Journal(path, _SIZE)
        self._now = now
        # When each was last proven, by conversation and number: the oldest first.
        self._known: dict[tuple[bytes, int], int] = {}

    def open(self) -> None:
        """Raises ``BadConfig``."""
        self._known = {}
        for line in self._journal.read():
            self._keep(*_parts(line))
        self._forget()
        self._journal.begin(_line(*place, time) for place, time in self._known.items())

    def check(self, grant: Grant) -> None:
        """Whether ``grant``, whose scope is within the limit, holds a message that was reported.
        Raises ``GrantRefused``."""
        scope = range(grant.first, grant.last + 1)
        if any(self._recent(self._known.get((grant.conversation, seq))) for seq in scope):
            return
        known = sorted(
            seq
            for (conversation, seq), time in self._known.items()
            if conversation == grant.conversation and self._recent(time)
        )
        if known:
            raise GrantRefused(
                "what lies around a report is asked for together with a message that was reported:"
                f" here {_named(known)}. Ask for a grant that holds one of them, or on another"
                " basis"
            )
        raise GrantRefused(
            f"this vault opened no report about this conversation in the last {_DAYS} days of"
            " which a message is verified or confirmed; what an older version opened does not"
            " count, for it kept no numbers. Open the report, or open it again (louver mod open),"
            " or ask on another basis"
        )

    async def add(self, places: Iterable[tuple[bytes, int]]) -> None:
        """Returns once these are remembered as proven now: conversations and numbers. Raises
        ``StoreUnavailable``."""
        time, proven = self._now(), sorted(set(places))
        if proven:
            await self._journal.add(b"".join(_line(*place, time) for place in proven))
        for conversation, seq in proven:
            self._keep(conversation, seq, time)
        self._forget()

    def close(self) -> None:
        self._journal.close()

    def _keep(self, conversation: bytes, seq: int, time: int) -> None:
        self._known.pop((conversation, seq), None)
        self._known[conversation, seq] = time

    def _recent(self, time: int | None) -> bool:
        # Of a time that is yet to come nobody knows how long ago it was: the clock was wrong.
        return time is not None and abs(self._now() - time) < LIFE

    def _forget(self) -> None:
        """What is too old, as far as it is in front, and what is too much."""
        over = len(self._known) - PLACES
        gone: list[tuple[bytes, int]] = []
        for place, time in self._known.items():
            if len(gone) >= over and self._recent(time):
                break
            gone.append(place)
        for place in gone:
            del self._known[place]


def _named(known: list[int]) -> str:
    named = ", ".join(f"#{seq}" for seq in known[:NAMED])
    return f"{named} and {len(known) - NAMED} more" if len(known) > NAMED else named


def _line(conversation: bytes, seq: int, time: int) -> bytes:
    return conversation + seq.to_bytes(8, "big") + time.to_bytes(8, "big")


def _parts(line: bytes) -> tuple[bytes, int, int]:
    numbers = line[ID_SIZE:]
    return line[:ID_SIZE], int.from_bytes(numbers[:8], "big"), int.from_bytes(numbers[8:], "big")
