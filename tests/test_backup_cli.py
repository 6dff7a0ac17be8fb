"""``louver backup`` as its users meet it: the recovery key, the new profile, the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crypto_modes import backup
from tests.conftest import StartRelay
from tests.test_louver_cli import louver, register


@pytest.mark.asyncio
async def test_the_commands(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob, new = tmp_path / "alice", tmp_path / "bob", tmp_path / "new"
    await register(relay, "alice", alice)
    await register(relay, "bob", bob)
    assert (await louver("send", "--to", "bob", "hello", "--home", alice))[0] == 0
    assert "hello" in (await louver("history", "--with", "alice", "--home", bob))[1]
    file = tmp_path / "bob.backup"
    code, out, err = await louver("backup", "create", file, "--home", bob)
    assert (code, err) == (0, "")
    shown = "".join(line for line in out.splitlines() if line.startswith("  "))
    assert len(shown.replace(" ", "")) == 64
    code, _, err = await louver("backup", "create", file, "--home", bob)
    assert (code, "exists" in err) == (2, True)
    how = ("--ca", relay.ca, "--home", new)
    for typed, wanted, words in (
        (shown[:-1], 2, "64 characters"),
        (backup.recovery_text(bytes(32)), 5, "does not open this backup"),
    ):
        code, _, err = await louver("backup", "restore", file, *how, LOUVER_RECOVERY_KEY=typed)
        assert (code, words in err) == (wanted, True)
    started, wrong = tmp_path / "started", {"LOUVER_PASSWORD": "not the password"}
    code, _, err = await louver(
        *("backup", "restore", file, "--ca", relay.ca, "--home", started),
        **(wrong | {"LOUVER_RECOVERY_KEY": shown}),
    )
    assert (code, "password" in err) == (1, True)
    assert f"unpacked in {started}; go on there with: louver login bob --url {relay.url}" in err
    assert f" --ca {relay.ca} --home {started}\n" in err
    code, out, err = await louver(
        "backup", "restore", file, *how, LOUVER_RECOVERY_KEY=shown.lower()
    )
    assert (code, err) == (0, "")
    assert "Welcome back, bob" in out
    code, out, _ = await louver("history", "--with", "alice", "--json", "--home", new)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["hello"]
    code, out, _ = await louver("devices", "bob", "--json", "--home", alice)
    assert len(json.loads(out)["devices"]) == 1
    code, _, err = await louver("backup", "restore", file, *how, LOUVER_RECOVERY_KEY=shown)
    assert (code, "has a profile already" in err) == (2, True)
    code, out, _ = await louver(
        "backup", "create", tmp_path / "second", "--home", new, "--json", LOUVER_RECOVERY_KEY=shown
    )
    assert (code, json.loads(out)["recovery_key"]) == (0, "")
    login = ("login", "bob", "--url", relay.url, "--ca", relay.ca, "--home", tmp_path / "anew")
    assert (await louver(*login, "--replace-key"))[0] == 0
    third = tmp_path / "third"
    code, out, err = await louver(
        *("backup", "restore", file, "--ca", relay.ca, "--home", third), LOUVER_RECOVERY_KEY=shown
    )
    assert (code, out) == (5, "")
    assert "nothing was published" in err
    assert f"louver export --all FILE --offline --home {third}" in err
    code, _, err = await louver("export", "--all", tmp_path / "kept", "--offline", "--home", third)
    assert (code, err) == (0, "")
    assert '"hello"' in (tmp_path / "kept").read_text()
