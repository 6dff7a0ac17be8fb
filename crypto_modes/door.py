"""The moderation door: data keys sealed to a public key whose other half the relay never sees.

What may live here: the half that closes the door. The half that opens it is ``vault.py``, which
the relay may not import. A data key behind the door is 1,185 bytes::

    0x01 || id(16) || HPKE(public, data key, info = context)

    id = H(enc("louver/v1/door", public))[0:16]

HPKE is that of ``primitives``, and the context is that of ``keyring.dek_context`` for the purpose
``moderation``: whoever moves a wrapped key to another conversation, sender or epoch, or to the
other door, makes it one that nothing opens.
"""

from __future__ import annotations

from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument
from crypto_modes.primitives import (
    HPKE_KEY_SIZE,
    HPKE_OVERHEAD,
    KEY_SIZE,
    H,
    hpke_check,
    hpke_seal,
)

PURPOSE = "moderation"
SIZE = 1 + 16 + HPKE_OVERHEAD + KEY_SIZE

_FORMAT = b"\x01"


class Door:
    """The public half, 1,216 bytes. Raises ``KeyRefused`` for a key that is none."""

    __slots__ = ("_public", "mark")

    size = HPKE_KEY_SIZE

    def __init__(self, public: bytes) -> None:
        hpke_check(public)
        self._public = public
        self.mark = mark(public)

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """``key``, 32 bytes, for whoever has the secret half, bound to ``context``; other bytes
        each time."""
        if len(key) != KEY_SIZE:
            raise BadArgument(f"a data key has {KEY_SIZE} bytes")
        return self.mark + hpke_seal(self._public, key, context)

    def closes(self, wrapped: bytes) -> bool:
        """Whether ``wrapped`` was made for this door, and not for one before it or for none."""
        return wrapped[: len(self.mark)] == self.mark


def mark(public: bytes) -> bytes:
    """The first 17 bytes of every data key behind the door with this public key."""
    return _FORMAT + H(enc("louver/v1/door", public))[:16]
