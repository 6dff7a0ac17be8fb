"""The header of a copy: fixed binary, in the clear, authenticated through ``H(h)``; modes.md 26.

Only its layout lives here. 58 bytes, then by flags an encapsulation key (1,184), a ciphertext
(1,088) and the first-message block (1,152). Fixed fields instead of MessagePack: one encoding
per header, and a length that is known before anything is parsed. Numbers are big-endian.
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
_FLAGS = HAS_KEY | HAS_CIPHERTEXT | HAS_FIRST

_FIXED = Struct(f">BB{SESSION_SIZE}s{KEY_SIZE}sIIII")
_FIRST = Struct(f">{KEY_SIZE}sQQQQ{KEM_CIPHERTEXT_SIZE}s")
FIXED_SIZE = _FIXED.size
FIRST_SIZE = _FIRST.size

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
    if suite != SUITE or flags & ~_FLAGS:
        raise CannotOpen
    if not flags:
        header = Header(body[:FIXED_SIZE], session, dh, pn, n, pq_epoch, pq_n)
        return header, body[FIXED_SIZE:]
    key_end = FIXED_SIZE + (KEM_KEY_SIZE if flags & HAS_KEY else 0)
    ciphertext_end = key_end + (KEM_CIPHERTEXT_SIZE if flags & HAS_CIPHERTEXT else 0)
    end = ciphertext_end + (FIRST_SIZE if flags & HAS_FIRST else 0)
    if len(body) < end:
        raise CannotOpen
    first = First(*_FIRST.unpack_from(body, ciphertext_end)) if flags & HAS_FIRST else None
    key, ciphertext = body[FIXED_SIZE:key_end], body[key_end:ciphertext_end]
    fixed = (session, dh, pn, n, pq_epoch, pq_n)
    return Header(body[:end], *fixed, key, ciphertext, first), body[end:]
