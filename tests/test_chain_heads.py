"""Heads of conversations in the access log: entered by the hour, and a roll-back is found."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from crypto_modes import at_rest
from crypto_modes.errors import LogUnavailable
from crypto_modes.transparency.access_log import Entry, Opened
from server import cli
from server.chain_check import Line, check
from server.moderation import chains
from server.moderation.chains import HOUR, Chains
from tests import modes_oracle as oracle
from tests.conftest import Running, StartRelay
from tests.test_mod_story import begun
from tests.vault_rig import MemoryLog

pytestmark = pytest.mark.asyncio
START = 1_790_000_000_000


class Talks:
    """A relay in ``at_rest``, two who talk there, and heads entered in a log in memory."""

    def __init__(self, relay: Running, alice: Any, bob: Any) -> None:
        self.relay, self.alice, self.bob = relay, alice, bob
        self.now = START
        self.log = MemoryLog([])
        self.start()

    def start(self) -> None:
        kept, store = self.relay.app.moderation.desk.store, self.relay.app.store
        now = lambda: self.now  # noqa: E731 - a clock
        self.chains = Chains(kept, store, self.log, now=now, random=os.urandom)

    async def hour(self, *texts: str) -> None:
        """Alice says these, and an hour goes by."""
        for each in texts:
            await self.alice.say(self.bob, each)
        await self.chains.tick()
        self.now += HOUR
        await self.chains.tick()

    def edit(self, sql: str, *values: Any, file: str = "louver.db") -> None:
        """As a database's administrator does."""
        with sqlite3.connect(self.relay.data / file) as db:
            assert db.execute(sql, values).rowcount > 0
        db.close()

    def shown(self) -> list[Opened]:
        return [Opened(at, bytes(16), each) for at, each in enumerate(self.log.entries)]

    async def check(self, *, log: bool = False) -> list[Line]:
        return await check(self.relay.data, self.shown() if log else None)


@pytest_asyncio.fixture
async def talks(start_relay: StartRelay) -> AsyncIterator[Talks]:
    relay = await start_relay("at_rest")
    yield Talks(relay, await relay.enter("alice"), await relay.enter("bob"))


@pytest.mark.attack(39)
async def test_once_an_hour_one_entry_covers_what_changed(talks: Talks) -> None:
    await talks.hour("one", "two")
    await talks.chains.tick()
    await talks.hour()
    await talks.hour("three")
    first, second = talks.log.entries
    assert [each.kind for each in talks.log.entries] == ["keys", "keys"]
    assert (first.count, second.count) == (1, 1)
    for entry, seq in ((first, 2), (second, 3)):
        stored = (await talks.relay.app.store.scan(b"", 0, 9))[seq - 1]
        covered = oracle.enc("louver/v1/chain/heads", stored.meta.conversation, seq, stored.chain)
        assert entry.detail == {"outcome": "heads", "digest": sha256(covered).hexdigest()}
    assert [(each.entry, each.holds) for each in await talks.check(log=True)] == [
        (0, True),
        (1, True),
    ]


@pytest.mark.attack(39)
@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM message WHERE seq >= 2",
        "UPDATE message SET record = zeroblob(200) WHERE seq = 1",
        "UPDATE message SET chain = zeroblob(32) WHERE seq = 2",
        "DELETE FROM message WHERE seq = 1",
    ],
)
async def test_a_record_that_was_rolled_back_is_found(talks: Talks, sql: str) -> None:
    await talks.hour("one", "two")
    assert [each.holds for each in await talks.check()] == [True]
    talks.edit(sql)
    (line,) = await talks.check()
    assert (line.holds, "message 2 or one before it" in line.reason) == (False, True)


@pytest.mark.attack(39)
async def test_a_history_that_holds_in_itself_and_is_another_is_found(talks: Talks) -> None:
    await talks.hour("one", "two")
    first = (await talks.relay.app.store.scan(b"", 0, 1))[0]
    record = b"what the administrator would rather have there"
    again = at_rest.link(first.chain, 2, record)
    talks.edit("UPDATE message SET record = ?, chain = ? WHERE seq = 2", record, again)
    (line,) = await talks.check()
    assert (line.holds, line.reason) == (False, "one of its conversations has another history")


