"""The moderation door: what is closed into it, and that its vault opens it and the relay cannot."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crypto_modes import at_rest, door, vault
from crypto_modes.contract import NeedWrappedKey
from crypto_modes.door import Door
from crypto_modes.errors import BadArgument, BadConfig, CannotOpen, KeyRefused
from crypto_modes.keyring import dek_context
from crypto_modes.keys import TeamKey
from server import cli, team
from server.app import installed_modes
from server.reveal import print_lines
from server.store import WrappedKey
from tests.conftest import Running, StartRelay
from tests.mode_ends import server_tools
from tests.vector_files import expected, raw, vectors

SECRET = TeamKey(b"v" * 32)
CONTEXT = dek_context(b"r" * 16, b"c" * 16, b"a" * 16, 1, door.PURPOSE)

# --- to the byte ---


@pytest.mark.parametrize("vector", vectors("door"))
def test_vectors(vector: dict[str, Any]) -> None:
    fields = raw(vector, "secret", "context", "key", "wrapped")
    with expected(vector):
        opened = vault.unwrap(TeamKey(fields["secret"]), fields["wrapped"], fields["context"])
        assert opened == fields["key"]


def test_what_is_closed_in_comes_out_for_the_vault() -> None:
    key = os.urandom(32)
    closed = Door(SECRET.public)
    wrapped = closed.wrap(key, CONTEXT)
    assert len(wrapped) == door.SIZE == 1185
    assert vault.unwrap(SECRET, wrapped, CONTEXT) == key
    assert closed.wrap(key, CONTEXT) != wrapped
    assert closed.closes(wrapped)
    assert not Door(TeamKey(b"w" * 32).public).closes(wrapped)
    assert not closed.closes(b"")


@pytest.mark.attack(24)
def test_no_byte_of_it_can_be_changed() -> None:
    wrapped = Door(SECRET.public).wrap(b"k" * 32, CONTEXT)
    for place in (*range(40), *range(40, len(wrapped), 29), len(wrapped) - 1):
        altered = bytearray(wrapped)
        altered[place] ^= 1
        with pytest.raises(CannotOpen):
            vault.unwrap(SECRET, bytes(altered), CONTEXT)


def test_a_door_takes_data_keys_and_public_keys_only() -> None:
    with pytest.raises(BadArgument):
        Door(SECRET.public).wrap(b"k" * 31, CONTEXT)
    with pytest.raises(KeyRefused):
        Door(SECRET.public[:-1])
    with pytest.raises(KeyRefused):
        Door(SECRET.public[:1184] + bytes(32))


# --- at the relay ---


def keys_of(relay: Running) -> list[WrappedKey]:
    """Every stored data key, read beside the running relay."""
    import apsw

    from server.store.sqlite import keys

    db = apsw.Connection(str(relay.data / "keys.db"))
    try:
        rows = db.execute("SELECT id FROM data_key ORDER BY epoch").fetchall()
        return [stored for (each,) in rows if (stored := keys.by_id(db, each))]
    finally:
        db.close()


def with_door(directory: Path, name: str = "vault") -> tuple[dict[str, str], TeamKey]:
    """The settings ``keys`` of a relay with a door, and the vault's secret key."""
    secret, public, _ = team.keygen(directory, name)
    return {"moderation": str(public)}, TeamKey(secret.read_bytes())


class VaultKeys:
    """The data keys as the vault has them: through its own door and nothing else."""

    def __init__(self, secret: TeamKey, deployment: bytes, stored: list[WrappedKey]) -> None:
        self._keys = {}
        for key in stored:
            place = deployment, key.conversation, key.sender, key.epoch
            context = dek_context(*place, door.PURPOSE)
            self._keys[key.dek_id] = vault.unwrap(secret, key.moderation, context)

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        raise AssertionError("the vault seals nothing")

    def find(self, dek_id: bytes) -> bytes:
        return self._keys[dek_id]


