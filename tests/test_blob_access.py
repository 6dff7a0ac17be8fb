"""Who may reach an attachment, and for how long it stays."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from crypto_modes import wire
from tests.blob_client import announce, download, piece, put_all, step, upload
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient, Refused
from tests.test_client import every_mode

pytestmark = pytest.mark.asyncio

PIECE = wire.PIECE


def files(relay: Running) -> list[Path]:
    return [each for each in (relay.data / "blobs").rglob("*") if each.is_file()]


async def two(relay: Running) -> tuple[RawClient, RawClient]:
    return await relay.enter("alice"), await relay.enter("bob")


@pytest.mark.attack(38)
async def test_strangers_learn_nothing_of_an_attachment(relay: Running) -> None:
    """Every step with another's id is answered as with an id that nobody has, word for word."""
    alice, bob = await two(relay)
    eve = await relay.enter("eve")
    data = os.urandom(PIECE + 9)
    whole = await upload(alice, bob, data)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    await step(alice, "put", begin.id, **piece(data, 0))

    async def answer(client: RawClient, blob: bytes, fields: dict[str, Any]) -> tuple[Any, ...]:
        with pytest.raises(Refused) as refused:
            await step(client, id=blob, **fields)
        error = refused.value.error
        return error.code, error.name, error.message, error.temporary, error.retry_after

    steps: list[dict[str, Any]] = [
        {"do": "keep"},
        {"do": "drop"},
        {"do": "get"},
        {"do": "get", "offset": PIECE},
        {"do": "get", "offset": 7},
        {"do": "put", **piece(data, 0)},
        {"do": "put", **piece(data, PIECE)},
        {"do": "put", "offset": 3, "data": b"x"},
    ]
    for fields in steps:
        unknown = await answer(eve, os.urandom(16), fields)
        assert unknown[1] == "forbidden"
        for blob in (whole, begin.id):
            assert await answer(eve, blob, fields) == unknown
        # The recipient may read what is whole, and nothing else.
        for blob in (begin.id,) if fields["do"] == "get" else (whole, begin.id):
            assert await answer(bob, blob, fields) == unknown
    assert await download(bob, whole) == data
    assert (await put_all(alice, begin.id, data, PIECE)).state == "whole"


@pytest.mark.attack(38)
async def test_nobody_takes_over_an_id(relay: Running) -> None:
    alice, bob = await two(relay)
    eve = await relay.enter("eve")
    data = os.urandom(99)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    for client, peer in ((eve, bob), (eve, alice), (bob, alice)):
        with pytest.raises(Refused, match="forbidden"):
            await client.ask(await announce(client, peer, data, id=begin.id), wire.Blob)
    for fields in ({"digest": bytes(32)}, {"size": 98}, {"kind": "image"}, {"to": eve.account}):
        with pytest.raises(Refused, match="forbidden"):
            await alice.ask(await announce(alice, bob, data, id=begin.id, **fields), wire.Blob)
    await put_all(alice, begin.id, data)
    assert await download(bob, begin.id) == data


@every_mode
async def test_a_drop_in_the_middle_of_a_read_is_no_damage(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Who is still fetching is told what he would be told a moment later; no alarm."""
    relay = await start_relay(mode=mode)
    blobs = relay.app.relay.blobs
    alice, bob = await two(relay)
    blob = await upload(alice, bob, os.urandom(3 * PIECE))
    assert len((await step(bob, "get", blob)).data) == PIECE
    faults: list[tuple[object, ...]] = []
    monkeypatch.setattr(relay.app.relay.observer, "fault", lambda *fault: faults.append(fault))
    read = blobs._files.read

    async def late(*place: Any) -> bytes:
        await step(alice, "drop", blob)
        return await read(*place)

    monkeypatch.setattr(blobs._files, "read", late)
    with pytest.raises(Refused, match="forbidden"):
        await step(bob, "get", blob, offset=PIECE)
    assert faults == []
    assert files(relay) == []


# --- what nobody keeps goes ---


async def test_what_no_message_refers_to_goes_after_a_while(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"blob_hours": 1})
    blobs = relay.app.relay.blobs
    alice, bob = await two(relay)
    kept = await upload(alice, bob, b"kept")
    whole = await announce(alice, bob, b"whole")
    await alice.ask(whole, wire.Blob)
    await put_all(alice, whole.id, b"whole")
    partial = await announce(alice, bob, b"partial")
    await alice.ask(partial, wire.Blob)
    now, hour = time.time_ns() // 10**6, 3_600_000
    assert await blobs.expire(now + hour - 60_000) == 0
    assert len(files(relay)) == 3
    assert await blobs.expire(now + hour + 60_000) == 2
    assert len(files(relay)) == 1
    with pytest.raises(Refused, match="forbidden"):
        await step(bob, "get", whole.id)
    with pytest.raises(Refused, match="forbidden"):
        await step(alice, "put", partial.id, **piece(b"partial", 0))
    assert await download(bob, kept) == b"kept"
    assert (await alice.ask(partial, wire.Blob)).offset == 0
