"""``louver audit`` as an auditor meets it: copies from a vault that runs, and what is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from client import log_files
from client.cli import app
from client.moderation import words
from crypto_modes.transparency import note
from tests import audited_log as liar
from tests.access_entries import read
from tests.audited_log import BESIDE, LOG, WITNESS, save
from tests.test_grants import KEYS
from tests.vault_log import serving


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


async def ran(*arguments: object) -> tuple[int, str, str]:
    return await asyncio.to_thread(run, *arguments)


@pytest.mark.asyncio
async def test_a_copy_is_fetched_verified_and_held_to_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "auda.key"
    key_file.write_bytes(KEYS["auda"].raw)
    key_file.chmod(0o600)
    monkeypatch.setattr("time.time_ns", lambda: read().time * 1_000_000)
    async with serving(tmp_path / "vault") as vault:
        key = ("--key", vault.log.verifier.encode())
        receipt = await vault.log.append([read(number) for number in range(100)])
        (tmp_path / "receipt").write_bytes(msgspec.json.encode(receipt))
        (tmp_path / "answer").write_text(words.as_json({"receipt": receipt, "records": []}))
        assert (await ran("fetch", vault.url, tmp_path / "one"))[0] == 0
        for _ in range(2):
            await vault.log.append([read(number) for number in range(100)])
        await vault.log.erase([7])
        named = ("--name", "auda", "--key-file", key_file)
        code, out, err = await ran("fetch", vault.url, tmp_path / "two", *named)
        assert (code, err) == (0, "")
        assert "300 entries" in out
        await vault.log.append([read(1)])
        # The full tile is kept, the rest is fetched anew.
        assert (await ran("fetch", vault.url, tmp_path / "one"))[0] == 0
        places = (tmp_path / "two", tmp_path / "one", vault.url)
        asked = ("--leaf", 5, "--range", "6-8", "--receipt", tmp_path / "receipt")
        code, out, err = await ran("verify", *places, *key, *asked)
        # As a moderator's program saved it.
        answered = await ran("verify", vault.url, *key, "--receipt", tmp_path / "answer")
    assert (answered[0], "is in the log, as its receipt promised" in answered[1]) == (0, True)
    assert (code, err) == (0, "")
    assert "300 entries, every leaf under the root that louver/access-log/" in out
    assert "continues the copy before it; 1 entries came since" in out
    assert "entries shown are those entered: 299 read; 1 erased" in out
    assert "no witness that you named signed it" in out
    for leaf in (5, 6, 7, 8):
        assert f"leaf {leaf}, 2026-" in out
    assert "leaf 0, 2026-09-21 14:13:20 UTC, is in the log, as its receipt promised" in out
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "two").glob("entries.json")} == {0}


def test_programs_are_told_in_json(tmp_path: Path) -> None:
    head = note.cosign(liar.head_of(liar.leaves(3)), BESIDE.name, WITNESS, 17)
    place = save(liar.files_of(liar.leaves(3), head), tmp_path / "copy")
    trust = ("--key", LOG.encode(), "--witness", BESIDE.encode(), "--quorum", 1)
    code, out, _ = run("verify", place, *trust, "--leaf", 1, "--json")
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert (first["size"], first["witnesses"]) == (3, {BESIDE.name: 17})
    assert (second["index"], len(second["proof"])) == (1, 2)
    code, out, _ = run("verify", place, *trust)
    assert "witness witness.example/w1 saw it grow, 1970-01-01 00:00:17 UTC" in out


def test_what_is_wrong_is_said_with_code_5(tmp_path: Path) -> None:
    honest = save(liar.files_of(liar.leaves(5)), tmp_path / "honest")
    older = save(liar.files_of(liar.leaves(4)), tmp_path / "older")
    files = liar.files_of(liar.leaves(5))
    files["tile/entries/000.p/5"] = files["tile/entries/000.p/5"].replace(b"m", b"n", 1)
    tampered = save(files, tmp_path / "tampered")
    partial = save(liar.files_of(liar.leaves(5)), tmp_path / "partial")
    (partial / "tile/0/000.p/5").unlink()
    key = ("--key", LOG.encode())
    said = {
        (tampered,): "leaf 0 is not the one that the leaves make",
        (honest, older): "put back to an older state",
        (partial,): "the copy is not whole",
        (tmp_path / "none",): "the copy is not whole",
        (honest, "--witness", BESIDE.encode(), "--quorum", 1): "0 of your witnesses signed",
        (honest, "--leaf", 5): "none with number 5",
    }
    for arguments, text in said.items():
        code, _, err = run("verify", *arguments, *key)
        assert (code, text in err) == (5, True), err
    # Of several copies, the one that does not hold is named.
    assert run("verify", honest, older, *key)[2].startswith(f"louver: {older}: ")
    entries = msgspec.json.encode(liar.shown(5)).replace(b"lena", b"luis", 1)
    (honest / "entries.json").write_bytes(entries)
    code, _, err = run("verify", honest, *key)
    assert (code, "the entry shown for leaf 0" in err) == (5, True)
    (honest / "entries.json").write_bytes(b"[")
    assert run("verify", honest, *key)[0] == 5


def test_entries_of_a_large_log_are_read_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one answer of the vault may have is no limit of what many made."""
    place = save(liar.files_of(liar.leaves(5)), tmp_path / "copy")
    log_files.keep_opened(place, liar.shown(5))
    monkeypatch.setattr(log_files, "ANSWER_LIMIT", 1000)
    assert (place / "entries.json").stat().st_size > log_files.ANSWER_LIMIT
    code, out, err = run("verify", place, "--key", LOG.encode())
    assert (code, "entries shown are those entered: 5 read" in out) == (0, True), err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("verify", "http://log.example"), 2, "https:// only"),
        (("verify", "ftp://log.example"), 2, "http(s)"),
        (("verify", "http://127.0.0.1:1"), 3, "no log answers"),
        (("verify", "x", "--quorum", "1"), 2, "as many different keys"),
        (("fetch", "http://127.0.0.1:1", "x", "--name", "auda"), 2, "--key-file"),
    ],
)
def test_usage_is_said_with_the_cure(arguments: tuple[str, ...], code: int, says: str) -> None:
    key = ("--key", LOG.encode()) if arguments[0] == "verify" else ()
    found, _, err = run(*arguments, *key)
    assert (found, says in err) == (code, True), err
