"""Reports at the vault: what was revealed and what of it is proven, after two entries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from crypto_modes.disclosure import OpenCall
from crypto_modes.errors import (
    GrantRefused,
    LogUnavailable,
    LouverError,
    ReportRefused,
    StoreUnavailable,
)
from crypto_modes.keys import TeamKey
from crypto_modes.reports import seal, tags
from crypto_modes.verdicts import Answer
from server.vault import revealed, staff
from server.vault.revealed import LIFE, Revealed
from tests.reported import insults, report_of
from tests.test_grants import CASE, NOW, approved, grant
from tests.vault_rig import TALK, Vault


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    made = Vault(tmp_path / "vault")
    yield made
    made.stop()


@pytest.mark.asyncio
async def test_a_report_is_opened_and_judged(vault: Vault) -> None:
    items = insults(b"HARM-0001", b"HARM-0002")[2]
    id_ = vault.relay.take(report_of(*items))
    opened = await vault.report(id_)
    assert [each.state for each in opened.findings] == ["verified", "verified"]
    assert [each.content for each in opened.findings] == [b"HARM-0001", b"HARM-0002"]
    assert (opened.category, opened.report) == ("threat", id_)
    assert opened.words == "She has been doing this for weeks. ☂"


@pytest.mark.parametrize(("answer", "state"), [("no", "refused"), ("unknown", "claim")])
@pytest.mark.asyncio
async def test_what_the_relay_does_not_confirm_is_labelled(
    vault: Vault, answer: str, state: str
) -> None:
    vault.relay.answer = msgspec.convert({"state": answer, "reason": "so it is"}, Answer)
    opened = await vault.report(vault.relay.take(report_of(*insults(b"HARM-0001")[2])))
    (finding,) = opened.findings
    assert (finding.state, finding.reason) == (state, "so it is")
    assert bool(finding.content) == (state == "claim")


@pytest.mark.asyncio
async def test_it_is_entered_before_it_is_unsealed_and_before_it_is_shown(vault: Vault) -> None:
    items = insults(b"HARM-0001", b"HARM-0002")[2]
    opened = await vault.report(vault.relay.take(report_of(*items)))
    first, second = vault.log.of("read")
    assert (first.conversation, first.records, first.count) == (b"", (), 0)
    assert first.size > 1000
    assert second.records == tuple(item.id for item in items)
    assert (second.conversation, second.account) == (items[0].conversation, opened.reported)
    assert (second.case, second.actor, second.basis) == (CASE, "mara", "user_report")
    assert (second.count, second.detail["category"]) == (2, "threat")
    assert vault.log.entries[opened.receipt.index] == second
    order = [each for each in vault.happened if each in ("fetched", "entered read", "opened")]
    assert order == ["fetched", "entered read", "opened", "entered read"]


@pytest.mark.parametrize("name", ["lena", "auda", "otto", "anna"])
@pytest.mark.asyncio
async def test_only_who_works_on_reports_reads_them(vault: Vault, name: str) -> None:
    id_ = vault.relay.take(report_of(*insults(b"HARM-0001")[2]))
    with pytest.raises(GrantRefused, match="reports are read by moderator or senior"):
        await vault.report(id_, name)
    assert "fetched" not in vault.happened
    assert vault.log.of("refused")[0].actor == name


@pytest.mark.asyncio
async def test_who_is_removed_while_it_is_fetched_sees_nothing(vault: Vault) -> None:
    id_ = vault.relay.take(report_of(*insults(b"HARM-0001")[2]))
    vault.relay.meanwhile = lambda: staff.remove(vault.file, "mara")
    with pytest.raises(GrantRefused):
        await vault.report(id_)
    assert "opened" not in vault.happened


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.asyncio
async def test_who_is_removed_while_the_log_is_written_sees_nothing(
    vault: Vault, place: int
) -> None:
    await vault.asking.people()

    def meanwhile() -> None:
        if len(vault.log.of("read")) == place + 1 and "mara" in staff.read(vault.file):
            staff.remove(vault.file, "mara")

    vault.log.meanwhile = meanwhile
    with pytest.raises(GrantRefused):
        await vault.report(vault.relay.take(report_of(*insults(b"HARM-0001")[2])))
    assert ("opened" in vault.happened) == bool(place)
    assert vault.log.of("refused")[0].actor == "mara"


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.asyncio
async def test_without_the_log_no_report_is_shown(vault: Vault, after: int) -> None:
    await vault.asking.people()
    vault.log.dead = len(vault.log.entries) + after
    id_ = vault.relay.take(report_of(*insults(b"HARM-0001")[2]))
    with pytest.raises(LogUnavailable):
        await vault.report(id_)
    assert ("opened" in vault.happened) == bool(after)


@pytest.mark.asyncio
async def test_without_the_relay_no_report_is_shown(vault: Vault) -> None:
    vault.relay.away = True
    with pytest.raises(StoreUnavailable):
        await vault.report(b"r" * 16)
    assert vault.log.of("refused")[0].detail["reason"] == "the relay does not answer"


@pytest.mark.attack(41)
@pytest.mark.parametrize("wrong", ["team", "reporter", "relay", "tags", "bytes"])
@pytest.mark.asyncio
async def test_what_was_not_handed_in_like_this_is_not_believed(vault: Vault, wrong: str) -> None:
    report = report_of(*insults(b"HARM-0001")[2])
    id_ = vault.relay.take(report)
    sealed = vault.relay.reports[id_]
    changes: dict[str, dict[str, object]] = {
        "team": {"sealed": seal(TeamKey(b"o" * 32).public, report)},
        "reporter": {"reporter": report.reported},
        "relay": {"relay": b"another-relay-00"},
        "tags": {"tags": (tags(report)[0][::-1],)},
        "bytes": {"sealed": sealed.sealed[:-1] + bytes((sealed.sealed[-1] ^ 1,))},
    }
    vault.relay.reports[id_] = msgspec.structs.replace(sealed, **changes[wrong])
    with pytest.raises(ReportRefused):
        await vault.report(id_)
    assert vault.log.of("refused")[0].detail["outcome"] == "refused"


@pytest.mark.asyncio
async def test_without_the_teams_key_it_says_which_setting(vault: Vault) -> None:
    vault.keys._team = ()
    with pytest.raises(LouverError, match=r"keys\.team"):
        await vault.report(vault.relay.take(report_of(*insults(b"HARM-0001")[2])))


# --- what lies around a report ---


def around(conversation: bytes = TALK, **changed: int) -> OpenCall:
    """Mara asks for what lies around, and Sven approves."""
    asked = grant("user_report", "mara", conversation=conversation, **changed)
    return OpenCall(asked, tuple(approved(asked, "sven")))


def said(vault: Vault, count: int) -> list[str | None]:
    """So many messages in the relay's record."""
    texts = [f"HARM-{number:04}" for number in range(1, count + 1)]
    for text in texts:
        vault.relay.store.say(text.encode())
    return list(texts)


