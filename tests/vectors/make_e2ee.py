"""Make ``franking.json``, ``e2ee_header.json``, ``e2ee_devices.json``, ``e2ee_handshake.json`` and
``e2ee_copy.json`` beside this file.

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


def main() -> None:
    write("franking", "A report: relay key, context, stamp, evidence.", franking())


if __name__ == "__main__":
    main()
