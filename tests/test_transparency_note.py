"""Signed notes and checkpoints: those of others, our own, and every way to write one wrongly."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.errors import KeyRefused, LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import note
from crypto_modes.transparency.note import BY_LOG, BY_WITNESS, Checkpoint, Note, Verifier
from crypto_modes.transparency.tree import EMPTY_ROOT, SIZE_LIMIT
from tests.vector_files import expected, raw, vectors
from tests.vectors.make_transparency import GO_KEY, GO_NOTE, WITNESS_KEY

LOG, WITNESS = SigningKey(b"l" * 32), SigningKey(b"w" * 32)
HEAD = Checkpoint("louver/key-log/test", 7, b"r" * 32)
BY = Verifier(HEAD.origin, BY_LOG, LOG.public)
BESIDE = Verifier("witness.example/w1", BY_WITNESS, WITNESS.public)
SIGNED = note.sign(HEAD, LOG)
COSIGNED = note.cosign(SIGNED, BESIDE.name, WITNESS, 1_790_000_000)


@pytest.mark.parametrize("vector", vectors("transparency_note"))
def test_the_vectors_of_notes(vector: dict[str, object]) -> None:
    given = raw(vector, "note")
    verifier = Verifier.decode(given["key"])
    assert verifier.encode() == given["key"]
    with expected(vector):
        found = Note.decode(given["note"])
        assert found.encode() == given["note"]
        assert found.verify([verifier]) == {verifier: given["time"]}


def test_a_key_signs_what_the_example_shows() -> None:
    """The secret half of the example's key is published as well."""
    seed = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    text = Note.decode(GO_NOTE.encode()).text
    verifier = Verifier("PeterNeumann", BY_LOG, SigningKey(seed).public)
    assert verifier.encode() == GO_KEY
    signature = note.Signature(verifier.name, verifier.id, SigningKey(seed).sign(text.encode()))
    assert Note(text, (signature,)).encode() == GO_NOTE.encode()


def test_a_checkpoint_is_opened_whoever_else_signed_it() -> None:
    assert note.open_checkpoint(SIGNED.encode(), BY) == HEAD
    assert note.open_checkpoint(COSIGNED.encode(), BY) == HEAD
    assert COSIGNED.verify((BY, BESIDE)) == {BY: 0, BESIDE: 1_790_000_000}
    assert Checkpoint.decode(Checkpoint("x", 0, EMPTY_ROOT).text()).size == 0


def test_what_is_signed_names_its_log_and_its_witness() -> None:
    signed = note.sign(HEAD, LOG)
    (by,) = signed.signatures
    assert signed.text == HEAD.text()
    assert (by.name, by.id) == (BY.name, BY.id)
    assert by.raw == LOG.sign(HEAD.text().encode())
    told = b"cosignature/v1\ntime 7\n" + HEAD.text().encode()
    kept, beside = note.cosign(signed, BESIDE.name, WITNESS, 7).signatures
    assert (kept, beside.name, beside.id) == (by, BESIDE.name, BESIDE.id)
    assert beside.raw == (7).to_bytes(8, "big") + WITNESS.sign(told)


def test_a_note_may_be_as_large_and_as_often_signed_as_the_limits_say() -> None:
    most = Note(SIGNED.text, SIGNED.signatures * note.SIGNATURE_LIMIT)
    assert Note.decode(most.encode()) == most
    with pytest.raises(LogRefused, match="16 signatures"):
        Note.decode(Note(SIGNED.text, SIGNED.signatures * 17).encode())
    room = note.NOTE_LIMIT - len(SIGNED.encode())
    large = Note(SIGNED.text[:-1] + "x" * room + "\n", SIGNED.signatures)
    assert len(large.encode()) == note.NOTE_LIMIT
    assert Note.decode(large.encode()) == large
    with pytest.raises(LogRefused, match="65536 bytes"):
        Note.decode(b"x" + large.encode())


def test_a_text_may_have_empty_lines_of_its_own() -> None:
    text = "\none\n\n\ntwo\n"
    signed = Note(text, (note.Signature(BY.name, BY.id, LOG.sign(text.encode())),))
    assert Note.decode(signed.encode()) == signed
    assert signed.verify([BY]) == {BY: 0}


GOOD = SIGNED.encode().decode()
LINE = GOOD.rpartition("\n\n")[2]


