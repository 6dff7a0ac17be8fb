"""A fourth mode, as another package would bring it: nothing in the core knows of it.

``forgetful`` stores messages under a key that the relay draws when it starts and never writes
down, so its disks are unreadable and so is its own past after a restart. It is a toy: the only
point is that five verbs and a declaration are all that a mode takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import shake_256
from hmac import compare_digest, digest

from crypto_modes import wire
from crypto_modes.contract import (
    ClientMode,
    ClientTools,
    Draft,
    Evidence,
    Meta,
    Sealed,
    ServerMode,
    ServerTools,
    Stored,
)
from crypto_modes.errors import CannotOpen
from crypto_modes.tls import TlsClient, check_body, deliver

NAME = "forgetful"


class ForgetfulClient(TlsClient):
    """The ends."""

    def seal(self, draft: Draft) -> Sealed:
        return Sealed(mode=NAME, epoch=draft.epoch, body=draft.content)


class ForgetfulServer:
    """The middle: ``salt(16) || tag(32) || body XOR stream``."""

    def __init__(self, tools: ServerTools) -> None:
        self._random = tools.random
        self._key = tools.random(32)

    def admit(self, meta: Meta, sealed: Sealed, previous: bytes) -> Stored:
        check_body(sealed)
        salt = self._random(16)
        text = self._mask(salt, sealed.body)
        return Stored(meta, salt + self._tag(meta, salt, text) + text, chain=previous)

    def emit(self, stored: Stored, device: bytes) -> wire.Deliver:
        return deliver(stored, self._open(stored))

    def reveal(self, stored: Stored, evidence: Evidence) -> bytes:
        return self._open(stored)

    def _open(self, stored: Stored) -> bytes:
        salt, tag, text = stored.record[:16], stored.record[16:48], stored.record[48:]
        if not compare_digest(tag, self._tag(stored.meta, salt, text)):
            raise CannotOpen
        return self._mask(salt, text)

    def _tag(self, meta: Meta, salt: bytes, text: bytes) -> bytes:
        return digest(self._key, repr(meta).encode() + salt + text, "sha256")

    def _mask(self, salt: bytes, text: bytes) -> bytes:
        stream = shake_256(self._key + salt).digest(len(text))
        return bytes(a ^ b for a, b in zip(text, stream, strict=True))


class Forgetful:
    """The mode as it is registered."""

    name = NAME
    strength = 15
    words = "Stored under a key that the operator forgets at the next restart"
    visibility: Mapping[str, bool] = {
        "network_tap": False,
        "database": False,
        "backup": False,
        "bus": False,
        "logs": False,
        "relay_memory": True,
        "vault_without_grant": False,
        "compelled_operator": True,
        "stolen_device_past": True,
        "stolen_device_future": True,
        "stolen_device_healed": True,
    }

    def server(self, tools: ServerTools) -> ServerMode:
        return ForgetfulServer(tools)

    def client(self, tools: ClientTools) -> ClientMode:
        return ForgetfulClient()


MODE = Forgetful()
