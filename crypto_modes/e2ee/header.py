"""The header of a copy: fixed binary, in the clear, authenticated through ``H(h)``; modes.md 26.

Only its layout lives here. 58 bytes, then at most one block, which the flags name: the key of the
next PQ epoch (1,184), its ciphertext (1,088), or the first-message block (1,152). Fixed fields
instead of MessagePack: one encoding per header, and a length that is known before anything is
parsed. Numbers are big-endian.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import KEM_CIPHERTEXT_SIZE, KEM_KEY_SIZE, KEY_SIZE

SUITE = 1  # X25519, ML-KEM-768, SHA-256, AES-256-GCM
SESSION_SIZE = 8

HAS_KEY = 0x01
HAS_CIPHERTEXT = 0x02
HAS_FIRST = 0x04

_FIXED = Struct(f">BB{SESSION_SIZE}s{KEY_SIZE}sIIII")
_FIRST = Struct(f">{KEY_SIZE}sQQQQ{KEM_CIPHERTEXT_SIZE}s")
FIXED_SIZE = _FIXED.size
FIRST_SIZE = _FIRST.size

# The size of the block that each legal value of the flags announces: no two go together, because
# who still repeats a first message has had no answer, and only one end's turn is to send a key.
_BLOCKS = {0: 0, HAS_KEY: KEM_KEY_SIZE, HAS_CIPHERTEXT: KEM_CIPHERTEXT_SIZE, HAS_FIRST: FIRST_SIZE}

pack_fixed = _FIXED.pack


class First(NamedTuple):
    """What the receiver of a first message needs to make the session: the initiator's ``EK``,
    which of its prekeys were used (``once`` 0: none), the policy epoch of the handshake, and the
    KEM ciphertext. It is repeated until the first answer, perhaps into another epoch.
    """

    ephemeral: bytes
    signed: int
    once: int
    kem: int
    epoch: int
    ciphertext: bytes

    def encode(self) -> bytes:
        """1,152 bytes."""
        return _FIRST.pack(*self)


class Header(NamedTuple):
    """A parsed header; ``raw`` are its bytes as they came. Absent parts are empty."""

    raw: bytes
    session: bytes
    dh: bytes
    pn: int
    n: int
    pq_epoch: int
    pq_n: int
    key: bytes = b""
    ciphertext: bytes = b""
    first: First | None = None


def parse(body: bytes) -> tuple[Header, bytes]:
    """Split a copy into header and ciphertext. Raises ``CannotOpen``."""
    if len(body) < FIXED_SIZE:
        raise CannotOpen
    suite, flags, session, dh, pn, n, pq_epoch, pq_n = _FIXED.unpack_from(body)
    size = _BLOCKS.get(flags)
    if suite != SUITE or size is None:
        raise CannotOpen
    end = FIXED_SIZE + size
    if len(body) < end:
        raise CannotOpen
    fixed = (body[:end], session, dh, pn, n, pq_epoch, pq_n)
    if not flags:
        return Header(*fixed), body[end:]
    block = body[FIXED_SIZE:end]
    if flags == HAS_KEY:
        return Header(*fixed, key=block), body[end:]
    if flags == HAS_CIPHERTEXT:
        return Header(*fixed, ciphertext=block), body[end:]
    return Header(*fixed, first=First(*_FIRST.unpack(block))), body[end:]
