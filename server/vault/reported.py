"""Opening a sealed report: fetch, enter in the log, unseal, ask the relay, enter, judge, show.

What may live here: that one use case, in that order. What may not: what a verdict means
(``crypto_modes.verdicts``), what follows from it.

What a reporter revealed needs no approval, and is entered all the same, twice: before the report is
unsealed, when nobody knows what it is about, and then with the conversation and the messages, so
that the two who talk there can find the entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from crypto_modes import verdicts
from crypto_modes.disclosure import Entered, Opened, ReportCall
from crypto_modes.errors import GrantRefused, LogUnavailable, LouverError
from crypto_modes.grants import RULES, Person
from crypto_modes.reports import Report, Sealed
from crypto_modes.transparency.access_log import Entry
from crypto_modes.verdicts import Answer, Finding, Question
from server.access_log import AccessLog
from server.vault.asking import Asking, Refusals
from server.vault.keys import Keys
from server.vault.revealed import Revealed


class SealedReports(Protocol):
    """Who has the reports, and can confirm what is in them (``relay.Relay``)."""

    async def report(self, id: bytes) -> Sealed: ...
    async def confirm(self, questions: list[Question]) -> list[Answer]: ...


class Reported:
    """The use case. ``now`` is the clock, in milliseconds."""

    def __init__(
        self,
        *,
        asking: Asking,
        refusals: Refusals,
        relay: SealedReports,
        keys: Keys,
        revealed: Revealed,
        log: AccessLog,
        now: Callable[[], int],
    ) -> None:
        self._revealed = revealed
        self._asking = asking
        self._refusals = refusals
        self._relay = relay
        self._keys = keys
        self._log = log
        self._now = now

    async def open(self, reader: Person, call: ReportCall) -> Opened:
        """The report for ``reader``, who made ``call`` just now.

        Raises ``GrantRefused``, ``ReportRefused``, ``Forbidden`` where there is none, or
        ``Unavailable``; each is entered in the log, unless it is the log.
        """
        entry = Entry(
            kind="read",
            time=self._now(),
            case=call.case,
            basis="user_report",
            actor=reader.name,
            detail={"report": call.report.hex(), "outcome": "unsealed"},
        )
        try:
            return await self._open(reader, call, entry)
        except LogUnavailable:
            raise
        except LouverError as error:
            await self._refusals.of(entry, error)
            raise

    async def _open(self, reader: Person, call: ReportCall, entry: Entry) -> Opened:
        await self._check(reader)
        self._keys.check_team()
        sealed = await self._relay.report(call.report)
        await self._check(reader)
        await self._log.append([_changed(entry, time=self._now(), size=len(sealed.sealed))])
        await self._check(reader)
        report = self._keys.open(sealed)
        answers = await self._relay.confirm([verdicts.question(item) for item in report.items])
        about = {
            "time": self._now(),
            "conversation": report.items[0].conversation,
            "account": report.reported,
            "records": tuple(item.id for item in report.items),
            "count": len(report.items),
            "size": sum(len(item.message) for item in report.items),
            "detail": {**entry.detail, "outcome": "opened", "category": report.category},
        }
        receipt = await self._log.append([_changed(entry, **about)])
        # Relay and log may have taken their time: who was removed meanwhile sees nothing.
        await self._check(reader)
        findings = verdicts.judge(report, answers)
        # The place of a claim is the reporter's word: around it whoever agrees with him could
        # choose what is read. That of what is proven is in the stamp, or the relay's record.
        pairs = zip(report.items, findings, strict=True)
        proven = [item for item, found in pairs if found.state in verdicts.PROVEN]
        await self._revealed.add((each.conversation, each.seq) for each in proven)
        return _opened(sealed, report, findings, Entered(receipt.index, receipt.checkpoint))

    async def _check(self, reader: Person) -> None:
        staff = await self._asking.people()
        if staff.get(reader.name) != reader:
            raise GrantRefused(f"{reader.name} is not of the staff")
        allowed = RULES["user_report"].requesters
        if reader.role not in allowed:
            raise GrantRefused(f"reports are read by {' or '.join(allowed)}, not by {reader.role}")


def _changed(entry: Entry, **changes: Any) -> Entry:
    return msgspec.structs.replace(entry, **changes)


def _opened(sealed: Sealed, report: Report, findings: list[Finding], receipt: Entered) -> Opened:
    return Opened(
        receipt=receipt,
        report=sealed.id,
        reporter=report.reporter,
        reported=report.reported,
        conversation=report.items[0].conversation,
        category=report.category,
        words=report.words,
        created=report.created,
        time=sealed.time,
        findings=tuple(findings),
        notes=tuple(verdicts.notes(findings)),
    )
