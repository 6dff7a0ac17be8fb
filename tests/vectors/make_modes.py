"""Make ``tls.json``, ``at_rest.json`` and ``policy.json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_modes``. All values
come from ``tests/modes_oracle.py``, which is written from the design alone, and from counting
bytes; so the files are the same on every run and the product's code has no part in them.
Bytes are hex. ``expect`` is ``ok`` or the name of the error that must be raised.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests import modes_oracle as oracle

HERE = Path(__file__).parent
TIME = 1_790_000_000_000


def drawn(name: str, size: int = 16) -> bytes:
    """Reproducible bytes that look like nothing in particular."""
    return hashlib.shake_256(name.encode()).digest(size)


ALICE, BOB = sorted((drawn("alice"), drawn("bob")))
DEPLOYMENT, DEK, DEK_ID = drawn("deployment"), drawn("dek", 32), drawn("dek id")
META: dict[str, Any] = {
    "conversation": oracle.conversation(ALICE, BOB),
    "seq": 7,
    "id": drawn("message"),
    "sender": ALICE,
    "device": drawn("device"),
    "recipient": BOB,
    "kind": "text",
    "mode": "at_rest",
    "epoch": 1,
    "time": TIME,
}


def plain(value: Any) -> Any:
    """``value`` with bytes as hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def write(name: str, about: str, vectors: list[dict[str, Any]]) -> None:
    text = json.dumps({"about": about, "vectors": plain(vectors)}, indent=1, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n", "utf-8")


def at_rest_vector(name: str, expect: str, **changes: Any) -> dict[str, Any]:
    """A record of ``body``, opened with ``meta`` and ``dek`` as changed."""
    body = changes.pop("body", b"hello")
    meta = META | {"kind": changes.pop("sealed_kind", "text")}
    salt = drawn("salt " + name)
    record = oracle.at_rest_seal(DEPLOYMENT, meta, DEK_ID, DEK, salt, body)
    edit = changes.pop("edit", None)
    previous = drawn("previous", 32)
    return {
        "name": name,
        "expect": expect,
        "deployment": changes.pop("deployment", DEPLOYMENT),
        "dek_id": DEK_ID,
        "dek": changes.pop("dek", DEK),
        "salt": salt,
        "body": body,
        "record": edit(record) if edit else record,
        "previous": previous,
        "chain": oracle.chain(previous, meta["seq"], record),
        "meta": meta | changes,
    }


def at_rest() -> list[dict[str, Any]]:
    def flipped(place: int) -> Any:
        def edit(record: bytes) -> bytes:
            altered = bytearray(record)
            altered[place] ^= 1
            return bytes(altered)

        return edit

    good = [
        at_rest_vector("five bytes", "ok"),
        at_rest_vector("an empty body", "ok", body=b""),
        at_rest_vector("255 bytes just fit the smallest size", "ok", body=bytes(range(255))),
        at_rest_vector("256 bytes need the next size", "ok", body=b"\xff" * 256),
        at_rest_vector("a body that looks like padding", "ok", body=b"\x80\0\0"),
        at_rest_vector("an image", "ok", body=b"\x89PNG", sealed_kind="image"),
        at_rest_vector("a thousand bytes", "ok", body=drawn("thousand", 1000)),
        at_rest_vector("1,023 bytes just fit 1,024", "ok", body=drawn("kibibyte", 1023)),
        at_rest_vector("1,024 bytes need 1,152", "ok", body=drawn("kibibyte", 1024)),
    ]
    places = {"format": 0, "algorithm": 1, "salt": 18, "commitment": 34, "text": 66, "tag": -1}
    edited = [
        at_rest_vector(f"the {what} is altered", "CannotOpen", edit=flipped(place))
        for what, place in places.items()
    ]
    changed: dict[str, Any] = {
        "conversation": drawn("elsewhere"),
        "seq": 8,
        "id": drawn("another message"),
        "sender": BOB,
        "device": drawn("another device"),
        "kind": "call",
        "epoch": 2,
        "time": TIME + 1,
    }
    moved = [
        at_rest_vector(f"another {field}", "CannotOpen", **{field: value})
        for field, value in changed.items()
    ]
    others = [
        at_rest_vector("another deployment", "CannotOpen", deployment=drawn("else")),
        at_rest_vector("another data key", "CannotOpen", dek=drawn("another dek", 32)),
        at_rest_vector("a cut-off tag", "CannotOpen", edit=lambda record: record[:-1]),
        at_rest_vector("only a header", "CannotOpen", edit=lambda record: record[:81]),
        at_rest_vector("nothing", "CannotOpen", edit=lambda record: b""),
    ]
    return good + edited + moved + others


SEEDS = {ALICE: drawn("alice's account key", 32), BOB: drawn("bob's account key", 32)}


def public(account: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(SEEDS[account]).public_key().public_bytes_raw()


def signature(account: bytes, policy: dict[str, Any]) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(SEEDS[account])
    return key.sign(oracle.policy(policy))


def modes(mode: str, **kinds: str) -> dict[str, str]:
    return dict.fromkeys(oracle.KINDS, mode) | kinds


def epoch(older: dict[str, Any] | None, named: dict[str, str], *signers: bytes) -> dict[str, Any]:
    policy: dict[str, Any] = {
        "conversation": oracle.conversation(ALICE, BOB),
        "epoch": older["epoch"] + 1 if older else 1,
        "modes": named,
        "first": ALICE,
        "second": BOB,
        "keys": [public(ALICE), public(BOB)],
        "created": TIME,
        "previous": oracle.sha256(oracle.policy(older)) if older else bytes(32),
        "signatures": [b"", b""],
    }
    policy["signatures"] = [
        signature(account, policy) if account in signers else b"" for account in (ALICE, BOB)
    ]
    return policy


def policies() -> list[dict[str, Any]]:
    """Each vector: an older policy that is pinned, a newer one, and what a client says to it."""

    def vector(name: str, expect: str, older: Any, newer: Any) -> dict[str, Any]:
        return {
            "name": name,
            "expect": expect,
            "older": older,
            "newer": newer,
            "record": oracle.policy(newer),
            "digest": oracle.sha256(oracle.policy(newer)),
        }

    first, strong = epoch(None, modes("tls")), epoch(None, modes("e2ee"))
    raised, lowered = modes("e2ee"), modes("at_rest")
    forged = epoch(first, raised, BOB)
    forged["signatures"] = [forged["signatures"][1], b""]
    mixed = modes("e2ee", voice="tls")
    altered = epoch(first, raised, ALICE) | {"created": TIME + 1}
    unlinked = epoch(first, raised) | {"previous": drawn("nothing", 32)}
    unlinked["signatures"] = [signature(ALICE, unlinked), b""]
    return [
        vector("one user raises", "ok", first, epoch(first, raised, ALICE)),
        vector("the other user raises", "ok", first, epoch(first, raised, BOB)),
        vector("one kind is raised", "ok", first, epoch(first, modes("tls", call="e2ee"), BOB)),
        vector("both lower", "ok", strong, epoch(strong, lowered, ALICE, BOB)),
        vector("nobody signed a raise", "KeyRefused", first, epoch(first, raised)),
        vector("one user lowers", "BelowFloor", strong, epoch(strong, lowered, ALICE)),
        vector("nobody lowers", "BelowFloor", strong, epoch(strong, lowered)),
        vector("one kind is lowered by one", "BelowFloor", strong, epoch(strong, mixed, BOB)),
        vector("a signature in the other's place", "KeyRefused", first, forged),
        vector("altered after signing", "KeyRefused", first, altered),
        vector("another previous policy", "ModeMismatch", first, unlinked),
        vector("a mode nobody knows", "ModeMismatch", first, epoch(first, modes("rot13"), ALICE)),
        vector("one user keeps the modes", "ok", strong, epoch(strong, modes("e2ee"), BOB)),
        vector("nobody keeps the modes", "KeyRefused", strong, epoch(strong, modes("e2ee"))),
    ]


def tls() -> list[dict[str, Any]]:
    """``repeat`` times ``body`` is what is sent, and what is kept."""
    return [
        {"name": "five bytes", "expect": "ok", "body": b"hello", "repeat": 1},
        {"name": "an empty body", "expect": "ok", "body": b"", "repeat": 1},
        {"name": "the largest body", "expect": "ok", "body": b"x", "repeat": 16384},
        {"name": "a byte too many", "expect": "LimitExceeded", "body": b"x", "repeat": 16385},
        {"name": "copies", "expect": "FrameRefused", "body": b"", "copies": [drawn("device")]},
        {"name": "a commitment", "expect": "FrameRefused", "body": b"", "commitment": bytes(32)},
    ]


def main() -> None:
    """Write the three files."""
    write("tls", "What the relay keeps of a body in tls.", tls())
    write("at_rest", "Records of at_rest: dek and meta open record to body, or fail.", at_rest())
    write("policy", "A client has pinned older and is offered newer.", policies())


if __name__ == "__main__":
    main()
