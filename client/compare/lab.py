"""The laboratory: real ``louverd`` processes on the loopback, each with data of its own.

What may live here: certificates, the settings file, starting, waiting for readiness, running an
operator's command, stopping. What may not: sending messages or reading results.

The relay runs as anybody would run it: TLS from a throw-away CA, SQLite on disk with
``synchronous=FULL``. Only rate limits are lifted, since here one address is a whole city.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from client.compare.issuer import ISSUER, Issuer
from crypto_modes.errors import ConnectionLost

START_SECONDS = 20.0
STOP_SECONDS = 20.0
COMMAND_SECONDS = 120.0
_MANY = 1_000_000
_LIMITED = ("device", "account", "address", "lookup", "login", "report")
_LIFTED = {
    **{f"{who}_rate": float(_MANY) for who in _LIMITED},
    **{f"{who}_burst": _MANY for who in _LIMITED},
    "connections_per_address": _MANY,
}


class LabFailure(ConnectionLost):
    """A relay did not start, answer or stop; the message ends with its last log lines."""


@dataclass(frozen=True)
class Relay:
    """A running relay. ``home`` holds its settings, data and log."""

    mode: str
    home: Path
    port: int
    internal: int
    pid: int
    certificates: Path
    vault: int = 0  # where its vault listens, where it has one

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"wss://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """Everything it printed."""
        return self.home / "relay.log"

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.home / "louver.toml"


@dataclass(frozen=True)
class Team:
    """The moderation team's key pair: files outside of every relay's data."""

    home: Path

    @property
    def secret(self) -> Path:
        """The file of the secret key."""
        return self.home / "team.key"

    @property
    def public(self) -> bytes:
        """The public key."""
        return (self.home / "team.pub").read_bytes()


class Lab:
    """Certificates, an identity provider and a moderation team, shared by the relays of one
    comparison."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificates = directory / "certificates"
        directory.mkdir(parents=True, exist_ok=True)
        self.issuer = Issuer(directory / "jwks.json")
        self.team = Team(directory / "team")

    async def prepare(self) -> None:
        """Make the throw-away CA and the team's key. Raises ``LabFailure``."""
        self.team.home.mkdir(mode=0o700)
        await louverd("moderation", "keygen", "--dir", str(self.team.home))
        await louverd("moderation", "vault-key", "--dir", str(self.team.home))
        await louverd("certs", "dev", "--dir", str(self.certificates))

    def trust(self) -> ssl.SSLContext:
        """A client's TLS context that trusts the CA, and nothing else."""
        return trust(self.certificates)

    @asynccontextmanager
    async def relay(
        self,
        mode: str,
        name: str,
        *,
        level: str = "info",
        watched: Sequence[str] | None = None,
        changed: Mapping[str, Mapping[str, object]] | None = None,
    ) -> AsyncIterator[Relay]:
        """A relay whose new conversations are in ``mode``, ready, and stopped at the end.
        ``watched``: one with a vault, and a list of these phrases to look for. ``changed``: other
        settings than all others have, by section.

        Raises ``LabFailure`` where it does not come up within 20 s.
        """
        home = self.directory / name
        home.mkdir()
        port, internal, vault = free_ports(3)
        made = Relay(mode, home, port, internal, 0, self.certificates, vault)
        made.config.write_text(self._settings(made, level, watched, changed or {}))
        async with process(("serve", "--config", str(made.config)), made.log) as run:
            await ready(run, internal, made.log)
            yield replace(made, pid=run.pid)

    def _settings(
        self,
        relay: Relay,
        level: str,
        watched: Sequence[str] | None,
        changed: Mapping[str, Mapping[str, object]],
    ) -> str:
        certificates = self.certificates
        sections: dict[str, dict[str, object]] = {
            "": {"mode": relay.mode, "data": str(relay.data)},
            "listen": {
                "port": relay.port,
                "certificate": str(certificates / "relay.pem"),
                "key": str(certificates / "relay.key"),
            },
            "internal": {"port": relay.internal},
            "store": {"durability": "full"},
            "accounts": {
                "registration": "external",
                "jwks": str(self.issuer.jwks),
                "issuer": ISSUER,
            },
            "keys": {"moderation": str(self.team.home / "vault.pub")},
            "moderation": {"key": str(self.team.home / "team.pub")},
            "limits": dict(_LIFTED),
            "log": {"level": level, "format": "json"},
        }
        if watched is not None:
            sections["moderation"]["vault"] = f"http://127.0.0.1:{relay.vault}"
        if watched:
            phrases = relay.home / "phrases.txt"
            phrases.write_text("\n".join(watched))
            sections["scanning"] = {"lists": [f"flag:other:words:{phrases}"]}
        for name, keys in changed.items():
            sections[name] = {**sections[name], **keys}
        return "".join(section(name, keys) for name, keys in sections.items())


def trust(certificates: Path) -> ssl.SSLContext:
    """A client's TLS context that trusts the CA in this directory, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(certificates / "ca.pem")
    return context


def environment() -> dict[str, str]:
    """This environment without settings of a relay, which would override the lab's file."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("LOUVER_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


async def louverd(*arguments: str, accept: Sequence[int] = (0,)) -> bytes:
    """Run an operator's command to its end and give its output.

    Raises ``LabFailure`` for an exit code that is not in ``accept``, with what it complained.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        raise LabFailure(f"louverd {arguments[0]} took over {COMMAND_SECONDS:.0f} s") from None
    if process.returncode not in accept:
        raise LabFailure(f"louverd {' '.join(arguments)} failed: {_tail(complaint)}")
    return output


@asynccontextmanager
async def process(arguments: Sequence[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """``louverd`` with these arguments, all it says in ``log``, stopped at the end."""
    with log.open("wb") as said:
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment(),
        )
    try:
        yield run
    finally:
        await _stop(run)


def section(name: str, keys: dict[str, object]) -> str:
    """A table of a settings file."""
    # JSON's strings, numbers and booleans are TOML's.
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in keys.items()]
    return "".join([f"\n[{name}]\n" if name else "", *lines])


async def ready(
    process: asyncio.subprocess.Process, port: int, log: Path, path: str = "/readyz"
) -> None:
    """Wait until it answers there. Raises ``LabFailure`` with what it said last."""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await asyncio.to_thread(_answers, url):
                if process.returncode is not None:
                    raise LabFailure(f"{log.stem} did not start: {_last_words(log)}")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise LabFailure(f"{log.stem} is not ready: {_last_words(log)}") from None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  our own http address
            return bool(answer.status == 200)
    except OSError:  # refused, not ready (503), or too slow
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask it to drain, and insist if it does not: nothing of ours may outlive the comparison."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise


def _last_words(log: Path) -> str:
    return _tail(log.read_bytes())


def _tail(raw: bytes, lines: int = 8) -> str:
    return "\n".join(raw.decode(errors="replace").strip().splitlines()[-lines:]) or "(no output)"
