"""The moderation office of a comparison: a vault's process, four of the staff, and their log.

What may live here: starting the vault, letting people in as an operator does, asking as they do,
and auditing the log they leave. What may not: deciding what is asked for, or counting (``drill``,
``court``). All of it goes through what ``louver mod`` uses, against the relay's moderation API and
the vault's own listener; machines take a moment where people take days.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp

from client import auditing, log_files
from client.compare import lab
from client.compare.lab import Relay, Team, louverd
from client.moderation.asking import PREFIX, Office, Vault, signed
from client.moderation.post import Addresses, Post, Session
from crypto_modes.grants import Role
from crypto_modes.transparency.access_log import Entry
from crypto_modes.transparency.note import Verifier

STAFF: dict[str, Role] = {"lena": "legal", "luis": "legal", "sven": "senior", "auda": "auditor"}


@dataclass(frozen=True)
class Desk:
    """One person: who it is, the moderation API and the vault, as that person."""

    post: Post
    office: Office
    vault: Vault

    @property
    def name(self) -> str:
        """The name in the staff."""
        return self.office.name


@dataclass(frozen=True)
class Staff:
    """Everybody of ``STAFF`` by name, the address of their vault, its process and directory."""

    desks: dict[str, Desk]
    vault: str
    home: Path
    pid: int

    @property
    def data(self) -> Path:
        """The vault's data directory."""
        return self.home / "data"

    @property
    def printed(self) -> Path:
        """Everything the vault printed."""
        return self.home / "vault.log"

    def log(self) -> list[Entry]:
        """Every entry of the access log, which was copied, verified leaf by leaf, and held to the
        entries shown to the auditor. Raises ``LogRefused``."""
        site, auditor = log_files.Site(self.vault), self.desks["auda"].post
        copy = self.home / "access-log"
        log_files.fetch(site.read, copy)
        status = json.loads(site.ask("/vault/v1/status")[1])
        held = auditing.verify(
            log_files.Directory(copy).read, auditing.Trust(Verifier.decode(status["log"]))
        )
        reader = log_files.Staff("auda", auditor.key())
        shown = log_files.fetch_opened(site, reader, lambda: time.time_ns() // 1_000_000)
        shown = shown[: held.head.size]  # it may have grown since its copy was made
        auditing.entries(held, shown)
        return [each.entry for each in shown if each.entry is not None]


@asynccontextmanager
async def staffed(relay: Relay, team: Team, name: str) -> AsyncIterator[Staff]:
    """A vault for ``relay`` in a directory of this ``name``, and the staff at work.

    Raises ``LabFailure``.
    """
    home = relay.home / name
    home.mkdir(mode=0o700)
    config = home / "vault.toml"
    config.write_text(_settings(relay, team, home))
    async with lab.process(("vault", "serve", "--config", str(config)), home / "vault.log") as run:
        await lab.ready(run, relay.vault, home / "vault.log", "/healthz")
        address = f"http://127.0.0.1:{relay.vault}"
        posts = {name: Post(home / name) for name in STAFF}
        _, invites = await asyncio.gather(_known(posts, config), _invited(relay))
        desks = {
            name: await asyncio.to_thread(_log_in, relay, post, address, name, invites[name])
            for name, post in posts.items()
        }
        yield Staff(desks, address, home, run.pid)


def _who(name: str) -> tuple[str, ...]:
    return (name, "--role", STAFF[name], "--subject", f"{name}@office.invalid")


async def _known(posts: Mapping[str, Post], config: Path) -> None:
    """Everybody makes a key of his own, and the vault's operator puts it on its list."""
    for name, post in posts.items():
        key = (await asyncio.to_thread(post.key, make=True)).public.hex()
        await louverd("vault", "staff", "add", *_who(name), "--key", key, "--config", str(config))


async def _invited(relay: Relay) -> dict[str, str]:
    """The relay's operator invites everybody; the invitations by name."""
    invites = {}
    for name in STAFF:
        told = await louverd("staff", "add", *_who(name), "--config", str(relay.config))
        invites[name] = json.loads(told)["invite"]
    return invites


def _log_in(relay: Relay, post: Post, vault: str, name: str, invite: str) -> Desk:
    post.remember(Addresses(name=name, url=f"http://127.0.0.1:{relay.internal}", vault=vault))
    office = Office(post)
    password = secrets.token_hex(16)
    body = {"invite": invite, "key": post.key().public.hex(), "password": password}
    header = signed(post.key(), f"{PREFIX}/join", json.dumps(body).encode(), name)
    joined = office.open("/join", body, header)
    secret = parse_qs(urlsplit(joined["authenticator"]).query)["secret"][0]
    body = {"name": name, "password": password, "code": pyotp.TOTP(secret).now()}
    opened = office.open("/sessions", body)
    post.open(Session(token=opened["token"], expires=opened["expires"]))
    return Desk(post, office, Vault(post))


def _settings(relay: Relay, team: Team, home: Path) -> str:
    sections: dict[str, dict[str, object]] = {
        "": {"data": str(home / "data")},
        "listen": {"port": relay.vault},
        "relay": {
            "address": f"http://127.0.0.1:{relay.internal}",
            "token": str(relay.data / "vault.token"),
        },
        "keys": {"door": [str(team.home / "vault.key")], "team": [str(team.secret)]},
    }
    return "".join(lab.section(name, keys) for name, keys in sections.items())
