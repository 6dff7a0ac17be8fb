"""Putting moderation together for one relay: its file, its desk, its way into the relay.

Only construction lives here. The use cases are in ``server/moderation``, what they do at the relay
is in ``effects``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

from crypto_modes.errors import LouverError, StoreUnavailable
from crypto_modes.grants import Person
from server.moderation.desk import Desk, NoLog
from server.moderation.service import Moderation
from server.moderation.sqlite import SqliteModeration
from server.openings import open_vault
from server.relay import Relay, now_ms
from server.settings_tree import Settings
from server.store.sqlite.writer import Fatal


def nobody() -> Mapping[str, Person]:
    """The staff until somebody says who they are: then nobody may do anything."""
    return {}


async def open_moderation(
    settings: Settings, relay: Relay, on_fatal: Fatal, closing: AsyncExitStack
) -> Moderation:
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
    relay.notices.moderation = moderation
    relay.reports.arrived = lambda: relay.spawn(keep_up(moderation, relay))
    return moderation


async def keep_up(moderation: Moderation, relay: Relay) -> None:
    """What moderation does once a minute, and when a report comes in. What cannot be done now is
    told to whoever watches, and done the next time."""
    try:
        await moderation.tick()
    except LouverError as error:
        relay.observer.fault("moderation", error)
