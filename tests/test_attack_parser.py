"""Known attacks on parsers, rows 29 to 32: bombs, integer keys, duplicates, compression."""

from __future__ import annotations

import ast
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import websockets.asyncio.client
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from client.connection import open_connection
from crypto_modes import policy, wire
from crypto_modes.errors import FrameRefused, KeyRefused, LimitExceeded, LouverError
from crypto_modes.primitives import ed25519_public, ed25519_sign
from tests.conftest import Running
from tests.labels import FIRST, STRENGTHS
from tests.mode_ends import ALICE, BOB, TIME
from tests.raw_client import RawClient

ROOT = Path(__file__).parent.parent
MSGPACK, JSON = wire.CODECS[wire.MSGPACK], wire.CODECS[wire.JSON]
MEGABYTE = 2**20

# --- 29: bombs ---

# What a decoder without types would turn into a thousand times its size, or never get out of.
BOMBS: dict[str, tuple[wire.Codec, bytes]] = {
    "empty maps": (MSGPACK, b"\xdd\x00\x0f\xff\xff" + b"\x80" * MEGABYTE),
    "nested arrays": (MSGPACK, b"\x91" * MEGABYTE),
    "nested maps": (MSGPACK, b"\x81\xa1a" * (MEGABYTE // 3)),
    "an array of 4 billion": (MSGPACK, b"\xdd\xff\xff\xff\xff"),
    "a map of 4 billion": (MSGPACK, b"\xdf\xff\xff\xff\xff"),
    "bytes of 4 GB": (MSGPACK, b"\xc6\xff\xff\xff\xff"),
    "text of 4 GB": (MSGPACK, b"\xdb\xff\xff\xff\xff"),
    "a frame of nested fields": (MSGPACK, b"\x82\xa4type\xa4send\xa1x" + b"\x91" * MEGABYTE),
    "an unknown field of empty maps": (
        MSGPACK,
        b"\x82\xa4type\xa3ack\xa1x\xdd\x00\x0f\xff\xff" + b"\x80" * MEGABYTE,
    ),
    "copies without end": (
        MSGPACK,
        b"\x82\xa4type\xa4send\xa6copies\xdd\xff\xff\xff\xff" + b"\x92" * MEGABYTE,
    ),
    "json arrays": (JSON, b"[" * MEGABYTE),
    "json maps": (JSON, b'{"a":' * (MEGABYTE // 5)),
    "json nested fields": (JSON, b'{"type":"send","x":' + b"[" * MEGABYTE),
    "a json number without end": (JSON, b'{"type":"ack","seq":' + b"9" * MEGABYTE + b"}"),
    "json escapes": (JSON, b'{"type":"login","name":"' + b"\\u0061" * (MEGABYTE // 6) + b'"}'),
}


@pytest.mark.attack(29)
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_and_takes_no_memory(bomb: str) -> None:
    """As a client's frame over the limit, within it, and as a relay's, which has none here."""
    codec, data = BOMBS[bomb]
    if len(data) > wire.FRAME_LIMIT:
        with pytest.raises(LimitExceeded):
            codec.decode_client(data)
    within = data[: wire.FRAME_LIMIT]
    tracemalloc.start()
    try:
        for decode, given in ((codec.decode_client, within), (codec.decode_server, data)):
            with pytest.raises(FrameRefused):
                decode(given)
        assert wire.ref_of(within, codec) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * MEGABYTE


@pytest.mark.attack(29)
@pytest.mark.asyncio
async def test_before_hello_a_frame_has_four_kilobytes(relay: Running) -> None:
    client = await RawClient.open(relay.url)
    await client.send(b"\x80" * (wire.FRAME_LIMIT_BEFORE_HELLO + 1))
    await client.socket.wait_closed()
    assert client.socket.close_code == 1009


@pytest.mark.attack(29)
@pytest.mark.asyncio
async def test_a_relay_goes_on_serving_after_every_bomb(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    for codec, data in BOMBS.values():
        if codec is MSGPACK:
            await alice.send(data[: wire.FRAME_LIMIT - 1])
    assert (await alice.say(bob, "still here")).seq == 1


# --- 30: integers as keys ---

WELCOME: dict[str, Any] = {
    "type": "welcome",
    "ref": 1,
    "account": ALICE,
    "name": "alice",
    "device": ALICE,
    "relay": ALICE,
    "time": TIME,
    "epoch": 1,
    "modes": {"text": "tls"},
    "limits": {"frame": 1, "content": 1, "page": 1, "devices": 1, "outbox": 1},
    "ping": 25.0,
    "durability": "full",
}


@pytest.mark.attack(30)
def test_integer_keys_are_refused_wherever_a_map_may_stand() -> None:
    """They hash to themselves: a frame could choose keys that all fall into one slot."""
    colliding = {number * (2**61 - 1): "tls" for number in range(1, 9)}
    keyed = msgspec.msgpack.encode(colliding)
    assert len({hash(key) for key in colliding}) == 1
    for frame, field in (
        (b"\x84\xa4type\xa6policy\xa3ref\x01\xa4peer\xc4\x10" + ALICE, b"\xa5modes"),
        (b"\x84\xa4type\xa6notice\xa5topic\xa1x\xa4text\xa1x", b"\xa5modes"),
    ):
        data = frame + field + keyed
        for decode in (MSGPACK.decode_client, MSGPACK.decode_server):
            with pytest.raises(FrameRefused):
                decode(data)
    for words in ({"tls": "words"}, colliding):
        data = msgspec.msgpack.encode(WELCOME | {"words": words})
        if words is not colliding:
            assert isinstance(MSGPACK.decode_server(data), wire.Welcome)
            continue
        with pytest.raises(FrameRefused):
            MSGPACK.decode_server(data)
    with pytest.raises(FrameRefused):
        MSGPACK.decode_client(keyed)
    assert wire.ref_of(keyed, MSGPACK) == 0


def untyped(tree: ast.AST) -> Iterator[int]:
    """The lines that decode whatever comes: a decoder, or a call of decode, without a type."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        named = ast.unparse(node.func)
        typed = any(each.arg == "type" for each in node.keywords)
        decoder = named.endswith(("msgpack.Decoder", "json.Decoder"))
        if (decoder and not (node.args or typed)) or (
            named.endswith(("msgpack.decode", "json.decode")) and not typed
        ):
            yield node.lineno


@pytest.mark.attack(30)
def test_nothing_is_decoded_untyped() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in ("server", "client", "crypto_modes")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in untyped(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "planted", ["msgspec.msgpack.decode(x)", "msgspec.msgpack.Decoder()", "msgspec.json.decode(x)"]
)
def test_an_untyped_decoder_would_be_found(planted: str) -> None:
    assert list(untyped(ast.parse(planted))) == [1]


# --- 31: two readings of one frame ---


def doubled(codec: wire.Codec, fields: dict[str, Any], name: str, values: tuple[Any, Any]) -> bytes:
    """A frame in which ``name`` stands twice."""
    rest = {key: value for key, value in fields.items() if key != name}
    pairs = [*rest.items(), (name, values[0]), (name, values[1])]
    if codec is MSGPACK:
        assert len(pairs) < 16
        parts = [msgspec.msgpack.encode(item) for pair in pairs for item in pair]
        return bytes((0x80 | len(pairs),)) + b"".join(parts)
    written = (msgspec.json.encode(key) + b":" + msgspec.json.encode(item) for key, item in pairs)
    return b"{" + b",".join(written) + b"}"


SEEDS = b"\x01" * 32, b"\x02" * 32
KEYS = {ALICE: ed25519_public(SEEDS[0]), BOB: ed25519_public(SEEDS[1])}


def signed_policy() -> wire.Policy:
    after = policy.successor(FIRST, {"text": "e2ee"}, TIME, KEYS)
    marks = tuple(ed25519_sign(seed, policy.record(after)) for seed in SEEDS)
    return msgspec.structs.replace(after, signatures=marks)


EVIL: dict[str, Any] = {
    "epoch": 3,
    "created": TIME + 1,
    "modes": dict.fromkeys(wire.KINDS, "at_rest"),
    "previous": bytes(32),
    "conversation": bytes(16),
    "keys": (bytes(32), bytes(32)),
}


@pytest.mark.attack(31)
@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=lambda codec: codec.name)
@pytest.mark.parametrize("name", EVIL)
def test_a_field_given_twice_is_signed_as_it_is_used(codec: wire.Codec, name: str) -> None:
    """Whichever of the two counts: what is verified is what was decoded, and nothing else."""
    honest = signed_policy()
    fields = {"type": "policy", **msgspec.structs.asdict(honest)}
    right, wrong = fields[name], EVIL[name]
    for values in ((wrong, right), (right, wrong)):
        frame = codec.decode_server(doubled(codec, fields, name, values))
        assert isinstance(frame, wire.Policy)
        if frame == honest:
            assert policy.record(frame) == policy.record(honest)
            assert policy.check_link(FIRST, frame, STRENGTHS) == 0
        else:
            assert policy.record(frame) != policy.record(honest)
            with pytest.raises(LouverError):
                policy.check_link(FIRST, frame, STRENGTHS)


@pytest.mark.attack(31)
def test_what_is_authenticated_is_never_what_was_parsed() -> None:
    """No signature, MAC or AAD is over MessagePack or JSON."""
    fed = []
    calls = {"sign", "hmac", "hmac_pair", "ed25519_sign", "ed25519_verify", "H"}
    for path in sorted((ROOT / "crypto_modes").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in calls:
                text = ast.unparse(node)
                if "msgpack" in text or "json" in text or "_encode(" in text:
                    fed.append(f"{path.name}:{node.lineno}")
    assert fed == []


@pytest.mark.attack(31)
def test_a_signature_over_other_fields_is_refused() -> None:
    honest = signed_policy()
    altered = msgspec.structs.replace(honest, created=honest.created + 1)
    with pytest.raises(KeyRefused):
        policy.check_link(FIRST, altered, STRENGTHS)


# --- 32: compression ---


@pytest.mark.attack(32)
@pytest.mark.asyncio
async def test_the_relay_declines_compression_and_does_not_use_it(relay: Running) -> None:
    """Against a client that offers it, as this library does by default."""
    async with websockets.asyncio.client.connect(
        relay.url, subprotocols=[Subprotocol(wire.MSGPACK)], compression="deflate", proxy=None
    ) as socket:
        request, response = socket.request, socket.response
        assert request is not None
        assert response is not None
        assert "permessage-deflate" in request.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in response.headers
        assert socket.protocol.extensions == []


@pytest.mark.attack(32)
@pytest.mark.asyncio
async def test_the_client_offers_no_compression() -> None:
    seen: list[str | None] = []

    async def relay(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append(socket.request.headers.get("Sec-WebSocket-Extensions"))
        await socket.wait_closed()

    offered = [Subprotocol(wire.MSGPACK)]
    async with serve(relay, "127.0.0.1", 0, subprotocols=offered, compression="deflate") as server:
        port = server.sockets[0].getsockname()[1]
        connection = await open_connection(f"ws://127.0.0.1:{port}/")
        await connection.close()
    assert seen == [None]


@pytest.mark.attack(32)
@pytest.mark.asyncio
async def test_a_compressed_frame_ends_the_connection(relay: Running) -> None:
    """A bit that was never negotiated: nothing is inflated."""
    client = await RawClient.enter(relay.url, "alice")
    transport = client.socket.transport
    mask = os.urandom(4)
    transport.write(bytes((0xC2, 0x80 | 4)) + mask + bytes(byte ^ 0 for byte in mask))
    await client.socket.wait_closed()
    assert client.socket.close_code == 1002
