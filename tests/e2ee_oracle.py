"""A second reading of the design's page on ``e2ee``, written without the product's code.

Nothing of ``crypto_modes`` may be imported here: handshake, ratchets, copies and franking are
spelt out again in the plainest way, with the crypto library used directly, so that a slip in the
product cannot hide in its own tests. The vectors of ``make_e2ee`` are made with it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.modes_oracle import conversation, enc, padded, sha256

__all__ = ["conversation", "enc", "padded", "sha256"]


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def hkdf(ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt or None, info).derive(ikm)


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def dh(private: bytes, remote: bytes) -> bytes:
    peer = X25519PublicKey.from_public_bytes(remote)
    return X25519PrivateKey.from_private_bytes(private).exchange(peer)


def verifying(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, data: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(data)


def kem_public(seed: bytes) -> bytes:
    return MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def kem_open(seed: bytes, ciphertext: bytes) -> bytes:
    return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)


def kem_seal(seed: bytes) -> bytes:
    """A fresh ciphertext to the key of ``seed``."""
    return MLKEM768PrivateKey.from_seed_bytes(seed).public_key().encapsulate()[1]


# -- franking -------------------------------------------------------------------------------


def message(
    kind: str,
    content: bytes,
    reply_to: bytes,
    counter: int,
    previous: bytes,
    position: int,
    log_head: bytes = bytes(40),
    echo: tuple[tuple[bytes, int, bytes], ...] = (),
) -> bytes:
    """``echo``: device, counter and ``H(M)`` each, both whole."""
    said = b"".join(
        device[:8] + counter.to_bytes(8, "big") + digest[:8] for device, counter, digest in echo
    )
    numbers = (counter, previous, position, log_head)
    return padded(enc("louver/v1/message_body", kind, content, reply_to, said, *numbers))


def commitment(key: bytes, conversation_id: bytes, message_id: bytes, text: bytes) -> bytes:
    return mac(key, enc("louver/v1/frank", conversation_id, message_id, text))


def stamp(key: bytes, month: int, committed: bytes, meta: Mapping[str, Any]) -> bytes:
    return mac(
        key,
        enc(
            "louver/v1/stamp",
            month,
            committed,
            meta["conversation"],
            meta["id"],
            meta["sender"],
            meta["device"],
            meta["recipient"],
            meta["seq"],
            meta["time"],
            meta["mode"],
        ),
    )


# -- devices --------------------------------------------------------------------------------


def certificate(account: bytes, seed: bytes, device: Mapping[str, Any]) -> dict[str, Any]:
    """``device`` (ids and public keys) with the account key's signature."""
    return {**device, "signature": sign(seed, certified(account, device))}


def certified(account: bytes, device: Mapping[str, Any]) -> bytes:
    return enc(
        "louver/v1/device",
        account,
        device["device"],
        device["signing"],
        device["agreement"],
        device["created"],
    )


def device_list(
    account: bytes, seed: bytes, version: int, certificates: list[dict[str, Any]]
) -> dict[str, Any]:
    digests = [sha256(certified(account, each)) for each in certificates]
    signature = sign(seed, enc("louver/v1/devices", account, version, *digests))
    return {"version": version, "certificates": certificates, "signature": signature}


def prekey(account: bytes, device: bytes, seed: bytes, fields: Mapping[str, Any]) -> dict[str, Any]:
    kind = bytes((fields["algorithm"],)) + fields["use"].encode()
    signed = enc(
        "louver/v1/prekey", kind, account, device, fields["id"], fields["key"], fields["expires"]
    )
    return {**fields, "signature": sign(seed, signed)}


def safety_number(a: tuple[bytes, bytes], b: tuple[bytes, bytes]) -> str:
    low, high = sorted((a, b))
    fixed = enc("louver/v1/safety", *low, *high)
    value = fixed
    for _ in range(5200):
        value = sha256(value + fixed)
    digits = str(int.from_bytes(value, "big") % 10**60).zfill(60)
    return " ".join(digits[i : i + 5] for i in range(0, 60, 5))


# -- handshake ------------------------------------------------------------------------------


def handshake(given: Mapping[str, Any]) -> tuple[bytes, bytes, bytes]:
    """``(th, EC root, PQ root)`` from *both* sides' private keys, as nobody in life has them."""
    a, b = given["initiator"], given["responder"]
    spk, opk, kem = given["signed"], given["once"], given["kem"]
    ek = public(given["ephemeral"])
    th = sha256(
        enc(
            "louver/v1/pqxdh",
            1,
            a["account"],
            b["account"],
            a["device"],
            b["device"],
            verifying(a["account_seed"]),
            verifying(a["signing_seed"]),
            public(a["agreement_private"]),
            verifying(b["account_seed"]),
            verifying(b["signing_seed"]),
            public(b["agreement_private"]),
            public(spk),
            public(opk) if opk else b"",
            kem_public(kem),
            ek,
            given["ciphertext"],
            given["conversation"],
            given["policy"],
        )
    )
    secret = b"\xff" * 32
    secret += dh(a["agreement_private"], public(spk))
    secret += dh(given["ephemeral"], public(b["agreement_private"]))
    secret += dh(given["ephemeral"], public(spk))
    if opk:
        secret += dh(given["ephemeral"], public(opk))
    secret += kem_open(kem, given["ciphertext"])
    info = enc("louver/v1/PQXDH_X25519_SHA256_MLKEM768", th)
    sk = hkdf(secret, bytes(32), info, 64)
    return th, sk[:32], sk[32:]


# -- one copy on a first chain ----------------------------------------------------------------


def root_step(root: bytes, private: bytes, remote: bytes) -> tuple[bytes, bytes]:
    okm = hkdf(dh(private, remote), root, enc("louver/v1/root"), 64)
    return okm[:32], okm[32:]


def ec_key(chain: bytes, n: int) -> bytes:
    for _ in range(n):
        chain = mac(chain, b"\x02")
    return mac(chain, b"\x01")


def pq_chains(root: bytes, th: bytes) -> tuple[bytes, bytes]:
    """The initiator's and the responder's chain of epoch 0."""
    okm = hkdf(root, b"", enc("louver/v1/pq_epoch", 0, th), 96)
    return okm[32:64], okm[64:]


def pq_key(chain: bytes, n: int) -> bytes:
    for number in range(n + 1):
        okm = hkdf(chain, b"", enc("louver/v1/pq_next", number), 64)
        chain, key = okm[:32], okm[32:]
    return key


def copy(
    th: bytes, mk_ec: bytes, mk_pq: bytes, head: bytes, plaintext: bytes, place: Mapping[str, Any]
) -> bytes:
    """A device's copy; ``place`` holds the fields of the AAD."""
    okm = hkdf(mk_ec, mk_pq, enc("louver/v1/message", th), 44)
    return head + AESGCM(okm[:32]).encrypt(okm[32:], plaintext, aad(th, head, place))


def aad(th: bytes, head: bytes, place: Mapping[str, Any]) -> bytes:
    return enc(
        "louver/v1/e2ee/aad",
        th,
        1,
        "e2ee",
        place["epoch"],
        place["conversation"],
        place["message"],
        place["sender"],
        place["device"],
        place["recipient"],
        place["recipient_device"],
        place["policy"],
        sha256(head),
        place["commitment"],
    )


def fixed_header(
    session: bytes, remote: bytes, numbers: tuple[int, int, int, int], flags: int = 0
) -> bytes:
    """58 bytes; ``numbers`` are pn, n, pq_epoch, pq_n."""
    head = bytes((1, flags)) + session + remote
    return head + b"".join(number.to_bytes(4, "big") for number in numbers)
