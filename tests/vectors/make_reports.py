"""Make ``reports.json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_reports``. All values
come from ``tests/reports_oracle.py`` and ``tests/e2ee_oracle.py``, written from ``docs/modes.md``
alone. Encapsulation draws its own randomness, so a new run gives other sealed bytes that say the
same. Bytes are hex. ``expect`` is ``ok`` or the name of the error that opening must raise.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tests import e2ee_oracle, modes_oracle
from tests import reports_oracle as oracle
from tests.vectors.make_e2ee import TIME, changed, drawn, flipped, write

ALICE, BOB = drawn("alice"), drawn("bob")
TALK = modes_oracle.conversation(ALICE, BOB)
TEAM = drawn("moderation team", 32)


def item(number: int, text: bytes, previous: bytes) -> dict[str, Any]:
    message = e2ee_oracle.message("text", text, b"", number, previous, 0)
    key = drawn(f"franking key {number}", 32)
    found: dict[str, Any] = {
        "conversation": TALK,
        "seq": 6 + number,
        "id": drawn(f"message {number}"),
        "sender": ALICE,
        "device": drawn("device"),
        "recipient": BOB,
        "kind": "text",
        "mode": "e2ee",
        "time": TIME + number,
        "message": message,
        "key": key,
    }
    committed = e2ee_oracle.commitment(key, TALK, found["id"], message)
    stamp = e2ee_oracle.stamp(drawn("server key", 32), 202609, committed, found)
    return found | {"commitment": committed, "stamp": stamp}


def plain(number: int) -> dict[str, Any]:
    nothing = {"key": b"", "commitment": b"", "stamp": b"", "mode": "tls"}
    return item(number, b"", bytes(32)) | nothing | {"message": "größe".encode()}


def report(*items: dict[str, Any]) -> dict[str, Any]:
    return {
        "relay": drawn("relay"),
        "reporter": BOB,
        "reported": ALICE,
        "category": "threat",
        "words": "every day ☂",
        "created": TIME + 60_000,
        "items": list(items),
    }


def vector(name: str, expect: str, told: dict[str, Any], **given: Any) -> dict[str, Any]:
    public = oracle.public(TEAM)
    digits = hashlib.sha256(modes_oracle.enc("louver/v1/report/team", public)).hexdigest()[:32]
    fields = {
        "name": name,
        "expect": expect,
        "secret": TEAM,
        "fingerprint": " ".join(digits[at : at + 4] for at in range(0, 32, 4)),
        "relay": told["relay"],
        "reporter": told["reporter"],
        "tags": oracle.tags(told),
        "record": oracle.encode(told) if expect == "ok" else b"",
        "items": [{"message": each["message"], "seq": each["seq"]} for each in told["items"]],
        "sealed": oracle.seal(public, told),
    }
    return fields | given


def reports() -> list[dict[str, Any]]:
    one = item(1, b"an insult", bytes(32))
    two = item(2, b"and another", hashlib.sha256(one["message"]).digest())
    good = vector("two messages with their proofs", "ok", report(one, two))
    sealed = good["sealed"]
    cannot = [
        ("another team", "secret", drawn("other", 32)),
        ("another relay", "relay", drawn("elsewhere")),
        ("another reporter", "reporter", drawn("carol")),
        ("another tag", "tags", [drawn("tag", 32), good["tags"][1]]),
        ("a tag less", "tags", good["tags"][:1]),
        ("the encapsulated ML-KEM key is altered", "sealed", flipped(sealed, 9)),
        ("the encapsulated X25519 key is altered", "sealed", flipped(sealed, 1088 * 8)),
        ("the ciphertext is altered", "sealed", flipped(sealed, 1130 * 8)),
        ("cut by a byte", "sealed", sealed[:-1]),
        ("cut before the tag", "sealed", sealed[:1120]),
        ("nothing", "sealed", b""),
    ]
    wrong = [
        ("no messages", report()),
        ("21 messages", report(*[item(number, b"x", bytes(32)) for number in range(1, 22)])),
        ("one message twice", report(one, one)),
        ("an unknown category", changed(report(one), "category", "rude")),
        ("words that are too long", changed(report(one), "words", "w" * 2001)),
        ("words that are no text", changed(report(one), "words", b"\xff")),
        ("a message of another account", changed(report(one), "items.0.sender", drawn("carol"))),
        ("reported by its sender", changed(report(one), "reporter", ALICE)),
        ("a proof without a stamp", changed(report(one), "items.0.stamp", b"")),
        ("a number of 7 bytes", changed(report(one), "items.0.seq", bytes(6) + b"\7")),
        ("a time beyond any calendar", changed(report(one), "items.0.time", 1 << 52)),
        ("a franking key of 31 bytes", changed(report(one), "items.0.key", one["key"][1:])),
        ("a kind that is none", changed(report(one), "items.0.kind", "smell")),
        ("an identifier of 15 bytes", changed(report(one), "items.0.id", one["id"][1:])),
    ]
    return [
        good,
        vector("a message without a proof", "ok", report(plain(3))),
        *(
            {**good, "name": name, "expect": "CannotOpen", "record": b"", field: value}
            for name, field, value in cannot
        ),
        *(vector(name, "ReportRefused", told) for name, told in wrong),
    ]


if __name__ == "__main__":
    write(
        "reports", "The team's secret key, where it was handed in, and what was sealed.", reports()
    )