def insulted(vault: Vault, *numbers: int) -> bytes:
    """A report of the messages with these numbers."""
    items = insults(*(b"HARM-0001" for _ in range(max(numbers))))[2]
    assert {(each.conversation, each.seq) for each in items} >= {(TALK, seq) for seq in numbers}
    return vault.relay.take(report_of(*(items[seq - 1] for seq in numbers)))


@pytest.mark.attack(38)
@pytest.mark.asyncio
async def test_what_lies_around_a_report_needs_one_that_was_opened(vault: Vault) -> None:
    """No user finds readings on this basis, so that two people must not be able to choose it."""
    vault.relay.store.say(b"HARM-0007")
    with pytest.raises(GrantRefused, match="opened no report about this conversation"):
        await vault.open(around())
    assert "fetched" not in vault.happened
    await vault.report(insulted(vault, 1))
    assert vault.texts(await vault.open(around())) == ["HARM-0007"]
    with pytest.raises(GrantRefused, match="opened no report"):
        await vault.open(around(b"x" * 16))
    vault.stop()
    vault.start()
    assert vault.texts(await vault.open(around())) == ["HARM-0007"]


@pytest.mark.attack(38)
@pytest.mark.asyncio
async def test_a_grant_around_a_report_holds_a_message_that_was_reported(vault: Vault) -> None:
    """One report is no leave for all that its two users ever said."""
    texts = said(vault, 6)
    await vault.report(insulted(vault, 2, 4))
    for restarted in (False, True):
        for first, last in ((1, 1), (3, 3), (5, 6)):
            with pytest.raises(GrantRefused, match=r"was reported: here #2, #4\. Ask for a grant"):
                await vault.open(around(first=first, last=last))
        for first, last in ((2, 2), (1, 3), (4, 6), (1, 6)):
            read = await vault.open(around(first=first, last=last))
            assert vault.texts(read) == texts[first - 1 : last]
        if not restarted:
            vault.stop()
            vault.start()