@pytest.mark.attack(39)
async def test_whoever_changes_the_list_as_well_is_found_by_the_log(talks: Talks) -> None:
    await talks.hour("one")
    await talks.hour("two")
    talks.edit("DELETE FROM message WHERE seq = 2")
    rows = "UPDATE covered SET (digest, places) = (SELECT digest, places FROM covered WHERE number"
    talks.edit(f"{rows} = 1) WHERE number = 2", file="moderation.db")
    assert [each.holds for each in await talks.check()] == [True, True]
    found = await talks.check(log=True)
    assert [(each.entry, each.holds) for each in found[:2]] == [(0, True), (1, False)]
    assert "another digest" in found[1].reason
    talks.edit("DELETE FROM covered WHERE number = 2", file="moderation.db")
    assert [each.holds for each in await talks.check()] == [True]
    found = await talks.check(log=True)
    assert [(each.entry, each.holds) for each in found] == [(0, True), (1, False)]
    assert "taken away" in found[1].reason


async def test_a_dead_vault_only_delays_and_a_restart_enters_what_waits(talks: Talks) -> None:
    talks.log.dead = 0
    with pytest.raises(LogUnavailable):
        await talks.hour("one")
    assert [(each.entry, each.holds) for each in await talks.check()] == [(-1, True)]
    talks.log.dead = None
    talks.start()
    await talks.chains.tick()
    assert [each.entry for each in await talks.check(log=True)] == [0]
    await talks.hour("two")
    assert [each.entry for each in await talks.check(log=True)] == [0, 1]


async def test_many_conversations_come_in_pages_and_several_digests(
    talks: Talks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.sqlite.messages.CHAINED", 1)
    monkeypatch.setattr(chains, "PAGES", 2)
    monkeypatch.setattr(chains, "LIMIT", 2)
    await talks.chains.tick()
    for name in ("carol", "dave", "erin"):
        await talks.alice.say(await talks.relay.enter(name), "hello")
    talks.now += HOUR
    for _ in range(4):
        await talks.chains.tick()
    assert [each.count for each in talks.log.entries] == [2, 1]
    assert [each.holds for each in await talks.check(log=True)] == [True, True]


async def test_the_oldest_lists_go(talks: Talks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "KEPT", 2)
    for text in ("one", "two", "three", "four"):
        await talks.hour(text)
    found = await talks.check(log=True)
    assert [(each.entry, each.holds) for each in found] == [(2, True), (3, True)]


async def test_what_is_sent_in_tls_has_no_head(start_relay: StartRelay) -> None:
    relay = await start_relay("tls")
    talks = Talks(relay, await relay.enter("alice"), await relay.enter("bob"))
    await talks.hour("one")
    assert talks.log.entries == []


async def test_a_relay_with_a_vault_enters_heads_and_the_operator_is_told_of_a_roll_back(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "HOUR", 0)
    async with begun(start_relay, tmp_path) as (story, _, _talk):
        moderating = story.relay.app.moderating
        await moderating.keep_up()
        entries = [each.entry for each in await story.vault.log.opened(0)]
        # A relay that was slow to start may have entered one before the last message.
        found = {(each.kind, each.count) for each in entries if isinstance(each, Entry)}
        assert found == {("keys", 1)}

        def heads() -> tuple[int, list[dict[str, Any]]]:
            data = f"--set=data={story.relay.data}"
            result = CliRunner().invoke(cli.app, ["keys", "heads", data])
            return result.exit_code, [*map(json.loads, result.stdout.splitlines())]

        assert (await asyncio.to_thread(heads))[0] == 0
        with sqlite3.connect(story.relay.data / "louver.db") as db:
            db.execute("DELETE FROM message WHERE seq = 2")
        db.close()
        code, lines = await asyncio.to_thread(heads)
        assert (code, lines[-1]["holds"]) == (1, False)
