"""The roster: every account of the staff, in memory as it is in ``moderation.db``.

What may live here: the account and the map. What may not: who may change it (``staff``). It is read
by every request and every step, so that a dismissal counts from the next one on, whatever session
was open.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from crypto_modes.grants import Person, Role
from server.moderation.records import Record, Unknown
from server.moderation.store import PAGE_LIMIT, ModerationStore

# A staff of more people than this is not what these commands and pages are made for.
MEMBERS_LIMIT = 2_000


class Member(Record, frozen=True, kw_only=True):
    """An account of the staff. ``subject`` is the human behind it; ``key`` Ed25519, 32 bytes.

    Invited, he has a secret of which ``invite`` is the digest, until ``invited`` (milliseconds);
    with it he brings his key and password. ``generation`` rises with each invitation; ``used`` is
    the step of the last code that he typed. A name is never given to another.
    """

    id: bytes
    state: Literal["invited", "active", "removed"] = "invited"
    name: str
    subject: str
    role: Role
    key: bytes = b""
    password: str = ""
    generation: int = 1
    used: int = 0
    invite: bytes = b""
    invited: int = 0
    since: int = 0


class Roster:
    """What is stored, at hand. Only ``put`` changes it, and only once the change is durable."""

    def __init__(self, store: ModerationStore) -> None:
        self._store = store
        self._members: dict[str, Member] = {}
        self._people: dict[str, Person] = {}

    async def load(self) -> None:
        """Read everybody. Raises ``StoreUnavailable``."""
        after = 0
        while page := await self._store.find(Member, after, PAGE_LIMIT):
            for member in page:
                self._show(member)
            after = page[-1].number

    def people(self) -> Mapping[str, Person]:
        """Who is of the staff now, by name."""
        return MappingProxyType(self._people)

    def members(self) -> list[Member]:
        """Everybody who ever was, by name."""
        return [self._members[name] for name in sorted(self._members)]

    def find(self, name: str) -> Member | None:
        """The account of that name, also of one who left."""
        return self._members.get(name)

    def get(self, name: str) -> Member:
        """The same. Raises ``Unknown``."""
        member = self._members.get(name)
        if member is None:
            raise Unknown(f"nobody of the staff is called {name!r}")
        return member

    async def put(self, member: Member) -> None:
        """Keep a new or changed account. Raises ``Stale``, ``StoreUnavailable``."""
        await self._store.put(member)
        self._show(member)

    def _show(self, member: Member) -> None:
        self._members[member.name] = member
        self._people.pop(member.name, None)
        if member.state == "active":
            self._people[member.name] = Person(
                name=member.name, subject=member.subject, role=member.role, key=member.key
            )
