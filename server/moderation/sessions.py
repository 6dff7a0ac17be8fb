"""Sessions of the staff: short, renewed, and over the moment that somebody leaves.

What may live here: tokens and who they stand for. What may not: how somebody logs in (``staff``).
Tokens are kept in memory and only as digests: after a restart everybody logs in again, and no file
has anything to steal.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crypto_modes.encoding import enc
from crypto_modes.errors import TokenExpired, Unauthorized
from crypto_modes.grants import Person
from crypto_modes.primitives import H
from server.moderation.roster import Roster
from server.secrets_file import new_token

TOKEN_PREFIX = "lvs_"  # noqa: S105 - public, so that leaked tokens can be recognised
LIFE = 15 * 60_000  # milliseconds, from login or renewal
# A working day: then the second factor is asked for again, however often it was renewed.
LONGEST = 12 * 3_600_000
OF_ONE_PERSON = 8


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who is logged in, since and until when, in milliseconds."""

    person: Person
    generation: int
    began: int
    expires: int


class Sessions:
    """``now()`` gives milliseconds. At most ``OF_ONE_PERSON`` each; a new one ends the oldest."""

    def __init__(self, roster: Roster, now: Callable[[], int]) -> None:
        self._roster = roster
        self._now = now
        self._open: dict[bytes, Session] = {}

    def begin(self, person: Person, began: int = 0) -> tuple[str, Session]:
        """A token for somebody who has just shown who he is, or who has ``began`` before."""
        member, now = self._roster.get(person.name), self._now()
        began = began or now
        session = Session(
            person=person,
            generation=member.generation,
            began=began,
            expires=min(now + LIFE, began + LONGEST),
        )
        self._make_room(person.name)
        token = new_token(TOKEN_PREFIX)
        self._open[_digest(token)] = session
        return token, session

    def find(self, token: str) -> Session:
        """The session of ``token``, as long as who it stands for is who he was then.

        Raises ``Unauthorized``, ``TokenExpired``.
        """
        # The digest is looked up, never the token: time tells nothing of what is stored.
        session = self._open.get(_digest(token))
        if session is None or not self._stands(session):
            raise Unauthorized("this session is not open; log in: louver mod login")
        if session.expires <= self._now():
            raise TokenExpired("this session has ended; log in again: louver mod login")
        return session

    def renew(self, token: str) -> tuple[str, Session]:
        """Another token for the same session, until ``LONGEST`` after its login; the old one is
        worth nothing. Raises as ``find``."""
        session = self.find(token)
        self.end(token)
        return self.begin(session.person, session.began)

    def end(self, token: str) -> None:
        """Log out."""
        self._open.pop(_digest(token), None)

    def end_all(self, name: str) -> None:
        """End every session of ``name``, also for when he is again who he was."""
        for digest in [each for each, open_ in self._open.items() if open_.person.name == name]:
            del self._open[digest]

    def _stands(self, session: Session) -> bool:
        name = session.person.name
        member = self._roster.find(name)
        same = self._roster.people().get(name) == session.person
        return same and member is not None and member.generation == session.generation

    def _make_room(self, name: str) -> None:
        for digest, session in list(self._open.items()):
            if session.expires <= self._now() or not self._stands(session):
                del self._open[digest]
        own = [digest for digest, each in self._open.items() if each.person.name == name]
        for digest in own[: max(0, len(own) - OF_ONE_PERSON + 1)]:
            del self._open[digest]


def _digest(token: str) -> bytes:
    return H(enc("louver/v1/staff/session", token))
