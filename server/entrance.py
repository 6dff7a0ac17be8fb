"""The way in: register, log in, say hello. The use cases of a session that is not open yet.

What may live here: who may enter and with which token. How passwords, tokens and the JWTs of an
identity provider are checked is in ``accounts``. Every wrong credential gets the same answer
after the same work, so that names cannot be told from one another by trying.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import (
    CannotResume,
    Forbidden,
    FrameRefused,
    LimitExceeded,
    LouverError,
    RateLimited,
    TokenExpired,
    Unauthorized,
)
from server.accounts import Passwords, Tokens
from server.blobs import largest
from server.delivery import Delivery
from server.jwks import Jwks
from server.session import State
from server.store import REMOVED, Account, Device

if TYPE_CHECKING:
    from server.relay import Relay
    from server.session import Session

DEVICES_PER_ACCOUNT = 10
DAY = 24 * 60 * 60 * 1000
SUSPENDED = (
    "this account is suspended; `louver notices` says why, and `louver appeal` is how to object"
)
WRONG = "the name, the password or the token is wrong"


class Removed(Forbidden):
    """The device's user has taken it off the account."""


class Credentials(msgspec.Struct, frozen=True):
    """What the entrance checks with; ``jwks`` is None without an identity provider."""

    passwords: Passwords
    tokens: Tokens
    jwks: Jwks | None


