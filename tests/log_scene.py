"""A relay, a hostile one before it, and people who hold it to its key log.

What may live here: the scene of the tests of attacks on the key log. What may not: attacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from client import Chat, Event, KeyRefusal
from crypto_modes import wire
from crypto_modes.errors import KeyRefused, LogRefused
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, Line, changed, hostile_relay
from tests.log_liar import Liar, rows_of
from tests.test_client import enter
from tests.test_client_trust import events_of


class Scene:
    """A relay in ``e2ee``, a hostile one before it, and people who come when they are asked."""

    def __init__(self, relay: Running, hostile: HostileRelay, stack: AsyncExitStack) -> None:
        self.relay = relay
        self.hostile = hostile
        self._stack = stack

    async def enter(self, name: str, place: Path | None = None, **options: Any) -> Chat:
        chat = enter(self.hostile, name, place, **options)  # type: ignore[arg-type]  # as a relay
        return await self._stack.enter_async_context(chat)

    async def liar(self, *names: str, **options: Any) -> Liar:
        """Another log for these users, as yet with the same entries."""
        return Liar(self.relay, await rows_of(self.relay), *names, **options).between(self.hostile)

    def substitute(self, false: wire.Devices, *names: str) -> None:
        """Show these users another key and list for the account in ``false``."""

        def rule(line: Line, frame: wire.Devices) -> wire.Devices:
            if line.name not in names or frame.account != false.account:
                return frame
            return changed(frame, key=false.key, list=false.list)  # type: ignore[no-any-return]  # a frame of the same type

        self.hostile.down(wire.Devices, rule)


def scenes(start_relay: StartRelay) -> Callable[[], Any]:
    """Makes a scene each time it is called."""

    @asynccontextmanager
    async def made() -> AsyncIterator[Scene]:
        relay = await start_relay(mode="e2ee")
        async with hostile_relay(relay) as hostile, AsyncExitStack() as stack:
            yield Scene(relay, hostile, stack)

    return made


async def looked(chat: Chat) -> None:
    """The look on connecting is over, whether it came first or waited for this one."""
    await chat.key_watch.watch()
    await chat.key_watch.watch()


async def refused(chat: Chat, peer: str, why: str) -> list[Event]:
    """Nothing may be sent to ``peer``; the events that say so."""
    async with events_of(chat) as seen:
        with pytest.raises((LogRefused, KeyRefused), match=why):
            await chat.send(peer, "a secret")
        await asyncio.sleep(0.05)
    return [event for event in seen if isinstance(event, KeyRefusal)]
