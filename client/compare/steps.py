"""The third instrument: what one message costs by where it stands in a conversation.

What may live here: the script that two users follow in every mode, and timing it. What may not:
starting relays (``instruments``) or intervals (``stats``). Run as ``python -m client.compare.steps
JOB``; prints one JSON array of ``Taken``.

Both users live in this process, each with the real client library and a TLS connection of its own
to the mode's relay. One message is on its way at a time, so nothing queues: times are of an idle
relay, unlike those of the rounds. CPU is this process's, both users together; the key stores are
in memory. Bytes are counted through a tap, by two users of their own whose times are not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from client import Chat, Jwt, Keystore, connect
from client.compare.lab import trust
from client.compare.results import StepName
from client.compare.tap import Tap, tap
from client.incoming import ACK_SECONDS

# Who writes, message by message. In e2ee the first one of "chain" is the third of the session, so
# its last one makes the 50 after which the other side proposes a new epoch of the PQ ratchet
# (``crypto_modes.e2ee.pq_ratchet``); "pq_epoch" is the proposal, its answer and the first message
# in the new epoch. In other modes these are three turns as any, and so "turn" has as many.
SCRIPT: Mapping[StepName, str] = {
    "first_contact": "a",
    "first_answer": "b",
    "chain": "a" * 48,
    "pq_epoch": "bab",
    "turn": "aba",
}
TEXT = b"See you at the station at eight?"  # 32 bytes: about the median of the trace
# What follows a message belongs to its step: clients acknowledge all that came within 0.1 s at once
# (``client.incoming``), and the relay then sends a receipt.
SETTLE_SECONDS = ACK_SECONDS + 0.03
OPENING_SECONDS = 20.0
_QUIET_SECONDS = 0.3


class Place(msgspec.Struct, frozen=True):
    """One mode's relay: its port, and (name, token) of the users; the first two are tapped."""

    port: int
    users: tuple[tuple[str, str], ...]


class Job(msgspec.Struct, frozen=True):
    """What the process is told; ``places`` are by mode."""

    certificates: str
    places: dict[str, Place]


class Taken(msgspec.Struct, frozen=True):
    """One step of one pair of users, a message: CPU and latency, or bytes for the tapped pair.

    ``latency_ms``, from handing over to opened, is the median of the step's messages, ``cpu_us``
    and ``wire_bytes`` are their mean.
    """

    mode: str
    pair: int
    step: StepName
    messages: int
    cpu_us: float = 0.0
    latency_ms: float = 0.0
    wire_bytes: float = 0.0


async def follow(a: Chat, b: Chat, mode: str, pair: int, wire: Tap | None) -> list[Taken]:
    """The whole script between two users who never wrote to each other."""
    taken = []
    for step, writers in SCRIPT.items():
        heard = wire.bytes if wire else 0
        begun = time.process_time_ns()
        took = [await _carry(*((a, b) if writer == "a" else (b, a))) for writer in writers]
        await asyncio.sleep(SETTLE_SECONDS)
        cpu = (time.process_time_ns() - begun) / 1000 / len(writers)
        if wire:
            size = (wire.bytes - heard) / len(writers)
            taken.append(Taken(mode, pair, step, len(writers), wire_bytes=size))
        else:
            times = {"cpu_us": round(cpu, 2), "latency_ms": round(median(took), 4)}
            taken.append(Taken(mode, pair, step, len(writers), **times))
    return taken


async def _carry(sender: Chat, recipient: Chat) -> float:
    """One message; the milliseconds from handing it over until it was opened."""
    async with asyncio.timeout(OPENING_SECONDS):
        begun = time.monotonic_ns()
        accepted = sender.send_soon(recipient.account, TEXT)
        message = await anext(recipient)
        opened = time.monotonic_ns()
        await accepted
    if (message.sender, message.content) != (sender.account, TEXT):
        raise RuntimeError("another message came than the one that was sent")
    return (opened - begun) / 1e6


async def measure(job: Job) -> list[Taken]:
    """Every pair of users in every mode, the modes in turn (ABC CBA …)."""
    async with contextlib.AsyncExitStack() as stack:
        chats = {mode: await _connected(stack, job, place) for mode, place in job.places.items()}
        await asyncio.sleep(_QUIET_SECONDS)
        taken: list[Taken] = []
        for mode, (tapped, _, wire) in chats.items():
            taken += await follow(*tapped, mode, 0, wire)
        users = len(next(iter(chats.values()))[1])
        for number, (one, other) in enumerate(itertools.combinations(range(users), 2), start=1):
            for mode in _alternating(tuple(chats), number):
                timed = chats[mode][1]
                taken += await follow(timed[one], timed[other], mode, number, None)
        return taken


async def _connected(
    stack: contextlib.AsyncExitStack, job: Job, place: Place
) -> tuple[tuple[Chat, Chat], list[Chat], Tap]:
    """The tapped pair, the others, and the tap."""
    wire = await stack.enter_async_context(tap(place.port))
    context = trust(Path(job.certificates))
    chats = []
    for number, (name, token) in enumerate(place.users):
        port = wire.port if number < 2 else place.port
        chats.append(
            await stack.enter_async_context(
                connect(
                    f"wss://127.0.0.1:{port}",
                    name=name,
                    credentials=Jwt(token),
                    keystore=Keystore.in_memory(),
                    ssl=context,
                )
            )
        )
    return (chats[0], chats[1]), chats[2:], wire


def _alternating(modes: Sequence[str], number: int) -> Iterator[str]:
    return iter(modes if number % 2 else modes[::-1])


def main() -> None:
    """Take the job file from the command line, measure, print."""
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    try:
        import uvloop
    except ImportError:
        taken = asyncio.run(measure(job))
    else:
        taken = uvloop.run(measure(job))
    sys.stdout.buffer.write(msgspec.json.encode(taken) + b"\n")


if __name__ == "__main__":
    main()
