"""The staff: who joins it, changes role and leaves, and how somebody shows that he is of it.

What may live here: these use cases. What may not: HTTP, how sessions are kept (``sessions``), what
each role may do (``grants``, and each use case). Every change is an entry in the access log before
it is one here.

Nobody but the person himself ever has his password, his second factor or his key: who adds him gets
an invitation, which works once and for a day, and he brings the rest with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from crypto_modes.contract import ID_SIZE
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, Forbidden, GrantRefused, RateLimited, Unauthorized
from crypto_modes.grants import Person, Request, Role, check_signed
from crypto_modes.primitives import H, equal
from server.limits import Buckets
from server.moderation import second_factor
from server.moderation.desk import Desk, changed
from server.moderation.records import WrongState
from server.moderation.roster import MEMBERS_LIMIT, Member, Roster
from server.moderation.sessions import Session, Sessions
from server.secrets_file import new_token

INVITE_PREFIX = "lvi_"
INVITE_LIFE = 24 * 3_600_000  # milliseconds
ADMINS: tuple[Role, ...] = ("admin",)
# Five tries, then one a minute for each name: guessing a code of six digits takes centuries.
LOGIN_RATE = 1 / 60
LOGIN_BURST = 5
# The operator's own tool, which shows an admin token instead of a session.
OPERATOR = "operator"
_WRONG = "name, password or code is wrong"


class Hasher(Protocol):
    """Passwords, by Argon2id in threads of their own."""

    async def hash(self, password: str) -> str: ...
    async def verify(self, stored: str, password: str) -> bool: ...


class Vouched(Protocol):
    """Whom an identity provider vouches for."""

    @property
    def subject(self) -> str: ...


class Provider(Protocol):
    """The identity provider of the staff, by its OpenID Connect ID tokens."""

    async def verify(self, token: str) -> Vouched:
        """Raises ``Unauthorized``, ``TokenExpired`` or ``Unavailable``."""


class Proof(NamedTuple):
    """A request that somebody signed with the key he brings: what was sent where."""

    request: Request
    place: str
    body: bytes


class Staff:
    """``pepper``, 32 secret bytes that are not in the database, makes the codes' secrets.
    ``service`` is the name that an authenticator app shows. Without a ``provider`` everybody needs
    a password.
    """

    def __init__(
        self,
        desk: Desk,
        roster: Roster,
        sessions: Sessions,
        passwords: Hasher,
        pepper: bytes,
        *,
        provider: Provider | None = None,
        service: str = "Louver",
    ) -> None:
        self._desk = desk
        self._roster = roster
        self._sessions = sessions
        self._passwords = passwords
        self._pepper = pepper
        self._provider = provider
        self._service = service
        self._logins: Buckets[str] = Buckets(LOGIN_RATE, LOGIN_BURST)

    # --- who is of the staff; `who` is None for the operator's own tool ---

    def page(self, who: Person | None) -> list[Member]:
        """Everybody who is or was of the staff."""
        if who is not None and self._roster.people().get(who.name) != who:
            raise Forbidden(f"{who.name} is not of the staff")
        return self._roster.members()

    def get(self, who: Person | None, name: str) -> Member:
        """One of them. Raises ``Unknown``."""
        self.page(who)
        return self._roster.get(name)

    async def invite(
        self, who: Person | None, name: str, subject: str, role: Role
    ) -> tuple[Member, str]:
        """Add somebody; the secret by which he joins. Raises ``WrongState`` for a name that is or
        was somebody's.
        """
        desk = self._desk
        async with desk.lock:
            await self._allow(who, "add somebody to the staff")
            if self._roster.find(name) is not None:
                raise WrongState(f"{name} is or was of the staff; names are not given twice")
            if len(self._roster.members()) >= MEMBERS_LIMIT:
                raise WrongState(
                    f"a staff has at most {MEMBERS_LIMIT} accounts, past ones included"
                )
            invite = new_token(INVITE_PREFIX)
            member = Member(
                id=desk.random(ID_SIZE),
                name=name,
                subject=subject,
                role=role,
                invite=_digest(invite),
                invited=desk.now() + INVITE_LIFE,
                since=desk.now(),
            )
            await self._keep(who, "add", member)
        return self._roster.get(name), invite

    async def reset(self, who: Person | None, name: str, version: int = 0) -> tuple[Member, str]:
        """Invite somebody anew who lost his password, his key or his second factor: until he joins
        he is out.
        """
        invite = new_token(INVITE_PREFIX)

        def reset(member: Member) -> Member:
            return changed(
                member,
                state="invited",
                key=b"",
                password="",
                generation=member.generation + 1,
                invite=_digest(invite),
                invited=self._desk.now() + INVITE_LIFE,
            )

        return await self._step(who, name, version, "reset", reset), invite

    async def set_role(self, who: Person | None, name: str, role: Role, version: int = 0) -> Member:
        """Another role from now on; his sessions end."""
        return await self._step(
            who, name, version, "role", lambda member: changed(member, role=role)
        )

    async def remove(self, who: Person | None, name: str, version: int = 0) -> Member:
        """Out, with the next request that he makes. What he did stays as it is."""

        def removed(member: Member) -> Member:
            return changed(member, state="removed", key=b"", password="", invite=b"")

        return await self._step(who, name, version, "remove", removed)

    # --- showing who one is ---

    async def join(
        self, invite: str, key: bytes, password: str, proof: Proof
    ) -> tuple[Member, str]:
        """Come in by an invitation, with a key (Ed25519, 32 bytes), whose secret half ``proof``
        shows, and a password, which may be empty where a provider vouches. The account, and the
        address for an authenticator app (empty without a password).

        Raises ``Unauthorized`` for no invitation, ``GrantRefused`` for no proof.
        """
        desk = self._desk
        self._slow_down(proof.request.name)
        if not password and self._provider is None:
            raise BadArgument("choose a password; no identity provider is set up for the staff")
        # Who has no invitation gets no work done, which others would wait for.
        self._invited(proof.request.name, invite)
        hashed = await self._passwords.hash(password) if password else ""
        async with desk.lock:
            member = self._invited(proof.request.name, invite)
            person = Person(name=member.name, subject=member.subject, role=member.role, key=key)
            check_signed(proof.request, proof.place, proof.body, {person.name: person}, desk.now())
            after = changed(
                member, state="active", key=key, password=hashed, invite=b"", since=desk.now()
            )
            await self._keep(person, "join", after)
        secret = second_factor.secret_of(self._pepper, after.id, after.generation)
        address = second_factor.enrolment(secret, after.name, self._service)
        return self._roster.get(after.name), address if password else ""

    async def login(self, name: str, password: str, code: str) -> tuple[str, Session]:
        """A session for a password and a code. An unknown name, a wrong password and a wrong or
        used code take the same work and get the same words (``Unauthorized``).
        """
        self._slow_down(name)
        member = self._roster.find(name)
        known = member if member is not None and member.state == "active" else None
        right = await self._passwords.verify(known.password if known else "", password)
        async with self._desk.lock:
            # Anew: while the password was hashed he may have left, or have used this code.
            member = self._roster.find(name)
            if not right or known is None or member is None or member.key != known.key:
                raise Unauthorized(_WRONG)
            step = self._step_of(member, code)
            if not step:
                raise Unauthorized(_WRONG)
            await self._roster.put(changed(member, used=step))
            return self._sessions.begin(self._roster.people()[name])

    async def login_with(self, id_token: str) -> tuple[str, Session]:
        """A session for an ID token of the staff's identity provider, which has asked for whatever
        second factor it wants. Raises ``Unauthorized``, ``TokenExpired`` or ``Unavailable``.
        """
        if self._provider is None:
            raise BadArgument("no identity provider is set up for the staff (moderation.jwks)")
        vouched = await self._provider.verify(id_token)
        own = [each for each in self._roster.people().values() if each.subject == vouched.subject]
        if not own:
            # The provider's own name for him is what people do not know, and an admin has to enter.
            raise Unauthorized(
                f"the provider calls you {vouched.subject!r}, and nobody of the staff has this"
                " subject; an admin invites you under it"
            )
        if len(own) > 1:
            raise Unauthorized(
                "you have several accounts of the staff, and the token does not say which is"
                " meant; log in with a password and a code"
            )
        return self._sessions.begin(own[0])

    # --- inside ---

    def _step_of(self, member: Member, code: str) -> int:
        secret = second_factor.secret_of(self._pepper, member.id, member.generation)
        return second_factor.step_of(secret, code, self._desk.now(), member.used)

    def _slow_down(self, name: str) -> None:
        wait = self._logins.take(name, self._desk.now() / 1000)
        if wait > 0.0:
            raise RateLimited("too many tries with this name; wait a minute", retry_after=wait)

    def _invited(self, name: str, invite: str) -> Member:
        member = self._roster.find(name)
        stored = member.invite if member is not None else b""
        right = equal(stored, _digest(invite))
        if member is None or not right or member.invited <= self._desk.now():
            raise Unauthorized("this is no invitation, or was used, or is older than a day")
        return member

    async def _allow(self, who: Person | None, what: str) -> None:
        if who is not None:
            await self._desk.allow(who, ADMINS, what)

    async def _step(
        self,
        who: Person | None,
        name: str,
        version: int,
        event: str,
        change: Callable[[Member], Member],
    ) -> Member:
        desk = self._desk
        async with desk.lock:
            await self._allow(who, f"{event} somebody of the staff")
            member = self._roster.get(name)
            await desk.find(Member, member.id, version)
            if member.state == "removed":
                raise WrongState(f"{name} has left; add him under another name")
            if who is not None and who.subject == member.subject:
                error = GrantRefused("nobody changes his own place in the staff; ask another admin")
                await desk.refuse(who, error)
            await self._keep(who, event, change(member))
            self._sessions.end_all(name)
        return self._roster.get(name)

    async def _keep(self, who: Person | None, event: str, member: Member) -> None:
        detail = {"event": event, "name": member.name, "role": member.role}
        await self._desk.enter("staff", OPERATOR if who is None else who.name, detail=detail)
        await self._roster.put(member)


def _digest(invite: str) -> bytes:
    return H(enc("louver/v1/staff/invite", invite))
