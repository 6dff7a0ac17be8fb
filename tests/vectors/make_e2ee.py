"""Make ``franking.json`` and the ``e2ee_….json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_e2ee``. All values come
from ``tests/e2ee_oracle.py``, which is written from the design alone; the product's code has no
part in them. KEM ciphertexts cannot be made reproducibly, as encapsulation draws its own
randomness: those already in ``e2ee_handshake.json`` are kept. Bytes are hex. ``expect`` is ``ok``
or the name of the error that must be raised.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

from tests import e2ee_oracle as oracle

HERE = Path(__file__).parent
TIME = 1_790_000_000_000


def drawn(name: str, size: int = 16) -> bytes:
    """Reproducible bytes that look like nothing in particular."""
    return hashlib.shake_256(name.encode()).digest(size)


def hexed(value: Any) -> Any:
    """``value`` with all bytes in it as hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: hexed(each) for key, each in value.items()}
    return [hexed(each) for each in value] if isinstance(value, list | tuple) else value


def changed(fields: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``fields`` in which ``path`` (dotted) is ``value``."""
    result = copy.deepcopy(fields)
    *way, last = path.split(".")
    place: Any = result
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    place[last] = value
    return result


def flipped(data: bytes, bit: int = 0) -> bytes:
    mutable = bytearray(data)
    mutable[bit // 8] ^= 1 << bit % 8
    return bytes(mutable)


def write(name: str, about: str, found: list[dict[str, Any]]) -> None:
    text = json.dumps({"about": about, "vectors": hexed(found)}, indent=1, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n", "utf-8")


def named(name: str, expect: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "expect": expect, **fields}


META: dict[str, Any] = {
    "conversation": oracle.conversation(drawn("alice"), drawn("bob")),
    "seq": 7,
    "id": drawn("message"),
    "sender": drawn("alice"),
    "device": drawn("device"),
    "recipient": drawn("bob"),
    "kind": "text",
    "mode": "e2ee",
    "epoch": 1,
    "time": TIME,
}


def franking() -> list[dict[str, Any]]:
    message = oracle.message("text", b"an insult", b"", 1, bytes(32), 0)
    key, server = drawn("franking key", 32), drawn("server key", 32)
    committed = oracle.commitment(key, META["conversation"], META["id"], message)
    good: dict[str, Any] = {
        "key": server,
        "meta": META,
        "commitment": committed,
        "stamp": oracle.stamp(server, 202609, committed, META),
        "evidence": {"reporter": META["recipient"], "message": message, "key": key},
    }
    later = {**META, "time": TIME + 40 * 86_400_000}
    wrong = [
        ("another relay's key", "key", drawn("other", 32)),
        ("the stamp is altered", "stamp", flipped(good["stamp"])),
        ("the commitment is altered", "commitment", flipped(committed)),
        ("the commitment is cut", "commitment", committed[:31]),
        ("another conversation", "meta.conversation", drawn("elsewhere")),
        ("another message id", "meta.id", drawn("another")),
        ("another sender", "meta.sender", drawn("framed")),
        ("another device", "meta.device", drawn("tablet")),
        ("another recipient", "meta.recipient", drawn("carol")),
        ("another seq", "meta.seq", 8),
        ("another time", "meta.time", TIME + 1),
        ("another month", "meta.time", later["time"]),
        ("another mode", "meta.mode", "at_rest"),
        ("another text", "evidence.message", flipped(message, 400)),
        ("another franking key", "evidence.key", drawn("wrong", 32)),
        ("a franking key with a zero more", "evidence.key", key + b"\0"),
        ("reported by the sender", "evidence.reporter", META["sender"]),
        ("reported by a stranger", "evidence.reporter", drawn("carol")),
    ]
    found = [named("an honest report", "ok", good)]
    return found + [
        named(name, "ReportRefused", changed(good, path, value)) for name, path, value in wrong
    ]


def bodies() -> list[dict[str, Any]]:
    def body(**changes: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "kind": "text",
            "content": "hello ☂".encode(),
            "reply_to": b"",
            "counter": 7,
            "previous": drawn("previous", 32),
            "position": 12,
            "log_head": bytes(40),
            "echo": [],
        } | changes
        echo = tuple((each["device"], each["counter"], each["digest"]) for each in fields["echo"])
        rest = {key: value for key, value in fields.items() if key != "echo"}
        return {**fields, "message": oracle.message(**rest, echo=echo)}

    def heard(*names: str) -> list[dict[str, Any]]:
        return [
            {"device": drawn(name), "counter": number, "digest": drawn(f"{name} last", 32)}
            for number, name in enumerate(names, 1)
        ]

    good = {
        "the first of a conversation": body(counter=1, previous=bytes(32), position=0),
        "a reply, with the head of a key log": body(
            reply_to=drawn("message"), log_head=(99).to_bytes(8, "big") + drawn("root", 32)
        ),
        "an image, with three devices heard": body(
            kind="image", echo=heard("phone", "laptop", "tablet")
        ),
        "nothing at all": body(content=b""),
    }
    whole = body()
    message = whole["message"]
    bad = {
        "not padded": message.rstrip(b"\0")[:-1],
        "padded by more": message + bytes(32),
        "something after the last item": oracle.padded(message.rstrip(b"\0")[:-1] + b"x"),
        "another label": message.replace(b"message_body", b"message_bodi"),
        "no such kind": message.replace(b"text", b"tezt"),
        "a cut echo": body(echo=heard("phone"))["message"].replace(
            (24).to_bytes(4, "big") + drawn("phone")[:8],
            (23).to_bytes(4, "big") + drawn("phone")[1:8],
        ),
        "four devices": body(echo=heard("a", "b", "c", "d"))["message"],
        "a reply to half an id": body(reply_to=drawn("message", 8))["message"],
        "a cut head of a key log": body(log_head=bytes(39))["message"],
    }
    found = [named(name, "ok", fields) for name, fields in good.items()]
    return found + [
        named(name, "CannotOpen", {**whole, "message": broken}) for name, broken in bad.items()
    ]


def side(name: str) -> dict[str, Any]:
    seeds = ("account_seed", "signing_seed", "agreement_private")
    ids = {"account": drawn(name), "device": drawn(f"{name} device")}
    return ids | {seed: drawn(f"{name} {seed}", 32) for seed in seeds}


def handshakes() -> list[dict[str, Any]]:
    kem = drawn("kem", 64)
    good: dict[str, Any] = {
        "initiator": side("alice"),
        "responder": side("bob"),
        "signed": drawn("signed prekey", 32),
        "once": drawn("one-time prekey", 32),
        "kem": kem,
        "ephemeral": drawn("ephemeral", 32),
        "ciphertext": kept_ciphertext() or oracle.kem_seal(kem),
        "conversation": META["conversation"],
        "policy": drawn("policy", 32),
    }
    found = []
    for name, given in (("with a one-time key", good), ("without", changed(good, "once", b""))):
        shared = oracle.handshake(given)
        found.append(named(name, "ok", {"given": given, "shared": shared}))
    cut = changed(good, "ciphertext", good["ciphertext"][1:])
    found.append(named("a ciphertext that is cut", "KeyRefused", {"given": cut, "shared": []}))
    return found


def kept_ciphertext() -> bytes:
    path = HERE / "e2ee_handshake.json"
    if not path.exists():
        return b""
    vectors = json.loads(path.read_text("utf-8"))["vectors"]
    return bytes.fromhex(vectors[0]["given"]["ciphertext"])


def device_lists() -> list[dict[str, Any]]:
    account, seed = drawn("alice"), drawn("alice account_seed", 32)

    def certificate(name: str, **other: Any) -> dict[str, Any]:
        public: dict[str, Any] = {
            "device": drawn(name),
            "signing": oracle.verifying(drawn(f"{name} signing", 32)),
            "agreement": oracle.public(drawn(f"{name} agreement", 32)),
            "created": TIME,
        }
        return oracle.certificate(account, seed, public | other)

    def listed(version: int, *certificates: dict[str, Any]) -> dict[str, Any]:
        found = oracle.device_list(account, seed, version, list(certificates))
        return {"account": account, "key": oracle.verifying(seed), "list": found}

    phone, laptop = certificate("phone"), certificate("laptop")
    good = listed(3, phone, laptop)
    small = b"\x01" + bytes(31)
    bad = {
        "another version": changed(good, "list.version", 4),
        "another account": changed(good, "account", drawn("bob")),
        "another account key": changed(good, "key", oracle.verifying(drawn("mallory", 32))),
        "a small-order account key": changed(good, "key", small),
        "the list's signature is altered": changed(
            good, "list.signature", flipped(good["list"]["signature"])
        ),
        "a device is dropped": changed(good, "list.certificates", [phone]),
        "a device is added": changed(
            good, "list.certificates", [phone, laptop, certificate("spy")]
        ),
        "devices change places": changed(good, "list.certificates", [laptop, phone]),
        "a certificate's signature is altered": changed(
            good, "list.certificates.1.signature", flipped(laptop["signature"])
        ),
        "a certificate of another account's making": listed(
            3, {**phone, "signature": oracle.sign(drawn("mallory", 32), b"certificate")}
        ),
        "no devices": listed(3),
        "version zero": listed(0, phone),
        "eleven devices": listed(3, *(certificate(f"device {n}") for n in range(11))),
        "one device twice": listed(3, phone, phone),
        "two devices share a key": listed(3, phone, certificate("x", signing=phone["signing"])),
        "a small-order signing key": listed(3, certificate("phone", signing=small)),
        "a small-order agreement key": listed(3, certificate("phone", agreement=bytes(32))),
    }
    found = [named("two devices", "ok", good), named("one device", "ok", listed(1, phone))]
    found.append(named("ten devices", "ok", listed(9, *(certificate(f"d{n}") for n in range(10)))))
    return found + [named(name, "KeyRefused", fields) for name, fields in bad.items()]


def prekeys() -> list[dict[str, Any]]:
    account, device, seed = drawn("alice"), drawn("phone"), drawn("phone signing", 32)
    signing = oracle.verifying(seed)
    x, kem = oracle.public(drawn("x", 32)), oracle.kem_public(drawn("k", 64))

    def prekey(use: str, algorithm: int, key: bytes) -> dict[str, Any]:
        fields = {"id": 5, "algorithm": algorithm, "use": use, "key": key, "expires": TIME}
        signed = oracle.prekey(account, device, seed, fields)
        return {"account": account, "device": device, "signing": signing, "prekey": signed}

    good = prekey("signed", 5, x)
    bad = {
        "another account": changed(good, "account", drawn("bob")),
        "another device": changed(good, "device", drawn("laptop")),
        "another signing key": changed(good, "signing", oracle.verifying(drawn("m", 32))),
        "another id": changed(good, "prekey.id", 6),
        "another date": changed(good, "prekey.expires", TIME + 1),
        "a signed key served as one-time": changed(good, "prekey.use", "once"),
        "another key": changed(good, "prekey.key", oracle.public(drawn("y", 32))),
        "the signature is altered": changed(
            good, "prekey.signature", flipped(good["prekey"]["signature"])
        ),
        "an X25519 key as KEM key": prekey("last", 8, x),
        "a KEM key as X25519 key": prekey("signed", 5, kem),
        "a KEM key named X25519": changed(prekey("once", 8, kem), "prekey.algorithm", 5),
        "a signed KEM key": prekey("signed", 8, kem),
        "an X25519 last resort": prekey("last", 5, x),
        "a small-order key": prekey("once", 5, bytes(32)),
        "a KEM key that is not reduced": prekey("once", 8, b"\xff" * 1184),
    }
    uses = (("signed", 5, x), ("once", 5, x), ("once", 8, kem), ("last", 8, kem))
    found = [
        named(f"{use} {algorithm}", "ok", prekey(use, algorithm, key))
        for use, algorithm, key in uses
    ]
    return found + [named(name, "KeyRefused", fields) for name, fields in bad.items()]


def main() -> None:
    write("franking", "A report: relay key, context, stamp, evidence.", franking())
    write("e2ee_bodies", "M of a message, and what is in it.", bodies())
    write("e2ee_handshake", "Private keys of both sides; th, EC root, PQ root.", handshakes())
    write("e2ee_devices", "Signed device lists.", device_lists())
    write("e2ee_prekeys", "Signed prekeys.", prekeys())


if __name__ == "__main__":
    main()
