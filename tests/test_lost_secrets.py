"""A relay whose key file or pepper is gone or another's: it says so, and loses no message."""

from __future__ import annotations

import io
import json
import os

import apsw
import pytest

from crypto_modes.errors import BadConfig
from server import logs
from server.app import installed_modes
from server.reveal import print_lines
from tests.conftest import StartRelay
from tests.raw_client import Refused

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("name", ["kek", "pepper"])
async def test_a_lost_secret_stops_the_start_and_comes_back_with_its_backup(
    start_relay: StartRelay, name: str
) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await bob.close()
    await alice.say(bob, "kept")
    port, secret = relay.port, relay.data / name
    await relay.app.stop()
    backup = secret.rename(relay.data / "backup")
    with pytest.raises(BadConfig, match=f"{name} is missing.*restore it from its backup"):
        await relay.start_again(port)
    assert not secret.exists()
    backup.rename(secret)
    await relay.start_again(port)
    assert [m.body for m in await (await bob.again(relay.url)).hear()] == [b"kept"]


async def test_before_anything_depends_on_them_secrets_may_be_made_again(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("at_rest")
    port = relay.port
    await relay.app.stop()
    for name in ("kek", "pepper"):
        (relay.data / name).unlink()
    await relay.start_again(port)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    assert (await alice.say(bob, "hello")).seq == 1


async def test_under_another_key_the_relay_does_not_start(start_relay: StartRelay) -> None:
    """Else new conversations would be wrapped by it, and be lost with it."""
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await bob.close()
    await alice.say(bob, "one")
    port, secret = relay.port, relay.data / "kek"
    await relay.app.stop()
    right = secret.read_bytes()
    secret.write_bytes(os.urandom(32))
    with pytest.raises(BadConfig, match="not the one that the stored keys were made with"):
        await relay.start_again(port)
    out = io.BytesIO()
    await print_lines(relay.app.settings, installed_modes(), None, out)
    assert "key file does not open" in json.loads(out.getvalue())["reason"]
    secret.write_bytes(right)
    await relay.start_again(port)
    assert [m.body for m in await (await bob.again(relay.url)).hear()] == [b"one"]


async def test_single_keys_that_do_not_open_wait_and_the_log_says_why(
    start_relay: StartRelay,
) -> None:
    """The key file is right and rows of keys.db are not: another relay's, or damaged."""
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await bob.close()
    for text in ("one", "two"):
        await alice.say(bob, text)
    port, database = relay.port, relay.data / "keys.db"
    await relay.app.stop()
    right = database.read_bytes()
    db = apsw.Connection(str(database))
    db.execute("UPDATE data_key SET serving = randomblob(97)")
    db.close()
    await relay.start_again(port)
    log = io.StringIO()
    logs.configure("info", "json", bytes(32), log)
    bob, alice = await bob.again(relay.url), await alice.again(relay.url)
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await alice.say(bob, "three")
        assert refused.value.error.code == 140
        assert "wait" in refused.value.error.message
        assert str(relay.data) not in refused.value.error.message
    await relay.app.stop()
    lines = [line for line in log.getvalue().splitlines() if '"key failed"' in line]
    assert len(lines) == 1
    assert "the key file does not open the stored keys" in json.loads(lines[0])["advice"]
    database.write_bytes(right)
    await relay.start_again(port)
    assert [m.body for m in await (await bob.again(relay.url)).hear(2)] == [b"one", b"two"]
