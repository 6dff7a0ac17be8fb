"""Known attacks that make a conversation weaker: rows 15 (the mode) and 16 (suite and KEM part).

Real clients, a real relay, and a hostile one in between, whose record of the socket's bytes is what
counts: whatever the relay says, a secret does not cross it in the clear.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, get_args

import msgspec
import pytest

from client import Chat, Unreadable
from crypto_modes import policy, wire
from crypto_modes.e2ee import header
from crypto_modes.errors import CannotOpen, LouverError, ModeMismatch
from tests import e2ee_oracle as oracle
from tests.conftest import StartRelay
from tests.hostile_relay import HostileRelay, Line, changed, edit, hostile_relay
from tests.test_client import enter, take, texts
from tests.test_client_trust import events_of

SECRET = "the lamp is lit at midnight"
WEAK: wire.Modes = dict.fromkeys(get_args(wire.Kind), "tls")
Lie = Callable[[HostileRelay], None]


@asynccontextmanager
async def talking(
    start_relay: StartRelay, mode: str = "e2ee"
) -> AsyncIterator[tuple[HostileRelay, Chat, Chat]]:
    """Alice and Bob, who have exchanged a message each way past a relay that is still honest."""
    async with (
        hostile_relay(await start_relay(mode)) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        await alice.send("bob", "first")
        await bob.send("alice", "answer")
        assert texts(await take(alice)) == ["answer"]
        assert texts(await take(bob)) == ["first"]
        yield hostile, alice, bob


async def try_to_send(alice: Chat) -> None:
    """Send, and again after a look at the policy; either may be refused, for good or in time."""
    for _ in range(2):
        with suppress(LouverError, TimeoutError):
            async with asyncio.timeout(0.5):
                await alice.send("bob", SECRET)
        with suppress(LouverError, TimeoutError):
            async with asyncio.timeout(0.5):
                await alice.policy("bob")


def in_the_clear(hostile: HostileRelay) -> bool:
    return SECRET.encode() in hostile.sent


# --- row 15 ---


def in_config(hostile: HostileRelay) -> None:
    words = {"tls": "Only the two of you can read", "e2ee": "nobody can use this"}
    hostile.down(wire.Welcome, edit(modes=WEAK, words=words, epoch=9))


def in_the_record(hostile: HostileRelay) -> None:
    hostile.down(wire.Policy, edit(modes=WEAK))


def in_the_next_record(hostile: HostileRelay) -> None:
    def rule(line: Line, frame: wire.Policy) -> wire.Frame:
        keys = dict(zip((frame.first, frame.second), frame.keys, strict=True))
        newer = policy.successor(frame, WEAK, frame.created, keys)
        marks = (b"s" * 64, b"s" * 64)
        return changed(newer, ref=frame.ref, state="in_force", signatures=marks)  # type: ignore[no-any-return]  # a policy

    hostile.down(wire.Policy, rule)


def in_a_record_without_history(hostile: HostileRelay) -> None:
    hostile.down(wire.Policy, edit(modes=WEAK, epoch=1, previous=bytes(32), signatures=(b"", b"")))


def in_every_refusal(hostile: HostileRelay) -> None:
    """The envelope is refused until it is weaker, and the record says that it should be."""

    async def refuse(line: Line, frame: wire.Send) -> None:
        text = "text in this conversation is sent in mode 'tls', epoch 2"
        await line.to_client(wire.error_frame(frame.ref, ModeMismatch(text)))

    def rule(line: Line, frame: wire.Send) -> None:
        tasks.append(asyncio.get_running_loop().create_task(refuse(line, frame)))

    tasks: list[asyncio.Task[None]] = []
    in_the_next_record(hostile)
    hostile.up(wire.Send, rule)


LIES = [in_config, in_the_record, in_the_next_record, in_a_record_without_history, in_every_refusal]


@pytest.mark.asyncio
@pytest.mark.attack(15)
@pytest.mark.parametrize("lie", LIES)
async def test_whatever_the_relay_says_nothing_goes_out_weaker(
    start_relay: StartRelay, lie: Lie
) -> None:
    async with talking(start_relay) as (hostile, alice, _):
        lie(hostile)
        notice = wire.Notice(topic="modes", text="All is tls now.", modes=WEAK, epoch=9)
        await hostile.line("alice").to_client(notice)
        await hostile.line("alice").hang_up()  # a new connection begins with a new welcome
        await alice.look_up("bob")
        await try_to_send(alice)
        assert {each.mode for each in hostile.sends("alice")} == {"e2ee"}
        assert not in_the_clear(hostile)


@pytest.mark.asyncio
@pytest.mark.attack(15)
async def test_in_tls_the_secret_is_on_the_socket(start_relay: StartRelay) -> None:
    """So that it is not there in the other tests says something."""
    async with talking(start_relay, "tls") as (hostile, alice, _):
        await try_to_send(alice)
        assert in_the_clear(hostile)


@pytest.mark.asyncio
@pytest.mark.attack(15)
async def test_an_envelope_in_a_weaker_mode_is_marked_live_and_in_history(
    start_relay: StartRelay,
) -> None:
    async with talking(start_relay) as (hostile, alice, bob):
        hostile.down(wire.Deliver, edit(mode="tls", body=b"forged by the relay"))
        await alice.send("bob", "sealed")
        (message,) = await take(bob)
        assert {"below_floor", "wrong_mode"} <= {*message.warnings}
        hostile.honest()

        def forged(line: Line, frame: wire.Page) -> wire.Frame:
            weaker = [changed(each, mode="tls", body=b"forged") for each in frame.messages]
            strange = [changed(each, id=bytes([each.seq]) * 16) for each in weaker]
            return changed(frame, messages=(*weaker, *strange))  # type: ignore[no-any-return]  # a page

        hostile.down(wire.Page, forged)
        for shown in await bob.history("alice"):
            honest = (shown.text, shown.mode) in {("first", "e2ee"), ("answer", "e2ee")}
            assert honest or {"below_floor", "wrong_mode"} <= {*shown.warnings}, shown.text


@pytest.mark.asyncio
@pytest.mark.attack(15)
@pytest.mark.parametrize("how", ["as before", "prepared", "rolled_back", "weaker"])
async def test_who_asked_for_secrecy_says_nothing_where_the_relay_withholds_it(
    start_relay: StartRelay, how: str
) -> None:
    """``louver chat --secret`` on first contact, which no floor protects yet."""
    async with (
        hostile_relay(await start_relay("tls")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob"),
    ):
        await alice.policy("bob")
        old = next(each for _, each in hostile.shown if isinstance(each, wire.Policy))

        def rule(line: Line, frame: wire.Policy) -> wire.Frame:
            if frame.epoch == 1:
                return frame
            lies = {"as before": {"epoch": 1, "modes": WEAK}, "weaker": {"modes": WEAK}}
            if how == "as before":
                return changed(old, ref=frame.ref)  # type: ignore[no-any-return]  # a policy
            return changed(frame, **lies.get(how, {"state": how}))  # type: ignore[no-any-return]  # a policy

        hostile.down(wire.Policy, rule)
        try:
            raised = await alice.proposals.raise_to_strongest("bob")
        except LouverError:
            pass
        else:
            assert raised.state != "in_force"
        assert hostile.sends("alice") == []


# --- row 16 ---


def without_kem(frame: wire.Keys) -> bytes:
    """The frame as it would be if bundles had no KEM key."""
    plain = msgspec.to_builtins(frame, builtin_types=(bytes,))
    for bundle in plain["bundles"]:
        del bundle["kem"]
    return msgspec.msgpack.encode(plain)


def with_bundles(change: Callable[[wire.Bundle], dict[str, Any]]) -> Callable[[wire.Keys], Any]:
    def changed_keys(frame: wire.Keys) -> wire.Frame:
        bundles = tuple(changed(each, **change(each)) for each in frame.bundles)
        return changed(frame, bundles=bundles)  # type: ignore[no-any-return]  # keys

    return changed_keys


STRIPPED: dict[str, Callable[[wire.Keys], Any]] = {
    "no KEM key": without_kem,
    "no bundles": lambda frame: changed(frame, bundles=()),
    "an EC key as the KEM key": with_bundles(lambda each: {"kem": each.once}),
    "an empty KEM key": with_bundles(lambda each: {"kem": changed(each.kem, key=b"")}),
    "a KEM key of the relay": with_bundles(
        lambda each: {"kem": changed(each.kem, key=b"k" * 1184)}
    ),
    "a KEM key of another algorithm": with_bundles(
        lambda each: {"kem": changed(each.kem, algorithm=5)}
    ),
}


@pytest.mark.asyncio
@pytest.mark.attack(16)
@pytest.mark.parametrize("strip", STRIPPED.values(), ids=STRIPPED)
async def test_without_its_kem_part_nothing_is_sent(
    start_relay: StartRelay, strip: Callable[[wire.Keys], Any]
) -> None:
    async with (
        hostile_relay(await start_relay("e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob"),
    ):
        hostile.down(wire.Keys, lambda line, frame: strip(frame))
        await try_to_send(alice)
        assert hostile.sends("alice") == []
        assert not in_the_clear(hostile)


@pytest.mark.asyncio
@pytest.mark.attack(16)
@pytest.mark.parametrize("suite", [0, 2, 255])
async def test_a_message_in_another_suite_is_dropped(start_relay: StartRelay, suite: int) -> None:
    async with talking(start_relay) as (hostile, alice, bob):

        def rule(line: Line, frame: wire.Deliver) -> wire.Frame:
            body = bytes([suite]) + frame.body[1:]
            return changed(frame, body=body) if frame.seq == 3 else frame  # type: ignore[no-any-return]  # a delivery

        hostile.down(wire.Deliver, rule)
        async with events_of(bob) as seen:
            await alice.send("bob", "sealed")
            await alice.send("bob", "another")
            assert texts(await take(bob)) == ["another"]
            await asyncio.sleep(0.05)
        assert [type(each) for each in seen if isinstance(each, Unreadable)] == [Unreadable]


@pytest.mark.attack(16)
def test_there_is_one_suite_so_there_is_none_to_fall_back_to() -> None:
    """While this holds, the least suite of every peer is the only one. Who adds a second must pin,
    for each peer, the strongest that was seen, and this test tells him so.
    """
    raw = bytearray(oracle.fixed_header(b"s" * 8, b"d" * 32, (0, 0, 0, 0)) + bytes(4096))
    taken = []
    for suite in range(256):
        raw[0] = suite
        with suppress(CannotOpen):
            header.parse(bytes(raw))
            taken.append(suite)
    assert taken == [header.SUITE]
