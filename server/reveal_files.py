"""The attachments of a relay in its operator's eyes: which are readable, and their contents.

What may live here: reading each file to its end, and writing what was readable. What may not: the
messages that refer to them (``reveal``), which say by id what a file is called.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from crypto_modes import wire
from crypto_modes.contract import CarriesBlobs, Mode, Need, Pieces, ServerMode, Want
from crypto_modes.errors import BadConfig, CannotOpen, CannotRead, KeyServiceUnavailable
from crypto_modes.padding import padded_size
from crypto_modes.primitives import equal, hashing
from server.secrets_file import private_directory
from server.store import Blob
from server.store.blob_files import BlobFiles

PAGE = 500
NEEDS_LIMIT = 4
_MARK = b"\x80"
# What makes one attachment unreadable; anything else, such as a dead disk, ends the command.
_UNREADABLE = (CannotRead, CannotOpen, KeyServiceUnavailable)


class RevealedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of output: an attachment by its id, which the message names that refers to it.

    ``size`` is that of the file as it was sent where it is readable, else of what travelled.
    ``file`` is where it was written, if anywhere; ``reason`` why it is not readable.
    """

    attachment: bytes
    conversation: bytes
    sender: bytes
    recipient: bytes
    mode: str
    kind: str
    size: int
    time: int
    readable: bool
    file: str = ""
    reason: str = ""


class Rows(Protocol):
    """What is known of each attachment: a part of ``Store``."""

    async def blobs(self, after: bytes, limit: int) -> list[Blob]: ...


class RevealedFiles:
    """All attachments. ``ends`` are the relay's ends of ``modes``; ``supply`` gets them a key."""

    def __init__(
        self,
        rows: Rows,
        files: BlobFiles,
        modes: Mapping[str, Mode],
        ends: Mapping[str, ServerMode],
        supply: Callable[[Want], Awaitable[None]],
    ) -> None:
        self._rows = rows
        self._files = files
        self._modes = modes
        self._ends = ends
        self._supply = supply

    async def each(self, directory: Path | None) -> AsyncIterator[RevealedFile]:
        """Every attachment, in the order of ids. What is readable is written to ``directory``, if
        there is one, under its id; what is there already stays. Raises ``BadConfig``.
        """
        if directory is not None:
            private_directory(directory, "--files")
        after = b""
        while page := await self._rows.blobs(after, PAGE):
            for blob in page:
                yield await self._one(blob, directory)
            after = page[-1].meta.id

    async def _one(self, blob: Blob, directory: Path | None) -> RevealedFile:
        meta, path = blob.meta, None
        shown = RevealedFile(
            attachment=meta.id,
            conversation=meta.conversation,
            sender=meta.sender,
            recipient=blob.recipient,
            mode=meta.mode,
            kind=meta.kind,
            size=meta.size,
            time=meta.time,
            readable=False,
        )
        if directory is not None:
            path = directory / meta.id.hex()
        try:
            size = await self._read(blob, path)
        except _UNREADABLE as error:
            advice = error.advice if isinstance(error, KeyServiceUnavailable) else ""
            return msgspec.structs.replace(shown, reason=advice or str(error))
        written = "" if path is None else str(path)
        return msgspec.structs.replace(shown, readable=True, size=size, file=written)

    async def _read(self, blob: Blob, path: Path | None) -> int:
        """Read an attachment to its end, into ``path`` if there is one; its size.

        Raises ``CannotRead``, ``CannotOpen`` or ``KeyServiceUnavailable``.
        """
        meta = blob.meta
        mode = self._modes.get(meta.mode)
        if mode is None:
            raise CannotRead(f"the mode {meta.mode!r} is not installed")
        if not mode.visibility["compelled_operator"]:
            raise CannotRead("it was sealed by its sender; its key is inside the message")
        if blob.state == "partial":
            raise CannotRead("its upload was never completed")
        pieces = await self._pieces(blob)
        if not await self._files.read(meta.id, 0, 1):
            raise CannotOpen("its file is not there")
        reading = _Reading(meta.size, padded=not mode.visibility["database"])
        sizes = (size + pieces.overhead for size in _parts(meta.size))
        with _new(path) as out:

            def use(index: int, stored: bytes) -> None:
                try:
                    data = pieces.emit(index, stored)
                except CannotOpen:
                    raise CannotOpen("its file is damaged, or sealed under another key") from None
                reading.take(data)
                if out is not None:
                    out.write(data)

            await self._files.each(meta.id, len(pieces.head), sizes, use)
            size = reading.finish(blob.digest)
            if out is not None:
                out.truncate(size)
        return size

    async def _pieces(self, blob: Blob) -> Pieces:
        end = self._ends[blob.meta.mode]
        if not isinstance(end, CarriesBlobs):
            raise CannotRead(f"mode {blob.meta.mode!r} carries no attachments")
        for _ in range(NEEDS_LIMIT):
            try:
                return end.pieces(blob.meta, blob.head)
            except Need as need:
                await self._supply(need.what)
        raise CannotOpen


class _Reading:
    """What went by of a file: whether it is the one that was announced, and where it ends."""

    def __init__(self, size: int, *, padded: bool) -> None:
        self._digest = hashing()
        self._at, self._whole = 0, size
        # Where the mark of the padding is, if all that followed it was zero.
        self._end = -1
        self._padded = padded

    def take(self, data: bytes) -> None:
        self._digest.update(data)
        body = data.rstrip(b"\0")
        if body:
            self._end = self._at + len(body) - 1 if body[-1:] == _MARK else -1
        self._at += len(data)

    def finish(self, digest: bytes) -> int:
        """The size without padding. Raises ``CannotOpen``."""
        if not equal(self._digest.digest(), digest):
            raise CannotOpen("its file is damaged")
        if not self._padded:
            return self._whole
        if self._end < 0 or padded_size(self._end + 1) != self._whole:
            raise CannotOpen("its padding is none")
        return self._end


@contextmanager
def _new(path: Path | None) -> Iterator[BinaryIO | None]:
    """A private file that has its name once it is whole; None where nothing is to be written, or
    it is there already. Raises ``BadConfig``.
    """
    if path is None or path.exists():
        yield None
        return
    part = path.with_suffix(".part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            yield out
        part.replace(path)
    except OSError as error:
        raise BadConfig(f"cannot write {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _parts(size: int) -> Iterator[int]:
    """The lengths of all pieces."""
    return (min(wire.PIECE, size - at) for at in range(0, size, wire.PIECE))
