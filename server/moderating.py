"""Putting moderation together for one relay: its file, its desk, its way into the relay, the log,
the staff's API and the webhook.

Only construction lives here. The use cases are in ``server/moderation``, what they do at the relay
is in ``effects``. Without a vault there is no access log, so nobody is of the staff; then the API
and its packages are not even loaded.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from crypto_modes.errors import BadConfig, LouverError, StoreUnavailable
from crypto_modes.grants import Person
from server.accounts import Passwords
from server.jwks import Jwks, source
from server.moderation import webhook
from server.moderation.chains import Chains
from server.moderation.desk import Desk, NoLog
from server.moderation.roster import Roster
from server.moderation.service import Moderation
from server.moderation.sqlite import SqliteModeration
from server.openings import open_vault
from server.problems import authorize
from server.relay import Relay, now_ms
from server.secrets_file import read_private, secret_content, secret_file
from server.settings_tree import Settings
from server.store.sqlite.writer import Fatal

if TYPE_CHECKING:
    from server.moderation.api.guard import Office

PEPPER_SIZE = 32
_SECRET_SIZE = len(webhook.secret_text(bytes(32))) + 1  # with the end of the line
_KEY_LIMIT = 4096


class Moderating:
    """One relay's moderation. ``office`` is None where there is no vault."""

    def __init__(self, moderation: Moderation, relay: Relay, office: Office | None) -> None:
        self.moderation = moderation
        desk = moderation.desk
        self.chains = Chains(desk.store, relay.store, desk.log, now=desk.now, random=desk.random)
        self._relay = relay
        self._office = office

    def routes(self, admin_token: str) -> Sequence[BaseRoute]:
        """For the internal listener: the staff's API, and the operator's way to the staff."""
        if self._office is None:
            return (_no_staff(admin_token),)
        from server.moderation import api
        from server.moderation.api import operator

        own = operator.routes(self._office.staff, admin_token)
        return (*own, api.mounted(self._office))

    async def keep_up(self) -> None:
        """What moderation does once a minute, and when a report comes in. What cannot be done now
        is told to whoever watches, and done the next time."""
        try:
            if self._office is not None:
                await self._office.once.forget()
            await self.moderation.tick()
            if self._office is not None:
                await self.chains.tick()
        except LouverError as error:
            self._relay.observer.fault("moderation", error)


async def open_moderation(
    settings: Settings, relay: Relay, on_fatal: Fatal, closing: AsyncExitStack
) -> Moderating:
    """Moderation over ``moderation.db``, with all that is in force felt again; call it before
    anybody connects. ``closing`` closes it. Raises ``BadConfig`` or ``StoreUnavailable``.
    """

    def outage(refusal: StoreUnavailable | None) -> None:
        if refusal is not None:
            relay.observer.fault("moderation", refusal)

    store = SqliteModeration(settings.data, on_fatal=on_fatal, on_outage=outage)
    await store.open()
    closing.push_async_callback(store.close)
    log = open_vault(settings, relay.openings, closing) or NoLog()
    desk = Desk(
        store=store, log=log, hooks=relay.effects, staff=nobody, now=now_ms, random=os.urandom
    )
    moderation = Moderation(desk)
    await moderation.restore()
    office = None
    if settings.moderation.vault:
        office = await _office(settings, moderation, closing)
        _begin_webhook(settings, relay, desk, closing)
    made = Moderating(moderation, relay, office)
    relay.notices.moderation = moderation
    relay.reports.arrived = lambda: relay.spawn(made.keep_up())
    return made


def nobody() -> Mapping[str, Person]:
    """The staff until somebody says who they are: then nobody may do anything."""
    return {}


def _no_staff(admin_token: str) -> BaseRoute:
    """What ``louverd staff`` is told where nobody can be of the staff."""

    async def refuse(request: Request) -> Response:
        authorize(request, admin_token, "admin.token")
        raise BadConfig(
            "there is no staff without an access log: set moderation.vault to where the vault is"
        )

    return Route("/admin/v1/staff", refuse, methods=["GET", "POST"])


async def _office(settings: Settings, moderation: Moderation, closing: AsyncExitStack) -> Office:
    try:
        from server.moderation.api.guard import Office
        from server.moderation.once import Once
        from server.moderation.sessions import Sessions
        from server.moderation.staff import Staff
    except ModuleNotFoundError as error:
        raise BadConfig(
            f"moderation.vault needs the extra package ({error.name}): pip install"
            " 'louver[moderation]'"
        ) from None
    desk, asked = moderation.desk, settings.moderation
    roster = Roster(desk.store)
    await roster.load()
    # Another pepper would be another second factor for everybody.
    pepper = secret_file(settings.data / "staff.key", PEPPER_SIZE, make=not roster.members())
    passwords = Passwords()
    closing.callback(passwords.close)
    provider = None
    if asked.jwks:
        provider = Jwks(
            source(asked.jwks), issuer=asked.issuer, audience=asked.audience, id_tokens=True
        )
    sessions = Sessions(roster, desk.now)
    staff = Staff(desk, roster, sessions, passwords, pepper, provider=provider)
    desk.staff = roster.people
    return Office(moderation, staff, sessions, Once(desk.store, desk.now))


def _begin_webhook(settings: Settings, relay: Relay, desk: Desk, closing: AsyncExitStack) -> None:
    asked = settings.moderation
    if not asked.webhook:
        return
    key = ""
    if asked.webhook_key:
        key = read_private(Path(asked.webhook_key), _KEY_LIMIT).decode("ascii", "replace").strip()
    content = secret_content(
        settings.data / "webhook.secret",
        lambda: f"{webhook.secret_text(os.urandom(32))}\n".encode(),
        _SECRET_SIZE,
    )
    hook = webhook.Webhook(
        desk.store,
        webhook.poster(asked.webhook, key),
        webhook.secret_bytes(content.decode("ascii", "replace").strip()),
        now=desk.now,
        types=webhook.Types(*asked.webhook_types),
        said=lambda text: relay.observer.changed("webhook", reason=text),
    )
    desk.heard = hook.heard
    task = asyncio.get_running_loop().create_task(hook.run(), name="webhook")

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    closing.push_async_callback(end)
