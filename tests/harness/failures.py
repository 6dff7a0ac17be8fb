"""Whether the time of a failure tells where it failed: ``python -m tests.harness.failures [N]``.

By hand, on a quiet machine, and not in CI: times on a shared machine prove nothing. What may live
here: pairs of failures that an outsider must not tell apart, and Welch's t between their times.
Compared are inputs that differ only in *where* they are wrong; that a copy which is too short
fails sooner than one that is not is no secret, as its sender made it so. ``--plant`` compares
byte by byte and stops at the first difference, which must be found. Attack 6; bar: |t| < 4.5.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from crypto_modes import at_rest, wire
from crypto_modes.contract import Sealed, Stored
from crypto_modes.e2ee import receiving
from crypto_modes.errors import LouverError
from server.accounts import Tokens
from tests.e2ee_relay import BOB, talking
from tests.hostile_relay import changed
from tests.labels import AT_REST, at_rest_server

BAR = 4.5
KEY = bytes(range(32))
Attempt = Callable[[], object]


def flipped(value: bytes, at: int) -> bytes:
    """``value`` with one bit of one byte changed."""
    mauled = bytearray(value)
    mauled[at] ^= 1
    return bytes(mauled)


def comparing(digest: bytes, at: int) -> Attempt:
    """The comparison of a digest with one that is wrong at this byte."""
    wrong = flipped(digest, at)
    return lambda: receiving.equal(wrong, digest)


def pairs() -> dict[str, tuple[Attempt, Attempt]]:
    """Two attempts each, wrong at the beginning and at the end.

    A commitment that is wrong fails at the tag already, whose additional data it is.
    """
    relay, alice, bob = talking()
    good = relay.mode.emit(alice.send(BOB, b"text"), bob.id)

    def opening(**fields: bytes) -> Attempt:
        mauled: wire.Deliver = changed(good, **fields)
        return lambda: bob.open(mauled)

    server = at_rest_server(KEY)
    record = server.admit(AT_REST, Sealed(mode="at_rest", epoch=1, body=b"x"), bytes(32)).record

    def reading(at: int) -> Attempt:
        mauled = Stored(AT_REST, flipped(record, at))
        return lambda: server.emit(mauled, KEY[:16])

    digest = Tokens(KEY).digest("a token")
    body, c = good.body, good.commitment
    return {
        "tag of a copy": (opening(body=flipped(body, -16)), opening(body=flipped(body, -1))),
        "text of a copy": (opening(body=flipped(body, -300)), opening(body=flipped(body, -17))),
        "commitment of a copy": (
            opening(commitment=flipped(c, 0)),
            opening(commitment=flipped(c, -1)),
        ),
        "commitment of a record": (reading(34), reading(65)),
        "tag of a record": (reading(-16), reading(-1)),
        "digest of a token": (comparing(digest, 0), comparing(digest, -1)),
    }


def spent(attempt: Attempt) -> int:
    """Nanoseconds until it failed."""
    began = time.perf_counter_ns()
    with suppress(LouverError):
        attempt()
    return time.perf_counter_ns() - began


def welch(one: list[int], other: list[int]) -> float:
    """Welch's t of the times without the slowest tenth, which the system made slow."""
    first, second = (sorted(each)[: len(each) * 9 // 10] for each in (one, other))
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / float(spread**0.5 or 1.0)


def main(arguments: list[str]) -> int:
    """One line for each pair; the number of pairs that can be told apart."""
    if "--plant" in arguments:
        receiving.equal = at_rest.equal = careless  # type: ignore[assignment]  # on purpose
    count = next((int(each) for each in arguments if each.isdigit()), 5000)
    told_apart = 0
    for name, (first, last) in pairs().items():
        times: tuple[list[int], list[int]] = ([], [])
        for turn in range(count * 2):
            times[turn % 2].append(spent((first, last)[turn % 2]))
        t = welch(*times)
        told_apart += abs(t) >= BAR
        print(f"{name}: t = {t:.1f} over {count} each{', TOLD APART' * (abs(t) >= BAR)}")  # noqa: T201 - the answer
    return told_apart


def careless(one: bytes, other: bytes) -> bool:
    """What must be found: stops at the first byte that differs."""
    return all(a == b for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
