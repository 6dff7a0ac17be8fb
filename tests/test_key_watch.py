"""When the key log is watched, what is told of it, and what costs nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from client import Event, LogRefusal, SplitView, wording
from client.key_watch import DAY, Claim, KeyWatch
from client.opening import installed_modes
from client.terminal import Talk
from crypto_modes import policy, wire
from crypto_modes.errors import ConnectionLost, LogRefused, LouverError
from crypto_modes.transparency import key_log
from tests.conftest import StartRelay
from tests.hostile_relay import hostile_relay
from tests.keys import Clock
from tests.log_liar import row_of
from tests.test_client import enter, take
from tests.test_client_terminal import Lines
from tests.test_client_trust import events_of

pytestmark = pytest.mark.asyncio


class Watched(KeyWatch):
    """A watch that only writes down when it looked and heard. ``fails`` is raised instead, once."""

    def __init__(self, clock: Clock, rounds: int) -> None:
        self.clock = clock
        self.rounds = rounds
        self.slept: list[float] = []
        self.looked: list[int] = []
        self.heard = 0
        self.fails: list[LouverError] = []
        super().__init__(
            memory=_Nothing(),  # type: ignore[arg-type]  # it is not used
            trust=_Nothing(),  # type: ignore[arg-type]  # as above
            contents=_Nothing(),  # type: ignore[arg-type]  # as above
            emit=lambda event: None,
            sleep=self._slept,
            now=clock,
            uniform=lambda: 0.5,
        )

    async def _slept(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += int(seconds * 1000)
        if len(self.slept) == self.rounds:
            raise asyncio.CancelledError

    async def look(self) -> None:
        self.looked.append(self.clock.now)
        if self.fails:
            raise self.fails.pop()

    async def hear(self) -> list[Claim]:
        self.heard += 1
        return []


class _Nothing:
    store = None


async def run(watch: Watched) -> list[LouverError]:
    reported: list[LouverError] = []
    with pytest.raises(asyncio.CancelledError):
        await watch.run(reported.append)
    return reported


async def test_the_log_is_looked_at_once_and_then_daily_peers_are_heard_each_minute() -> None:
    minutes = 2 * 24 * 60 + 2
    watch = Watched(Clock(), rounds=minutes)
    start = watch.clock.now
    assert await run(watch) == []
    assert watch.looked == [start, start + DAY, start + 2 * DAY]
    assert set(watch.slept) == {60.0}
    assert watch.heard == minutes


async def test_what_goes_wrong_is_reported_and_tried_again_when_it_is_due() -> None:
    watch = Watched(Clock(), rounds=3)
    error = ConnectionLost("away")
    watch.fails.append(error)
    assert await run(watch) == [error]
    assert len(watch.looked) == 1
    assert watch.heard == 2


async def test_no_message_waits_for_the_log(start_relay: StartRelay) -> None:
    """After the first contact nothing is asked of the log, however much is written."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,  # type: ignore[arg-type]  # as a relay
        enter(hostile, "bob") as bob,  # type: ignore[arg-type]  # as above
    ):
        await alice.send("bob", "first")
        await take(bob)
        await bob.send("alice", "first")
        await take(alice)
        await alice.key_watch.watch()
        await bob.key_watch.watch()
        hostile.said.clear()
        for n in range(20):
            await alice.send("bob", f"{n}")
            await bob.send("alice", f"{n}")
        await take(bob, 20)
        await take(alice, 20)
        asked = [frame for _, frame in hostile.said if isinstance(frame, wire.GetLog)]
        assert asked == []


async def test_who_knows_a_list_already_does_not_ask_again(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    async with hostile_relay(await start_relay(mode="e2ee")) as hostile:
        async with enter(hostile, "bob"):  # type: ignore[arg-type]  # as a relay
            pass
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # as above
            await alice.devices("bob")
            mine = await alice.devices(alice.account)
        own = row_of(mine).entry
        own_leaf = key_log.hash_of(own.tag, own.entry)
        (leaf,) = (
            frame.leaf
            for by, frame in hostile.said
            if isinstance(frame, wire.GetLog)
            and frame.leaf
            and by == "alice"
            and frame.leaf != own_leaf
        )
        hostile.said.clear()
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # as above
            await alice.devices("bob")
        frames = [frame for by, frame in hostile.said if by == "alice"]
        assert any(isinstance(frame, wire.GetDevices) for frame in frames)
        assert not any(isinstance(frame, wire.GetLog) and frame.leaf == leaf for frame in frames)


async def test_without_a_mode_that_has_keys_nothing_is_asked(start_relay: StartRelay) -> None:
    modes = {name: mode for name, mode in installed_modes().items() if name != "e2ee"}
    async with (
        hostile_relay(await start_relay()) as hostile,
        enter(hostile, "bob"),  # type: ignore[arg-type]  # as a relay
        enter(hostile, "alice", modes=modes) as alice,  # type: ignore[arg-type]  # as above
    ):
        assert await alice.key_watch.watch() == []
        await alice.send("bob", "in tls")
        assert [f for by, f in hostile.said if by == "alice" and isinstance(f, wire.GetLog)] == []
        with pytest.raises(LogRefused, match="nothing was seen"):
            alice.key_watch.log.state()


async def test_events_of_the_log_are_said_in_words(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.devices("bob")
        talk = Talk(alice, "bob", bob.account, Lines())
        split = SplitView(bob.account, key_log.Head(3, b"r" * 32))
        assert "A MESSAGE OF bob CLAIMS ANOTHER LOG OF KEYS" in talk._words(split)
        refusal = LogRefusal("it \x1b[2Jshrank")
        assert talk._words(refusal) == "! THE RELAY'S KEY LOG: it \ufffd[2Jshrank"
    assert "CLAIMS TO SEE ANOTHER LOG OF KEYS" in wording.warning("split_view")


async def test_a_split_view_is_told_once_a_run_and_again_after_a_restart(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    said = key_log.Head(1, b"r" * 32)
    split = SplitView(b"c" * 16, said)

    async def told(place: Path) -> list[Event]:
        async with enter(relay, "alice", place) as alice, events_of(alice) as seen:
            await alice.key_watch.watch()
            known = policy.conversation_id(alice.account, b"c" * 16)
            alice._memory.store.put("client_acquainted", known, b"")
            key_log.heard(alice._memory.store, b"c" * 16, said)
            for _ in range(3):
                await alice.key_watch.hear()
            await asyncio.sleep(0.05)
            return [event for event in seen if isinstance(event, SplitView)]

    assert await told(tmp_path) == [split]
    assert split in await told(tmp_path)
