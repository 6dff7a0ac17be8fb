"""A ciphertext that AES-GCM opens under two keys: the "invisible salamander".

Dodis, Grubbs, Ristenpart, Woodage, "Fast Message Franking", CRYPTO 2018. GCM's tag is linear in
the ciphertext blocks over GF(2^128), so one free block makes the tags under two keys equal. It is
here to show what a bare AEAD does, and that the formats of this project do not.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

_POLYNOMIAL = 0xE1 << 120


def colliding(one: bytes, other: bytes, nonce: bytes, aad: bytes, blocks: list[bytes]) -> bytes:
    """Ciphertext and tag that both keys accept: ``blocks`` and one block more, 16 bytes each."""
    text = [*blocks, bytes(16)]
    sizes = (len(aad) * 8).to_bytes(8, "big") + (16 * len(text) * 8).to_bytes(8, "big")
    padded = aad + bytes(-len(aad) % 16)
    feed = [padded[i : i + 16] for i in range(0, len(padded), 16)] + text + [sizes]
    first, second = _tag(one, nonce, feed), _tag(other, nonce, feed)
    # The free block stands before the sizes, so it enters each tag times H squared.
    squares = _times(_h(one), _h(one)) ^ _times(_h(other), _h(other))
    free = _times(first ^ second, _inverse(squares))
    feed[-2] = text[-1] = free.to_bytes(16, "big")
    return b"".join(text) + _tag(one, nonce, feed).to_bytes(16, "big")


def _tag(key: bytes, nonce: bytes, feed: list[bytes]) -> int:
    value = 0
    for block in feed:
        value = _times(value ^ int.from_bytes(block, "big"), _h(key))
    return value ^ _aes(key, nonce + b"\x00\x00\x00\x01")


def _h(key: bytes) -> int:
    return _aes(key, bytes(16))


def _aes(key: bytes, block: bytes) -> int:
    encryptor = Cipher(AES(key), ECB()).encryptor()
    return int.from_bytes(encryptor.update(block), "big")


def _times(x: int, y: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (_POLYNOMIAL if y & 1 else 0)
    return product


def _inverse(x: int) -> int:
    """``x`` to the power 2^128 − 2."""
    result, power = 1 << 127, x
    for _ in range(127):
        power = _times(power, power)
        result = _times(result, power)
    return result
