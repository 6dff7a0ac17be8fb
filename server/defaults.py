"""The operator's default: which modes new conversations begin in, and taking another one.

Only that lives here, as the one way for settings, administration and the end of a mode: a change
is recorded in the store before it holds, numbered, and told to everybody who is connected. It
touches no conversation that exists, whose modes are its users' own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from crypto_modes import wire
from crypto_modes.contract import Mode
from crypto_modes.errors import BadArgument
from server.conversations import Conversations
from server.store import Store


class Defaults:
    """``epoch`` counts the defaults since the database was made; in ``welcome`` and notices."""

    def __init__(
        self,
        store: Store,
        conversations: Conversations,
        registry: Mapping[str, Mode],
        epoch: int,
        tell: Callable[[wire.Notice], None],
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._registry = registry
        self._tell = tell
        # Two changes at once: the one that is recorded last must also be the one that holds.
        self._changing = asyncio.Lock()
        self.epoch = epoch
        self._wanted = conversations.defaults
        self._instead: Mapping[str, str] = {}

    @property
    def modes(self) -> wire.Modes:
        """What a conversation begins in now."""
        return self._conversations.defaults

    async def change(self, modes: wire.Modes) -> bool:
        """Let new conversations begin in ``modes``, a mode for each kind; whether that is new."""
        async with self._changing:
            self._wanted = modes
            modes = {kind: self._instead.get(mode, mode) for kind, mode in modes.items()}
            if modes == self.modes:
                return False
            self.epoch = await self._store.service_epoch(modes)
            self._conversations.defaults = modes
        said = f"The operator changed the default for new conversations. {self._words(modes)}"
        self._tell(wire.Notice(topic="modes", text=said, modes=modes, epoch=self.epoch))
        return True

    async def replace(self, instead: Mapping[str, str]) -> None:
        """From now on, let nothing begin in the modes of ``instead`` but in what it maps them to,
        whatever the settings say.
        """
        self._instead = instead
        await self.change(self._wanted)

    async def override(self, mode: str, kinds: wire.Modes) -> bool:
        """As ``change``, with ``mode`` for every kind and ``kinds`` for theirs; what neither
        names stays. Until the settings are read again: they are the truth, and survive a restart.

        Raises ``BadArgument`` for a mode that is not installed.
        """
        for name in filter(None, (mode, *kinds.values())):
            if name not in self._registry:
                known = ", ".join(self._registry)
                raise BadArgument(f"no mode {name!r} is installed here; known: {known}")
        named: wire.Modes = dict.fromkeys(self._wanted, mode) if mode else self._wanted
        return await self.change(named | kinds)

    def _words(self, modes: wire.Modes) -> str:
        """Who can read, once for all kinds that share a mode."""
        kinds: dict[str, list[str]] = {}
        for kind, mode in modes.items():
            kinds.setdefault(mode, []).append(kind)
        if len(kinds) == 1:
            (mode,) = kinds
            return self._registry[mode].words
        said = (f"{', '.join(each)}: {self._registry[mode].words}" for mode, each in kinds.items())
        return "; ".join(said)
