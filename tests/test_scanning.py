"""Scanning: what lists find and what they do not, and what the relay makes of it."""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import content, scanning, verdicts, wire
from crypto_modes.content import Edit
from crypto_modes.errors import BadConfig, Forbidden
from crypto_modes.keys import TeamKey
from crypto_modes.reports import SCANNER, Item, Report, Sealed
from crypto_modes.scanning import Links, Words, comparable
from crypto_modes.verdicts import Answer, Finding
from server import team
from server.confirming import Questions
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient, Refused

MARKER = "HARM-0007"


def words(*entries: str) -> Words:
    return Words("list", "flag", entries)


def finds(scanner: Words | Links, text: str) -> list[str]:
    return [hit.entry for hit in scanner.scan(comparable(text))]


# --- what is found ---


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("harm-0007", f"look: {MARKER}!"),
        ("buy now", "BUY   NOW"),
        ("buy now", "buy\nnow, or never"),
        ("straße", "die STRASSE dort"),
        ("ｆｕｌｌ", "full"),
        ("word", "w\u200bo\u00adrd"),
        ("c++", "learn c++ here"),
        ("毒品", "买毒品吗"),
        ("ยา", "ขายยานะ"),
        ("café", "le cafe\u0301 noir"),
        ("毒品", "buy毒品now"),
        ("x" * 200, "x" * 200),
    ],
)
def test_an_entry_is_found_however_it_is_written(entry: str, text: str) -> None:
    assert finds(words(entry), text) == [comparable(entry)]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("ass", "a class of grass"),
        ("ass", "ass_1"),
        ("buy now", "buy it now"),
        ("buy now", "I buy nowadays"),
        ("harm-0007", "harm-00071"),
        ("é", "cafés"),
    ],
)
def test_words_are_whole(entry: str, text: str) -> None:
    assert finds(words(entry), text) == []