class Entrance:
    """Opens sessions of a ``Relay``."""

    def __init__(self, relay: Relay, credentials: Credentials) -> None:
        self._relay = relay
        self._passwords = credentials.passwords
        self._tokens = credentials.tokens
        self._jwks = credentials.jwks

    async def register(self, session: Session, frame: wire.Register) -> None:
        """Make an account and bind the device. Repeating it with an external token is harmless:
        the same subject gets its account again.
        """
        self._slow(session)
        subject, password = await self._proof(frame)
        registration = self._relay.settings.accounts.registration
        if registration == "closed":
            raise Forbidden("this relay takes no new accounts; ask its operator")
        if registration == "external" and not subject:
            raise Forbidden("accounts come from the operator's identity provider: send its token")
        account = await self._relay.store.account_named(frame.name) if subject else None
        if account is None or account.subject != subject:
            hashed = await self._passwords.hash(password) if password else ""
            account = Account(
                id=secrets.token_bytes(ID_SIZE),
                name=frame.name,
                created=_now(),
                password=hashed,
                subject=subject,
            )
            await self._relay.store.add_account(account)
        await self._bind(session, account, frame)

    async def login(self, session: Session, frame: wire.Login) -> None:
        """Bind the device to an existing account."""
        self._slow(session)
        subject, password = await self._proof(frame)
        account = await self._relay.store.account_named(frame.name)
        if subject:
            right = account is not None and account.subject == subject
        else:
            # Also for an unknown name a password is hashed: the time says nothing.
            right = await self._passwords.verify(account.password if account else "", password)
        if account is None or not right:
            raise Unauthorized(WRONG)
        await self._bind(session, account, frame)

    async def hello(self, session: Session, frame: wire.Hello) -> None:
        """Open the session with a token; answer ``welcome`` and start delivering."""
        try:
            account = await self._authenticate(frame)
            self._check_room(account)
        except (Unauthorized, TokenExpired, Forbidden, LimitExceeded) as error:
            session.refuse(frame, error)
            session.end(_CLOSE[type(error)])
            return
        relay = self._relay
        if frame.resume and frame.resume != relay.store.deployment:
            raise CannotResume(
                "this is another relay than the one of your stored state, or its database was"
                " replaced; start with an empty profile, or restore the relay"
            )
        if session.state is not State.STRANGER:
            return
        session.account, session.name = account.id, account.name
        session.device = frame.device
        session.state = State.OPEN
        relay.join(session)
        try:
            session.delivery = await self._deliveries(session, frame)
        except LouverError as error:
            # Without its cursors a session would be open and silent; the client comes again.
            session.refuse(frame, error)
            session.end(_CLOSE.get(type(error), 4004))
            return
        if session.state is not State.OPEN:
            return  # gone, or revoked, meanwhile
        session.link.greeted()
        session.link.send(self._welcome(session, frame.ref))
        if (notice := relay.ending.notice()) is not None:
            session.link.send(notice)
        if account.id in relay.effects.waiting:
            relay.effects.waiting.discard(account.id)
            relay.spawn(relay.notices.greet(session))
        session.delivery.begin()

    async def _deliveries(self, session: Session, frame: wire.Hello) -> Delivery:
        """This device's stream, listening already; the token is looked at once more, because a
        revocation that came before the listening would not have been heard.
        """
        delivery = Delivery(self._relay, session)
        session.delivery = delivery
        await delivery.load()
        await self._authenticate(frame)
        return delivery

    def _slow(self, session: Session) -> None:
        wait = self._relay.rates.login(session.network, time.monotonic())
        if wait > 0.0:
            raise RateLimited("too many attempts from your address", retry_after=wait)
        # Hashing may wait for its turn; that time is ours and not the stranger's.
        session.link.extend()

    async def _proof(self, frame: wire.Register | wire.Login) -> tuple[str, str]:
        """``(subject, "")`` for an external token, ``("", password)`` otherwise."""
        if (frame.token is None) == (frame.password is None):
            raise FrameRefused("send either a password or the token of an identity provider")
        if frame.token is not None:
            if self._jwks is None:
                raise Forbidden("this relay has no identity provider; register with a password")
            return (await self._jwks.verify(frame.token)).subject, ""
        return "", frame.password or ""

    async def _bind(
        self, session: Session, account: Account, frame: wire.Register | wire.Login
    ) -> None:
        if account.suspended:
            raise Forbidden(SUSPENDED)
        store = self._relay.store
        now = _now()
        devices = [each for each in await store.devices(account.id) if each.expires > now]
        known = any(device.id == frame.device for device in devices)
        if len(devices) >= DEVICES_PER_ACCOUNT and not known:
            raise LimitExceeded(
                f"an account has at most {DEVICES_PER_ACCOUNT} devices; remove one from another"
                " device first"
            )
        token, digest = self._tokens.new()
        expires = now + self._relay.settings.accounts.token_days * DAY
        device = Device(
            id=frame.device, account=account.id, token=digest, created=now, expires=expires
        )
        await store.bind_device(device)
        answer = wire.Token(
            ref=frame.ref, account=account.id, device=frame.device, token=token, expires=expires
        )
        session.link.send(answer)

    async def holder(self, token: str, device: bytes) -> Account:
        """Whose device this is, suspended or not. Raises ``Unauthorized``, ``TokenExpired`` or
        ``Removed``."""
        found = await self._relay.store.device(device)
        if found is not None and found.removed:
            raise Removed(REMOVED)
        bound = self._tokens.check(token, found, _now())
        account = await self._relay.store.account(bound.account)
        if account is None:
            raise Unauthorized(WRONG)
        return account

    async def _authenticate(self, frame: wire.Hello) -> Account:
        account = await self.holder(frame.token, frame.device)
        if account.suspended:
            raise Forbidden(SUSPENDED)
        return account

    def _check_room(self, account: Account) -> None:
        limit = self._relay.settings.limits.connections_per_account
        if len(self._relay.sessions.get(account.id, ())) >= limit:
            raise LimitExceeded(f"an account has at most {limit} connections at a time")

    def _welcome(self, session: Session, ref: int) -> wire.Welcome:
        relay = self._relay
        limits = relay.settings.limits
        return wire.Welcome(
            ref=ref,
            account=session.account,
            name=session.name,
            device=session.device,
            relay=relay.store.deployment,
            time=_now(),
            epoch=relay.defaults.epoch,
            modes=relay.defaults.modes,
            words={name: mode.words for name, mode in relay.registry.items()},
            limits=wire.Limits(
                frame=limits.frame,
                content=wire.CONTENT_LIMIT,
                page=limits.page,
                devices=DEVICES_PER_ACCOUNT,
                outbox=limits.outbox_frames,
                blob=largest(limits),
            ),
            ping=limits.ping_seconds,
            durability=relay.store.durability,
        )


_CLOSE: dict[type[LouverError], int] = {
    Unauthorized: 4500,
    TokenExpired: 4500,
    Forbidden: 4530,
    Removed: 4503,
    LimitExceeded: 4504,
}


def _now() -> int:
    return time.time_ns() // 1_000_000
