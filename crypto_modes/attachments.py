"""Attachments: files too large for a message, sealed in chunks and referred to from inside one.

What may live here: the format, sealing and opening piece by piece in constant memory, and what
verifies a file against its reference. What may not: files, frames, the text of a reference
(``content``). modes.md 31.

A sealed file is 51 bytes, and 16 for each chunk, over the padded plaintext::

    head    = 0x01 || alg 0x01 || bits u8 || salt(16) || commit(32)
    key(32) || commit(32) = HKDF(K, salt, enc("louver/v1/attachment", 0x01, alg, bits, context), 64)
    chunk i = AES-256-GCM(key, nonce = 0*7 || i u32 || last u8, pad(P)[i << bits : (i + 1) << bits])

``last`` is 1 for the last chunk and 0 for all others, which are full: so no chunk passes for
another of its file, and a file cannot be cut off or continued (STREAM: Hoang, Reyhanitabar,
Rogaway, Vizár, CRYPTO 2015). The commitment ties the file to one key before anything is
decrypted. ``K`` is fresh for each file, or, where ``at_rest`` keeps many under one, the salt is.
Sealing two plaintexts with one ``K`` and salt would repeat nonces: who has to send again sends
the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, CannotOpen
from crypto_modes.padding import padded_size
from crypto_modes.primitives import (
    KEY_SIZE,
    TAG_SIZE,
    aead_open,
    aead_seal,
    equal,
    hashing,
    hkdf,
)

FORMAT = 0x01
AES_256_GCM = 0x01
# 32 KiB, a piece on the wire. Readers take 4 KiB to 1 MiB, which bounds what a stranger makes
# them hold in memory.
BITS = 15
BITS_TAKEN = range(12, 21)
CHUNK = 1 << BITS
SALT_SIZE = 16
HEAD_SIZE = 51
MOST_CHUNKS = 1 << 32

_PREFIX = slice(0, 2)
_BITS = 2
_SALT = slice(3, 19)
_COMMIT = slice(19, 51)
_START = bytes((FORMAT, AES_256_GCM))


class Reference(Protocol):
    """What a message says of a file: ``content.Attachment``.

    ``ciphertext`` is H of the file as the relay has it, ``plaintext`` H of what is in it, 32 bytes
    each; ``size`` is the plaintext's. ``key`` (32) and ``chunk`` (bytes) are empty and 0 where the
    relay may read: then the file is the plaintext, padded or not.
    """

    @property
    def size(self) -> int: ...
    @property
    def key(self) -> bytes: ...
    @property
    def ciphertext(self) -> bytes: ...
    @property
    def plaintext(self) -> bytes: ...
    @property
    def chunk(self) -> int: ...


class Chunks:
    """The chunks of one file, in any order. Made by ``new`` or ``read``; ``head`` comes first."""

    __slots__ = ("_key", "head", "size")

    def __init__(self, key: bytes, salt: bytes, bits: int, context: bytes) -> None:
        if len(key) != KEY_SIZE or len(salt) != SALT_SIZE or bits not in BITS_TAKEN:
            raise BadArgument("a file takes a 32-byte key, a 16-byte salt, 12 to 20 bits")
        info = enc("louver/v1/attachment", FORMAT, AES_256_GCM, bits, context)
        okm = hkdf(key, salt=salt, info=info, length=64)
        self._key = okm[:32]
        self.head = _START + bytes((bits,)) + salt + okm[32:]
        self.size = 1 << bits

    @classmethod
    def read(cls, key: bytes, head: bytes, context: bytes = b"") -> Chunks:
        """The chunks of a file with this head. Raises ``CannotOpen`` unless it commits to ``key``,
        which is checked before anything is decrypted.
        """
        if len(head) != HEAD_SIZE or head[_PREFIX] != _START or head[_BITS] not in BITS_TAKEN:
            raise CannotOpen
        chunks = cls(key, head[_SALT], head[_BITS], context)
        if not equal(chunks.head[_COMMIT], head[_COMMIT]):
            raise CannotOpen
        return chunks

    def seal(self, index: int, chunk: bytes, *, last: bool) -> bytes:
        """Chunk ``index``, 16 bytes longer. Raises ``BadArgument`` for a size no chunk has."""
        if not 0 < len(chunk) <= self.size or (len(chunk) < self.size and not last):
            raise BadArgument(f"a chunk has {self.size} bytes, only the last one may have fewer")
        return aead_seal(self._key, _nonce(index, last), chunk, b"")

    def open(self, index: int, sealed: bytes, *, last: bool) -> bytes:
        """The plaintext of chunk ``index``. Raises ``CannotOpen``."""
        return aead_open(self._key, _nonce(index, last), sealed, b"")


def _nonce(index: int, last: bool) -> bytes:
    if not 0 <= index < MOST_CHUNKS:
        raise BadArgument("a file has at most 2^32 chunks")
    return bytes(7) + index.to_bytes(4, "big") + bytes((last,))


def padding(size: int) -> Iterator[bytes]:
    """What follows ``size`` bytes of plaintext, in pieces: 0x80, zeros up to the padded size."""
    zeros = padded_size(size + 1) - size - 1
    yield b"\x80"
    while zeros:
        yield bytes(min(zeros, CHUNK))
        zeros -= min(zeros, CHUNK)


def sealed_size(size: int, chunk: int = CHUNK) -> int:
    """The size of a sealed file with ``size`` bytes in it."""
    padded = padded_size(size + 1)
    return HEAD_SIZE + padded + TAG_SIZE * count_of(padded, chunk)


def count_of(size: int, chunk: int) -> int:
    """How many chunks hold ``size`` bytes."""
    return -(-size // chunk)


class Sealer:
    """Seals a file of any length as it comes: ``update`` …, ``finish``.

    ``size`` and the digests ``plaintext``, ``padded`` and ``ciphertext`` (32 bytes: H of what came
    in, of that with its padding, of what came out) are those of the whole after ``finish``.
    """

    def __init__(self, key: bytes, salt: bytes, *, bits: int = BITS, context: bytes = b"") -> None:
        self._chunks = Chunks(key, salt, bits, context)
        self._plain, self._cipher = hashing(), hashing()
        self._waiting = bytearray()
        self._index = 0
        self._head = self._chunks.head
        self.size = 0
        self.padded = b""

    @property
    def plaintext(self) -> bytes:
        return self._plain.digest()

    @property
    def ciphertext(self) -> bytes:
        return self._cipher.digest()

    def update(self, data: bytes) -> bytes:
        """Take more plaintext; what of the sealed file that completes."""
        self._plain.update(data)
        self.size += len(data)
        return self._take(data)

    def finish(self) -> Iterator[bytes]:
        """The rest of the sealed file, in pieces; done once the iterator has ended."""
        whole = self._plain.copy()
        for end in padding(self.size):
            whole.update(end)
            yield self._take(end)
        self.padded = whole.digest()
        final = self._chunks.seal(self._index, bytes(self._waiting), last=True)
        self._cipher.update(final)
        yield final

    def _take(self, data: bytes) -> bytes:
        self._waiting += data
        sealed, self._head = [self._head] if self._head else [], b""
        size = self._chunks.size
        # One chunk stays behind: whether it is the last is known only when more comes.
        while len(self._waiting) > size:
            sealed.append(self._chunks.seal(self._index, bytes(self._waiting[:size]), last=False))
            del self._waiting[:size]
            self._index += 1
        out = b"".join(sealed)
        self._cipher.update(out)
        return out


class Opener:
    """Opens a file as it comes: ``update`` …, ``finish``.

    What ``update`` gives is authentic only where the reference has a key, and is the whole file
    only after ``finish``: show and keep nothing before. Raises ``CannotOpen`` for whatever is not
    exactly the file that the reference means.
    """

    def __init__(self, reference: Reference, context: bytes = b"") -> None:
        _check(reference)
        self._reference = reference
        self._context = context
        self._cipher, self._plain = hashing(), hashing()
        self._chunks: Chunks | None = None
        self._waiting = bytearray()
        self._index = 0
        self._padded = padded_size(reference.size + 1)
        self._at = 0  # in the padded plaintext
        self._count = count_of(self._padded, reference.chunk or CHUNK)

    def update(self, data: bytes) -> bytes:
        """Take more of the file; what of the plaintext that completes."""
        self._cipher.update(data)
        if not self._reference.key:
            return self._body(data)
        self._waiting += data
        if self._chunks is None:
            if len(self._waiting) < HEAD_SIZE:
                return b""
            self._chunks = self._read_head()
        size = self._chunks.size + TAG_SIZE
        opened = []
        while len(self._waiting) >= size:
            opened.append(self._open(self._chunks, size))
        return b"".join(opened)

    def finish(self) -> bytes:
        """The rest of the plaintext; the whole was what the reference means."""
        rest = b""
        if self._chunks is not None and self._waiting:
            rest = self._open(self._chunks, len(self._waiting))
        reference = self._reference
        # Where the relay may read, it is the mode that pads or does not.
        ends = {self._padded} if reference.key else {self._padded, reference.size}
        if self._at not in ends:
            raise CannotOpen
        if not equal(self._cipher.digest(), reference.ciphertext):
            raise CannotOpen
        if not equal(self._plain.digest(), reference.plaintext):
            raise CannotOpen
        return rest

    def _read_head(self) -> Chunks:
        head = bytes(self._waiting[:HEAD_SIZE])
        del self._waiting[:HEAD_SIZE]
        chunks = Chunks.read(self._reference.key, head, self._context)
        if chunks.size != self._reference.chunk:
            raise CannotOpen
        return chunks

    def _open(self, chunks: Chunks, size: int) -> bytes:
        if self._index >= self._count:
            raise CannotOpen
        sealed = bytes(self._waiting[:size])
        del self._waiting[:size]
        chunk = chunks.open(self._index, sealed, last=self._index == self._count - 1)
        self._index += 1
        return self._body(chunk)

    def _body(self, data: bytes) -> bytes:
        """The part of ``data`` that is no padding; what follows the plaintext must be padding."""
        size = self._reference.size
        body = data[: max(0, size - self._at)]
        end = data[len(body) :]
        mark = b"\x80" if end and self._at + len(body) == size else b""
        self._at += len(data)
        if self._at > self._padded or end.rstrip(b"\0") != mark:
            raise CannotOpen
        self._plain.update(body)
        return body


def _check(reference: Reference) -> None:
    """Refuse a reference whose numbers no file has, before they cost anything."""
    taken = {1 << bits for bits in BITS_TAKEN} if reference.key else {0}
    if len(reference.key) not in (0, KEY_SIZE) or reference.chunk not in taken:
        raise CannotOpen
    if not 0 <= reference.size < MOST_CHUNKS << BITS_TAKEN.start >> 1:
        raise CannotOpen


def opened(blob: Iterable[bytes], reference: Reference) -> Iterator[bytes]:
    """The plaintext of a file, in pieces; it is believed only once the iterator has ended.

    Raises ``CannotOpen``.
    """
    opener = Opener(reference)
    for data in blob:
        yield opener.update(data)
    yield opener.finish()


def verify(blob: Iterable[bytes], reference: Reference) -> None:
    """Whether ``blob``, in pieces, is the file of a reference; such as one that was reported inside
    a franked message. Raises ``CannotOpen``.
    """
    for _ in opened(blob, reference):
        pass


class AsSent:
    """The pieces of an attachment in a mode that keeps them as they come: ``contract.Pieces``."""

    head = b""
    overhead = 0

    def admit(self, index: int, piece: bytes) -> bytes:
        """The piece."""
        return piece

    def emit(self, index: int, stored: bytes) -> bytes:
        """The piece."""
        return stored
