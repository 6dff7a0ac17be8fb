"""The store of moderation: all or none, one version after another, pages, and its own file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from server.moderation.desk import changed
from server.moderation.records import Audit, Case, Report, Stale
from server.moderation.sqlite import FILE, SqliteModeration
from server.moderation.store import PAGE_LIMIT
from tests.moderation_rig import ALICE, BOB, NOW

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteModeration]:
    made = SqliteModeration(tmp_path, on_fatal=print)
    await made.open()
    yield made
    await made.close()


def case(id: bytes = ALICE, **fields: object) -> Case:
    given = {"basis": "emergency", "opened": NOW, "opener": "sven", "subject": "s", "reason": "x"}
    return Case(id=id, **(given | fields))  # type: ignore[arg-type] - as a case has them


async def test_what_was_put_comes_back_as_it_was(store: SqliteModeration, tmp_path: Path) -> None:
    whole = case(accounts=(ALICE, BOB), gag=7, country="DE", reason="größe ☂")
    await store.put(whole)
    assert await store.get(Case, ALICE) == msgspec.structs.replace(whole, number=1)
    assert await store.get(Case, BOB) is None
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_a_version_follows_the_one_before_and_no_other(store: SqliteModeration) -> None:
    await store.put(case())
    second = changed(case(), state="assigned", assignee="sven")
    await store.put(second)
    for wrong in (
        case(reason="new under an old id"),
        second,
        changed(case(), state="closed"),
        msgspec.structs.replace(second, version=4),
        changed(case(BOB)),
    ):
        with pytest.raises(Stale):
            await store.put(wrong)
    kept = await store.get(Case, ALICE)
    assert kept == msgspec.structs.replace(second, number=1)
    assert await store.get(Case, BOB) is None


async def test_of_several_all_are_kept_or_none(store: SqliteModeration) -> None:
    await store.put(case())
    audit = Audit(id=b"1" * 16, case=ALICE, time=NOW, auditor="anna", subject="a", note="seen")
    with pytest.raises(Stale):
        await store.put(audit, changed(case(), state="closed"), case())
    assert await store.get(Audit, audit.id) is None
    assert (await store.find(Case, 0, 10))[0].state == "open"
    await store.put(audit, changed(case(), state="closed"))
    assert await store.get(Audit, audit.id) is not None


async def test_pages_are_bounded_and_in_order(store: SqliteModeration) -> None:
    made = [case(number.to_bytes(16, "big")) for number in range(PAGE_LIMIT + 30)]
    await store.put(*made)
    first = await store.find(Case, 0, 10_000)
    assert len(first) == PAGE_LIMIT
    rest = await store.find(Case, first[-1].number, 10_000, state="open", opener="sven")
    assert [each.id for each in [*first, *rest]] == [each.id for each in made]
    assert await store.find(Case, 0, 10, state="closed") == []


@pytest.mark.parametrize("name", ["accounts", "nonsense", 'state" OR 1=1 --'])
async def test_only_plain_fields_can_be_searched(store: SqliteModeration, name: str) -> None:
    with pytest.raises(KeyError):
        await store.find(Case, 0, 10, **{name: "x"})


async def test_a_report_keeps_the_relays_number(store: SqliteModeration) -> None:
    assert await store.last_report() == 0
    await store.put(Report(number=41, id=ALICE, reporter=BOB, time=NOW, messages=1))
    assert await store.last_report() == 41
    kept = await store.get(Report, 41)
    assert kept is not None
    assert (kept.number, kept.reporter) == (41, BOB)
    with pytest.raises(Stale):
        await store.put(Report(number=41, id=BOB, reporter=BOB, time=NOW, messages=1))
