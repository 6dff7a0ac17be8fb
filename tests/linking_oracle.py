"""A second reading of modes.md 17a–17d: linking a device, written without the product's code.

Nothing of ``crypto_modes`` may be imported here. Both sides are spelt out in the plainest way, so
that the vectors of ``make_linking`` are made, and the product's messages opened, by somebody else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.e2ee_oracle import dh, enc, hkdf, mac, public, sha256, sign, verifying

KINDS = ("text", "image", "video", "voice", "file", "call")


def keys(secret: bytes, account: bytes) -> tuple[bytes, bytes, bytes]:
    """``(box, k_offer, k_seal)``."""
    okm = hkdf(secret, b"", enc("louver/v1/link", account), 80)
    return okm[:16], okm[16:48], okm[48:80]


def code(secret: bytes, body: bytes) -> str:
    letters = base64.b32encode(b"\x01" + secret + sha256(body)[:8]).decode()
    return "-".join(letters[i : i + 4] for i in range(0, 40, 4))


def offer_body(given: Mapping[str, Any]) -> bytes:
    """``O``, from the new device's private keys."""
    signing, agreement = verifying(given["signing_seed"]), public(given["agreement_private"])
    named = (given["account"], given["device"], signing, agreement, given["created"])
    request = sign(given["signing_seed"], enc("louver/v1/request", *named))
    ephemeral = public(given["ephemeral_private"])
    return enc("louver/v1/link/offer", *named, ephemeral, given["label"], request)


def offer(given: Mapping[str, Any]) -> bytes:
    body = offer_body(given)
    return body + mac(keys(given["secret"], given["account"])[1], body)


def shared(
    account: bytes, secret: bytes, offered: bytes, device: bytes, remote: bytes, agreed: bytes
) -> tuple[bytes, bytes]:
    """``(th, key | commit | k_confirm)``."""
    box, _, k_seal = keys(secret, account)
    th = sha256(enc("louver/v1/link/transcript", account, box, offered, device, remote))
    return th, hkdf(agreed, k_seal, enc("louver/v1/link/keys", th), 96)


def answer(
    account: bytes, secret: bytes, offered: bytes, e_n: bytes, own: tuple[bytes, bytes], text: bytes
) -> bytes:
    """``own``: the existing device's id, and its ephemeral private key."""
    device, private = own
    th, okm = shared(account, secret, offered, device, public(private), dh(private, e_n))
    aad = enc("louver/v1/link/handed", th, okm[32:64])
    sealed = AESGCM(okm[:32]).encrypt(bytes(12), text, aad)
    return enc("louver/v1/link/answer", device, public(private), okm[32:64], sealed)


def open_answer(
    account: bytes, secret: bytes, offered: bytes, private: bytes, raw: bytes
) -> tuple[bytes, bytes]:
    """``(hand-over, confirmation)``."""
    _, device, remote, commit, sealed = items(raw)
    th, okm = shared(account, secret, offered, device, remote, dh(private, remote))
    assert commit == okm[32:64]
    text = AESGCM(okm[:32]).decrypt(bytes(12), sealed, enc("louver/v1/link/handed", th, commit))
    return text, mac(okm[64:], enc("louver/v1/link/confirmed", th, sha256(raw)))


def confirmation(th: bytes, okm: bytes, raw: bytes) -> bytes:
    return mac(okm[64:], enc("louver/v1/link/confirmed", th, sha256(raw)))


def handover(given: Mapping[str, Any]) -> bytes:
    listed = given["list"]
    certificates = [
        enc(
            "louver/v1/link/certificate",
            each["device"],
            each["signing"],
            each["agreement"],
            each["created"],
            each["signature"],
        )
        for each in listed["certificates"]
    ]
    packed = enc("louver/v1/link/list", listed["version"], listed["signature"], *certificates)
    peers = [
        enc(
            "louver/v1/link/peer",
            each["account"],
            each["name"],
            each["key"],
            policy(each["policy"]) if each["policy"] else b"",
        )
        for each in given["peers"]
    ]
    pin = given["log"]
    log = enc("louver/v1/link/log", pin["key"], pin["checkpoint"]) if pin else b""
    head = (given["account"], given["key"], given["seed"], packed, log)
    return enc("louver/v1/link/handover/2", *head, *peers)


def policy(given: Mapping[str, Any]) -> bytes:
    modes = [given["modes"][kind] for kind in KINDS]
    rest = (*given["keys"], given["created"], given["previous"], *given["signatures"])
    return enc("louver/v1/link/policy", given["epoch"], *modes, *rest)


def items(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "big")
        found.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return found
