"""``louver keys …`` as its users meet it: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crypto_modes import wire
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import key_log, note
from tests.conftest import Running, StartRelay
from tests.hostile_relay import edit, hostile_relay
from tests.log_liar import Liar, rows_of
from tests.test_louver_cli import louver, register

pytestmark = pytest.mark.asyncio


async def people(relay: Running, place: Path) -> tuple[Path, Path]:
    homes = place / "alice", place / "bob"
    for home in homes:
        await register(relay, home.name, home)
    return homes


async def test_verify_says_what_was_proved(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = await people(relay, tmp_path)
    code, out, err = await louver("keys", "verify", "bob", "--home", alice, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["verified"] is True
    assert (said["name"], said["version"], said["devices"]) == ("bob", 1, 1)
    assert (said["index"], said["size"], said["own_entries"]) == (1, 2, [0])
    log = note.Verifier.decode(said["log_key"])
    assert log.name == key_log.log_of(relay.app.store.deployment, b"").name
    head = note.open_checkpoint(said["checkpoint"].encode(), log)
    assert (head.size, head.root.hex()) == (2, said["root"])
    found = await relay.app.store.account_named("bob")
    assert found is not None
    assert said["key"] == found.key.hex()
    code, out, err = await louver("keys", "verify", "alice", "--home", bob)
    assert (code, err) == (0, "")
    for each in ("are in the relay's key log", "version 1, 1 device(s)", "number 0, of 2 in all"):
        assert each in out
    digits = "".join(said["safety_number"].split())
    assert digits in "".join(out.split())
    assert len(digits) == 60
    code, out, _ = await louver("keys", "verify", "bob", "--home", bob)
    assert code == 0
    assert "1, all of your own doing" in out
    assert "safety number" not in out


async def test_what_another_was_told_of_the_log_is_held_to_it(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = await people(relay, tmp_path)
    told = tmp_path / "told"
    told.write_text((await louver("keys", "log", "--home", bob))[1])
    against = ("keys", "log", "--against", told, "--home", alice)
    code, out, err = await louver(*against)
    assert (code, err) == (0, "")
    assert "the same log as here, when it had 2 entries" in out
    key = SigningKey((relay.data / "keylog.key").read_bytes())
    name = key_log.log_of(relay.app.store.deployment, b"").name
    told.write_bytes(note.sign(note.Checkpoint(name, 2, b"f" * 32), key).encode())
    code, out, err = await louver(*against)
    assert (code, out) == (5, "")
    assert "two key logs that contradict each other" in err
    assert (await louver("keys", "verify", "bob", "--home", alice))[0] == 5


async def test_verify_fails_with_5_where_it_does_not_hold(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with hostile_relay(relay) as hostile:
        homes = tmp_path / "alice", tmp_path / "bob"
        for home in homes:
            code, _, err = await louver(
                "register", home.name, "--url", hostile.url, "--insecure", "--home", home
            )
            assert (code, err) == (0, "")
        verify = ("keys", "verify", "bob", "--home", homes[0])
        assert (await louver(*verify))[0] == 0
        hostile.down(wire.Log, edit(inclusion=lambda path: (b"\0" * 32, *path[1:])))
        code, out, err = await louver(*verify)
        assert (code, out) == (5, "")
        assert "does not lead to its log's root" in err
        code, out, err = await louver(*verify, "--json")
        assert code == 5
        assert json.loads(out)["verified"] is False


async def test_who_published_nothing_cannot_be_verified(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    await register(relay, "alice", tmp_path)
    await relay.enter("bob")
    code, _, err = await louver("keys", "verify", "bob", "--home", tmp_path)
    assert code == 1
    assert "has published no keys yet" in err


async def test_the_safety_number_is_the_same_on_both_sides_and_a_code_can_be_drawn(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = await people(relay, tmp_path)
    _, mine, _ = await louver("keys", "show", "bob", "--home", alice, "--json")
    _, theirs, _ = await louver("keys", "show", "alice", "--home", bob, "--json")
    first, second = json.loads(mine), json.loads(theirs)
    assert first["safety_number"] == second["safety_number"]
    assert first["qr"] == second["qr"]
    assert first["qr"].startswith("louver:safety:1:")
    assert first["changed"] is False
    code, out, err = await louver("keys", "show", "bob", "--qr", "--home", alice)
    assert (code, err) == (0, "")
    assert "".join(first["safety_number"].split()) in "".join(out.split())
    assert sum("█" in line for line in out.splitlines()) > 20


async def test_a_changed_key_shows_the_number_of_the_new_one(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, _ = await people(relay, tmp_path)
    show = ("keys", "show", "bob", "--home", alice, "--json")
    before = json.loads((await louver(*show))[1])
    new = ("--ca", relay.ca, "--home", tmp_path / "new", "--replace-key")
    assert (await louver("login", "bob", "--url", relay.url, *new))[0] == 0
    after = json.loads((await louver(*show))[1])
    assert after["changed"] is True
    assert after["safety_number"] != before["safety_number"]
    assert (await louver("keys", "verify", "bob", "--home", alice))[0] == 5


async def test_a_log_that_was_set_up_again_is_taken_by_its_key_only(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with hostile_relay(relay) as hostile:
        place = ("--home", tmp_path)
        assert (await louver("register", "alice", "--url", hostile.url, "--insecure", *place))[
            0
        ] == 0
        code, out, _ = await louver("keys", "log", *place)
        assert code == 0
        assert "louver/key-log/" in out
        key = SigningKey(b"another key of the relay's log..")
        Liar(relay, await rows_of(relay), "alice", key=key).between(hostile)
        code, _, err = await louver("keys", "log", *place)
        assert code == 5
        assert "another key than before" in err
        vkey = key_log.log_of(relay.app.store.deployment, key.public).encode()
        assert (await louver("keys", "accept-log", vkey[:-1] + "A", *place))[0] == 5
        code, out, err = await louver("keys", "accept-log", vkey, *place)
        # The liar does not open Alice's entry to her, and so is found out at once.
        assert (code, out) == (5, "")
        assert "does not show you" in err
        code, out, _ = await louver("keys", "log", *place, "--json")
        assert code == 0
        assert json.loads(out)["log_key"] == vkey
