"""A held message and the reviewer who lets it go: the list, the queue and the relay together."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto_modes import wire
from server.moderation.actions import Measure
from server.moderation.records import Statement
from tests.conftest import StartRelay
from tests.moderation_rig import PEOPLE
from tests.raw_client import Refused
from tests.test_effects import at_work
from tests.test_scanning import MARKER, Lists

MARA = PEOPLE["mara"]


@pytest.mark.asyncio
async def test_dismissing_the_report_lets_the_message_go_and_its_sender_hears(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(**lists.settings(hold=MARKER))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    with pytest.raises(Refused):
        await alice.say(bob, MARKER)
    await lists.found(relay, 1)
    at_work(relay)
    moderation = relay.app.moderation
    await moderation.queue.sync()
    (report,) = await moderation.queue.page(MARA)
    await moderation.queue.assign(MARA, report.number, "mara")
    reasons = Statement(facts="a quotation", rule="quotations are allowed")
    dismissal = Measure(kind="none", account=report.reporter, statement=reasons)
    action = await moderation.actions.on_report(MARA, report.number, dismissal)
    assert action.felt == "done"
    told = await alice.expect(wire.Notice, lambda notice: notice.topic == "released")
    assert "send it again" in told.text
    await alice.say(bob, MARKER)
    assert [each.body for each in await bob.hear(1)] == [MARKER.encode()]


@pytest.mark.asyncio
async def test_dismissing_a_flag_lets_nothing_go(start_relay: StartRelay, tmp_path: Path) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(**lists.settings(flag=MARKER))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, MARKER)
    await lists.found(relay, 1)
    at_work(relay)
    moderation = relay.app.moderation
    await moderation.queue.sync()
    (report,) = await moderation.queue.page(MARA)
    await moderation.queue.assign(MARA, report.number, "mara")
    reasons = Statement(facts="a quotation", rule="quotations are allowed")
    dismissal = Measure(kind="none", account=report.reporter, statement=reasons)
    assert (await moderation.actions.on_report(MARA, report.number, dismissal)).felt == "done"
    assert await relay.app.store.released(10) == []
