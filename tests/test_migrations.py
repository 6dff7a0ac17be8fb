"""Migrations: what is planned, what is refused, and that an upgrade keeps what was stored."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from crypto_modes.errors import BadConfig
from server.moderation.sqlite import SCHEMA as MODERATION
from server.store import migrate
from server.store.sqlite import SCHEMA, ReadOnlySqliteStore, SqliteStore, files, upgrade
from tests.store_entries import ALICE, TALK, Entry, settle

STEPS = {
    1: "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT) STRICT;",
    2: "ALTER TABLE note ADD COLUMN length INTEGER; UPDATE note SET length = length(text);",
    3: "CREATE TABLE tag (note INTEGER REFERENCES note (id)) STRICT;"
    " INSERT INTO tag SELECT id FROM note;",
}


class Schema:
    """A directory of synthetic migrations and a database that runs them."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "schema"
        self.directory.mkdir()
        self.path = root / "note.db"

    def write(self, number: int, sql: str) -> None:
        (self.directory / f"{number:03}.sql").write_text(sql)

    def upgrade(self) -> apsw.Connection:
        files.prepare(self.path)
        db = files.writer(self.path, "full")
        upgrade.upgrade(db, self.path, migrate.load(self.directory))
        return db


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    schema = Schema(tmp_path)
    for number, sql in STEPS.items():
        schema.write(number, sql)
    return schema


def only(schema: Schema, version: int) -> None:
    for number in STEPS:
        if number > version:
            (schema.directory / f"{number:03}.sql").unlink()


def restore(schema: Schema) -> None:
    for number, sql in STEPS.items():
        schema.write(number, sql)


def tables(db: apsw.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_a_new_database_gets_every_step_and_records_it(schema: Schema) -> None:
    db = schema.upgrade()
    assert tables(db) == {"note", "tag", "migration"}
    expected = [(step.number, step.checksum) for step in migrate.load(schema.directory)]
    assert upgrade.applied(db) == expected
    assert len(expected[0][1]) == 64
    db.close()
    assert list(schema.path.parent.glob("*.schema-*")) == []


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_older_version_is_upgraded_with_its_data(schema: Schema, version: int) -> None:
    only(schema, version)
    db = schema.upgrade()
    db.execute("INSERT INTO note (id, text) VALUES (1, 'four')")
    db.close()
    restore(schema)
    db = schema.upgrade()
    assert db.execute("SELECT text FROM note").get == "four"
    assert db.execute("SELECT length FROM note").get == (4 if version < 2 else None)
    assert db.execute("SELECT count(*) FROM tag").get == (1 if version < 3 else 0)
    assert len(upgrade.applied(db)) == 3
    db.close()


@pytest.mark.parametrize("version", [1, 2])
def test_before_an_upgrade_the_database_is_copied(schema: Schema, version: int) -> None:
    only(schema, version)
    db = schema.upgrade()
    db.execute("INSERT INTO note (id, text) VALUES (1, 'before')")
    db.close()
    restore(schema)
    schema.upgrade().close()
    (copy,) = schema.path.parent.glob("note.db.schema-*")
    assert copy.name == f"note.db.schema-{version:03}"
    assert copy.stat().st_mode & 0o777 == 0o600
    db = apsw.Connection(str(copy))
    assert db.execute("SELECT text FROM note").get == "before"
    assert len(upgrade.applied(db)) == version
    db.close()


def test_a_database_that_is_up_to_date_is_not_touched(schema: Schema) -> None:
    schema.upgrade().close()
    before = schema.path.read_bytes()
    db = schema.upgrade()
    assert db.total_changes() == 0
    db.close()
    assert schema.path.read_bytes() == before


def test_a_step_that_fails_leaves_the_database_as_it_was(schema: Schema) -> None:
    only(schema, 1)
    db = schema.upgrade()
    db.execute("INSERT INTO note (id, text) VALUES (1, 'kept'), (2, 'kept')")
    db.close()
    schema.write(2, STEPS[2])
    schema.write(3, "CREATE UNIQUE INDEX one ON note (text);")
    with pytest.raises(BadConfig, match=r"003 does not fit .*nothing was changed"):
        schema.upgrade()
    db = apsw.Connection(str(schema.path))
    assert len(upgrade.applied(db)) == 1
    assert db.execute("SELECT * FROM note").fetchall() == [(1, "kept"), (2, "kept")]
    db.close()


def test_an_upgrade_that_leaves_dangling_references_is_undone(schema: Schema) -> None:
    schema.write(4, "INSERT INTO tag VALUES (99);")
    with pytest.raises(BadConfig, match="point nowhere"):
        schema.upgrade()
    db = apsw.Connection(str(schema.path))
    assert tables(db) == set()
    db.close()


def test_a_changed_step_is_refused(schema: Schema) -> None:
    schema.upgrade().close()
    schema.write(2, STEPS[2] + "\n")
    with pytest.raises(BadConfig, match="002 is not the one that made"):
        schema.upgrade()


def test_a_newer_database_is_refused_and_its_copy_named(schema: Schema) -> None:
    schema.upgrade().close()
    only(schema, 2)
    with pytest.raises(BadConfig, match=r"newer Louver.*note\.db\.schema-002"):
        schema.upgrade()


def test_a_missing_step_is_refused(schema: Schema) -> None:
    (schema.directory / "002.sql").unlink()
    with pytest.raises(BadConfig, match=r"002\.sql is missing"):
        migrate.load(schema.directory)


def test_no_steps_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no migrations"):
        migrate.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["1.sql", "0001.sql", "abc.sql", "001-note.sql"])
