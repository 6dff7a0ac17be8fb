"""The programs in docs/examples do what they say, against the real relay."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from client import Keystore, Password, connect
from tests.conftest import StartRelay

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"


async def run(name: str, *arguments: object) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / name,
        *map(str, arguments),
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("mode", ["tls", "e2ee"])
@pytest.mark.asyncio
async def test_the_load_test(start_relay: StartRelay, mode: str) -> None:
    relay = await start_relay(mode=mode, tls=True)
    out = await run("load_test.py", relay.url, relay.ca, 2, 1)
    p50, p99 = map(float, out.removeprefix("p50, p99 in ms: ").split())
    assert 0 < p50 <= p99 < 60_000


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
@pytest.mark.asyncio
async def test_the_plain_client(start_relay: StartRelay, mode: str) -> None:
    relay = await start_relay(mode=mode, tls=True)
    async with connect(
        relay.url,
        name="bob",
        keystore=Keystore.in_memory(),
        credentials=Password("a long password", register=True),
        ca=str(relay.ca),
    ) as bob:
        plain = asyncio.create_task(
            run("plain_client.py", relay.url, relay.ca, "alice", "bob", "by hand")
        )
        message = await asyncio.wait_for(anext(bob), 30)
        assert (message.text, message.mode, message.sender_name) == ("by hand", mode, "alice")
        await bob.send(message.sender, "by machine")
        assert await plain == "accepted as number 1\nreceived: by machine\n"
        await bob.send(message.sender, "not acked by anyone")
    (store_cursors,) = [
        await relay.app.store.cursors(device.id)
        for device in await relay.app.store.devices(message.sender)
    ]
    assert store_cursors == {message.conversation: 2}


def test_they_are_as_short_as_the_guide_says() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert lines["load_test.py"] < 30
    assert lines["plain_client.py"] <= 60
    plain = (EXAMPLES / "plain_client.py").read_text()
    assert "import client" not in plain
    assert "crypto_modes" not in plain
