"""A trace: planned messages as rows of a file, the same bytes for every mode.

What may live here: the row, the file format, its digest, and filling a row that states only a
size. What may not: where rows come from (``traffic``, ``corpora``) and who sends them (``load``).

The file is JSON lines: a header ``{"schema": "louver.trace/1", "name", "seed", "users"}``, then
``[at_us, sender, recipient, kind, text or size, label]`` per row, in order of time. Users are
numbers from 0. Its SHA-256 is over exactly these bytes and stands on every report.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from client.compare.canary import PATTERN
from crypto_modes import wire
from crypto_modes.errors import BadArgument

SCHEMA = "louver.trace/1"
USERS_LIMIT = 10_000
ROWS_LIMIT = 5_000_000
_FILLER = b"abcdefghijklmnopqrstuvwxyz "


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One planned message, ``at_us`` microseconds after the start of the trace."""

    at_us: int
    sender: int
    recipient: int
    kind: wire.Kind
    text: str | int
    label: str = ""

    @property
    def content(self) -> bytes:
        """What is sent: the text, or filler of the stated size."""
        if isinstance(self.text, str):
            return self.text.encode()
        return (_FILLER * (self.text // len(_FILLER) + 1))[: self.text]

    @property
    def pair(self) -> tuple[int, int]:
        """The two users, smaller number first: one conversation."""
        return min(self.sender, self.recipient), max(self.sender, self.recipient)


class Header(msgspec.Struct, frozen=True):
    """The first line of the file."""

    schema: str
    name: str
    seed: int
    users: int


@dataclass(frozen=True)
class Trace:
    """A named, finished trace."""

    name: str
    seed: int
    users: int
    rows: tuple[Row, ...]

    @cached_property
    def encoded(self) -> bytes:
        """The bytes of the file."""
        encode = msgspec.json.encode
        head = Header(SCHEMA, self.name, self.seed, self.users)
        return b"\n".join([encode(head), *map(encode, self.rows), b""])

    @cached_property
    def sha256(self) -> str:
        """The digest of the file in hex."""
        return hashlib.sha256(self.encoded).hexdigest()

    @cached_property
    def canaries(self) -> dict[int, str]:
        """Row number to the canary that rides in it."""
        hits = ((i, PATTERN.search(str(row.text))) for i, row in enumerate(self.rows))
        return {i: hit.group() for i, hit in hits if hit}

    @cached_property
    def pairs(self) -> dict[tuple[int, int], int]:
        """Each conversation and who speaks first in it, in order of appearance."""
        first: dict[tuple[int, int], int] = {}
        for row in self.rows:
            first.setdefault(row.pair, row.sender)
        return first

    @property
    def seconds(self) -> float:
        """From the start to the last planned message."""
        return self.rows[-1].at_us / 1e6


def load(path: Path) -> Trace:
    """Read a trace file.

    Raises:
        BadArgument: the file is missing, is no trace, or holds a row that cannot be sent; the
            message names the line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadArgument(f"cannot read the trace {path}: {error.strerror}") from None
    if not 2 <= len(lines) <= ROWS_LIMIT:
        raise BadArgument(f"{path}: a trace has a header line and 1 to {ROWS_LIMIT} rows")
    try:
        head = msgspec.json.decode(lines[0], type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadArgument(f"{path}, line 1: {error}") from None
    if head.schema != SCHEMA or not 2 <= head.users <= USERS_LIMIT:
        raise BadArgument(f"{path}, line 1: want schema {SCHEMA!r} and 2 to {USERS_LIMIT} users")
    return Trace(head.name, head.seed, head.users, _rows(path, lines[1:], head.users))


def _rows(path: Path, lines: list[bytes], users: int) -> tuple[Row, ...]:
    decoder = msgspec.json.Decoder(Row)
    rows: list[Row] = []
    for number, line in enumerate(lines, start=2):
        try:
            row = decoder.decode(line)
            _check(row, users, rows[-1].at_us if rows else 0)
        except (msgspec.MsgspecError, UnicodeDecodeError, BadArgument) as error:
            raise BadArgument(f"{path}, line {number}: {error}") from None
        rows.append(row)
    return tuple(rows)


def _check(row: Row, users: int, earliest: int) -> None:
    if row.at_us < earliest:
        raise BadArgument("rows must be in order of time, from 0 on")
    if not (0 <= row.sender < users and 0 <= row.recipient < users):
        raise BadArgument(f"users are numbered from 0 to {users - 1}")
    if row.sender == row.recipient:
        raise BadArgument("sender and recipient must differ")
    size = row.text if isinstance(row.text, int) else len(row.text.encode())
    if not 1 <= size <= wire.CONTENT_LIMIT:
        raise BadArgument(f"a message has 1 to {wire.CONTENT_LIMIT} bytes")
