"""One relay of the simulated world, from its start to its drain or its crash.

What may live here: putting the real relay and gateway together on simulated parts, as
``server.app`` does on real ones. What may not: when which of it happens.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import time
from typing import Any

from crypto_modes import wire
from crypto_modes.contract import Need, ServerTools
from crypto_modes.errors import CannotOpen, KeyServiceUnavailable, Unavailable
from crypto_modes.keys import SigningKey
from server.accounts import Tokens
from server.app import installed_modes
from server.bus.memory import MemoryBus
from server.entrance import Credentials
from server.gateway import Gateway
from server.keyrings.data_keys import DataKeyCache
from server.listening import gateway_settings
from server.observe import Metrics
from server.relay import Relay, now_ms
from server.scanning import Scanning
from server.session import Session, table
from server.settings_tree import Settings
from server.store.blob_files import BlobFiles
from server.watch import Watch
from tests.conftest import GENEROUS
from tests.harness.simulated.network import Network
from tests.harness.simulated.store import _NOWHERE, Disk, SimulatedStore

_PEPPER = b"p" * 32
_KNOWN = installed_modes()
_LIMITS = {"ping_seconds": 3.0, "pong_seconds": 1.0, "write_seconds": 2.0, "hello_seconds": 3.0}


@functools.cache
def _settings(mode: str, outbox: int) -> Settings:
    limits: dict[str, Any] = GENEROUS | _LIMITS | {"outbox_frames": outbox, "connections": 1000}
    return Settings(data=_NOWHERE, mode=mode, listen={"insecure": True}, limits=limits)


class KeyService:
    """A keyring behind a service that may be away. It wraps by remembering."""

    generation = 1  # it is never rotated

    def __init__(self, chance: random.Random) -> None:
        self.away = False
        self._chance = chance
        self._kept: dict[bytes, tuple[bytes, bytes]] = {}

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        key = self._chance.randbytes(32)
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        await self._answer()
        wrapped = self._chance.randbytes(16)
        self._kept[wrapped] = (key, context)
        return wrapped

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        await self._answer()
        key, bound = self._kept[wrapped]
        if bound != context:
            raise CannotOpen
        return key

    async def close(self) -> None:
        """Nothing is open."""

    async def _answer(self) -> None:
        await asyncio.sleep(self._chance.random() ** 3 * 0.03)
        if self.away:
            raise KeyServiceUnavailable("the key service is away; try again")


class _Passwords:
    """Passwords that cost nothing to check."""

    async def hash(self, password: str) -> str:
        return f"hash of {password}"

    async def verify(self, stored: str, password: str) -> bool:
        return stored == f"hash of {password}"

    def close(self) -> None:
        """Nothing is open."""


class _Witness(Watch):
    """Keeps what an operator would have to look at, other than an outage that was simulated."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(_KNOWN, Metrics())
        self._faults = faults

    def fault(self, where: str, error: Exception) -> None:
        if not isinstance(error, Unavailable):
            self._faults.append(f"{where}: {error!r}")

    def changed(self, event: str, **fields: object) -> None:
        """Nobody reads it."""

    def opened(self, address: str, subprotocol: str) -> None:
        """Nobody reads it."""

    def refused(self, status: int, address: str) -> None:
        """Nobody reads it."""


class Node:
    """A relay on ``network`` and ``disk``. ``faults`` collects what it should not have met."""

    def __init__(
        self, network: Network, disk: Disk, keys: KeyService, chance: random.Random
    ) -> None:
        self.up = False
        self.faults: list[str] = []
        self._network = network
        self._disk = disk
        self._keys = keys
        mode, outbox = chance.choice(("tls", "at_rest")), chance.choice((16, 256))
        self._settings = _settings(mode, outbox)
        # What a dead relay waited for stays, or Python would tell of its tasks.
        self._graves: list[object] = []

    async def start(self) -> None:
        """Open everything, listen last."""
        watch, settings = _Witness(self.faults), self._settings
        self._store = store = SimulatedStore(self._disk)
        await store.open()
        self.data_keys = DataKeyCache(
            store, self._keys, now=now_ms, monotonic=lambda: time.monotonic_ns() // 1_000_000
        )
        tools = ServerTools(
            deployment=store.deployment,
            random=os.urandom,
            data_keys=self.data_keys,
            franking_keys=None,  # type: ignore[arg-type]  # only e2ee asks for them
        )
        self._relay = Relay(
            settings=settings,
            store=store,
            files=BlobFiles(_NOWHERE),
            bus=MemoryBus(self.faults.append),
            registry=_KNOWN,
            modes={name: mode.server(tools) for name, mode in _KNOWN.items()},
            supply=self._supply,
            credentials=Credentials(_Passwords(), Tokens(_PEPPER), None),  # type: ignore[arg-type]  # cheap ones
            log_key=SigningKey(_PEPPER),
            observer=watch,
            epoch=await store.service_epoch(settings.modes_by_kind()),
            scanning=Scanning(settings, store, _KNOWN, b"", _PEPPER, watch),
        )
        await self._relay.ending.load(now_ms())
        relay, legal = self._relay, table(self._relay)
        self._gateway = Gateway(
            gateway_settings(settings), lambda link: Session(link, relay, legal), watch
        )
        await self._gateway.start(None)
        self.up = True

    async def drain(self) -> None:
        """As the real one: tell everybody, answer what was taken, close."""
        self.up = False
        self._gateway.drain()
        for own in list(self._relay.sessions.values()):
            for session in own:
                session.link.send(wire.Bye(reason="draining", reconnect_after=0.1))
        while self._relay.inflight:
            await asyncio.sleep(0.01)
        await self._gateway.close(4001)
        await self.data_keys.close()
        await self._store.close()

    def crash(self) -> None:
        """The process is gone, its connections with it, and what was not on the disk."""
        self.up = False
        self._store.die()
        self._graves.append((self._store, self._relay, self._gateway))
        self._gateway.wheel.stop()
        self._network.crash()
        self._disk.crash(time.monotonic())

    async def _supply(self, need: Need) -> None:
        await self.data_keys.supply(need.what)  # type: ignore[arg-type]  # no e2ee here
