"""Tiles: their paths as C2SP writes them, their contents, and a copy that was tampered with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.primitives import H
from crypto_modes.transparency import tiles
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tiles import ENTRIES, HEIGHT, WIDTH, Tile, Whole
from tests import merkle_oracle as oracle

LEAVES = [b"leaf %d" % number for number in range(600)]


def files_of(leaves: list[bytes]) -> dict[str, bytes]:
    """The files of a log, made without the tree: a hash of a tile is that of its leaves alone."""
    files = {}
    for tile in tiles.of_size(len(leaves)):
        span = 1 << HEIGHT * max(tile.level, 0)
        first = tile.number * WIDTH
        if tile.level == ENTRIES:
            files[tile.path] = tiles.bundle(leaves[first : first + tile.width])
            continue
        starts = range(first * span, (first + tile.width) * span, span)
        files[tile.path] = b"".join(oracle.mth(leaves[at : at + span]) for at in starts)
    return files


def head_of(leaves: list[bytes]) -> Checkpoint:
    return Checkpoint("x", len(leaves), oracle.mth(leaves))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(2, 0, 1), "tile/2/000.p/1"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(ENTRIES, 1234067, 8), "tile/entries/x001/x234/067.p/8"),
        (Tile(ENTRIES, 999), "tile/entries/999"),
        (Tile(1, 1000), "tile/1/x001/000"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.decode(path) == tile


@given(st.integers(ENTRIES, 5), st.integers(0, 10**15), st.integers(1, WIDTH))
def test_every_path_is_read_back(level: int, number: int, width: int) -> None:
    assert Tile.decode(Tile(level, number, width).path) == Tile(level, number, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/6/000",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/1000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/07",
        "tile/0/000/",
        "tile/0/../0/000",
        "tile/entry/000",
        "tile/-1/000",
        "tile/0/٠٠٠",
        "/tile/0/000",
        "tile/0/000\n",
        "",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(BadArgument):
        Tile.decode(path)


def test_a_log_has_the_tiles_of_the_specification() -> None:
    """The example of tlog-tiles: a tree of 70,000 leaves."""
    found = [tile.path for tile in tiles.of_size(70_000) if tile.level != ENTRIES]
    assert len(found) == 274 + 2 + 1
    assert found[273:] == ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert all(Tile.decode(path).fits(70_000) for path in found)
    for beyond in ("tile/0/273.p/113", "tile/0/273", "tile/1/001.p/18", "tile/2/000.p/2"):
        assert not Tile.decode(beyond).fits(70_000)


def test_a_full_tile_is_followed_by_no_empty_one() -> None:
    assert [tile.path for tile in tiles.of_size(WIDTH)] == [
        "tile/entries/000",
        "tile/0/000",
        "tile/1/000.p/1",
    ]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 600])
def test_a_copy_is_read_whole(size: int) -> None:
    leaves = LEAVES[:size]
    whole = tiles.read_whole(head_of(leaves), files_of(leaves).__getitem__)
    assert list(whole.leaves) == leaves
    assert whole.root == oracle.mth(leaves)


def test_every_changed_byte_of_every_file_is_found() -> None:
    leaves = LEAVES[:37]
    head, files = head_of(leaves), files_of(leaves)
    for path, raw in files.items():
        for at in range(len(raw)):
            changed = raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]
            with pytest.raises(LogRefused):
                tiles.read_whole(head, (files | {path: changed}).__getitem__)


@pytest.mark.parametrize("at", range(37))
def test_a_leaf_that_is_replaced_taken_out_or_put_in_is_found(at: int) -> None:
    """Also by who makes all hashes anew: only the signed root holds him."""
    leaves = LEAVES[:37]
    head = head_of(leaves)
    replaced = [*leaves[:at], b"other", *leaves[at + 1 :]]
    moved = [*leaves[:at], *leaves[at + 1 :], leaves[at]]
    for other in (replaced, moved) if moved != leaves else (replaced,):
        with pytest.raises(LogRefused, match="do not make the root"):
            tiles.read_whole(head, files_of(other).__getitem__)
    for shorter in (leaves[:at] + leaves[at + 1 :], [*leaves[:at], b"new", *leaves[at:]]):
        renamed = {
            tile.path: raw
            for tile, raw in zip(tiles.of_size(37), files_of(shorter).values(), strict=True)
        }
        with pytest.raises(LogRefused, match="37 leaves"):
            tiles.read_whole(head, renamed.__getitem__)


def test_a_hash_that_only_a_tile_tells_wrongly_is_named() -> None:
    files = files_of(LEAVES)
    for path, where in (("tile/0/001", "leaf 257"), ("tile/1/000.p/2", "hash 1")):
        spoilt = files | {path: files[path][:32] + H(b"x") + files[path][64:]}
        with pytest.raises(LogRefused, match=f"{path}: {where} is not"):
            tiles.read_whole(head_of(LEAVES), spoilt.__getitem__)


@given(st.binary(max_size=100), st.integers(0, 20))
def test_any_bytes_are_a_bundle_or_are_refused(raw: bytes, width: int) -> None:
    try:
        leaves = tiles.unbundle(raw, width)
    except LogRefused:
        return
    assert len(leaves) == width
    assert tiles.bundle(leaves) == raw


def test_a_whole_log_makes_every_proof() -> None:
    whole = Whole(LEAVES[:100])
    assert [whole.get(0, number) for number in range(100)] == [
        oracle.sha256(b"\0" + leaf) for leaf in LEAVES[:100]
    ]
    assert whole.get(6, 0) == oracle.mth(LEAVES[:64])


def test_a_size_that_no_tiles_can_hold_is_refused() -> None:
    with pytest.raises(LogRefused, match="cannot be published"):
        tiles.read_whole(Checkpoint("x", (1 << 48) + 1, b"r" * 32), lambda _: b"")
    with pytest.raises(KeyError, match="tile/entries/000"):  # the largest is read, and has no file
        tiles.read_whole(Checkpoint("x", 1 << 48, b"r" * 32), {}.__getitem__)
