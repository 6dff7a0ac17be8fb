"""Backups: a user's history and identity in one file, under a recovery key that only he has.

What may live here: the recovery key as text, the file's format, the records in it. What may not:
which rows are kept (``client.backup``), files, clocks. Pure: ``read(n)`` gives the next n bytes of
a file, fewer only at its end. ::

    recovery key  R = 32 random bytes; shown as 64 characters of Crockford's base 32:
                  0x01 || R || first 7 bytes of H(enc("louver/v1/recovery", R))
    file          header || chunk 0 || chunk 1 || …
    header        "LOUVERBK" || 0x01 || salt(32) || commit(32)
                  key(32) || commit(32) = HKDF(R, salt, enc("louver/v1/backup", 1), 64)
    chunk i       AES-256-GCM(key, nonce = i as 12 bytes, at most 64 KiB of the stream,
                              aad = enc("louver/v1/backup/chunk", header, i, 1 if it is the last))
    stream        for each record u32 length || record; the last record is the end

The commitment is compared before anything is decrypted: no file opens under two recovery keys, and
trying keys on it tells nothing (attacks.md 4, 23, 24). Number and last mark are authenticated, so a
chunk can be neither moved nor left out, and a file cannot be cut off: the construction is STREAM of
Hoang, Reyhanitabar, Rogaway and Vizár (CRYPTO 2015). A fresh salt gives each file a key of its own,
so that one recovery key may serve for many, and no nonce is used twice. R has 256 bits of its own,
so it needs no password hashing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from crypto_modes import primitives
from crypto_modes.contract import Secretive
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, CannotOpen

KEY_SIZE = 32
SALT_SIZE = 32
CHUNK = 64 * 1024
RECORD_LIMIT = 1024 * 1024
TEXT_SIZE = 64

_CHUNK_LABEL = "louver/v1/backup/chunk"
_MAGIC = b"LOUVERBK"
_SUITE = 1
_HEADER = len(_MAGIC) + 1 + SALT_SIZE + primitives.HASH_SIZE
_VERSION = b"\x01"
_CHECK = 7
_LENGTH = 4
# Crockford's: no I, L, O, U, so that what is read aloud or written down is not mistaken.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("OIL", "011", " -\n\r\t")


# --- the recovery key ---


def recovery_text(key: bytes) -> str:
    """The 64 characters for a recovery key of 32 bytes, in 16 groups of four."""
    if len(key) != KEY_SIZE:
        raise BadArgument(f"a recovery key has {KEY_SIZE} bytes")
    number = int.from_bytes(_VERSION + key + _check(key), "big")
    digits = [_DIGITS[number >> shift & 31] for shift in range(5 * (TEXT_SIZE - 1), -1, -5)]
    return " ".join("".join(digits[at : at + 4]) for at in range(0, TEXT_SIZE, 4))


def recovery_key(text: str) -> bytes:
    """The key behind 64 characters as somebody typed them: groups, case, and O, I, L for 0, 1, 1
    do not matter.

    Raises ``BadArgument`` where it is none; a mistyped character shows but for one in 2^56.
    """
    typed = text.upper().translate(_MISREAD)
    if len(typed) != TEXT_SIZE:
        raise BadArgument(f"a recovery key has {TEXT_SIZE} characters, not {len(typed)}")
    number = 0
    for character in typed:
        digit = _DIGITS.find(character)
        if digit < 0:
            raise BadArgument(f"{character!r} is in no recovery key")
        number = number << 5 | digit
    raw = number.to_bytes(1 + KEY_SIZE + _CHECK, "big")
    key = raw[1 : 1 + KEY_SIZE]
    if raw[:1] != _VERSION or not primitives.equal(raw[1 + KEY_SIZE :], _check(key)):
        raise BadArgument("this is no recovery key: a character of it is wrong")
    return key


def _check(key: bytes) -> bytes:
    return primitives.H(enc("louver/v1/recovery", key))[:_CHECK]


# --- the file ---


def seal(key: bytes, salt: bytes, records: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a backup file. ``salt`` is 32 fresh random bytes, never used again."""
    if len(key) != KEY_SIZE or len(salt) != SALT_SIZE:
        raise BadArgument(f"a recovery key and a salt have {KEY_SIZE} bytes")
    header, chunk_key = _head(key, salt)
    yield header
    index, waiting = 0, b""
    for record in records:
        if not 0 < len(record) <= RECORD_LIMIT:
            raise BadArgument(f"a record has 1 to {RECORD_LIMIT} bytes")
        waiting += len(record).to_bytes(_LENGTH, "big") + record
        # Strictly more: the last chunk is only known as such at the end, and is never empty.
        while len(waiting) > CHUNK:
            yield _seal(chunk_key, header, index, waiting[:CHUNK], last=False)
            index, waiting = index + 1, waiting[CHUNK:]
    yield _seal(chunk_key, header, index, waiting, last=True)


