"""The transparency report: what a DSA or Santa Clara style report counts, from the log alone.

What may live here: verifying a copy of the access log, counting its entries, and the three forms
in which the counts are written. What may not: the relay's or vault's own tables, which nobody
outside can verify. It measures access, not safety. HTML is written with ``html.escape`` and needs
no template: it is tables only.

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

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from statistics import median

import msgspec

from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.transparency.access_log import Entry, Leaf, Opened
from crypto_modes.transparency.note import Verifier, open_checkpoint
from crypto_modes.transparency.tiles import read_whole

# An emergency is in force before its second approval.
FORCE = frozenset({"granted", "unreviewed"})
UNKNOWN = "not said"
HOUR = 3_600_000


class Row(msgspec.Struct, frozen=True):
    """One number: in which table, of what, how many (or hours)."""

    table: str
    name: str
    value: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of a time (milliseconds), and the log that they come from."""

    first: int
    end: int
    log: str
    size: int
    root: str
    erased: int
    rows: tuple[Row, ...]


def entries_of(copy: Path, log: Verifier) -> tuple[list[Opened], int, bytes]:
    """The entries in a copy of the log as ``louver audit fetch`` makes it, each held to its leaf;
    the log's size and root. Raises ``LogRefused``, ``BadArgument``.
    """
    head = open_checkpoint(_bytes(copy / "checkpoint"), log)
    whole = read_whole(head, lambda path: _bytes(copy / path))
    try:
        shown = msgspec.json.decode(_bytes(copy / "entries.json"), type=list[Opened])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise LogRefused(f"{copy}/entries.json holds no entries of an access log") from None
    if [each.index for each in shown] != list(range(head.size)):
        raise LogRefused(f"{copy} does not have one entry for each of its {head.size} leaves")
    for each, leaf in zip(shown, whole.leaves, strict=True):
        each.check(Leaf.decode(leaf))
    return shown, head.size, head.root


def report(copy: Path, log: Verifier, first: int, end: int) -> Report:
    """The report over a verified copy, of the time from ``first`` to ``end``, milliseconds."""
    shown, size, root = entries_of(copy, log)
    # What came before may have been settled in this time, so all entries are looked at.
    entries = [each.entry for each in shown if each.entry is not None]
    return Report(
        first=first,
        end=end,
        log=log.name,
        size=size,
        root=root.hex(),
        erased=len(shown) - len(entries),
        rows=tuple(count(entries, first, end)),
    )


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
    yield Row("reports", "received", len(of["report"]))
    yield from _table("reports settled by category", _details(taken, "category"))
    hours = list(_hours(entries, taken))
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


def _hours(entries: Iterable[Entry], taken: Iterable[Entry]) -> Iterator[float]:
    came = {each.detail.get("report", ""): each.time for each in entries if each.kind == "report"}
    for each in taken:
        number = each.detail.get("report", "")
        if number in came:
            yield (each.time - came[number]) / HOUR


def _details(entries: Iterable[Entry], name: str) -> Iterator[str]:
    return (each.detail.get(name) or UNKNOWN for each in entries)


def _table(table: str, names: Iterable[str]) -> Iterator[Row]:
    counted = Counter(names)
    yield from (Row(table, name, counted[name]) for name in sorted(counted))


# How it is written


def as_json(found: Report) -> str:
    """For programs."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"


def as_csv(found: Report) -> str:
    """For spreadsheets: ``table,name,value``. A cell that a program would take for a formula, and
    the words of authorities are others' words, begins with an apostrophe."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(["table", "name", "value"])
    for row in found.rows:
        lines.writerow([row.table, _cell(row.name), f"{row.value:g}"])
    return written.getvalue()


def as_html(found: Report, span: str) -> str:
    """A page that needs nothing else; ``span`` is the time in words."""
    tables: defaultdict[str, list[Row]] = defaultdict(list)
    for row in found.rows:
        tables[row.table].append(row)
    parts = [_HEAD.format(span=escape(span))]
    for name, rows in tables.items():
        cells = "".join(
            f"<tr><td>{escape(row.name)}</td><td class=n>{row.value:g}</td></tr>\n" for row in rows
        )
        parts.append(f"<h2>{escape(name.capitalize())}</h2>\n<table>\n{cells}</table>\n")
    foot = (
        f"Counted from {found.size} entries of {found.log}, root {found.root}, of which"
        f" {found.erased} were erased; every entry was held to its leaf. This measures access, not"
        " safety. In mode tls a database can be read without the vault and leaves no entry."
    )
    return "".join([*parts, f"<p>{escape(foot)}</p>\n"])


_HEAD = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>Transparency report</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td{{border-bottom:1px solid #ccc;padding:.3rem 0}}
.n{{text-align:right;font-variant-numeric:tabular-nums}}</style>
<h1>Transparency report</h1>
<p>{span}</p>
"""


def _cell(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadArgument(
            f"cannot read {path}: {error.strerror}; make a copy with entries: louver audit fetch"
            " ADDRESS DIR --name NAME --key-file FILE"
        ) from None
