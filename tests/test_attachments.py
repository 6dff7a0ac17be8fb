"""Sealed files: right to the byte, in constant memory, and nothing but the whole file opens."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import attachments, wire
from crypto_modes.attachments import CHUNK, HEAD_SIZE, Chunks, Opener, Sealer, opened, verify
from crypto_modes.errors import BadArgument, CannotOpen
from crypto_modes.padding import pad
from crypto_modes.primitives import aead_open, aead_seal
from tests import attachments_oracle as oracle
from tests.gcm_collision import colliding
from tests.vector_files import expected, raw, vectors
from tests.vectors.make_modes import drawn

KEY, SALT = bytes(range(32)), bytes(range(16))
STORED = CHUNK + 16
SMALL = 12


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What a message would say."""

    size: int
    key: bytes
    ciphertext: bytes
    plaintext: bytes
    chunk: int = CHUNK


def sealed(body: bytes, *, key: bytes = KEY, step: int = 5000, bits: int = 15) -> bytes:
    sealer = Sealer(key, SALT, bits=bits)
    parts = [sealer.update(body[at : at + step]) for at in range(0, len(body), step)]
    parts += sealer.finish()
    assert (sealer.size, sealer.plaintext) == (len(body), sha256(body).digest())
    assert sealer.ciphertext == sha256(b"".join(parts)).digest()
    assert sealer.padded == sha256(pad(body)).digest()
    return b"".join(parts)


def reference(body: bytes, file: bytes, **changes: Any) -> Reference:
    made = Reference(
        size=len(body), key=KEY, ciphertext=sha256(file).digest(), plaintext=sha256(body).digest()
    )
    return msgspec.structs.replace(made, **changes)


def split(file: bytes, step: int) -> Iterator[bytes]:
    return (file[at : at + step] for at in range(0, len(file), step))


def test_a_piece_on_the_wire_is_a_chunk() -> None:
    """Of what `at_rest` keeps; and what the client's outbox reads."""
    assert wire.PIECE == CHUNK


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(1, 9000), st.integers(1, 9000))
def test_round_trip_and_a_second_reading(seed: bytes, repeat: int, step: int, cut: int) -> None:
    body = seed * repeat
    file = sealed(body, step=step)
    assert file == oracle.seal(KEY, SALT, body)
    assert oracle.read(KEY, file) == body
    assert b"".join(opened(split(file, cut), reference(body, file))) == body
    assert len(file) == attachments.sealed_size(len(body))


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 7 * CHUNK, 7 * CHUNK - 1])
def test_ends_at_and_around_chunks(size: int) -> None:
    body = os.urandom(size)
    file = sealed(body)
    assert file == oracle.seal(KEY, SALT, body)
    for cut in (STORED, STORED + HEAD_SIZE, CHUNK, len(file)):
        assert b"".join(opened(split(file, cut), reference(body, file))) == body


@pytest.mark.parametrize("size", [0, 1, 5000, CHUNK, 3 * CHUNK + 1])
def test_where_the_relay_may_read_a_file_is_the_plaintext_padded_or_not(size: int) -> None:
    body = os.urandom(size)
    for file in (body, pad(body)):
        clear = reference(body, file, key=b"", chunk=0)
        assert b"".join(opened(split(file, 777), clear)) == body
        for wrong in (
            file + b"\0",
            file[:-1] or b"\x80",
            bytes(len(file) + 1),
            pad(body)[:-1] + b"X",
        ):
            with pytest.raises(CannotOpen):
                verify(split(wrong, 777), clear)
            # Also where the sender himself has lied about the hash of the file.
            lie = reference(body, wrong, key=b"", chunk=0)
            with pytest.raises(CannotOpen):
                verify(split(wrong, 777), lie)


@pytest.mark.parametrize("vector", vectors("attachments"))
def test_vectors(vector: dict[str, Any]) -> None:
    vector = raw(vector, "key", "salt", "context", "plaintext", "digest")
    bits, context = vector["bits"], vector["context"]
    if vector["expect"] == "ok":
        sealer = Sealer(vector["key"], vector["salt"], bits=bits, context=context)
        file = sealer.update(drawn(vector["name"], vector["size"])) + b"".join(sealer.finish())
        assert sealer.ciphertext == vector["digest"]
        assert vector.get("file", file.hex()) == file.hex()
    else:
        file = bytes.fromhex(vector["file"])
    given = Reference(
        size=vector["size"],
        key=vector["key"],
        ciphertext=vector["digest"],
        plaintext=vector["plaintext"],
        chunk=1 << bits,
    )
    with expected(vector):
        opener = Opener(given, context)
        body = opener.update(file) + opener.finish()
        assert sha256(body).digest() == vector["plaintext"]


