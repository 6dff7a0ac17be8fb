"""``louverd reveal``: what the operator's own powers read in each mode, and which reports hold."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crypto_modes import content, e2ee, franking, wire
from crypto_modes.contract import Meta, NeedFrankingKey, Sealed, ServerTools, Stored
from crypto_modes.e2ee import body
from crypto_modes.errors import BadConfig
from server.app import installed_modes
from server.reveal import print_lines
from server.settings_tree import Settings
from tests.conftest import Running, StartRelay
from tests.store_entries import BOB, TALK, Entry

pytestmark = pytest.mark.asyncio

KEY = b"k" * 32
MESSAGE = body.encode(body.Body("text", b"meet me at HARM-0007", b"", 1, bytes(32), 0))


class Sealing(Entry):
    """An e2ee message as the relay admits it, with copies that nobody but its devices can open."""

    def __init__(self, mode: e2ee.E2eeServer) -> None:
        super().__init__()
        self.mode = mode

    def admit(self, seq: int, previous: bytes) -> Stored:
        now = time.time_ns() // 1_000_000
        meta = Meta(TALK, seq, self.id, self.sender, self.device, BOB, "text", "e2ee", 1, now)
        committed = franking.commitment(KEY, TALK, self.id, MESSAGE)
        copies = (wire.Copy(os.urandom(16), os.urandom(512)),)
        sealed = Sealed(mode="e2ee", epoch=1, copies=copies, commitment=committed)
        return self.mode.admit(meta, sealed, previous)


async def admit_sealed(relay: Running) -> Stored:
    keys = relay.app.franking_keys
    await keys.supply(NeedFrankingKey(franking.month_of(time.time_ns() // 1_000_000)))
    tools = ServerTools(
        deployment=relay.app.store.deployment,
        random=os.urandom,
        data_keys=relay.app.data_keys,
        franking_keys=keys,
    )
    entry, settled = Sealing(e2ee.E2eeServer(tools)), asyncio.Event()
    entry.waiter = settled.set
    relay.app.store.append(entry)
    await settled.wait()
    return entry.stored


async def revealed(relay: Running, reports: Path | None = None) -> list[dict[str, Any]]:
    out = io.BytesIO()
    await print_lines(relay.app.settings, installed_modes(), reports, out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def report(stored: Stored, **changed: Any) -> dict[str, Any]:
    fields = {
        "conversation": stored.meta.conversation,
        "seq": stored.meta.seq,
        "reporter": stored.meta.recipient,
        "message": MESSAGE,
        "key": KEY,
    }
    return fields | changed


def written(tmp_path: Path, *reports: dict[str, Any] | bytes) -> Path:
    path = tmp_path / "reports.jsonl"
    lines = [line if isinstance(line, bytes) else msgspec.json.encode(line) for line in reports]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
async def test_the_operator_reads_tls_and_at_rest_while_the_relay_runs(
    start_relay: StartRelay, mode: str
) -> None:
    relay = await start_relay(mode)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    accepted = await alice.say(bob, "hello ☂\nBob")
    await bob.say(alice, "", kind="file", body=b"\xff\x00")
    first, second = await revealed(relay)
    assert first["readable"] is True
    assert first["text"] == "hello ☂\nBob"
    assert (first["mode"], first["seq"]) == (mode, 1)
    assert first["id"] == b64encode(accepted.id).decode()
    assert first["sender"] == b64encode(alice.account).decode()
    assert (second["content"], second["kind"]) == ("/wA=", "file")
    assert "text" not in second


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
async def test_what_is_not_plain_is_put_in_words(start_relay: StartRelay, mode: str) -> None:
    relay = await start_relay(mode)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    target = (await alice.say(bob, "first")).id
    await bob.say(alice, "", body=content.with_reply(b"an insult", target))
    await bob.say(alice, "", body=content.encode(content.Edit(target, "another")))
    found = [line["text"] for line in await revealed(relay)]
    assert found[1:] == [
        f"[reply to {target.hex()}] an insult",
        f"[edit of {target.hex()}] another",
    ]


async def test_the_operator_cannot_read_e2ee_and_says_why(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    await admit_sealed(relay)
    (line,) = await revealed(relay)
    assert line["readable"] is False
    assert "only a recipient can reveal" in line["reason"]
    assert not {"text", "content"} & set(line)


async def test_more_than_a_page_is_read_in_order(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.reveal.PAGE", 3)
    relay = await start_relay("tls")
    alice, bob, carol = [await relay.enter(name) for name in ("alice", "bob", "carol")]
    for number in range(7):
        await alice.say(bob if number % 2 else carol, str(number))
    lines = await revealed(relay)
    assert sorted(line["text"] for line in lines) == list("0123456")
    places = [(line["conversation"], line["seq"]) for line in lines]
    assert [seq for _, seq in places] in ([1, 2, 3, 4, 1, 2, 3], [1, 2, 3, 1, 2, 3, 4])


async def test_an_honest_report_is_verified_and_shows_what_was_written(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay("e2ee")
    stored = await admit_sealed(relay)
    (line,) = await revealed(relay, written(tmp_path, report(stored)))
    assert line["verified"] is True
    assert line["text"] == "meet me at HARM-0007"
    assert line["sender"] == b64encode(stored.meta.sender).decode()


@pytest.mark.attack
async def test_41_reports_that_prove_nothing_are_refused(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """Row 41: forged text, forged key, another reporter, another message, no evidence."""
    relay = await start_relay("e2ee")
    stored = await admit_sealed(relay)
    forged = body.encode(body.Body("text", b"I am guilty", b"", 1, bytes(32), 0))
    reports = [
        report(stored, message=forged),
        report(stored, key=b"x" * 32),
        report(stored, key=b"x" * 31),
        report(stored, reporter=stored.meta.sender),
        report(stored, reporter=bytes(16)),
        report(stored, seq=2),
        report(stored, seq=0),
        report(stored, conversation=bytes(16)),
        report(stored, message=b"", key=b""),
        report(stored, message=b""),
    ]
    lines = await revealed(relay, written(tmp_path, *reports))
    assert [line["line"] for line in lines] == list(range(1, len(reports) + 1))
    assert [line["verified"] for line in lines] == [False] * len(reports)
    assert all(line["reason"] and "text" not in line for line in lines)


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
async def test_without_a_stamp_the_relays_own_record_decides(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    relay = await start_relay(mode)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    accepted = await alice.say(bob, "what I wrote")
    told = {"conversation": accepted.conversation, "seq": 1, "reporter": bob.account}
    path = written(
        tmp_path,
        told,
        told | {"message": b"what I wrote"},
        told | {"message": b"what I never wrote"},
        told | {"reporter": alice.account},
    )
    lines = await revealed(relay, path)
    assert [line["verified"] for line in lines] == [True, True, False, False]
    assert lines[0]["text"] == "what I wrote"


async def test_lines_that_are_no_reports_do_not_stop_the_others(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay("e2ee")
    stored = await admit_sealed(relay)
    bad = [b"x", b"{}", b"[" * 50_000, b"\xff", b'{"conversation": 3}', b"x" * 200_000]
    lines = await revealed(relay, written(tmp_path, *bad, b"", report(stored)))
    assert [line["verified"] for line in lines] == [False] * len(bad) + [True]
    assert lines[-1]["line"] == len(bad) + 2


async def test_a_mode_that_is_not_installed_is_a_reason(start_relay: StartRelay) -> None:
    relay = await start_relay("tls")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "hello")
    out = io.BytesIO()
    known = {name: mode for name, mode in installed_modes().items() if name != "tls"}
    await print_lines(relay.app.settings, known, None, out)
    line = json.loads(out.getvalue())
    assert (line["readable"], line["reason"]) == (False, "the mode 'tls' is not installed")


async def test_without_data_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadConfig):
        await print_lines(Settings(data=tmp_path / "none"), {}, None, io.BytesIO())
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - Path would block, says ASYNC240


async def test_a_lost_key_file_is_told_and_not_replaced(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    (relay.data / "kek").unlink()
    with pytest.raises(BadConfig, match="kek is missing"):
        await revealed(relay)
    assert not (relay.data / "kek").exists()


async def test_a_missing_file_of_reports_is_told(relay: Running, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot read"):
        await revealed(relay, tmp_path / "none")
