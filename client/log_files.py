"""The files of an access log: at the vault's address, in a directory, and from one to the other.

What may live here: reading and writing them, with limits. What may not: whether they hold
(``auditing``). A copy is a directory with what the vault publishes below ``/log/v1``, by the same
names: ``checkpoint``, ``tile/…``; and ``entries.json`` where somebody may read entries. ::

    entries.json    a JSON list of ``access_log.Opened``, bytes in base64
"""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from crypto_modes.disclosure import HEADER, to_header
from crypto_modes.errors import BadArgument, ConnectionLost, Forbidden, LogRefused
from crypto_modes.grants import sign_request
from crypto_modes.keys import SigningKey
from crypto_modes.transparency.access_log import Opened
from crypto_modes.transparency.note import NOTE_LIMIT, Checkpoint, Note
from crypto_modes.transparency.tiles import LEAF_LIMIT, WIDTH, Read, Tile, of_size

CHECKPOINT = "checkpoint"
OPENED = "entries.json"
PREFIX = "/log/v1/"
SECONDS = 10.0
ANSWER_LIMIT = WIDTH * (LEAF_LIMIT + 2)
PAGE = 256

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Staff(NamedTuple):
    """Who asks for entries: the name that the vault knows, and the key."""

    name: str
    key: SigningKey


class Site:
    """A vault's address, ``http(s)://HOST:PORT``. Raises ``BadArgument``."""

    def __init__(self, address: str, authority: Path | None = None) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadArgument("a log is named by a directory or by http(s)://HOST:PORT")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise BadArgument("a log on another machine is asked by https:// only")
        self._parts = parts
        self._context = None
        if parts.scheme == "https":
            try:
                self._context = ssl.create_default_context(cafile=authority)
            except (OSError, ssl.SSLError):
                raise BadArgument(f"{authority} holds no certificates of an authority") from None

    def read(self, path: str) -> bytes:
        """The bytes of a file of the log. Raises ``ConnectionLost`` and ``LogRefused``."""
        status, content = self.ask(PREFIX + path)
        if status != HTTPStatus.OK:
            raise LogRefused(f"the log does not show its {path} ({status})")
        return content

    def ask(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of the answer, at most ``ANSWER_LIMIT`` bytes."""
        host, port = self._parts.hostname or "", self._parts.port
        there = (
            http.client.HTTPSConnection(host, port, timeout=SECONDS, context=self._context)
            if self._context
            else http.client.HTTPConnection(host, port, timeout=SECONDS)
        )
        try:
            there.request("GET", self._parts.path.rstrip("/") + path, headers=headers or {})
            answer = there.getresponse()
            content = answer.read(ANSWER_LIMIT + 1)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise ConnectionLost(f"no log answers at {host} ({why})") from None
        finally:
            there.close()
        if len(content) > ANSWER_LIMIT:
            raise LogRefused(f"what the log shows as {path} is over every limit")
        return answer.status, content


class Directory:
    """A copy on this machine."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def read(self, path: str) -> bytes:
        """The bytes of a file of the copy. Raises ``LogRefused`` where it is missing."""
        try:
            with (self._place / path).open("rb") as file:
                return file.read(ANSWER_LIMIT)
        except OSError as error:
            raise LogRefused(
                f"{self._place / path} cannot be read ({error.strerror}): the copy is not whole;"
                " fetch it again"
            ) from None


def reader(place: str, authority: Path | None = None) -> Read:
    """How the files of ``place``, an address or a directory, are read. Raises ``BadArgument``."""
    return Site(place, authority).read if "://" in place else Directory(Path(place)).read


def fetch(read: Read, place: Path) -> int:
    """Copy a log to the directory ``place``, keeping full tiles that are there; how many entries.

    The checkpoint comes last: what it speaks of is there. Nothing is verified here, so that a
    false log can be kept as evidence. Raises whatever ``read`` raises, ``BadArgument``.
    """
    raw = read(CHECKPOINT)
    size = Checkpoint.decode(Note.decode(raw[:NOTE_LIMIT]).text).size
    try:
        for tile in of_size(size):
            _fetch(tile, read, place)
        _write(place / CHECKPOINT, raw)
    except OSError as error:
        raise BadArgument(f"cannot write to {place}: {error.strerror}") from None
    return size


def fetch_opened(site: Site, staff: Staff, now: Callable[[], int]) -> list[Opened]:
    """All entries that the vault shows to ``staff``; ``now`` gives milliseconds. Each page is
    signed when it is asked for: a large log takes longer than a signature is believed.

    Raises ``Forbidden`` where it shows them none, ``ConnectionLost``, ``LogRefused``.
    """
    found: list[Opened] = []
    while True:
        place = f"{PREFIX}opened?start={len(found)}&limit={PAGE}"
        nonce = os.urandom(16)
        signed = sign_request(staff.key, place, b"", staff.name, now(), nonce)
        status, content = site.ask(place, {HEADER: to_header(signed)})
        if status != HTTPStatus.OK:
            raise Forbidden(f"the vault shows {staff.name} no entries ({status})")
        page = decode_opened(content)
        found += page
        if len(page) < PAGE:
            return found


def decode_opened(raw: bytes) -> list[Opened]:
    """Entries in JSON. Raises ``LogRefused``."""
    try:
        return msgspec.json.decode(raw, type=list[Opened])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise LogRefused("these are no entries of an access log") from None


def read_opened(place: Path) -> list[Opened] | None:
    """The entries beside a copy, however many there are; None where there are none. Raises
    ``LogRefused``."""
    try:
        return decode_opened((place / OPENED).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogRefused(f"{place / OPENED} cannot be read ({error.strerror})") from None


def keep_opened(place: Path, entries: list[Opened]) -> None:
    """Write entries beside a copy, readable by this user only: they name people."""
    path = place / OPENED
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(entries))


def _fetch(tile: Tile, read: Read, place: Path) -> None:
    path = place / tile.path
    # A full tile never changes; if this one is not the log's, verifying says so.
    if tile.width == WIDTH and path.exists():
        return
    _write(path, read(tile.path))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    draft.replace(path)
