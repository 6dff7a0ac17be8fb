"""This device's own keys: published on connecting, renewed and refilled meanwhile, and purged.

What may live here: when to publish, and in which portions. What may not: making keys (the modes),
or anything about other people's (``trust``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from secrets import SystemRandom

import msgspec

from client.session import Session
from client.trust import Trust, Verifying, now_ms
from crypto_modes import wire
from crypto_modes.errors import KeyRefused, LouverError

# How often is looked whether something is due. A burst of first messages makes one refill.
ROUND_SECONDS = 60.0
DAY = 24 * 60 * 60 * 1000
_random = SystemRandom().random
_FRAME_ROOM = 8 * 1024  # for names, brackets and quotes


class OwnKeys:
    """The own keys of one device, of every mode that has some.

    Time is given: ``sleep`` seconds, ``now`` milliseconds, and ``uniform`` in [0, 1) for the jitter
    that keeps a thousand devices from renewing their keys in one moment.
    """

    def __init__(
        self,
        session: Session,
        trust: Trust,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], int] = now_ms,
        uniform: Callable[[], float] = _random,
    ) -> None:
        self._session = session
        self._trust = trust
        self._sleep = sleep
        self._now = now
        self._uniform = uniform

    async def run(self, report: Callable[[LouverError], None]) -> None:
        """Keep the keys in order until cancelled, or until the session has ended.

        Purge at once and then about daily, publish what is due then, and also soon after a peer
        used up a one-time key. What goes wrong is reported, and tried again when it is due again.
        """
        due = 0
        while True:
            self._session.check()
            late = self._now() >= due
            try:
                if late:
                    await self.purge()
                if (late and due) or self._used():  # on connecting, `publish` was called already
                    await self.publish(())
            except LouverError as error:
                report(error)
            if late:
                due = self._now() + int(DAY * (0.75 + self._uniform() / 2))
            await self._sleep(ROUND_SECONDS * (0.5 + self._uniform()))

    async def purge(self) -> None:
        """Delete what is past its time, of every mode."""
        for client in self._trust.all_verifying().values():
            await self._trust.resolve(client.purge)

    def _used(self) -> bool:
        return any(client.refill_due() for client in self._trust.all_verifying().values())

    async def publish(self, modes: Collection[str], *, replace: bool = False) -> None:
        """Publish this device's keys, and refill them, where one of ``modes`` calls for it.

        ``replace`` puts a new account key in the place of one that other devices hold. Raises
        ``KeyRefused`` where there is one, otherwise: this device has to be linked first.
        """
        for name, client in self._trust.all_verifying().items():
            if name in modes or self._made(client):
                await self.publish_of(client, replace=replace)

    async def publish_of(self, client: Verifying, *, replace: bool = False) -> None:
        """The same for one mode. Raises ``KeyRefused``."""
        above = 0
        if not self._made(client):
            above = await self._version_to_replace(replace=replace)
        left: wire.Published | None = None
        # First everything, then what the relay's answer says is lacking; then it lacks nothing.
        for _ in range(3):
            frames = await self._trust.resolve(partial(client.publication, left, above))
            for frame in (part for whole in frames for part in fitting(whole)):
                said = msgspec.structs.replace(frame, replace=replace and bool(frame.key))
                left = await self._session.ask(said, wire.Published)
            if not frames:
                return

    def _made(self, client: Verifying) -> bool:
        return client.pinned_key(self._trust.account_id) is not None

    async def _version_to_replace(self, *, replace: bool) -> int:
        """The version of the list that is in our place. Looked up before keys are made: a key
        that nobody knows must not be kept as ours. Raises ``KeyRefused``.
        """
        request = wire.GetDevices(ref=0, account=self._trust.account_id)
        found = await self._session.ask(request, wire.Devices)
        if found.key and not replace:
            raise KeyRefused(
                "the keys of this account are on another device of yours; link this one to it, or"
                " replace them, of which everybody you write with is warned"
            )
        return found.list.version if found.list is not None else 0


def fitting(frame: wire.Publish) -> list[wire.Publish]:
    """``frame`` in parts that fit the frame limit, also in JSON, which takes a third more."""
    if wire.size_of(frame) * 4 // 3 < wire.FRAME_LIMIT - _FRAME_ROOM or len(frame.prekeys) < 2:
        return [frame]
    middle = len(frame.prekeys) // 2
    head = msgspec.structs.replace(frame, prekeys=frame.prekeys[:middle])
    return [*fitting(head), *fitting(wire.Publish(ref=0, prekeys=frame.prekeys[middle:]))]
