"""Saved key logs, judged without a relay: what holds, and everything that must not."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.key_log import LogState
from client.key_log_file import audit, save
from crypto_modes import wire
from crypto_modes.errors import BadConfig, KeyRefused, LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import key_log, note
from crypto_modes.transparency.key_log import Head
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tree import Frontier
from tests.conftest import StartRelay
from tests.test_louver_cli import louver, register

pytestmark = pytest.mark.asyncio

KEY = SigningKey(bytes(range(32)))
ALICE, BOB, EVE = b"alice-account-01", b"bobby-account-02", b"eve-an-account-3"
ENTRIES = [
    wire.LogEntry(key_log.tag((ALICE, BOB)[number % 2]), bytes([number]) * 32)
    for number in range(7)
]


def state(entries: list[wire.LogEntry], key: SigningKey = KEY) -> LogState:
    frontier = Frontier()
    for each in entries:
        frontier.append(key_log.hash_of(each.tag, each.entry))
    log = key_log.log_of(b"a relay of tests", key.public)
    signed = note.sign(Checkpoint(log.name, frontier.size, frontier.root()), key).encode()
    return LogState(log.encode(), Head(frontier.size, frontier.root()), signed, 0)


async def pages(entries: list[wire.LogEntry]) -> AsyncIterator[wire.Entries]:
    for start in range(0, len(entries), 3):
        yield wire.Entries(ref=0, start=start, entries=tuple(entries[start : start + 3]), own=())


async def saved(file: Path, entries: list[wire.LogEntry], key: SigningKey = KEY) -> Path:
    await save(state(entries, key), pages(entries), file)
    return file


async def test_logs_that_continue_each_other_hold_in_any_order(tmp_path: Path) -> None:
    files = [await saved(tmp_path / str(size), ENTRIES[:size]) for size in (7, 1, 4)]
    found = audit(files, ALICE, state(ENTRIES).vkey)
    assert [each.size for each in found] == [1, 4, 7]
    assert [each.own for each in found] == [(0,), (0, 2), (0, 2, 4, 6)]
    assert found[0].heads == {1: found[2].heads[1]}
    assert files[0].stat().st_mode & 0o777 == 0o600
    with pytest.raises(LogRefused, match="no entry for this account"):
        audit(files, EVE, "")
    with pytest.raises(BadConfig, match="exists"):
        await saved(files[0], ENTRIES)


async def test_what_was_touched_does_not_hold(tmp_path: Path) -> None:
    file = await saved(tmp_path / "log", ENTRIES)
    header, *lines = file.read_bytes().splitlines(keepends=True)
    flipped = lines[2].replace(b"0202", b"0203", 1)
    signed_by = json.loads(header)
    other = (
        json.dumps(signed_by | {"checkpoint": state(ENTRIES[:3]).note.decode()}).encode() + b"\n"
    )
    forged = json.dumps(signed_by | {"key": state([], SigningKey(bytes(32))).vkey}).encode() + b"\n"
    for changed, words in (
        ([header, *lines[:2], flipped, *lines[3:]], "signed over"),
        ([header, *lines[:-1]], "signed over"),
        ([header, *lines, lines[0]], "signed over"),
        ([header, lines[1], lines[0], *lines[2:]], "signed over"),
        ([other, *lines], "signed over"),
        ([forged, *lines], "nobody who is trusted"),
        ([header, *lines[:3], b"nonsense\n"], "damaged at entry 3"),
        ([header, *lines[:6], lines[6][:-1]], "damaged at entry 6"),
        (lines, "no key log"),
        ([], "no key log"),
    ):
        file.write_bytes(b"".join(changed))
        with pytest.raises(LogRefused, match=words):
            audit([file], b"", "")
    with pytest.raises(BadConfig, match="cannot read"):
        audit([tmp_path / "none"], b"", "")


async def test_two_logs_under_one_key_are_proof_and_other_keys_are_not_taken(
    tmp_path: Path,
) -> None:
    honest = await saved(tmp_path / "honest", ENTRIES)
    forked = [*ENTRIES[:3], wire.LogEntry(key_log.tag(ALICE), b"f" * 32)]
    for name, entries in (("shorter", forked), ("as long", [*forked, *ENTRIES[4:]])):
        file = await saved(tmp_path / name, entries)
        audit([file], ALICE, "")
        for both in ([honest, file], [file, honest]):
            with pytest.raises(LogRefused, match="showed two logs"):
                audit(both, b"", "")
    foreign = await saved(tmp_path / "foreign", ENTRIES, SigningKey(bytes(32)))
    with pytest.raises(LogRefused, match="of two logs"):
        audit([honest, foreign], b"", "")
    with pytest.raises(LogRefused, match="another key"):
        audit([foreign], b"", state(ENTRIES).vkey)
    header = foreign.read_bytes().replace(b"louver/key-log/", b"another/key-log", 1)
    foreign.write_bytes(header)
    with pytest.raises(KeyRefused, match="does not belong"):
        audit([foreign], b"", "")


async def test_what_the_relay_did_not_sign_is_not_saved(tmp_path: Path) -> None:
    for listed in (ENTRIES[:6], [*ENTRIES[1:], ENTRIES[0]]):
        with pytest.raises(LogRefused, match="other entries of its key log than it signed"):
            await save(state(ENTRIES), pages(listed), tmp_path / "log")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - Path would block, says ASYNC240


async def test_the_commands(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, first, second = tmp_path / "alice", tmp_path / "first", tmp_path / "second"
    await register(relay, "alice", alice)
    code, out, err = await louver("keys", "save", first, "--home", alice, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["size"] == 1
    await register(relay, "bob", tmp_path / "bob")
    assert (await louver("keys", "save", second, "--home", alice))[0] == 0
    account = await relay.app.store.account_named("bob")
    assert account is not None
    code, out, err = await louver("keys", "audit", second, first, "--account", account.id.hex())
    assert (code, err) == (0, "")
    assert "Each continues the one before" in out
    assert "Entries of this account: 1." in out
    code, out, err = await louver("keys", "audit", first, "--account", account.id.hex(), "--json")
    assert (code, out, "no entry for this account" in err) == (5, "", True)
    code, out, err = await louver("keys", "audit", first, "--account", "zz")
    assert (code, out, "32 hexadecimal digits" in err) == (2, "", True)
