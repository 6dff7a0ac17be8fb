"""Which schema migrations a database still needs, and whether it is one we may touch at all.

Only the plan is made here, from numbered ``NNN.sql`` files and what a database says it has run.
Nothing here knows an engine; each engine runs the plan in one transaction, under a lock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from crypto_modes.errors import BadConfig

SCHEMAS = Path(__file__).parent / "schema"
_NAME = re.compile(r"[0-9]{3}\.sql")


class Migration(msgspec.Struct, frozen=True):
    """One step: ``number`` from 1, its SQL and the SHA-256 (hex) of the file."""

    number: int
    sql: str
    checksum: str


def load(directory: Path) -> list[Migration]:
    """The migrations of ``directory``, ascending.

    Raises:
        BadConfig: the directory has none, or the numbers do not run from 001 without a gap.
    """
    found = []
    for path in sorted(directory.glob("*.sql")):
        if not _NAME.fullmatch(path.name):
            raise BadConfig(f"{path} is no migration: name it NNN.sql, three digits")
        raw = path.read_bytes()
        found.append(Migration(int(path.stem), raw.decode(), hashlib.sha256(raw).hexdigest()))
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise BadConfig(
                f"migration {expected:03}.sql is missing from {directory}: install Louver again"
            )
    if not found:
        raise BadConfig(f"there are no migrations in {directory}: install Louver again")
    return found


def pending(
    migrations: Sequence[Migration], applied: Sequence[tuple[int, str]], database: str
) -> list[Migration]:
    """What ``database`` lacks, given the ``(number, checksum)`` pairs it has run, ascending.

    Raises:
        BadConfig: the database is newer than this program, was made by other migrations than
            these, or its own record has a gap.
    """
    for expected, (number, _) in enumerate(applied, start=1):
        if number != expected:
            raise BadConfig(
                f"{database} does not record migration {expected:03}: it was altered by hand;"
                " restore it from a backup"
            )
    if len(applied) > len(migrations):
        raise BadConfig(
            f"{database} has schema {len(applied):03} and this program knows {len(migrations):03}:"
            f" run a newer Louver, or restore the copy made before the upgrade"
            f" ({backup_name(database, len(migrations))})"
        )
    for migration, (number, checksum) in zip(migrations, applied, strict=False):
        if migration.checksum != checksum:
            raise BadConfig(
                f"migration {number:03} is not the one that made {database}: a released migration"
                " never changes; run the Louver that made this database, or install it again"
            )
    return list(migrations[len(applied) :])


def backup_name(database: str, version: int) -> str:
    """Where a database of schema ``version`` is copied before it is upgraded."""
    return f"{database}.schema-{version:03}"
