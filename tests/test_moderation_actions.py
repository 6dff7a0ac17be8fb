"""Actions, their reasons, their appeals: who may, what is told to whom, and that it is undone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crypto_modes.errors import (
    BadArgument,
    Forbidden,
    LimitExceeded,
    LogUnavailable,
    StoreUnavailable,
)
from server.moderation.actions import Measure
from server.moderation.queue import Findings
from server.moderation.records import Action, Appeal, Report, Statement, Unknown, WrongState
from tests.moderation_rig import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    NOW,
    OTHER,
    PEOPLE,
    TALK,
    Rig,
    legal_request,
    rig,
    sealed,
)

MARA, MILO = PEOPLE["mara"], PEOPLE["milo"]
REASONS = Statement(facts="you wrote that you would come at night", rule="house rule 4: threats")


def measure(kind: str, **fields: object) -> Measure:
    """A measure against Bob, with what its kind needs."""
    needs: dict[str, dict[str, object]] = {
        "mute": {"until": NOW + DAY},
        "remove": {"conversation": TALK, "seqs": (1, 3)},
        "none": {"account": b""},
    }
    given = {"kind": kind, "account": BOB, "statement": REASONS, **needs.get(kind, {}), **fields}
    return Measure(**given)  # type: ignore[arg-type] - a test may give wrong ones


async def reviewed(made: Rig, who: str = "mara", reporter: bytes = ALICE) -> Report:
    """A report about Bob, looked at by ``who``."""
    queue = made.moderation.queue
    number = len(made.relay.incoming) + 1
    made.relay.incoming.append(sealed(number, reporter))
    await queue.sync()
    await queue.assign(PEOPLE[who], number, who)
    findings = Findings(account=BOB, category="threat", evidence="verified")
    return await queue.note(PEOPLE[who], number, findings)


async def acted(made: Rig, kind: str = "suspend", who: str = "mara") -> Action:
    report = await reviewed(made, who)
    return await made.moderation.actions.on_report(PEOPLE[who], report.number, measure(kind))


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["warn", "mute", "suspend", "remove"])
async def test_an_action_is_entered_kept_felt_and_told(tmp_path: Path, kind: str) -> None:
    async with rig(tmp_path) as made:
        made.relay.online = {BOB}
        report = await reviewed(made)
        before = len(made.log.entries)
        action = await made.moderation.actions.on_report(MARA, report.number, measure(kind))
        assert (action.state, action.felt, action.actor) == ("in_force", "done", "mara")
        assert made.relay.applied == [(kind, BOB, True)]
        assert (await made.moderation.queue.get(MARA, 1)).state == "actioned"
        entries = made.log.entries[before:]
        assert [entry.kind for entry in entries] == ["action", "notice", "notice"]
        assert entries[0].detail["kind"] == kind
        assert entries[0].detail["category"] == "threat"
        (notice,) = await made.moderation.notices.of(BOB)
        assert (notice.topic, notice.kind, notice.action) == ("action", kind, action.id)
        assert notice.statement is not None
        assert notice.statement.facts == REASONS.facts
        assert "louver appeal" in notice.statement.redress
        assert made.relay.told[0].account == BOB


@pytest.mark.asyncio
async def test_nothing_that_the_reported_user_gets_says_who_reported_or_decided(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as made:
        action = await acted(made)
        await made.moderation.appeals.file(BOB, action.id, "it was a joke")
        await made.moderation.appeals.decide(MILO, action.id, "upheld", "it does not read so")
        notices = await made.moderation.notices.of(BOB)
        assert [each.topic for each in notices] == ["action", "decision"]
        told = msgspec.json.encode(notices) + msgspec.msgpack.encode(notices)
        for secret in (ALICE, ALICE.hex().encode(), b"alice", b"mara", b"milo"):
            assert secret not in told


@pytest.mark.asyncio
async def test_the_reporter_hears_that_something_was_done_and_not_what(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        action = await acted(made)
        (notice,) = await made.moderation.notices.of(ALICE)
        assert (notice.topic, notice.outcome) == ("report", "acted")
        assert (notice.action, notice.kind, notice.statement) == (b"", "", None)
        with pytest.raises(Unknown):
            await made.moderation.appeals.file(ALICE, action.id, "too little")


@pytest.mark.asyncio
async def test_a_dismissal_concerns_the_reporter_alone_who_can_appeal(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        report = await reviewed(made)
        actions, appeals = made.moderation.actions, made.moderation.appeals
        action = await actions.on_report(MARA, report.number, measure("none"))
        assert (await made.moderation.queue.get(MARA, 1)).state == "dismissed"
        assert await made.moderation.notices.of(BOB) == []
        (notice,) = await made.moderation.notices.of(ALICE)
        assert (notice.topic, notice.outcome, notice.action) == ("report", "nothing", action.id)
        await appeals.file(ALICE, action.id, "look again")
        await appeals.decide(MILO, action.id, "reversed", "it is a threat")
        assert (await made.moderation.queue.get(MARA, 1)).state == "reversed"
        again = await made.moderation.queue.assign(MILO, 1, "milo")
        assert again.state == "in_review"
        # Who reported is in no entry that the auditors see.
        assert all(entry.account in (b"", BOB) for entry in made.log.entries)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (measure("warn", account=CAROL), "act on that account alone"),
        (measure("mute", until=0), "has an end"),
        (measure("warn", until=NOW + 1), "has an end"),
        (measure("mute", until=NOW), "over already"),
        (measure("remove", seqs=()), "names `conversation` and `seqs`"),
        (measure("suspend", seqs=(1,), conversation=TALK), "names `conversation`"),
        (measure("remove", conversation=OTHER), "conversation of the reporter and the reported"),
        (measure("suspend", conversation=TALK), "names `conversation`"),
        (measure("remove", seqs=(1, 2)), "written by this account"),
        (measure("warn", statement=Statement(facts="", rule="4")), "facts and a rule"),
        (measure("warn", statement=Statement(facts="x", rule="")), "facts and a rule"),
        (measure("warn", statement=Statement(facts="x" * 2001, rule="4")), "facts and a rule"),
    ],
)
async def test_a_measure_that_does_not_fit_is_refused(
    tmp_path: Path, wrong: Measure, says: str
) -> None:
    async with rig(tmp_path) as made:
        report = await reviewed(made)
        with pytest.raises(BadArgument, match=says):
            await made.moderation.actions.on_report(MARA, report.number, wrong)
        assert made.relay.applied == []
        assert (await made.moderation.queue.get(MARA, 1)).state == "in_review"
        assert "action" not in made.log.kinds()


@pytest.mark.asyncio
async def test_only_the_assignee_settles_and_only_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        report = await reviewed(made)
        actions = made.moderation.actions
        with pytest.raises(Forbidden, match="only the assignee"):
            await actions.on_report(MILO, report.number, measure("warn"))
        for who in ("lena", "anna", "otto", "adam"):
            with pytest.raises(Forbidden, match="may not act"):
                await actions.on_report(PEOPLE[who], report.number, measure("warn"))
        await actions.on_report(MARA, report.number, measure("warn"))
        with pytest.raises(WrongState):
            await actions.on_report(MARA, report.number, measure("suspend"))
        assert made.relay.applied == [("warn", BOB, True)]


@pytest.mark.asyncio
async def test_while_the_log_is_down_nobody_is_acted_on_and_no_appeal_is_taken(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as made:
        first = await acted(made, "warn")
        report = await reviewed(made)
        made.log.down = True
        with pytest.raises(LogUnavailable):
            await made.moderation.actions.on_report(MARA, report.number, measure("suspend"))
        with pytest.raises(LogUnavailable):
            await made.moderation.appeals.file(BOB, first.id, "no")
        assert made.relay.applied == [("warn", BOB, True)]
        assert [each.kind for each in await made.moderation.actions.page(MARA)] == ["warn"]
        assert len(await made.moderation.notices.of(BOB)) == 1
        made.log.down = False
        await made.moderation.appeals.file(BOB, first.id, "no")
        made.log.down = True
        with pytest.raises(LogUnavailable):
            await made.moderation.appeals.decide(MILO, first.id, "reversed", "a mistake")
        assert (await made.moderation.appeals.get(MILO, first.id)).state == "open"


@pytest.mark.asyncio
async def test_what_the_relay_cannot_do_now_is_owed_and_done_later(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.relay.broken = StoreUnavailable("the disk is full")
        action = await acted(made)
        assert action.felt == "owed"
        assert await made.moderation.actions.tick() == 0
        made.relay.broken = None
        assert await made.moderation.actions.tick() == 1
        assert made.relay.applied == [("suspend", BOB, True)]
        assert await made.moderation.actions.tick() == 0
        assert (await made.moderation.actions.get(MARA, action.id)).felt == "done"


@pytest.mark.asyncio
async def test_what_is_in_force_is_felt_again_after_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        for kind in ("mute", "suspend", "remove", "warn"):
            await acted(made, kind)
        action = await acted(made, "mute")
        await made.moderation.appeals.file(BOB, action.id, "no")
        await made.moderation.appeals.decide(MILO, action.id, "reversed", "a mistake")
    async with rig(tmp_path) as made:
        await made.moderation.restore()
        assert sorted(made.relay.applied) == [
            ("mute", BOB, True),
            ("remove", BOB, True),
            ("suspend", BOB, True),
        ]


# --- appeals ---


async def _appealed(made: Rig, kind: str = "suspend", who: str = "mara") -> Appeal:
    action = await acted(made, kind, who)
    return await made.moderation.appeals.file(BOB, action.id, "it was a joke")


@pytest.mark.asyncio
async def test_a_reversed_action_is_undone(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        appeal = await _appealed(made)
        assert (await made.moderation.queue.get(MARA, 1)).state == "appealed"
        decided = await made.moderation.appeals.decide(
            MILO, appeal.id, "reversed", "the words were a quotation", appeal.version
        )
        assert (decided.state, decided.decider, decided.decided) == ("reversed", "milo", NOW)
        assert made.relay.applied == [("suspend", BOB, True), ("suspend", BOB, False)]
        action = await made.moderation.actions.get(MARA, appeal.id)
        assert (action.state, action.felt) == ("reversed", "done")
        assert (await made.moderation.queue.get(MARA, 1)).state == "reversed"
        notice = (await made.moderation.notices.of(BOB))[-1]
        assert (notice.topic, notice.outcome) == ("decision", "reversed")
        assert made.log.entries[-2].kind == "decision"
        assert made.log.entries[-2].detail == {"outcome": "reversed", "kind": "suspend"}


@pytest.mark.asyncio
async def test_an_upheld_action_stays(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        appeal = await _appealed(made)
        await made.moderation.appeals.decide(MILO, appeal.id, "upheld", "it stands")
        assert made.relay.applied == [("suspend", BOB, True)]
        assert (await made.moderation.actions.get(MARA, appeal.id)).state == "upheld"
        with pytest.raises(WrongState):
            await made.moderation.appeals.decide(MILO, appeal.id, "reversed", "on reflection")


@pytest.mark.asyncio
async def test_undoing_one_of_two_suspensions_leaves_the_other(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        appeal = await _appealed(made)
        await acted(made)
        await made.moderation.appeals.decide(MILO, appeal.id, "reversed", "a mistake")
        assert all(on for _, _, on in made.relay.applied)
        mute = await _appealed(made, "mute")
        await acted(made, "mute")
        made.relay.applied.clear()
        await made.moderation.appeals.decide(MILO, mute.id, "reversed", "a mistake")
        assert made.relay.applied == [("mute", BOB, False), ("mute", BOB, True)]


@pytest.mark.asyncio
async def test_who_acted_does_not_decide_under_any_account(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        appeal = await _appealed(made)
        for who in ("mara", "mara2"):
            with pytest.raises(Forbidden, match="somebody else must decide"):
                await made.moderation.appeals.decide(PEOPLE[who], appeal.id, "upheld", "mine")
            assert made.log.entries[-1].kind == "refused"
        for who in ("lena", "anna", "otto", "adam"):
            with pytest.raises(Forbidden, match="may not decide"):
                await made.moderation.appeals.decide(PEOPLE[who], appeal.id, "upheld", "mine")
        assert (await made.moderation.appeals.get(MILO, appeal.id)).state == "open"


@pytest.mark.asyncio
async def test_one_appeal_for_each_action_by_whom_it_concerns(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        appeals = made.moderation.appeals
        action = await acted(made)
        with pytest.raises(Unknown):
            await appeals.file(CAROL, action.id, "not mine")
        with pytest.raises(Unknown):
            await appeals.file(BOB, b"?" * 16, "none")
        for words in ("", "ä" * 1001):
            with pytest.raises(LimitExceeded):
                await appeals.file(BOB, action.id, words)
        await appeals.file(BOB, action.id, "ä" * 1000)
        with pytest.raises(WrongState):
            await appeals.file(BOB, action.id, "once more")
        (kept,) = await appeals.page(MILO, state="open")
        assert kept.words == "ä" * 1000


# --- under a case ---


@pytest.mark.asyncio
async def test_an_order_of_a_court_is_carried_out_under_its_case(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        case = await made.opened("lena", legal_request())
        actions, lena = made.moderation.actions, PEOPLE["lena"]
        action = await actions.on_case(lena, case.id, measure("remove"))
        assert (action.case, action.report, action.felt) == (case.id, 0, "done")
        entry = next(each for each in made.log.entries if each.kind == "action")
        assert (entry.detail["country"], entry.case) == ("DE", case.id)
        with pytest.raises(Forbidden, match="only the assignee"):
            await actions.on_case(PEOPLE["luca"], case.id, measure("warn"))
        with pytest.raises(BadArgument, match="does not name this account"):
            await actions.on_case(lena, case.id, measure("warn", account=CAROL))
        # Nor does a conversation bring its people into a case that names neither.
        by_alice = measure("remove", account=ALICE, seqs=(2,))
        with pytest.raises(BadArgument, match="does not name"):
            await actions.on_case(lena, case.id, by_alice)
        with pytest.raises(BadArgument, match="names `conversation`"):
            await actions.on_case(
                lena, case.id, measure("suspend", account=ALICE, conversation=TALK)
            )
        order = legal_request(accounts=(), conversations=(TALK,))
        named = await made.opened("lena", order)
        assert (await actions.on_case(lena, named.id, by_alice)).felt == "done"
        with pytest.raises(BadArgument, match="act on the report itself"):
            await actions.on_case(lena, case.id, measure("none"))
