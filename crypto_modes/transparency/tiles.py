"""Tiles: how a log is published as files that anybody may copy, and a copy read back whole.

What may live here: the paths, widths and contents of C2SP ``tlog-tiles``, and the tree that a set
of such files makes. What may not: where the files lie, what a leaf means, who signed. ::

    tile/<L>/<N>[.p/<W>]          W of 256 hashes, of the tree's level 8 L, from index 256 N on
    tile/entries/<N>[.p/<W>]      W of 256 leaves, each u16 big-endian length, then bytes

``<N>`` is written in groups of three digits, all but the last behind an ``x``: ``x001/x234/067``.
``.p/<W>`` stands where a tile is not full; a full one never changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from crypto_modes.contract import DIGEST_SIZE
from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.primitives import equal
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tree import SIZE_LIMIT, Frontier, append, leaf_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
LEVELS = 6  # 0 to 5: six levels of 256 hold 2^48 leaves
ENTRIES = -1  # the level of a tile of leaves
LEAF_LIMIT = 0xFFFF
TILE_LIMIT = WIDTH * DIGEST_SIZE

_LENGTH = 2
_PATH = re.compile(
    r"tile/(entries|[0-5])/((?:x[0-9]{3}/){0,5})([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)

Read = Callable[[str], bytes]


class Tile(NamedTuple):
    """One file of a log: its level (``ENTRIES`` for leaves), its number, how many it holds."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is published, below the log's own address."""
        groups, rest = [f"{self.number % 1000:03}"], self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{level}/{'/'.join(groups)}{partial}"

    @classmethod
    def decode(cls, path: str) -> Tile:
        """The tile of this path. Raises ``BadArgument`` for a path that ``path`` never makes."""
        matched = _PATH.fullmatch(path)
        if matched is None:
            raise BadArgument("a tile is asked for as tile/<level>/<index> or tile/entries/<index>")
        level, above, last, width = matched.groups()
        index = int(above.replace("x", "").replace("/", "") + last)
        found = cls(ENTRIES if level == "entries" else int(level), index, int(width or WIDTH))
        if found.path != path:
            raise BadArgument("a tile's path is written in one way only")
        return found

    def fits(self, size: int) -> bool:
        """Whether a log of ``size`` leaves has it."""
        below = size >> (HEIGHT * max(self.level, 0))
        return self.number * WIDTH + self.width <= below


def of_level(level: int, size: int) -> Iterator[Tile]:
    """The tiles of one level in a log of ``size`` leaves, in order."""
    below = size >> (HEIGHT * max(level, 0))
    for index in range(below >> HEIGHT):
        yield Tile(level, index)
    if below % WIDTH:
        yield Tile(level, below >> HEIGHT, below % WIDTH)


def of_size(size: int) -> Iterator[Tile]:
    """Every tile of a log of ``size`` leaves: those of the leaves first, then level by level."""
    yield from of_level(ENTRIES, size)
    for level in range(LEVELS):
        yield from of_level(level, size)


def bundle(leaves: Iterable[bytes]) -> bytes:
    """The content of a tile of leaves."""
    return b"".join(len(leaf).to_bytes(_LENGTH, "big") + leaf for leaf in leaves)


def unbundle(raw: bytes, width: int) -> list[bytes]:
    """The ``width`` leaves in a tile of leaves. Raises ``LogRefused``."""
    leaves, place = [], 0
    while place < len(raw):
        start = place + _LENGTH
        place = start + int.from_bytes(raw[place:start], "big")
        leaves.append(raw[start:place])
    if place != len(raw) or len(leaves) != width:
        raise LogRefused(f"a tile of leaves does not hold the {width} leaves that it is to hold")
    return leaves


def split(raw: bytes, width: int) -> list[bytes]:
    """The ``width`` hashes in a tile. Raises ``LogRefused``."""
    if len(raw) != width * DIGEST_SIZE:
        raise LogRefused(f"a tile does not hold the {width} hashes that it is to hold")
    return [raw[at : at + DIGEST_SIZE] for at in range(0, len(raw), DIGEST_SIZE)]


class Whole:
    """All of a log: its leaves, and every node, made from the leaves and from nothing else."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self._nodes: dict[tuple[int, int], bytes] = {}
        edge = Frontier()
        for index, leaf in enumerate(leaves):
            append(self, index, leaf_hash(leaf))
            edge.append(self.get(0, index))
        self.root = edge.root()

    def get(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def put(self, level: int, index: int, value: bytes) -> None:
        self._nodes[level, index] = value


def read_whole(checkpoint: Checkpoint, read: Read) -> Whole:
    """The log of a checkpoint whose signature is known to hold, from its files and nothing else.

    ``read`` gives the bytes of a path. Every leaf is hashed, and every published hash must be the
    one that the leaves make: a tile that says otherwise would misguide whoever reads only it.
    Raises ``LogRefused``, which names the file, and whatever ``read`` raises.
    """
    if checkpoint.size > min(SIZE_LIMIT, WIDTH**LEVELS):
        raise LogRefused(f"a log of {checkpoint.size} leaves cannot be published as tiles")
    leaves: list[bytes] = []
    for tile in of_level(ENTRIES, checkpoint.size):
        leaves += unbundle(read(tile.path), tile.width)
    whole = Whole(leaves)
    for tile in of_size(checkpoint.size):
        if tile.level != ENTRIES:
            _check(tile, split(read(tile.path), tile.width), whole)
    if not equal(whole.root, checkpoint.root):
        raise LogRefused(
            f"the {checkpoint.size} leaves of this log do not make the root that was signed: a"
            " leaf was changed, put in or taken out"
        )
    return whole


def _check(tile: Tile, hashes: list[bytes], whole: Whole) -> None:
    first = tile.number * WIDTH
    for index, value in enumerate(hashes, first):
        if not equal(value, whole.get(tile.level * HEIGHT, index)):
            where = f"leaf {index}" if tile.level == 0 else f"hash {index - first}"
            raise LogRefused(f"{tile.path}: {where} is not the one that the leaves make")
