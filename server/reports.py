"""Reports at the relay: handing out the team's key, and taking what is sealed to it.

What may live here: the two use cases and the reading of the public key. What may not: the secret
key, which no part of the relay ever reads, or what a report says, which it cannot. A report is
answered once it is durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crypto_modes import wire
from crypto_modes.errors import BadConfig, Forbidden, KeyRefused, RateLimited
from crypto_modes.primitives import HPKE_KEY_SIZE, hpke_check
from server.limits import Rates
from server.store import SealedReport, Store
from server.watch import Watch

if TYPE_CHECKING:
    from server.session import Session

# Of one account, whatever the team does: 44 MiB at most.
KEPT_LIMIT = 1_000


class Reports:
    """``team`` is the moderation team's public key, or empty: then there is nobody to report to."""

    def __init__(self, store: Store, rates: Rates, observer: Watch, team: bytes) -> None:
        self._store = store
        self._rates = rates
        self._observer = observer
        self._team = team
        # Told of each report that was kept, so that it need not wait for the minute.
        self.arrived: Callable[[], None] = _nobody

    async def team(self, session: Session, frame: wire.GetTeam) -> None:
        """Answer with the team's key."""
        session.link.send(wire.Team(ref=frame.ref, key=self._team))

    async def take(self, session: Session, frame: wire.Report) -> None:
        """Keep a report for the team. The reporter is who is logged in, never a field."""
        if not self._team:
            raise Forbidden("this relay has no moderation team to report to")
        wait = self._rates.report(session.account, time.monotonic())
        if wait > 0.0:
            raise RateLimited("too many reports", retry_after=wait)
        taken = await self._store.put_report(
            SealedReport(
                id=frame.id,
                reporter=session.account,
                time=time.time_ns() // 1_000_000,
                tags=frame.tags,
                sealed=frame.sealed,
            ),
            KEPT_LIMIT,
        )
        self._observer.changed("report taken", count=len(taken.tags))
        self.arrived()
        session.link.send(wire.Reported(ref=frame.ref, id=taken.id, time=taken.time))


def _nobody() -> None:
    """Where nobody works on reports, as in tests."""


def team_key(file: str) -> bytes:
    """The team's public key in ``file``, 1,216 bytes; empty for no file. Raises ``BadConfig``."""
    return public_key(file, "moderation.key", "moderation keygen")


def public_key(file: str, setting: str, made_by: str) -> bytes:
    """The same for the file that ``setting`` names and ``louverd made_by`` makes."""
    if not file:
        return b""
    try:
        with Path(file).open("rb") as opened:
            key = opened.read(HPKE_KEY_SIZE + 1)
        hpke_check(key)
    except OSError as error:
        raise BadConfig(f"{setting}: cannot read {file}: {error.strerror}") from None
    except KeyRefused as error:
        raise BadConfig(
            f"{setting}: {file} holds no public key ({error}); name the .pub file that `louverd"
            f" {made_by}` made"
        ) from None
    return key
