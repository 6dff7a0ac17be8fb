"""Exposure probes: what each adversary really holds after the trace, searched for its canaries.

What may live here: collecting one adversary's artefacts, planting that probe's control, and the
verdict against the mode's declaration. What may not: the search itself (``search``).

Silence proves something only where the same probe can hear: each artefact also carries a
*control*, a canary that gets there by a way which every mode leaves in the clear (an account
name, a TLS server name, a refused origin). A probe that misses its control fails the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

from client.compare import proc
from client.compare.canary import ACCOUNT, ORIGIN, SERVER_NAME, Canaries
from client.compare.lab import Relay
from client.compare.results import Exposure
from client.compare.search import OVERLAP, Found, Searcher
from client.compare.tap import Tap

CONTROLS = {
    "network_tap": SERVER_NAME,
    "database": ACCOUNT,
    "backup": ACCOUNT,
    "logs": ORIGIN,
    "relay_memory": ACCOUNT,
    "compelled_operator": ACCOUNT,
}
# Nothing there to listen to; what a mode declares about it is neither shown nor refuted.
_ABSENT = {"bus": "in-process: nothing to tap"}
_CHUNK = 8 * 1024 * 1024


async def say_server_name(port: int, canary: str) -> None:
    """Plant the tap's control: a TLS handshake whose server name, sent in the clear, holds it."""
    context = ssl.create_default_context()
    with contextlib.suppress(OSError, TimeoutError):  # nobody has that name; it was said
        async with asyncio.timeout(5):
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=f"{canary}.invalid"
            )


async def knock_from(port: int, context: ssl.SSLContext, canary: str) -> None:
    """Plant the log's control: a browser's request from a web origin that is refused."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="127.0.0.1"
    )
    writer.write(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Version: 13\r\nOrigin: https://{canary}.invalid\r\n\r\n".encode()
    )
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            await writer.drain()
            await reader.read()
    writer.close()


class Probes:
    """The searches of one relay; ``look_…`` may be called again, later finds add up."""

    def __init__(self, relay: Relay, canaries: Canaries) -> None:
        self._relay = relay
        self._canaries = canaries
        self._searchers: dict[str, Searcher] = {}
        self._notes: dict[str, str] = {}

    def look_at_memory(self) -> None:
        """The relay's memory, now."""
        searcher = self._searcher("relay_memory")
        try:
            for chunk in proc.memory(self._relay.pid, OVERLAP):
                searcher.feed(chunk, headless=False)
        except PermissionError:
            del self._searchers["relay_memory"]
            self._notes["relay_memory"] = "this system forbids reading a child's memory"

    def look_at_files(self) -> None:
        """The database files as they lie on the disk, with write-ahead logs and free pages."""
        files = sorted(self._relay.data.glob("*.db*"))
        for path in files:
            self._read("database", path)

    def look_at_backup(self) -> None:
        """A copy through SQLite's online backup, as an operator would take it."""
        for source in sorted(self._relay.data.glob("*.db")):
            copy = self._relay.home / f"backup-{source.name}"
            with (
                contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as database,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                database.backup(target)
            self._read("backup", copy)

    def look_at_log(self) -> None:
        """Everything the relay printed."""
        self._read("logs", self._relay.log)

    def look_at_tap(self, tap: Tap) -> None:
        """Every byte on the wire."""
        searcher = self._searcher("network_tap")
        for heard in tap.heard:
            for start in range(0, len(heard), _CHUNK):
                searcher.feed(bytes(heard[start : start + _CHUNK + OVERLAP]), headless=False)

    def look_as_operator(self, revealed: bytes) -> None:
        """All files of the data directory, keys included, and the output of the reveal command."""
        for path in sorted(p for p in self._relay.data.rglob("*") if p.is_file()):
            self._read("compelled_operator", path)
        self._searcher("compelled_operator").feed(revealed)

    def exposure(
        self,
        declared: Mapping[str, bool],
        planted: Iterable[int],
        others: Mapping[str, Exposure] | None = None,
    ) -> dict[str, Exposure]:
        """The verdict on every adversary; ``others`` were probed elsewhere."""
        wanted = frozenset(planted)
        return {
            who: (others or {}).get(who) or self._verdict(who, reads, wanted)
            for who, reads in declared.items()
        }

    def _verdict(self, who: str, declared: bool, planted: frozenset[int]) -> Exposure:
        searcher = self._searchers.get(who)
        if searcher is None:
            note = self._notes.get(who) or _ABSENT.get(who, "not probed")
            absent = who in _ABSENT
            return Exposure(declared=declared, measured=False, applicable=not absent, note=note)
        found = searcher.found
        return verdict(declared, found, planted, heard=CONTROLS[who] in found.numbers)

    def _read(self, who: str, path: Path) -> None:
        searcher = self._searcher(who)
        with path.open("rb") as file:
            rest = b""
            while chunk := file.read(_CHUNK):
                searcher.feed(rest + chunk)
                rest = chunk[-OVERLAP:]

    def _searcher(self, who: str) -> Searcher:
        return self._searchers.setdefault(who, Searcher(self._canaries))


def verdict(
    declared: bool,
    found: Found,
    planted: frozenset[int],
    *,
    heard: bool,
    kept: int | None = None,
    note: str = "",
) -> Exposure:
    """What was found, held to what the mode declares; void unless the control was ``heard``."""
    recovered = len(found.numbers & planted)
    return Exposure(
        declared=declared,
        measured=True,
        planted=len(planted),
        recovered=recovered,
        searched_bytes=found.searched,
        kept=kept,
        ok=heard and (recovered > 0) == declared,
        forms=_forms(found, planted),
        note=note if heard else "the probe did not find its own control: its silence is void",
    )


def _forms(found: Found, planted: frozenset[int]) -> dict[str, int]:
    counts = {form: len(numbers & planted) for form, numbers in found.forms.items()}
    return {form: count for form, count in sorted(counts.items()) if count}


def stored_bytes(data: Path) -> int:
    """Bytes in use in the relay's databases, indexes included, free pages not."""
    total = 0
    for path in data.glob("*.db"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            pages, free, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        total += (pages - free) * size
    return total


def reported_bytes(data: Path) -> int:
    """Bytes of all reports in the database: what the relay's lists found while messages passed is
    no part of what a message takes."""
    with contextlib.closing(sqlite3.connect(f"file:{data / 'louver.db'}?mode=ro", uri=True)) as db:
        (size,) = db.execute("SELECT coalesce(sum(length(sealed)), 0) FROM report").fetchone()
    return int(size)
