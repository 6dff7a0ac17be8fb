"""Backups, the format: every byte counts, one recovery key opens, nothing is moved or missing."""

from __future__ import annotations

import io
import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes import backup
from crypto_modes.backup import CHUNK, About, Row
from crypto_modes.errors import BadArgument, CannotOpen
from tests import backup_oracle as oracle
from tests.gcm_collision import colliding
from tests.vector_files import expected, raw, vectors

KEY, SALT = bytes(range(32)), bytes(range(32, 64))
PART = CHUNK + 16
ABOUT = About(
    created=1_790_000_000_000,
    relay=b"relay-number-001",
    account=b"alice-account-01",
    device=b"alice-phone-0001",
    name="alice",
    url="wss://relay.example/",
    key=b"k" * 32,
    seed=b"s" * 32,
    version=3,
)
ROWS: list[Row] = [("client_names", b"n" + bytes((n,)), os.urandom(50)) for n in range(20)]


def written(rows: list[Row], key: bytes = KEY, salt: bytes = SALT) -> bytes:
    return b"".join(backup.seal(key, salt, backup.records(ABOUT, rows)))


def read(file: bytes, key: bytes = KEY) -> tuple[About, list[Row]]:
    about, rows = backup.contents(backup.open_(key, io.BytesIO(file).read))
    return about, list(rows)


