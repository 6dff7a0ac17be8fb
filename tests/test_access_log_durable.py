"""The access log on disk: what a receipt promises, through restarts, faults and old copies."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import msgspec
import pytest

from crypto_modes.errors import BadArgument, BadConfig, LogUnavailable
from crypto_modes.transparency import access_log, note, tree
from crypto_modes.transparency.access_log import DAY, Leaf
from crypto_modes.transparency.tiles import ENTRIES, Tile, read_whole, unbundle
from server.access_log import Receipt, disk
from server.access_log.durable import BACKLOG, DurableLog
from tests import merkle_oracle as oracle
from tests.access_entries import OTHER, TALK, TIME, published, read
from tests.faulty_disk import faulty_disk, io_error


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[DurableLog]:
    log = DurableLog(data)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def entered(data: Path, count: int) -> list[Receipt]:
    async with opened(data) as log:
        return [await log.append([read(number)]) for number in range(count)]


async def leaves_of(log: DurableLog) -> list[bytes]:
    size = log.size
    return unbundle(await log.tile(Tile(ENTRIES, 0, size)), size) if size else []


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.mark.asyncio
async def test_a_receipt_is_a_checkpoint_that_covers_the_entries(data: Path) -> None:
    async with opened(data) as log:
        first = await log.append([read(0)])
        second = await log.append([read(1), read(2)])
        leaves = await leaves_of(log)
        shown = await log.opened(0)
    for receipt, size in ((first, 1), (second, 3)):
        head = note.open_checkpoint(receipt.checkpoint, log.verifier)
        assert (head.size, head.root) == (size, oracle.mth(leaves[:size]))
    assert (first.index, second.index) == (0, 1)
    assert [each.entry for each in shown] == [read(0), read(1), read(2)]
    for each, raw in zip(shown, leaves, strict=True):
        each.check(Leaf.decode(raw))
    assert len({each.salt for each in shown}) == 3


@pytest.mark.asyncio
async def test_marks_are_found_with_the_key_of_the_day_and_conversation_only(data: Path) -> None:
    async with opened(data) as log:
        tomorrow = msgspec.structs.replace(read(0), time=TIME + DAY)
        await log.append([read(0), read(0, OTHER), read(0, b""), tomorrow])
        leaves = [Leaf.decode(raw) for raw in await leaves_of(log)]
        today, next_day = log.day_keys(TALK, TIME // DAY, TIME // DAY + 1)
    found = [leaf.mark == access_log.mark(today, n) for n, leaf in enumerate(leaves)]
    assert found == [True, False, False, False]
    assert leaves[3].mark == access_log.mark(next_day, 3)


@pytest.mark.asyncio
async def test_many_at_once_share_a_sync_and_each_gets_its_own_place(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    async with opened(data) as log:
        synced.clear()
        receipts = await asyncio.gather(*(log.append([read(n), read(n)]) for n in range(200)))
        shown = await log.opened(0, 500)
    assert sorted(receipt.index for receipt in receipts) == list(range(0, 400, 2))
    for number, receipt in enumerate(receipts):
        assert receipt.index + 2 <= note.open_checkpoint(receipt.checkpoint, log.verifier).size
        if receipt.index < len(shown):
            assert shown[receipt.index].entry == read(number)
    # A head is a file and its directory; the first batch takes what came first, the next the rest.
    assert len(synced) <= 6


@pytest.mark.asyncio
async def test_a_malformed_entry_is_refused_alone(data: Path) -> None:
    bad = msgspec.structs.replace(read(0), conversation=b"too long for an id")
    early = msgspec.structs.replace(read(0), time=-1)
    async with opened(data) as log:
        results = await asyncio.gather(
            log.append([read(0)]), log.append([bad]), log.append([early]), return_exceptions=True
        )
        with pytest.raises(BadArgument):
            await log.append([])
        with pytest.raises(BadArgument):
            await log.append([read(0)] * 101)
        assert log.size == 1
    assert isinstance(results[0], Receipt)
    assert isinstance(results[1], BadArgument)
    assert isinstance(results[2], BadArgument)


@pytest.mark.asyncio
async def test_a_restart_goes_on_where_it_was(data: Path) -> None:
    (first,) = await entered(data, 1)
    async with opened(data) as log:
        again = await log.append([read(1)])
        head, proof = await log.consistency(1)
    old = note.open_checkpoint(first.checkpoint, log.verifier)
    new = note.open_checkpoint(again.checkpoint, log.verifier)
    assert note.open_checkpoint(head.encode(), log.verifier) == new
    tree.check_consistency(old.size, new.size, proof, old.root, new.root)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 520])
async def test_its_tiles_are_the_whole_log(data: Path, size: int) -> None:
    async with opened(data) as log:
        for start in range(0, size, 100):
            await log.append([read(number) for number in range(start, min(size, start + 100))])
        files = await published(log)
        with pytest.raises(BadArgument):
            await log.tile(Tile(0, size // 256, size % 256 + 1))
    head = note.open_checkpoint(files["checkpoint"], log.verifier)
    assert head.size == size
    whole = read_whole(head, files.__getitem__)
    assert whole.root == oracle.mth(list(whole.leaves))


@pytest.mark.asyncio
async def test_a_copy_taken_at_any_receipt_has_what_was_promised(
    data: Path, tmp_path: Path
) -> None:
    """What a power cut leaves: the files as they are, nothing closed."""
    async with opened(data) as log:
        for number in range(5):
            receipt = await log.append([read(number)])
            copy = tmp_path / f"cut-{number}"
            shutil.copytree(data, copy)
            async with opened(copy) as found:
                assert found.size == number + 1
                assert found.head.encode() == receipt.checkpoint


@pytest.mark.asyncio
async def test_what_was_durable_and_not_signed_is_signed_at_the_start(data: Path) -> None:
    await entered(data, 2)
    old = (data / disk.HEAD).read_bytes()
    await entered(data, 1)
    (data / disk.HEAD).write_bytes(old)
    async with opened(data) as log:
        assert note.open_checkpoint((data / disk.HEAD).read_bytes(), log.verifier).size == 3


@pytest.mark.asyncio
async def test_a_database_from_a_backup_is_refused(data: Path) -> None:
    await entered(data, 2)
    backup = (data / disk.DATABASE).read_bytes()
    await entered(data, 1)
    (data / disk.DATABASE).write_bytes(backup)
    with pytest.raises(BadConfig, match="has 2 entries, and 3 were signed"):
        await DurableLog(data).open()


def forget(*names: str) -> Callable[[Path], None]:
    def forgotten(data: Path) -> None:
        for name in names:
            (data / name).unlink()

    return forgotten


def change(sql: str) -> Callable[[Path], None]:
    def changed(data: Path) -> None:
        db = apsw.Connection(str(data / disk.DATABASE))
        db.execute(sql)
        db.close()

    return changed


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (forget(disk.DATABASE), "has 0 entries, and 4 were signed"),
        (forget(disk.HEAD), "cannot be read"),
        (forget(disk.DATABASE, disk.HEAD), "the keys of their log are here"),
        (forget(disk.KEY), "is missing"),
        (forget(disk.SECRET), "is missing"),
        (lambda data: (data / disk.HEAD).write_bytes(b"none"), "is not the head"),
        (change("UPDATE node SET hash = zeroblob(32) WHERE level = 2"), "it was changed"),
        (change("DELETE FROM leaf WHERE number = 1"), "lacks leaves"),
        (change("DELETE FROM leaf WHERE number = 3"), "has 3 entries, and 4 were signed"),
    ],
)
async def test_files_that_contradict_what_was_signed_are_refused(
    data: Path, damage: Callable[[Path], None], says: str
) -> None:
    await entered(data, 4)
    damage(data)
    with pytest.raises(BadConfig, match=says):
        await DurableLog(data).open()


@pytest.mark.asyncio
async def test_another_key_in_place_of_the_logs_is_refused(data: Path) -> None:
    await entered(data, 1)
    (data / disk.KEY).write_bytes(b"k" * 32)
    with pytest.raises(BadConfig, match="is not the head"):
        await DurableLog(data).open()


@pytest.mark.asyncio
async def test_a_missing_node_is_damage(data: Path) -> None:
    await entered(data, 2)
    change("DELETE FROM node WHERE level = 1")(data)
    with pytest.raises(LogUnavailable) as caught:
        await DurableLog(data).open()
    assert "is damaged" in caught.value.advice


@pytest.mark.asyncio
async def test_two_vaults_cannot_keep_one_log(data: Path) -> None:
    async with opened(data) as log:
        await log.append([read(0)])
        with pytest.raises(LogUnavailable) as caught:
            await DurableLog(data).open()
        assert "close it" in caught.value.advice
        await log.append([read(1)])


@pytest.mark.asyncio
async def test_a_full_disk_refuses_and_heals(data: Path) -> None:
    with faulty_disk(f"{disk.DATABASE}-wal") as bad:
        async with opened(data) as log:
            await log.append([read(0)])
            bad.on_write = apsw.FullError("planted")
            with pytest.raises(LogUnavailable) as caught:
                await log.append([read(1)])
            assert "free space" in caught.value.advice
            assert "disk" not in str(caught.value)
            bad.on_write = None
            assert (await log.append([read(2)])).index == 1
            assert [each.entry for each in await log.opened(0)] == [read(0), read(2)]


@pytest.mark.asyncio
async def test_after_a_failed_sync_nothing_is_entered_any_more(data: Path) -> None:
    with faulty_disk(f"{disk.DATABASE}-wal") as bad:
        async with opened(data) as log:
            (receipt,) = [await log.append([read(0)])]
            bad.on_sync = io_error(apsw.SQLITE_IOERR_FSYNC)
            with pytest.raises(LogUnavailable):
                await log.append([read(1)])
            bad.on_sync = None
            before = bad.written.total()
            with pytest.raises(LogUnavailable) as caught:
                await log.append([read(2)])
            assert "check it, then start Louver again" in caught.value.advice
            with pytest.raises(LogUnavailable):
                await log.tile(Tile(ENTRIES, 0, 1))
        assert bad.written.total() == before
        assert (data / disk.HEAD).read_bytes() == receipt.checkpoint
        async with opened(data) as again:
            assert (await again.append([read(3)])).index >= 1


def failing(number: int, after: int) -> Callable[[int], None]:
    """``os.fsync`` that fails once ``after`` calls have succeeded, and succeeds again then."""
    calls = iter(range(1000))

    def fsync(descriptor: int) -> None:
        if next(calls) == after:
            raise OSError(number, os.strerror(number))

    return fsync


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("after", [0, 1])
async def test_a_head_that_may_not_be_on_the_disk_is_final(
    data: Path, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    async with opened(data) as log:
        await log.append([read(0)])
        kept = log.head
        monkeypatch.setattr(os, "fsync", failing(number, after))
        for each in (1, 2):
            with pytest.raises(LogUnavailable) as caught:
                await log.append([read(each)])
            assert disk.HEAD in caught.value.advice
        assert log.head == kept
    async with opened(data) as again:
        assert again.size == 2  # entered, though nobody was told; nothing was opened for it


def mentioning(data: Path, text: bytes) -> list[Path]:
    return [path for path in data.iterdir() if text in path.read_bytes()]


@pytest.mark.asyncio
async def test_an_erased_entry_is_gone_and_its_leaf_stays(data: Path) -> None:
    async with opened(data) as log:
        marked = msgspec.structs.replace(read(1), actor="somebody-to-forget")
        await log.append([read(0), marked, read(2)])
        before = await published(log)
        assert mentioning(data, b"somebody-to-forget")
        assert await log.erase([1, 77]) == 1
        assert await published(log) == before
        shown = await log.opened(0)
        assert [each.entry for each in shown] == [read(0), None, read(2)]
        assert shown[1].salt == b""
        assert [path.name for path in mentioning(data, b"somebody-to-forget")] == []


@pytest.mark.asyncio
async def test_a_closed_log_and_one_that_is_flooded_take_nothing(data: Path) -> None:
    log = DurableLog(data)
    with pytest.raises(LogUnavailable):
        await log.append([read(0)])
    await log.open()
    results = await asyncio.gather(
        *(log.append([read(n)]) for n in range(BACKLOG + 500)), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, LogUnavailable)]
    assert refused
    assert log.size == len(results) - len(refused) > 0
    await log.close()
    with pytest.raises(LogUnavailable):
        await log.append([read(0)])


@pytest.mark.asyncio
async def test_who_stops_waiting_takes_nobody_along(data: Path) -> None:
    async with opened(data) as log:
        first, second = (asyncio.ensure_future(log.append([read(n)])) for n in (0, 1))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).index == 1
        assert log.size == 2
