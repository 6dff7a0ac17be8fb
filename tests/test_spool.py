"""Files on the client's disk: names that do no harm, copies that nobody reads, saving that
overwrites nothing."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client.spool import NAME_BYTES, Saving, Spool, kind_of, safe_name, target_of
from crypto_modes import wire
from crypto_modes.attachments import sealed_size
from crypto_modes.errors import BadArgument, LimitExceeded, StoreUnavailable
from crypto_modes.padding import pad

KEY = bytes(range(32))
BODY = os.urandom(3 * wire.PIECE + 77)
LIMIT = 10**9


@given(st.text(max_size=300))
@example("../../etc/passwd")
@example("..\\..\\autoexec.bat")
@example("/")
@example("..")
@example(".bashrc")
@example("-rf")
@example("CON.txt")
@example("a\x1b[2Jb\n\r\0")
@example("gpj.exe\u202etxt")
@example("x" * 200 + ".pdf")
@example("ü" * 200)
@example(" . ")
@example("a." + "b" * 300)
def test_a_senders_name_does_no_harm(name: str) -> None:
    safe = safe_name(name)
    assert safe == safe_name(safe) == Path(safe).name
    assert 0 < len(safe.encode()) <= NAME_BYTES
    assert safe[0] not in "-. "
    assert safe[-1] not in ". "
    assert not set(safe) & set('/\\<>:"|?*')
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in safe)
    assert safe.partition(".")[0].lower() not in ("con", "nul", "com1")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("holiday in Köln (3).jpeg", "holiday in Köln (3).jpeg"),
        ("../../.ssh/authorized_keys", "authorized_keys"),
        (".profile", "profile"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("a/b\\c", "c"),
        ("what?.txt", "what_.txt"),
        ("\u202e\u200b", "attachment"),
        ("x" * 200 + ".pdf", "x" * 116 + ".pdf"),
        ("two\n lines.txt", "two lines.txt"),
    ],
)
def test_good_names_stay_and_bad_ones_become_good(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.PNG", "image"), ("b.mp4", "video"), ("c.ogg", "file"), ("d", "file"), ("-", "file")],
)
def test_kinds_are_guessed_by_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_copy_is_sealed_private_and_the_same_in_every_form(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "keystore.db"), "outbox")
    copy = spool.seal("name", io.BytesIO(BODY), KEY, LIMIT)
    file = tmp_path / "keystore.db.outbox" / "name"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["name"]
    raw = file.read_bytes()
    assert BODY[:64] not in raw
    assert len(raw) == sealed_size(len(BODY))
    places = range(0, len(raw), wire.PIECE)
    assert b"".join(spool.sealed("name", at) for at in places) == raw
    padded = pad(BODY)
    places = range(0, len(padded), wire.PIECE)
    assert b"".join(spool.padded("name", KEY, copy.size, at) for at in places) == padded


def test_a_copy_that_was_touched_is_not_sent(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "keystore.db"), "outbox")
    spool.seal("name", io.BytesIO(BODY), KEY, LIMIT)
    file = tmp_path / "keystore.db.outbox" / "name"
    raw = bytearray(file.read_bytes())
    raw[100] ^= 1
    file.write_bytes(raw)
    with pytest.raises(StoreUnavailable, match="damaged"):
        spool.padded("name", KEY, len(BODY), 0)
    file.unlink()
    with pytest.raises(StoreUnavailable):
        spool.sealed("name", 0)


def test_what_fails_and_what_a_crash_left_goes(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "keystore.db"), "outbox")
    directory = tmp_path / "keystore.db.outbox"
    with pytest.raises(LimitExceeded):
        spool.seal("large", io.BytesIO(BODY), KEY, len(BODY) - 1)

    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "planted: unreadable")

    with pytest.raises(BadArgument, match="planted"):
        spool.seal("breaks", Breaks(), KEY, LIMIT)
    assert list(directory.iterdir()) == []
    for name in ("one", "two"):
        spool.seal(name, io.BytesIO(BODY), KEY, LIMIT)
    (directory / "three.part").write_bytes(b"half")
    spool.sweep({"one"})
    assert [each.name for each in directory.iterdir()] == ["one"]
    spool.remove("one")
    spool.remove("one")
    assert list(directory.iterdir()) == []


def test_copies_of_a_key_store_in_memory_go_with_it() -> None:
    spool = Spool("memory", "outbox")
    spool.seal("name", io.BytesIO(BODY), KEY, LIMIT)
    place = spool._temporary
    assert place is not None
    assert place.stat().st_mode & 0o777 == 0o700
    spool.close()
    assert not place.exists()


def test_nothing_has_a_name_before_it_is_finished(tmp_path: Path) -> None:
    saving = Saving(target_of(tmp_path))
    saving.write(BODY)
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(".louver-")
    saving.close()
    assert list(tmp_path.iterdir()) == []
    for _ in range(3):
        saving = Saving(target_of(tmp_path))
        saving.write(BODY)
        saving.finish("a.tar.gz")
        saving.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a.tar (2).gz",
        "a.tar (3).gz",
        "a.tar.gz",
    ]


def test_a_name_that_was_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    wanted = tmp_path / "mine"
    saving = Saving(target_of(wanted))
    saving.write(BODY)
    wanted.write_text("came first")
    with pytest.raises(BadArgument, match="overwritten"):
        saving.finish("ignored")
    saving.close()
    assert wanted.read_text() == "came first"
    assert list(tmp_path.iterdir()) == [wanted]