@pytest.mark.attack(38)
@pytest.mark.asyncio
async def test_around_a_claim_nothing_is_read(vault: Vault) -> None:
    """Its number is the word of its reporter, who may have agreed with who reads."""
    said(vault, 2)
    vault.relay.answer = Answer("unknown", "the relay was not asked")
    opened = await vault.report(insulted(vault, 1))
    assert [each.state for each in opened.findings] == ["claim"]
    with pytest.raises(GrantRefused, match="is verified or confirmed"):
        await vault.open(around())


@pytest.mark.attack(38)
@pytest.mark.asyncio
async def test_a_report_that_is_refused_is_none(vault: Vault) -> None:
    vault.relay.store.say(b"HARM-0007")
    vault.relay.answer = Answer("no", "this relay never stamped such a message")
    opened = await vault.report(insulted(vault, 1))
    assert [each.state for each in opened.findings] == ["refused"]
    with pytest.raises(GrantRefused, match="opened no report"):
        await vault.open(around())


@pytest.mark.attack(38)
@pytest.mark.parametrize("step", [LIFE, -LIFE])
@pytest.mark.asyncio
async def test_a_report_counts_for_thirty_days_and_again_once_it_is_opened_again(
    vault: Vault, step: int
) -> None:
    said(vault, 2)
    id_ = insulted(vault, 1)
    await vault.report(id_)

    def call() -> OpenCall:
        return around(expires=vault.now[0] + 60_000)

    nearly = step - 1 if step > 0 else step + 1
    vault.now[0] += nearly
    assert len((await vault.open(call())).records) == 2
    vault.now[0] += step - nearly
    with pytest.raises(GrantRefused, match=r"in the last 30 days .* open it again"):
        await vault.open(call())
    await vault.report(id_)
    assert len((await vault.open(call())).records) == 2


@pytest.mark.asyncio
async def test_what_an_older_version_remembered_opens_nothing_and_is_told(vault: Vault) -> None:
    said(vault, 2)
    vault.stop()
    older = vault.data / "revealed"
    older.write_bytes(TALK)
    vault.start()
    with pytest.raises(GrantRefused, match=r"an older version opened does not count.*open it aga"):
        await vault.open(around())
    assert older.read_bytes() == TALK
    await vault.report(insulted(vault, 2))
    assert len((await vault.open(around())).records) == 2


@pytest.mark.asyncio
async def test_of_too_many_reported_messages_the_oldest_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revealed, "PLACES", 3)
    now = [NOW]
    known = Revealed(tmp_path / "reported", lambda: now[0])

    def holds() -> list[int]:
        found = []
        for seq in range(1, 6):
            with suppress(GrantRefused):
                known.check(around(first=seq, last=seq).grant)
                found.append(seq)
        return found

    known.open()
    for seq in (1, 2, 3, 1, 4):
        await known.add([(TALK, seq)])
    assert holds() == [1, 3, 4]
    known.close()
    known.open()
    assert holds() == [1, 3, 4]
    now[0] += LIFE
    await known.add([(TALK, 5), (TALK, 5)])
    assert holds() == [5]
    known.close()
    known.open()
    known.close()
    assert (tmp_path / "reported").stat().st_size == 32


def test_a_refusal_names_only_so_many_messages(tmp_path: Path) -> None:
    known = Revealed(tmp_path / "reported", lambda: NOW)
    known.open()
    asyncio.run(known.add((TALK, seq) for seq in range(100, 125)))
    with pytest.raises(GrantRefused, match=r"here #100, .*#119 and 5 more\."):
        known.check(around().grant)
    known.close()


@pytest.mark.asyncio
async def test_what_cannot_be_remembered_of_a_report_is_not_shown(vault: Vault) -> None:
    vault.revealed.close()
    with pytest.raises(StoreUnavailable):
        await vault.report(vault.relay.take(report_of(*insults(b"HARM-0001")[2])))
    vault.revealed.open()
