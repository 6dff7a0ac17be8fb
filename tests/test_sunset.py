"""The end of a mode for a service: each phase, its dates, restarts, cancellation, and consent.

The calendar is given: a test says what time it is, and no test waits.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from client import Chat
from crypto_modes import wire
from crypto_modes.errors import BadArgument, NotInThisMode
from server import sunset
from server.store import Phase, Sunset
from tests.blob_client import upload
from tests.conftest import Running, StartRelay
from tests.raw_client import Refused
from tests.test_admin import asked
from tests.test_client import enter, first, take, texts

DAY = 24 * 60 * 60 * 1000
NOW = time.time_ns() // 1_000_000
FREEZE, FINAL = NOW + 20 * DAY, NOW + 40 * DAY
PLAN = {"event": "plan", "mode": "e2ee", "instead": "tls", "freeze": FREEZE, "final": FINAL}


# --- the table ---


def test_every_phase_is_reached_and_has_an_effect() -> None:
    reached = set(sunset.TRANSITIONS.values()) | {"planned"}
    assert reached == set(sunset.EFFECTS)
    assert {phase for phase, _ in sunset.TRANSITIONS} == reached - {"cancelled"}
    for phase in reached - {"cancelled"}:
        assert sunset.TRANSITIONS[phase, "cancel"] == "cancelled"


@pytest.mark.parametrize(
    ("phase", "now", "event"),
    [
        ("planned", FINAL, None),
        ("announced", FREEZE - 1, None),
        ("announced", FREEZE, "freeze"),
        ("frozen", FINAL - 1, None),
        ("frozen", FINAL, "final"),
        ("ended", FINAL, None),
        ("cancelled", FINAL, None),
    ],
    # Named without the times: they differ from one process to the next.
    ids=["planned", "before freeze", "freeze", "before final", "final", "ended", "cancelled"],
)
def test_the_calendar_moves_only_what_was_announced(
    phase: Phase, now: int, event: str | None
) -> None:
    plan = Sunset(mode="e2ee", instead="tls", freeze=FREEZE, final=FINAL, phase=phase)
    assert sunset.due(plan, now) == event


def test_nobody_is_refused_anything_before_he_is_told() -> None:
    for effect in sunset.EFFECTS.values():
        assert effect.closed <= effect.frozen <= effect.told


# --- what the operator does ---


async def step(relay: Running, event: str) -> Any:
    return await asked(relay, "POST", "sunset", PLAN if event == "plan" else {"event": event})


async def to_phase(relay: Running, phase: Phase) -> None:
    """Bring a relay without a plan into a phase."""
    for event in ("plan", "start"):
        await step(relay, event)
    if phase in ("frozen", "ended"):
        await relay.app.relay.ending.tick(FREEZE)
    if phase == "ended":
        await relay.app.relay.ending.tick(FINAL)
    assert (await asked(relay, "GET", "sunset"))["phase"] == phase


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"event": "start"}, "there is no plan"),
        ({"event": "cancel"}, "there is no plan"),
        ({"event": "end"}, "the body must be"),
        ({"event": "plan"}, "ends one mode"),
        (PLAN | {"mode": "rot13"}, "ends one mode"),
        (PLAN | {"instead": "e2ee"}, "ends one mode"),
        (PLAN | {"final": FREEZE + 13 * DAY}, "14 days after"),
        (PLAN | {"more": 1}, "the body must be"),
    ],
)
async def test_a_plan_that_makes_no_sense_is_refused(
    relay: Running, body: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadArgument, match=why):
        await asked(relay, "POST", "sunset", body)
    assert await asked(relay, "GET", "sunset") == {"phase": "none"}


@pytest.mark.asyncio
async def test_each_phase_takes_only_its_own_events(relay: Running) -> None:
    ending = relay.app.relay.ending
    await step(relay, "plan")
    await step(relay, "plan")  # nobody was told yet
    with pytest.raises(BadArgument, match="14 days away"):
        await ending.start(FREEZE - 13 * DAY)
    await step(relay, "start")
    for event, why in (("plan", "announced already"), ("start", "announced does not start")):
        with pytest.raises(BadArgument, match=why):
            await step(relay, event)
    await step(relay, "cancel")
    with pytest.raises(BadArgument, match="cancelled does not cancel"):
        await step(relay, "cancel")
    assert (await step(relay, "plan"))["phase"] == "planned"


@pytest.mark.asyncio
@pytest.mark.parametrize("phase", ["announced", "frozen", "ended"])
async def test_a_restart_takes_up_where_the_plan_stands(relay: Running, phase: Phase) -> None:
    await to_phase(relay, phase)
    before = await asked(relay, "GET", "sunset")
    await relay.restart()
    assert await asked(relay, "GET", "sunset") == before
    alice = await relay.enter("alice")
    notice = await alice.expect(wire.Notice)
    assert (notice.topic, notice.dates) == ("sunset", {"freeze": FREEZE, "final": FINAL})


@pytest.mark.asyncio
async def test_dates_that_passed_while_the_relay_was_down_hold_at_once(relay: Running) -> None:
    past = Sunset(
        mode="e2ee", instead="tls", freeze=NOW - 30 * DAY, final=NOW - DAY, phase="announced"
    )
    await relay.app.store.put_sunset(past)
    await relay.restart()
    assert (await asked(relay, "GET", "sunset"))["phase"] == "ended"
    assert await relay.app.store.sunset() == msgspec.structs.replace(past, phase="ended")


# --- what users meet ---


def told(event: object) -> bool:
    return isinstance(event, wire.Notice) and event.topic == "sunset"


@pytest.mark.asyncio
async def test_everybody_is_told_with_dates_and_what_to_do(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    alice = await relay.enter("alice")
    await step(relay, "plan")
    assert await alice.silent(wire.Notice)
    await step(relay, "start")
    notice = await alice.expect(wire.Notice)
    freeze, final = (
        time.strftime("%Y-%m-%d", time.gmtime(each / 1000)) for each in (FREEZE, FINAL)
    )
    for words in (f"From {freeze} on", f"from {final} on", "louver export", "/mode tls"):
        assert words in notice.text
    bob = await relay.enter("bob")
    assert await bob.expect(wire.Notice) == notice
    await step(relay, "cancel")
    for user in (alice, bob):
        over = await user.expect(wire.Notice)
        assert (over.topic, over.dates) == ("sunset", None)
        assert "does not end" in over.text
    assert await (await relay.enter("carol")).silent(wire.Notice)


@pytest.mark.asyncio
async def test_from_the_freeze_on_nothing_begins_in_the_mode(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    async with (
        enter(relay, "alice") as alice,
        enter(relay, "bob") as bob,
        enter(relay, "carol") as carol,
    ):
        await alice.send("bob", "before")
        await to_phase(relay, "frozen")
        assert set((await alice.policy("carol")).modes.values()) == {"tls"}
        for ask in (
            alice.propose("carol", {"image": "e2ee"}),
            alice.proposals.raise_to_strongest("carol"),
        ):
            with pytest.raises(NotInThisMode, match="nothing new can begin in it") as refused:
                await ask
            assert refused.value.code == 108
        await alice.send("bob", "and still")
        assert texts(await take(bob, 2)) == ["before", "and still"]
        await alice.send("carol", "in the open")
        assert (await take(carol))[0].mode == "tls"
        # A reload does not bring back what the plan has ended for new conversations.
        await relay.app.reload(relay.app.settings)
        assert set((await bob.policy("carol")).modes.values()) == {"tls"}


@pytest.mark.asyncio
@pytest.mark.attack(15)
async def test_what_is_left_at_the_end_can_be_read_and_leaves_only_by_both(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "sealed")
        conversation = (await alice.policy("bob")).conversation
        stored = await relay.app.store.after(conversation, 0, 10)
        await to_phase(relay, "ended")
        with pytest.raises(NotInThisMode, match="can only be read") as refused:
            await alice.send("bob", "one more")
        assert refused.value.code == 108
        assert (await asked(relay, "GET", "sunset"))["conversations"] == 1
        assert texts(await take(bob)) == ["sealed"]
        assert texts(await bob.history("alice")) == ["sealed"]
        await cut_over(alice, bob)
        await bob.send("alice", "in the open")
        # Nobody has sealed the old message anew, and nobody can read it who could not before.
        assert (await relay.app.store.after(conversation, 0, 10))[:1] == stored
        assert [each.meta.mode for each in await relay.app.store.after(conversation, 0, 10)] == [
            "e2ee",
            "tls",
        ]
        assert (await asked(relay, "GET", "sunset"))["conversations"] == 0


@pytest.mark.asyncio
async def test_an_attachment_is_not_uploaded_in_a_mode_that_has_ended(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    ends = PLAN | {"mode": "tls", "instead": "at_rest"}
    data = b"x" * 100
    await upload(alice, bob, data)
    await asked(relay, "POST", "sunset", ends)
    await step(relay, "start")
    await relay.app.relay.ending.tick(FINAL)
    with pytest.raises(Refused, match="can only be read"):
        await upload(alice, bob, data)


async def cut_over(alice: Chat, bob: Chat) -> None:
    """Alone it is only asked for; together it is done."""
    everything: wire.Modes = dict.fromkeys((await alice.policy(bob.account)).modes, "tls")
    assert (await alice.propose(bob.account, everything)).state == "prepared"
    with pytest.raises(NotInThisMode):
        await alice.send(bob.account, "not yet")
    assert (await bob.propose(alice.account, everything)).state == "in_force"
    await alice.policy(bob.account)


@pytest.mark.asyncio
async def test_after_a_cancellation_all_is_as_before(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "before")
        await to_phase(relay, "ended")
        with pytest.raises(NotInThisMode):
            await alice.send("bob", "refused")
        await step(relay, "cancel")
        await alice.send("bob", "after")
        assert texts(await take(bob, 2)) == ["before", "after"]
        async with enter(relay, "carol") as carol:
            assert (await carol.policy("bob")).modes["text"] == "e2ee"
        await relay.restart()
        await first(alice, lambda event: True)
        await alice.send("bob", "after a restart")
        assert texts(await take(bob)) == ["after a restart"]
