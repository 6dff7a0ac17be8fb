"""Padding: few distinct sizes, so that a ciphertext's length says little about its text.

Only the padding of modes.md may live here. ``body || 0x80 || 0x00…`` up to the next Padmé size,
at least 256 bytes. Padmé (Nikitin et al., PETS 2019) keeps the overhead under 12 % and leaks
O(log log) bits of the length.
"""

from __future__ import annotations

from crypto_modes.errors import CannotOpen

MINIMUM = 256
_MARK = b"\x80"


def padme(size: int) -> int:
    """The smallest Padmé size of at least ``size`` bytes; ``size`` ≥ 1."""
    exponent = size.bit_length() - 1
    mantissa = exponent.bit_length()
    mask = (1 << max(exponent - mantissa, 0)) - 1
    return (size + mask) & ~mask


def pad(body: bytes) -> bytes:
    """``body``, one byte 0x80 and zeros up to ``max(256, padme(len(body) + 1))`` bytes."""
    size = len(body) + 1
    return (body + _MARK).ljust(padme(size) if size > MINIMUM else MINIMUM, b"\0")


def unpad(padded: bytes) -> bytes:
    """The body of a padded message.

    Exact: only what ``pad`` makes is taken, so that a plaintext has one encoding. Called on
    authenticated bytes only, so it is no oracle. Raises ``CannotOpen``.
    """
    body = padded.rstrip(b"\0")
    if body[-1:] != _MARK:
        raise CannotOpen
    size = len(body)
    if len(padded) != (padme(size) if size > MINIMUM else MINIMUM):
        raise CannotOpen
    return body[:-1]
