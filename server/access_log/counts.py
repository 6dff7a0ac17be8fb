"""What a DSA or Santa Clara style transparency report counts, from the log's entries alone.

Only counting lives here, and the numbers. What may not: how they are written, and the relay's or
vault's own tables, which nobody outside can verify.

Every number is of entries made from ``first`` up to, but not including, ``end``:

==================  ============================================================================
requests            asked for, by basis, authority and country
granted, refused    grants that came into force; requests and approvals refused or declined
readings, records   readings under a grant, and how many records they opened
over-collection     records opened in cases less messages that were acted upon in them
reports, handled    reports that came in, by category once known; median hours until settled
actions, appeals    by kind; how many appeals, and how many decisions were reversed
==================  ============================================================================
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

import msgspec

from crypto_modes.transparency.access_log import Entry

# An emergency is in force before its second approval.
FORCE = frozenset({"granted", "unreviewed"})
UNKNOWN = "not said"
HOUR = 3_600_000


class Row(msgspec.Struct, frozen=True):
    """One number: in which table, of what, how many (or hours)."""

    table: str
    name: str
    value: float


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of a time (milliseconds), and the log that they come from."""

    first: int
    end: int
    log: str
    size: int
    root: str
    erased: int
    rows: tuple[Row, ...]


def matters(entry: Entry, first: int, end: int) -> bool:
    """Whether ``count`` looks at it: what came before may have been settled in this time."""
    return first <= entry.time < end or entry.kind == "report"


def count(entries: Sequence[Entry], first: int, end: int) -> Iterator[Row]:
    """Every number, table by table."""
    within = [each for each in entries if first <= each.time < end]
    of: defaultdict[str, list[Entry]] = defaultdict(list)
    for each in within:
        of[each.kind].append(each)
    yield from _table("requests by basis", (each.basis or UNKNOWN for each in of["request"]))
    for name in ("authority", "country"):
        yield from _table(f"requests by {name}", _details(of["request"], name))
    yield from _grants(of["approval"], of["refused"])
    yield from _readings(of["read"], of["action"])
    taken = [each for each in of["action"] if each.detail.get("event") == "taken"]
    settled = [*taken, *(each for each in of["case"] if each.detail.get("event") == "settled")]
    yield Row("reports", "received", len(of["report"]))
    yield from _table("reports settled by category", _details(settled, "category"))
    hours = list(_hours(entries, settled))
    if hours:
        yield Row("reports", "median hours until settled", round(median(hours), 2))
    yield from _table("actions", _details(taken, "kind"))
    yield Row("appeals", "made", len(of["appeal"]))
    yield from _table("appeals decided", _details(of["decision"], "outcome"))
    yield from _table("notices sent", _details(of["notice"], "topic"))
    yield Row("alerts", "emergencies without a second approval", len(of["alert"]))


def _grants(approvals: Iterable[Entry], refused: Sequence[Entry]) -> Iterator[Row]:
    outcomes = {(each.grant, each.detail.get("outcome", "")) for each in approvals}
    granted = {grant for grant, outcome in outcomes if outcome in FORCE}
    yield Row("grants", "granted", len(granted))
    yield Row("grants", "declined", sum(outcome == "declined" for _, outcome in outcomes))
    yield Row("grants", "steps refused by the rules", len(refused))


def _readings(reads: Sequence[Entry], actions: Iterable[Entry]) -> Iterator[Row]:
    opened = [each for each in reads if each.grant]
    yield from _table("readings by basis", (each.basis or UNKNOWN for each in opened))
    reports = {each.detail.get("report", "") for each in reads if not each.grant}
    yield Row("readings", "of reports", len(reports))
    yield Row("readings", "records opened", sum(each.count for each in opened))
    yield Row("readings", "bytes opened", sum(each.size for each in opened))
    records: defaultdict[bytes, set[bytes]] = defaultdict(set)
    acted: Counter[bytes] = Counter()
    for each in opened:
        records[each.case].update(each.records)
    for each in actions:
        acted[each.case] += each.count
    over = sum(max(len(ids) - acted[case], 0) for case, ids in records.items())
    yield Row("readings", "over-collection: records opened, not acted upon", over)


def _hours(entries: Iterable[Entry], settled: Iterable[Entry]) -> Iterator[float]:
    came = {each.detail.get("report", ""): each.time for each in entries if each.kind == "report"}
    for each in settled:
        number = each.detail.get("report", "")
        if number in came:
            yield (each.time - came[number]) / HOUR


def _details(entries: Iterable[Entry], name: str) -> Iterator[str]:
    return (each.detail.get(name) or UNKNOWN for each in entries)


def _table(table: str, names: Iterable[str]) -> Iterator[Row]:
    counted = Counter(names)
    yield from (Row(table, name, counted[name]) for name in sorted(counted))
