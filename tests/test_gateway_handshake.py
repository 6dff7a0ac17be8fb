"""Who may open a connection, and what the others are told."""

from __future__ import annotations

import asyncio

import pytest
import websockets.exceptions

from crypto_modes import wire
from server.gateway import origin_line
from server.gateway.handshake import Policy, answer
from tests.gateway_rig import BINARY, HELLO, Clock, Raw, encoded, frame, notice, request, running

OPEN = Policy(frozenset(), secure=False)


def asked(*lines: str, **headers: str) -> bytes:
    head = request(**headers)
    extra = "".join(f"{line}\r\n" for line in lines).encode()
    return head[:-2] + extra + b"\r\n"


# Origins


@pytest.mark.parametrize(
    ("origin", "host", "secure", "allowed"),
    [
        ("http://relay.example:7443", "relay.example:7443", False, True),
        ("https://relay.example:7443", "relay.example:7443", False, True),  # behind a TLS proxy
        ("https://relay.example", "relay.example", True, True),
        ("https://relay.example", "relay.example:443", True, True),
        ("https://RELAY.example", "relay.EXAMPLE", True, True),
        ("https://[::1]:7443", "[::1]:7443", True, True),
        ("https://[::1]", "[::1]", True, True),
        ("https://listed.example", "relay.example", True, True),
        ("http://relay.example:7443", "relay.example:7443", True, False),
        ("https://relay.example:7444", "relay.example:7443", True, False),
        ("https://relay.example", "relay.example:7443", True, False),
        ("https://evil.example", "relay.example", True, False),
        ("https://relay.example.evil.example", "relay.example", True, False),
        ("https://listed.example.evil.example", "relay.example", True, False),
        ("https://LISTED.example:444", "relay.example", True, False),
        ("ftp://relay.example", "relay.example", False, False),
        ("null", "null", False, False),
        ("", "", False, False),
        ("://", "", False, False),
    ],
)
@pytest.mark.attack(35)
def test_origins(origin: str, host: str, secure: bool, allowed: bool) -> None:
    policy = Policy(frozenset({"https://listed.example"}), secure)
    assert policy.allows(origin, host) is allowed


@pytest.mark.asyncio
@pytest.mark.attack(35)
async def test_a_page_of_another_origin_is_told_which_line_to_add() -> None:
    async with running() as rig:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            async with rig.connect(origin="https://evil.example"):
                pass
        response = refused.value.response
        assert response.status_code == 403
        assert b'listen.origins = ["https://evil.example"]' in bytes(response.body)
        assert rig.notes.origins == ["https://evil.example"]
        assert rig.notes.statuses == [403]
        assert rig.handlers == []


@pytest.mark.asyncio
async def test_a_listed_origin_and_no_origin_may_connect() -> None:
    async with running(origins=("https://chat.example",)) as rig:
        for origin in ("https://chat.example", None):
            async with rig.connect(origin=origin) as client:
                await client.send(encoded(HELLO))
                assert await client.recv() == encoded(notice("welcome"))


def test_two_origins_are_refused() -> None:
    head = asked("Origin: http://127.0.0.1", Origin="http://127.0.0.1")
    assert answer(head, OPEN).status == 403


@pytest.mark.parametrize("origin", ["https://a.example\x1b[2J", 'https://a"]\n', "null", "x" * 999])
def test_the_line_to_add_repeats_nothing_but_origins(origin: str) -> None:
    assert origin_line(origin) == 'listen.origins = ["https://the.origin.to.allow"]'


# Requests


@pytest.mark.parametrize("offered", ["", "chat", "louver.v2.msgpack, soap"])
def test_without_a_known_subprotocol_the_answer_names_both(offered: str) -> None:
    refusal = answer(asked(Sec_WebSocket_Protocol=offered), OPEN)
    assert refusal.status == 400
    assert wire.MSGPACK.encode() in refusal.data
    assert wire.JSON.encode() in refusal.data


def test_the_clients_order_of_subprotocols_counts() -> None:
    accepted = answer(asked(Sec_WebSocket_Protocol=f"x, {wire.JSON}, {wire.MSGPACK}"), OPEN)
    assert accepted.subprotocol == wire.JSON
    assert f"Sec-WebSocket-Protocol: {wire.JSON}\r\n".encode() in accepted.data


