"""Moderation as a whole, driven at random: whoever asks for whatever, the tables and rules hold.

Each run is a list of wishes of random people, most of which must be refused, with the log up and
down in between. After each wish everything that is kept is compared with what was kept before.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes.errors import LouverError
from crypto_modes.grants import RULES
from server.moderation.actions import STANDING, Measure
from server.moderation.queue import Findings
from server.moderation.records import (
    Action,
    Appeal,
    Asked,
    Audit,
    Case,
    Hold,
    Notice,
    Record,
    Report,
    Statement,
)
from server.moderation.states import TABLES
from tests.moderation_rig import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    PEOPLE,
    TALK,
    Rig,
    approval,
    emergency,
    legal_request,
    preservation,
    rig,
    sealed,
)
from tests.test_moderation_holds import order

KINDS: tuple[type[Record], ...] = (Case, Asked, Audit, Report, Action, Appeal, Hold, Notice)
NOUNS: dict[type[Record], str] = {
    Case: "case",
    Asked: "grant",
    Report: "report",
    Action: "action",
    Appeal: "appeal",
    Hold: "hold",
}
Kept = dict[tuple[type[Record], object], Record]
Wish = Callable[[Rig, str, int], Awaitable[object]]


async def _kept(made: Rig) -> Kept:
    found: Kept = {}
    for kind in KINDS:
        for each in await made.store.find(kind, 0, 200):
            found[kind, getattr(each, kind.KEY)] = each
    return found


async def _some(made: Rig, kind: type[Any], pick: int) -> Any:
    page = await made.store.find(kind, 0, 200)
    if not page:
        raise LouverError("there is none yet")
    return page[pick % len(page)]


# --- what people may wish ---


async def _open(made: Rig, who: str, pick: int) -> object:
    opening = (legal_request(), emergency(), preservation())[pick % 3]
    case = await made.moderation.cases.open(PEOPLE[who], opening)
    return await made.moderation.cases.assign(PEOPLE[who], case.id, who)


async def _move_case(made: Rig, who: str, pick: int) -> object:
    case, cases = await _some(made, Case, pick), made.moderation.cases
    steps = [
        lambda: cases.assign(PEOPLE[who], case.id, who),
        lambda: cases.release(PEOPLE[who], case.id),
        lambda: cases.close(PEOPLE[who], case.id, "done"),
        lambda: cases.reopen(PEOPLE[who], case.id),
        lambda: cases.audit(PEOPLE[who], case.id, "seen"),
    ]
    return await steps[pick % len(steps)]()


async def _ask(made: Rig, who: str, pick: int) -> object:
    case = await _some(made, Case, pick)
    grant = made.grant(case, requester=who, first=1 + pick % 3)
    return await made.moderation.granting.ask(PEOPLE[who], grant)


async def _approve(made: Rig, who: str, pick: int) -> object:
    asked = await _some(made, Asked, pick)
    signed = approval(who, asked.grant)
    return await made.moderation.granting.approve(PEOPLE[who], asked.id, signed)


async def _end_grant(made: Rig, who: str, pick: int) -> object:
    asked, granting = await _some(made, Asked, pick), made.moderation.granting
    if pick % 2:
        return await granting.withdraw(PEOPLE[who], asked.id)
    return await granting.decline(PEOPLE[who], asked.id, "no")


async def _hold(made: Rig, who: str, pick: int) -> object:
    case = await _some(made, Case, pick)
    wanted = order(case, requester=who, nonce=os.urandom(16))
    return await made.moderation.holds.ask(PEOPLE[who], wanted)


async def _move_hold(made: Rig, who: str, pick: int) -> object:
    hold, holds = await _some(made, Hold, pick), made.moderation.holds
    if pick % 5 == 0:
        return await holds.decline(PEOPLE[who], hold.id, "no")
    if pick % 5 == 1:
        case = await made.store.get(Case, hold.case)
        assert case is not None
        wanted = order(case, "lift", requester=who, nonce=os.urandom(16))
        return await holds.ask_lift(PEOPLE[who], hold.id, wanted)
    return await holds.approve(PEOPLE[who], hold.id, approval(who, hold.lift or hold.order))


async def _report(made: Rig, who: str, pick: int) -> object:
    number = len(made.relay.incoming) + 1
    made.relay.incoming.append(sealed(number, (ALICE, CAROL)[pick % 2]))
    return await made.moderation.queue.sync()


async def _review(made: Rig, who: str, pick: int) -> object:
    report, queue = await _some(made, Report, pick), made.moderation.queue
    findings = Findings(account=BOB, category="threat", evidence="verified")
    steps = [
        lambda: queue.assign(PEOPLE[who], report.number, who),
        lambda: queue.note(PEOPLE[who], report.number, findings),
        lambda: queue.note(PEOPLE[who], report.number, findings),
        lambda: queue.release(PEOPLE[who], report.number),
    ]
    return await steps[pick % len(steps)]()


async def _act(made: Rig, who: str, pick: int) -> object:
    report = await _some(made, Report, pick)
    reasons = Statement(facts="facts", rule="rule")
    measures = [
        Measure(kind="suspend", account=BOB, statement=reasons),
        Measure(kind="mute", account=BOB, until=made.now + DAY, statement=reasons),
        Measure(kind="remove", account=BOB, conversation=TALK, seqs=(1,), statement=reasons),
        Measure(kind="none", statement=reasons),
    ]
    measure = measures[pick % len(measures)]
    return await made.moderation.actions.on_report(PEOPLE[who], report.number, measure)


async def _appeal(made: Rig, who: str, pick: int) -> object:
    action = await _some(made, Action, pick)
    account = (action.account, CAROL)[pick % 3 == 2]
    return await made.moderation.appeals.file(account, action.id, f"words {pick}")


async def _decide(made: Rig, who: str, pick: int) -> object:
    appeal = await _some(made, Appeal, pick)
    outcome = ("upheld", "reversed")[pick % 2]
    return await made.moderation.appeals.decide(PEOPLE[who], appeal.id, outcome, "why")  # type: ignore[arg-type] - one of the two


async def _log(made: Rig, who: str, pick: int) -> object:
    made.log.down = pick % 4 == 0
    return None


async def _later(made: Rig, who: str, pick: int) -> object:
    made.now += (60_000, 31 * 60_000, DAY)[pick % 3]
    return await made.moderation.tick()


WISHES: tuple[Wish, ...] = (
    _open,
    _move_case,
    _ask,
    _ask,
    _approve,
    _approve,
    _end_grant,
    _hold,
    _move_hold,
    _move_hold,
    _report,
    _review,
    _review,
    _review,
    _act,
    _act,
    _appeal,
    _decide,
    _log,
    _later,
)


# --- what must hold ---


def _check_step(before: Kept, after: Kept, refused: bool, entered: int) -> None:
    assert before.keys() <= after.keys()  # nothing is ever deleted
    changed = {key for key in after if before.get(key) != after[key]}
    for kind, key in changed:
        old, new = before.get((kind, key)), after[kind, key]
        if old is not None:
            assert new.version > old.version
        if old is not None and kind in NOUNS:
            moves = TABLES[NOUNS[kind]]
            states = old.state, new.state  # type: ignore[attr-defined] - all of NOUNS have one
            assert states[0] == states[1] or states in {
                (state, then) for (state, _), then in moves.items()
            }
    if refused:
        # A refusal, of whatever kind, leaves all as it was.
        assert changed == set()
    decided = {kind for kind, _ in changed if kind is not Notice}
    if decided:
        assert entered > 0


def _check_rules(made: Rig, kept: Kept) -> None:
    held, suspended, parts = set(), False, dict[tuple[bytes, str], set[str]]()
    for record in kept.values():
        match record:
            case Asked():
                people = set(record.approvers)
                assert len(people) == len(record.approvers)
                assert record.subject not in people
                if record.begun:
                    assert len(people) >= RULES[record.grant.basis].approvals
                if record.state == "granted":
                    assert len(people) >= 2 or record.grant.basis == "user_report"
                _part(parts, record.case, "requester", record.subject)
                for each in record.approvers:
                    _part(parts, record.case, "approver", each)
            case Audit():
                _part(parts, record.case, "auditor", record.subject)
            case Hold():
                if record.state in ("in_force", "lifting"):
                    held.add(record.place)
                    assert len({*record.approvers} - {record.subject}) >= 2
                if record.state == "lifted":
                    assert len({*record.lifters} - {record.lifter}) >= 2
            case Action():
                suspended |= record.kind == "suspend" and record.state in STANDING
            case Appeal() if record.decider:
                action = kept[Action, record.id]
                assert isinstance(action, Action)
                assert PEOPLE[record.decider].subject != action.subject
    assert all(len(each) == 1 for each in parts.values()), "somebody has two parts in one case"
    assert {place for place, on in dict(made.relay.held).items() if on} == held
    felt = [on for kind, _, on in made.relay.applied if kind == "suspend"]
    assert (felt[-1] if felt else False) == suspended


def _part(parts: dict[tuple[bytes, str], set[str]], case: bytes, part: str, subject: str) -> None:
    parts.setdefault((case, subject), set()).add(part)


async def _run(wishes: list[tuple[int, str, int]]) -> int:
    done = 0
    with TemporaryDirectory() as place:
        async with rig(Path(place)) as made:
            before = await _kept(made)
            for index, who, pick in wishes:
                refused, entries = False, len(made.log.entries)
                try:
                    await WISHES[index](made, who, pick)
                    done += 1
                except LouverError:
                    refused = True
                after = await _kept(made)
                # What a minute does is several steps, of which the log may refuse the last ones.
                several = WISHES[index] in (_later, _report, _open)
                _check_step(before, after, refused and not several, len(made.log.entries) - entries)
                _check_rules(made, after)
                before = after
    return done


_WISHES = st.tuples(
    st.integers(0, len(WISHES) - 1),
    st.sampled_from(["mara", "sven", "sara", "lena", "luca", "anna", "sven2", "mara2", "sven3"]),
    st.integers(0, 59),
)


def _wish(step: Wish, who: str, pick: int) -> tuple[int, str, int]:
    return WISHES.index(step), who, pick


# Lives of a grant, a hold, and a report: what chance alone would hardly find.
LIVES = (
    [
        _wish(_open, "lena", 0),
        _wish(_ask, "lena", 0),
        _wish(_approve, "sven", 0),
        _wish(_approve, "luca", 0),
    ],
    [
        _wish(_open, "lena", 2),
        _wish(_hold, "lena", 1),
        _wish(_move_hold, "sven", 2),
        _wish(_move_hold, "luca", 2),
        _wish(_move_hold, "lena", 1),
        _wish(_move_hold, "sven", 2),
        _wish(_move_hold, "luca", 2),
    ],
    [
        _wish(_report, "mara", 0),
        _wish(_review, "mara", 0),
        _wish(_review, "mara", 1),
        _wish(_act, "mara", 0),
        _wish(_appeal, "mara", 0),
        _wish(_decide, "sara", 1),
        _wish(_move_case, "anna", 4),
    ],
)
_BLOCKS = st.one_of(_WISHES.map(lambda one: [one]), st.sampled_from(LIVES))


@settings(max_examples=25, deadline=None)
@given(st.lists(_BLOCKS, min_size=5, max_size=30))
def test_whoever_wishes_whatever_the_rules_hold(blocks: list[list[tuple[int, str, int]]]) -> None:
    asyncio.run(_run([wish for block in blocks for wish in block]))


def test_the_wishes_reach_far() -> None:
    """A life of everything: else the test above would hold of a service that refuses all."""
    life = [wish for block in LIVES for wish in block]
    assert asyncio.run(_run(life)) == len(life)
