"""Scanning at the relay: what lists flag and hold, and that it is told to the team alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crypto_modes import verdicts, wire
from crypto_modes.errors import BadConfig, Forbidden
from crypto_modes.keys import TeamKey
from crypto_modes.reports import SCANNER, Item, Report, Sealed
from crypto_modes.verdicts import Answer, Finding
from server import team
from server.confirming import Questions
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient, Refused

MARKER = "HARM-0007"


class Lists:
    """Files of lists, a team, and the settings that name them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        secret, public, _ = team.keygen(directory)
        self.secret = TeamKey(secret.read_bytes())
        self.moderation = {"key": str(public)}

    def settings(self, **lists: str) -> Mapping[str, Any]:
        """``flag="word"`` or ``hold="word"``: a list with one entry each."""
        named = []
        for action, entry in lists.items():
            (self.directory / f"{action}.txt").write_text(entry)
            named.append(f"{action}:spam:words:{self.directory / action}.txt")
        return {"moderation": self.moderation, "scanning": {"lists": tuple(named)}}

    async def found(self, relay: Running, count: int) -> list[Report]:
        """What lies in the queue, opened by the team, once ``count`` reports are there."""
        await relay.app.scanning.close()
        kept = await relay.app.store.reports(0, 100)
        assert len(kept) == count
        return [
            Sealed(
                relay=relay.app.store.deployment,
                reporter=each.reporter,
                id=each.id,
                time=each.time,
                tags=each.tags,
                sealed=each.sealed,
            ).open(self.secret)
            for each in kept
        ]


async def judged(relay: Running, report: Report) -> list[Finding]:
    """The verdicts of a team that asks the relay."""
    asked = [verdicts.question(item) for item in report.items]
    raw = await relay.app.confirming.answers_to(msgspec.json.encode(Questions(tuple(asked))))
    return verdicts.judge(report, msgspec.json.decode(raw, type=list[Answer]))


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    return Lists(tmp_path)


async def people(relay: Running) -> tuple[RawClient, RawClient]:
    return await relay.enter("alice"), await relay.enter("bob")


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["tls", "at_rest"])
async def test_a_flagged_message_goes_on_and_lies_sealed_in_the_queue(
    start_relay: StartRelay, lists: Lists, mode: str
) -> None:
    relay = await start_relay(mode=mode, **lists.settings(flag=MARKER))
    alice, bob = await people(relay)
    accepted = await alice.say(bob, f"take {MARKER}")
    await alice.say(bob, "nothing")
    assert [each.body for each in await bob.hear(2)] == [f"take {MARKER}".encode(), b"nothing"]
    (report,) = await lists.found(relay, 1)
    assert (report.reporter, report.reported, report.category) == (SCANNER, alice.account, "spam")
    assert report.words == "flag: 'harm-0007' of flag.txt"
    (item,) = report.items
    assert isinstance(item, Item)
    assert (item.id, item.seq, item.message) == (
        accepted.id,
        accepted.seq,
        f"take {MARKER}".encode(),
    )
    (finding,) = await judged(relay, report)
    assert (finding.state, finding.content) == ("confirmed", item.message)
    lie = msgspec.structs.replace(item, message=b"another")
    (finding,) = await judged(relay, msgspec.structs.replace(report, items=(lie,)))
    assert finding.state == "refused"
    # The queue holds no second copy that anybody could read.
    assert not any(
        MARKER.encode() in each.read_bytes()
        for each in relay.data.glob("louver.db*")
        if mode == "at_rest"
    )


@pytest.mark.asyncio
async def test_sent_again_with_its_id_it_is_reported_once(
    start_relay: StartRelay, lists: Lists
) -> None:
    relay = await start_relay(**lists.settings(flag=MARKER))
    alice, bob = await people(relay)
    draft = await alice.draft(bob, MARKER)
    for _ in range(3):
        await alice.ask(draft, wire.Accepted)
    await lists.found(relay, 1)