@pytest.mark.attack(4)
def test_no_byte_of_a_file_may_change() -> None:
    """Every byte of a file of three chunks, also where the reference was made for the changed one:
    then only the file's own protection is left."""
    body = os.urandom(9000)
    file = sealed(body, bits=SMALL)
    for at in range(len(file)):
        if at > HEAD_SIZE + 64 and at % 97:
            continue
        changed = file[:at] + bytes((file[at] ^ 1,)) + file[at + 1 :]
        for told in (file, changed):
            with pytest.raises(CannotOpen):
                verify([changed], reference(body, told, chunk=1 << SMALL))


@pytest.mark.attack(4)
@given(st.integers(1, 6), st.data())
def test_chunks_cannot_be_left_out_repeated_reordered_or_taken_from_another_file(
    count: int, data: st.DataObject
) -> None:
    size = 1 << SMALL
    body, other = os.urandom(count * size), os.urandom(count * size)
    file, foreign = sealed(body, bits=SMALL), sealed(other, key=os.urandom(32), bits=SMALL)
    chunks = list(split(file[HEAD_SIZE:], size + 16))
    pool = chunks + list(split(foreign[HEAD_SIZE:], size + 16))
    picked = data.draw(st.lists(st.sampled_from(pool), max_size=len(chunks) + 2))
    made = file[:HEAD_SIZE] + b"".join(picked)
    if made == file:
        verify([made], reference(body, made, chunk=size))
        return
    with pytest.raises(CannotOpen):
        verify([made], reference(body, made, chunk=size))
    with pytest.raises(CannotOpen):
        list(opened([made], reference(body, made, chunk=size, plaintext=sha256(other).digest())))


def test_a_cut_or_longer_file_never_opens_even_with_a_reference_made_for_it() -> None:
    body = os.urandom(3 * CHUNK)
    file = sealed(body)
    for size in (0, 1, 200, len(body) - 1, len(body) + 1, 2 * len(body)):
        with pytest.raises(CannotOpen):
            verify([file], reference(body, file, size=size))
    with pytest.raises(CannotOpen):
        verify([file], reference(body, file, plaintext=bytes(32)))
    with pytest.raises(CannotOpen):
        verify([file], reference(body, file, ciphertext=bytes(32)))


@pytest.mark.attack(23)
def test_an_invisible_salamander_is_refused() -> None:
    """One file, two keys that both open its chunk: the head commits to one of them at most."""
    one, other = Chunks(KEY, SALT, 15, b""), Chunks(bytes(32), SALT, 15, b"")
    nonce = bytes(11) + b"\1"
    chunk = colliding(one._key, other._key, nonce, b"", [os.urandom(16) for _ in range(15)])
    for each in (one, other):
        text = aead_open(each._key, nonce, chunk, b"")  # a bare AEAD takes both
        assert each.open(0, chunk, last=True) == text
    files = [each.head + chunk for each in (one, other)]
    for file, wrong in zip(files, (bytes(32), KEY), strict=True):
        with pytest.raises(CannotOpen):
            Opener(reference(b"", file, key=wrong)).update(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk": 0},
        {"chunk": 1},
        {"chunk": 2048},
        {"chunk": 1 << 21},
        {"chunk": 1 << 44},
        {"chunk": -4096},
        {"key": b"short"},
        {"key": b"", "chunk": 4096},
        {"size": -1},
        {"size": 1 << 43},
        {"size": 1 << 60},
    ],
)
def test_numbers_that_no_file_has_are_refused_before_they_cost_anything(
    wrong: dict[str, Any],
) -> None:
    with pytest.raises(CannotOpen):
        Opener(reference(b"", b"", **wrong))


