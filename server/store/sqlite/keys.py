"""The wrapped data keys of ``at_rest``, in ``keys.db``.

Only functions over a connection live here; no key is ever unwrapped here.
"""

from __future__ import annotations

import apsw

from crypto_modes.errors import Forbidden
from server.store import WrappedKey
from server.store.sqlite.rows import Row, one

_COLUMNS = "id, conversation, sender, epoch, created, serving, moderation"
_SELECT = f"SELECT {_COLUMNS} FROM data_key"


def put(db: apsw.Connection, key: WrappedKey) -> None:
    """Storing the same key again is nothing; another under its id is ``Forbidden``."""
    if stored := by_id(db, key.dek_id):
        if stored != key:
            raise Forbidden("another data key has this id")
        return
    db.execute(
        f"INSERT INTO data_key ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            key.dek_id,
            key.conversation,
            key.sender,
            key.epoch,
            key.created,
            key.serving,
            key.moderation,
        ),
    )


def exist(db: apsw.Connection) -> bool:
    """Whether any key is stored."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM data_key)").get)


def by_id(db: apsw.Connection, dek_id: bytes) -> WrappedKey | None:
    """The data key with this id."""
    found: WrappedKey | None = one(db, f"{_SELECT} WHERE id = ?", (dek_id,), _key)
    return found


def newest(db: apsw.Connection, conversation: bytes, sender: bytes) -> WrappedKey | None:
    """The data key of the highest epoch, and of these the youngest."""
    sql = (
        f"{_SELECT} WHERE conversation = ? AND sender = ? ORDER BY epoch DESC, created DESC LIMIT 1"
    )
    found: WrappedKey | None = one(db, sql, (conversation, sender), _key)
    return found


def _key(row: Row) -> WrappedKey:
    id_, conversation, sender, epoch, created, serving, moderation = row
    return WrappedKey(
        dek_id=id_,
        conversation=conversation,
        sender=sender,
        epoch=epoch,
        created=created,
        serving=serving,
        moderation=moderation,
    )
