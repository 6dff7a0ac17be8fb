"""Whom the vault knows: its own list, which nobody's database can change.

What may live here: the file ``staff.json``, a list of ``grants.Person``, and that each change of it
is entered in the access log before anybody profits from it. What may not: what a role may do
(``grants``).

The file is read for every call: who was taken off the list is a stranger from then on.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from crypto_modes.errors import BadArgument, BadConfig, KeyRefused
from crypto_modes.grants import Person
from crypto_modes.primitives import ed25519_check
from crypto_modes.transparency.access_log import Entry
from server.access_log import AccessLog
from server.secrets_file import read_private

FILE_LIMIT = 1024 * 1024
ENTRIES = 100  # in one call of the log

People = Mapping[str, Person]


class Staff:
    """The list in ``file``. ``entered`` keeps what of it the log knows."""

    def __init__(self, file: Path, entered: Path, log: AccessLog, now: Callable[[], int]) -> None:
        self._file = file
        self._entered = entered
        self._log = log
        self._now = now
        self._known: People | None = None
        self._entering = asyncio.Lock()

    async def people(self) -> People:
        """Everybody by name, as the file says now.

        Raises ``BadConfig`` for a file that cannot be believed, ``LogUnavailable`` where a change
        of it cannot be entered: then nobody is known.
        """
        async with self._entering:
            people = read(self._file)
            if self._known is None:
                self._known = read(self._entered)
            if people != self._known:
                await self._enter(self._known, people)
        return people

    async def _enter(self, before: People, after: People) -> None:
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        entries = [
            Entry(kind="staff", time=self._now(), actor=name, detail=_change(before, after, name))
            for name in changed
        ]
        for at in range(0, len(entries), ENTRIES):
            await self._log.append(entries[at : at + ENTRIES])
        write(self._entered, after.values())
        self._known = after


def read(file: Path) -> People:
    """The list in ``file``, empty where there is none. Raises ``BadConfig``."""
    try:
        content = read_private(file, FILE_LIMIT)
        people = msgspec.json.decode(content, type=list[Person])
        for person in people:
            ed25519_check(person.key)
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, KeyRefused) as error:
        raise BadConfig(f"{file} is no list of the staff: {error}") from None
    # One key in two accounts would be one person in two accounts, whatever their subjects say.
    for what in ("name", "key"):
        if len({getattr(person, what) for person in people}) < len(people):
            raise BadConfig(f"{file}: two people have the same {what}")
    return {person.name: person for person in people}


def write(file: Path, people: Iterable[Person]) -> None:
    """Put ``people`` in the place of the list in ``file``, whole or not at all. ``BadConfig``."""
    content = msgspec.json.format(msgspec.json.encode(list(people)), indent=1) + b"\n"
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    except OSError as error:
        raise BadConfig(f"cannot write {file}: {error.strerror}") from None


def add(file: Path, person: Person) -> None:
    """Add ``person``, or put him in the place of who has his name. Raises ``BadConfig``,
    ``BadArgument`` where somebody else has his key."""
    try:
        ed25519_check(person.key)
    except KeyRefused as error:
        raise BadArgument(str(error)) from None
    others = [each for each in read(file).values() if each.name != person.name]
    if any(each.key == person.key for each in others):
        raise BadArgument("somebody else has this key; everybody makes his own: louver mod keygen")
    write(file, [*others, person])


def remove(file: Path, name: str) -> None:
    """Take ``name`` off the list. Raises ``BadConfig``, ``BadArgument`` where he is not on it."""
    people = read(file)
    if name not in people:
        raise BadArgument(f"{name} is not of the staff; `louverd vault staff list` says who is")
    write(file, [each for each in people.values() if each.name != name])


def _change(before: People, after: People, name: str) -> dict[str, str]:
    old, new = before.get(name), after.get(name)
    if new is None:
        return {"outcome": "left"}
    told = {"role": new.role, "subject": new.subject, "key": new.key.hex()}
    return {"outcome": "joined" if old is None else "changed", **told}
