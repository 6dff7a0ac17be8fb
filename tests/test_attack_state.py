"""Known attacks on a client's state: rows 9, 26, 27 and 33; crashes, thieves, what sizes tell.

``LOUVER_ATTACK_FULL=1`` kills the client from its registration on, and not only while it talks.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from client import Chat, Keystore
from client.memory import Memory
from crypto_modes import policy, wire
from crypto_modes.e2ee import header
from crypto_modes.errors import CannotOpen
from tests.conftest import StartRelay
from tests.e2ee_relay import ALICE, BOB, Device, couple, talking
from tests.hostile_relay import HostileRelay, changed, hostile_relay
from tests.killed_client import ECHO
from tests.memory_state import MemoryState
from tests.test_client import enter, take

FULL = os.environ.get("LOUVER_ATTACK_FULL") == "1"
ROOT = Path(__file__).parent.parent

# --- 9: one key for many ---


@pytest.mark.attack(9)
def test_every_device_has_a_ciphertext_of_its_own() -> None:
    """No key that several hold: what one device could open, no other can, nor write in its name."""
    relay, alice, bob = couple()
    tablet = Device(relay, BOB, b"bobby-tablet-001")
    tablet.link(bob)
    laptop = Device(relay, ALICE, b"alice-laptop-001")
    laptop.link(alice)
    stored = alice.send(BOB, b"to three devices")
    ends = (bob, tablet, laptop)
    copies = {end.id: relay.mode.emit(stored, end.id).body for end in ends}
    assert len(set(copies.values())) == 3
    heads = [header.parse(copy)[0] for copy in copies.values()]
    assert len({head.session for head in heads}) == len({head.dh for head in heads}) == 3
    for end in ends:
        mine = relay.mode.emit(stored, end.id)
        for other in copies.values():
            if other != mine.body:
                with pytest.raises(CannotOpen):
                    end.open(changed(mine, body=other))
        assert end.open(mine).content == b"to three devices"


@pytest.mark.attack(9)
def test_the_wire_knows_no_group_keys() -> None:
    """A sender key would have to be handed out: no frame and no prekey could carry one."""
    named = {kind.__name__ for kind in (*get_args(wire.ClientFrame), *get_args(wire.ServerFrame))}
    assert not [name for name in named if "Group" in name or "SenderKey" in name]
    assert wire.Prekey.__annotations__["algorithm"] == "Literal[5, 8]"


# --- 26: a crash between keeping and sending ---


async def killed(hostile: HostileRelay, place: Path) -> None:
    """Run Alice until she has been killed at every moment, and once more."""
    given = ["150", "all"] if FULL else ["16"]
    command = [sys.executable, "-m", "tests.killed_client", hostile.url, str(place), *given]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    async with asyncio.timeout(300 if FULL else 60):
        assert await process.wait() == 0


async def echo(bob: Chat, heard: list[str], said: list[str]) -> None:
    """Answer everything; without end."""
    async for message in bob:
        assert not {"fork", "session_reset"} & set(message.warnings)
        heard.append(message.text)
        said.append(ECHO + message.text)
        await bob.send(message.sender, said[-1])


def opened_twice(sends: list[wire.Send]) -> list[str]:
    """Places in a ratchet under which two different ciphertexts were seen."""
    seen: dict[tuple[bytes, ...], set[bytes]] = defaultdict(set)
    for send in sends:
        for copy in send.copies:
            head, ciphertext = header.parse(copy.body)
            place = (copy.device, head.session, head.dh, b"%d" % head.n)
            seen[place].add(ciphertext)
    return [
        f"{place[3].decode()} of {place[1].hex()}"
        for place, texts in seen.items()
        if len(texts) > 1
    ]


@pytest.mark.asyncio
@pytest.mark.attack(26)
async def test_killed_at_any_moment_no_key_is_used_twice_and_nothing_lost(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """A real process, SIGKILL around each commit and each write; then again from its disk."""
    heard: list[str] = []
    said: list[str] = []
    relay = await start_relay(mode="e2ee", store={"durability": "relaxed"})
    async with hostile_relay(relay) as hostile, enter(hostile, "bob") as bob:
        echoing = asyncio.create_task(echo(bob, heard, said))
        await killed(hostile, tmp_path)
        echoing.cancel()
        conversation = policy.conversation_id(bob.account, await bob.look_up("alice"))
        sends = hostile.sends("alice")
        assert opened_twice(sends) == opened_twice(hostile.sends("bob")) == []
        assert len({(send.id, send.copies) for send in sends}) == len({send.id for send in sends})
    with closing(Keystore.open(tmp_path / "store.db", key_file=tmp_path / "store.key")) as store:
        kept = Memory(store).messages(conversation)
    shown = (tmp_path / "shown").read_text().splitlines()
    assert [message.text for message in kept if message.own] == heard
    assert [message.text for message in kept if not message.own] == said
    assert len(set(heard)) == len(heard) == len({send.id for send in sends})
    # Shown is at most once what is kept; what a kill came before is in the history.
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(said)
    assert not {"gap:1", "fork", "session_reset"} & {
        note for each in kept for note in each.warnings
    }


# --- 27 and the declared adversaries: a thief of the state ---


def thief_of(end: Device) -> Device:
    """A copy of a device as its disk is now."""
    copy = Device(end.relay, end.account, end.id)
    copy.state = MemoryState()
    copy.state.rows |= end.state.rows
    copy.restart()
    return copy


@pytest.mark.attack(27)
def test_a_thief_of_the_state_reads_nothing_from_before() -> None:
    """Recorded traffic of both directions, the first message and late ones among it."""
    _, alice, bob = couple()
    recorded = []
    for turn in range(20):
        to_bob = [alice.send(BOB, b"past") for _ in range(3)]
        for stored in (to_bob[2], to_bob[0], to_bob[1]) if turn else to_bob:
            assert bob.receive(stored).content == b"past"
        back = bob.send(ALICE, b"past")
        assert alice.receive(back).content == b"past"
        recorded += to_bob
    thief = thief_of(bob)
    for stored in recorded:
        with pytest.raises(CannotOpen):
            thief.receive(stored)
    assert not [row for row in bob.state.rows.values() if b"past" in row]


@pytest.mark.attack(27)
def test_a_thief_of_the_state_is_shut_out_by_the_next_two_turns() -> None:
    relay, alice, bob = talking()
    thief = thief_of(bob)
    # Until Bob answers with a key that the thief has not seen, the thief reads on ...
    assert thief.receive(alice.send(BOB, b"seen by the thief")).content == b"seen by the thief"
    relay.clock.now += 1
    stolen = alice.send(BOB, b"one more")
    assert bob.receive(stolen).content == b"one more"
    alice.receive(bob.send(ALICE, b"a fresh ratchet key"))
    # ... and once it was used, no more, whatever it tries.
    after = [alice.send(BOB, b"healed") for _ in range(3)]
    for stored in after:
        with pytest.raises(CannotOpen):
            thief.receive(stored)
    assert [bob.receive(stored).content for stored in after] == [b"healed"] * 3


# --- 33: sizes ---


@pytest.mark.asyncio
@pytest.mark.attack(33)
async def test_few_sizes_are_seen_on_the_wire(start_relay: StartRelay) -> None:
    """Texts of 1 B to 16 KiB between real clients: what their relay can tell of the lengths."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        await alice.send("bob", "hello")
        await take(bob)
        await bob.send("alice", "answered")
        await take(alice)
        first = len(hostile.sends("alice"))
        lengths = sorted(
            {*range(1, 1200, 23), *range(1, wire.CONTENT_LIMIT, 97), wire.CONTENT_LIMIT}
        )
        for length in lengths:
            await alice.send("bob", bytes(length))
        await take(bob, len(lengths))
    sizes = {len(send.copies[0].body) for send in hostile.sends("alice")[first:]}
    assert len(lengths) > 200
    assert 8 < len(sizes) <= 60
