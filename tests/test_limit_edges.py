"""Every limit of the settings just below, at and just above: the last that passes passes.

What may live here: one row or one short test for each limit that a client can meet. What may not:
what a limit is good for (``test_gateway_floods``, ``test_attack_strangers``). Rates are set so low
that no bucket refills during a test; deadlines are met on a clock that jumps.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from crypto_modes import wire
from server.gateway import Gateway, GatewaySettings
from server.outbox import Flusher, Outbox
from server.settings_tree import Limits
from server.store import BLOB_LEAST
from server.wheel import TICK
from tests.conftest import Running, StartRelay
from tests.gateway_rig import (
    BINARY,
    HELLO,
    PING,
    PONG,
    TYPING,
    Notes,
    Recorder,
    encoded,
    frame,
    greets,
    request,
    running,
)
from tests.harness.simulated.clock import SimulatedLoop
from tests.harness.simulated.network import Network
from tests.raw_client import RawClient, Refused

NEVER = 1e-6  # tokens per second

# Which test meets it; a limit that is added to the settings has to be added here.
MET: dict[str, str] = {
    "frame": "sizes",
    "before_hello": "sizes",
    "hello_seconds": "deadlines",
    "ping_seconds": "deadlines",
    "pong_seconds": "deadlines",
    "write_seconds": "test_gateway_floods",
    "outbox_frames": "outbox",
    "outbox_bytes": "outbox",
    "control_frames": "control_frames",
    "connections": "connections",
    "connections_per_account": "connections_per_account",
    "connections_per_address": "connections",
    "page": "page",
    "blob": "attachment",
    "blob_account": "attachment",
    "blob_hours": "test_blob_access",
    **{
        f"{bucket}_{part}": "bursts"
        for bucket in ("device", "account", "address", "lookup", "blob", "login", "report")
        for part in ("rate", "burst")
    },
}


def test_every_limit_of_the_settings_is_met_somewhere() -> None:
    assert set(MET) == set(Limits.model_fields)


# --- sizes ---


def padded(known: wire.ClientFrame, size: int) -> bytes:
    """``known`` with a field that nobody knows, ``size`` bytes in all."""
    fields = msgspec.msgpack.decode(encoded(known))
    bare = len(msgspec.msgpack.encode(fields | {"x": bytes(256)})) - 256
    raw = msgspec.msgpack.encode(fields | {"x": bytes(size - bare)})
    assert len(raw) == size
    return raw


@pytest.mark.asyncio
@pytest.mark.parametrize("greeted", [False, True], ids=["before_hello", "frame"])
@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_sizes(greeted: bool, over: int) -> None:
    limits = {"before_hello": 600, "frame": 1500}
    known, limit = (TYPING, 1500) if greeted else (HELLO, 600)
    async with running(**limits) as rig, rig.raw() as raw:
        if greeted:
            raw.write(frame(BINARY, encoded(HELLO)))
            await raw.frame()
        raw.write(frame(BINARY, padded(known, limit + over)))
        if over > 0:
            assert (await raw.closed())[0] == 1009
        else:
            await rig.handlers[0].until(lambda heard: heard.frames[-1:] == [known])


@pytest.mark.asyncio
@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_control_frames(over: int) -> None:
    async with running(control_frames=40) as rig, rig.raw() as raw:
        raw.write(frame(BINARY, encoded(HELLO)))
        await raw.frame()
        raw.write(frame(PING) * (40 + over) + frame(BINARY, encoded(TYPING)))
        if over > 0:
            assert await raw.closed() == (4013, "rate_limited")
        else:
            await rig.handlers[0].until(lambda heard: heard.frames[-1:] == [TYPING])


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize("bound", ["frames", "bytes"])
def test_outbox(bound: str, over: int) -> None:
    full: list[bool] = []
    loop = asyncio.new_event_loop()
    try:
        most = {"frames": (8, 10**6), "bytes": (10**6, 800)}[bound]
        outbox = Outbox(
            asyncio.Transport(),
            Flusher(loop),
            most,
            overflowed=lambda: full.append(True),
            written=lambda frames, size: None,
        )
        outbox.block()
        for _ in range(8 + over):
            outbox.put(bytes(100))
        assert bool(full) == (over > 0)
    finally:
        loop.close()


# --- connections ---


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
async def test_connections(limit: str) -> None:
    async with running(**{limit: 2}) as rig, rig.raw(), rig.raw():
        third = await rig.dial()
        third.write(request())
        assert (await third.head()).startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 429 "))
    async with running(**{limit: 3}) as rig, rig.raw(), rig.raw(), rig.raw():
        assert rig.gateway.connections == 3


@pytest.mark.asyncio
async def test_connections_per_account(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"connections_per_account": 2})
    alice = await relay.enter("alice")
    second, third = await RawClient.open(relay.url), await RawClient.open(relay.url)
    await second.register("alice", login=True)
    await second.hello()
    await third.register("alice", login=True)
    with pytest.raises(Refused) as refused:
        await third.hello()
    assert refused.value.error.code == 106
    await alice.close()
    await third.again(relay.url)


# --- counts ---


@pytest.mark.asyncio
async def test_page(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"page": 3})
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    last = [await alice.say(bob, f"{number}") for number in range(5)][-1]
    for asked, given in ((2, 2), (3, 3), (4, 3)):
        page = await alice.ask(
            wire.History(
                ref=alice.ref(), conversation=last.conversation, before=last.seq, limit=asked
            ),
            wire.Page,
        )
        assert len(page.messages) == given


def uploading(client: RawClient, peer: RawClient, size: int) -> wire.SetBlob:
    return wire.SetBlob(
        ref=client.ref(),
        id=bytes([size % 256]) * 16,
        do="begin",
        to=peer.account,
        mode="tls",
        epoch=1,
        size=size,
        digest=bytes(32),
    )


@pytest.mark.asyncio
async def test_attachment(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"blob": 100})
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.policy(bob)
    for size in (99, 100):
        await alice.ask(uploading(alice, bob, size), wire.Blob)
    assert (await alice.refusal(uploading(alice, bob, 101))).code == 106


@pytest.mark.asyncio
async def test_all_attachments(start_relay: StartRelay) -> None:
    """Each counts as ``BLOB_LEAST`` at least."""
    relay = await start_relay(limits={"blob_account": 3 * BLOB_LEAST + 1})
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.policy(bob)
    await alice.ask(uploading(alice, bob, BLOB_LEAST + 1), wire.Blob)
    await alice.ask(uploading(alice, bob, 2), wire.Blob)
    assert (await alice.refusal(uploading(alice, bob, BLOB_LEAST + 3))).code == 106
    await alice.ask(uploading(alice, bob, BLOB_LEAST), wire.Blob)
    assert (await alice.refusal(uploading(alice, bob, 4))).code == 106


# --- rates ---

BURST = 6


async def type_on(alice: RawClient, bob: RawClient) -> bool:
    return await answered(alice, wire.Block(ref=alice.ref(), account=bob.account))


async def look_up(alice: RawClient, bob: RawClient) -> bool:
    return await answered(alice, wire.GetDevices(ref=alice.ref(), name="bob"))


async def take_a_step(alice: RawClient, bob: RawClient) -> bool:
    return await answered(alice, wire.SetBlob(ref=alice.ref(), id=bytes(16), do="drop"))


async def log_in(alice: RawClient, _: RawClient) -> bool:
    frame = wire.Login(ref=alice.ref(), name="nobody", device=bytes(16), password="wrong" * 4)
    return await answered(alice, frame)


async def answered(client: RawClient, frame: Any) -> bool:
    """Whether the bucket had a token, whatever became of the frame."""
    await client.send(frame)
    while True:
        answer = await client.next()
        if getattr(answer, "ref", None) == frame.ref:
            return not (isinstance(answer, wire.Error) and answer.code == 111)


Step = Callable[[RawClient, RawClient], Awaitable[bool]]


async def passed(relay: Running, step: Step, *, greet: bool, spent: int) -> int:
    """How many steps pass before one is refused, beside ``spent`` that came before."""
    bob = await relay.enter("bob")
    if greet:
        alice = await relay.enter("alice")
    else:
        alice = await RawClient.open(relay.url)
    for count in range(spent, BURST + spent + 4):
        if not await step(alice, bob):
            return count
    raise AssertionError("nothing was refused")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("bucket", "step", "greet", "spent"),
    [
        ("device", type_on, True, 0),
        ("account", type_on, True, 0),
        ("lookup", look_up, True, 0),
        ("blob", take_a_step, True, 0),
        # Bob's registration came from the same address; and his and Alice's two greetings.
        ("login", log_in, False, 1),
        ("address", type_on, True, 4),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bursts(
    start_relay: StartRelay, bucket: str, step: Step, greet: bool, spent: int
) -> None:
    limits = {f"{bucket}_rate": NEVER, f"{bucket}_burst": BURST}
    relay = await start_relay(limits=limits)
    assert await passed(relay, step, greet=greet, spent=spent) == BURST


# --- deadlines ---


class Silent:
    """A client at the far end of a simulated stream that says what it is told, when told."""

    def __init__(self) -> None:
        self.heard = b""
        self.pings: list[float] = []
        self.ended = 0.0

    async def connect(self, network: Network) -> None:
        loop = asyncio.get_running_loop()

        def arrived(data: bytes) -> None:
            self.heard += data
            if self.heard.endswith(bytes([0x80 | PING, 0])):
                self.pings.append(loop.time())

        def ended() -> None:
            self.ended = loop.time()

        self.stream = await network.dial(arrived, ended)
        self.stream.up.write(request())

    def say(self, data: bytes) -> None:
        self.stream.up.write(data)


LATE = 2 * TICK + 0.1  # the wheel's tick, and the way there and back


def at_once(
    limits: dict[str, float], course: Callable[[Network, list[Recorder]], Awaitable[None]]
) -> None:
    """Run ``course`` against a gateway on virtual time."""
    network = Network(random.Random(1))
    network.slowest, network.slicing = 0.002, False
    loop = SimulatedLoop(network.listen)
    network.loop = loop
    handlers: list[Recorder] = []

    def handler(link: Any) -> Recorder:
        handlers.append(Recorder(link, greets))
        return handlers[-1]

    async def run() -> None:
        gateway = Gateway(GatewaySettings(port=0, **limits), handler, Notes())
        await gateway.start(None)
        await course(network, handlers)

    try:
        loop.run_until_complete(run())
    finally:
        loop.finish()
    assert loop.failures == []


def test_deadline_of_hello() -> None:
    async def course(network: Network, handlers: list[Recorder]) -> None:
        loop = asyncio.get_running_loop()
        begun, late, early = loop.time(), Silent(), Silent()
        await late.connect(network)
        await early.connect(network)
        await asyncio.sleep(2.9)
        early.say(frame(BINARY, encoded(HELLO)))
        assert not late.ended
        await asyncio.sleep(4)
        assert 3.0 <= late.ended - begun <= 3.0 + 2 + LATE
        assert late.heard.endswith(b"\x11\x96no_hello")
        assert not early.ended
        assert handlers[1].frames == [HELLO]

    at_once({"hello_seconds": 3.0, "close_seconds": 2.0}, course)


def test_deadlines_of_ping_and_pong() -> None:
    async def course(network: Network, _: list[Recorder]) -> None:
        loop = asyncio.get_running_loop()
        begun, deaf, slow = loop.time(), Silent(), Silent()
        for client in (deaf, slow):
            await client.connect(network)
            client.say(frame(BINARY, encoded(HELLO)))
        await asyncio.sleep(7.0 + LATE)
        # Only the first comes early, by up to half.
        assert 3.5 <= deaf.pings[0] - begun <= 7.0 + LATE
        # The pong of one that is slow comes just in time; the other never answers.
        await asyncio.sleep(slow.pings[0] + 1.9 - loop.time())
        slow.say(frame(PONG))
        assert not deaf.heard.endswith(b"no_pong")
        await asyncio.sleep(slow.pings[0] + 6.9 - loop.time())
        assert deaf.heard.endswith(b"\x0f\xacno_pong")
        assert 2.0 <= deaf.ended - deaf.pings[0] <= 2.0 + 2 + LATE
        assert len(slow.pings) == 1
        await asyncio.sleep(0.1 + LATE)
        assert len(slow.pings) == 2
        assert not slow.ended

    at_once({"ping_seconds": 7.0, "pong_seconds": 2.0, "close_seconds": 2.0}, course)
