"""Known attacks that change what travels: rows 6, 7, 8 and 28, seen from outside and inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from client import Chat, Unreadable
from crypto_modes import at_rest, wire
from crypto_modes.contract import Sealed, Stored
from crypto_modes.e2ee import body, header, pq_ratchet, ratchet, sessions
from crypto_modes.e2ee.session import Envelope, from_bytes
from crypto_modes.errors import CannotOpen, LouverError
from crypto_modes.franking import commitment
from crypto_modes.padding import pad
from crypto_modes.policy import digest
from crypto_modes.primitives import aead_seal
from tests.conftest import StartRelay
from tests.e2ee_relay import ALICE, BOB, Device, Relay, talking
from tests.hostile_relay import HostileRelay, changed, hostile_relay
from tests.labels import AT_REST, at_rest_server
from tests.test_attack_replay import rest
from tests.test_client import enter, take
from tests.test_client_trust import events_of

KEY = bytes(range(32))

# --- 6: every failure looks the same ---


def unauthentic(delivery: wire.Deliver) -> Iterator[tuple[str, wire.Deliver]]:
    """A delivery damaged in every way that a receiver can notice."""
    raw = delivery.body
    for name, changes in {
        "too short": {"body": raw[:40]},
        "header only": {"body": raw[: header.FIXED_SIZE]},
        "another suite": {"body": b"\2" + raw[1:]},
        "unknown flags": {"body": raw[:1] + b"\x80" + raw[2:]},
        "a first block that is none": {"body": raw[:1] + b"\4" + raw[2:] + bytes(1152)},
        "unknown session": {"body": raw[:2] + bytes(8) + raw[10:]},
        "small-order key": {"body": raw[:10] + bytes(32) + raw[42:]},
        "number too high": {"body": raw[:46] + b"\x80" + raw[47:]},
        "another pq epoch": {"body": raw[:50] + b"\x80" + raw[51:]},
        "ciphertext": {"body": raw[:-40] + bytes((raw[-40] ^ 1,)) + raw[-39:]},
        "tag": {"body": raw[:-1] + bytes((raw[-1] ^ 1,))},
        "commitment": {"commitment": bytes(32)},
        "no commitment": {"commitment": b""},
        "message id": {"id": bytes(16)},
        "kind": {"kind": "file"},
        "mode": {"mode": "tls"},
        "conversation": {"conversation": bytes(16)},
        "to myself": {"sender": delivery.recipient},
    }.items():
        yield name, changed(delivery, **changes)


def authentic(
    relay: Relay, alice: Device, bob: Device, honest: wire.Deliver
) -> Iterator[tuple[str, wire.Deliver]]:
    """What Alice herself sealed wrongly: these fail only after decryption."""
    draft = alice.draft(BOB)
    policy_digest = digest(relay.policy(ALICE, BOB, 1))
    good = body.encode(body.Body("text", b"x", b"", 2, bytes(32), 1))
    other_kind = body.encode(body.Body("file", b"x", b"", 2, bytes(32), 1))
    for name, text, committed in (
        ("not what was committed", good, None),
        ("not padded", good[:-1] + b"\1", True),
        ("no body", pad(b""), True),
        ("another kind inside", other_kind, True),
        ("empty", b"", True),
    ):
        c = commitment(KEY, draft.conversation, draft.id, text) if committed else bytes(32)
        place = Envelope(1, draft.conversation, draft.id, ALICE, alice.id, BOB, policy_digest, c)
        session = from_bytes(alice.state.rows[sessions.ACTIVE, BOB + bob.id])
        copy = session.seal(place, bob.id, KEY + text)
        yield name, changed(honest, id=draft.id, body=copy, commitment=c)


def failure(call: Callable[[], object]) -> tuple[type[BaseException], str]:
    with pytest.raises(LouverError) as caught:
        call()
    return type(caught.value), str(caught.value)


SAME = (CannotOpen, "this message cannot be opened")


@pytest.mark.attack(6)
def test_every_failure_to_open_is_the_same_error_and_changes_nothing() -> None:
    relay, alice, bob = talking()
    honest = relay.mode.emit(alice.send(BOB, b"honest"), bob.id)
    wrong = [*unauthentic(honest), *authentic(relay, alice, bob, honest)]
    before = dict(bob.state.rows)
    failures = {name: failure(lambda: bob.open(each)) for name, each in wrong}  # noqa: B023 - called at once
    assert failures == dict.fromkeys(failures, SAME)
    assert len(failures) == 23
    assert bob.state.rows == before
    assert bob.open(honest).content == b"honest"


@pytest.mark.attack(6)
def test_every_failure_to_read_a_record_is_the_same_error() -> None:
    server = at_rest_server(KEY)
    good = server.admit(AT_REST, Sealed(mode="at_rest", epoch=1, body=b"text"), bytes(32)).record
    key, commit = at_rest._derive(KEY, bytes(16), bytes(16))
    head = b"\1\1" + bytes(32) + commit
    unpadded = head + aead_seal(key, bytes(12), bytes(256), server._bind(AT_REST, bytes(16)))
    wrong = [good[:80], b"\2" + good[1:], good[:1] + b"\2" + good[2:], unpadded]
    wrong += [good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :] for at in (2, 20, 40, 70, -1)]
    found = {failure(lambda: server.emit(Stored(AT_REST, raw), KEY[:16])) for raw in wrong}  # noqa: B023 - called at once
    assert found == {SAME}


# --- 7 and 8: what the sender and the relay learn from a change ---


FLIPS: dict[str, dict[str, Any]] = {
    "id": {"id": lambda value: flipped(value, 0)},
    "commitment": {"commitment": lambda value: flipped(value, 31)},
    "no commitment": {"commitment": b""},
    "suite": {"body": lambda value: flipped(value, 0)},
    "flags": {"body": lambda value: flipped(value, 1)},
    "session": {"body": lambda value: flipped(value, 2)},
    "ratchet key": {"body": lambda value: flipped(value, 10)},
    "pn": {"body": lambda value: flipped(value, 45)},
    "n": {"body": lambda value: flipped(value, 49)},
    "n, highest bit": {"body": lambda value: flipped(value, 46, 7)},
    "pq epoch": {"body": lambda value: flipped(value, 53)},
    "pq n": {"body": lambda value: flipped(value, 57)},
    "ciphertext": {"body": lambda value: flipped(value, 60)},
    "tag": {"body": lambda value: flipped(value, -1)},
    "cut": {"body": lambda value: value[:-1]},
    "longer": {"body": lambda value: value + b"\0"},
    "kind": {"kind": "file"},
}


def flipped(value: bytes, at: int, bit: int = 0) -> bytes:
    mauled = bytearray(value)
    mauled[at] ^= 1 << bit
    return bytes(mauled)


def applied(frame: wire.Deliver, how: dict[str, Any]) -> wire.Deliver:
    fields = {
        name: value(getattr(frame, name)) if callable(value) else value
        for name, value in how.items()
    }
    return changed(frame, **fields)  # type: ignore[no-any-return]  # the same type


async def heard_after(hostile: HostileRelay, bob: Chat) -> list[wire.ClientFrame]:
    """What Bob's client says within a while that is long enough for an ack."""
    before = len(hostile.said)
    assert await rest(bob) == []
    return [frame for name, frame in hostile.said[before:] if name == "bob"]


