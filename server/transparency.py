"""The transparency report: what a DSA or Santa Clara style report counts, from the log alone.

What may live here: verifying a copy of the access log, and the three forms in which the counts
are written. What may not: counting (``access_log.counts``). It measures access, not safety. HTML is
written with ``html.escape`` and needs no template: it is tables only.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from html import escape
from pathlib import Path

import msgspec

from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.transparency.access_log import Leaf, Opened
from crypto_modes.transparency.note import Verifier, open_checkpoint
from crypto_modes.transparency.tiles import read_whole
from server.access_log.counts import Counted, Row, count


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


def report(copy: Path, log: Verifier, first: int, end: int) -> Counted:
    """The report over a verified copy, of the time from ``first`` to ``end``, milliseconds."""
    shown, size, root = entries_of(copy, log)
    # What came before may have been settled in this time, so all entries are looked at.
    entries = [each.entry for each in shown if each.entry is not None]
    return Counted(
        first=first,
        end=end,
        log=log.name,
        size=size,
        root=root.hex(),
        erased=len(shown) - len(entries),
        rows=tuple(count(entries, first, end)),
    )


# How it is written


def as_json(found: Counted) -> str:
    """For programs."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"


def as_csv(found: Counted) -> str:
    """For spreadsheets: ``table,name,value``. A cell that a program would take for a formula, and
    the words of authorities are others' words, begins with an apostrophe."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(["table", "name", "value"])
    for row in found.rows:
        lines.writerow([row.table, _cell(row.name), f"{row.value:.15g}"])
    return written.getvalue()


def as_html(found: Counted, span: str) -> str:
    """A page that needs nothing else; ``span`` is the time in words."""
    tables: defaultdict[str, list[Row]] = defaultdict(list)
    for row in found.rows:
        tables[row.table].append(row)
    parts = [_HEAD.format(span=escape(span))]
    for name, rows in tables.items():
        cells = "".join(
            f"<tr><td>{escape(row.name)}</td><td class=n>{row.value:.15g}</td></tr>\n"
            for row in rows
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
