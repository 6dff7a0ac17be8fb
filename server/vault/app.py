"""The composition root of the vault: what its process is made of, its start and its end.

What may live here: construction, in that order. What may not: any use case. Whatever is opened here
is closed here, in reverse.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from crypto_modes.errors import BadConfig
from crypto_modes.transparency.note import Verifier
from server import logs
from server.access_log.durable import DurableLog
from server.access_log.exchange import TOKEN_PREFIX
from server.access_log.routes import routes as log_routes
from server.access_log.witnesses import ANSWER_LIMIT, Beside, Witnesses
from server.calls import Caller
from server.certs import server_context
from server.hosting import Host
from server.problems import handlers
from server.secrets_file import private_directory, read_private, secret_file
from server.vault.asking import Asking, Nonces, Refusals, now_ms
from server.vault.counting import Count
from server.vault.keys import Keys, open_keys
from server.vault.officers import Officers
from server.vault.opening import Heads, Opening
from server.vault.reconciling import Reconciling
from server.vault.relay import Relay
from server.vault.reported import Reported
from server.vault.revealed import Revealed
from server.vault.routes import for_operator, routes
from server.vault.settings import Settings
from server.vault.staff import Staff
from server.vault.state import Looking

TOKEN_LIMIT = 256
# A quorum waits for the slowest witness, and so does who reads.
WITNESS_SECONDS = 5.0


class App:
    """One vault. ``start`` once, ``stop`` once; ``start`` raises ``BadConfig`` or
    ``LogUnavailable``. ``now`` is its clock, in milliseconds."""

    host: Host
    keys: Keys
    log: DurableLog

    def __init__(self, settings: Settings, now: Callable[[], int] = now_ms) -> None:
        self.settings = settings
        self._now = now
        self._closing = AsyncExitStack()

    async def start(self) -> None:
        """Open everything, listen last; on failure nothing stays open."""
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def _start(self) -> None:
        settings, data, now = self.settings, self.settings.data, self._now
        private_directory(data, "data")
        logs.configure(settings.log.level, settings.log.format, secret_file(data / "log.key", 32))
        token = relay_token(settings)
        witnesses = self._witnesses()
        self.log = log = DurableLog(data, witnesses=witnesses)
        await log.open()
        self._closing.push_async_callback(log.close)
        count = Count(data / "unwrapped")
        self.keys = open_keys(settings.keys, time.monotonic, count.add)
        self.staff = Staff(settings.staff_file, data / "staff.entered.json", log, now)
        nonces, heads = Nonces(data / "nonces", now), Heads(data / "heads")
        revealed = Revealed(data / "reported", now)
        for journal in (nonces, heads, revealed, count):
            journal.open()
            self._closing.callback(journal.close)
        refusals = Refusals(log, now)
        asking = Asking(self.staff, nonces, refusals, now)
        relay = Relay(settings.relay, token)
        self._closing.callback(relay.close)
        opening = Opening(
            asking=asking,
            refusals=refusals,
            relay=relay,
            keys=self.keys,
            heads=heads,
            revealed=revealed,
            log=log,
            now=now,
        )
        reported = Reported(
            asking=asking,
            refusals=refusals,
            relay=relay,
            keys=self.keys,
            revealed=revealed,
            log=log,
            now=now,
        )
        self.reconciling = Reconciling(count, log, now)
        looking = Looking(
            keys=self.keys,
            log=log,
            witnesses=witnesses,
            relay=relay,
            staff=self.staff,
            reconciling=self.reconciling,
        )
        officers = Officers(self.keys, asking, refusals, log, now)
        notice = settings.notice_days
        await self._listen(
            [
                *routes(asking, opening, reported, officers, self.status),
                *for_operator(self.reconciling, looking, token),
                *log_routes(log, asking.of_request, token, notice_days=notice, now=now),
            ]
        )
        self._closing.push_async_callback(_ended, asyncio.create_task(self.reconciling.run()))

    def _witnesses(self) -> Witnesses:
        beside = []
        for each in self.settings.witnesses:
            caller = Caller(
                each.address, each.authority, seconds=WITNESS_SECONDS, limit=ANSWER_LIMIT
            )
            self._closing.callback(caller.close)
            beside.append(Beside(Verifier.decode(each.key), caller))
        return Witnesses(beside, self.settings.witness_quorum)

    async def _listen(self, all_routes: Sequence[BaseRoute]) -> None:
        listen = self.settings.listen
        context = None
        if listen.certificate:
            context = server_context(Path(listen.certificate), Path(listen.key))
        # Advice names files, and who asks is not the operator.
        app = Starlette(routes=all_routes, exception_handlers=handlers("vault", advise=False))
        self.host = Host(app, listen.address, listen.port, section="listen", context=context)
        await self.host.start()
        self._closing.push_async_callback(self.host.stop)

    async def stop(self) -> None:
        """Answer what was asked, then close everything."""
        await self._closing.aclose()

    def status(self) -> Mapping[str, object]:
        """What runs, as JSON can say it."""
        checkpoint = {"log": self.log.verifier.encode(), "entries": self.log.size}
        keys = msgspec.to_builtins(self.keys.state())
        counted = {"key": keys, "data_keys": self.reconciling.newest.status()}
        return {"port": self.host.port, **counted, **checkpoint}


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def relay_token(settings: Settings) -> str:
    """What relay and vault show each other. Raises ``BadConfig``."""
    path = Path(settings.relay.token)
    try:
        token = read_private(path, TOKEN_LIMIT).decode("ascii", "replace").strip()
    except FileNotFoundError:
        token = ""
    if not token.startswith(TOKEN_PREFIX):
        raise BadConfig(
            f"relay.token: {path} holds no token that starts with {TOKEN_PREFIX!r}; the relay makes"
            " one in its data directory, vault.token, when it starts"
        )
    return token


async def serve(settings: Settings) -> int:
    """Run a vault until SIGTERM or SIGINT; the process's exit code. Raises ``BadConfig``."""
    loop = asyncio.get_running_loop()
    logs.watch(loop)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    app = App(settings)
    await app.start()
    logs.logger().info("vault ready", port=app.host.port)
    await ended.wait()
    await app.stop()
    return 0
