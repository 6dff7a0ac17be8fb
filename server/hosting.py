"""Serving an application by HTTP inside a loop that belongs to somebody else.

What may live here: uvicorn and its socket. What may not: routes, or what they do.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from crypto_modes.errors import BadConfig

CONCURRENCY = 64
GRACE_SECONDS = 2


class Host:
    """One application on one address. ``section`` names the settings where the address stands;
    with ``context`` it speaks TLS.
    """

    def __init__(
        self,
        app: Any,
        address: str,
        port: int,
        *,
        section: str,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._app = app
        self._address = address
        self._wanted = port
        self._section = section
        self._context = context
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; returns once requests are answered. Raises ``BadConfig`` where the address cannot
        be taken."""
        listening = _listen(self._address, self._wanted, self._section)
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            access_log=False,
            http="h11",
            lifespan="off",
            limit_concurrency=CONCURRENCY,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="none",
        )
        config.load()
        config.ssl = self._context
        self._server = _Server(config)
        serve = self._server.serve(sockets=[listening])
        name = f"{self._section} listener"
        self._task = asyncio.get_running_loop().create_task(serve, name=name)
        await self._server.up.wait()

    async def stop(self) -> None:
        """Answer what was asked, then close. May be called twice, or without a start."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await self._task


class _Server(uvicorn.Server):
    """uvicorn as a guest."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def _listen(address: str, port: int, section: str) -> socket.socket:
    """Bound here and not by uvicorn, which would end the process where that fails."""
    host = "127.0.0.1" if address == "localhost" else address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise BadConfig(
            f"cannot listen on {section}.address {address}, {section}.port {port}: {error.strerror}"
        ) from None
    listening.setblocking(False)
    return listening
