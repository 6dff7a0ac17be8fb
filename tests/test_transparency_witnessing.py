"""What a log asks of a witness, to the byte; and bodies that ask nothing. C2SP tlog-witness."""

from __future__ import annotations

from base64 import b64encode

import pytest

from crypto_modes.errors import LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import note
from crypto_modes.transparency.note import NOTE_LIMIT, Checkpoint, Note, Signature
from crypto_modes.transparency.tree import PROOF_LIMIT
from crypto_modes.transparency.witnessing import REQUEST_LIMIT, Request

KEY = SigningKey(b"k" * 32)
HEAD = note.sign(Checkpoint("log.example.org/1", 9, b"r" * 32), KEY)
FIRST, SECOND = bytes(range(32)), b"\xfb\xff" * 16
BODY = (
    b"old 7\n"
    b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    b"+//7//v/+//7//v/+//7//v/+//7//v/+//7//v/+/8=\n"
    b"\n"
    b"log.example.org/1\n9\ncnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnI=\n"
    b"\n"
) + HEAD.encode().split(b"\n\n")[1]


def refused(raw: bytes) -> str:
    with pytest.raises(LogRefused) as caught:
        Request.decode(raw)
    return str(caught.value)


def test_a_request_to_the_byte() -> None:
    made = Request(7, (FIRST, SECOND), HEAD)
    assert made.encode() == BODY
    assert Request.decode(BODY) == made


def test_the_first_request_has_no_proof() -> None:
    made = Request(0, (), HEAD)
    assert made.encode() == b"old 0\n\n" + HEAD.encode()
    assert Request.decode(made.encode()) == made


@pytest.mark.parametrize("old", [1, 10, 10**19 - 1])
def test_sizes_are_decimal_numbers_of_at_most_19_digits(old: int) -> None:
    assert Request.decode(Request(old, (), HEAD).encode()).old == old


@pytest.mark.parametrize(
    "first",
    [b"", b"old", b"old ", b"old 00", b"old 07", b"old -1", b"old +7", b"old 7 ", b" old 7",
     b"OLD 7", b"old 7\r", b"new 7", b"old 7.0", "old ٧".encode(), b"old 1" + b"0" * 19],
)  # fmt: skip
def test_the_first_line_is_an_old_size_and_nothing_else(first: bytes) -> None:
    assert refused(first + BODY[5:])


def test_a_proof_is_as_long_as_proofs_are_and_no_longer() -> None:
    longest = Request(7, (FIRST,) * PROOF_LIMIT, HEAD)
    assert Request.decode(longest.encode()) == longest
    assert "short proof" in refused(Request(7, (FIRST,) * (PROOF_LIMIT + 1), HEAD).encode())


LINE = b64encode(FIRST)


@pytest.mark.parametrize(
    "line",
    [
        b64encode(FIRST[:-1]),
        b64encode(FIRST + b"\0"),
        LINE[:-1],
        LINE + b"=",
        LINE[:-2] + b"9=",  # the two bits that are none are set
        LINE[:20] + b"*" + LINE[21:],
        b" " + LINE,
        LINE + b" ",
        b64encode(SECOND).replace(b"/", b"_"),
        "é".encode() + LINE[1:],
    ],
)
def test_a_line_of_a_proof_is_one_hash_in_base64(line: bytes) -> None:
    assert refused(BODY.replace(LINE, line))


def test_what_has_no_empty_line_is_no_request() -> None:
    for raw in (b"", b"old 7", b"old 7\n", BODY.replace(b"\n\n", b"\n")):
        assert refused(raw)


def test_the_note_is_read_strictly() -> None:
    assert "each line ended" in refused(BODY[:-1])
    assert "each line ended" in refused(b"old 7\n\n")


def test_a_body_is_as_long_as_the_longest_proof_and_note_and_no_longer() -> None:
    """Before anything of it is looked at."""
    frame = len(Note("", HEAD.signatures).encode())
    largest = Note("x" * (NOTE_LIMIT - frame - 1) + "\n", HEAD.signatures)
    assert len(largest.encode()) == NOTE_LIMIT
    assert Request.decode(Request(7, (FIRST,), largest).encode()).note == largest
    line = b"old 7\n" + LINE + b"\n" * 2
    room = REQUEST_LIMIT - len(line)
    assert "at most" in refused(line + b"x" * room)
    assert "an old size, a proof" in refused(line + b"x" * (room + 1))


def test_other_signatures_come_along() -> None:
    more = Note(HEAD.text, (*HEAD.signatures, Signature("witness.example.org", b"idid", b"s" * 72)))
    assert Request.decode(Request(7, (), more).encode()).note == more
