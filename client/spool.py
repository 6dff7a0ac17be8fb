"""The files of attachments on this device: sealed copies on their way out, and what is saved.

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
from pathlib import Path
from typing import BinaryIO, NamedTuple

from crypto_modes import wire
from crypto_modes.attachments import CHUNK, HEAD_SIZE, SALT_SIZE, Chunks, Sealer, count_of
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
    """The copies beside the key store at ``where``; of one in memory they go with the process."""

    def __init__(self, where: str) -> None:
        self._beside = None if where == "memory" else Path(f"{where}.outbox")
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


class Saving:
    """A file being saved: written aside, and given a name only when it is verified.

    ``place`` is a directory, or a new file in one; else ``BadArgument``.
    """

    def __init__(self, place: Path) -> None:
        inside = place.is_dir()
        self._name = "" if inside else place.name
        self._directory = place if inside else place.parent
        if not self._directory.is_dir() or (place.exists() and not inside):
            raise BadArgument(f"{place} is neither a directory nor a new file in one")
        with _refusals(f"cannot save in {self._directory}"):
            descriptor, path = tempfile.mkstemp(
                prefix=".louver-", suffix=_PART, dir=self._directory
            )
        self._file = os.fdopen(descriptor, "wb")
        self._path = Path(path)

    def write(self, data: bytes) -> None:
        with _refusals(f"cannot save in {self._directory}"):
            self._file.write(data)

    def finish(self, suggested: str) -> Path:
        """Give it its name: the one that was asked for, or else the ``suggested`` one made safe,
        with a number where that is taken. Raises ``BadArgument``: nothing is ever overwritten.
        """
        with _refusals(f"cannot save in {self._directory}"):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            path = self._reserve(self._name or safe_name(suggested), exact=bool(self._name))
            self._path.replace(path)
        return path

    def close(self) -> None:
        """Nothing stays of what was not finished."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _reserve(self, name: str, *, exact: bool) -> Path:
        """An empty file that was not there before; replacing it overwrites nobody's."""
        stem, dot, ending = name.rpartition(".")
        stem, ending = (stem, dot + ending) if stem else (name, "")
        for number in range(1, 1000):
            path = self._directory / (name if number == 1 else f"{stem} ({number}){ending}")
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                if exact:
                    break
            else:
                return path
        raise BadArgument(f"{self._directory / name} exists, and nothing is ever overwritten")


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
