"""A relay as a process of its own, to be killed, drained and started again on the same data.

What may live here: settings, starting, waiting until it is ready, ending it. What may not: clients,
or when to do what. With ``planted`` the process has a fault of ``tests.harness.planted``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.ports import spare_port

READY_SECONDS = 100.0
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).parent.parent.parent
_RATES = "\n".join(
    f"{who}_rate = 1e6\n{who}_burst = 1000000"
    for who in ("device", "account", "address", "lookup", "login")
)


class RelayProcess:
    """One data directory and one port, and the process that serves them, if one runs.

    Unless it is ``strict``, no client meets a limit of its rates; then only the first logins.
    """

    def __init__(
        self,
        place: Path,
        mode: str = "tls",
        planted: str = "",
        extra: str = "",
        *,
        strict: bool = False,
    ) -> None:
        self.place = place
        self.port, internal = spare_port(), spare_port()
        self.internal = internal
        self.planted = planted
        self.process: asyncio.subprocess.Process | None = None
        self.config = place / "louver.toml"
        self.config.write_text(
            f'mode = "{mode}"\ndata = "{place / "data"}"\n{extra}\n'
            f'[listen]\naddress = "127.0.0.1"\nport = {self.port}\ninsecure = true\n'
            f'[internal]\naddress = "127.0.0.1"\nport = {internal}\n'
            f'[log]\nlevel = "error"\n[limits]\nconnections_per_address = 10000\n'
            + ("login_burst = 60\n" if strict else f"{_RATES}\n")
        )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None
        return self.process.pid

    def memory(self) -> int:
        """How much of the machine's memory the running process uses, in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE

    def open_files(self) -> int:
        """How many files and sockets the running process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    async def start(self) -> None:
        """Start, and wait until it says that it is ready. Raises ``RuntimeError``."""
        module = ["tests.harness.planted", self.planted] if self.planted else ["server"]
        log = (self.place / "relay.log").open("ab")
        try:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *module, "serve", "--config", str(self.config)),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        finally:
            log.close()
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await self._ready():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise RuntimeError(f"the relay is not ready: {self._log_end()}") from None

    async def kill(self) -> None:
        """SIGKILL, at once."""
        await self._end(signal.SIGKILL)

    async def drain(self) -> int:
        """SIGTERM; its exit code once it has drained."""
        return await self._end(signal.SIGTERM)

    async def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None and self.process.returncode is None:
            await self.drain()

    async def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        if self.process.returncode is not None:
            raise RuntimeError(f"the relay ended by itself: {self._log_end()}")
        self.process.send_signal(how)
        return await self.process.wait()

    async def _ready(self) -> bool:
        assert self.process is not None
        if self.process.returncode is not None:
            raise RuntimeError(f"the relay ended: {self._log_end()}")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.internal)
        except OSError:
            return False
        try:
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()

    def _log_end(self) -> str:
        return (self.place / "relay.log").read_text(errors="replace")[-1000:]
