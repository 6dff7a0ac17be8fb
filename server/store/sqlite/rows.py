"""Rows in bulk: statements whose number of rows is a power of two, and messages as rows.

Every step of a statement hands the interpreter's lock to the event loop and takes it back,
which costs up to 5 ms each time the loop is busy. A hundred rows in three statements hand it
over three times; a hundred statements would do so a hundred times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import apsw

from crypto_modes import wire
from crypto_modes.contract import Meta, Stored
from crypto_modes.errors import BadArgument

LARGEST = 64
_SIZES = [1 << power for power in range(LARGEST.bit_length() - 1, -1, -1)]

Row = tuple[Any, ...]
"""One row as apsw gives or takes it; its types are those of the schema, which is STRICT."""


class Bulk:
    """A statement for many rows: ``head (?,…),(?,…) tail``, cached by apsw for each size."""

    def __init__(self, head: str, width: int, tail: str = "") -> None:
        row = "(" + ",".join("?" * width) + ")"
        self._sql = {size: f"{head} {','.join([row] * size)} {tail}" for size in _SIZES}

    def run(self, db: apsw.Connection, rows: Sequence[Row]) -> Iterator[Row]:
        """Yield what the statements return; nothing runs until the iterator is drained."""
        position = 0
        for size in _SIZES:
            while len(rows) - position >= size:
                values = [value for row in rows[position : position + size] for value in row]
                yield from db.execute(self._sql[size], values)
                position += size

    def write(self, db: apsw.Connection, rows: Sequence[Row]) -> None:
        for _ in self.run(db, rows):
            pass


COLUMNS = (
    "m.seq, m.id, m.sender, m.device, m.kind, m.mode, m.epoch, m.time,"
    " m.record, m.commitment, m.stamp, m.chain, c.id, c.first, c.second"
)


def message_row(number: int, parties: tuple[bytes, bytes], stored: Stored) -> Row:
    """``stored`` as a row of ``message``. Raises ``BadArgument`` where it is not between the
    ``parties``: only which of the two sent it is kept."""
    meta = stored.meta
    sender = int(meta.sender != parties[0])
    if (meta.sender, meta.recipient) != (parties[sender], parties[1 - sender]):
        raise BadArgument("a message must go from one party of its conversation to the other")
    return (
        number,
        meta.seq,
        meta.id,
        sender,
        meta.device,
        meta.kind,
        meta.mode,
        meta.epoch,
        meta.time,
        stored.record,
        stored.commitment,
        stored.stamp,
        stored.chain,
    )


def stored(row: Row) -> Stored:
    """The message of a row of ``COLUMNS``."""
    seq, id_, sender, device, kind, mode, epoch, time = row[:8]
    record, commitment, stamp, chain, conversation, first, second = row[8:]
    source, target = (second, first) if sender else (first, second)
    kind = cast("wire.Kind", kind)
    meta = Meta(conversation, seq, id_, source, device, target, kind, mode, epoch, time)
    return Stored(meta, record, commitment, stamp, chain)


def messages(db: apsw.Connection, sql: str, values: Row) -> list[Stored]:
    """The messages of a query over ``COLUMNS``."""
    return [stored(row) for row in db.execute(sql, values)]


def one(db: apsw.Connection, sql: str, values: Row, make: Callable[[Row], Any]) -> Any:
    """The single row of a query as ``make`` shapes it, or None."""
    for row in db.execute(sql, values):
        return make(row)
    return None
