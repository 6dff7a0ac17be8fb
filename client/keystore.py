"""The key store: identity, sessions, pins and messages of one device, encrypted on its disk.

What may live here: the file, its encryption and its lock. What may not: what the rows mean;
that is ``memory.py`` and the modes. Nothing else may import ``apsw``, and in the client nothing
else ``argon2``.

File format 1 (SQLite)::

    header  one MessagePack map: how to get the key-encryption key (Argon2id parameters, or
            "file"), and the root key, wrapped under it and committed to
    rows    (name, slot, value): slot = HMAC(index key, enc(name, key)), so that the file does
            not tell who one's peers are;
            value = nonce(12) || AES-256-GCM(row key, length(key) || key || value,
                                             aad = enc(name, slot)): no row passes for another

What the file still shows: how many rows of which table, their sizes, when they changed. What it
cannot prevent: that somebody puts back an old copy of the whole file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import apsw
import msgspec
from argon2.low_level import Type, hash_secret_raw

from client.keyfile import key_file
from client.rows import MemoryRows, Rows
from crypto_modes import primitives
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, BadConfig, CannotOpen, StoreUnavailable, Unauthorized

# RFC 9106, second recommended option: 64 MiB, three passes, four lanes; about 0.1 s.
_PASSES, _KIBIBYTES, _LANES = 3, 64 * 1024, 4
# A planted header must not make us fill the memory before we find out that it is a lie.
_MOST_PASSES, _MOST_KIBIBYTES, _MOST_LANES = 16, 1024 * 1024, 16
_SALT = 16
_LENGTH = 4
_ONCE = bytes(primitives.NONCE_SIZE)  # for keys that encrypt one thing only

_SCHEMA = """
CREATE TABLE IF NOT EXISTS header (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    name TEXT NOT NULL, slot BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, slot)
) WITHOUT ROWID;
"""


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    kdf: Literal["argon2id", "file"]
    salt: bytes
    passes: int = 0
    kibibytes: int = 0
    lanes: int = 0
    commitment: bytes = b""
    root: bytes = b""


class Keystore:
    """One device's durable memory; a ``contract.State`` with transactions.

    Not for use from several threads or processes at once: two processes that step the same
    ratchet would encrypt two messages with one key, so the file is locked while it is open.
    """

    __slots__ = ("_open", "_rows", "delete", "get", "put", "where")

    def __init__(self, rows: Rows, where: str = "memory") -> None:
        self._rows = rows
        self._open = False
        self.where = where
        self.get = rows.get
        self.put = rows.put
        self.delete = rows.delete

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        passphrase: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> Keystore:
        """Open the key store at ``path``, or make it, with exactly one of the two secrets.

        Raises:
            BadArgument: both or neither secret given, or not the kind it was made with.
            BadConfig: the file is in use, damaged, or cannot be made.
            Unauthorized: the passphrase or key file is not the right one.
        """
        if (passphrase is None) == (key_file is None):
            raise BadArgument("open a key store with either a passphrase or a key file")
        where = Path(path)
        database = _open_database(where)
        try:
            root = _root_key(database, where, passphrase, key_file)
        except BaseException:
            database.close()
            raise
        return cls(_SealedRows(database, root), str(where))

    @classmethod
    def in_memory(cls) -> Keystore:
        """A key store that is gone with the process, for load tests: its device cannot resume."""
        return cls(MemoryRows())

    def scan(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The rows whose keys start with ``prefix``, by key. Reads the whole table."""
        return self._rows.scan(table, prefix)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together on leaving, or, on an exception, none.

        Raises ``StoreUnavailable`` where the disk refuses; nothing was written then.
        """
        if self._open:
            raise BadArgument("a transaction of this key store is open already")
        self._rows.begin()
        self._open = True
        try:
            yield
            self._rows.commit()
        except BaseException:
            self._rows.rollback()
            raise
        finally:
            self._open = False

    def close(self) -> None:
        """Release the file and its lock."""
        self._rows.close()


class _SealedRows:
    """Rows in SQLite, each encrypted and bound to its place. ``root`` has 32 bytes."""

    __slots__ = ("_database", "_index_key", "_row_key")

    def __init__(self, database: apsw.Connection, root: bytes) -> None:
        okm = primitives.hkdf(root, info=enc("louver/v1/keystore/rows"), length=64)
        self._database = database
        self._row_key, self._index_key = okm[:32], okm[32:]

    def get(self, table: str, key: bytes) -> bytes | None:
        slot = self._slot(table, key)
        sql = "SELECT value FROM rows WHERE name = ? AND slot = ?"
        found = self._database.execute(sql, (table, slot)).get
        return None if found is None else self._unseal(table, slot, found)[1]

    def put(self, table: str, key: bytes, value: bytes) -> None:
        slot = self._slot(table, key)
        # Random nonces under one key are safe for 2^32 writes: a hundred a second for a year.
        nonce = os.urandom(primitives.NONCE_SIZE)
        plain = len(key).to_bytes(_LENGTH, "big") + key + value
        sealed = primitives.aead_seal(self._row_key, nonce, plain, _place(table, slot))
        self._write("REPLACE INTO rows VALUES (?, ?, ?)", (table, slot, nonce + sealed))

    def delete(self, table: str, key: bytes) -> None:
        sql = "DELETE FROM rows WHERE name = ? AND slot = ?"
        self._write(sql, (table, self._slot(table, key)))

    def scan(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        found = self._database.execute("SELECT slot, value FROM rows WHERE name = ?", (table,))
        rows = [self._unseal(table, slot, value) for slot, value in found]
        return iter(sorted(row for row in rows if row[0].startswith(prefix)))

    def begin(self) -> None:
        self._write("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._write("COMMIT")

    def rollback(self) -> None:
        if self._database.in_transaction:
            self._write("ROLLBACK")

    def close(self) -> None:
        self._database.close()

    def _slot(self, table: str, key: bytes) -> bytes:
        return primitives.hmac(self._index_key, enc("louver/v1/keystore/slot", table, key))

    def _unseal(self, table: str, slot: bytes, value: bytes) -> tuple[bytes, bytes]:
        nonce, sealed = value[: primitives.NONCE_SIZE], value[primitives.NONCE_SIZE :]
        try:
            plain = primitives.aead_open(self._row_key, nonce, sealed, _place(table, slot))
        except (CannotOpen, BadArgument):
            # Not CannotOpen: it is not a message that is bad, it is this disk.
            raise BadConfig(
                "the key store was altered or is damaged; restore it from a backup"
            ) from None
        split = _LENGTH + int.from_bytes(plain[:_LENGTH], "big")
        return plain[_LENGTH:split], plain[split:]

    def _write(self, sql: str, values: tuple[str | bytes, ...] = ()) -> None:
        try:
            self._database.execute(sql, values)
        except apsw.Error as error:
            raise StoreUnavailable(f"the key store cannot be written: {error}") from None


def _place(table: str, slot: bytes) -> bytes:
    return enc("louver/v1/keystore/row", table, slot)


def _open_database(path: Path) -> apsw.Connection:
    """The locked database. SQLite gives its side files the permissions of the file itself."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise BadConfig(f"cannot open the key store {path}: {error.strerror}") from None
    try:
        database = apsw.Connection(str(path))
        # Set before the first access, it keeps the lock until the file is closed.
        database.pragma("locking_mode", "exclusive")
        database.pragma("journal_mode", "wal")
        database.pragma("synchronous", "full")
        database.execute(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT")
    except apsw.BusyError:
        raise BadConfig(
            f"another program uses the key store {path}; quit it, or use another profile"
        ) from None
    except apsw.Error as error:
        raise BadConfig(f"{path} cannot be used as a key store: {error}") from None
    return database


def _root_key(
    database: apsw.Connection,
    where: Path,
    passphrase: str | None,
    file: str | os.PathLike[str] | None,
) -> bytes:
    """The root key of an existing store, or a new one's."""
    raw = database.execute("SELECT value FROM header").get
    kdf: Literal["argon2id", "file"] = "file" if passphrase is None else "argon2id"
    header = _new_header(kdf) if raw is None else _read_header(raw, where)
    if header.kdf != kdf:
        other = "a key file" if header.kdf == "file" else "a passphrase"
        raise BadArgument(f"the key store {where} is opened with {other}")
    if passphrase is None:
        kek = key_file(Path(str(file)), make=raw is None)
    else:
        kek = _stretch(passphrase, header)
    key, commitment = _wrapping_key(kek, header)
    if raw is None:
        root = os.urandom(primitives.KEY_SIZE)
        sealed = primitives.aead_seal(key, _ONCE, root, b"")
        header = msgspec.structs.replace(header, commitment=commitment, root=sealed)
        database.execute("INSERT INTO header VALUES (1, ?)", (msgspec.msgpack.encode(header),))
        return root
    # Compared before decryption, so that one ciphertext cannot be made to open under a set of
    # guessed passphrases at once (a partitioning oracle).
    if not primitives.equal(commitment, header.commitment):
        secret = "passphrase" if kdf == "argon2id" else "key file"
        raise Unauthorized(f"wrong {secret} for the key store {where}")
    try:
        return primitives.aead_open(key, _ONCE, header.root, b"")
    except CannotOpen:
        raise BadConfig(f"the key store {where} is damaged; restore it from a backup") from None


def _new_header(kdf: Literal["argon2id", "file"]) -> _Header:
    header = _Header(format=1, kdf=kdf, salt=os.urandom(_SALT))
    if kdf == "file":
        return header
    return msgspec.structs.replace(header, passes=_PASSES, kibibytes=_KIBIBYTES, lanes=_LANES)


def _read_header(raw: bytes, where: Path) -> _Header:
    try:
        header = msgspec.msgpack.decode(raw, type=_Header)
    except msgspec.MsgspecError:
        raise BadConfig(f"the key store {where} is damaged; restore it from a backup") from None
    if header.format != 1:
        raise BadConfig(f"the key store {where} was made by a newer Louver; update this one")
    return header


def _stretch(passphrase: str, header: _Header) -> bytes:
    if (
        not 0 < header.passes <= _MOST_PASSES
        or not 0 < header.kibibytes <= _MOST_KIBIBYTES
        or not 0 < header.lanes <= _MOST_LANES
    ):
        raise BadConfig("the key store asks for Argon2id parameters beyond all measure")
    return hash_secret_raw(
        passphrase.encode(),
        header.salt,
        time_cost=header.passes,
        memory_cost=header.kibibytes,
        parallelism=header.lanes,
        hash_len=primitives.KEY_SIZE,
        type=Type.ID,
    )


def _wrapping_key(kek: bytes, header: _Header) -> tuple[bytes, bytes]:
    """The key that wraps the root, and the commitment to it; bound to all parameters."""
    info = enc(
        "louver/v1/keystore/wrap",
        header.format,
        header.kdf,
        header.passes,
        header.kibibytes,
        header.lanes,
    )
    okm = primitives.hkdf(kek, salt=header.salt, info=info, length=64)
    return okm[:32], okm[32:]
