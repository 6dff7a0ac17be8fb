"""Messages and conversations: appending a batch inside a transaction, reading pages back.

Only functions over a connection and the memory of heads live here; transactions, threads and
the translation of errors belong to ``writer`` and ``readers``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import apsw

from crypto_modes import at_rest
from crypto_modes.contract import NO_DIGEST, Stored
from crypto_modes.errors import BadArgument, Forbidden
from server.store import Append, Chained, Head
from server.store.sqlite.rows import COLUMNS, Bulk, Row, message_row, messages

HEADS = 65_536
CHAINED = 10_000  # messages that are looked at in one page

Settled = tuple[Append, Stored | Exception, bool]
"""What ``Append.settled`` will be told: the entry, the outcome, whether it is a duplicate."""

_FROM = f"SELECT {COLUMNS} FROM conversation c JOIN message m ON m.conversation = c.number"
_AFTER = f"{_FROM} WHERE c.id = ? AND m.seq > ? ORDER BY m.seq LIMIT ?"
_BEFORE = f"{_FROM} WHERE c.id = ? AND m.seq < ? ORDER BY m.seq DESC LIMIT ?"
_BY_SEQ = f"{_FROM} WHERE c.number = ? AND m.seq = ?"
# Without the hint SQLite prefers the other index and sorts every conversation it comes to.
_BEYOND = (
    f"SELECT {COLUMNS} FROM conversation c"
    " JOIN message m INDEXED BY message_order ON m.conversation = c.number"
    " WHERE c.id > ? ORDER BY c.id, m.seq LIMIT ?"
)
_LAST = "(SELECT max(seq) FROM message WHERE conversation = c.number)"
_MARK = "(SELECT seq FROM read_mark WHERE account = {} AND conversation = c.number)"
# With UNION, SQLite builds two trees to sort by, at ten times the cost of all the rest.
_HEADS = (
    f"SELECT c.id, c.second, {_LAST}, {_MARK.format('c.second')}"
    " FROM conversation c WHERE c.first = ?1"
    f" UNION ALL SELECT c.id, c.first, {_LAST}, {_MARK.format('c.first')}"
    " FROM conversation c WHERE c.second = ?1 AND c.first <> ?1"
)

# In a message's row these columns are before the record, which need not be read.
_CHAINED = (
    "SELECT c.id, n.seq, m.chain FROM (SELECT conversation, max(seq) AS seq"
    " FROM message NOT INDEXED WHERE rowid > ?1 AND rowid <= ?2 AND mode = ?3"
    " GROUP BY conversation) n"
    " JOIN conversation c ON c.number = n.conversation"
    " JOIN message m INDEXED BY message_order ON m.conversation = n.conversation AND m.seq = n.seq"
)

_INSERT = Bulk(
    "INSERT INTO message (conversation, seq, id, sender, device, kind, mode, epoch, time,"
    " record, commitment, stamp, chain) VALUES",
    13,
)
_TAILS = Bulk(
    "SELECT c.number, c.id, c.first, c.second, m.seq, m.chain FROM conversation c"
    " LEFT JOIN message m INDEXED BY message_order ON m.conversation = c.number"
    " AND m.seq = (SELECT max(seq) FROM message WHERE conversation = c.number)"
    " WHERE (c.id) IN (VALUES",
    1,
    ")",
)
_KNOWN = Bulk(
    "SELECT conversation, id, seq FROM message WHERE (conversation, id) IN (VALUES", 2, ")"
)


@dataclass(slots=True)
class _Tail:
    """Where a conversation ends; ``number`` is 0 until it has a row."""

    parties: tuple[bytes, bytes]
    number: int = 0
    seq: int = 0
    chain: bytes = NO_DIGEST


class Appender:
    """Appends batches and remembers where conversations end.

    What a batch changes is kept aside until ``committed``: a batch that fails leaves no trace.
    Remembering is safe because this process alone may append (``files.hold``).
    """

    def __init__(self, capacity: int = HEADS) -> None:
        self._capacity = capacity
        self._tails: OrderedDict[bytes, _Tail] = OrderedDict()
        self._changed: dict[bytes, _Tail] = {}

    def append(self, db: apsw.Connection, entries: Sequence[Append]) -> list[Settled]:
        """Store ``entries`` in the open transaction; say in their order what became of each."""
        tails = self._changed = self._load(db, entries)
        known = _known(db, entries, tails)
        rows: list[Row] = []
        settled = [_place(db, entry, tails[entry.conversation], known, rows) for entry in entries]
        _INSERT.write(db, rows)
        return settled

    def committed(self) -> None:
        for conversation, tail in self._changed.items():
            self._tails[conversation] = tail
            self._tails.move_to_end(conversation)
        while len(self._tails) > self._capacity:
            self._tails.popitem(last=False)
        self._changed = {}

    def rolled_back(self) -> None:
        self._changed = {}

    def _load(self, db: apsw.Connection, entries: Sequence[Append]) -> dict[bytes, _Tail]:
        """A copy of the tail of every conversation in ``entries``, to be changed freely."""
        tails = {entry.conversation: _Tail(entry.parties) for entry in entries}
        unknown = []
        for conversation in tails:
            if cached := self._tails.get(conversation):
                tails[conversation] = replace(cached)
            else:
                unknown.append((conversation,))
        for number, conversation, first, second, seq, chain in _TAILS.run(db, unknown):
            tails[conversation] = _Tail((first, second), number, seq or 0, chain or NO_DIGEST)
        return tails


def _known(
    db: apsw.Connection, entries: Sequence[Append], tails: dict[bytes, _Tail]
) -> dict[tuple[bytes, bytes], Stored]:
    """The messages among ``entries`` that are stored already, by (conversation, id).

    Looked up first, for a conflict found while inserting would come after the seq was given.
    """
    keys = [(tails[entry.conversation].number, entry.id) for entry in entries]
    # Two steps: what is rare (the message) stays out of what is done for every entry.
    found = list(_KNOWN.run(db, [key for key in keys if key[0]]))
    known = {}
    for number, _, seq in found:
        for stored in messages(db, _BY_SEQ, (number, seq)):
            known[stored.meta.conversation, stored.meta.id] = stored
    return known


def _place(
    db: apsw.Connection,
    entry: Append,
    tail: _Tail,
    known: dict[tuple[bytes, bytes], Stored],
    rows: list[Row],
) -> Settled:
    key = (entry.conversation, entry.id)
    if earlier := known.get(key):
        if earlier.meta.device != entry.device:
            return entry, Forbidden("another device has used this message id"), False
        return entry, earlier, True
    try:
        stored, row = _admit(entry, tail)
    except Exception as error:  # noqa: BLE001 - whatever admission raises is this entry's outcome
        return entry, error, False
    if not tail.number:
        tail.number = create(db, entry.conversation, tail.parties)
        row = (tail.number, *row[1:])
    rows.append(row)
    known[key] = stored
    tail.seq, tail.chain = stored.meta.seq, stored.chain
    return entry, stored, False


def _admit(entry: Append, tail: _Tail) -> tuple[Stored, Row]:
    if entry.parties != tail.parties:
        raise BadArgument("the parties are not those of the stored conversation")
    stored = entry.admit(tail.seq + 1, tail.chain)
    meta = stored.meta
    given = (meta.conversation, meta.seq, meta.id, meta.device)
    if given != (entry.conversation, tail.seq + 1, entry.id, entry.device):
        raise BadArgument("admission changed what identifies the message")
    return stored, message_row(tail.number, tail.parties, stored)


def create(db: apsw.Connection, conversation: bytes, parties: tuple[bytes, bytes]) -> int:
    """The number of a conversation, new or not."""
    db.execute(
        "INSERT INTO conversation (id, first, second) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (conversation, *parties),
    )
    return int(db.execute("SELECT number FROM conversation WHERE id = ?", (conversation,)).get)


def after(db: apsw.Connection, conversation: bytes, seq: int, limit: int) -> list[Stored]:
    """Up to ``limit`` messages with a higher seq, ascending."""
    return messages(db, _AFTER, (conversation, seq, limit))


def before(db: apsw.Connection, conversation: bytes, seq: int, limit: int) -> list[Stored]:
    """The newest ``limit`` messages with a lower seq (0: from the end), ascending."""
    newest_first = messages(db, _BEFORE, (conversation, seq or 1 << 62, limit))
    return newest_first[::-1]


def scan(db: apsw.Connection, conversation: bytes, seq: int, limit: int) -> list[Stored]:
    """Up to ``limit`` messages after a place, in order of (conversation, seq)."""
    page = after(db, conversation, seq, limit)
    if len(page) < limit:
        page += messages(db, _BEYOND, (conversation, limit - len(page)))
    return page


def chained(db: apsw.Connection, place: int) -> Chained:
    """See ``Store.chained``; a place is a rowid, and rows are never deleted by the relay."""
    newest = int(db.execute("SELECT ifnull(max(rowid), 0) FROM message").get)
    # After a restored backup the messages end before the place.
    place = min(place, newest)
    end = min(place + CHAINED, newest)
    rows = db.execute(_CHAINED, (place, end, at_rest.NAME))
    return Chained(end, [(id_, seq, chain) for id_, seq, chain in rows], end == newest)


def parties(db: apsw.Connection, conversation: bytes) -> tuple[bytes, bytes] | None:
    """The two accounts, ascending, also of a conversation that only has a policy so far."""
    row = db.execute("SELECT first, second FROM conversation WHERE id = ?", (conversation,))
    for first, second in row:
        return first, second
    return None


def heads(db: apsw.Connection, account: bytes) -> list[Head]:
    """The conversations of ``account`` that have messages."""
    rows = db.execute(_HEADS, (account,))
    return [Head(id_, peer, seq, read or 0) for id_, peer, seq, read in rows if seq]


def ends(db: apsw.Connection, conversations: Iterable[bytes]) -> dict[bytes, int]:
    """The last seq of those ``conversations`` that have messages."""
    rows = _TAILS.run(db, [(conversation,) for conversation in conversations])
    return {conversation: seq for _, conversation, _, _, seq, _ in rows if seq}
