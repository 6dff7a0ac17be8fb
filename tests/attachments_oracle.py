"""A second reading of modes.md 31, written without the product's code: sealed files, whole.

Nothing of ``crypto_modes`` may be imported here. ``read`` is an independent decoder: it takes the
file in one piece, finds the padding from its end and checks everything the page demands.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.modes_oracle import enc, padded


def okm(key: bytes, salt: bytes, bits: int, context: bytes) -> bytes:
    info = enc("louver/v1/attachment", 1, 1, bits, context)
    return HKDF(SHA256(), 64, salt, info).derive(key)


def nonce(index: int, last: bool) -> bytes:
    return b"\0\0\0\0\0\0\0" + index.to_bytes(4, "big") + (b"\1" if last else b"\0")


def seal(key: bytes, salt: bytes, body: bytes, bits: int = 15, context: bytes = b"") -> bytes:
    derived = okm(key, salt, bits, context)
    text, size = padded(body), 2**bits
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    gcm = AESGCM(derived[:32])
    sealed = [
        gcm.encrypt(nonce(index, index == len(chunks) - 1), chunk, None)
        for index, chunk in enumerate(chunks)
    ]
    return b"\x01\x01" + bytes([bits]) + salt + derived[32:] + b"".join(sealed)


def read(key: bytes, file: bytes, context: bytes = b"") -> bytes:
    """The plaintext. Raises whatever comes to hand where the file is not exactly right."""
    version, algorithm, bits = file[:3]
    if (version, algorithm) != (1, 1):
        raise ValueError("another format")
    derived = okm(key, file[3:19], bits, context)
    if derived[32:] != file[19:51]:
        raise ValueError("committed to another key")
    gcm, text, rest, index = AESGCM(derived[:32]), b"", file[51:], 0
    while rest:
        chunk, rest = rest[: 2**bits + 16], rest[2**bits + 16 :]
        text += gcm.decrypt(nonce(index, not rest), chunk, None)
        index += 1
    body = text.rstrip(b"\0")[:-1]
    if padded(body) != text:
        raise ValueError("padded in another way")
    return body
