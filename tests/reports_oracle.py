"""A second reading of reports, from ``docs/modes.md`` alone: encoding, tags and HPKE written out.

Nothing of ``crypto_modes`` may be imported here. HPKE (RFC 9180, base mode) and its hybrid KEM
(draft-ietf-hpke-pq, MLKEM768-X25519) are put together from hashes, X25519, ML-KEM and AES-GCM, so
that the library's own HPKE is held to the standards as well.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.modes_oracle import enc, padded

ITEM = [
    "conversation",
    "seq",
    "id",
    "sender",
    "device",
    "recipient",
    "kind",
    "mode",
    "time",
    "message",
    "key",
    "commitment",
    "stamp",
]
REPORT = ["relay", "reporter", "reported", "category", "words", "created"]
LABEL = b"\\.//^\\"
SUITE = b"HPKE" + bytes.fromhex("647a00010002")


def encode(report: Mapping[str, Any]) -> bytes:
    items = [
        enc("louver/v1/report/item", *(item[name] for name in ITEM)) for item in report["items"]
    ]
    return enc("louver/v1/report", *(report[name] for name in REPORT), *items)


def tags(report: Mapping[str, Any]) -> list[bytes]:
    return [
        hmac.digest(
            item["key"] or bytes(32),
            enc("louver/v1/report/tag", report["reporter"], item["conversation"], item["id"]),
            "sha256",
        )
        for item in report["items"]
    ]


def info(report: Mapping[str, Any]) -> bytes:
    return enc("louver/v1/report/seal", report["relay"], report["reporter"], *tags(report))


def seal(
    team: bytes, report: Mapping[str, Any], ephemeral: bytes = b"e" * 32, given: Any = None
) -> bytes:
    return to_key(team, padded(encode(report)), info(report), ephemeral, given)


def to_key(
    team: bytes, text: bytes, bound: bytes, ephemeral: bytes = b"e" * 32, given: Any = None
) -> bytes:
    """HPKE; ``given`` is ``(shared secret, ciphertext)`` of an encapsulation made before."""
    shared, ciphertext = given or MLKEM768PublicKey.from_public_bytes(team[:1184]).encapsulate()
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    point = private.public_key().public_bytes_raw()
    agreed = private.exchange(X25519PublicKey.from_public_bytes(team[1184:]))
    secret = combine(shared, agreed, point, team[1184:])
    key, nonce = schedule(secret, bound)
    return ciphertext + point + AESGCM(key).encrypt(nonce, text, b"")


def unseal(team: bytes, report: Mapping[str, Any], sealed: bytes) -> bytes:
    """The record in ``sealed``, without its padding."""
    kem, curve = halves(team)
    ciphertext, point, text = sealed[:1088], sealed[1088:1120], sealed[1120:]
    agreed = curve.exchange(X25519PublicKey.from_public_bytes(point))
    public = curve.public_key().public_bytes_raw()
    secret = combine(kem.decapsulate(ciphertext), agreed, point, public)
    key, nonce = schedule(secret, info(report))
    return AESGCM(key).decrypt(nonce, text, b"").rstrip(b"\0")[:-1]


def halves(secret: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    seeds = hashlib.shake_256(secret).digest(96)
    return (
        MLKEM768PrivateKey.from_seed_bytes(seeds[:64]),
        X25519PrivateKey.from_private_bytes(seeds[64:]),
    )


def public(secret: bytes) -> bytes:
    kem, curve = halves(secret)
    return kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def combine(shared: bytes, agreed: bytes, point: bytes, public: bytes) -> bytes:
    return hashlib.sha3_256(shared + agreed + point + public + LABEL).digest()


def schedule(secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of the first message, RFC 9180, 5.1 with mode 0."""
    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    prk = extract(secret, b"secret", b"")
    return expand(prk, b"key", context, 32), expand(prk, b"base_nonce", context, 12)


def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE + label + ikm, "sha256")


def expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    data = length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info + b"\1"
    return hmac.digest(prk, data, "sha256")[:length]