@pytest.mark.parametrize(
    "text",
    [
        "\n\n" + LINE,
        "a text without signatures\n",
        "a text\n" + LINE,
        GOOD[:-1],
        GOOD.replace("r", "\x01", 1),
        GOOD.replace("\n", "\r\n", 1),
        GOOD.replace("\u2014 ", ""),
        GOOD.replace("\u2014 ", "- "),
        GOOD + "\u2014 name\n",
        GOOD + "\u2014 two names AAAAAAA=\n",
        GOOD + "\u2014 name AAAAAA==\n",  # the id of a key, and no signature
        GOOD + "\u2014 name AAAAAAA\n",
        GOOD + "\u2014 name AAA*AAAA\n",
        GOOD + "\u2014 na+me AAAAAAA=\n",
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    assert Note.decode((GOOD + "\u2014 name AAAAAAA=\n").encode())
    with pytest.raises(LogRefused):
        Note.decode(text.encode())


def test_the_same_key_of_another_use_or_name_is_another_key() -> None:
    for other in (
        Verifier(BY.name, BY_WITNESS, BY.key),
        Verifier("louver/key-log/other", BY_LOG, BY.key),
        Verifier(BY.name, BY_LOG, WITNESS.public),
    ):
        with pytest.raises(LogRefused, match="nobody who is trusted"):
            note.open_checkpoint(COSIGNED.encode(), other)


def test_a_log_signs_for_itself_only() -> None:
    text = Checkpoint("another log", 7, b"r" * 32).text()
    raw_note = Note(text, (note.Signature(BY.name, BY.id, LOG.sign(text.encode())),))
    with pytest.raises(LogRefused, match="another log"):
        note.open_checkpoint(raw_note.encode(), BY)


def test_one_false_signature_of_a_trusted_key_spoils_the_note() -> None:
    false = note.Signature(BESIDE.name, BESIDE.id, b"\0" * 72)
    spoilt = Note(SIGNED.text, (*SIGNED.signatures, false))
    assert spoilt.verify((BY,)) == {BY: 0}
    with pytest.raises(LogRefused, match="does not hold"):
        spoilt.verify((BY, BESIDE))


def test_a_time_beyond_63_bits_is_refused() -> None:
    late = note.cosign(SIGNED, BESIDE.name, WITNESS, SIZE_LIMIT)
    with pytest.raises(LogRefused, match="63 bits"):
        late.verify((BESIDE,))


@given(st.data())
def test_no_byte_of_a_checkpoint_can_be_changed(data: st.DataObject) -> None:
    whole = SIGNED.encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != whole[at]))
    with pytest.raises(LogRefused):
        note.open_checkpoint(whole[:at] + bytes((byte,)) + whole[at + 1 :], BY)
    with pytest.raises(LogRefused):
        note.open_checkpoint(whole[:at] + whole[at + 1 :], BY)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_anything_is_a_note_or_is_refused(raw_note: bytes) -> None:
    try:
        found = Note.decode(raw_note)
    except LogRefused:
        return
    assert found.encode() == raw_note


@given(
    st.builds(
        Checkpoint,
        st.from_regex(r"[a-z./]{1,20}", fullmatch=True),
        st.integers(1, SIZE_LIMIT - 1),
        st.binary(min_size=32, max_size=32),
        st.lists(st.from_regex(r"[ -~]{1,20}", fullmatch=True), max_size=3).map(tuple),
    )
)
def test_a_checkpoint_comes_back(head: Checkpoint) -> None:
    assert Checkpoint.decode(head.text()) == head


@pytest.mark.parametrize(
    "text",
    [
        "x\n7\n" + "A" * 43 + "=",
        "x\n07\n" + "A" * 43 + "=\n",
        "x\n-7\n" + "A" * 43 + "=\n",
        "x\n+7\n" + "A" * 43 + "=\n",
        "x\n٧\n" + "A" * 43 + "=\n",
        "x\n7 \n" + "A" * 43 + "=\n",
        "x\n9223372036854775808\n" + "A" * 43 + "=\n",
        "x\n92233720368547758070\n" + "A" * 43 + "=\n",
        "\n7\n" + "A" * 43 + "=\n",
        "x\n7\n" + "A" * 44 + "\n",
        "x\n7\n" + "A" * 42 + "B=\n",
        "x\n7\nAAAA\n",
        "x\n7\n" + "A" * 43 + "=\n\nmore\n",
        "x\n0\n" + "A" * 43 + "=\n",
        "x\n7\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(LogRefused):
        Checkpoint.decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "remora.n621.de",
        "remora.n621.de+da77ade7",
        WITNESS_KEY.replace("da77ade7", "DA77ADE7"),
        WITNESS_KEY.replace("da77ade7", "da77ade8"),
        WITNESS_KEY.replace("remora", "remorb"),
        WITNESS_KEY.replace("remora", "rem ora"),
        WITNESS_KEY[:-1],
        WITNESS_KEY + "=",
        Verifier("x", BY_LOG, bytes(31)).encode(),
        Verifier("x", BY_LOG, bytes(32)).encode(),
        Verifier("x", 2, WITNESS.public).encode(),  # type: ignore[arg-type]  # ECDSA, not built
    ],
)
def test_what_is_no_key_of_a_log_is_refused(text: str) -> None:
    with pytest.raises(KeyRefused):
        Verifier.decode(text)
