"""Whatever bytes come, a decoder gives a value or one of our errors, and takes little memory.

The quick form, with hypothesis; ``python -m tests.harness.fuzz`` goes on for as long as wanted.
"""

from __future__ import annotations

import ast
import random
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes import wire
from crypto_modes.errors import CannotOpen
from tests import frames
from tests.decoders import Decoder, decoders, mutated, outcome

# Written out, because the table takes a second to make and names are needed when tests are found.
EVERY = (
    "at_rest record",
    "attachment",
    "attachment head",
    "attachment in the clear",
    "backup",
    "backup's owner",
    "backup's row",
    "call of the vault",
    "checkpoint",
    "client frame, json",
    "client frame, msgpack",
    "content",
    "device list",
    "e2ee body",
    "e2ee header",
    "e2ee record",
    "e2ee session",
    "frontier",
    "hand-over",
    "key store header",
    "keys of an issuer",
    "leaf of the access log",
    "leaves of a tile",
    "linking code",
    "linking offer",
    "log key",
    "note",
    "padding",
    "path of a tile",
    "policy",
    "recovery key",
    "records of the relay",
    "ref of a frame",
    "report",
    "request to a witness",
    "scanned message",
    "sealed report",
    "server frame, json",
    "server frame, msgpack",
    "share of a key",
    "signed call",
    "token of an issuer",
    "websocket frames",
    "websocket handshake",
    "wrapped data key",
)
MEGABYTE = 2**20
ROOT = Path(__file__).parent.parent


def test_every_decoder_is_fuzzed() -> None:
    assert set(EVERY) == decoders().keys()


@pytest.mark.parametrize("name", EVERY)
def test_a_seed_is_understood(name: str) -> None:
    """Else the mutations would never get past the first check."""
    decoder = decoders()[name]
    understood = 0
    for seed in decoder.seeds:
        assert outcome(decoder, seed) is None
        try:
            decoder.read(seed)
        except Exception:  # noqa: BLE001 - counted by what is left
            continue
        understood += 1
    assert decoder.seeds
    assert understood


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=100, deadline=None, database=None)
@given(data=st.data())
def test_any_bytes_are_a_value_or_our_error(name: str, data: st.DataObject) -> None:
    decoder = decoders()[name]
    chance = data.draw(st.randoms(use_true_random=False))
    raw = data.draw(st.binary(max_size=300) | st.sampled_from(decoder.seeds))
    for given_bytes in (raw, *(mutated(raw, chance) for _ in range(5))):
        assert outcome(decoder, given_bytes) is None, given_bytes


@pytest.mark.parametrize("name", EVERY)
def test_large_inputs_take_little_memory(name: str) -> None:
    """A frame's worth of each repeated byte that means something somewhere, and of the seeds."""
    decoder = decoders()[name]
    inputs = [bytes((byte,)) * wire.FRAME_LIMIT for byte in b'\x00\x80\x91\xdd\xff[{"9A-+\n']
    inputs += [
        (seed * (wire.FRAME_LIMIT // len(seed)))[: wire.FRAME_LIMIT] for seed in decoder.seeds[-3:]
    ]
    for raw in inputs:
        tracemalloc.start()
        try:
            assert outcome(decoder, raw) is None
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * MEGABYTE


@settings(max_examples=200, deadline=None, database=None)
@given(data=st.data())
@pytest.mark.parametrize("codec", [wire.CODECS[name] for name in wire.CODECS], ids=lambda c: c.name)
def test_legal_frames_come_back_and_damaged_ones_are_refused(
    codec: wire.Codec, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from((*frames.CLIENT, *frames.SERVER)))
    frame: Any = data.draw(frames.of(kind))
    raw = codec.encode(frame)
    decode = codec.decode_client if kind in frames.CLIENT else codec.decode_server
    assert decode(raw) == frame
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    for _ in range(5):
        assert outcome(Decoder(decode, ()), mutated(raw, chance)) is None


def careless(tree: ast.AST) -> Iterator[int]:
    """Where what msgspec raises of bytes is caught, but not what it raises of text: text that is
    not UTF-8 is a ``UnicodeDecodeError``, which is none of its own.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            done = " ".join(ast.unparse(each) for each in node.body)
            caught = " ".join(ast.unparse(each.type) for each in node.handlers if each.type)
            decodes = "decode(" in done and "msgspec" in caught
            if decodes and not {"UnicodeDecodeError", "ValueError"} & {*re.findall(r"\w+", caught)}:
                yield node.lineno


# What these decode has no text in it.
TEXTLESS = {"crypto_modes/e2ee/session.py"}


def test_who_catches_a_damaged_message_catches_damaged_text() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in ("server", "client", "crypto_modes")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in careless(ast.parse(path.read_text()))
        if str(path.relative_to(ROOT)) not in TEXTLESS
    ]
    assert found == []


def test_a_careless_clause_would_be_found() -> None:
    planted = "try:\n x = decode(y)\nexcept msgspec.MsgspecError:\n pass"
    assert list(careless(ast.parse(planted))) == [1]


def test_a_decoder_that_raises_something_else_is_found() -> None:
    """The planted fault: a decoder that forgets a check."""

    def forgetful(data: bytes) -> object:
        if len(data) < 3:
            raise CannotOpen
        return msgspec.msgpack.decode(data)

    decoder = Decoder(forgetful, (b"\x93\x01\x02\x03",))
    chance = random.Random(1)
    found = [outcome(decoder, mutated(decoder.seeds[0], chance)) for _ in range(200)]
    assert any(isinstance(each, msgspec.DecodeError) for each in found)