@pytest.mark.asyncio
async def test_the_vault_opens_a_message_without_the_platform_key(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    keys, secret = with_door(tmp_path)
    relay = await start_relay("at_rest", keys=keys)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "HARM-0007")
    stored = keys_of(relay)
    (record,) = await relay.app.store.scan(b"", 0, 10)
    tools = server_tools(
        deployment=relay.app.store.deployment,
        data_keys=VaultKeys(secret, relay.app.store.deployment, stored),
    )
    assert at_rest.AtRestServer(tools).emit(record, b"d" * 16).body == b"HARM-0007"


@pytest.mark.asyncio
async def test_the_door_alone_does_not_serve_the_relay(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """With the key file gone nothing of the relay reads, however well the door is closed."""
    keys, _ = with_door(tmp_path)
    relay = await start_relay("at_rest", keys=keys)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "HARM-0007")
    (key,) = keys_of(relay)
    assert key.moderation
    port = relay.port
    await relay.app.stop()
    right = (relay.data / "kek").read_bytes()
    (relay.data / "kek").write_bytes(os.urandom(32))
    out = io.BytesIO()
    await print_lines(relay.app.settings, installed_modes(), None, out)
    shown = json.loads(out.getvalue())
    assert not shown["readable"]
    (relay.data / "kek").unlink()
    with pytest.raises(BadConfig, match="kek is missing"):
        await relay.start_again(port)
    (relay.data / "kek").write_bytes(right)
    (relay.data / "kek").chmod(0o600)
    await relay.start_again(port)


@pytest.mark.asyncio
async def test_taking_the_door_away_holds_from_the_next_message_on(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    keys, _ = with_door(tmp_path)
    relay = await start_relay("at_rest", keys=keys)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "through the door")
    settings = relay.app.settings
    for changed in ({"moderation": ""}, keys, with_door(tmp_path, "other")[0]):
        await relay.restart(keys=settings.keys.model_copy(update=changed))
        alice = await alice.again(relay.url)
        await alice.say(bob, "next")
        await alice.say(bob, "and again")
    found = [key.moderation[:17] for key in keys_of(relay)]
    old, other = (door.mark((tmp_path / f"{name}.pub").read_bytes()) for name in ("vault", "other"))
    assert found == [old, b"", old, other]
    assert [key.epoch for key in keys_of(relay)] == [1, 2, 3, 4]
    await bob.close()
    heard = await (await bob.again(relay.url)).hear(7)
    assert [m.body for m in heard][:2] == [b"through the door", b"next"]


@pytest.mark.asyncio
async def test_without_a_door_nothing_is_wrapped_for_one(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "no door")
    (key,) = keys_of(relay)
    assert key.moderation == b""
    await relay.app.data_keys.supply(NeedWrappedKey(key.dek_id))


@pytest.mark.asyncio
async def test_a_door_that_cannot_be_used_stops_the_start(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    keys, _ = with_door(tmp_path)
    with pytest.raises(BadConfig, match=r"one key.*vault-key"):
        await start_relay("at_rest", keys=keys, moderation={"key": keys["moderation"]})
    with pytest.raises(BadConfig, match=r"keys\.moderation: .*holds no public key"):
        await start_relay("at_rest", keys={"moderation": str(tmp_path / "vault.key")})
    with pytest.raises(BadConfig, match=r"keys\.moderation: cannot read"):
        await start_relay("at_rest", keys={"moderation": str(tmp_path / "nothing")})


def test_vault_key_says_what_belongs_to_whom(tmp_path: Path) -> None:
    made = CliRunner().invoke(cli.app, ["moderation", "vault-key", "--dir", str(tmp_path)])
    assert made.exit_code == 0
    assert "keys.moderation" in made.output
    secret = TeamKey((tmp_path / "vault.key").read_bytes())
    assert (tmp_path / "vault.pub").read_bytes() == secret.public
    assert (tmp_path / "vault.key").stat().st_mode & 0o777 == 0o600
