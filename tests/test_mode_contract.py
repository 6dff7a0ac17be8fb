"""One contract, every mode: the built-in three, and a fourth that is registered from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
import pytest

from client import opening as client_program
from crypto_modes import policy, registry, wire
from crypto_modes.contract import (
    ADVERSARIES,
    DIGEST_SIZE,
    ClientTools,
    Evidence,
    Meta,
    Mode,
    Need,
    NeedDataKey,
    NeedFrankingKey,
    Sealed,
    Stored,
)
from crypto_modes.errors import BadConfig, CannotRead, LouverError
from crypto_modes.pins import Pins
from server import app as relay_program
from tests.conftest import StartRelay
from tests.e2ee_relay import ALICE, BOB, Device, OneFrankingKey, couple
from tests.memory_state import MemoryState
from tests.mode_ends import ReadyKeys, server_tools

# As `importlib.metadata` gives it for an installed package that declares the group.
ENTRY = EntryPoint(name="forgetful", value="tests.toy_mode:MODE", group=registry.GROUP)
MODES = registry.registry([*registry.BUILTIN, ENTRY.load()])
CANARY = b"canary-7f3a91d0c4"


class Pair:
    """Alice and Bob over a relay in ``mode``, with all that any mode may need."""

    def __init__(self, mode: Mode) -> None:
        self.relay, self.alice, self.bob = couple()
        tools = server_tools(data_keys=ReadyKeys(), franking_keys=OneFrankingKey())
        self.relay.mode = self.server = mode.server(tools)
        if mode.name != "e2ee":
            for end in (self.alice, self.bob):
                end.client = mode.client(_tools(end))

    def exchange(self, sender: Device, receiver: Device, content: bytes) -> tuple[Stored, Any]:
        """One message from seal to open."""
        stored = sender.send(receiver.account, content)
        return stored, receiver.receive(stored)


def _tools(end: Device) -> ClientTools:
    return ClientTools(
        account=end.account,
        device=end.id,
        state=MemoryState(),
        random=os.urandom,
        now=end.relay.clock,
    )


@pytest.fixture(params=list(MODES.values()), ids=list(MODES))
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def pair(mode: Mode) -> Pair:
    return Pair(mode)


def test_a_mode_says_what_it_is(mode: Mode) -> None:
    assert set(mode.visibility) == set(ADVERSARIES)
    assert all(isinstance(answer, bool) for answer in mode.visibility.values())
    assert len(mode.words) > 20


@pytest.mark.parametrize(
    "content",
    [b"", b"x", "grüße ✓".encode(), b"\x80\0\0", bytes(255), bytes(256), os.urandom(12_000)],
    ids=["empty", "one byte", "text", "like padding", "255", "256", "12,000"],
)
def test_what_is_sent_arrives(pair: Pair, content: bytes) -> None:
    _, opened = pair.exchange(pair.alice, pair.bob, content)
    assert (opened.content, opened.kind) == (content, "text")
    assert opened.warnings == ()


def test_a_conversation_goes_both_ways(pair: Pair) -> None:
    ends = pair.alice, pair.bob
    for number in range(20):
        sender, receiver = ends[number // 3 % 2], ends[1 - number // 3 % 2]
        _, opened = pair.exchange(sender, receiver, b"message %d" % number)
        assert opened.content == b"message %d" % number


@pytest.mark.parametrize("kind", wire.KINDS)
def test_every_kind_keeps_its_kind(pair: Pair, kind: wire.Kind) -> None:
    stored = pair.alice.send(BOB, b"content", kind=kind)
    assert stored.meta.kind == pair.bob.receive(stored).kind == kind


def test_sealing_names_the_mode_and_epoch(mode: Mode, pair: Pair) -> None:
    draft = pair.alice.draft(BOB)
    sealed = pair.alice.needing(lambda: pair.alice.client.seal(draft))
    assert (sealed.mode, sealed.epoch) == (mode.name, draft.epoch)


def test_the_relay_hands_on_what_it_knows(pair: Pair) -> None:
    stored = pair.alice.send(BOB, b"hello")
    delivered = pair.server.emit(stored, pair.bob.id)
    for field in Meta.__struct_fields__:
        assert getattr(delivered, field) == getattr(stored.meta, field)
    assert (delivered.commitment, delivered.stamp) == (stored.commitment, stored.stamp)
    assert wire.CODECS[wire.MSGPACK].decode_server(wire.CODECS[wire.MSGPACK].encode(delivered))


def test_a_chain_has_a_head_after_every_message(pair: Pair) -> None:
    assert len(pair.alice.send(BOB, b"hello").chain) == DIGEST_SIZE


def test_what_is_stored_shows_the_text_exactly_where_declared(mode: Mode, pair: Pair) -> None:
    stored = pair.alice.send(BOB, CANARY)
    shown = CANARY in stored.record
    assert shown == mode.visibility["database"] == mode.visibility["bus"]
    assert CANARY not in repr(stored.meta).encode()


def test_the_operator_reads_exactly_where_declared(mode: Mode, pair: Pair) -> None:
    stored = pair.alice.send(BOB, CANARY)
    try:
        read = pair.server.reveal(stored, Evidence())
    except CannotRead:
        read = b""
    assert (read == CANARY) == mode.visibility["compelled_operator"]


def test_a_recipient_can_reveal_a_message(pair: Pair) -> None:
    stored, opened = pair.exchange(pair.alice, pair.bob, CANARY)
    evidence = opened.evidence or Evidence(reporter=BOB)
    assert pair.server.reveal(stored, evidence) == CANARY


def test_a_stored_message_survives_the_bus_and_the_disk(pair: Pair) -> None:
    stored = pair.alice.send(BOB, b"hello")
    packed = msgspec.msgpack.encode(stored)
    assert pair.bob.receive(msgspec.msgpack.decode(packed, type=Stored)).content == b"hello"


@pytest.mark.parametrize("place", [0, 40, -1])
def test_an_edited_record_never_passes_for_another_text(mode: Mode, pair: Pair, place: int) -> None:
    stored = pair.alice.send(BOB, bytes(64))
    altered = bytearray(stored.record)
    altered[place] ^= 1
    shown = shown_to(pair.bob, msgspec.structs.replace(stored, record=bytes(altered)))
    if mode.visibility["database"]:
        # Whoever can write where text lies readable can change it; the mode's words say so.
        assert shown == bytes(altered)
    else:
        # An edit beside this device's copy may leave that copy whole.
        assert shown in (None, bytes(64))


def shown_to(end: Device, stored: Stored) -> bytes | None:
    """What the user sees of a message; None where it is refused or there is no copy."""
    try:
        opened = end.receive(stored)
    except LouverError:
        return None
    return None if "no_copy" in opened.warnings else opened.content


class Asking:
    """Keys that a relay has not fetched yet."""

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        raise Need(NeedDataKey(conversation, sender))

    def find(self, key: Any) -> bytes:
        raise Need(NeedFrankingKey(key))


NEEDS = {"at_rest": NeedDataKey, "e2ee": NeedFrankingKey}


def test_a_relay_without_keys_asks_for_them(mode: Mode, pair: Pair) -> None:
    draft = pair.alice.draft(BOB)
    sealed = pair.alice.needing(lambda: pair.alice.client.seal(draft))
    pair.relay.mode = mode.server(server_tools(data_keys=Asking(), franking_keys=Asking()))
    if mode.name not in NEEDS:
        assert pair.relay.admit(draft, sealed).record
        return
    with pytest.raises(Need) as caught:
        pair.relay.admit(draft, sealed)
    assert isinstance(caught.value.what, NEEDS[mode.name])


@pytest.mark.parametrize(
    "extra",
    [
        {"body": b"x", "copies": (wire.Copy(bytes(16), bytes(500)),)},
        {"body": b"x", "commitment": bytes(32)},
        {"body": bytes(wire.CONTENT_LIMIT + 1)},
    ],
    ids=["body and copies", "body and commitment", "too large"],
)
def test_what_belongs_to_no_mode_is_refused(
    mode: Mode, pair: Pair, extra: Mapping[str, Any]
) -> None:
    sealed = Sealed(mode=mode.name, epoch=1, **extra)
    with pytest.raises(LouverError) as caught:
        pair.relay.admit(pair.alice.draft(BOB), sealed)
    assert caught.value.code in wire.CODES


# --- the registry ---


def test_modes_stand_from_weakest_to_strongest() -> None:
    assert list(MODES) == ["tls", "forgetful", "at_rest", "e2ee"]
    assert registry.strengths(MODES) == {"tls": 10, "forgetful": 15, "at_rest": 20, "e2ee": 30}


def test_fewer_adversaries_read_in_a_stronger_mode() -> None:
    readers = [sum(mode.visibility.values()) for mode in MODES.values()]
    assert readers == sorted(readers, reverse=True)


class Odd:
    """A mode that is fine but for what a test changes."""

    def __init__(self, **changes: Any) -> None:
        declared = {
            "name": "odd",
            "strength": 99,
            "words": "Nobody knows who can read this one",
            "visibility": dict.fromkeys(ADVERSARIES, False),
        }
        for name, value in (declared | changes).items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "tls"}, "two modes are named 'tls'"),
        ({"strength": 20}, "'at_rest' and 'odd' both have strength 20"),
        ({"name": "Odd One"}, "not 'Odd One'"),
        ({"name": ""}, "not ''"),
        ({"name": "x" * 33}, "at most 32"),
        ({"words": ""}, "in words"),
        ({"visibility": {}}, "network_tap"),
        ({"visibility": dict.fromkeys((*ADVERSARIES, "ghosts"), False)}, "check: ghosts"),
    ],
)
def test_modes_that_are_not_registered(changes: dict[str, Any], complaint: str) -> None:
    odd: Any = Odd(**changes)
    with pytest.raises(BadConfig, match=complaint):
        registry.registry([*registry.BUILTIN, odd])


def test_the_registry_takes_a_mode_with_nothing_wrong() -> None:
    odd: Any = Odd()
    assert list(registry.registry([*registry.BUILTIN, odd]))[-1] == "odd"


def test_a_mode_from_outside_has_its_place_in_the_floor() -> None:
    keys = {ALICE: b"", BOB: b""}
    pins = Pins(MemoryState(), ALICE, registry.strengths(MODES))
    modes: Any = dict.fromkeys(wire.KINDS, "forgetful")
    pins.record(policy.default_policy(keys, modes, 1), {})
    conversation = policy.conversation_id(ALICE, BOB)
    received = {
        name: pins.note_received(
            wire.Deliver(
                conversation=conversation,
                seq=1,
                id=bytes(16),
                sender=BOB,
                device=bytes(16),
                recipient=ALICE,
                kind="text",
                mode=name,
                epoch=1,
                time=1,
            )
        )
        for name in MODES
    }
    assert [name for name, notes in received.items() if "below_floor" in notes] == ["tls"]


# --- in a real relay ---


@pytest.mark.asyncio
async def test_a_mode_from_outside_runs_in_a_relay(start_relay: StartRelay) -> None:
    relay = await start_relay("forgetful", known=MODES)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    assert alice.welcome is not None
    assert alice.welcome.words["forgetful"] == MODES["forgetful"].words
    await alice.say(bob, CANARY.decode())
    (heard,) = await bob.hear()
    assert (heard.mode, heard.body) == ("forgetful", CANARY)
    kept = b"".join(file.read_bytes() for file in relay.data.iterdir() if file.is_file())
    assert heard.id in kept
    assert CANARY not in kept


def test_an_installed_package_brings_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both programs look for the entry points of one group, and nothing else."""
    asked: list[str] = []

    def installed(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [ENTRY]

    for program in (relay_program, client_program):
        monkeypatch.setattr(program, "entry_points", installed)
    assert list(relay_program.installed_modes()) == list(MODES)
    assert list(client_program.installed_modes()) == list(MODES)
    assert asked == ["louver.modes", "louver.modes"]
