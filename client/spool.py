"""The files of attachments on this device: sealed copies on their way, and what is saved.

What may live here: making, reading and deleting these files, and names that are safe. What may
not: the relay, or what a mode sends of a copy. All functions block on the disk; call them in a
thread.

A copy is made before the first byte leaves, under a key that the key store keeps, whatever the
mode: the file may change or go meanwhile, and its second reading must not be encrypted with the
nonces of the first (attachments.py). So a stolen disk shows no copy either.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, NamedTuple

from crypto_modes import wire
from crypto_modes.attachments import BITS, CHUNK, HEAD_SIZE, SALT_SIZE, Chunks, Sealer, count_of
from crypto_modes.errors import BadArgument, CannotOpen, LimitExceeded, StoreUnavailable
from crypto_modes.padding import padded_size
from crypto_modes.primitives import TAG_SIZE

Source = str | os.PathLike[str] | BinaryIO

_STORED = CHUNK + TAG_SIZE
_PART = ".part"
# Longer names are cut before their ending; most file systems take 255 bytes.
NAME_BYTES = 120
_FALLBACK = "attachment"
# What some system takes for something else than a part of a name, and what its shells do.
_NEVER = frozenset('<>:"/\\|?*')
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
)


_KINDS: dict[str, wire.Kind] = {"image": "image", "video": "video"}


class Copy(NamedTuple):
    """A sealed copy: ``size`` of its plaintext, and H of that, of it with padding, of the copy."""

    size: int
    plaintext: bytes
    padded: bytes
    ciphertext: bytes


class Spool:
    """The copies beside the key store at ``where``, in its ``box``; of one in memory they go with
    the process.
    """

    def __init__(self, where: str, box: str) -> None:
        self._beside = None if where == "memory" else Path(f"{where}.{box}")
        self._temporary: Path | None = None

    def seal(self, name: str, source: Source, key: bytes, limit: int) -> Copy:
        """Make the copy ``name`` of a file or stream, durably.

        Raises ``BadArgument`` where it cannot be read, ``LimitExceeded`` for over ``limit`` bytes,
        ``StoreUnavailable`` where there is no room for the copy.
        """
        sealer = Sealer(key, os.urandom(SALT_SIZE))
        with _reading(source) as readable, _refusals(), self._new(name) as copy:
            while data := _read(readable):
                if sealer.size + len(data) > limit:
                    raise LimitExceeded(f"an attachment here may have at most {limit} bytes")
                copy.write(sealer.update(data))
            for rest in sealer.finish():
                copy.write(rest)
        return Copy(sealer.size, sealer.plaintext, sealer.padded, sealer.ciphertext)

    def sealed(self, name: str, at: int) -> bytes:
        """The piece of a copy at ``at``, as it lies there."""
        with _refusals(), (self._directory() / name).open("rb") as copy:
            copy.seek(at)
            return copy.read(wire.PIECE)

    def padded(self, name: str, key: bytes, size: int, at: int) -> bytes:
        """The piece at ``at`` of the padded plaintext of ``size`` bytes."""
        index = at // CHUNK
        with _refusals(), (self._directory() / name).open("rb") as copy:
            head = copy.read(HEAD_SIZE)
            copy.seek(HEAD_SIZE + index * _STORED)
            sealed = copy.read(_STORED)
        last = index == count_of(padded_size(size + 1), CHUNK) - 1
        try:
            return Chunks.read(key, head).open(index, sealed, last=last)
        except CannotOpen:
            raise StoreUnavailable("the copy of an attachment on this device is damaged") from None

    # --- on the way in: sealed as they travel, piece by piece, whether they are sealed or not ---

    def standing(self, name: str) -> int:
        """Where a file on its way in goes on: at its last whole piece, which is fetched once more,
        because the answer says how large the file is.
        """
        path = self._directory() / name
        with _refusals():
            size = path.stat().st_size if path.exists() else 0
        return max(0, size // _STORED - 1) * CHUNK

    def put(self, name: str, key: bytes, at: int, piece: bytes, *, last: bool) -> None:
        """Keep a piece. ``key`` is for this file alone. A piece may be put again, under its nonce:
        it is the same one, or else the relay that gave both knows all that they could betray.
        Not durable: ``get`` finds out.
        """
        sealed = _received(key).seal(at // CHUNK, piece, last=last)
        with _refusals("an attachment cannot be kept until it is complete"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._directory() / name, flags, 0o600)
            with os.fdopen(descriptor, "wb") as copy:
                copy.seek(at // CHUNK * _STORED)
                copy.write(sealed)

    def get(self, name: str, key: bytes, at: int, *, last: bool) -> bytes:
        """The piece at ``at``. Raises ``StoreUnavailable`` where it is not as it was put."""
        with _refusals(), (self._directory() / name).open("rb") as copy:
            copy.seek(at // CHUNK * _STORED)
            sealed = copy.read(_STORED)
        try:
            return _received(key).open(at // CHUNK, sealed, last=last)
        except CannotOpen:
            raise StoreUnavailable(
                "what had come of this file was damaged on this device; save it again"
            ) from None

    # --- both ---

    def remove(self, name: str) -> None:
        """Delete a copy; where that fails, the next ``sweep`` does it."""
        with contextlib.suppress(OSError):
            (self._directory() / name).unlink(missing_ok=True)

    def sweep(self, names: Collection[str]) -> None:
        """Delete what a crash left: every copy but those of ``names``."""
        if self._beside is not None and self._beside.is_dir():
            for file in self._beside.iterdir():
                if file.name not in names:
                    file.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete copies that cannot be used again."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _directory(self) -> Path:
        if self._beside is not None:
            self._beside.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._beside
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="louver-"))
        return self._temporary

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[BinaryIO]:
        """A private file that has its name only once it is whole and durable."""
        path = self._directory() / name
        part = path.with_name(name + _PART)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as copy:
                yield copy
                copy.flush()
                os.fsync(descriptor)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


class Target(NamedTuple):
    """Where a file is to be saved: ``name`` is empty where its sender's is to be taken. ``part`` is
    the hidden file that it is written to first.
    """

    directory: Path
    name: str
    part: Path


def target_of(place: Path) -> Target:
    """``place`` is a directory, or a new file in one; else ``BadArgument``. Raises
    ``StoreUnavailable`` where nothing may be written.
    """
    inside = place.is_dir()
    directory = place if inside else place.parent
    if not directory.is_dir() or (place.exists() and not inside):
        raise BadArgument(f"{place} is neither a directory nor a new file in one")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StoreUnavailable(f"cannot save in {directory}: nothing may be written there")
    part = directory.absolute() / f".louver-{token_hex(8)}{_PART}"
    return Target(directory, "" if inside else place.name, part)


class Saving:
    """A file being saved: written aside, and given a name only when it is verified."""

    def __init__(self, target: Target) -> None:
        self._target = target
        with self._refusals():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.fdopen(os.open(target.part, flags, 0o600), "wb")

    def write(self, data: bytes) -> None:
        with self._refusals():
            self._file.write(data)

    def finish(self, suggested: str) -> Path:
        """Give it its name: the one that was asked for, or else the ``suggested`` one made safe,
        with a number where that is taken. Raises ``BadArgument``: nothing is ever overwritten.
        """
        name = self._target.name
        with self._refusals():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            path = self._reserve(name or safe_name(suggested), exact=bool(name))
            self._target.part.replace(path)
        return path

    def close(self) -> None:
        """Nothing stays of what was not finished."""
        self._file.close()
        self._target.part.unlink(missing_ok=True)

    def _reserve(self, name: str, *, exact: bool) -> Path:
        """An empty file that was not there before; replacing it overwrites nobody's."""
        stem, dot, ending = name.rpartition(".")
        stem, ending = (stem, dot + ending) if stem else (name, "")
        for number in range(1, 1000):
            path = self._target.directory / (name if number == 1 else f"{stem} ({number}){ending}")
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                if exact:
                    break
            else:
                return path
        taken = self._target.directory / name
        raise BadArgument(f"{taken} exists, and nothing is ever overwritten")

    def _refusals(self) -> AbstractContextManager[None]:
        return _refusals(f"cannot save in {self._target.directory}")


