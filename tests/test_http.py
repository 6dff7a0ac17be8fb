"""The internal listener: who may ask, what is answered, and what bad requests get."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from crypto_modes import wire
from crypto_modes.errors import BadConfig, Forbidden, StoreUnavailable
from server.http import Internal
from server.problems import BODY_LIMIT
from server.settings_tree import Internal as InternalSettings
from server.sunset import SunsetStep

TOKEN = "lva_" + "t" * 43
DEVICE = bytes(range(16))


class FakeKeys:
    """Keeps what it was asked to do."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def status(self) -> Mapping[str, object]:
        return {"generation": 1}

    async def rotate(self) -> Mapping[str, object]:
        self.steps.append("rotate")
        return {"generation": 2}

    async def shred(self, account: str, peer: str) -> Mapping[str, object]:
        self.steps.append(f"shred {account}/{peer}")
        return {"shredded": 2}


class FakeRelay:
    """Keeps what it was asked; fails as it is told."""

    def __init__(self) -> None:
        self.reason = ""
        self.failure: Exception | None = None
        self.revoked: list[tuple[str, bytes]] = []
        self.reloads = 0
        self.steps: list[str] = []
        self.key_care = FakeKeys()
        self.defaults: list[tuple[str, wire.Modes]] = []

    def unready(self) -> str:
        return self.reason

    def exposition(self) -> bytes:
        return b"louver_connections 3.0\n"

    def status(self) -> Mapping[str, object]:
        return {"connections": 3}

    async def reload_sources(self) -> list[str]:
        if self.failure is not None:
            raise self.failure
        self.reloads += 1
        return ["mode"]

    async def revoke(self, name: str, device: bytes) -> int:
        if self.failure is not None:
            raise self.failure
        self.revoked.append((name, device))
        return 2

    @property
    def service(self) -> FakeRelay:
        return self

    async def sunset(self) -> Mapping[str, object]:
        return {"phase": "none"}

    async def plan_sunset(self, asked: SunsetStep) -> Mapping[str, object]:
        self.steps.append(asked.event)
        return {"phase": "planned"}

    async def set_modes(self, mode: str, kinds: wire.Modes) -> Mapping[str, object]:
        self.defaults.append((mode, kinds))
        return {"changed": True}


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Asked:
    def __init__(self, relay: FakeRelay, internal: Internal) -> None:
        self.relay = relay
        self.internal = internal

    async def __call__(
        self, method: str, path: str, body: bytes = b"", authorization: str | None = None
    ) -> Answer:
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        head.append(f"Content-Length: {len(body)}")
        if authorization is not None:
            head.append(f"Authorization: {authorization}")
        return await self.raw("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    async def raw(self, data: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.internal.port)
        writer.write(data)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        return Answer(int(first.split()[1]), headers, body)

    async def admin(self, method: str, path: str, body: object = None) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        return await self(method, f"/admin/v1/{path}", content, f"Bearer {TOKEN}")


@pytest_asyncio.fixture
async def ask() -> AsyncIterator[Asked]:
    relay = FakeRelay()
    internal = Internal(InternalSettings(port=0), relay, TOKEN)
    await internal.start()
    yield Asked(relay, internal)
    await internal.stop()


@pytest.mark.asyncio
async def test_health_is_open_and_readiness_tells_the_reason(ask: Asked) -> None:
    assert (await ask("GET", "/healthz")).status == 200
    assert (await ask("GET", "/readyz")).json == {"status": "ready"}
    ask.relay.reason = "draining"
    answer = await ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.json["detail"] == "draining"
    assert (await ask("GET", "/healthz")).status == 200


@pytest.mark.asyncio
async def test_metrics_are_in_the_format_of_prometheus(ask: Asked) -> None:
    answer = await ask("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.body == b"louver_connections 3.0\n"


WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN}x",
    f"Basic {TOKEN}",
    TOKEN,
    "Bearer \xe9\xff",
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "status"),
        ("POST", "reload"),
        ("POST", "revoke"),
        ("POST", "modes"),
        ("GET", "sunset"),
        ("POST", "sunset"),
    ],
)
async def test_administration_needs_the_token(ask: Asked, method: str, path: str) -> None:
    for authorization in WRONG:
        answer = await ask(method, f"/admin/v1/{path}", b'{"account": "bob"}', authorization)
        assert answer.status == 401, authorization
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert TOKEN not in answer.body.decode()
    assert ask.relay.revoked == ask.relay.defaults == ask.relay.steps == []
    assert ask.relay.reloads == 0


