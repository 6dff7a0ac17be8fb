"""Known attacks on a client's state: rows 9, 26, 27 and 33; crashes, thieves, what sizes tell.

``LOUVER_ATTACK_FULL=1`` kills the client at every moment instead of at some.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

from crypto_modes import wire
from crypto_modes.e2ee import header
from crypto_modes.errors import CannotOpen
from tests.conftest import StartRelay
from tests.e2ee_relay import ALICE, BOB, Device, couple, talking
from tests.hostile_relay import HostileRelay, changed, hostile_relay
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


async def killed_at(hostile: HostileRelay, place: Path, moment: int) -> bool:
    """Run the client until it kills itself; False where it ended by itself before."""
    command = [sys.executable, "-m", "tests.killed_client", hostile.url, str(place), str(moment)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    async with asyncio.timeout(60):
        code = await process.wait()
    assert code in (0, -signal.SIGKILL)
    return code != 0


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
async def test_killed_at_any_moment_no_key_encrypts_two_texts(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """A real process, SIGKILL around each commit and each write; then again from its disk."""
    step = 1 if FULL else 4
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "bob") as bob,
    ):
        kills = 0
        while await killed_at(hostile, tmp_path, 1 + kills * step):
            kills += 1
        assert kills >= (10 if FULL else 3)
        sends = hostile.sends("alice")
        assert opened_twice(sends) == []
        ids = {send.id for send in sends}
        shown = await take(bob, len(ids))
        assert len({message.text for message in shown}) == len(ids)
        assert not [message for message in shown if "fork" in message.warnings]


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