def safe_name(name: str) -> str:
    """``name``, which the sender has chosen, as one that does no harm in a directory or terminal:
    no path, no control or reordering characters, not hidden, not a device, at most 120 bytes.
    """
    name = unicodedata.normalize("NFC", name)
    name = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(
        "_" if char in _NEVER else char
        for char in name
        if unicodedata.category(char)[0] != "C" and unicodedata.category(char) not in ("Zl", "Zp")
    )
    kept = " ".join(kept.split()).lstrip(". -").rstrip(". ")
    if kept.partition(".")[0].strip().lower() in _DEVICES:
        kept = f"_{kept}"
    stem, dot, ending = kept.rpartition(".")
    if not stem or len(ending.encode()) > NAME_BYTES // 4:
        stem, dot, ending = kept, "", ""
    room = NAME_BYTES - len((dot + ending).encode())
    stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ")
    return stem + dot + ending if stem else _FALLBACK


def kind_of(name: str) -> wire.Kind:
    """``image`` or ``video`` where the name says so, else ``file``: a voice note must be called
    one, for not every recording is a message."""
    media_type = mimetypes.guess_type(name)[0] or ""
    return _KINDS.get(media_type.partition("/")[0], "file")


def place_of(text: str) -> Path:
    """The path that a person means, who may write ``~`` for his own directory."""
    return Path(text).expanduser()


def _received(key: bytes) -> Chunks:
    """How a file on its way in is sealed here: the key is fresh, so the salt need not be."""
    return Chunks(key, bytes(SALT_SIZE), BITS, b"inbox")


@contextlib.contextmanager
def _reading(source: Source) -> Iterator[BinaryIO]:
    if not isinstance(source, str | os.PathLike):
        yield source
        return
    try:
        opened = Path(source).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise BadArgument(f"cannot read {os.fspath(source)}: {error.strerror}") from None
    with opened:
        yield opened


def _read(readable: BinaryIO) -> bytes:
    try:
        return readable.read(CHUNK)
    except OSError as error:
        raise BadArgument(f"cannot read what is to be sent: {error.strerror}") from None


@contextlib.contextmanager
def _refusals(what: str = "the copy of an attachment cannot be kept") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{what}: {error.strerror}") from None
