"""The key store's file in a thief's hands: rows put back or deleted, and what old rows leave.

Who may open it, and what a crash leaves, is in ``test_keystore.py``.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from client import Keystore, Password, connect
from client.keystore import SETTLE_EVERY
from crypto_modes.errors import BadConfig, StoreUnavailable
from tests.e2ee_relay import BOB, couple
from tests.fake_relay import fake_relay

# How much of a ciphertext counts as a trace of it.
PIECE = 16


def with_key_file(place: Path) -> Keystore:
    return Keystore.open(place / "store.db", key_file=place / "store.key")


def inside(store: Keystore) -> apsw.Connection:
    """The database below an open store."""
    database = store._rows._database  # type: ignore[attr-defined]  # it is locked for all others
    assert isinstance(database, apsw.Connection)
    return database


def sealed(store: Keystore, table: str) -> set[bytes]:
    """The rows of ``table`` as they lie on the disk."""
    found = inside(store).execute("SELECT value FROM rows WHERE name = ?", (table,))
    return {value for (value,) in found}


def traces(place: Path, rows: set[bytes]) -> int:
    """How many of ``rows`` have left a piece in the files of the store."""
    content = b"".join(file.read_bytes() for file in place.glob("store.db*"))
    pieces = {content[at : at + PIECE] for at in range(len(content) - PIECE)}
    return sum(
        any(row[at : at + PIECE] in pieces for at in range(0, len(row) - PIECE, PIECE))
        for row in rows
    )


# --- single rows ---

# What a thief does to the newer file who also has the older one, attached as `old`.
CHANGES = {
    "a row deleted": "DELETE FROM rows WHERE name = 'pins'",
    "all rows deleted": "DELETE FROM rows",
    "an old row put back": "REPLACE INTO rows SELECT * FROM old.rows WHERE name = 'sessions'",
    "a deleted row put back": "INSERT INTO rows SELECT * FROM old.rows WHERE name = 'used'",
    "all old rows put back": "DELETE FROM rows; INSERT INTO rows SELECT * FROM old.rows",
    "a row in another's place": """
        UPDATE rows SET value = (SELECT value FROM rows WHERE name = 'pins')
        WHERE name = 'sessions'""",
    "the old seal put back": "REPLACE INTO seal SELECT * FROM old.seal",
    "no seal": "DELETE FROM seal",
    "another seal": "UPDATE seal SET value = zeroblob(60)",
    "a short seal": "UPDATE seal SET value = x'00'",
    "a new header": "DELETE FROM header; DELETE FROM seal",
    "a row of the thief's own": "INSERT INTO rows VALUES ('pins', zeroblob(32), zeroblob(60))",
}


@pytest.fixture
def robbed(tmp_path: Path) -> Path:
    """A store as ``store.db`` and its older self as ``old.db``."""
    store = with_key_file(tmp_path)
    store.put("pins", b"peer", b"floor")
    store.put("sessions", b"peer", b"state 1")
    store.put("used", b"prekey", b"secret")
    store.close()
    shutil.copy(tmp_path / "store.db", tmp_path / "old.db")
    store = with_key_file(tmp_path)
    store.put("sessions", b"peer", b"state 2")
    store.delete("used", b"prekey")
    store.close()
    return tmp_path


@pytest.mark.parametrize("change", CHANGES)
def test_no_row_can_be_deleted_or_put_back_alone(robbed: Path, change: str) -> None:
    database = apsw.Connection(str(robbed / "store.db"))
    database.execute("ATTACH ? AS old", (str(robbed / "old.db"),))
    database.execute(CHANGES[change])
    database.close()
    with pytest.raises(BadConfig, match="changed, deleted or put back; do not use it"):
        with_key_file(robbed)


def test_a_damaged_file_is_refused_in_words(robbed: Path) -> None:
    content = bytearray((robbed / "store.db").read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    (robbed / "store.db").write_bytes(content)
    with pytest.raises(BadConfig, match="cannot be used as a key store"):
        with_key_file(robbed)


def test_an_old_copy_of_the_whole_file_cannot_be_noticed(robbed: Path) -> None:
    """A limit that the documentation states; where it no longer holds, it has to change."""
    shutil.copy(robbed / "old.db", robbed / "store.db")
    store = with_key_file(robbed)
    assert store.get("sessions", b"peer") == b"state 1"
    store.close()


def test_the_seal_follows_every_change_and_no_failed_one(tmp_path: Path) -> None:
    chance = random.Random(7)
    expected: dict[bytes, bytes] = {}
    store = with_key_file(tmp_path)

    def change(rows: dict[bytes, bytes]) -> None:
        key = b"%d" % chance.randrange(20)
        if chance.random() < 0.3:
            store.delete("t", key)
            rows.pop(key, None)
        else:
            rows[key] = os.urandom(chance.randrange(200))
            store.put("t", key, rows[key])

    def fail(rows: dict[bytes, bytes]) -> None:
        with store.transaction():
            for _ in range(3):
                change(rows)
            raise ZeroDivisionError

    for turn in range(60):
        change(expected)
        with pytest.raises(ZeroDivisionError):
            fail(dict(expected))
        with store.transaction():
            for _ in range(3):
                change(expected)
        if turn % 10 == 0:
            # Crashed here: the files as they are, read by the next process.
            image = tmp_path / f"crash{turn}"
            image.mkdir()
            for file in tmp_path.glob("store.*"):
                shutil.copy(file, image)
            crashed = with_key_file(image)
            assert dict(crashed.scan("t")) == expected
            crashed.close()
    store.close()
    store = with_key_file(tmp_path)
    assert dict(store.scan("t")) == expected
    store.close()


def test_nothing_more_is_written_after_the_disk_gave_a_transaction_up(tmp_path: Path) -> None:
    """SQLite may roll back on its own; a later write must not be taken for one without it."""
    store = with_key_file(tmp_path)

    def go_on() -> None:
        with store.transaction():
            store.put("t", b"1", b"one")
            inside(store).execute("ROLLBACK")
            store.put("t", b"2", b"two")

    with pytest.raises(StoreUnavailable, match="earlier write"):
        go_on()
    store.put("t", b"3", b"three")
    store.close()
    store = with_key_file(tmp_path)
    assert list(store.scan("t")) == [(b"3", b"three")]
    store.close()


# --- what old rows leave ---


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Keystore]:
    store = with_key_file(tmp_path)
    yield store
    store.close()


def test_replaced_and_deleted_rows_are_off_the_disk_after_some_transactions(
    store: Keystore, tmp_path: Path
) -> None:
    old: set[bytes] = set()
    for _ in range(SETTLE_EVERY):
        store.put("t", b"state", bytes(3000))
        old |= sealed(store, "t")
    now = sealed(store, "t")
    # The transactions since the log was last cut off, at most.
    assert len(old - now) == SETTLE_EVERY - 1
    assert traces(tmp_path, old - now) < 4
    store.settle()
    assert traces(tmp_path, old - now) == 0
    assert traces(tmp_path, now) == 1


def test_deleted_rows_are_off_the_disk_although_nothing_takes_their_place(
    store: Keystore, tmp_path: Path
) -> None:
    sizes = {b"small": 100, b"a page": 4000, b"pages": 40000}
    for key, size in sizes.items():
        store.put("t", key, bytes(size))
    store.settle()
    old = sealed(store, "t")
    assert traces(tmp_path, old) == len(sizes)
    for key in sizes:
        store.delete("t", key)
    store.settle()
    assert traces(tmp_path, old) == 0


def test_no_piece_of_an_old_row_outlives_closing(tmp_path: Path) -> None:
    chance = random.Random(11)
    store = with_key_file(tmp_path)
    old: set[bytes] = set()
    for _ in range(400):
        with store.transaction():
            for _ in range(3):
                key = b"%d" % chance.randrange(300)
                store.put("t", key, bytes(chance.choice((40, 300, 1500, 9000))))
        old |= sealed(store, "t")
    now = sealed(store, "t")
    store.close()
    assert traces(tmp_path, old - now) == 0
    assert traces(tmp_path, now) == len(now)


@pytest.mark.attack(27)
def test_old_session_states_are_not_on_the_disk(store: Keystore, tmp_path: Path) -> None:
    """They open messages that were recorded: their keys were deleted, and must be gone."""
    _, alice, bob = couple()
    for (table, key), value in bob.state.rows.items():
        store.put(table, key, value)
    bob.state = store  # type: ignore[assignment]  # a State on disk in the place of one in memory
    bob.restart()
    states: set[bytes] = set()
    for number in range(20):
        stored = alice.send(BOB, b"old secret %d" % number)
        with store.transaction():
            assert bob.receive(stored).content == b"old secret %d" % number
        states |= sealed(store, "e2ee_active")
    now = sealed(store, "e2ee_active")
    assert len(states - now) >= 19
    store.settle()
    assert traces(tmp_path, states - now) == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["received", "sent"])
async def test_a_chat_that_goes_quiet_leaves_no_log_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    log, settle = tmp_path / "store.db-wal", Keystore.settle
    sizes: list[int] = []

    def noted(store: Keystore) -> None:
        sizes.append(log.stat().st_size)
        settle(store)

    monkeypatch.setattr(Keystore, "settle", noted)
    async with fake_relay() as relay:
        relay.account("bob")
        credentials = Password("password", True)
        keystore = with_key_file(tmp_path)
        async with connect(
            relay.url, name="alice", keystore=keystore, credentials=credentials
        ) as chat:
            if way == "sent":
                await chat.send("bob", "text")
            else:
                await relay.push("alice", relay.message("bob", "alice", "text"))
                await asyncio.wait_for(anext(chat), 30)
            async with asyncio.timeout(30):
                while log.stat().st_size > 0 or not any(sizes):
                    await asyncio.sleep(0.02)
