"""A held message and the reviewer who lets it go: the list, the queue and the relay together."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from crypto_modes import wire
from crypto_modes.errors import StoreUnavailable
from server.moderation.actions import Measure
from server.moderation.records import Action, Statement
from server.store import HeldMessage
from server.store.sqlite import held
from tests.conftest import Running, StartRelay
from tests.moderation_rig import PEOPLE
from tests.raw_client import Refused
from tests.test_effects import at_work
from tests.test_scanning import MARKER, Lists

MARA = PEOPLE["mara"]


REASONS = Statement(facts="a quotation", rule="quotations are allowed")


async def _dismissed(relay: Running) -> Action:
    """The one report of the lists, by Mara."""
    moderation = relay.app.moderation
    await moderation.queue.sync()
    (report,) = await moderation.queue.page(MARA)
    await moderation.queue.assign(MARA, report.number, "mara")
    dismissal = Measure(kind="none", account=report.reporter, statement=REASONS)
    return await moderation.actions.on_report(MARA, report.number, dismissal)


@pytest.mark.asyncio
@pytest.mark.parametrize("away", [False, True])
async def test_dismissing_the_report_lets_the_message_go_and_its_sender_hears(
    start_relay: StartRelay, tmp_path: Path, away: bool
) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(**lists.settings(hold=MARKER))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    with pytest.raises(Refused):
        await alice.say(bob, MARKER)
    await lists.found(relay, 1)
    if away:
        await relay.restart()  # and nobody is connected
    log = at_work(relay)
    action = await _dismissed(relay)
    assert action.felt == "done"
    if away:
        alice, bob = await alice.again(relay.url), await bob.again(relay.url)
    (told,) = (await alice.expect(wire.Notices)).notices
    assert (told.topic, told.facts, told.rule) == ("released", REASONS.facts, REASONS.rule)
    # She is told, and the lists, which nobody reads for, are not.
    noted = [entry.account for entry in log.entries if entry.kind == "notice"]
    assert noted == [alice.account]
    await alice.say(bob, MARKER)
    assert [each.body for each in await bob.hear(1)] == [MARKER.encode()]
    # Nor does the queue get again what was let go.
    await lists.found(relay, 1)


@pytest.mark.asyncio
async def test_nobody_is_told_before_it_may_go_and_after_an_outage_once(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(**lists.settings(hold=MARKER))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    with pytest.raises(Refused):
        await alice.say(bob, MARKER)
    await lists.found(relay, 1)
    at_work(relay)
    moderation = relay.app.moderation

    async def broken(report: bytes) -> bytes:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(relay.app.scanning, "release", broken)
        assert (await _dismissed(relay)).felt == "owed"
        assert await moderation.notices.fresh(alice.account) == []
    for done in (1, 0):
        assert await moderation.actions.tick() == done
    assert len((await alice.expect(wire.Notices)).notices) == 1
    assert len(await moderation.notices.of(alice.account)) == 1
    await alice.say(bob, MARKER)


@pytest.mark.asyncio
async def test_a_crash_leaves_no_report_that_holds_nothing(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(**lists.settings(hold=MARKER))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    kept = held.put

    def crash(db: apsw.Connection, message: HeldMessage) -> None:
        raise StoreUnavailable("the process ended here")

    monkeypatch.setattr(held, "put", crash)
    with pytest.raises(Refused):
        await alice.say(bob, MARKER)
    await lists.found(relay, 0)
    monkeypatch.setattr(held, "put", kept)
    with pytest.raises(Refused):
        await alice.say(bob, MARKER)
    await lists.found(relay, 1)
    at_work(relay)
    await _dismissed(relay)
    await alice.say(bob, MARKER)


@pytest.mark.asyncio
async def test_dismissing_a_flag_lets_nothing_go(start_relay: StartRelay, tmp_path: Path) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(**lists.settings(flag=MARKER))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, MARKER)
    await lists.found(relay, 1)
    log = at_work(relay)
    assert (await _dismissed(relay)).felt == "done"
    assert await relay.app.store.released(10) == []
    assert "notice" not in log.kinds()
