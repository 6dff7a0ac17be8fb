"""Attachments when the disk, the key service or the mode refuses: nothing is lost, nothing is said
to be there that is not, and what an operator's enemy does to the files shows."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crypto_modes import wire
from crypto_modes.errors import KeyServiceUnavailable
from crypto_modes.registry import BUILTIN
from tests.blob_client import announce, download, piece, put_all, step, upload
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient, Refused
from tests.toy_mode import MODE as FORGETFUL

pytestmark = pytest.mark.asyncio

PIECE = wire.PIECE
MODES = ["tls", "at_rest", "e2ee"]
in_every_mode = pytest.mark.parametrize("mode", MODES)


def files(relay: Running) -> list[Path]:
    return sorted(each for each in (relay.data / "blobs").rglob("*") if each.is_file())


async def two(relay: Running) -> tuple[RawClient, RawClient]:
    return await relay.enter("alice"), await relay.enter("bob")


class Disk:
    """The system's calls for files of attachments, which fail on command. ``room`` is how many
    bytes may still be written, ``synced`` counts what got through."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.room: float = float("inf")
        self.sync_fails = False
        self.synced = 0
        self._write, self._sync = os.pwrite, os.fsync
        patch.setattr("server.store.blob_files.os.pwrite", self._pwrite)
        patch.setattr("server.store.blob_files.os.fsync", self._fsync)

    def _pwrite(self, file: int, data: bytes, at: int) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "planted: no room")
        some = data[: int(min(len(data), self.room))]
        self.room -= len(some)
        return self._write(file, some, at)

    def _fsync(self, file: int) -> None:
        if self.sync_fails:
            raise OSError(errno.EIO, "planted: sync failed")
        self.synced += 1
        self._sync(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@in_every_mode
async def test_a_full_disk_is_temporary_and_loses_nothing(
    start_relay: StartRelay, disk: Disk, mode: str
) -> None:
    relay = await start_relay(mode)
    alice, bob = await two(relay)
    data = os.urandom(3 * PIECE + 1)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    await step(alice, "put", begin.id, **piece(data, 0))
    disk.room = PIECE // 2
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await step(alice, "put", begin.id, **piece(data, PIECE))
        error = refused.value.error
        assert (error.code, error.temporary) == (141, True)
        assert str(relay.data) not in error.message
    assert (await alice.ask(begin, wire.Blob)).offset == PIECE
    disk.room = float("inf")
    assert (await put_all(alice, begin.id, data, PIECE)).state == "whole"
    assert await download(bob, begin.id) == data


async def test_whole_is_said_only_after_the_sync(relay: Running, disk: Disk) -> None:
    alice, bob = await two(relay)
    data = os.urandom(2 * PIECE)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    await step(alice, "put", begin.id, **piece(data, 0))
    assert disk.synced == 0
    assert (await step(alice, "put", begin.id, **piece(data, PIECE))).state == "whole"
    assert disk.synced >= 3  # the file, and the names on the way to it


async def test_a_failed_sync_is_never_tried_again_on_the_same_file(
    relay: Running, disk: Disk
) -> None:
    alice, bob = await two(relay)
    data = os.urandom(100)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    disk.sync_fails = True
    with pytest.raises(Refused, match="store_unavailable"):
        await step(alice, "put", begin.id, **piece(data, 0))
    assert files(relay) == []
    with pytest.raises(Refused, match="forbidden"):
        await step(bob, "get", begin.id)
    disk.sync_fails = False
    assert (await alice.ask(begin, wire.Blob)).offset == 0
    await put_all(alice, begin.id, data)
    assert await download(bob, begin.id) == data


async def test_an_attachment_at_rest_needs_its_key(start_relay: StartRelay) -> None:
    """Without the key service nothing is stored, in the clear or otherwise, and nothing is given;
    and what is under way fails closed as well, once the keys in memory are flushed."""
    relay = await start_relay("at_rest")
    alice, bob = await two(relay)
    data = os.urandom(2 * PIECE)
    whole = await upload(alice, bob, data)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    keys = relay.app.data_keys
    keyring = keys._keyring

    class Away:
        async def generate(self, context: bytes) -> tuple[bytes, bytes]:
            raise KeyServiceUnavailable("planted")

        async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
            raise KeyServiceUnavailable("planted")

    keys._keyring = Away()  # type: ignore[assignment]  # of the two it needs
    keys.flush()
    before = {file: file.read_bytes() for file in files(relay)}
    for do, fields in (("put", piece(data, 0)), ("get", {})):
        with pytest.raises(Refused, match="key_service_unavailable"):
            await step(alice, do, whole if do == "get" else begin.id, **fields)
    with pytest.raises(Refused, match="key_service_unavailable"):
        await alice.ask(await announce(alice, bob, data), wire.Blob)
    assert {file: file.read_bytes() for file in files(relay)} == before
    keys._keyring = keyring
    await put_all(alice, begin.id, data)
    assert await download(bob, whole) == await download(bob, begin.id) == data


async def test_at_rest_the_disk_shows_neither_bytes_nor_length(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await two(relay)
    data = b"a line that would be found " * 3000
    await upload(alice, bob, data)
    stored = [each for each in relay.data.rglob("*") if each.is_file()]
    assert not [each for each in stored if b"would be found" in each.read_bytes()]


@pytest.mark.attack(4)
@pytest.mark.attack(39)
async def test_at_rest_whatever_is_done_to_the_files_shows(start_relay: StartRelay) -> None:
    """Bytes flipped all over, files swapped, pieces swapped, ends cut off, heads exchanged."""
    relay = await start_relay("at_rest")
    alice, bob = await two(relay)
    data = os.urandom(3 * PIECE)
    ids = [await upload(alice, bob, data) for _ in range(2)]
    one, other = files(relay)
    kept = {file: file.read_bytes() for file in (one, other)}
    stored, head = PIECE + 16, len(kept[one]) - 3 * (PIECE + 16)

    async def refused() -> int:
        """How many of the two cannot be read to their end."""
        count = 0
        for each in ids:
            try:
                right = await download(bob, each) == data
            except Refused as refusal:
                right = False
                count += refusal.error.name == "bad_request"
            assert right or count
        return count

    def flip(at: int) -> Callable[[bytes], bytes]:
        return lambda raw: raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]

    first, second = slice(head, head + stored), slice(head + stored, head + 2 * stored)
    harms: list[Callable[[bytes], bytes]] = [
        *(flip(at) for at in (*range(head + 1), head + stored - 1, len(kept[one]) - 1)),
        lambda raw: raw[:-1],
        lambda raw: raw[:head] + raw[second] + raw[first] + raw[second.stop :],
        lambda raw: raw[: first.stop] + raw[first] + raw[second.stop :],
        lambda raw: raw[:head] + kept[other][head:],
        lambda raw: kept[other],
    ]
    assert await refused() == 0
    # What stands in the head of the file is also in the database, which alone is believed.
    harmless = [flip(at) for at in range(head)]
    for harm in harms[head:]:
        one.write_bytes(harm(kept[one]))
        assert await refused() == 1
    for harm in harmless:
        one.write_bytes(harm(kept[one]))
        assert await refused() == 0
    one.unlink()
    assert await refused() == 1


async def test_a_mode_from_outside_refuses_attachments_and_carries_messages(
    start_relay: StartRelay,
) -> None:
    known = {mode.name: mode for mode in (*BUILTIN, FORGETFUL)}
    relay = await start_relay("forgetful", known=known)
    alice, bob = await two(relay)
    with pytest.raises(Refused, match="'forgetful' carries no attachments") as refused:
        await upload(alice, bob, b"x")
    assert refused.value.error.name == "not_in_this_mode"
    assert files(relay) == []
    await alice.say(bob, "text goes")


@in_every_mode
async def test_connections_that_break_anywhere_lose_nothing(
    start_relay: StartRelay, mode: str
) -> None:
    """Cut at every point of an upload: before, between and right behind the pieces."""
    relay = await start_relay(mode)
    alice, bob = await two(relay)
    data = os.urandom(4 * PIECE + 33)
    begin = await announce(alice, bob, data)
    frames: list[Any] = [begin]
    frames += [
        wire.SetBlob(ref=alice.ref(), id=begin.id, do="put", **piece(data, offset))
        for offset in range(0, len(data), PIECE)
    ]
    for count in itertools.count(1):
        for frame in frames[:count]:
            await alice.send(frame)
        alice.socket.transport.abort()
        await asyncio.sleep(0)
        alice = await alice.again(relay.url)
        if count == len(frames):
            break
    answer = await alice.ask(begin, wire.Blob)
    if answer.state == "partial":
        await put_all(alice, begin.id, data, answer.offset)
    assert await download(bob, begin.id) == data
