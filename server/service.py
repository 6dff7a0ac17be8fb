"""What an operator changes of the service as a whole, while it runs.

What may live here: the use cases behind ``/admin/v1`` that concern all users, each with its log
line. What a default is lives in ``defaults``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crypto_modes import wire
from server.sunset import SunsetStep
from server.watch import Watch

if TYPE_CHECKING:
    from server.relay import Relay


class Service:
    """Conforms to ``http.Serviced``."""

    def __init__(self, relay: Relay, watch: Watch) -> None:
        self._relay = relay
        self._watch = watch

    async def sunset(self) -> Mapping[str, object]:
        """See ``http.Serviced``."""
        return await self._relay.ending.status()

    async def plan_sunset(self, asked: SunsetStep) -> Mapping[str, object]:
        """See ``http.Serviced``."""
        ending = self._relay.ending
        match asked.event:
            case "plan":
                mode, instead = asked.mode or "", asked.instead or ""
                await ending.plan(mode, instead, asked.freeze, asked.final)
            case "start":
                await ending.start(_now())
            case "cancel":
                await ending.cancel()
        return await ending.status()

    async def set_modes(self, mode: str, kinds: wire.Modes) -> Mapping[str, object]:
        """See ``http.Serviced``."""
        defaults = self._relay.defaults
        changed = await defaults.override(mode, kinds)
        self._watch.changed("default set", count=int(changed), epoch=defaults.epoch)
        return {"changed": changed, "epoch": defaults.epoch, "modes": defaults.modes}


def _now() -> int:
    return time.time_ns() // 1_000_000
