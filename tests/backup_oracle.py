"""A second reading of backups, from ``docs/modes.md`` alone: an encoder and a decoder of its own.

Nothing of ``crypto_modes`` may be imported here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.modes_oracle import enc

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PART = 65_536


def text(key: bytes) -> str:
    """By bits, as a string of zeros and ones."""
    check = hashlib.sha256(enc("louver/v1/recovery", key)).digest()[:7]
    bits = "".join(f"{byte:08b}" for byte in b"\x01" + key + check)
    return "".join(ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, 320, 5))


def keys(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    okm = HKDF(SHA256(), 64, salt, enc("louver/v1/backup", 1)).derive(key)
    return okm[:32], okm[32:]


def write(key: bytes, salt: bytes, records: Iterable[bytes]) -> bytes:
    chunk_key, commit = keys(key, salt)
    header = b"LOUVERBK\x01" + salt + commit
    stream = b"".join(len(each).to_bytes(4, "big") + each for each in records)
    parts = [stream[at : at + PART] for at in range(0, len(stream), PART)]
    return header + b"".join(
        part_of(chunk_key, header, number, part, number == len(parts) - 1)
        for number, part in enumerate(parts)
    )


def part_of(key: bytes, header: bytes, number: int, part: bytes, last: bool) -> bytes:
    aad = enc("louver/v1/backup/chunk", header, number, 1 if last else 0)
    return AESGCM(key).encrypt(bytes(4) + number.to_bytes(8, "big"), part, aad)


def read(key: bytes, file: bytes) -> list[bytes]:
    """The records; raises whatever it likes for what is no such file."""
    header, rest = file[:73], file[73:]
    chunk_key, commit = keys(key, header[9:41])
    assert header == b"LOUVERBK\x01" + header[9:41] + commit
    stream, number = b"", 0
    while rest:
        part, rest = rest[: PART + 16], rest[PART + 16 :]
        aad = enc("louver/v1/backup/chunk", header, number, 0 if rest else 1)
        stream += AESGCM(chunk_key).decrypt(bytes(4) + number.to_bytes(8, "big"), part, aad)
        number += 1
    records = []
    while stream:
        size = int.from_bytes(stream[:4], "big")
        records.append(stream[4 : 4 + size])
        stream = stream[4 + size :]
    return records


def about(**fields: object) -> bytes:
    names = ("created", "relay", "account", "device", "name", "url", "key", "seed", "version")
    return enc("louver/v1/backup/about", *(fields[name] for name in names))


def row(table: str, key: bytes, value: bytes) -> bytes:
    return enc("louver/v1/backup/row", table, key, value)


def end(count: int) -> bytes:
    return enc("louver/v1/backup/end", count)