@pytest.mark.asyncio
async def test_a_held_message_is_refused_until_a_moderator_lets_it_go(
    start_relay: StartRelay, lists: Lists
) -> None:
    relay = await start_relay(mode="at_rest", **lists.settings(hold=MARKER))
    alice, bob = await people(relay)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await alice.say(bob, MARKER)
        error = refused.value.error
        assert (error.code, error.name, error.temporary) == (131, "held_for_review", False)
    await alice.say(bob, "something else")
    first, second = await lists.found(relay, 2)
    assert first.items[0].seq == second.items[0].seq == 0
    (finding,) = await judged(relay, first)
    assert (finding.state, finding.content) == ("claim", MARKER.encode())
    report = (await relay.app.store.reports(0, 1))[0].id
    assert await relay.app.scanning.release(report) == alice.account
    await alice.say(bob, MARKER)
    assert [each.body for each in await bob.hear(2)] == [b"something else", MARKER.encode()]
    # That message from that sender into that conversation, and nothing else.
    for sender, peer, text in ((bob, alice, MARKER), (alice, bob, f"{MARKER}!")):
        with pytest.raises(Refused):
            await sender.say(peer, text)
    with pytest.raises(Forbidden):
        await relay.app.scanning.release(os.urandom(16))
    await relay.restart()
    alice = await alice.again(relay.url)
    await alice.say(bob, MARKER)


@pytest.mark.asyncio
async def test_what_was_accepted_stays_accepted_whatever_lists_say_later(
    start_relay: StartRelay, lists: Lists
) -> None:
    relay = await start_relay(**lists.settings(hold="something else"))
    alice, bob = await people(relay)
    draft = await alice.draft(bob, MARKER)
    accepted = await alice.ask(draft, wire.Accepted)
    (lists.directory / "hold.txt").write_text(MARKER)
    await relay.app.reload(relay.app.settings)
    assert (await alice.ask(draft, wire.Accepted)).seq == accepted.seq
    with pytest.raises(Refused):
        await alice.say(bob, MARKER)
    await lists.found(relay, 1)


@pytest.mark.asyncio
async def test_in_e2ee_nothing_is_scanned(start_relay: StartRelay, lists: Lists) -> None:
    relay = await start_relay(mode="e2ee", **lists.settings(hold=MARKER, flag="x"))
    for mode, finds_it in (("e2ee", False), ("at_rest", True), ("tls", True), ("none", False)):
        assert bool(relay.app.scanning.scan(mode, MARKER.encode())) == finds_it


@pytest.mark.asyncio
async def test_one_sender_cannot_fill_the_queue(start_relay: StartRelay, lists: Lists) -> None:
    relay = await start_relay(**lists.settings(flag=MARKER))
    alice, bob = await people(relay)
    for number in range(30):
        await alice.say(bob, f"{MARKER} {number}")
    await bob.say(alice, MARKER)
    await lists.found(relay, 21)
    assert b'louver_scanned_total{action="flag"} 31.0' in relay.app.exposition()


@pytest.mark.asyncio
async def test_lists_are_read_again_and_a_bad_one_changes_nothing(
    start_relay: StartRelay, lists: Lists
) -> None:
    relay = await start_relay(**lists.settings(hold="first"))
    alice, bob = await people(relay)
    (lists.directory / "hold.txt").write_text("second")
    scanning = relay.app.settings.scanning.model_copy(update={"seconds": 7.0})
    await relay.app.reload(relay.app.settings.model_copy(update={"scanning": scanning}))
    assert relay.app.scanning._seconds == 7.0
    await alice.say(bob, "first")
    with pytest.raises(Refused):
        await alice.say(bob, "second")
    (lists.directory / "hold.txt").write_text("")
    with pytest.raises(BadConfig, match="is empty"):
        await relay.app.reload(relay.app.settings)
    with pytest.raises(Refused):
        await alice.say(bob, "second")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "setting",
    ["spam.txt", "warn:spam:words:x", "flag:rude:words:x", "flag:spam:regex:x", "flag:spam:words:"],
)
async def test_a_setting_that_is_none_stops_the_start(
    start_relay: StartRelay, lists: Lists, setting: str
) -> None:
    with pytest.raises(BadConfig, match=r"scanning\.lists"):
        await start_relay(moderation=lists.moderation, scanning={"lists": (setting,)})


@pytest.mark.asyncio
async def test_lists_need_a_team_and_a_file(start_relay: StartRelay, lists: Lists) -> None:
    given_lists = dict(lists.settings(flag="x"))
    with pytest.raises(BadConfig, match=r"moderation\.key"):
        await start_relay(scanning=given_lists["scanning"])
    (lists.directory / "flag.txt").unlink()
    with pytest.raises(BadConfig, match="cannot read"):
        await start_relay(**given_lists)
