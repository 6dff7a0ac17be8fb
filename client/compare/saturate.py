"""The second instrument: how much a relay sustains, with frames sealed beforehand.

What may live here: preparing pairs of users, sealing frames ahead, keeping a window of them in
flight, counting. Run as ``python -m client.compare.saturate JOB``; prints one JSON object.

Accounts, devices and policies are made by the real client library, and one real message tells
how large a copy is. The bytes of the copies are random from then on: no relay can tell, and the
generator need not encrypt. Recipients are connected and acknowledge, so the relay does all of its
work: receive, commit, accept, deliver, note the acknowledgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from client import Chat, Jwt, Keystore, connect
from client.compare import proc
from client.compare.lab import trust
from client.compare.raw import RawConnection, framed
from crypto_modes import wire
from crypto_modes.errors import ConnectionLost

WARMUP_SECONDS = 0.5
DRAIN_SECONDS = 20.0
_CODEC = wire.CODECS[wire.MSGPACK]
_ACCEPTED = b"\xa4type\xa8accepted"
_DELIVER = b"\xa4type\xa7deliver"
_SEALED_AHEAD = 2048  # frames per connection in stock; refilled outside of the hot loop


class Job(msgspec.Struct, frozen=True):
    """``pairs`` holds (name, token) of sender and recipient; ``size`` is bytes of text. Without
    ``certificates`` there is no TLS."""

    port: int
    pid: int
    certificates: str
    pairs: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
    window: int
    size: int
    slices: int
    slice_seconds: float


class Slice(msgspec.Struct, frozen=True):
    """What happened in one slice of time."""

    seconds: float
    accepted: int
    server_cpu_us: float
    client_cpu_us: float


class Outcome(msgspec.Struct, frozen=True):
    """The whole run. ``delivered`` must equal ``accepted`` must equal ``sent`` at the end."""

    slices: list[Slice]
    sent: int
    accepted: int
    delivered: int
    frame_bytes: float


class Pair:
    """A sender and its recipient, each on a raw connection."""

    def __init__(
        self, sender: RawConnection, recipient: RawConnection, template: wire.Send, window: int
    ) -> None:
        self._sender, self._recipient = sender, recipient
        self._window = window
        self._frames = self._sealed(template)
        self.sent = self.accepted = self.delivered = 0
        self.refused = ""
        self._going = False
        sender.receive = self._answered
        recipient.receive = self._delivered

    def start(self) -> None:
        """Fill the window."""
        self._going = True
        self._fill(self._window)

    def stop(self) -> None:
        """Send nothing more."""
        self._going = False

    @property
    def settled(self) -> bool:
        """Whether everything sent was accepted and delivered."""
        return self.sent == self.accepted == self.delivered

    def check(self) -> None:
        """Raise ``ConnectionLost`` where the relay refused something or hung up."""
        if self.refused or self._sender.lost or self._recipient.lost:
            raise ConnectionLost(f"saturation broke off: {self.refused or 'connection lost'}")

    def _fill(self, count: int) -> None:
        self._sender.write(b"".join([next(self._frames) for _ in range(count)]))
        self.sent += count

    def _answered(self, payloads: list[bytes]) -> None:
        new = 0
        for payload in payloads:
            if payload.startswith(_ACCEPTED, 1):
                new += 1
            else:
                self._other(payload)
        self.accepted += new
        if new and self._going:
            self._fill(new)

    def _delivered(self, payloads: list[bytes]) -> None:
        last = b""
        for payload in payloads:
            if payload.startswith(_DELIVER, 1):
                self.delivered += 1
                last = payload
            else:
                self._other(payload)
        if last:
            frame = _CODEC.decode_server(last)
            assert isinstance(frame, wire.Deliver)  # noqa: S101  its first bytes said so
            ack = wire.Ack(conversation=frame.conversation, seq=frame.seq)
            self._recipient.write(framed(_CODEC.encode(ack)))

    def _other(self, payload: bytes) -> None:
        frame = _CODEC.decode_server(payload)
        if isinstance(frame, wire.Error | wire.Bye):
            self.refused = repr(frame)

    def _sealed(self, template: wire.Send) -> Iterator[bytes]:
        """Endless frames, made in batches; each with an id of its own, as the relay demands."""
        ref = 1000
        while True:
            batch = []
            for _ in range(_SEALED_AHEAD):
                ref = (ref + 1) % 2**31
                frame = msgspec.structs.replace(template, ref=ref, id=os.urandom(16))
                batch.append(framed(_CODEC.encode(frame)))
            yield from batch


async def saturate(job: Job) -> Outcome:
    """Prepare the pairs, keep their windows full, measure, drain."""
    pairs, size = await _prepare(job)
    for pair in pairs:
        pair.start()
    await asyncio.sleep(WARMUP_SECONDS)
    slices = [await _slice(job, pairs) for _ in range(job.slices)]
    for pair in pairs:
        pair.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while not all(pair.settled for pair in pairs):
                _check(pairs)
                await asyncio.sleep(0.02)
    _check(pairs)
    counts = [sum(getattr(p, name) for p in pairs) for name in ("sent", "accepted", "delivered")]
    return Outcome(slices, counts[0], counts[1], counts[2], size)


async def _slice(job: Job, pairs: list[Pair]) -> Slice:
    before = (time.perf_counter(), _accepted(pairs), proc.cpu_us(job.pid), time.process_time())
    await asyncio.sleep(job.slice_seconds)
    after = (time.perf_counter(), _accepted(pairs), proc.cpu_us(job.pid), time.process_time())
    _check(pairs)
    seconds, accepted, server, client = (b - a for a, b in zip(before, after, strict=True))
    return Slice(seconds, int(accepted), server, client * 1e6)


def _accepted(pairs: list[Pair]) -> int:
    return sum(pair.accepted for pair in pairs)


def _check(pairs: list[Pair]) -> None:
    for pair in pairs:
        pair.check()


async def _prepare(job: Job) -> tuple[list[Pair], float]:
    """Pairs ready to start, and the bytes of one ``send`` frame."""
    context = _trust(job)
    pairs = []
    size = 0
    for sender, recipient in job.pairs:
        devices, account = await _acquaint(job, sender, recipient)
        there = await _enter(job.port, context, recipient, devices[1])
        sample = await there.next()
        while not isinstance(sample, wire.Deliver):
            sample = await there.next()
        here = await _enter(job.port, context, sender, devices[0])
        template = _template(sample, account, devices[1])
        size = len(framed(_CODEC.encode(template)))
        there.write(
            framed(_CODEC.encode(wire.Ack(conversation=sample.conversation, seq=sample.seq)))
        )
        pairs.append(Pair(here, there, template, job.window))
    return pairs, float(size)


async def _acquaint(
    job: Job, sender: tuple[str, str], recipient: tuple[str, str]
) -> tuple[tuple[bytes, bytes], bytes]:
    """Let two real clients exchange messages; their devices, and the recipient's account.

    The last message is left for the recipient's raw connection: it comes after the handshake
    is over, and so has the size of any later one.
    """
    text = b"x" * job.size
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(_chat(job, sender))
        async with _chat(job, recipient) as there:
            await here.send(there.account, text)
            await anext(there)
            await there.send(here.account, text)
            await anext(here)
            account, device = there.account, there.welcome.device
        await here.send(account, text)
        return (here.welcome.device, device), account


def _chat(job: Job, who: tuple[str, str]) -> AbstractAsyncContextManager[Chat]:
    return connect(
        f"{'wss' if job.certificates else 'ws'}://127.0.0.1:{job.port}",
        name=who[0],
        credentials=Jwt(who[1]),
        keystore=Keystore.in_memory(),
        ssl=_trust(job),
    )


def _trust(job: Job) -> ssl.SSLContext | None:
    return trust(Path(job.certificates)) if job.certificates else None


async def _enter(
    port: int, context: ssl.SSLContext | None, who: tuple[str, str], device: bytes
) -> RawConnection:
    """A raw connection of a device that a real client has made."""
    raw = await RawConnection.open(port, context)
    token = await raw.ask(wire.Login(ref=1, name=who[0], device=device, token=who[1]))
    assert isinstance(token, wire.Token)  # noqa: S101  ask raised for anything else
    await raw.ask(wire.Hello(ref=2, token=token.token, device=device))
    return raw


def _template(sample: wire.Deliver, to: bytes, device: bytes) -> wire.Send:
    """A ``send`` like the one that led to ``sample``."""
    bare = wire.Send(ref=0, id=bytes(16), to=to, mode=sample.mode, epoch=sample.epoch)
    if not sample.commitment:
        return msgspec.structs.replace(bare, body=sample.body)
    copy = wire.Copy(device, os.urandom(len(sample.body)))
    return msgspec.structs.replace(bare, copies=(copy,), commitment=os.urandom(32))


def main() -> None:
    """Take the job file from the command line, print the outcome."""
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    try:
        import uvloop
    except ImportError:
        outcome = asyncio.run(saturate(job))
    else:
        outcome = uvloop.run(saturate(job))
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main()
