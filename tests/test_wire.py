"""The codec and the numbers: limits to the byte, what is refused as what, and whose error it is."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from crypto_modes import errors, wire
from crypto_modes.wire.codec import Codec

MSGPACK, JSON = wire.CODECS[wire.MSGPACK], wire.CODECS[wire.JSON]
HELLO = wire.Hello(ref=7, token="t", device=bytes(16))

both = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=lambda codec: codec.name)


def raw(codec: wire.Codec, **fields: object) -> bytes:
    """A frame of these fields, legal or not."""
    return codec.encode(fields)  # type: ignore[arg-type]  # not a frame, on purpose


def test_only_json_travels_as_text() -> None:
    assert {codec.name: codec.text for codec in wire.CODECS.values()} == {
        wire.MSGPACK: False,
        wire.JSON: True,
    }
    assert JSON.encode(HELLO)[:1] == b"{"
    assert msgspec.msgpack.decode(MSGPACK.encode(HELLO)) == {
        "type": "hello",
        "ref": 7,
        "token": "t",
        "device": bytes(16),
    }


def test_a_codec_has_a_name_an_encoder_and_a_decoder_for_each_end() -> None:
    decoders = (msgspec.json.Decoder(wire.Hello), msgspec.json.Decoder(wire.Error))
    codec = Codec(wire.JSON, msgspec.json.Encoder(), *decoders)
    error = wire.Error(ref=7, code=107, name="bad_request", message="no")
    assert (codec.name, codec.text) == (wire.JSON, True)
    assert codec.decode_client(codec.encode(HELLO)) == HELLO
    assert codec.decode_server(codec.encode(error)) == error
    for decode, frame in ((codec.decode_client, error), (codec.decode_server, HELLO)):
        with pytest.raises(errors.FrameRefused):
            decode(codec.encode(frame))


@both
def test_a_frame_may_be_as_large_as_the_limit(codec: wire.Codec) -> None:
    data = codec.encode(HELLO)
    assert codec.decode_client(data, len(data)) == HELLO
    with pytest.raises(errors.LimitExceeded):
        codec.decode_client(data, len(data) - 1)


def test_without_another_a_clients_limit_is_64_kib_and_a_relays_frame_has_none() -> None:
    """White space is part of a frame in JSON, as far as its size goes."""
    data = JSON.encode(HELLO).ljust(64 * 1024)
    assert JSON.decode_client(data) == HELLO
    with pytest.raises(errors.LimitExceeded):
        JSON.decode_client(data + b" ")
    told = wire.Error(ref=1, code=107, name="bad_request", message="no")
    assert JSON.decode_server(JSON.encode(told).ljust(65 * 1024)) == told


@both
def test_what_is_no_frame_says_why_not(codec: wire.Codec) -> None:
    for decode in (codec.decode_client, codec.decode_server):
        with pytest.raises(errors.UnknownType, match="novel"):
            decode(raw(codec, type="novel", ref=1))
    whole = codec.encode(HELLO)
    for data, words in (
        (raw(codec, type="hello", ref=-1, token="t", device=bytes(16)), r"\$.ref"),
        (whole[:-1], "truncated"),
        (whole.replace(b"token", b"t\xffken"), "token"),
    ):
        with pytest.raises(errors.FrameRefused, match=words) as refused:
            codec.decode_client(data)
        assert refused.type is errors.FrameRefused


@both
def test_text_that_is_no_utf_8_is_refused(codec: wire.Codec) -> None:
    whole = codec.encode(wire.Hello(ref=7, token="a word", device=bytes(16)))
    with pytest.raises(errors.FrameRefused, match="utf-8"):
        codec.decode_client(whole.replace(b"a word", b"a w\xffrd"))


@both
def test_the_answer_to_a_refused_frame_names_its_ref(codec: wire.Codec) -> None:
    for data, ref in (
        (codec.encode(HELLO), 7),
        (raw(codec, type="novel", ref=2**32 - 1, more=[1, {"a": 2}]), 2**32 - 1),
        (raw(codec, type="novel"), 0),
        (raw(codec, ref=2**32), 0),
        (raw(codec, ref="7"), 0),
        (codec.encode(HELLO)[:-1], 0),
        (b'\xff{"ref":7}', 0),
        (b"", 0),
    ):
        assert wire.ref_of(data, codec) == ref


def test_the_size_of_a_frame_is_that_in_messagepack() -> None:
    assert wire.size_of(HELLO) == len(MSGPACK.encode(HELLO)) != len(JSON.encode(HELLO))


# --- numbers ---


def kinds(error: type[errors.LouverError] = errors.LouverError) -> Iterator[type]:
    yield error
    for kind in error.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda each: each.__name__))
def test_every_error_has_its_frame(kind: type[errors.LouverError]) -> None:
    frame = wire.error_frame(7, kind("what to do"))
    assert (frame.ref, frame.code, frame.message) == (7, kind.code, "what to do")
    assert frame.name == wire.CODES[kind.code]
    assert frame.retry_after == 0.0
    # The relay asks for another try wherever the program itself would try again.
    assert frame.temporary or not kind.temporary


def test_an_error_says_when_to_come_back() -> None:
    frame = wire.error_frame(0, errors.RateLimited("too fast", retry_after=1.5))
    assert (frame.name, frame.temporary, frame.retry_after) == ("rate_limited", True, 1.5)
    lasting = wire.error_frame(0, errors.Forbidden("no"))
    assert (lasting.name, lasting.temporary) == ("forbidden", False)
    absent = errors.StoreUnavailable("away", retry_after=2.0, advice="the disk at /x is full")
    frame = wire.error_frame(0, absent)
    assert (frame.name, frame.message, frame.retry_after) == ("store_unavailable", "away", 2.0)
    assert absent.advice == "the disk at /x is full"
    assert errors.KeyServiceUnavailable("away").advice == ""


def test_what_does_not_open_says_the_same_whatever_it_was() -> None:
    assert str(errors.CannotOpen()) == "this message cannot be opened"
    assert errors.CannotOpen().retry_after == 0.0


def test_every_number_means_one_thing() -> None:
    assert wire.CODES.keys() > wire.TEMPORARY
    for table in (wire.CODES, wire.CLOSES):
        assert len(set(table.values())) == len(table)
    assert all(4000 <= number <= 4999 for number in wire.CLOSES)
