"""The search behind the probes: a canary is found in every form claimed, and nothing else is."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable

import msgpack
import pytest

from client.compare.canary import Canaries
from client.compare.search import Searcher

RUN = Canaries("search")
TOKEN = RUN.make(7)
TEXT = f"hello {TOKEN} there".encode()


def _raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(data) + squeeze.flush()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda d: d,
    "utf-16le": lambda d: d.decode().encode("utf-16-le"),
    "utf-16be": lambda d: d.decode().encode("utf-16-be"),
    "hex": lambda d: d.hex().encode(),
    "HEX": lambda d: d.hex().upper().encode(),
    "json escapes": lambda d: "".join(f"\\u{c:04x}" for c in d).encode(),
    "gzip+raw": lambda d: gzip.compress(d),
    "zlib+raw": lambda d: zlib.compress(d, 9),
    "deflate+raw": _raw_deflate,
    "zlib+hex": lambda d: zlib.compress(d.hex().encode()),
}


def _search(data: bytes) -> dict[str, set[int]]:
    searcher = Searcher(RUN)
    searcher.feed(data)
    return dict(searcher.found.forms)


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_found_in_the_middle_of_noise(name: str) -> None:
    data = os.urandom(777) + FORMS[name](TEXT) + os.urandom(777)
    assert _search(data)[name] == {7}


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_all_alignments_of_base64_are_found(shift: int, encode: Callable[[bytes], bytes]) -> None:
    for tail in range(4):
        data = encode(b"\xff" * (3 + shift) + TOKEN.encode() + b"\xfe" * tail)
        assert _search(data)[f"base64/{shift}"] == {7}


def test_text_inside_messagepack_and_json_is_found() -> None:
    for data in (msgpack.packb({"body": TEXT}), json.dumps({"body": TEXT.decode()}).encode()):
        assert _search(data)["raw"] == {7}


def test_noise_and_foreign_canaries_are_not_found() -> None:
    foreign = Canaries("other").make(7).encode()
    broken = TOKEN[:-1].encode() + b"!"
    assert _search(os.urandom(200_000) + foreign + broken) == {}


def test_every_number_is_told_apart() -> None:
    searcher = Searcher(RUN)
    for number in (0, 1, 48, 9001):
        searcher.feed(RUN.make(number).encode())
    assert searcher.found.numbers == {0, 1, 48, 9001}


def test_a_stream_cut_off_still_shows_its_beginning() -> None:
    whole = zlib.compress(TEXT + os.urandom(4000))
    assert _search(whole[:-900])["zlib+raw"] == {7}
