"""The key store: what a thief sees, what a crash leaves, who may open it."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from client.keyfile import key_file
from client.keystore import Keystore
from client.memory import Memory
from crypto_modes.errors import BadArgument, BadConfig, Unauthorized

PEER = b"peer-account-id!"
SECRET = b"the plaintext of a message"


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keystore]:
    opened = Keystore.in_memory() if request.param == "memory" else with_key_file(tmp_path)
    yield opened
    opened.close()


def with_key_file(place: Path) -> Keystore:
    return Keystore.open(place / "store.db", key_file=place / "store.key")


def test_rows_are_found_by_table_and_key(store: Keystore) -> None:
    store.put("a", b"key", b"1")
    store.put("b", b"key", b"2")
    store.put("a", b"key", b"3")
    assert (store.get("a", b"key"), store.get("b", b"key")) == (b"3", b"2")
    store.delete("a", b"key")
    store.delete("a", b"never there")
    assert store.get("a", b"key") is None


def test_a_scan_gives_the_prefix_in_order_and_may_write_meanwhile(store: Keystore) -> None:
    for key in (b"b2", b"a1", b"b1", b"c"):
        store.put("t", key, key)
    assert [key for key, _ in store.scan("t")] == [b"a1", b"b1", b"b2", b"c"]
    for key, _ in store.scan("t", b"b"):
        store.delete("t", key)
    assert [key for key, _ in store.scan("t")] == [b"a1", b"c"]


def test_a_transaction_is_all_or_nothing(store: Keystore) -> None:
    store.put("t", b"kept", b"before")
    store.put("t", b"deleted", b"before")

    def fail() -> None:
        with store.transaction():
            store.put("t", b"kept", b"after")
            store.put("t", b"new", b"after")
            store.delete("t", b"deleted")
            assert store.get("t", b"kept") == b"after"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.get("t", b"kept") == b"before"
    assert store.get("t", b"deleted") == b"before"
    assert store.get("t", b"new") is None
    with store.transaction():
        store.put("t", b"new", b"after")
    assert store.get("t", b"new") == b"after"


def test_transactions_do_not_nest(store: Keystore) -> None:
    with pytest.raises(BadArgument), store.transaction(), store.transaction():
        pass


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    store = with_key_file(tmp_path)
    store.put("t", PEER, SECRET)
    identity = Memory(store).identity()
    store.close()
    store = with_key_file(tmp_path)
    assert store.get("t", PEER) == SECRET
    assert Memory(store).identity() == identity
    store.close()


def test_the_files_show_neither_text_nor_peers_and_are_private(tmp_path: Path) -> None:
    store = with_key_file(tmp_path)
    store.put("t", PEER, SECRET)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files if file.name.startswith("store.db")]
    for file in files:
        content = file.read_bytes()
        assert SECRET not in content
        assert PEER not in content
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    store.close()


def test_only_the_right_passphrase_opens(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Keystore.open(path, passphrase="correct horse")
    store.put("t", b"k", b"v")
    store.close()
    with pytest.raises(Unauthorized, match="wrong passphrase"):
        Keystore.open(path, passphrase="battery staple")
    with pytest.raises(BadArgument, match="opened with a passphrase"):
        Keystore.open(path, key_file=tmp_path / "key")
    with pytest.raises(BadArgument):
        Keystore.open(path)
    store = Keystore.open(path, passphrase="correct horse")
    assert store.get("t", b"k") == b"v"
    store.close()


def test_another_key_file_does_not_open(tmp_path: Path) -> None:
    with_key_file(tmp_path).close()
    key_file(tmp_path / "other.key", make=True)
    with pytest.raises(Unauthorized):
        Keystore.open(tmp_path / "store.db", key_file=tmp_path / "other.key")
    (tmp_path / "store.key").unlink()
    with pytest.raises(BadConfig, match="missing"):
        with_key_file(tmp_path)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with_key_file(tmp_path).close()
    (tmp_path / "store.key").chmod(0o640)
    with pytest.raises(BadConfig, match="chmod 600"):
        with_key_file(tmp_path)
    (tmp_path / "store.key").chmod(0o600)
    (tmp_path / "store.key").write_bytes(b"short")
    with pytest.raises(BadConfig, match="damaged"):
        with_key_file(tmp_path)


def tamper(path: Path, sql: str) -> None:
    database = apsw.Connection(str(path))
    database.execute(sql)
    database.close()


@pytest.mark.parametrize(
    "sql",
    [
        # two rows of one table change places
        "UPDATE rows SET value = (SELECT value FROM rows AS o WHERE o.slot != rows.slot)",
        # a row passes for one of another table
        "UPDATE rows SET value = (SELECT value FROM rows AS o WHERE o.name = 'u') WHERE name = 't'",
        "UPDATE rows SET name = 't' WHERE name = 'u'",
        "UPDATE rows SET value = zeroblob(60)",
        "UPDATE rows SET value = x'00'",
    ],
)
def test_rows_cannot_be_swapped_or_altered(tmp_path: Path, sql: str) -> None:
    store = with_key_file(tmp_path)
    store.put("t", b"1", b"one")
    store.put("t", b"2", b"two")
    store.put("u", b"3", b"other")
    store.close()
    tamper(tmp_path / "store.db", sql)
    with pytest.raises(BadConfig, match="altered or is damaged"):
        with_key_file(tmp_path)


def test_a_row_that_is_altered_while_the_store_is_open_is_not_believed(tmp_path: Path) -> None:
    store = with_key_file(tmp_path)
    store.put("t", b"1", b"one")
    store._rows._database.execute("UPDATE rows SET value = zeroblob(60)")  # type: ignore[attr-defined]  # there is no other way in while it is locked
    with pytest.raises(BadConfig, match="altered or is damaged"):
        store.get("t", b"1")
    store.close()


def test_a_planted_header_cannot_exhaust_the_memory(tmp_path: Path) -> None:
    import msgspec

    path = tmp_path / "store.db"
    Keystore.open(path, passphrase="x" * 8).close()
    database = apsw.Connection(str(path))
    header = msgspec.msgpack.decode(database.execute("SELECT value FROM header").get)
    header["kibibytes"] = 2**40
    database.execute("UPDATE header SET value = ?", (msgspec.msgpack.encode(header),))
    database.close()
    with pytest.raises(BadConfig, match="beyond all measure"):
        Keystore.open(path, passphrase="x" * 8)


def test_two_programs_cannot_share_a_store(tmp_path: Path) -> None:
    store = with_key_file(tmp_path)
    program = (
        "import sys; from client.keystore import Keystore; from crypto_modes.errors import *\n"
        "try: Keystore.open(sys.argv[1] + '/store.db', key_file=sys.argv[1] + '/store.key')\n"
        "except BadConfig as error: print(error)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "another program uses the key store" in second.stdout
    with pytest.raises(BadConfig, match="another program"):
        with_key_file(tmp_path)
    store.close()
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert third.stdout == ""


def test_not_a_key_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("this is no database, but long enough to look at: " + "x" * 4096)
    with pytest.raises(BadConfig, match="cannot be used as a key store"):
        with_key_file(tmp_path)
    with pytest.raises(BadConfig):
        Keystore.open(tmp_path, passphrase="a directory")


def test_a_store_belongs_to_one_user(store: Keystore) -> None:
    memory = Memory(store)
    identity = memory.adopt("alice")
    memory.keep_identity(identity)
    assert memory.adopt("alice").device == identity.device
    with pytest.raises(BadConfig, match="alice's, not bob's"):
        memory.adopt("bob")


def test_a_name_stays_with_the_account_it_was_first_seen_with(store: Keystore) -> None:
    memory = Memory(store)
    memory.keep_name(b"A" * 16, "bob")
    memory.keep_name(b"B" * 16, "bob")
    assert memory.account_of("bob") == b"A" * 16
    assert memory.name_of(b"B" * 16) == ""
