"""Cursors and read marks: how far a device has stored, how far a person has read.

They move with every message, so they are gathered in memory and written at most once a second.
Losing one second of them in a crash delivers some messages again, which clients expect. Only
the memory and the two statements live here; when to write is the writer's decision.
"""

from __future__ import annotations

from threading import Lock

import apsw

from server.store.sqlite.messages import ends
from server.store.sqlite.rows import Bulk

_SEQ = "min(v.column3, coalesce((SELECT max(seq) FROM message WHERE conversation = c.number), 0))"
_KEEP = "DO UPDATE SET seq = max(seq, excluded.seq)"

CURSORS = Bulk(
    f"INSERT INTO cursor (device, conversation, seq) SELECT v.column1, c.number, {_SEQ}"
    " FROM (VALUES",
    3,
    ") v JOIN conversation c ON c.id = v.column2 JOIN device d ON d.id = v.column1"
    f" WHERE d.account IN (c.first, c.second) ON CONFLICT (device, conversation) {_KEEP}",
)
READS = Bulk(
    f"INSERT INTO read_mark (account, conversation, seq) SELECT v.column1, c.number, {_SEQ}"
    " FROM (VALUES",
    3,
    ") v JOIN conversation c ON c.id = v.column2"
    f" WHERE v.column1 IN (c.first, c.second) ON CONFLICT (account, conversation) {_KEEP}",
)

_Owners = dict[bytes, dict[bytes, int]]


class Marks:
    """The newest mark of each (owner, conversation) that the disk does not have yet.

    Set on the event loop, taken on the writer's thread; the lock is held for a few dictionary
    operations at most. A mark stays visible through ``of`` until it is committed.
    """

    def __init__(self, statement: Bulk) -> None:
        self._statement = statement
        self._lock = Lock()
        self._waiting: _Owners = {}
        self._writing: _Owners = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def set(self, owner: bytes, conversation: bytes, seq: int) -> None:
        with self._lock:
            _raise_to(self._waiting, owner, conversation, seq)

    def forget(self, owner: bytes) -> None:
        with self._lock:
            self._waiting.pop(owner, None)
            self._writing.pop(owner, None)

    def of(self, owner: bytes) -> dict[bytes, int]:
        """Marks of ``owner`` that may be ahead of the disk."""
        with self._lock:
            found = dict(self._writing.get(owner, ()))
            for conversation, seq in self._waiting.get(owner, {}).items():
                found[conversation] = max(seq, found.get(conversation, 0))
            return found

    def write(self, db: apsw.Connection) -> None:
        """Write what waits in the open transaction; ``committed`` or ``rolled_back`` follows."""
        with self._lock:
            self._writing, self._waiting = self._waiting, {}
            rows = [
                (owner, conversation, seq)
                for owner, seqs in self._writing.items()
                for conversation, seq in seqs.items()
            ]
        self._statement.write(db, rows)

    def committed(self) -> None:
        with self._lock:
            self._writing = {}

    def rolled_back(self) -> None:
        with self._lock:
            for owner, seqs in self._writing.items():
                for conversation, seq in seqs.items():
                    _raise_to(self._waiting, owner, conversation, seq)
            self._writing = {}


def _raise_to(marks: _Owners, owner: bytes, conversation: bytes, seq: int) -> None:
    seqs = marks.setdefault(owner, {})
    if seqs.get(conversation, 0) < seq:
        seqs[conversation] = seq


def cursors(db: apsw.Connection, device: bytes, ahead: dict[bytes, int]) -> dict[bytes, int]:
    """A device's cursors on the disk, moved on to where ``ahead`` says, never past a head."""
    rows = db.execute(
        "SELECT c.id, k.seq FROM cursor k JOIN conversation c ON c.number = k.conversation"
        " WHERE k.device = ?",
        (device,),
    )
    found = {bytes(conversation): int(seq) for conversation, seq in rows}
    for conversation, end in ends(db, ahead).items():
        found[conversation] = max(found.get(conversation, 0), min(ahead[conversation], end))
    return found
