"""Runs a plan of ``migrate`` on a SQLite database: a copy first, then one transaction.

No plan is made here and no schema is written here. The transaction is immediate, so a second
process waits or is refused; the relay holds its directory's lock besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from crypto_modes.errors import BadConfig
from server.store import migrate
from server.store.sqlite import files

_RECORD = """
CREATE TABLE IF NOT EXISTS migration (
    number INTEGER PRIMARY KEY,
    checksum TEXT NOT NULL,
    applied TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT
"""


def upgrade(db: apsw.Connection, path: Path, migrations: Sequence[migrate.Migration]) -> None:
    """Bring ``db``, the database at ``path``, to the last of ``migrations``.

    Foreign keys must be off, for a migration may rebuild a table that others point to; they are
    checked as a whole before the commit.

    Raises:
        BadConfig: the database is none of ours or a migration fails on its data; it is as it
            was before.
        apsw.Error: the disk does not play along.
    """
    plan = migrate.pending(migrations, applied(db), str(path))
    if not plan:
        return
    if plan[0].number > 1:
        _copy(db, Path(migrate.backup_name(str(path), plan[0].number - 1)))
    db.execute("BEGIN IMMEDIATE")
    try:
        # Asked again: another process may have upgraded between the question and the lock.
        for migration in migrate.pending(migrations, applied(db), str(path)):
            _run(db, path, migration)
        _check_references(db, path)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def verify(db: apsw.Connection, path: Path, migrations: Sequence[migrate.Migration]) -> None:
    """Refuse a database that a reader, which must not upgrade, does not know. ``BadConfig``."""
    if migrate.pending(migrations, applied(db), str(path)):
        raise BadConfig(
            f"{path} was made by an older Louver: start `louverd serve` once to upgrade it"
        )


def applied(db: apsw.Connection) -> list[tuple[int, str]]:
    """The ``(number, checksum)`` pairs that the database records, ascending."""
    if not db.table_exists(None, "migration"):
        return []
    rows = db.execute("SELECT number, checksum FROM migration ORDER BY number")
    return [(int(number), str(checksum)) for number, checksum in rows]


def _run(db: apsw.Connection, path: Path, migration: migrate.Migration) -> None:
    try:
        db.execute(_RECORD)
        db.execute(migration.sql)
        db.execute(
            "INSERT INTO migration (number, checksum) VALUES (?, ?)",
            (migration.number, migration.checksum),
        )
    except (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError) as error:
        raise BadConfig(
            f"migration {migration.number:03} does not fit {path}: {error}; nothing was changed;"
            " run the Louver that made it and report this"
        ) from None


def _check_references(db: apsw.Connection, path: Path) -> None:
    if db.execute("PRAGMA foreign_key_check").fetchall():
        raise BadConfig(
            f"an upgrade would leave rows of {path} that point nowhere; nothing was changed;"
            " run the Louver that made it and report this"
        )


def _copy(db: apsw.Connection, target: Path) -> None:
    """A whole copy under a name that appears only once it is complete."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    files.prepare(part)
    copy = apsw.Connection(str(part))
    try:
        with copy.backup("main", db, "main") as backup:
            backup.step()
        copy.pragma("journal_mode", "delete")
    finally:
        copy.close()
    part.replace(target)
