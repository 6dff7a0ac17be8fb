"""A second reading of the design's page on modes, written without the product's code.

Nothing of ``crypto_modes`` may be imported here: encoding, padding, key derivation, records,
chains and policies are spelt out again, with the crypto library used directly, so that a slip in
the product cannot hide in its own tests. The vectors beside are made with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KINDS = ("text", "image", "video", "voice", "file", "call")


def enc(label: str, *items: Any) -> bytes:
    out = b""
    for item in (label, *items):
        raw = (
            item.to_bytes(8, "big")
            if isinstance(item, int)
            else item.encode()
            if isinstance(item, str)
            else item
        )
        out += len(raw).to_bytes(4, "big") + raw
    return out


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def conversation(a: bytes, b: bytes) -> bytes:
    low, high = sorted((a, b))
    return sha256(enc("louver/v1/conversation", low, high))[:16]


def padded(body: bytes) -> bytes:
    """``body || 0x80 || 0x00…`` up to a size of the list: 256, then eight an octave.

    In words: between two powers of two lie eight equal steps; take the first size that fits.
    """
    octave = 256
    while len(body) + 1 > 2 * octave:
        octave *= 2
    sizes = [octave + octave // 8 * step for step in range(9)]
    size = next(size for size in sizes if size > len(body))
    return body + b"\x80" + bytes(size - len(body) - 1)


def at_rest_aad(deployment: bytes, meta: Mapping[str, Any], dek_id: bytes) -> bytes:
    return enc(
        "louver/v1/at_rest/aad",
        deployment,
        1,
        "at_rest",
        meta["epoch"],
        meta["conversation"],
        meta["seq"],
        meta["sender"],
        meta["device"],
        meta["id"],
        meta["kind"],
        meta["time"],
        dek_id,
    )


def at_rest_keys(dek: bytes, dek_id: bytes, salt: bytes) -> tuple[bytes, bytes]:
    okm = HKDF(SHA256(), 64, salt, enc("louver/v1/at_rest", 1, dek_id)).derive(dek)
    return okm[:32], okm[32:]


def at_rest_seal(
    deployment: bytes, meta: Mapping[str, Any], dek_id: bytes, dek: bytes, salt: bytes, body: bytes
) -> bytes:
    key, commit = at_rest_keys(dek, dek_id, salt)
    text = AESGCM(key).encrypt(bytes(12), padded(body), at_rest_aad(deployment, meta, dek_id))
    return b"\x01\x01" + dek_id + salt + commit + text


def at_rest_open(deployment: bytes, meta: Mapping[str, Any], dek: bytes, record: bytes) -> bytes:
    """The body; any exception means that it does not open."""
    assert record[:2] == b"\x01\x01", "format"
    dek_id, salt, commit, text = record[2:18], record[18:34], record[34:66], record[66:]
    key, expected = at_rest_keys(dek, dek_id, salt)
    assert commit == expected, "commitment"
    plain = AESGCM(key).decrypt(bytes(12), text, at_rest_aad(deployment, meta, dek_id))
    body = plain[: plain.rindex(b"\x80")]
    assert padded(body) == plain, "padding"
    return body


def chain(previous: bytes, seq: int, record: bytes) -> bytes:
    return sha256(enc("louver/v1/chain", previous, seq, sha256(record)))


def policy(fields: Mapping[str, Any]) -> bytes:
    modes = [word for kind in KINDS for word in (kind, fields["modes"][kind])]
    return enc(
        "louver/v1/policy",
        fields["conversation"],
        fields["epoch"],
        enc("louver/v1/policy/modes", *modes),
        fields["first"],
        fields["keys"][0],
        fields["second"],
        fields["keys"][1],
        fields["created"],
        fields["previous"],
    )