def test_a_huge_claim_costs_no_memory() -> None:
    tracemalloc.start()
    Opener(reference(b"", b"", size=(1 << 43) - 1))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_memory_is_constant() -> None:
    """Sixteen megabytes through both, in a few chunks' worth of memory."""
    piece, count = os.urandom(CHUNK), 512
    body = sha256()
    for _ in range(count):
        body.update(piece)
    tracemalloc.start()
    sealer, cipher = Sealer(KEY, SALT), sha256()
    for _ in range(count):
        cipher.update(sealer.update(piece))
    for part in sealer.finish():
        cipher.update(part)
    told = Reference(
        size=count * CHUNK, key=KEY, ciphertext=cipher.digest(), plaintext=body.digest()
    )
    again, opener = Sealer(KEY, SALT), Opener(told)
    for _ in range(count):
        opener.update(again.update(piece))
    for part in again.finish():
        opener.update(part)
    assert opener.finish() == b""
    assert tracemalloc.get_traced_memory()[1] < 16 * CHUNK
    tracemalloc.stop()


def test_keys_nonces_and_contexts_are_separate() -> None:
    chunk = bytes(100)
    seen = {
        Chunks(key, salt, bits, context).seal(index, chunk, last=True)
        for key in (KEY, bytes(32))
        for salt in (SALT, bytes(16))
        for bits in (12, 15)
        for context in (b"", b"a")
        for index in (0, 1, 2**32 - 1)
    }
    assert len(seen) == 48
    chunks = Chunks(KEY, SALT, 15, b"")
    assert chunks.seal(0, bytes(CHUNK), last=True) != chunks.seal(0, bytes(CHUNK), last=False)
    assert aead_seal(KEY, bytes(12), chunk, b"") not in seen


@pytest.mark.parametrize("size", [0, CHUNK + 1, CHUNK - 1])
def test_only_the_last_chunk_may_be_short_and_none_empty(size: int) -> None:
    with pytest.raises(BadArgument):
        Chunks(KEY, SALT, 15, b"").seal(0, bytes(size), last=False)


@pytest.mark.parametrize("index", [-1, 2**32])
def test_chunks_are_counted_in_32_bits(index: int) -> None:
    with pytest.raises(BadArgument):
        Chunks(KEY, SALT, 15, b"").seal(index, b"x", last=True)


@pytest.mark.parametrize("bits", [SMALL, 15])
def test_the_size_of_a_sealed_file_is_known_before(bits: int) -> None:
    for size in (0, 254, 255, 256, 5000, CHUNK - 1, CHUNK, 3 * CHUNK):
        file = sealed(bytes(size), bits=bits)
        assert len(file) == attachments.sealed_size(size, 1 << bits)


@pytest.mark.parametrize(
    ("key", "salt", "bits"),
    [(KEY[:31], SALT, 15), (KEY, SALT[:15], 15), (KEY, SALT, 11), (KEY, SALT, 21)],
)
def test_what_makes_no_file_is_refused(key: bytes, salt: bytes, bits: int) -> None:
    with pytest.raises(BadArgument):
        Chunks(key, salt, bits, b"")


def test_a_last_chunk_has_a_byte_at_least_and_opens_by_its_head() -> None:
    chunks = Chunks(KEY, SALT, 15, b"")
    sealed_chunk = chunks.seal(0, b"x", last=True)
    assert Chunks.read(KEY, chunks.head).open(0, sealed_chunk, last=True) == b"x"
    with pytest.raises(CannotOpen):
        Chunks.read(KEY, chunks.head, b"another place")
    with pytest.raises(BadArgument):
        chunks.seal(0, b"", last=True)


@pytest.mark.attack(33)
def test_a_sealed_file_that_is_not_padded_is_refused() -> None:
    """Its length would tell, and the sender of a file with a key has no reason to leave it out."""
    chunks, body = Chunks(KEY, SALT, 15, b""), bytes(100)
    for content, opens in ((pad(body), True), (body, False), (body + b"\x80", False)):
        file = chunks.head + chunks.seal(0, content, last=True)
        if opens:
            verify([file], reference(body, file))
        else:
            with pytest.raises(CannotOpen):
                verify([file], reference(body, file))


@pytest.mark.attack(33)
def test_few_sizes_of_files_are_seen() -> None:
    sizes = {attachments.sealed_size(size) for size in range(1 << 20, 2 << 20, 997)}
    assert len(sizes) <= 9
