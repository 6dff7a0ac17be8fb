"""The composition root: the only file that names concrete classes and puts a relay together.

What may live here: construction, start, reload, drain and stop, in that order. What may not: any
use case. Whatever is opened here is closed here, in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import entry_points, version
from pathlib import Path

from crypto_modes import wire
from crypto_modes.contract import (
    Mode,
    Need,
    NeedDataKey,
    NeedFrankingKey,
    NeedWrappedKey,
    ServerMode,
    ServerTools,
)
from crypto_modes.errors import BadConfig, KeyServiceUnavailable, LouverError, StoreUnavailable
from crypto_modes.registry import BUILTIN, GROUP, registry
from server import logs
from server.accounts import Passwords, Tokens
from server.bus.memory import MemoryBus
from server.certs import ServerCertificate
from server.config import reloadable_changes
from server.confirming import Confirming
from server.entrance import Credentials
from server.gateway import Gateway
from server.http import ADMIN_TOKEN_PREFIX, Internal
from server.jwks import jwks_from
from server.key_care import KeyCare
from server.key_log import signing_key
from server.keyrings.data_keys import DataKeyCache
from server.keyrings.franking import FrankingKeyFiles
from server.link import Handler, Link
from server.listening import cannot_listen, gateway_settings
from server.moderating import open_moderation
from server.observe import Metrics
from server.platform_keys import open_keys
from server.relay import Relay, now_ms
from server.reports import team_key
from server.scanning import Scanning
from server.secrets_file import private_directory, secret_file, token_file
from server.service import Service
from server.session import Session, table
from server.settings_tree import Settings
from server.store.blob_files import BlobFiles
from server.store.sqlite import SqliteStore
from server.vault_records import TOKEN_FILE, TOKEN_PREFIX, VaultRecords
from server.watch import Watch

SECRET_SIZE = 32
UPKEEP_SECONDS = 60.0
COMPLAINT_SECONDS = 60.0
# Clients come back spread over this long after a drain.
RETURN_SECONDS = (1.0, 5.0)
# How long a drain waits for the disk; what is not durable then was not acknowledged either.
SETTLE_SECONDS = 5.0


def installed_modes() -> dict[str, Mode]:
    """Every registered mode: the built-in ones and those of installed packages."""
    return registry([*BUILTIN, *(entry.load() for entry in entry_points(group=GROUP))])


class App:
    """One relay process. ``start`` once, ``stop`` once.

    ``start`` raises ``BadConfig``, ``StoreUnavailable`` or ``OSError``. ``sources`` reads file and
    environment again, for a reload.
    """

    relay: Relay
    service: Service
    gateway: Gateway
    internal: Internal
    confirming: Confirming
    data_keys: DataKeyCache
    scanning: Scanning
    key_care: KeyCare

    def __init__(
        self,
        settings: Settings,
        known: Mapping[str, Mode] | None = None,
        sources: Callable[[], Settings] | None = None,
    ) -> None:
        self.settings = settings
        self.known = dict(known) if known is not None else installed_modes()
        self.metrics = Metrics()
        self.watch = Watch(self.known, self.metrics)
        # Set where going on would be unsafe; `serve` then ends the process.
        self.fatal = asyncio.Event()
        self.draining = False
        # While writes fail for a reason that may pass, such as a full disk.
        self.out = False
        self._quiet_until = 0.0
        self._sources = sources
        self._closing = AsyncExitStack()
        self._upkeep: asyncio.Task[None] | None = None

    # --- life ---

    async def start(self) -> None:
        """Open everything, listen last; on failure nothing stays open."""
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def _start(self) -> None:
        settings, data = self.settings, self.settings.data
        private_directory(data, "data")
        self._log_key = secret_file(data / "log.key", SECRET_SIZE)
        logs.configure(settings.log.level, settings.log.format, self._log_key)
        self._certificate = self._tls()
        self.store = SqliteStore(
            data,
            durability=settings.store.durability,
            on_fatal=self._fail,
            on_outage=self._outage,
        )
        await self.store.open()
        self._closing.push_async_callback(self.store.close)
        files = BlobFiles(data / "blobs")
        self._closing.push_async_callback(files.close)
        self.bus = bus = MemoryBus(self._listener_failed)
        await bus.open()
        self._closing.push_async_callback(bus.close)
        server_modes = await self._modes(data)
        team = team_key(settings.moderation.key)
        secret = secret_file(data / "scanning.key", SECRET_SIZE)
        self.scanning = Scanning(settings, self.store, self.known, team, secret, self.watch)
        await self.scanning.open()
        self._closing.push_async_callback(self.scanning.close)
        self.relay = Relay(
            settings=settings,
            store=self.store,
            files=files,
            bus=bus,
            registry=self.known,
            modes=server_modes,
            supply=self._supply,
            credentials=await self._credentials(data),
            log_key=await signing_key(self.store, data),
            observer=self.watch,
            epoch=await self.store.service_epoch(settings.modes_by_kind()),
            scanning=self.scanning,
            team=team,
            keeping=self.key_care.keeping,
        )
        await self.relay.ending.load(now_ms())
        self.moderating = await open_moderation(settings, self.relay, self._fail, self._closing)
        self.moderation = self.moderating.moderation
        self.service = Service(self.relay, self.watch)
        self.confirming = Confirming(self.store, server_modes, self._supply, self.franking_keys)
        self.confirming.keeps = self.key_care.keeping.keeps
        await self._listen(data)
        self._describe()
        self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())

    async def _listen(self, data: Path) -> None:
        self.gateway = Gateway(gateway_settings(self.settings), self._handler(), self.watch)
        token = token_file(data / "admin.token", ADMIN_TOKEN_PREFIX)
        shown = token_file(data / TOKEN_FILE, TOKEN_PREFIX)
        standing = self.moderation.cases.check_standing
        vault = VaultRecords(self.store, self.confirming, shown, standing)
        more = [*vault.routes(), *self.moderating.routes(token)]
        self.internal = Internal(self.settings.internal, self, token, more)
        try:
            await self.gateway.start(self._certificate.context if self._certificate else None)
        except OSError as error:
            raise cannot_listen(self.settings.listen, error) from None
        self._closing.push_async_callback(self.gateway.close)
        await self.internal.start()
        self._closing.push_async_callback(self.internal.stop)

    def _describe(self) -> None:
        """Tell whoever scrapes what runs here, and what is asked only when he scrapes."""
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        self.metrics.identify(
            version=version("louver"), durability=self.store.durability, loop=loop
        )
        self.metrics.gauge("connections", "Open sockets", lambda: self.gateway.connections)
        self.metrics.gauge("sessions", "Sessions after hello", lambda: self.relay.open_sessions)
        self.metrics.gauge("sends", "Messages on their way to disk", lambda: self.relay.inflight)

    async def drain(self) -> None:
        """Readiness off, ``bye`` to everybody, what was taken made durable and answered, close
        4001.
        """
        if self.draining:
            return
        self.draining = True
        self.watch.changed("relay draining", connections=self.gateway.connections)
        await self.gateway.drain()
        uniform = secrets.SystemRandom().uniform
        for own in list(self.relay.sessions.values()):
            for session in own:
                after = round(uniform(*RETURN_SECONDS), 3)
                session.link.send(wire.Bye(reason="draining", reconnect_after=after))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while self.relay.inflight:  # noqa: ASYNC110 - sends are counted, not signalled
                    await asyncio.sleep(0.01)
        await self.gateway.close(4001)

    async def stop(self) -> None:
        """Drain, then close everything."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
        await self.drain()
        await self._closing.aclose()
        self.watch.changed("relay stopped")

    async def reload(self, settings: Settings) -> list[str]:
        """Take new settings where that is possible without a restart, and what the certificate's
        files hold now; the keys that changed.

        Raises ``BadConfig``, and changes nothing, where a key needs a restart or the files cannot
        be used.
        """
        changes = reloadable_changes(self.settings, settings)
        lists = self.scanning.read(settings)
        if self._certificate is not None:
            self._certificate.reload()
        log = settings.log
        logs.configure(log.level, log.format, self._log_key)
        self.scanning.use(lists, settings)
        self.gateway.reload(gateway_settings(settings))
        await self.relay.reload(settings)
        self.settings = settings
        self.watch.changed("settings reloaded", count=len(changes), epoch=self.relay.defaults.epoch)
        return list(changes)

    # --- what the internal listener asks (http.Administered) ---

    def unready(self) -> str:
        if self.draining:
            return "draining"
        if self.fatal.is_set():
            return "the store has failed"
        return "the store cannot be written; the log says why" if self.out else ""

    def exposition(self) -> bytes:
        return self.metrics.exposition()

    def status(self) -> Mapping[str, object]:
        return {
            "relay": self.store.deployment.hex(),
            "modes": self.relay.defaults.modes,
            "epoch": self.relay.defaults.epoch,
            "durability": self.store.durability,
            "connections": self.gateway.connections,
            "sessions": self.relay.open_sessions,
            "port": self.gateway.port,
            "key_log": self.relay.key_log.vkey,
            "unready": self.unready(),
        }

    async def reload_sources(self) -> list[str]:
        if self._sources is None:
            raise BadConfig("this relay was started without a file or environment to read again")
        return await self.reload(await asyncio.to_thread(self._sources))

    async def revoke(self, name: str, device: bytes) -> int:
        return await self.relay.revoke(name, device)

    # --- parts ---

    def _tls(self) -> ServerCertificate | None:
        listen = self.settings.listen
        if listen.insecure:
            return None
        return ServerCertificate(Path(listen.certificate), Path(listen.key), tls12=listen.tls12)

    async def _modes(self, data: Path) -> dict[str, ServerMode]:
        keys = await open_keys(self.settings, self.store, self.watch, self._closing)
        self.data_keys, self.key_care = keys
        self.franking_keys = FrankingKeyFiles(data / "franking", now_ms)
        tools = ServerTools(
            deployment=self.store.deployment,
            random=os.urandom,
            data_keys=self.data_keys,
            franking_keys=self.franking_keys,
        )
        return {name: mode.server(tools) for name, mode in self.known.items()}

    async def _credentials(self, data: Path) -> Credentials:
        passwords = Passwords()
        self._closing.callback(passwords.close)
        # With another pepper every token of every device would be a wrong one.
        make = not await self.store.has_devices()
        pepper = secret_file(data / "pepper", SECRET_SIZE, make=make)
        return Credentials(passwords, Tokens(pepper), jwks_from(self.settings.accounts))

    def _handler(self) -> Callable[[Link], Handler]:
        relay, legal = self.relay, table(self.relay)
        return lambda link: Session(link, relay, legal)

    async def _supply(self, need: Need) -> None:
        what = need.what
        if isinstance(what, NeedFrankingKey):
            await self.franking_keys.supply(what)
        elif isinstance(what, NeedDataKey | NeedWrappedKey):
            try:
                await self.data_keys.supply(what)
            except KeyServiceUnavailable as error:
                self._complain_of_keys(error)
                raise
        else:
            raise LouverError("a mode asked the relay for something that only a client has")

    def _complain_of_keys(self, error: KeyServiceUnavailable) -> None:
        """One line a minute: everybody who waits for a key asks again every second."""
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + COMPLAINT_SECONDS
            self.watch.fault("key", error)

    async def _keep_up(self) -> None:
        """Once a minute: successors of ending data keys, the end of old franking keys, of proposals
        that nobody answered and of uploads that nobody kept, and what the calendar brings.
        """
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            try:
                await self.key_care.resume()
                await self.data_keys.renew()
                self.franking_keys.expire()
                self.relay.roll_back(now_ms())
                await self.relay.blobs.expire(now_ms())
                await self.relay.ending.tick(now_ms())
                await self.moderating.keep_up()
            except (LouverError, OSError) as error:
                self.watch.fault("upkeep", error)

    def _fail(self, refusal: StoreUnavailable) -> None:
        self.watch.fault("store", refusal)
        self.fatal.set()

    def _outage(self, refusal: StoreUnavailable | None) -> None:
        """One line when writes begin to fail and one when they work again, however many fail."""
        self.out = refusal is not None
        if refusal is not None:
            self.watch.fault("write", refusal)
        else:
            self.watch.changed("writes work again")

    def _listener_failed(self, kind: str) -> None:
        self.watch.changed("listener failed", reason=kind.lower())


async def serve(settings: Settings, sources: Callable[[], Settings] | None = None) -> int:
    """Run a relay until SIGTERM or SIGINT; the process's exit code.

    SIGHUP reads the settings again. Raises ``BadConfig`` or ``OSError`` where it cannot start.
    """
    loop = asyncio.get_running_loop()
    logs.watch(loop)
    ended = asyncio.Event()
    app = App(settings, sources=sources)
    await app.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    reloads: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, lambda: _start(reloads, _reload(app)))
    app.watch.changed("relay ready", port=app.gateway.port, mode=settings.mode)
    waits = [asyncio.ensure_future(event.wait()) for event in (ended, app.fatal)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await app.stop()
    return 1 if app.fatal.is_set() else 0


async def _reload(app: App) -> None:
    try:
        await app.reload_sources()
    except LouverError as error:
        app.watch.fault("reload", error)


def _start(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
