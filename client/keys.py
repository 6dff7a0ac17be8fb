"""This device's own keys at the relay: published on connecting, and refilled as the counts fall.

What may live here: when to publish, and in which portions. What may not: making keys (the modes),
or anything about other people's (``trust``).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import msgspec

from client.session import Session
from client.trust import Trust, Verifying
from crypto_modes import wire
from crypto_modes.errors import KeyRefused

_FRAME_ROOM = 8 * 1024  # for names, brackets and quotes


class OwnKeys:
    """The own keys of one device, of every mode that has some."""

    def __init__(self, session: Session, trust: Trust) -> None:
        self._session = session
        self._trust = trust

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
                "the keys of this account are on another device: link this one from there, or"
                " replace them, of which everybody you write with will be warned"
            )
        return found.list.version if found.list is not None else 0


def fitting(frame: wire.Publish) -> list[wire.Publish]:
    """``frame`` in parts that fit the frame limit, also in JSON, which takes a third more."""
    if wire.size_of(frame) * 4 // 3 < wire.FRAME_LIMIT - _FRAME_ROOM or len(frame.prekeys) < 2:
        return [frame]
    middle = len(frame.prekeys) // 2
    head = msgspec.structs.replace(frame, prekeys=frame.prekeys[:middle])
    return [*fitting(head), *fitting(wire.Publish(ref=0, prekeys=frame.prekeys[middle:]))]
