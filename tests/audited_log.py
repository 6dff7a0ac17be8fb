"""An access log that its operator makes by hand, to lie with: any leaves, any head, signed.

What may live here: leaves, files and signatures. What may not: assertions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crypto_modes.keys import SigningKey
from crypto_modes.transparency import access_log, note
from crypto_modes.transparency.access_log import Entry, Leaf, Opened
from crypto_modes.transparency.note import BY_WITNESS, Checkpoint, Note, Verifier
from crypto_modes.transparency.tiles import ENTRIES, HEIGHT, WIDTH, Whole, bundle, of_size
from tests.access_entries import read

KEY, WITNESS = SigningKey(b"l" * 32), SigningKey(b"w" * 32)
LOG = access_log.log_of(KEY.public)
BESIDE = Verifier("witness.example/w1", BY_WITNESS, WITNESS.public)
Files = dict[str, bytes]


def salt(number: int) -> bytes:
    return number.to_bytes(16, "big")


def leaf_of(number: int, entry: Entry | None = None) -> bytes:
    """The leaf of the read with this number, or of another entry in its place."""
    entry = entry or read(number)
    return Leaf(entry.time, b"m" * 16, access_log.commitment(salt(number), entry)).encode()


def leaves(size: int) -> list[bytes]:
    return [leaf_of(number) for number in range(size)]


def shown(size: int) -> list[Opened]:
    """What the staff may see of the leaves of ``leaves``."""
    return [Opened(number, salt(number), read(number)) for number in range(size)]


def head_of(found: Sequence[bytes], key: SigningKey = KEY) -> Note:
    name = access_log.log_of(key.public).name
    return note.sign(Checkpoint(name, len(found), Whole(found).root), key)


def files_of(found: Sequence[bytes], head: Note | None = None) -> Files:
    """All files of a log of these leaves; ``head`` instead of the one that belongs to it."""
    whole, files = Whole(found), {"checkpoint": (head or head_of(found)).encode()}
    for tile in of_size(len(found)):
        first = tile.number * WIDTH
        span = range(first, first + tile.width)
        if tile.level == ENTRIES:
            files[tile.path] = bundle(found[index] for index in span)
        else:
            files[tile.path] = b"".join(whole.get(tile.level * HEIGHT, index) for index in span)
    return files


def save(files: Files, place: Path) -> Path:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place
