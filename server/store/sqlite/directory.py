"""Prekeys that are given away once, and the policies of conversations.

Only functions over a connection live here, run inside their caller's transaction: on the one
writing thread nobody else can take the same one-time key.
"""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec

from crypto_modes import wire
from crypto_modes.errors import Forbidden
from server.store.sqlite import messages
from server.store.sqlite.rows import Bulk, Row

X25519, ML_KEM_768 = 5, 8
GRANT_LIFE = 24 * 60 * 60 * 1000
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_POLICY = msgspec.msgpack.Decoder(wire.Policy).decode
_PUT = Bulk(
    "INSERT OR REPLACE INTO prekey (device, algorithm, use, id, key, expires, signature) VALUES", 7
)
_PICK = (
    "SELECT id, algorithm, use, key, expires, signature FROM prekey"
    " WHERE device = ? AND algorithm = ? AND use = ? AND expires > ? ORDER BY id {} LIMIT 1"
)
# A signed or last-resort key is superseded by the next; only one-time keys pile up.
_SUPERSEDED = """
DELETE FROM prekey WHERE device = ?1 AND use <> 'once' AND id < (
    SELECT max(id) FROM prekey newer
    WHERE newer.device = ?1 AND newer.algorithm = prekey.algorithm AND newer.use = prekey.use)
"""


def put_prekeys(db: apsw.Connection, device: bytes, prekeys: Iterable[wire.Prekey]) -> None:
    """Raises ``Forbidden`` where the device is not bound to an account."""
    if not db.execute("SELECT count(*) FROM device WHERE id = ?", (device,)).get:
        raise Forbidden("there is no such device: register or log in with it first")
    rows = [
        (device, key.algorithm, key.use, key.id, key.key, key.expires, key.signature)
        for key in prekeys
    ]
    _PUT.write(db, rows)
    db.execute(_SUPERSEDED, (device,))


def take_bundle(
    db: apsw.Connection, requester: bytes, device: bytes, now: int
) -> wire.Bundle | None:
    """See ``Store.take_bundle``. Expired keys are not served; the lowest one-time id goes first."""
    signed = _pick(db, device, X25519, "signed", now)
    last = _pick(db, device, ML_KEM_768, "last", now)
    once = kem = None
    if signed and not _granted(db, requester, device, now):
        once = _pick(db, device, X25519, "once", now)
        kem = _pick(db, device, ML_KEM_768, "once", now)
    kem_or_last = kem or last
    if not signed or not kem_or_last:
        return None
    taken = [key for key in (once, kem) if key]
    if taken:
        _consume(db, requester, device, now, taken)
    return wire.Bundle(device=device, signed=signed, kem=kem_or_last, once=once)


def count_prekeys(db: apsw.Connection, device: bytes) -> tuple[int, int]:
    """One-time keys left: (X25519, ML-KEM-768)."""
    sql = "SELECT count(*) FROM prekey WHERE device = ? AND algorithm = ? AND use = 'once'"
    return (
        int(db.execute(sql, (device, X25519)).get),
        int(db.execute(sql, (device, ML_KEM_768)).get),
    )


def policies(db: apsw.Connection, conversation: bytes) -> list[wire.Policy]:
    """All epochs of a conversation, ascending."""
    rows = db.execute(
        "SELECT record FROM policy WHERE conversation = ? ORDER BY epoch", (conversation,)
    )
    return [_DECODE_POLICY(record) for (record,) in rows]


def put_policy(db: apsw.Connection, policy: wire.Policy) -> None:
    """Add or replace an epoch's record, and make the conversation known by its parties."""
    messages.create(db, policy.conversation, (policy.first, policy.second))
    db.execute(
        "INSERT OR REPLACE INTO policy (conversation, epoch, record) VALUES (?, ?, ?)",
        (policy.conversation, policy.epoch, _ENCODE(msgspec.structs.replace(policy, ref=0))),
    )


def _pick(
    db: apsw.Connection, device: bytes, algorithm: int, use: str, now: int
) -> wire.Prekey | None:
    order = "ASC" if use == "once" else "DESC"
    for row in db.execute(_PICK.format(order), (device, algorithm, use, now)):
        return _prekey(row)
    return None


def _prekey(row: Row) -> wire.Prekey:
    id_, algorithm, use, key, expires, signature = row
    return wire.Prekey(
        id=id_, algorithm=algorithm, use=use, key=key, expires=expires, signature=signature
    )


def _granted(db: apsw.Connection, requester: bytes, device: bytes, now: int) -> bool:
    """Whether this requester was given one-time keys of this device in the last 24 hours."""
    db.execute("DELETE FROM prekey_grant WHERE time <= ?", (now - GRANT_LIFE,))
    sql = "SELECT count(*) FROM prekey_grant WHERE requester = ? AND device = ?"
    return bool(db.execute(sql, (requester, device)).get)


def _consume(
    db: apsw.Connection, requester: bytes, device: bytes, now: int, keys: Iterable[wire.Prekey]
) -> None:
    for key in keys:
        db.execute(
            "DELETE FROM prekey WHERE device = ? AND algorithm = ? AND use = 'once' AND id = ?",
            (device, key.algorithm, key.id),
        )
    db.execute(
        "INSERT OR REPLACE INTO prekey_grant (requester, device, time) VALUES (?, ?, ?)",
        (requester, device, now),
    )
