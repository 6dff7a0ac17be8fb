"""Sealed reports and their tags: rows in, structs out.

Only functions over a connection live here, run inside their caller's transaction: on the one
writing thread nobody else can use the same tag.
"""

from __future__ import annotations

import apsw
import msgspec

from crypto_modes.errors import Forbidden, LimitExceeded
from server.store import HeldMessage, SealedReport
from server.store.sqlite import held as holding
from server.store.sqlite.rows import Row

_COLUMNS = "SELECT number, id, reporter, time, sealed FROM report"
_USED = "SELECT count(*) FROM report_tag WHERE reporter = ? AND tag = ?"


def put(
    db: apsw.Connection, report: SealedReport, limit: int, held: HeldMessage | None
) -> SealedReport:
    """See ``Store.put_report``."""
    if held is not None:
        holding.put(db, held)
    for row in db.execute(
        f"{_COLUMNS} WHERE reporter = ? AND id = ?", (report.reporter, report.id)
    ):
        return _report(db, row)
    for position, tag in enumerate(report.tags, 1):
        if db.execute(_USED, (report.reporter, tag)).get:
            raise Forbidden(f"you have reported message {position} of these before: leave it out")
    kept = db.execute("SELECT count(*) FROM report WHERE reporter = ?", (report.reporter,)).get
    if kept >= limit:
        raise LimitExceeded(f"{limit} of your reports wait for the team; there is no room for more")
    db.execute(
        "INSERT INTO report (id, reporter, time, sealed) VALUES (?, ?, ?, ?)",
        (report.id, report.reporter, report.time, report.sealed),
    )
    number = db.last_insert_rowid()
    try:
        db.executemany(
            "INSERT INTO report_tag (reporter, tag, report, position) VALUES (?, ?, ?, ?)",
            [(report.reporter, tag, number, place) for place, tag in enumerate(report.tags)],
        )
    except apsw.ConstraintError:
        raise Forbidden("one message is in this report twice") from None
    return msgspec.structs.replace(report, number=number)


def page(db: apsw.Connection, after: int, limit: int) -> list[SealedReport]:
    """See ``Store.reports``."""
    sql = f"{_COLUMNS} WHERE number > ? ORDER BY number LIMIT ?"
    return [_report(db, row) for row in db.execute(sql, (after, limit)).fetchall()]


def find(db: apsw.Connection, id: bytes) -> SealedReport | None:
    """See ``Store.report``."""
    rows = db.execute(f"{_COLUMNS} WHERE id = ? ORDER BY number LIMIT 1", (id,)).fetchall()
    return _report(db, rows[0]) if rows else None


def _report(db: apsw.Connection, row: Row) -> SealedReport:
    number, id_, reporter, time, sealed = row
    sql = "SELECT tag FROM report_tag WHERE report = ? ORDER BY position"
    tags = tuple(tag for (tag,) in db.execute(sql, (number,)))
    return SealedReport(
        id=id_, reporter=reporter, time=time, tags=tags, sealed=sealed, number=number
    )
