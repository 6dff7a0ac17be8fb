"""What is about the relay itself: who it is, which default its operator set, and which mode ends.

Only functions over a connection live here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

import apsw
import msgspec

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from server.store import Sunset

_DECODE = msgspec.msgpack.Decoder(wire.Policy).decode


def deployment(db: apsw.Connection) -> bytes:
    """The relay id, 16 bytes."""
    return bytes(db.execute("SELECT deployment FROM relay").get)


def make_deployment(db: apsw.Connection) -> bytes:
    """The relay id; made at random with the database and never changed."""
    db.execute(
        "INSERT INTO relay (one, deployment) VALUES (1, ?) ON CONFLICT DO NOTHING",
        (secrets.token_bytes(ID_SIZE),),
    )
    return deployment(db)


def log_key(db: apsw.Connection) -> bytes:
    """See ``Store.log_key``."""
    return bytes(db.execute("SELECT log_key FROM relay").get)


def keep_log_key(db: apsw.Connection, public: bytes) -> None:
    """Remember the key; one that is remembered stays."""
    db.execute("UPDATE relay SET log_key = ? WHERE log_key = x''", (public,))


def epoch(db: apsw.Connection, modes: Mapping[wire.Kind, str]) -> int:
    """See ``Store.service_epoch``."""
    text = json.dumps(modes, sort_keys=True)
    db.execute("UPDATE relay SET epoch = epoch + 1, modes = ?1 WHERE modes <> ?1", (text,))
    return int(db.execute("SELECT epoch FROM relay").get)


def sunset(db: apsw.Connection) -> Sunset | None:
    """The plan, if there ever was one."""
    for mode, instead, freeze, final, phase in db.execute(
        "SELECT mode, instead, freeze, final, phase FROM sunset"
    ):
        return Sunset(mode=mode, instead=instead, freeze=freeze, final=final, phase=phase)
    return None


def put_sunset(db: apsw.Connection, plan: Sunset) -> None:
    """Take the place of any plan before."""
    db.execute(
        "INSERT OR REPLACE INTO sunset (one, mode, instead, freeze, final, phase)"
        " VALUES (1, ?, ?, ?, ?, ?)",
        (plan.mode, plan.instead, plan.freeze, plan.final, plan.phase),
    )


def conversations_in(db: apsw.Connection, mode: str) -> int:
    """How many conversations have their newest epoch in force, for some kind, in ``mode``."""
    newest: dict[bytes, bool] = {}
    for (record,) in db.execute("SELECT record FROM policy ORDER BY conversation, epoch"):
        policy = _DECODE(record)
        if policy.state == "in_force":
            newest[policy.conversation] = mode in policy.modes.values()
    return sum(newest.values())
