"""Make ``e2ee_session.json`` beside this file: a session through PQ epochs, and what is refused.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_session``. Both ends
are ``oracle.End``, which is written from the design alone. The two KEM ciphertexts, which cannot
be drawn again, are kept from the file.

A vector that is ``ok`` holds what both ends begin with and ``steps`` in which ``by`` (0 the
initiator, 1 the responder) seals ``text`` at ``time`` and gives ``copy``, and the other opens
it, with ``fresh`` as its next ratchet key where the copy brings a new one. Who proposes an epoch
draws its KEM key from ``seeds``, and ``ciphertexts`` answer them: those of the epochs 1 and 2.
Every other vector is a copy that must be refused when ``to`` gets it after all steps, and change
nothing.
"""

from __future__ import annotations

import json
from typing import Any

from tests import e2ee_oracle as oracle
from tests.vectors.make_e2ee import HERE, META, TIME, drawn, flipped, named, write

NAME = "e2ee_session"
DAY = 24 * 60 * 60 * 1000
PLACE = {
    **{key: META[key] for key in ("epoch", "conversation", "sender", "device", "recipient")},
    "message": META["id"],
    "policy": drawn("policy", 32),
    "commitment": drawn("commitment", 32),
    "recipient_device": drawn("bob device"),
}
# Who writes, on which day: B proposes epoch 1 on the first day, A epoch 2 on the second.
WRITES = (
    *((0, 0), (1, 0), (0, 0), (0, 0), (1, 1), (1, 1), (0, 1), (1, 1), (0, 1), (1, 1)),
    *((0, 2), (1, 2), (0, 2), (1, 2), (1, 2), (0, 2)),
)
# Both proposers' keys, in the order of the epochs.
SEEDS = drawn("KEM key of epoch 1", 64), drawn("KEM key of epoch 2", 64)


def ciphertexts() -> list[bytes]:
    path = HERE / f"{NAME}.json"
    if not path.exists():
        return [oracle.kem_seal(seed) for seed in SEEDS]
    kept = json.loads(path.read_text("utf-8"))["vectors"][0]["ciphertexts"]
    return [bytes.fromhex(each) for each in kept]


def made() -> list[dict[str, Any]]:
    th, roots = drawn("th", 32), (drawn("EC root", 32), drawn("PQ root", 32))
    a, b = oracle.End(th, roots, first=True), oracle.End(th, roots, first=False)
    answers = ciphertexts()
    # Epoch 1 is proposed by B and answered by A, epoch 2 the other way round.
    a.encapsulate = lambda _: (oracle.kem_open(SEEDS[0], answers[0]), answers[0])
    b.encapsulate = lambda _: (oracle.kem_open(SEEDS[1], answers[1]), answers[1])
    prekey, ratchet, block = drawn("signed prekey", 32), drawn("ratchet", 32), drawn("block", 1152)
    a.write_to(oracle.public(prekey), ratchet)
    b.private = prekey
    steps = []
    for number, (by, days) in enumerate(WRITES):
        text, time, fresh = b"text %d" % number, TIME + days * DAY, drawn(f"fresh {number}", 32)
        one, other = (a, b) if by == 0 else (b, a)
        first = b"" if number else block
        copy = one.seal(text, PLACE, block=first, time=time, seed=SEEDS[1 - by])
        if other.open(copy, PLACE, fresh) != text:
            raise AssertionError("the oracle contradicts itself")
        steps.append({"by": by, "time": time, "text": text, "fresh": fresh, "copy": copy})
    given = {"th": th, "roots": roots, "prekey": prekey, "ratchet": ratchet, "block": block}
    good = {**given, "place": PLACE, "seeds": SEEDS, "ciphertexts": answers, "steps": steps}
    return [named("a session through three epochs", "ok", good), *refused(a, b, steps)]


def refused(a: oracle.End, b: oracle.End, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies to B, and from B to A where it says so. A is the last to have written."""
    n, epoch, pq_n = a.ec_sent, a.epoch, a.pq_sent
    at, late = (n, epoch, pq_n), (b.ec_sent, b.epoch, b.pq_sent)
    honest = a.at(b"text", PLACE, at)
    key, answer = oracle.kem_public(drawn("another", 64)), drawn("answer", 1088)
    to_b = {
        "replayed": steps[-1]["copy"],
        "of an epoch long over": a.at(b"text", PLACE, (n, 0, 40)),
        "of an epoch to come": header_with(honest, 50, epoch + 1),
        "too far ahead in the ratchet": header_with(honest, 46, n + 2_001),
        "too far ahead in the epoch": a.at(b"text", PLACE, (n, epoch, pq_n + 2_001)),
        "too far ahead by what was before": header_with(
            header_with(honest, 42, 2**31), 10, oracle.public(drawn("new", 32))
        ),
        "a small-order ratchet key": header_with(honest, 10, bytes(32)),
        "another suite": b"\x02" + honest[1:],
        "an unknown flag": honest[:1] + b"\x08" + honest[2:],
        "two blocks": a.at(b"text", PLACE, at, 3, key + answer),
        "a cut header": honest[:57],
        "no tag": honest[:-1],
        "the epoch's key out of turn": a.at(b"text", PLACE, at, 1, key),
        "an answer to nothing": a.at(b"text", PLACE, at, 2, answer),
        "a text altered": flipped(honest, 8 * 60),
        "a flag that announces a block": honest[:1] + b"\x02" + honest[2:],
    }
    to_a = {
        "an answer out of turn": b.at(b"text", PLACE, late, 2, answer),
        "a key that is not reduced": b.at(b"text", PLACE, late, 1, b"\xff" * 1184),
        "a key altered": flipped(b.at(b"text", PLACE, late, 1, key), 8 * 100),
        "a key cut": b.at(b"text", PLACE, late, 1, key[:-1]),
    }
    both = [(name, 1, copy) for name, copy in to_b.items()]
    both += [(name, 0, copy) for name, copy in to_a.items()]
    kinds = {"a key that is not reduced": "KeyRefused", "a small-order ratchet key": "KeyRefused"}
    return [
        named(name, kinds.get(name, "CannotOpen"), {"to": to, "copy": copy})
        for name, to, copy in both
    ]


def header_with(copy: bytes, place: int, value: int | bytes) -> bytes:
    data = value.to_bytes(4, "big") if isinstance(value, int) else value
    return copy[:place] + data + copy[place + len(data) :]


if __name__ == "__main__":
    write(NAME, "A session of two ends, copy by copy; then copies that are refused.", made())