@pytest.mark.attack(32)
def test_offered_compression_is_declined() -> None:
    offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
    accepted = answer(asked(Sec_WebSocket_Extensions=offer), OPEN)
    assert accepted.status == 101
    assert b"extensions" not in accepted.data.lower()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request().replace(b"GET", b"POST", 1), 405),
        (request().replace(b"HTTP/1.1", b"HTTP/1.0", 1), 505),
        (asked(Upgrade=""), 426),
        (asked(Connection="keep-alive"), 426),
        (asked(Host=""), 400),
        (asked("Host: 127.0.0.1"), 400),
        (asked(Sec_WebSocket_Key=""), 400),
        (asked(Sec_WebSocket_Key="c2hvcnQ="), 400),
        (asked(Sec_WebSocket_Version="12"), 400),
        (asked("Transfer-Encoding: chunked"), 400),
        (asked("Content-Length: 5"), 400),
        (asked("no colon"), 400),
        (asked("Name\x00: x"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    ],
)
def test_what_is_no_handshake_gets_an_answer(head: bytes, status: int) -> None:
    refusal = answer(head, OPEN)
    assert refusal.status == status
    assert refusal.data.startswith(f"HTTP/1.1 {status} ".encode())
    assert refusal.data.endswith(b"\n")
    assert b"nosniff" in refusal.data


# Over the network


async def refused(raw: Raw) -> bytes:
    head = await raw.head()
    await raw.rest()
    raw.writer.close()
    return head.split(b"\r\n")[0]


@pytest.mark.asyncio
@pytest.mark.parametrize("ended", [False, True])
async def test_a_header_over_its_bound_is_refused(ended: bool) -> None:
    async with running() as rig:
        raw = await rig.dial()
        raw.write(request()[:-2] + b"X: " + b"x" * 8192 + (b"\r\n\r\n" if ended else b""))
        assert (await refused(raw)).startswith(b"HTTP/1.1 431 ")
        await rig.settled(lambda: rig.gateway.connections == 0)
        assert rig.notes.statuses == [431]


@pytest.mark.asyncio
@pytest.mark.attack(36)
async def test_a_slow_header_meets_its_deadline() -> None:
    clock = Clock()
    async with running(header_seconds=600) as rig:
        raw = await rig.dial()
        for i in range(10):
            raw.write(request()[i : i + 1])
            await asyncio.sleep(0.005)  # should each byte begin it anew, it must have come
            clock.forward(50)
        clock.forward(150)
        assert (await refused(raw)).startswith(b"HTTP/1.1 408 ")
        assert rig.handlers == []


@pytest.mark.asyncio
async def test_a_request_torn_into_bytes_is_accepted() -> None:
    async with running() as rig:
        raw = await rig.dial()
        for byte in request() + frame(BINARY, encoded(HELLO)):
            raw.write(bytes([byte]))
            await raw.writer.drain()
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        assert await raw.frame() == (BINARY, encoded(notice("welcome")))
        raw.writer.close()


@pytest.mark.asyncio
async def test_a_refused_client_that_stays_is_cut_off() -> None:
    async with running(close_seconds=0.2) as rig:
        raw = await rig.dial()
        raw.write(b"nonsense\r\n\r\n")
        assert (await raw.head()).startswith(b"HTTP/1.1 400 ")
        raw.write(b"more nonsense")
        await rig.settled(lambda: rig.gateway.connections == 0)
        raw.writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
async def test_too_many_connections_are_told_which_limit(limit: str) -> None:
    async with running(**{limit: 2}) as rig:
        async with rig.raw(), rig.raw():
            raw = await rig.dial()
            raw.write(request())
            head = await raw.head()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5\r\n" in head
            assert f"limits.{limit})".encode() in await raw.rest()
            raw.writer.close()
        await rig.settled(lambda: rig.gateway.connections == 0)
        async with rig.raw():
            assert rig.gateway.connections == 1


@pytest.mark.asyncio
@pytest.mark.attack(36)
async def test_far_too_many_connections_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.gateway.listener._DOORWAY", 1)
    async with running(connections=1) as rig:
        raws = [await rig.dial() for _ in range(2)]
        await rig.settled(lambda: rig.gateway.connections == 2)
        cut = await rig.dial()
        assert await cut.rest() == b""
        assert rig.notes.statuses == [0]
        for raw in [*raws, cut]:
            raw.writer.close()


@pytest.mark.asyncio
async def test_a_handler_that_cannot_be_made_is_an_answer_too() -> None:
    async with running() as rig:

        def broken(link: object) -> None:
            raise ZeroDivisionError

        rig.gateway.handler_factory = broken  # type: ignore[assignment]
        raw = await rig.dial()
        raw.write(request())
        assert (await refused(raw)).startswith(b"HTTP/1.1 500 ")
        assert [type(error) for error in rig.notes.errors] == [ZeroDivisionError]
