"""``server.admin`` against a real relay: revocation takes hold at once, refusals say why."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from crypto_modes.errors import BadArgument, BadConfig, ConnectionLost
from server.admin import ask
from server.settings_tree import Internal, Settings
from tests.conftest import Running
from tests.raw_client import RawClient

pytestmark = pytest.mark.asyncio


def settings(relay: Running, **changed: Any) -> Settings:
    internal = Internal(port=relay.app.internal.port)
    return relay.app.settings.model_copy(update={"internal": internal} | changed)


async def asked(relay: Running, method: str, path: str, body: object = None) -> Any:
    return json.loads(await asyncio.to_thread(ask, settings(relay), method, path, body))


async def closed(client: RawClient) -> int | None:
    """The code with which the relay closes, which row 42 wants at once."""
    async with asyncio.timeout(30):
        await client.socket.wait_closed()
    return client.socket.close_code


@pytest.mark.attack
async def test_42_a_revoked_account_is_out_at_once_and_others_stay(relay: Running) -> None:
    """Row 42: the socket closes, at no later ping, and the token opens nothing afterwards."""
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    assert await asked(relay, "POST", "revoke", {"account": "alice"}) == {"revoked": 1}
    assert await closed(alice) == 4503
    again = await RawClient.open(relay.url)
    again.device, again.token = alice.device, alice.token
    with pytest.raises((ConnectionClosed, AssertionError)):
        await again.hello()
    await bob.again(relay.url)


async def test_one_device_of_several(relay: Running) -> None:
    phone = await relay.enter("alice")
    laptop = await RawClient.open(relay.url)
    await laptop.register("alice", login=True)
    await laptop.hello()
    device = {"device": phone.device.hex()}
    assert await asked(relay, "POST", "revoke", device) == {"revoked": 1}
    assert await closed(phone) == 4503
    await laptop.again(relay.url)


async def test_refusals_are_the_relays_own_words(relay: Running) -> None:
    with pytest.raises(BadArgument, match="no such account"):
        await asked(relay, "POST", "revoke", {"account": "nobody"})
    with pytest.raises(BadArgument, match="name an account"):
        await asked(relay, "POST", "revoke", {})


async def test_a_device_of_another_account_is_not_revoked(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    with pytest.raises(BadArgument):
        await asked(relay, "POST", "revoke", {"account": bob.name, "device": alice.device.hex()})
    await alice.again(relay.url)


async def test_status_and_metrics_of_a_real_relay(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "hello")
    status = await asked(relay, "GET", "status")
    assert status["connections"] == 2
    assert status["durability"] == "full"
    assert status["key_log"].startswith("louver/key-log/")
    page = relay.app.exposition().decode()
    assert 'louver_messages_total{mode="tls"} 1.0' in page
    assert 'louver_frames_total{type="send"} 1.0' in page


async def test_a_wrong_token_is_refused(relay: Running) -> None:
    (relay.data / "admin.token").write_text("lva_" + "x" * 43)
    with pytest.raises(BadArgument, match=r"admin\.token"):
        await asked(relay, "GET", "status")


async def test_without_token_or_relay_the_error_says_what_is_missing(relay: Running) -> None:
    nowhere = settings(relay, internal=Internal(port=1))
    with pytest.raises(ConnectionLost, match="no relay answers"):
        await asyncio.to_thread(ask, nowhere, "GET", "status")
    (relay.data / "admin.token").chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        await asked(relay, "GET", "status")
    (relay.data / "admin.token").unlink()
    with pytest.raises(BadConfig, match="is missing"):
        await asked(relay, "GET", "status")
