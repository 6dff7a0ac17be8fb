"""What messages say: one encoding for each thing, and nothing else is taken for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import content, wire
from crypto_modes.content import (
    Attachment,
    Deletion,
    Edit,
    Parsed,
    Plain,
    Reaction,
    Timer,
    What,
    encode,
    parse,
)
from crypto_modes.errors import BadArgument, LimitExceeded
from tests.vector_files import vectors

TARGET = b"t" * 16
FILE = partial(
    Attachment,
    blob=TARGET,
    name="secret.txt",
    media_type="text/plain",
    size=1,
    ciphertext=bytes(32),
    plaintext=bytes(32),
)
ids = st.binary(min_size=16, max_size=16)
digests = st.binary(min_size=32, max_size=32)
texts = st.text(min_size=1, max_size=40)
attachments = st.builds(
    Attachment,
    blob=ids,
    name=texts,
    media_type=st.sampled_from(["image/png", "audio/ogg", "application/vnd.x+json"]),
    size=st.integers(0, 2**64 - 1),
    ciphertext=digests,
    plaintext=digests,
)
sealed = st.builds(
    lambda plain, key, chunk: msgspec.structs.replace(plain, key=key, chunk=chunk),
    attachments,
    digests,
    st.integers(1, 2**64 - 1),
)
standing = st.one_of(st.builds(Plain, texts.map(str.encode)), attachments, sealed)
others = st.one_of(
    st.builds(Reaction, ids, st.text(max_size=16)),
    st.builds(Edit, ids, texts),
    st.builds(Deletion, ids),
    st.builds(Timer, st.integers(0, content.SECONDS_LIMIT)),
)


@given(what=standing, seconds=st.integers(0, content.SECONDS_LIMIT), reply_to=st.none() | ids)
def test_what_stands_round_trips(what: What, seconds: int, reply_to: bytes | None) -> None:
    said = content.with_reply(encode(what, seconds), reply_to or b"")
    inner, answered = content.without_reply(said)
    assert answered == (reply_to or b"")
    assert parse(inner) == Parsed(what, seconds)
    assert (said[:1] == content.MARK) == (bool(seconds or reply_to) or not isinstance(what, Plain))


@given(what=others)
def test_what_alters_round_trips_and_stays(what: What) -> None:
    assert parse(encode(what)) == Parsed(what)
    with pytest.raises(BadArgument):
        encode(what, 60)


@given(st.text())
def test_a_text_is_sent_as_it_is(text: str) -> None:
    assert encode(Plain(text.encode())) == text.encode()
    assert parse(text.encode()) == Parsed(Plain(text.encode()))
    assert content.without_reply(text.encode()) == (text.encode(), b"")


@given(st.binary(max_size=120), st.booleans())
def test_every_content_says_something_in_one_way(raw: bytes, marked: bool) -> None:
    raw = content.MARK + raw if marked else raw
    parsed = parse(raw)
    if not isinstance(parsed.what, Plain) or parsed.seconds:
        assert encode(parsed.what, parsed.seconds) == raw
    else:
        assert parsed.what.content == raw


@given(what=others | sealed, data=st.data())
def test_a_changed_byte_never_leaves_the_same_thing(what: What, data: st.DataObject) -> None:
    raw = bytearray(encode(what))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert parse(bytes(raw)).what != what


@pytest.mark.parametrize("vector", vectors("content"))
def test_vectors(vector: dict[str, Any]) -> None:
    kind = getattr(content, vector["says"])
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    fields = {
        name: bytes.fromhex(value) if types[name] in (bytes, "bytes") else value
        for name, value in vector["fields"].items()
    }
    assert parse(bytes.fromhex(vector["content"])) == Parsed(kind(**fields), vector["seconds"])


@pytest.mark.parametrize(
    "what",
    [
        Plain(content.MARK + b"\0\0\0\x12louver/v1/deletion\0\0\0\x10" + TARGET),
        Reaction(TARGET, "x" * 65),
        Reaction(b"short", "x"),
        Edit(TARGET, ""),
        Edit(b"short", "new"),
        Deletion(b"short"),
        Deletion(TARGET + b"t"),
        Timer(content.SECONDS_LIMIT + 1),
        FILE(name=""),
        FILE(name="x" * 256),
        FILE(key=bytes(32)),
        FILE(chunk=1),
        FILE(media_type="Image/PNG"),
    ],
)
def test_what_nobody_would_take_is_not_said(what: What) -> None:
    with pytest.raises(BadArgument):
        encode(what)


@pytest.mark.parametrize(
    "what",
    [
        Reaction(TARGET, "x" * content.EMOJI_LIMIT),
        Timer(content.SECONDS_LIMIT),
        FILE(name="x" * content.NAME_LIMIT),
    ],
)
def test_what_is_just_within_its_limit_is_said(what: What) -> None:
    assert parse(encode(what)) == Parsed(what)


def test_the_longest_time_to_disappear_is_a_year() -> None:
    longest = Parsed(Plain(b"text"), content.SECONDS_LIMIT)
    assert parse(encode(longest.what, longest.seconds)) == longest
    with pytest.raises(BadArgument):
        encode(Plain(b"text"), content.SECONDS_LIMIT + 1)


def test_a_reply_is_held_to_the_limit_of_a_message() -> None:
    room = wire.CONTENT_LIMIT - len(content.with_reply(b"", TARGET))
    assert len(content.with_reply(bytes(room), TARGET)) == wire.CONTENT_LIMIT
    with pytest.raises(LimitExceeded):
        content.with_reply(bytes(room + 1), TARGET)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"plain", None),
        (content.with_reply(b"yes", TARGET), f"[reply to {TARGET.hex()}] yes"),
        (encode(Edit(TARGET, "new")), f"[edit of {TARGET.hex()}] new"),
        (encode(Reaction(TARGET, "x")), f"[reaction to {TARGET.hex()}] x"),
        (encode(Deletion(TARGET)), f"[deletion of {TARGET.hex()}]"),
        (encode(Timer(60)), "[messages disappear after 60 s]"),
        (encode(Plain(b"soon"), 5), "[disappears after 5 s] soon"),
        (encode(Plain(b"so\xfen"), 5), "[disappears after 5 s] so\ufffdn"),
        (encode(FILE()), f"[file {TARGET.hex()}: 'secret.txt', text/plain, 1 bytes]"),
    ],
)
def test_a_moderator_reads_words(said: bytes, words: str | None) -> None:
    assert content.describe(said) == words


def test_reprs_tell_no_text() -> None:
    shown = repr([Plain(b"secret"), Edit(TARGET, "secret"), FILE(key=b"k" * 32, chunk=1)])
    assert shown == f"[<Plain>, <Edit of {TARGET.hex()}>, <Attachment {TARGET.hex()}>]"
    assert "secret" not in shown
    assert "kkkk" not in shown