@pytest.mark.asyncio
@pytest.mark.attack(7, 8)
async def test_a_mauled_message_says_nothing_to_anyone_and_harms_no_other(
    start_relay: StartRelay,
) -> None:
    """One error, no receipt, no message sent again, nothing asked; and the next one opens."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
        events_of(bob) as events,
    ):
        await alice.send("bob", "before")
        await take(bob)
        await bob.send("alice", "so that the session is answered")
        await take(alice)
        how = list(FLIPS.values())
        hostile.down(
            wire.Deliver,
            lambda line, frame: applied(frame, how.pop(0)) if how and line.name == "bob" else frame,
        )
        said = []
        for _ in FLIPS:
            await alice.send("bob", "mauled")
            said.append(await heard_after(hostile, bob))
        assert [[type(frame) for frame in each] for each in said] == [[wire.Ack]] * len(FLIPS)
        reasons = [event.reason for event in events if isinstance(event, Unreadable)]
        assert reasons == ["this message cannot be opened"] * len(FLIPS)
        assert len(hostile.sends("alice")) == 1 + len(FLIPS)
        assert not any(isinstance(frame, wire.Receipt) for _, frame in hostile.shown)
        await alice.send("bob", "after")
        (message,) = await take(bob)
        assert (message.text, message.warnings) == ("after", (f"gap:{len(FLIPS)}",))


PLACES: dict[str, Callable[[bytes, bytes, bytes], dict[str, Any]]] = {
    "another conversation": lambda alice, bob, eve: {"conversation": os.urandom(16)},
    "from somebody else": lambda alice, bob, eve: {"sender": eve},
    "to somebody else": lambda alice, bob, eve: {"recipient": eve},
    "turned round": lambda alice, bob, eve: {"sender": bob, "recipient": alice},
    "from another device": lambda alice, bob, eve: {"device": os.urandom(16)},
    "in another mode": lambda alice, bob, eve: {"mode": "at_rest"},
    "in no mode": lambda alice, bob, eve: {"mode": "rot13"},
    "in another epoch": lambda alice, bob, eve: {"epoch": 2},
    "in no epoch": lambda alice, bob, eve: {"epoch": 0},
}


@pytest.mark.asyncio
@pytest.mark.attack(7)
async def test_a_message_put_in_another_place_is_not_shown_as_it_stands(
    start_relay: StartRelay,
) -> None:
    """Whatever the envelope says instead, nothing of the text appears, and nothing is sent."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
        enter(hostile, "eve") as eve,
    ):
        await alice.send("bob", "before")
        await take(bob)
        accounts = (alice.account, bob.account, eve.account)
        how = [each(*accounts) for each in PLACES.values()]
        hostile.down(
            wire.Deliver,
            lambda line, frame: applied(frame, how.pop(0)) if how and line.name == "bob" else frame,
        )
        for _ in PLACES:
            await alice.send("bob", "the text")
            for message in await rest(bob):
                assert b"the text" not in message.content
                assert {"wrong_mode", "below_floor"} & {*message.warnings}
        assert hostile.sends("bob") == []
        assert not any(isinstance(frame, wire.Read) for _, frame in hostile.said)