def large(parts: int) -> tuple[list[Row], bytes]:
    """A backup of so many parts."""
    rows = [("client_messages", bytes((n,)), os.urandom(16_000)) for n in range(4 * parts - 1)]
    file = written(rows)
    assert -(-(len(file) - 73) // PART) == parts
    return rows, file


@pytest.mark.parametrize("vector", vectors("backup"))
def test_vectors(vector: dict[str, Any]) -> None:
    fields = raw(vector, "key", "salt", "file", "records")
    with expected(vector):
        found = read(fields["file"], fields["key"])
    if vector["expect"] == "ok":
        assert backup.recovery_key(vector["text"]) == fields["key"]
        assert list(backup.records(*found)) == fields["records"]
        assert (
            b"".join(backup.seal(fields["key"], fields["salt"], fields["records"]))
            == fields["file"]
        )


@given(st.lists(st.binary(min_size=1, max_size=40_000), min_size=1, max_size=8), st.randoms())
@settings(max_examples=25, deadline=None)
def test_an_independent_program_reads_and_writes_the_same(records: list[bytes], dice: Any) -> None:
    key, salt = dice.randbytes(32), dice.randbytes(32)
    file = b"".join(backup.seal(key, salt, records))
    assert oracle.read(key, file) == records
    assert oracle.write(key, salt, records) == file
    assert list(backup.open_(key, io.BytesIO(file).read)) == records


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_stream_that_fills_its_parts_exactly(off: int) -> None:
    record = os.urandom(2 * CHUNK - 4 + off)
    file = b"".join(backup.seal(KEY, SALT, [record]))
    assert len(file) == 73 + 2 * PART + (17 if off == 1 else off)
    assert list(backup.open_(KEY, io.BytesIO(file).read)) == [record]


def test_a_backup_says_whose_it_is_and_has_its_rows() -> None:
    assert read(written(ROWS)) == (ABOUT, ROWS)
    assert read(written([])) == (ABOUT, [])
    rows, file = large(3)
    assert read(file) == (ABOUT, rows)


@pytest.mark.attack(4)
def test_every_flipped_byte_is_found() -> None:
    file = written(ROWS[:3])
    for at in range(len(file)):
        flipped = bytearray(file)
        flipped[at] ^= 1 << at % 8
        with pytest.raises(CannotOpen):
            read(bytes(flipped))


@pytest.mark.attack(4)
def test_every_cut_is_found() -> None:
    file = written(ROWS[:3])
    for size in range(len(file)):
        with pytest.raises(CannotOpen):
            read(file[:size])
    _, whole = large(3)
    head, parts = whole[:73], [whole[73 + at : 73 + at + PART] for at in range(0, 3 * PART, PART)]
    for kept in ([0], [0, 1], [1, 2], [0, 2], [2], []):
        with pytest.raises(CannotOpen):
            read(head + b"".join(parts[at] for at in kept))


@pytest.mark.attack(4)
def test_parts_of_whole_records_are_held_by_their_number_and_the_mark_of_the_last() -> None:
    """Nothing else would show it to who reads records: each one that is left is whole."""
    records = [os.urandom(CHUNK // 4 - 4) for _ in range(12)]
    file = b"".join(backup.seal(KEY, SALT, records))
    assert len(file) == 73 + 3 * PART
    for parts in (1, 2):
        with pytest.raises(CannotOpen, match="cut off"):
            list(backup.open_(KEY, io.BytesIO(file[: 73 + parts * PART]).read))
    # Nor are whole parts of whole records in another order: each has its number.
    parted = [file[73 + at : 73 + at + PART] for at in range(0, 3 * PART, PART)]
    for order in ([1, 0, 2], [1, 2], [0, 0, 2], [0, 2]):
        moved = file[:73] + b"".join(parted[at] for at in order)
        with pytest.raises(CannotOpen, match="altered"):
            list(backup.open_(KEY, io.BytesIO(moved).read))


@pytest.mark.attack(4)
def test_parts_cannot_be_moved_or_doubled() -> None:
    _, whole = large(3)
    head, parts = whole[:73], [whole[73 + at : 73 + at + PART] for at in range(0, 3 * PART, PART)]
    for order in ([1, 0, 2], [0, 2, 1], [0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2]):
        with pytest.raises(CannotOpen):
            read(head + b"".join(parts[at] for at in order))


@pytest.mark.attack(4)
def test_two_backups_under_one_recovery_key_do_not_mix() -> None:
    rows, _ = large(2)
    one, two = (written(rows, salt=os.urandom(32)) for _ in range(2))
    for mixed in (one[:73] + two[73:], one[: 73 + PART] + two[73 + PART :]):
        with pytest.raises(CannotOpen):
            read(mixed)


@pytest.mark.attack(23)
def test_no_file_opens_under_two_recovery_keys() -> None:
    """A part that two keys accept needs a header that both commit to; there is none."""
    keys = [os.urandom(32) for _ in range(2)]
    parts = [oracle.keys(key, SALT) for key in keys]
    header = b"LOUVERBK\x01" + SALT + parts[0][1]
    aad = oracle.enc("louver/v1/backup/chunk", header, 0, 1)
    part = colliding(parts[0][0], parts[1][0], bytes(12), aad, [os.urandom(16) for _ in range(8)])
    for chunk_key, _ in parts:
        assert oracle.AESGCM(chunk_key).decrypt(bytes(12), part, aad)
    with pytest.raises(CannotOpen, match="recovery key does not open"):
        read(header + part, keys[1])


def test_another_key_is_refused_before_anything_is_decrypted() -> None:
    file = written(ROWS)
    stream = io.BytesIO(file)
    with pytest.raises(CannotOpen, match="does not open this backup"):
        list(backup.open_(os.urandom(32), stream.read))
    assert stream.tell() == 73


def test_only_whole_backups_end_without_an_error() -> None:
    """Rows come while the file is read; that nothing is missing shows at the end."""
    _, file = large(3)
    _, rows = backup.contents(backup.open_(KEY, io.BytesIO(file[: 73 + PART + 500]).read))
    with pytest.raises(CannotOpen):
        list(rows)


def test_sizes_are_checked() -> None:
    for key, salt in ((KEY[1:], SALT), (KEY, SALT[1:]), (b"", b"")):
        with pytest.raises(BadArgument):
            list(backup.seal(key, salt, [b"x"]))
    with pytest.raises(BadArgument):
        list(backup.open_(KEY[1:], io.BytesIO(written([])).read))
    for record in (b"", bytes(backup.RECORD_LIMIT + 1)):
        with pytest.raises(BadArgument):
            list(backup.seal(KEY, SALT, [record]))


def test_a_record_that_is_none_is_refused_though_it_is_authentic() -> None:
    good = list(backup.records(ABOUT, ROWS[:1]))
    for records in (
        [b"x"],
        [good[0] + b"\0"],
        [good[0][:-1]],
        [good[0], good[1][:-1], good[2]],
        [good[0], oracle.enc("louver/v1/other", "a", b"b", b"c"), good[2]],
        [good[1], good[2]],
        [good[0], oracle.enc("louver/v1/backup/row", b"\xff", b"b", b"c"), good[2]],
    ):
        with pytest.raises(CannotOpen):
            read(oracle.write(KEY, SALT, records))
    # A length beyond all measure, as no program of ours writes it.
    stream = (1 << 31).to_bytes(4, "big")
    chunk_key, commit = oracle.keys(KEY, SALT)
    header = b"LOUVERBK\x01" + SALT + commit
    with pytest.raises(CannotOpen, match="another program"):
        read(header + oracle.part_of(chunk_key, header, 0, stream, True))


# --- the recovery key ---


@given(st.binary(min_size=32, max_size=32))
def test_a_recovery_key_is_64_characters_and_back(key: bytes) -> None:
    text = backup.recovery_text(key)
    assert text.replace(" ", "") == oracle.text(key)
    assert len(text.split()) == 16
    for typed in (text, text.lower(), text.replace(" ", ""), text.replace(" ", "-\n")):
        assert backup.recovery_key(typed) == key
    assert backup.recovery_key(text.replace("0", "o").replace("1", "l")) == key
    assert backup.recovery_key(text.replace("0", "O").replace("1", "I")) == key


def test_what_is_mistyped_shows() -> None:
    text = backup.recovery_text(KEY).replace(" ", "")
    dice = random.Random(4)
    for at in range(len(text)):
        other = dice.choice(
            [each for each in "0123456789ABCDEFGHJKMNPQRSTVWXYZ" if each != text[at]]
        )
        with pytest.raises(BadArgument, match="wrong"):
            backup.recovery_key(text[:at] + other + text[at + 1 :])
        if at and text[at - 1] != text[at]:
            with pytest.raises(BadArgument, match="wrong"):
                backup.recovery_key(text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :])
    for wrong, words in (
        (text[1:], "not 63"),
        (text + "0", "not 65"),
        ("U" * 64, "'U'"),
        ("", "not 0"),
    ):
        with pytest.raises(BadArgument, match=words):
            backup.recovery_key(wrong)
    for size in (31, 33):
        with pytest.raises(BadArgument):
            backup.recovery_text(bytes(size))


def test_nothing_secret_is_printed() -> None:
    assert "ssss" not in repr(ABOUT)
    assert repr(ABOUT) == "<About 'alice'>"


# --- limits and versions ---


def test_a_record_may_be_as_large_as_the_limit_and_not_empty() -> None:
    most = bytes(backup.RECORD_LIMIT)
    file = b"".join(backup.seal(KEY, SALT, [most]))
    assert list(backup.open_(KEY, io.BytesIO(file).read)) == [most]
    for record in (b"", most + b"x"):
        with pytest.raises(BadArgument):
            list(backup.seal(KEY, SALT, [record]))
        foreign = oracle.write(KEY, SALT, [record])
        with pytest.raises(CannotOpen, match="another program"):
            list(backup.open_(KEY, io.BytesIO(foreign).read))


@pytest.mark.parametrize("start", [b"LOUVERBX\x01", b"LOUVERBK\x02"])
def test_a_file_of_another_kind_or_version_is_called_that(start: bytes) -> None:
    file = start + written([])[len(start) :]
    with pytest.raises(CannotOpen, match="no backup of this version"):
        read(file)


def test_a_backup_without_records_is_none() -> None:
    file = b"".join(backup.seal(KEY, SALT, []))
    with pytest.raises(CannotOpen):
        read(file)