def test_a_name_that_is_no_number_is_refused(schema: Schema, name: str) -> None:
    (schema.directory / name).write_text("")
    with pytest.raises(BadConfig, match="three digits"):
        migrate.load(schema.directory)


def test_a_record_with_a_gap_is_refused(schema: Schema) -> None:
    db = schema.upgrade()
    db.execute("DELETE FROM migration WHERE number = 2")
    db.close()
    with pytest.raises(BadConfig, match="does not record migration 002"):
        schema.upgrade()


def test_a_database_of_another_program_is_refused(schema: Schema) -> None:
    files.prepare(schema.path)
    db = apsw.Connection(str(schema.path))
    db.execute("CREATE TABLE note (mine TEXT); INSERT INTO note VALUES ('mine')")
    db.close()
    with pytest.raises(BadConfig, match="001 does not fit"):
        schema.upgrade()
    db = apsw.Connection(str(schema.path))
    assert db.execute("SELECT mine FROM note").get == "mine"
    db.close()


def test_an_upgrade_waits_for_nobody_to_write(schema: Schema) -> None:
    only(schema, 1)
    schema.upgrade().close()
    restore(schema)
    other = apsw.Connection(str(schema.path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError):
        schema.upgrade()
    other.execute("ROLLBACK")
    assert len(upgrade.applied(other)) == 1
    other.close()


def test_a_reader_does_not_upgrade(schema: Schema) -> None:
    only(schema, 1)
    db = schema.upgrade()
    restore(schema)
    with pytest.raises(BadConfig, match="louverd serve"):
        upgrade.verify(db, schema.path, migrate.load(schema.directory))
    assert len(upgrade.applied(db)) == 1
    db.close()


@pytest.mark.parametrize("directory", [SCHEMA, SCHEMA / "keys", MODERATION])
def test_the_released_schemas_load_and_run(directory: Path, tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "new.db"))
    steps = migrate.load(directory)
    upgrade.upgrade(db, tmp_path / "new.db", steps)
    assert upgrade.applied(db) == [(step.number, step.checksum) for step in steps]
    assert db.pragma("integrity_check") == "ok"
    db.close()


@pytest.mark.asyncio
async def test_the_store_upgrades_what_it_opens_and_a_tool_refuses_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, schema = tmp_path / "data", tmp_path / "schema"
    for step in sorted(SCHEMA.rglob("*.sql")):
        copy = schema / step.relative_to(SCHEMA)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(step.read_bytes())
    monkeypatch.setattr("server.store.sqlite.SCHEMA", schema)
    store = SqliteStore(data, on_fatal=print)
    await store.open()
    await settle(store, Entry())
    await store.close()
    released = len(list(schema.glob("*.sql")))
    (schema / f"{released + 1:03}.sql").write_text("CREATE TABLE later (id INTEGER) STRICT;")
    tool = ReadOnlySqliteStore(data)
    with pytest.raises(BadConfig, match="older Louver"):
        await tool.open()
    await tool.close()
    store = SqliteStore(data, on_fatal=print)
    await store.open()
    assert len(await store.after(TALK, 0, 10)) == 1
    await store.close()
    assert (data / f"louver.db.schema-{released:03}").exists()
    assert not list(data.glob("keys.db.schema-*"))


@pytest.mark.asyncio
async def test_data_keys_from_before_generations_are_of_the_first(tmp_path: Path) -> None:
    """``keys.db`` as the first schema left it, with a key in it."""
    db = apsw.Connection(str(tmp_path / files.KEYS))
    (tmp_path / files.KEYS).chmod(0o600)
    upgrade.upgrade(db, tmp_path / files.KEYS, migrate.load(SCHEMA / "keys")[:1])
    db.execute("INSERT INTO data_key VALUES (?, ?, ?, 3, 4, x'05', x'')", (b"k" * 16, TALK, ALICE))
    db.close()
    store = SqliteStore(tmp_path, on_fatal=print)
    await store.open()
    key = await store.data_key(b"k" * 16)
    assert key is not None
    assert (key.epoch, key.generation, key.serving) == (3, 1, b"\5")
    assert await store.platform_key() is None
    await store.close()
