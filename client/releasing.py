"""Files at the relay that no message refers to any more: their sender has them deleted.

What may live here: when they are dropped. What may not: which ones are, which is noted in the
transaction that empties their message (``contents``), in ``client_releases``: blob id -> nothing.

A release waits there until the relay has answered, over breaks and restarts; that it is asked
twice, or by two devices of one account, does no harm. Only its sender can delete a file, so what a
peer deletes of ours does not come to this, and what he sent is his to release.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from client.memory import RELEASES, Memory
from client.messages import ChatState
from client.session import Session
from client.transfer import Transfer
from crypto_modes.errors import LouverError

ROUND_SECONDS = 60.0
FAREWELL_SECONDS = 5.0


class Releases:
    """The releases of one chat. ``due`` is set when there is a new one."""

    def __init__(self, memory: Memory, session: Session, due: asyncio.Event) -> None:
        self._memory = memory
        self._session = session
        self._transfer = Transfer(session)
        self._due = due

    async def run(self, report: Callable[[LouverError], None]) -> None:
        """Release what is noted, until cancelled. What goes wrong is reported, and tried again."""
        while True:
            self._due.clear()
            try:
                await self._release()
            except LouverError as error:
                self._session.check()
                report(error)
            # Not `wait_for`: it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._due.wait()

    async def close(self) -> None:
        """Release what can be on the way out; the rest goes next time."""
        if self._session.state is ChatState.CONNECTED:
            with contextlib.suppress(LouverError, TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._release()

    async def _release(self) -> None:
        for blob, _ in list(self._memory.store.scan(RELEASES)):
            try:
                await self._transfer.step(blob, "drop")
            except LouverError as error:
                if error.temporary:
                    raise
                # Refused for good: it is gone already, or was never there.
            self._memory.store.delete(RELEASES, blob)
