"""A witness: it signs that a log only grew, after it has written down how far.

What may live here: C2SP ``tlog-witness`` from the request's bytes to the answer's. What may not: a
listener (``server.cli.witness``), or anything of a relay or vault: a witness is worth something
where somebody else runs it. In its directory::

    witness.key    seed of its signing key, 32 bytes, made once
    heads.json     for each log, by its name, how many leaves under which root it signed last

The head is on the disk before the signature exists. So no crash, and nobody who sends requests,
makes it sign two histories; only who puts its directory back to an older state can.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from crypto_modes.errors import BadConfig, LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import equal
from crypto_modes.transparency import note, tree
from crypto_modes.transparency.note import BY_WITNESS, Checkpoint, Note, Verifier
from crypto_modes.transparency.witnessing import Request
from server.secrets_file import private_directory, secret_file

HEADS = "heads.json"
SIZE_TYPE = "text/x.tlog.size"
_NAME = re.compile(r"[^\s+]{1,100}")


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was signed last of a log."""

    size: int
    root: bytes


class Answer(NamedTuple):
    """Status, body, and its type."""

    status: HTTPStatus
    body: bytes
    type: str = "text/plain; charset=utf-8"


NEVER = Head(0, tree.EMPTY_ROOT)


class Witness:
    """The witness ``name`` of ``logs``. Raises ``BadConfig``. Thread-safe; each call blocks on the
    disk."""

    def __init__(
        self,
        directory: Path,
        name: str,
        logs: Sequence[Verifier],
        seconds: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        if not _NAME.fullmatch(name):
            raise BadConfig(
                "a witness has a name without spaces and +, such as witness.example.org"
            )
        private_directory(directory, "the witness")
        self._path = directory / HEADS
        made = self._path.exists()
        # Without its heads a witness would sign any history, so a lost file is told.
        if (directory / "witness.key").exists() and not made:
            raise BadConfig(f"{self._path} is missing: restore it, or begin with a new key")
        self._key = SigningKey(secret_file(directory / "witness.key", 32, make=not made))
        self.verifier = Verifier(name, BY_WITNESS, self._key.public)
        self._logs = {log.name: log for log in logs}
        self._seconds = seconds
        self._lock = Lock()
        self._lost = False
        self._heads = self._read() if made else {}
        if not made:
            self._write(self._heads)

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to ``POST /add-checkpoint``."""
        try:
            request = Request.decode(body)
            asked = Checkpoint.decode(request.note.text)
        except LogRefused as error:
            return _refused(HTTPStatus.BAD_REQUEST, str(error))
        log = self._logs.get(asked.origin)
        if log is None:
            return _refused(HTTPStatus.NOT_FOUND, "this witness does not know this log")
        try:
            request.note.verify((log,))
        except LogRefused as error:
            return _refused(HTTPStatus.FORBIDDEN, str(error))
        with self._lock:
            if self._lost:
                return _refused(HTTPStatus.SERVICE_UNAVAILABLE, "this witness lost its disk")
            return self._follow(request, asked)

    def _follow(self, request: Request, asked: Checkpoint) -> Answer:
        last = self._heads.get(asked.origin, NEVER)
        if request.old > asked.size:
            return _refused(HTTPStatus.BAD_REQUEST, "the old size is over the checkpoint's")
        if request.old != last.size:
            return Answer(HTTPStatus.CONFLICT, f"{last.size}\n".encode(), SIZE_TYPE)
        if request.old == asked.size and not equal(last.root, asked.root):
            return Answer(HTTPStatus.CONFLICT, f"{last.size}\n".encode(), SIZE_TYPE)
        try:
            tree.check_consistency(last.size, asked.size, request.proof, last.root, asked.root)
        except LogRefused as error:
            return _refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        heads = {**self._heads, asked.origin: Head(asked.size, asked.root)}
        try:
            self._write(heads)
        except OSError:
            # What a second try would prove of the first nobody knows.
            self._lost = True
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, "this witness lost its disk")
        self._heads = heads
        bare = Note(request.note.text, ())
        signed = note.cosign(bare, self.verifier.name, self._key, self._seconds())
        return Answer(HTTPStatus.OK, signed.encode().removeprefix(bare.encode()))

    def _read(self) -> dict[str, Head]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Head])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadConfig(f"{self._path} cannot be read: {error}; restore it") from None

    def _write(self, heads: dict[str, Head]) -> None:
        draft = self._path.with_name(f".{HEADS}")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(heads))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _refused(status: HTTPStatus, why: str) -> Answer:
    return Answer(status, f"{why}\n".encode())
