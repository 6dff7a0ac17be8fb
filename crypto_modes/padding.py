"""Padding: few distinct sizes, so that a ciphertext's length says little about its text.

Only the padding of modes.md may live here: ``body || 0x80 || 0x00…`` up to the next of eight sizes
an octave, at least 256 bytes. The sizes are 256, 288, 320 … 480, 512, 576 … 960, 1024, 1152 …: a
leading one bit, three bits after it, then only zeros.

That is Padmé's rule (Nikitin et al., PETS 2019) with its mantissa bounded. Padmé keeps
``floor(log2 E) + 1`` bits of a length of ``E + 1`` bits after the leading one; that is four where
chat messages are, and grows with the length. Three bits never grow: bodies of 1 byte to 16 KiB get
50 sizes (Padmé: 98), and from 256 bytes on a body grows by at most an eighth (Padmé here: a
sixteenth). Unlike Padmé's, that bound does not fall for longer bodies. Why:
docs/decisions/0008-eight-padding-sizes-an-octave.md.
"""

from __future__ import annotations

from crypto_modes.errors import CannotOpen

MINIMUM = 256
_MANTISSA = 3
_MARK = b"\x80"


def padded_size(size: int) -> int:
    """The smallest padded size that holds ``size`` bytes, the mark among them."""
    if size <= MINIMUM:
        return MINIMUM
    mask = (1 << (size.bit_length() - 1 - _MANTISSA)) - 1
    return (size + mask) & ~mask


def pad(body: bytes) -> bytes:
    """``body``, one byte 0x80, and zeros up to ``padded_size(len(body) + 1)`` bytes."""
    return (body + _MARK).ljust(padded_size(len(body) + 1), b"\0")


def unpad(padded: bytes) -> bytes:
    """The body of a padded message.

    Exact: only what ``pad`` makes is taken, so that a plaintext has one encoding. Called on
    authenticated bytes only, so it is no oracle. Raises ``CannotOpen``.
    """
    body = padded.rstrip(b"\0")
    if body[-1:] != _MARK or len(padded) != padded_size(len(body)):
        raise CannotOpen
    return body[:-1]
