"""What is known of each attachment: rows in, structs out. The bytes are in files.

Only functions over a connection live here.
"""

from __future__ import annotations

import apsw

from crypto_modes.contract import BlobMeta
from crypto_modes.errors import Forbidden, LimitExceeded
from server.store import BLOB_LEAST, Blob, BlobState
from server.store.sqlite.rows import Row, one

_COLUMNS = (
    "id, conversation, sender, recipient, kind, mode, epoch, size, digest, head, state, begun,"
    " touched"
)
_SELECT = f"SELECT {_COLUMNS} FROM blob"


def add(db: apsw.Connection, blob: Blob, quota: int) -> None:
    """See ``Store.add_blob``."""
    meta = blob.meta
    used = db.execute(
        "SELECT coalesce(sum(max(size, ?)), 0) FROM blob WHERE sender = ?",
        (BLOB_LEAST, meta.sender),
    ).get
    if used + max(meta.size, BLOB_LEAST) > quota:
        raise LimitExceeded(
            f"your attachments here may have {quota} bytes in all; delete some first"
        )
    try:
        db.execute(
            f"INSERT INTO blob ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                meta.id,
                meta.conversation,
                meta.sender,
                blob.recipient,
                meta.kind,
                meta.mode,
                meta.epoch,
                meta.size,
                blob.digest,
                blob.head,
                blob.state,
                meta.time,
                blob.touched,
            ),
        )
    except apsw.ConstraintError:
        raise Forbidden("another attachment has this id") from None


def by_id(db: apsw.Connection, id: bytes) -> Blob | None:
    """The attachment with this id."""
    found: Blob | None = one(db, f"{_SELECT} WHERE id = ?", (id,), _blob)
    return found


def page(db: apsw.Connection, after: bytes, limit: int) -> list[Blob]:
    """See ``Store.blobs``."""
    sql = f"{_SELECT} WHERE id > ? ORDER BY id LIMIT ?"
    return [_blob(row) for row in db.execute(sql, (after, limit))]


def settle(db: apsw.Connection, id: bytes, state: BlobState, now: int) -> None:
    """See ``Store.settle_blob``."""
    db.execute("UPDATE blob SET state = ?, touched = ? WHERE id = ?", (state, now, id))


def remove(db: apsw.Connection, id: bytes) -> None:
    """Forget an attachment."""
    db.execute("DELETE FROM blob WHERE id = ?", (id,))


def stale(db: apsw.Connection, before: int, limit: int) -> list[Blob]:
    """See ``Store.stale_blobs``."""
    sql = f"{_SELECT} WHERE state <> 'kept' AND touched < ? ORDER BY touched LIMIT ?"
    return [_blob(row) for row in db.execute(sql, (before, limit))]


def _blob(row: Row) -> Blob:
    id_, conversation, sender, recipient, kind, mode, epoch, size, digest, head = row[:10]
    state, begun, touched = row[10:]
    meta = BlobMeta(
        id=id_,
        conversation=conversation,
        sender=sender,
        kind=kind,
        mode=mode,
        epoch=epoch,
        size=size,
        time=begun,
    )
    return Blob(
        meta=meta, recipient=recipient, digest=digest, head=head, state=state, touched=touched
    )
