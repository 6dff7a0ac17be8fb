"""A keyed fingerprint of a set of rows, kept up to date row by row.

Only this arithmetic lives here, pure; who asks for it is the key store, which must notice that a
single row was deleted or put back: encryption row by row does not show that.

The fingerprint is the XOR of one HMAC per row: MSet-XOR-Hash (Clarke, Devadas, van Dijk, Gassend,
Suh: Incremental Multiset Hash Functions, ASIACRYPT 2003), over a set, as a place has one row at
most. Two different sets agree with a chance of 2^-256 for whoever sees no HMAC and no total. Who
sees many of them solves linear equations, so both must stay secret.
"""

from __future__ import annotations

from crypto_modes import primitives
from crypto_modes.encoding import enc


class Tally:
    """``key`` and ``total`` have 32 bytes; an empty set is all zeros."""

    __slots__ = ("_key", "_sum")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._sum = 0

    @property
    def total(self) -> bytes:
        return self._sum.to_bytes(primitives.HASH_SIZE, "big")

    def flip(self, table: str, slot: bytes, value: bytes) -> None:
        """Take the row into the set, or, where it is in it, out."""
        row = enc("louver/v1/keystore/tally", table, slot, value)
        self._sum ^= int.from_bytes(primitives.hmac(self._key, row), "big")

    def back_to(self, total: bytes) -> None:
        """Forget what was done since it had this total."""
        self._sum = int.from_bytes(total, "big")
