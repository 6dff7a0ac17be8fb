"""Fixtures that several test files share: a real relay, and clients of bare frames."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, Phase, settings

from crypto_modes.contract import Mode
from server.app import App
from server.certs import make_dev_certificates
from server.settings_tree import Limits, Settings
from tests.ports import spare_port
from tests.raw_client import RawClient

# Files that tests make are open to others, as they mostly are: what is private is so because Louver
# made it so, or said that it is not, and never because of who runs the tests.
os.umask(0o022)

# What runs unless another is named. A test's outcome hangs on the code, never on the machine: the
# same examples every time, no limit of time for one of them (hypothesis gives each 200 ms, which a
# busy machine misses), and nothing written beside the sources, which may be read-only.
settings.register_profile(
    "same",
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# For a look around, by hand: other examples every time.
settings.register_profile("other", settings.get_profile("same"), derandomize=False)
settings.load_profile("same")

# For `tests.mutants`: the same examples each time, no time limit that a busy machine could miss,
# nothing remembered and nothing made smaller: a mutant is killed by what it does, and at once.
settings.register_profile(
    "mutants",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=30,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

# Every bucket of the settings, so full that no test meets it by accident: not even a test that is
# faster than its author thought. And time for those that are slower. Tests of limits set their own.
GENEROUS: dict[str, Any] = {
    name: 10**6 for name in Limits.model_fields if name.endswith(("_rate", "_burst"))
} | {"hello_seconds": 100.0}


class Running:
    """A relay that runs inside the test's event loop. ``url`` fits ``ca`` (None without TLS)."""

    def __init__(self, app: App, ca: Path | None, modes: Mapping[str, Mode] | None) -> None:
        self.app = app
        self.ca = ca
        self._modes = modes

    @property
    def port(self) -> int:
        return self.app.gateway.port

    @property
    def url(self) -> str:
        return f"{'wss' if self.ca else 'ws'}://127.0.0.1:{self.port}/"

    @property
    def data(self) -> Path:
        return self.app.settings.data

    @property
    def ssl(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=str(self.ca)) if self.ca else None

    async def enter(self, name: str, **options: Any) -> RawClient:
        """A new account with an open session."""
        return await RawClient.enter(self.url, name, ssl=self.ssl, **options)

    async def restart(self, **changed: Any) -> None:
        """Stop, and start again on the same data and the same port."""
        port = self.port
        await self.app.stop()
        await self.start_again(port, **changed)

    async def start_again(self, port: int, **changed: Any) -> None:
        """Start a stopped relay on the same data and this port."""
        settings = self.app.settings
        listen = settings.listen.model_copy(update={"port": port})
        self.app = App(settings.model_copy(update={"listen": listen} | changed), self._modes)
        await self.app.start()


StartRelay = Callable[..., Awaitable[Running]]


@pytest_asyncio.fixture
async def start_relay(tmp_path: Path) -> AsyncIterator[StartRelay]:
    """Start relays: ``await start_relay(mode="tls", tls=False, limits={...}, …settings)``."""
    started: list[Running] = []

    async def start(
        mode: str = "tls",
        *,
        tls: bool = False,
        limits: Mapping[str, Any] | None = None,
        known: Mapping[str, Mode] | None = None,
        listen: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Running:
        place = tmp_path / f"relay{len(started)}"
        listening: dict[str, Any] = {"port": spare_port(), "insecure": not tls} | dict(listen or {})
        if tls:
            make_dev_certificates(place / "certs")
            listening["certificate"] = str(place / "certs" / "relay.pem")
            listening["key"] = str(place / "certs" / "relay.key")
        given = {"data": place / "data", "internal": {"port": 0}, "mode": mode} | settings
        given["limits"] = GENEROUS | dict(limits or {})
        running = Running(
            App(Settings(listen=listening, **given), known),
            place / "certs" / "ca.pem" if tls else None,
            known,
        )
        await running.app.start()
        started.append(running)
        return running

    yield start
    # First the clients: one with unread frames would not answer the relay's close frame.
    await RawClient.cut_all()
    for running in started:
        await running.app.stop()


@pytest_asyncio.fixture
async def relay(start_relay: StartRelay) -> Running:
    """A relay in mode ``tls`` on a plain socket."""
    return await start_relay()
