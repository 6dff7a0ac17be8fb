"""Accounts, their devices, and whom they block: rows in, structs out.

Only functions over a connection live here. Those that write raise errors of Louver for what a
user did and leave errors of the disk to their caller, inside whose transaction they run.
"""

from __future__ import annotations

import apsw
import msgspec

from crypto_modes import wire
from crypto_modes.errors import Forbidden, KeyRefused
from server.store import REMOVED, Account, Device
from server.store.sqlite import key_log
from server.store.sqlite.rows import Row, one

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_LIST = msgspec.msgpack.Decoder(wire.DeviceList).decode
_ACCOUNT = "SELECT id, name, created, password, subject, suspended, key, list FROM account"
_DEVICE = "SELECT id, account, token, created, expires FROM device"
_START_AT_HEADS = """
INSERT INTO cursor (device, conversation, seq)
SELECT ?1, c.number, (SELECT max(seq) FROM message WHERE conversation = c.number) AS last
FROM conversation c WHERE (c.first = ?2 OR c.second = ?2) AND last > 0
"""


def add(db: apsw.Connection, account: Account) -> None:
    """Raises ``Forbidden`` where the id, name or subject is taken."""
    devices = _ENCODE(account.list) if account.list else None
    try:
        db.execute(
            "INSERT INTO account (id, name, created, password, subject, suspended, key, list)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                account.id,
                account.name,
                account.created,
                account.password,
                account.subject,
                int(account.suspended),
                account.key,
                devices,
            ),
        )
    except apsw.ConstraintError:
        raise Forbidden("this name is taken: choose another") from None


def by_id(db: apsw.Connection, id: bytes) -> Account | None:
    """The account with this id."""
    found: Account | None = one(db, f"{_ACCOUNT} WHERE id = ?", (id,), _account)
    return found


def by_name(db: apsw.Connection, name: str) -> Account | None:
    """The account with this name."""
    found: Account | None = one(db, f"{_ACCOUNT} WHERE name = ?", (name,), _account)
    return found


def suspend(db: apsw.Connection, id: bytes, on: bool) -> None:
    """Nothing for an account that is none."""
    db.execute("UPDATE account SET suspended = ? WHERE id = ?", (int(on), id))


def put_list(
    db: apsw.Connection, account: bytes, key: bytes, devices: wire.DeviceList
) -> frozenset[bytes]:
    """Which devices are gone with it. Raises ``KeyRefused`` unless the version rises, ``Forbidden``
    for no such account.
    """
    stored = by_id(db, account)
    if stored is None:
        raise Forbidden("there is no such account")
    if stored.list is not None and devices.version <= stored.list.version:
        raise KeyRefused(
            f"the device list must have a version above {stored.list.version}: fetch it, merge"
            " your change, sign again"
        )
    db.execute(
        "UPDATE account SET key = ?, list = ? WHERE id = ?", (key, _ENCODE(devices), account)
    )
    key_log.append(db, account, key, devices)
    # Under a replaced key the other devices are only unlinked: `tls` still works for them.
    former = stored.list.certificates if stored.list is not None and stored.key == key else ()
    removed = {each.device for each in former} - {each.device for each in devices.certificates}
    for device in removed:
        remove_device(db, device)
        # Only the id is kept, so that nobody binds it again.
        db.execute(
            "INSERT INTO device (id, account, token, created, expires) VALUES (?, ?, x'', 0, 0)",
            (device, account),
        )
    return frozenset(removed)


def bind(db: apsw.Connection, device: Device) -> None:
    """Raises ``Forbidden`` where the id belongs to another account or was removed from this one, or
    where there is no such account.
    """
    if by_id(db, device.account) is None:
        raise Forbidden("there is no such account")
    bound = device_by_id(db, device.id)
    if bound is None:
        db.execute(
            "INSERT INTO device (id, account, token, created, expires) VALUES (?, ?, ?, ?, ?)",
            (device.id, device.account, device.token, device.created, device.expires),
        )
        db.execute(_START_AT_HEADS, (device.id, device.account))
    elif bound.account != device.account:
        raise Forbidden("this device id belongs to another account: make a new one")
    elif bound.removed:
        raise Forbidden(REMOVED)
    else:
        db.execute(
            "UPDATE device SET token = ?, created = ?, expires = ? WHERE id = ?",
            (device.token, device.created, device.expires, device.id),
        )


def device_by_id(db: apsw.Connection, id: bytes) -> Device | None:
    """The device with this id, whether its token has expired or not."""
    found: Device | None = one(db, f"{_DEVICE} WHERE id = ?", (id,), _device)
    return found


def has_devices(db: apsw.Connection) -> bool:
    """Whether any device is stored, of any account."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM device)").get)


def devices_of(db: apsw.Connection, account: bytes) -> list[Device]:
    """The devices of an account, oldest first."""
    rows = db.execute(f"{_DEVICE} WHERE account = ? ORDER BY created, id", (account,))
    return [_device(row) for row in rows]


def remove_device(db: apsw.Connection, id: bytes) -> None:
    """Its token, cursors, prekeys and grants go with it, by the schema's cascades."""
    db.execute("DELETE FROM prekey_grant WHERE requester = ?", (id,))
    db.execute("DELETE FROM device WHERE id = ?", (id,))


def set_block(db: apsw.Connection, account: bytes, blocked: bytes, on: bool) -> None:
    """Idempotent both ways."""
    if on:
        sql = "INSERT INTO block (account, blocked) VALUES (?, ?) ON CONFLICT DO NOTHING"
    else:
        sql = "DELETE FROM block WHERE account = ? AND blocked = ?"
    db.execute(sql, (account, blocked))


def blocks(db: apsw.Connection, account: bytes) -> set[bytes]:
    """Whom the account blocks."""
    rows = db.execute("SELECT blocked FROM block WHERE account = ?", (account,))
    return {bytes(blocked) for (blocked,) in rows}


def _account(row: Row) -> Account:
    id_, name, created, password, subject, suspended, key, devices = row
    return Account(
        id=id_,
        name=name,
        created=created,
        password=password,
        subject=subject,
        suspended=bool(suspended),
        key=key,
        list=_DECODE_LIST(devices) if devices else None,
    )


def _device(row: Row) -> Device:
    id_, account, token, created, expires = row
    return Device(id=id_, account=account, token=token, created=created, expires=expires)
