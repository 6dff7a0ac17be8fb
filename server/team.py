"""The operator's tools for the moderation team: its key pair, and the sealed reports for it.

What may live here: what ``louverd moderation`` and ``louverd reports`` do. A composition root of
its own, because it must not start a relay. Nothing here opens a report: the secret key is made
here, in a file for the team to take away, and never read again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from crypto_modes import reports
from crypto_modes.errors import BadConfig
from crypto_modes.keys import TeamKey
from server.secrets_file import secret_file
from server.settings_tree import Settings
from server.store import SealedReport
from server.store.sqlite import ReadOnlySqliteStore

PAGE = 100


def has_pair(directory: Path, name: str = "team") -> bool:
    """Whether ``keygen`` would find a secret key there, and leave it as it is."""
    return os.path.lexists(directory / f"{name}.key")


def keygen(directory: Path, name: str = "team") -> tuple[Path, Path, str]:
    """Make the key pair of the ``team``, or of the ``vault``; the files of the secret and of the
    public half, and the fingerprint.

    A secret key that is there stays, and its public half is written again. Raises ``BadConfig``.
    """
    secret, public = directory / f"{name}.key", directory / f"{name}.pub"
    team = TeamKey(secret_file(secret, TeamKey.size)).public
    try:
        public.write_bytes(team)
    except OSError as error:
        raise BadConfig(f"cannot write {public}: {error.strerror}") from None
    return secret, public, reports.fingerprint(team)


async def listing(settings: Settings) -> AsyncIterator[tuple[int, reports.Sealed]]:
    """Every report by its number, also while a relay runs. Raises ``BadConfig``."""
    async with _store(settings) as store:
        after = 0
        while page := await store.reports(after, PAGE):
            for report in page:
                yield report.number, _file(store.deployment, report)
            after = page[-1].number


async def export(settings: Settings, directory: Path) -> tuple[int, int]:
    """Write each report that is not there yet to a file of its own: how many new, how many in all.

    Raises ``BadConfig`` where the directory cannot be written.
    """
    new = count = 0
    async for number, report in listing(settings):
        path = directory / f"{number:08}-{report.id.hex()}.report"
        new += await asyncio.to_thread(_write, path, report)
        count += 1
    return new, count


def _write(path: Path, report: reports.Sealed) -> bool:
    """Whether the report was not there. Whole or not at all: who reads meanwhile sees no half."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            return False
        part = path.with_suffix(".part")
        part.write_bytes(report.to_json() + b"\n")
        part.replace(path)
    except OSError as error:
        raise BadConfig(f"cannot write to {path.parent}: {error.strerror}") from None
    return True


def _file(relay: bytes, report: SealedReport) -> reports.Sealed:
    return reports.Sealed(
        relay=relay,
        reporter=report.reporter,
        id=report.id,
        time=report.time,
        tags=report.tags,
        sealed=report.sealed,
    )


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[ReadOnlySqliteStore]:
    store = ReadOnlySqliteStore(settings.data)
    try:
        await store.open()
        yield store
    finally:
        await store.close()
