"""``louverd vault status``: what is in the way of a vault is told to who runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from crypto_modes.door import Door
from crypto_modes.errors import ConnectionLost
from crypto_modes.transparency import note
from server import cli
from server.vault.app import App
from server.vault.settings import Keys, WitnessAt
from server.vault.settings import Relay as RelaySettings
from tests.conftest import Running, StartRelay
from tests.test_door import with_door
from tests.test_grants import KEYS, STAFF
from tests.test_vault_service import key_file, start_vault

pytestmark = pytest.mark.asyncio

Told = tuple[int, dict[str, Any], str]


class Room:
    """A relay and its vault, and the operator who asks."""

    def __init__(self, relay: Running, place: Path) -> None:
        self.relay, self.place = relay, place
        self.app: App

    async def start(self, **changed: Any) -> None:
        door = self.place / "keys" / "vault.key"
        self.app = await start_vault(self.relay, door, self.place / "vault", **changed)

    @property
    def door(self) -> Door:
        return Door((self.place / "keys" / "vault.pub").read_bytes())

    async def ask(self, *more: str) -> Any:
        token = f"--set=relay.token={self.relay.data / 'vault.token'}"
        address = f"--vault=http://127.0.0.1:{self.app.host.port}"
        asked = ["vault", "status", address, token, *more]
        return await asyncio.to_thread(CliRunner().invoke, cli.app, asked)

    async def told(self) -> Told:
        """Exit code, what programs are told, and what is said of problems."""
        result = await self.ask("--json")
        found = json.loads(result.stdout)
        assert result.stderr == "".join(f"louverd: {each}\n" for each in found["problems"])
        return result.exit_code, found, " | ".join(found["problems"])


@pytest_asyncio.fixture
async def room(start_relay: StartRelay, tmp_path: Path) -> AsyncIterator[Room]:
    keys, _ = with_door(tmp_path / "keys")
    made = Room(await start_relay("at_rest", keys=keys), tmp_path)
    yield made
    await made.app.stop()


async def test_a_vault_that_would_open_what_it_is_there_for_says_so(room: Room) -> None:
    await room.start()
    code, told, problems = await room.told()
    assert (code, problems) == (0, "")
    assert told["keys"] == {"doors": 1, "team": 1}
    assert (told["staff"], told["relay"]["away"], told["log"]["refuses"]) == (len(STAFF), "", "")
    assert (told["log"]["key"], told["log"]["entries"]) == (
        room.app.log.verifier.encode(),
        len(STAFF),
    )
    said = (await room.ask()).stdout.splitlines()
    assert said[0] == "would open what it is there for"
    assert any(line.startswith(f"log      {len(STAFF)} entries, the newest 20") for line in said)


async def test_whatever_is_in_the_way_is_told(room: Room) -> None:
    await room.start()
    app = room.app
    app.keys.unwrap(room.door.wrap(b"k" * 32, b"context"), b"context")
    code, _, problems = await room.told()
    assert (code, "1 data keys were unwrapped past the access log" in problems) == (1, True)
    app.settings.staff_file.write_text("nonsense")
    assert "list of the staff cannot be believed" in (await room.told())[2]
    app.settings.staff_file.unlink()
    assert "knows nobody: louverd vault staff add" in (await room.told())[2]
    await room.relay.app.internal.stop()
    address = f"http://127.0.0.1:{room.relay.app.internal.port}"
    assert f"the relay at {address} cannot be asked" in (await room.told())[2]
    app.log._disk.lost = "the disk is gone"
    code, told, problems = await room.told()
    assert (code, told["log"]["refuses"]) == (1, "the disk is gone")
    result = await room.ask()
    assert result.stdout.startswith("something is in the way\n")
    assert result.stderr.count("louverd: ") == len(told["problems"]) == 4


async def test_a_relay_that_does_not_know_this_vault_is_told(room: Room, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{room.relay.app.internal.port}"
    token = key_file(tmp_path / "other.token", b"lvv_" + b"o" * 43)
    await room.start(relay=RelaySettings(address=address, token=token))
    result = await room.ask(f"--set=relay.token={token}")
    assert result.exit_code == 1
    assert "the relay refused (401): send the token of the file vault.token" in result.stderr


async def test_a_sealed_vault_and_a_witness_that_is_away(room: Room) -> None:
    split = Keys(
        split=str(room.place / "keys" / "vault.pub"),
        team=(key_file(room.place / "team.key", b"t" * 32),),
    )
    verifier = note.Verifier("witness.example.org", note.BY_WITNESS, KEYS["auda"].public)
    at = WitnessAt(key=verifier.encode(), address="http://127.0.0.1:1")
    await room.start(keys=split, witnesses=(at,))
    code, told, problems = await room.told()
    assert (code, told["quorum"]) == (1, 0)
    assert told["witnesses"] == [
        {"name": "witness.example.org", "signs": False, "entries": 0, "time": 0}
    ]
    assert "the vault's key is not together: 0 of the needed shares are here" in problems
    assert "the witness witness.example.org does not sign" in problems
    assert "witness.example.org does not sign; 0 entries, never" in (await room.ask()).stdout


async def test_only_the_token_is_told_and_without_a_vault_nobody(
    room: Room, tmp_path: Path
) -> None:
    await room.start()
    wrong = key_file(tmp_path / "wrong.token", b"lvv_wrong")
    result = await room.ask(f"--set=relay.token={wrong}")
    assert isinstance(result.exception, ConnectionLost)
    assert "refused with 401" in str(result.exception)
    result = await room.ask("--vault=http://127.0.0.1:1")
    assert isinstance(result.exception, ConnectionLost)
    assert "is it running, with this token?" in str(result.exception)
