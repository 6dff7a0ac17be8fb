"""The moderation team's desk: fetching sealed reports from a relay, and judging them.

What may live here: running the operator's export, opening and judging file by file with the code
that moderators use (``client.verifying``). What may not: deciding what is proven, or counting
(``drill``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from client import verifying
from client.compare import reporting
from client.compare.lab import Relay, Team, louverd
from client.verifying import Platform
from crypto_modes.errors import CannotOpen, ReportRefused
from crypto_modes.reports import SCANNER, Item, Report, Sealed
from crypto_modes.verdicts import Finding


@dataclass(frozen=True)
class Judged:
    """One report on the desk. ``report`` None: the whole of it was refused.

    ``at`` is ``time.monotonic()`` when the verdict was there.
    """

    at: float
    report: Report | None
    findings: Sequence[Finding] = ()

    @property
    def pairs(self) -> list[tuple[Item, Finding]]:
        """Every message with the verdict on it."""
        items = self.report.items if self.report else ()
        return list(zip(items, self.findings, strict=True))


async def fetch(relay: Relay) -> list[Path]:
    """The files of all sealed reports of this relay. Raises ``LabFailure``."""
    directory = relay.home / "reports"
    await louverd("reports", "export", str(directory), "--config", str(relay.config))
    return sorted(directory.glob("*.report"))


def by_scanner(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Users' reports, and those of the relay's own scanning."""
    users: list[Path] = []
    scanners: list[Path] = []
    for file in files:
        scanned = Sealed.from_json(file.read_bytes()).reporter == SCANNER
        (scanners if scanned else users).append(file)
    return users, scanners


def lay(directory: Path, forged: Iterable[Report], team: Team) -> list[Path]:
    """Forged reports in files as if they had been fetched."""
    directory.mkdir()
    now, files = time.time_ns() // 1_000_000, []
    for number, report in enumerate(forged):
        files.append(directory / f"{number:05}.report")
        files[-1].write_bytes(reporting.sealed(report, team.public, now).to_json() + b"\n")
    return files


def judge(files: Iterable[Path], secret: Path, platform: Platform) -> list[Judged]:
    """The verdict on each file, in order."""
    judged = []
    for file in files:
        try:
            found = verifying.verify(file, secret, platform)
        except (CannotOpen, ReportRefused):
            judged.append(Judged(time.monotonic(), None))
        else:
            judged.append(Judged(time.monotonic(), found.report, found.findings))
    return judged
