"""The key log: entries and the nodes of their tree as rows.

Only functions over a connection live here, and the ``Nodes`` that ``tree`` asks for. What an entry
is made of is said in ``crypto_modes/transparency``.
"""

from __future__ import annotations

import apsw
import msgspec

from crypto_modes import wire
from crypto_modes.errors import BadArgument
from crypto_modes.transparency import key_log, tree
from server.store import LogProofs, LogRow
from server.store.sqlite.rows import Row

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(wire.DeviceList).decode


class Nodes:
    """The tree's nodes in their tables. Leaves are the rows of the log itself."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def get(self, level: int, index: int) -> bytes:
        if level == 0:
            sql = "SELECT leaf FROM key_log WHERE number = ?"
            return bytes(self._db.execute(sql, (index,)).get)
        sql = "SELECT hash FROM key_log_node WHERE level = ? AND number = ?"
        return bytes(self._db.execute(sql, (level, index)).get)

    def put(self, level: int, index: int, value: bytes) -> None:
        if level:  # a leaf came with its row
            sql = "INSERT INTO key_log_node (level, number, hash) VALUES (?, ?, ?)"
            self._db.execute(sql, (level, index, value))


def size(db: apsw.Connection) -> int:
    """How many entries there are."""
    return int(db.execute("SELECT ifnull(max(number) + 1, 0) FROM key_log").get)


def append(db: apsw.Connection, account: bytes, key: bytes, listed: wire.DeviceList) -> None:
    """Enter an account's key and list; in the transaction that stores them."""
    number = size(db)
    tag, entry = key_log.tag(account), key_log.entry(account, key, listed)
    leaf = key_log.hash_of(tag, entry)
    db.execute(
        "INSERT INTO key_log (number, account, key, list, tag, entry, leaf)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, account, key, _ENCODE(listed), tag, entry, leaf),
    )
    tree.append(Nodes(db), number, leaf)


def adopt(db: apsw.Connection) -> int:
    """Enter the lists of a database that is older than its log, oldest account first; how many.

    Every list since was entered with its storing, so an empty log beside lists is such a one.
    """
    if size(db):
        return 0
    sql = "SELECT id, key, list FROM account WHERE list IS NOT NULL ORDER BY created, id"
    found: list[Row] = db.execute(sql).fetchall()
    for account, key, raw in found:
        append(db, account, key, _DECODE(raw))
    return len(found)


def proofs(db: apsw.Connection, wanted: int, since: int, leaf: bytes) -> LogProofs:
    """See ``Store.log_proofs``."""
    nodes, newest = Nodes(db), size(db)
    at = wanted or newest
    if at > newest or since > at:
        raise BadArgument(f"the key log has {newest} entries; ask for no more, and ascending")
    sql = "SELECT number FROM key_log WHERE leaf = ? AND number < ?"
    index = db.execute(sql, (leaf, at)).get if leaf else None
    return LogProofs(
        newest=(newest, tree.root(nodes, newest)),
        size=at,
        index=index,
        inclusion=() if index is None else tree.inclusion(nodes, index, at),
        consistency=tree.consistency(nodes, since, at),
    )


def rows(db: apsw.Connection, start: int, limit: int) -> list[LogRow]:
    """See ``Store.log_rows``."""
    sql = (
        "SELECT number, tag, entry, account, key, list FROM key_log"
        " WHERE number >= ? ORDER BY number LIMIT ?"
    )
    return [
        LogRow(number, wire.LogEntry(tag, entry), account, key, _DECODE(raw))
        for number, tag, entry, account, key, raw in db.execute(sql, (start, limit))
    ]
