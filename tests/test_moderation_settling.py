"""One action that settles ten reports, and what lists held that waits for the log to be let go."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto_modes.errors import BadArgument, Forbidden, LogUnavailable, StoreUnavailable
from crypto_modes.reports import SCANNER
from server.access_log import Receipt
from server.moderation.queue import Findings
from server.moderation.records import WrongState
from tests.moderation_rig import ALICE, BOB, CAROL, rig, sealed
from tests.test_moderation_actions import MARA, MILO, measure


@pytest.mark.asyncio
async def test_ten_reports_of_one_thing_are_settled_by_one_action(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        actions, queue = made.moderation.actions, made.moderation.queue
        reporters = enumerate((ALICE, CAROL, ALICE), 1)
        made.relay.incoming += [sealed(number, reporter) for number, reporter in reporters]
        await queue.sync()
        for number, account in ((1, BOB), (2, BOB), (3, CAROL)):
            await queue.assign(MARA, number, "mara")
            found = Findings(account=account, category="spam", evidence="claim")
            await queue.note(MARA, number, found)
        action = await actions.on_report(MARA, 1, measure("warn"))
        with pytest.raises(Forbidden):
            await actions.settle(MILO, 2, action.id)
        with pytest.raises(BadArgument, match="another account"):
            await actions.settle(MARA, 3, action.id)
        entries = len(made.log.entries)
        assert (await actions.settle(MARA, 2, action.id)).state == "actioned"
        entry, told = made.log.entries[entries:]
        assert (entry.kind, entry.actor, entry.detail["event"]) == ("case", "mara", "settled")
        assert (told.kind, told.account) == ("notice", b"")
        (notice,) = await made.moderation.notices.of(CAROL)
        assert (notice.topic, notice.outcome) == ("report", "acted")
        assert [each.kind for each in made.log.entries].count("action") == 1
        with pytest.raises(WrongState):
            await actions.settle(MARA, 2, action.id)
        # What was reversed settles nothing any more, and without the log nothing is settled.
        found = Findings(account=BOB, category="spam", evidence="claim")
        await queue.note(MARA, 3, found)
        made.log.down = True
        with pytest.raises(LogUnavailable):
            await actions.settle(MARA, 3, action.id)
        made.log.down = False
        appeals = made.moderation.appeals
        await appeals.file(BOB, action.id, "I did not")
        await appeals.decide(MILO, action.id, "reversed", "a mistake")
        with pytest.raises(WrongState, match="does not stand"):
            await actions.settle(MARA, 3, action.id)
        assert (await queue.get(MARA, 3)).state == "in_review"


@pytest.mark.asyncio
async def test_what_waits_for_the_log_asks_it_once_and_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path) as made:
        actions, queue = made.moderation.actions, made.moderation.queue
        made.relay.incoming += [
            sealed(each, b"d" * 16 if each == 3 else SCANNER) for each in (1, 2, 3)
        ]
        made.relay.released = {1: ALICE, 2: CAROL}
        await queue.sync()
        made.relay.broken = StoreUnavailable("the disk is full")
        for number in (1, 2, 3):
            await queue.assign(MARA, number, "mara")
            found = Findings(account=BOB, category="spam", evidence="claim")
            await queue.note(MARA, number, found)
            taken = measure("mute" if number == 3 else "none")
            assert (await actions.on_report(MARA, number, taken)).felt == "owed"
        made.relay.broken, asked = None, []

        async def down(entries: object) -> Receipt:
            asked.append(entries)
            raise LogUnavailable("the vault does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(made.log, "append", down)
            assert await actions.tick() == 1
        assert made.relay.applied == [("mute", BOB, True)]
        assert len(asked) == 1
        assert await actions.tick() == 2
        for account in (ALICE, CAROL):
            found_notices = await made.moderation.notices.of(account)
            assert [each.topic for each in found_notices] == ["released"]
