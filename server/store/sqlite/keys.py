"""The wrapped data keys of ``at_rest``, in ``keys.db``.

Only functions over a connection live here, of keys.db where they do not say otherwise; no key is
ever unwrapped here.
"""

from __future__ import annotations

import apsw

from crypto_modes.errors import Forbidden
from server.store import KeyCounts, PlatformKey, WrappedKey
from server.store.sqlite.rows import Row, one

_COLUMNS = "id, conversation, sender, epoch, created, serving, moderation, generation"
_SELECT = f"SELECT {_COLUMNS} FROM data_key"


def put(db: apsw.Connection, key: WrappedKey) -> bool:
    """Storing the same key again is nothing; another under its id is ``Forbidden``. False where
    the key-encryption key was rotated since ``key`` was wrapped.
    """
    if stored := by_id(db, key.dek_id):
        if stored != key:
            raise Forbidden("another data key has this id")
        return True
    if db.execute("SELECT 1 FROM shredded_key WHERE id = ?", (key.dek_id,)).get:
        raise Forbidden("this data key was destroyed")
    # Asked in the transaction that stores it: a rotation never overlooks one that was under way.
    if db.execute("SELECT 1 FROM platform_key WHERE generation > ?", (key.generation,)).get:
        return False
    db.execute(
        f"INSERT INTO data_key ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key.dek_id,
            key.conversation,
            key.sender,
            key.epoch,
            key.created,
            key.serving,
            key.moderation,
            key.generation,
        ),
    )
    return True


def exist(db: apsw.Connection) -> bool:
    """Whether any key is stored."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM data_key)").get)


def some(db: apsw.Connection) -> WrappedKey | None:
    """Any key."""
    found: WrappedKey | None = one(db, f"{_SELECT} LIMIT 1", (), _key)
    return found


def by_id(db: apsw.Connection, dek_id: bytes) -> WrappedKey | None:
    """The data key with this id."""
    found: WrappedKey | None = one(db, f"{_SELECT} WHERE id = ?", (dek_id,), _key)
    return found


def newest(db: apsw.Connection, conversation: bytes, sender: bytes) -> WrappedKey | None:
    """The data key of the highest epoch, and of these the youngest."""
    sql = (
        f"{_SELECT} WHERE conversation = ? AND sender = ? ORDER BY epoch DESC, created DESC LIMIT 1"
    )
    found: WrappedKey | None = one(db, sql, (conversation, sender), _key)
    return found


def platform(db: apsw.Connection) -> PlatformKey | None:
    """The key-encryption key in force, and the oldest that is needed."""
    sql = (
        "SELECT p.generation, p.proof, p.retired,"
        " coalesce((SELECT min(generation) FROM data_key), p.generation) FROM platform_key AS p"
    )
    found: PlatformKey | None = one(db, sql, (), _platform)
    return found


def put_platform(db: apsw.Connection, key: PlatformKey) -> None:
    """In the place of the one before."""
    db.execute("DELETE FROM platform_key")
    db.execute(
        "INSERT INTO platform_key (generation, proof, retired) VALUES (?, ?, ?)",
        (key.generation, key.proof, int(key.retired)),
    )


def behind(db: apsw.Connection, after: bytes, limit: int) -> list[WrappedKey]:
    """Keys of older generations than the one in force, by id."""
    sql = (
        f"{_SELECT} WHERE generation < (SELECT max(generation) FROM platform_key) AND id > ?"
        " ORDER BY id LIMIT ?"
    )
    return [_key(row) for row in db.execute(sql, (after, limit))]


def rewrap(db: apsw.Connection, before: WrappedKey, after: WrappedKey) -> None:
    """Only where ``before`` is what is stored."""
    db.execute(
        "UPDATE data_key SET serving = ?, generation = ? WHERE id = ? AND serving = ?",
        (after.serving, after.generation, before.dek_id, before.serving),
    )


def shred(db: apsw.Connection, conversation: bytes, sender: bytes) -> set[bytes]:
    """Destroy the keys of a conversation, of a sender, or of both; one may be empty. Their ids."""
    found = {
        bytes(id_)
        for (id_,) in db.execute(
            "SELECT id FROM data_key WHERE (conversation = ?1 OR ?1 = x'') AND"
            " (sender = ?2 OR ?2 = x'')",
            (conversation, sender),
        )
    }
    forget(db, found)
    return found


def forget(db: apsw.Connection, ids: set[bytes]) -> None:
    """Destroy the keys with these ids, and remember it, whether they are stored or not."""
    rows = [(id_,) for id_ in ids]
    db.executemany("DELETE FROM data_key WHERE id = ?", rows)
    remember(db, ids)


def remember(db: apsw.Connection, ids: set[bytes]) -> None:
    """Note that the keys with these ids were destroyed; in either file."""
    db.executemany("INSERT OR IGNORE INTO shredded_key VALUES (?)", [(id_,) for id_ in ids])


def shredded(db: apsw.Connection) -> set[bytes]:
    """The ids of what was destroyed; of either file."""
    return {bytes(id_) for (id_,) in db.execute("SELECT id FROM shredded_key")}


def count(db: apsw.Connection) -> KeyCounts:
    """See ``KeyCounts``."""
    sql = (
        "SELECT count(*), count(nullif(moderation, x'')),"
        " count(CASE WHEN generation < (SELECT max(generation) FROM platform_key) THEN 1 END),"
        " (SELECT count(*) FROM shredded_key) FROM data_key"
    )
    found: KeyCounts | None = one(db, sql, (), _counts)
    return found or KeyCounts(all=0, moderation=0, behind=0, shredded=0)


def _counts(row: Row) -> KeyCounts:
    every, moderation, behind_, shredded_ = row
    return KeyCounts(all=every, moderation=moderation, behind=behind_, shredded=shredded_)


def _platform(row: Row) -> PlatformKey:
    generation, proof, retired, oldest = row
    return PlatformKey(
        generation=generation, proof=proof, retired=bool(retired), oldest=min(oldest, generation)
    )


def _key(row: Row) -> WrappedKey:
    id_, conversation, sender, epoch, created, serving, moderation, generation = row
    return WrappedKey(
        dek_id=id_,
        conversation=conversation,
        sender=sender,
        epoch=epoch,
        created=created,
        serving=serving,
        moderation=moderation,
        generation=generation,
    )
