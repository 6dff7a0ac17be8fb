"""A relay's key log in a file: all of its entries under a signed checkpoint, judged offline.

What may live here: the format, writing and reading it, and what a file, or several, prove. What may
not: asking a relay (``key_log``), or how it is put for people (``key_commands``). The first line is
JSON, each further line an entry in hexadecimal, in their order::

    {"louver": "key log", "version": 1, "key": "NAME+ID+KEY", "checkpoint": "…"}
    tag(32) entry(32)

Nothing in it is secret but which accounts changed their devices together, and when a log grew: who
does not know an account's id cannot tell its entries (modes.md 18). Two files of one log that do
not continue each other prove, by the signatures in them, that the relay showed two logs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from client.key_log import LogState
from crypto_modes import wire
from crypto_modes.errors import BadConfig, LogRefused
from crypto_modes.primitives import equal
from crypto_modes.transparency import key_log, note
from crypto_modes.transparency.key_log import Head
from crypto_modes.transparency.note import Verifier
from crypto_modes.transparency.tree import Frontier

HEADER_LIMIT = 2 * note.NOTE_LIMIT
_LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64})\n")
_LINE_SIZE = 130


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line. ``key`` is the log's as C2SP writes it, ``checkpoint`` its signed note."""

    louver: Literal["key log"]
    version: Literal[1]
    key: str
    checkpoint: str


class Audited(msgspec.Struct, frozen=True):
    """What one file is. ``heads`` are its own and earlier ones that were asked for, by size;
    ``own`` the numbers of the account's entries, from 0.
    """

    file: Path
    log: Verifier
    heads: dict[int, bytes]
    size: int
    own: tuple[int, ...]


async def save(state: LogState, pages: AsyncIterator[wire.Entries], file: Path) -> None:
    """Write the log up to ``state``, whose entries ``pages`` lists from the first on. The file is
    whole and is that log, or is not there.

    Raises ``LogRefused`` where other entries are listed than were signed, ``BadConfig`` where the
    file exists or cannot be written.
    """
    frontier = Frontier()
    header = Header("key log", 1, state.vkey, state.note.decode())
    with _written(file) as out:
        out.write(msgspec.json.encode(header) + b"\n")
        async for page in pages:
            for each in page.entries:
                frontier.append(key_log.hash_of(each.tag, each.entry))
                out.write(f"{each.tag.hex()} {each.entry.hex()}\n".encode())
        if Head(frontier.size, frontier.root()) != state.head:
            raise LogRefused("the relay lists other entries of its key log than it signed")


def audit(files: Sequence[Path], account: bytes, vkey: str) -> list[Audited]:
    """Hold each file to its checkpoint, and all to each other, smallest first.

    ``vkey`` is the key that the log must have, or empty: the one that the files name. ``account``
    (16 bytes, or empty) must have an entry in the largest. Raises ``LogRefused`` where anything
    does not hold, ``BadConfig`` where a file cannot be read.
    """
    sizes = {_checkpoint(file, vkey).size for file in files}
    found = sorted((_audited(each, sizes, account, vkey) for each in files), key=_size)
    for earlier, later in pairwise(found):
        if earlier.log != later.log:
            raise LogRefused(f"{earlier.file} and {later.file} are of two logs")
        if earlier.heads[earlier.size] != later.heads[earlier.size]:
            raise LogRefused(
                f"{later.file} does not continue {earlier.file}, and the relay signed both: it"
                " showed two logs, or was put back to an older state"
            )
    if account and not found[-1].own:
        raise LogRefused(f"{found[-1].file} has no entry for this account")
    return found


def _size(found: Audited) -> int:
    return found.size


def _checkpoint(file: Path, vkey: str) -> note.Checkpoint:
    with _reading(file) as lines:
        return _opened(file, lines, vkey)[1]


def _opened(file: Path, lines: BinaryIO, vkey: str) -> tuple[Verifier, note.Checkpoint]:
    try:
        header = msgspec.json.decode(lines.readline(HEADER_LIMIT), type=Header)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise LogRefused(f"{file} is no key log that was saved by louver keys save") from None
    if vkey not in ("", header.key):
        raise LogRefused(f"{file} is of a log with another key: {header.key}")
    log = Verifier.decode(header.key)
    return log, note.open_checkpoint(header.checkpoint.encode(), log)


def _audited(file: Path, sizes: set[int], account: bytes, vkey: str) -> Audited:
    frontier, own, heads = Frontier(), [], {}
    mine = key_log.tag(account) if account else b""
    with _reading(file) as lines:
        log, checkpoint = _opened(file, lines, vkey)
        if 0 in sizes:
            heads[0] = frontier.root()
        while line := lines.readline(_LINE_SIZE):
            match = _LINE.fullmatch(line)
            if match is None:
                raise LogRefused(f"{file} is damaged at entry {frontier.size}")
            tag, entry = (bytes.fromhex(part.decode()) for part in match.groups())
            if equal(tag, mine):
                own.append(frontier.size)
            frontier.append(key_log.hash_of(tag, entry))
            if frontier.size in sizes:
                heads[frontier.size] = frontier.root()
    if (frontier.size, frontier.root()) != (checkpoint.size, checkpoint.root):
        raise LogRefused(f"{file} does not hold the entries that its checkpoint was signed over")
    return Audited(file, log, heads, checkpoint.size, tuple(own))


@contextlib.contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    part = file.with_name(f".{file.name}.part")
    try:
        if file.exists():
            raise BadConfig(f"{file} exists; name another file")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            yield out
        part.rename(file)
    except OSError as error:
        raise BadConfig(f"cannot write {file}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as lines:
            yield lines
    except OSError as error:
        raise BadConfig(f"cannot read {file}: {error.strerror}") from None
