"""Attachments at a real relay: durable when it says so, resumable, and for the two users alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from crypto_modes import wire
from server.blobs import SMALLEST_FRAME, UNDER_WAY
from server.store import BLOB_LEAST
from tests.blob_client import announce, download, piece, put_all, step, upload
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient, Refused

pytestmark = pytest.mark.asyncio

PIECE = wire.PIECE
SIZES = [1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5]
MODES = ["tls", "at_rest", "e2ee"]


def files(relay: Running) -> list[Path]:
    return [each for each in (relay.data / "blobs").rglob("*") if each.is_file()]


def hold(relay: Running, monkeypatch: pytest.MonkeyPatch, name: str) -> asyncio.Event:
    """Let the relay's file operation ``name`` wait until the event is set."""
    blob_files, go_on = relay.app.relay.blobs._files, asyncio.Event()
    operation = getattr(blob_files, name)

    async def slow(*args: Any) -> Any:
        await go_on.wait()
        return await operation(*args)

    monkeypatch.setattr(blob_files, name, slow)
    return go_on


async def two(relay: Running, **options: Any) -> tuple[RawClient, RawClient]:
    return await relay.enter("alice", **options), await relay.enter("bob", **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("protocol", [wire.MSGPACK, wire.JSON])
async def test_what_was_uploaded_comes_back(
    start_relay: StartRelay, mode: str, protocol: str
) -> None:
    relay = await start_relay(mode)
    alice, bob = await two(relay, protocol=protocol)
    for size in SIZES:
        data = os.urandom(size)
        blob = await upload(alice, bob, data)
        assert await download(bob, blob) == await download(alice, blob) == data
    assert len(files(relay)) == len(SIZES)
    for file in files(relay):
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700


async def test_megabytes_survive_a_restart_in_the_middle(start_relay: StartRelay) -> None:
    for mode in MODES:
        relay = await start_relay(mode)
        alice, bob = await two(relay)
        data = os.urandom(3 * 2**20 + 77)
        begin = await announce(alice, bob, data)
        await alice.ask(begin, wire.Blob)
        for offset in range(0, 40 * PIECE, PIECE):
            await step(alice, "put", begin.id, **piece(data, offset))
        await relay.restart()
        alice, bob = await alice.again(relay.url), await bob.again(relay.url)
        answer = await alice.ask(begin, wire.Blob)
        assert (answer.state, answer.offset) == ("partial", 40 * PIECE)
        assert (await put_all(alice, begin.id, data, answer.offset)).state == "whole"
        await relay.restart()
        bob = await bob.again(relay.url)
        assert await download(bob, begin.id) == data


@pytest.mark.parametrize("mode", MODES)
async def test_a_torn_file_goes_on_from_its_last_whole_piece(
    start_relay: StartRelay, mode: str
) -> None:
    relay = await start_relay(mode)
    alice, bob = await two(relay)
    data = os.urandom(2 * PIECE + 100)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    await step(alice, "put", begin.id, **piece(data, 0))
    port = relay.port
    await relay.app.stop()
    (file,) = files(relay)
    whole = file.stat().st_size
    for torn, stands in ((whole + 5, PIECE), (whole - 1, 0), (1, 0)):
        os.truncate(file, torn)
        await relay.start_again(port)
        alice = await alice.again(relay.url)
        assert (await alice.ask(begin, wire.Blob)).offset == stands
        await relay.app.stop()
    file.unlink()
    await relay.start_again(port)
    alice, bob = await alice.again(relay.url), await bob.again(relay.url)
    assert (await alice.ask(begin, wire.Blob)).offset == 0
    await put_all(alice, begin.id, data)
    assert await download(bob, begin.id) == data


async def test_a_file_that_a_power_cut_filled_with_zeros_is_never_called_whole(
    relay: Running,
) -> None:
    alice, bob = await two(relay)
    data = os.urandom(2 * PIECE)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    await step(alice, "put", begin.id, **piece(data, 0))
    (file,) = files(relay)
    file.write_bytes(bytes(PIECE))
    with pytest.raises(Refused, match="begin again"):
        await step(alice, "put", begin.id, **piece(data, PIECE))
    assert files(relay) == []
    assert (await alice.ask(begin, wire.Blob)).offset == 0
    assert (await put_all(alice, begin.id, data)).state == "whole"


async def test_steps_may_be_repeated_and_come_in_any_order(relay: Running) -> None:
    alice, bob = await two(relay)
    data = os.urandom(3 * PIECE)
    begin = await announce(alice, bob, data)
    for _ in range(2):
        assert (await alice.ask(begin, wire.Blob)).offset == 0
    assert (await step(alice, "put", begin.id, **piece(data, PIECE))).offset == 0
    for offset in (0, 0, PIECE, 0, PIECE):
        await step(alice, "put", begin.id, **piece(data, offset))
    assert (await alice.ask(begin, wire.Blob)).offset == 2 * PIECE
    for _ in range(2):
        answer = await step(alice, "put", begin.id, **piece(data, 2 * PIECE))
        assert (answer.state, answer.offset) == ("whole", 3 * PIECE)
    # What is whole cannot be written over.
    other = bytes(3 * PIECE)
    await step(alice, "put", begin.id, **piece(other, 0))
    for _ in range(2):
        assert (await step(alice, "keep", begin.id)).state == "kept"
    assert (await alice.ask(begin, wire.Blob)).state == "kept"
    assert await download(bob, begin.id) == data


async def test_pieces_under_way_together_arrive_in_order(relay: Running) -> None:
    alice, bob = await two(relay)
    data = os.urandom(UNDER_WAY * PIECE)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    frames = [
        wire.SetBlob(ref=alice.ref(), id=begin.id, do="put", **piece(data, offset))
        for offset in range(0, len(data), PIECE)
    ]
    for frame in frames:
        await alice.send(frame)
    answers = [await alice.expect(wire.Blob) for _ in frames]
    assert [answer.offset for answer in answers] == [PIECE * n for n in range(1, UNDER_WAY + 1)]
    assert await download(bob, begin.id) == data


async def test_too_many_steps_at_once_are_refused(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await two(relay)
    blob = await upload(alice, bob, b"x")
    go_on = hold(relay, monkeypatch, "read")
    for _ in range(UNDER_WAY):
        await alice.send(wire.SetBlob(ref=alice.ref(), id=blob, do="get"))
    for _ in range(20):
        with pytest.raises(Refused, match="limit"):
            await step(alice, "get", blob)
    go_on.set()
    for _ in range(UNDER_WAY):
        assert (await alice.expect(wire.Blob)).data == b"x"
    assert (await step(alice, "get", blob)).data == b"x"


async def test_messages_overtake_an_upload(relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk takes its time over a piece, texts of the same connection go on."""
    alice, bob = await two(relay)
    data = os.urandom(PIECE)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    go_on = hold(relay, monkeypatch, "write")
    put = wire.SetBlob(ref=alice.ref(), id=begin.id, do="put", **piece(data, 0))
    await alice.send(put)
    for number in range(5):
        assert (await alice.say(bob, f"text {number}")).seq == number + 1
    go_on.set()
    assert (await alice.expect(wire.Blob)).state == "whole"


# --- limits ---


async def test_sizes_at_the_limit_pass_and_above_it_do_not(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"blob": 2 * PIECE})
    alice, bob = await two(relay)
    assert alice.welcome is not None
    assert alice.welcome.limits.blob == 2 * PIECE
    for size in (2 * PIECE - 1, 2 * PIECE):
        await upload(alice, bob, bytes(size))
    for size in (0, 2 * PIECE + 1, 2**52):
        with pytest.raises(Refused, match="limit"):
            await alice.ask(await announce(alice, bob, b"", size=size), wire.Blob)


async def test_an_account_has_a_quota_and_dropping_gives_it_back(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"blob_account": 5 * BLOB_LEAST})
    alice, bob = await two(relay)
    first = await upload(alice, bob, bytes(3 * BLOB_LEAST))
    await upload(alice, bob, b"small, and counted as more")
    with pytest.raises(Refused, match="limit"):
        await upload(alice, bob, bytes(BLOB_LEAST + 1))
    last = await upload(alice, bob, bytes(BLOB_LEAST))
    with pytest.raises(Refused, match="limit"):
        await upload(alice, bob, b"x")
    await upload(bob, alice, bytes(4 * BLOB_LEAST))
    assert (await step(alice, "drop", first)).state == "dropped"
    with pytest.raises(Refused, match="forbidden"):
        await download(bob, first)
    await upload(alice, bob, bytes(3 * BLOB_LEAST))
    assert await download(bob, last) == bytes(BLOB_LEAST)


@pytest.mark.parametrize("limits", [{"blob": 0}, {"frame": SMALLEST_FRAME - 1}])
async def test_a_relay_without_attachments_says_so(
    start_relay: StartRelay, limits: dict[str, int]
) -> None:
    relay = await start_relay(limits=limits)
    alice, bob = await two(relay)
    assert alice.welcome is not None
    assert alice.welcome.limits.blob == 0
    with pytest.raises(Refused, match="limit"):
        await alice.ask(await announce(alice, bob, b"x"), wire.Blob)


async def test_pieces_of_the_smallest_frame_fit_in_json(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"frame": SMALLEST_FRAME})
    alice, bob = await two(relay, protocol=wire.JSON)
    data = os.urandom(2 * PIECE)
    assert await download(bob, await upload(alice, bob, data)) == data


async def test_a_rate_of_its_own_leaves_the_messages_theirs(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"blob_rate": 0.001, "blob_burst": 3})
    alice, bob = await two(relay)
    blob = await upload(alice, bob, b"x")  # three steps
    with pytest.raises(Refused, match="rate_limited") as refused:
        await step(alice, "get", blob)
    assert 0 < refused.value.error.retry_after <= 1000
    assert (await step(bob, "get", blob)).data == b"x"


@pytest.mark.parametrize(
    "wrong",
    [
        {"digest": b""},
        {"digest": bytes(31)},
        {"to": b""},
        {"mode": None},
        {"to": bytes(16)},
        {"mode": "at_rest"},
        {"epoch": 9},
    ],
)
async def test_an_announcement_must_fit_the_conversation(
    relay: Running, wrong: dict[str, Any]
) -> None:
    alice, bob = await two(relay)
    with pytest.raises(Refused):
        await alice.ask(await announce(alice, bob, b"x", **wrong), wire.Blob)
    assert files(relay) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 1, "data": bytes(PIECE)},
        {"offset": 0, "data": b""},
        {"offset": 0, "data": bytes(PIECE - 1)},
        {"offset": PIECE, "data": bytes(6)},
        {"offset": PIECE, "data": bytes(4)},
        {"offset": 2 * PIECE, "data": b""},
        {"offset": 2**52, "data": b""},
    ],
)
async def test_a_piece_must_be_one(relay: Running, wrong: dict[str, Any]) -> None:
    alice, bob = await two(relay)
    data = bytes(PIECE + 5)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    if wrong["offset"]:
        await step(alice, "put", begin.id, **piece(data, 0))
    with pytest.raises(Refused, match="bad_request"):
        await step(alice, "put", begin.id, **wrong)
    with pytest.raises(Refused, match="bad_request"):
        await step(alice, "keep", begin.id)
    assert (await put_all(alice, begin.id, data)).state == "whole"
    for offset in (1, PIECE + 5, 2 * PIECE, 2**52):
        with pytest.raises(Refused, match="bad_request"):
            await step(bob, "get", begin.id, offset=offset)


async def test_a_blocked_sender_uploads_nothing(relay: Running) -> None:
    alice, bob = await two(relay)
    begin = await announce(alice, bob, b"x")
    await bob.ask(wire.Block(ref=bob.ref(), account=alice.account), wire.Blocked)
    with pytest.raises(Refused, match="forbidden"):
        await alice.ask(begin, wire.Blob)