@given(
    st.lists(st.text("ab c", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4),
    st.text("abcAB  ._-", max_size=30),
)
def test_it_finds_what_a_plain_search_finds(entries: list[str], text: str) -> None:
    """The oracle looks at every place of every entry."""
    prepared = comparable(text)
    expected = set()
    for entry in map(comparable, entries):
        for start in range(len(prepared) - len(entry) + 1):
            end = start + len(entry)
            before = start and (prepared[start - 1] + entry[0]).replace("_", "a").isalnum()
            after = end < len(prepared) and (entry[-1] + prepared[end]).replace("_", "a").isalnum()
            if prepared[start:end] == entry and not before and not after:
                expected.add(entry)
    assert finds(words(*entries), text) == sorted(expected)[: scanning.HITS_LIMIT]


@pytest.mark.parametrize(
    "text",
    [
        "http://bad.example/x",
        "HTTPS://BAD.example:443/",
        "see bad.example, please",
        "(www.sub.bad.example?q=1)",
        "https://good.example@bad.example/",
        "bad.example.",
        "bad.example./x",
    ],
)
def test_a_host_is_found_with_all_below_it(text: str) -> None:
    assert finds(Links("l", "hold", ["bad.example"]), text) == ["bad.example"]


@pytest.mark.parametrize(
    "text",
    [
        "http://notbad.example/",
        "bad.example.org",
        "https://good.example/bad.example",
        "bad example",
    ],
)
def test_other_hosts_are_not(text: str) -> None:
    assert finds(Links("l", "hold", ["bad.example"]), text) == []


def test_a_path_narrows_a_host() -> None:
    links = Links("l", "hold", ["https://host.example/bad/", "münchen.example"])
    assert finds(links, "http://host.example/bad") == ["host.example/bad"]
    assert finds(links, "host.example/bad/more?x#y") == ["host.example/bad"]
    for end in ("?x", "#y", "/?x", "/#y"):
        assert finds(links, f"host.example/bad{end}") == ["host.example/bad"]
    assert finds(links, "host.example/badly") == finds(links, "host.example/") == []
    assert finds(links, "https://xn--mnchen-3ya.example/") == ["xn--mnchen-3ya.example"]
    assert finds(links, "https://MÜNCHEN.example/") == ["xn--mnchen-3ya.example"]


@pytest.mark.parametrize(
    "listed", ["münchen.bücher.example", "xn--mnchen-3ya.xn--bcher-kva.example"]
)
@pytest.mark.parametrize(
    "text",
    [
        "münchen.bücher.example",
        "MÜNCHEN.xn--bcher-kva.example",
        "www.xn--mnchen-3ya.bücher.example/x",
        "xn--mnchen-3ya.xn--bcher-kva.example",
        "mu\u0308nchen.bücher\u3002example",
        "münchen\uff0ebücher\uff61example",
    ],
)
def test_a_name_beyond_ascii_is_found_in_each_way_to_write_it(listed: str, text: str) -> None:
    found = finds(Links("l", "flag", [listed]), text)
    assert found == ["xn--mnchen-3ya.xn--bcher-kva.example"]


def test_a_name_that_no_dns_has_is_found_as_it_is_written() -> None:
    label = "é" * 64
    links = Links("l", "flag", [f"{label}.example"])
    assert finds(links, f"http://{label}.example/") == [f"{label}.example"]


def test_a_hit_says_what_of_which_list_and_what_follows() -> None:
    (hit,) = Links("links.txt", "hold", ["bad.example"]).scan("bad.example")
    assert hit == ("hold", "links.txt", "bad.example")
    (hit,) = words("now").scan("now")
    assert hit == ("flag", "list", "now")
    for kind in (Words, Links):
        with pytest.raises(BadConfig, match=r"the list spam\.txt: an entry"):
            kind("spam.txt", "flag", [""])


def test_entries_that_overlap_are_all_found() -> None:
    assert finds(words("harm now", "now or", "now"), "harm now or never") == [
        "harm now",
        "now",
        "now or",
    ]


def test_names_of_a_text_are_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of thousands would hold up everybody's: see ``Links``."""
    links = Links("l", "flag", ["münchen.example"])
    monkeypatch.setattr(scanning, "_spelt", None)
    flood = " ".join(f"é{number}.example" for number in range(2000))
    assert finds(links, f"{flood} münchen.example") == ["xn--mnchen-3ya.example"]


def test_a_flood_of_hits_has_a_bound() -> None:
    many = words(*string.ascii_lowercase)
    assert len(many.scan(" ".join(string.ascii_lowercase))) == scanning.HITS_LIMIT


def test_what_people_read_is_scanned() -> None:
    assert scanning.words_of(MARKER.encode()) == MARKER
    assert scanning.words_of(content.encode(Edit(bytes(16), MARKER))) == MARKER
    assert scanning.words_of(content.with_reply(MARKER.encode(), bytes(16))) == MARKER
    file = content.Attachment(
        blob=bytes(16),
        name=MARKER,
        media_type="image/png",
        size=1,
        ciphertext=bytes(32),
        plaintext=bytes(32),
    )
    assert scanning.words_of(content.encode(file)) == MARKER
    assert scanning.words_of(content.encode(content.Deletion(bytes(16)))) == ""
    assert MARKER in scanning.words_of(b"\xc0" + MARKER.encode())


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"", "is empty"), (b"# only a remark\n", "is empty"), (b"ok\n\xff\n", "UTF-8 at byte 3")],
)
def test_a_file_that_is_no_list_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        scanning.parse_list("spam.txt", raw)


def test_entries_have_limits() -> None:
    assert scanning.parse_list("l", "\ufeff# remark\n one \n\ntwo".encode()) == ["one", "two"]
    for wrong in ("\u200b", "x" * 201):
        with pytest.raises(BadConfig, match="1 to 200"):
            words(wrong)
    with pytest.raises(BadConfig, match="no host"):
        Links("l", "flag", ["localhost"])


# --- at the relay ---


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
    await relay.app.reload(relay.app.settings)
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