def open_(key: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The records of a backup file, in order. What was yielded before an error was in the file,
    but is not to be kept: only the end shows that nothing is missing.

    Raises ``CannotOpen`` for another key, and for a file that was altered, cut or lengthened.
    """
    if len(key) != KEY_SIZE:
        raise BadArgument(f"a recovery key has {KEY_SIZE} bytes")
    header = read(_HEADER)
    if len(header) != _HEADER or header[: len(_MAGIC) + 1] != _MAGIC + bytes((_SUITE,)):
        raise CannotOpen("this file is no backup of this version")
    salt = header[len(_MAGIC) + 1 :][:SALT_SIZE]
    expected, chunk_key = _head(key, salt)
    if not primitives.equal(expected, header):
        raise CannotOpen("this recovery key does not open this backup, or its header was altered")
    waiting = b""
    for plain in _chunks(chunk_key, header, read):
        waiting += plain
        while len(waiting) >= _LENGTH:
            end = _LENGTH + int.from_bytes(waiting[:_LENGTH], "big")
            if not _LENGTH < end <= _LENGTH + RECORD_LIMIT:
                raise CannotOpen("this backup was made by another program")
            if len(waiting) < end:
                break
            yield waiting[_LENGTH:end]
            waiting = waiting[end:]
    if waiting:
        raise CannotOpen("this backup was made by another program")


def _chunks(key: bytes, header: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    size = CHUNK + primitives.TAG_SIZE
    index, chunk = 0, read(size)
    while True:
        following = read(size)
        aad = enc(_CHUNK_LABEL, header, index, int(not following))
        try:
            yield primitives.aead_open(key, _nonce(index), chunk, aad)
        except CannotOpen:
            raise CannotOpen(f"this backup was altered or cut off, in part {index + 1}") from None
        if not following:
            return
        index, chunk = index + 1, following


def _seal(key: bytes, header: bytes, index: int, plain: bytes, *, last: bool) -> bytes:
    aad = enc(_CHUNK_LABEL, header, index, int(last))
    return primitives.aead_seal(key, _nonce(index), plain, aad)


def _nonce(index: int) -> bytes:
    return index.to_bytes(primitives.NONCE_SIZE, "big")


def _head(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """The header and the key of the chunks."""
    okm = primitives.hkdf(key, salt=salt, info=enc("louver/v1/backup", _SUITE), length=64)
    return b"".join((_MAGIC, bytes((_SUITE,)), salt, okm[32:])), okm[:32]


# --- the records ---


class About(Secretive, msgspec.Struct, frozen=True, kw_only=True):
    """The first record: whose backup this is, and the identity in it.

    ``seed`` (32 bytes) is the account key's, empty where the device that made the backup did not
    hold it; ``key`` its public half, empty where the account had none; ``version`` the highest
    device list ever signed with it there. ``device`` made the backup. Times in milliseconds.
    """

    created: int
    relay: bytes
    account: bytes
    device: bytes
    name: str
    url: str
    key: bytes
    seed: bytes
    version: int

    def __repr__(self) -> str:
        return f"<About {self.name!r}>"

    def encode(self) -> bytes:
        """The record's bytes."""
        return enc(
            _ABOUT,
            self.created,
            self.relay,
            self.account,
            self.device,
            self.name,
            self.url,
            self.key,
            self.seed,
            self.version,
        )

    @classmethod
    def decode(cls, record: bytes) -> About:
        """The record in these bytes. Raises ``CannotOpen``."""
        created, relay, account, device, name, url, key, seed, version = _split(record, _ABOUT, 9)
        return cls(
            created=int.from_bytes(created, "big"),
            relay=relay,
            account=account,
            device=device,
            name=_text(name),
            url=_text(url),
            key=key,
            seed=seed,
            version=int.from_bytes(version, "big"),
        )


Row = tuple[str, bytes, bytes]
"""Table, key, value."""

_ABOUT = "louver/v1/backup/about"
_ROW = "louver/v1/backup/row"
_END = "louver/v1/backup/end"


def records(about: About, rows: Iterable[Row]) -> Iterator[bytes]:
    """The records of a backup: what it is, its rows, and how many there were."""
    yield about.encode()
    count = 0
    for table, key, value in rows:
        yield enc(_ROW, table, key, value)
        count += 1
    yield enc(_END, count)


def contents(found: Iterable[bytes]) -> tuple[About, Iterator[Row]]:
    """What a backup is, and its rows; these are complete only once they have ended without an
    error. Raises ``CannotOpen``.
    """
    iterator = iter(found)
    first = next(iterator, b"")
    return About.decode(first), _rows(iterator)


def _rows(found: Iterator[bytes]) -> Iterator[Row]:
    for count, record in enumerate(found):
        if record.startswith(enc(_END)):
            (told,) = _split(record, _END, 1)
            if int.from_bytes(told, "big") != count or next(found, None) is not None:
                raise CannotOpen("this backup was made by another program")
            return
        table, key, value = _split(record, _ROW, 3)
        yield _text(table), key, value
    raise CannotOpen("this backup has no end")


def _split(record: bytes, label: str, count: int) -> list[bytes]:
    """The items of a record. It was authenticated, so this only keeps versions apart."""
    head = enc(label)
    parts, at = [], len(head)
    while at < len(record):
        end = at + _LENGTH + int.from_bytes(record[at : at + _LENGTH], "big")
        parts.append(record[at + _LENGTH : end])
        at = end
    if not record.startswith(head) or at != len(record) or len(parts) != count:
        raise CannotOpen("this backup was made by another program")
    return parts


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise CannotOpen("this backup was made by another program") from None
