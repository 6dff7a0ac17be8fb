"""A disk that fills up and empties again under a whole relay: what its operator sees of it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator

import apsw
import pytest

from server import logs
from server.store.sqlite import writer
from tests.conftest import StartRelay
from tests.faulty_disk import FaultyDisk, faulty_disk
from tests.raw_client import Refused


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with faulty_disk("-wal") as disk:
        yield disk


@pytest.mark.asyncio
async def test_a_full_disk_shows_at_the_relays_door_and_in_its_log(
    disk: FaultyDisk, start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CALM", 0.0)
    relay = await start_relay("tls")
    log = io.StringIO()
    logs.configure("info", "json", bytes(32), log)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    assert relay.app.unready() == ""
    disk.on_write = apsw.FullError("planted")
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await alice.say(bob, "no room")
        assert refused.value.error.code == 141
        assert str(relay.data) not in refused.value.error.message
    assert relay.app.unready() == "the store cannot be written; the log says why"
    disk.on_write = None
    async with asyncio.timeout(30):
        while relay.app.unready():
            await asyncio.sleep(0.02)
    assert (await alice.say(bob, "room")).seq == 1
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [line for line in lines if line["event"] in {"write failed", "writes work again"}]
    assert [line["event"] for line in told] == ["write failed", "writes work again"]
    assert f"free space where {relay.data}" in told[0]["advice"]