@pytest.mark.asyncio
async def test_the_token_opens_status_reload_and_revoke(ask: Asked) -> None:
    assert (await ask.admin("GET", "status")).json == {"connections": 3}
    assert (await ask.admin("POST", "reload")).json == {"changed": ["mode"]}
    assert (await ask.admin("POST", "revoke", {"account": "bob"})).json == {"revoked": 2}
    await ask.admin("POST", "revoke", {"device": DEVICE.hex()})
    await ask.admin("POST", "revoke", {"account": "bob", "device": DEVICE.hex().upper()})
    assert ask.relay.revoked == [("bob", b""), ("", DEVICE), ("bob", DEVICE)]


BAD = [
    b"",
    b"[]",
    b"{}",
    b"not json",
    b"\xff",
    b"[" * 4000,
    b'{"account": ""}',
    b'{"account": "Bob"}',
    b'{"account": 3}',
    b'{"device": "00"}',
    b'{"device": "xyz"}',
    b'{"account": "bob", "all": true}',
]


@pytest.mark.asyncio
async def test_a_bad_revocation_is_a_problem_and_revokes_nobody(ask: Asked) -> None:
    for body in BAD:
        answer = await ask("POST", "/admin/v1/revoke", body, f"Bearer {TOKEN}")
        assert answer.status == 400, body
        assert set(answer.json) == {"type", "title", "status", "detail"}
    assert ask.relay.revoked == []


@pytest.mark.asyncio
async def test_a_large_body_is_refused(ask: Asked) -> None:
    answer = await ask("POST", "/admin/v1/revoke", b" " * (BODY_LIMIT + 1), f"Bearer {TOKEN}")
    assert answer.status == 413
    assert ask.relay.revoked == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (BadConfig("listen.port needs a restart"), 409, "needs a restart"),
        (Forbidden("no such account"), 404, "no such account"),
        (StoreUnavailable("the disk is full"), 503, "the disk is full"),
        (StoreUnavailable("later", advice="make room on /srv"), 503, "make room on /srv"),
        (RuntimeError("CANARY"), 500, "its log says where"),
    ],
)
async def test_failures_are_problems_and_bugs_are_not_quoted(
    ask: Asked, failure: Exception, status: int, said: str
) -> None:
    ask.relay.failure = failure
    answer = await ask.admin("POST", "revoke", {"account": "bob"})
    assert answer.status == answer.json["status"] == status
    assert said in answer.json["detail"]
    assert b"CANARY" not in answer.body


@pytest.mark.asyncio
async def test_unknown_routes_and_methods_are_problems(ask: Asked) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/admin/v1/nothing", 404),
        ("GET", "/admin/v1/reload", 405),
        ("POST", "/healthz", 405),
    ):
        answer = await ask(method, path)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.asyncio
async def test_garbage_gets_an_answer_and_the_next_request_works(ask: Asked) -> None:
    assert (await ask.raw(b"\x16\x03\x01 hello\r\n\r\n")).status == 400
    assert (await ask("GET", "/healthz")).status == 200


@pytest.mark.asyncio
async def test_a_taken_port_is_one_clear_error(ask: Asked) -> None:
    second = Internal(InternalSettings(port=ask.internal.port), FakeRelay(), TOKEN)
    with pytest.raises(BadConfig, match=r"internal\.port"):
        await second.start()
    await second.stop()


@pytest.mark.asyncio
async def test_signals_stay_with_the_relay() -> None:
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in watched]
    internal = Internal(InternalSettings(port=0), FakeRelay(), TOKEN)
    await internal.start()
    assert [signal.getsignal(number) for number in watched] == before
    await internal.stop()


@pytest.mark.asyncio
async def test_after_stop_nobody_answers(ask: Asked) -> None:
    await ask.internal.stop()
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the system likes
        await ask("GET", "/healthz")


@pytest.mark.asyncio
async def test_keys_are_asked_for_turned_and_shredded(ask: Asked) -> None:
    assert (await ask.admin("GET", "keys")).json == {"generation": 1}
    assert (await ask.admin("POST", "keys/rotate")).json == {"generation": 2}
    assert (await ask.admin("POST", "keys/shred", {"account": "bob"})).json == {"shredded": 2}
    await ask.admin("POST", "keys/shred", {"account": "bob", "with": "eve"})
    for bad in (
        b"",
        b"{}",
        b'{"with": "eve"}',
        b'{"account": "B!"}',
        b'{"account": "b", "all": 1}',
    ):
        answer = await ask.admin("POST", "keys/shred", bad)
        assert answer.status == 400, bad
    for path, method in (("keys", "GET"), ("keys/rotate", "POST"), ("keys/shred", "POST")):
        assert (await ask(method, f"/admin/v1/{path}", b'{"account": "bob"}')).status == 401
    assert ask.relay.key_care.steps == ["rotate", "shred bob/", "shred bob/eve"]