# --- 28: work without end ---


@pytest.mark.attack(28)
@pytest.mark.parametrize(
    ("at", "expected"), [(46, []), (54, ["_kdf_root"] * 2 + ["hmac_pair"])], ids=["n", "pq_n"]
)
def test_a_header_bomb_derives_no_key(
    at: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: no chain takes a step for it, but that of the half that was honest."""
    relay, alice, bob = talking()
    honest = relay.mode.emit(alice.send(BOB, b"honest"), bob.id)
    steps: list[str] = []

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            steps.append(name)
            return real(*given, **named)

        return counted

    for home, name in ((ratchet, "hmac_pair"), (ratchet, "_kdf_root"), (pq_ratchet, "hmac_pair")):
        monkeypatch.setattr(home, name, counting(name, getattr(home, name)))
    before = dict(bob.state.rows)
    raw = honest.body
    bomb = changed(honest, body=raw[:at] + b"\x80\0\0\0" + raw[at + 4 :])
    with pytest.raises(CannotOpen):
        bob.open(bomb)
    assert steps == expected
    assert bob.state.rows == before
    assert bob.open(honest).content == b"honest"
    assert steps != expected


@pytest.mark.attack(28)
def test_two_thousand_late_messages_open_and_one_more_is_too_many() -> None:
    _, alice, bob = talking()
    sent = [alice.send(BOB, b"%d" % number) for number in range(2001)]
    newest = bob.receive(sent[-1])
    assert newest.warnings == ("gap:2000",)
    assert [bob.receive(each).content for each in sent[:-1]] == [b"%d" % n for n in range(2000)]
    beyond = [alice.send(BOB, b"lost") for _ in range(2002)][-1]
    before = dict(bob.state.rows)
    with pytest.raises(CannotOpen):
        bob.receive(beyond)
    assert bob.state.rows == before
