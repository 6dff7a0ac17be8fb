"""The one row about the relay itself: who it is, and which default its operator set.

Only functions over a connection live here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

import apsw

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE


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
