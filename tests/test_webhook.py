"""The webhook: what is sent and signed, until when it is tried, and what survives a crash."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crypto_modes.errors import BadConfig, StoreUnavailable
from server.moderation.webhook import (
    LONGEST_PAUSE,
    REFUSALS,
    Types,
    Webhook,
    poster,
    secret_bytes,
    secret_text,
    signed,
)
from tests.moderation_rig import ALICE, NOW, Rig, rig, sealed

SECRET = bytes(range(32))


class Console:
    """A review console: takes posts, answers as told, notes how long it was left alone."""

    def __init__(self) -> None:
        self.posts: list[tuple[Mapping[str, str], bytes]] = []
        self.answers: list[int | OSError] = []
        self.pauses: list[float] = []
        self.said: list[str] = []

    async def send(self, headers: Mapping[str, str], body: bytes) -> int:
        self.posts.append((headers, body))
        answer = self.answers.pop(0) if self.answers else 201
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def numbers(self) -> list[int]:
        return [json.loads(body)["reportedItem"]["data"]["number"] for _, body in self.posts]


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as opened:
        yield opened


def webhook(made: Rig, console: Console, **more: Any) -> Webhook:
    hook = Webhook(
        made.store,
        console.send,
        SECRET,
        now=lambda: made.now,
        pause=console.pause,
        said=console.said.append,
        **more,
    )
    made.desk.heard = hook.heard
    return hook


async def report(made: Rig, *numbers: int) -> None:
    made.relay.incoming += [sealed(number) for number in numbers]
    await made.moderation.queue.sync()


async def begun(hook: Webhook) -> asyncio.Task[None]:
    """The webhook at work, once it waits for something new."""
    task = asyncio.create_task(hook.run())
    while not hook._new._waiters:  # type: ignore[attr-defined]  # the moment at which it waits
        await asyncio.sleep(0)
        assert not task.done()
    return task


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_a_new_report_is_sent_in_the_shape_of_coop_and_without_a_word_of_it(
    made: Rig,
) -> None:
    console = Console()
    task = await begun(webhook(made, console, types=Types("u1", "r1")))
    await report(made, 7)
    while not console.posts:
        await asyncio.sleep(0)
    await ended(task)
    headers, body = console.posts[0]
    assert json.loads(body) == {
        "reporter": {"kind": "user", "typeId": "u1", "id": ALICE.hex()},
        "reportedAt": "2027-01-15T08:00:00.000+00:00",
        "reportedForReason": {"reason": "sealed to the moderation team"},
        "reportedItem": {
            "id": (7).to_bytes(16, "big").hex(),
            "typeId": "r1",
            "data": {"number": 7, "messages": 1},
        },
        "reportedItemThread": [],
    }
    assert headers["webhook-timestamp"] == str(NOW // 1000)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """Independently: the specification's words, by the standard library."""
    headers = signed(SECRET, "msg_1", 1_700_000_000, b'{"a":1}')
    want = hmac.new(SECRET, b'msg_1.1700000000.{"a":1}', hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(want).decode()}"
    assert secret_bytes(secret_text(SECRET)) == SECRET
    assert secret_text(SECRET).startswith("whsec_")


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!", "AAAA", "whsec_" + "A" * 40])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(BadConfig):
        secret_bytes(text)


@pytest.mark.asyncio
async def test_it_is_tried_again_with_longer_pauses_under_the_same_id(made: Rig) -> None:
    console = Console()
    hook = webhook(made, console)
    task = await begun(hook)
    await ended(task)
    console.answers = [OSError("refused"), *[503] * 11, 429, *[401, 403] * REFUSALS]
    await report(made, 1)
    assert await hook.step()
    assert len(console.posts) == 14 + 2 * REFUSALS
    assert len({headers["webhook-id"] for headers, _ in console.posts}) == 1
    assert console.pauses[:3] == [1.0, 2.0, 4.0]
    assert max(console.pauses) == LONGEST_PAUSE
    assert len(console.said) == 1


@pytest.mark.asyncio
async def test_what_the_console_refuses_does_not_stop_the_others(made: Rig) -> None:
    console = Console()
    hook = webhook(made, console)
    await ended(await begun(hook))
    console.answers = [400] * REFUSALS
    await report(made, 1, 2)
    assert await hook.step()
    assert await hook.step()
    assert not await hook.step()
    assert console.numbers() == [1] * REFUSALS + [2]
    assert "passed over" in console.said[-1]


@pytest.mark.asyncio
async def test_after_a_crash_it_goes_on_where_it_was(made: Rig) -> None:
    console = Console()
    await ended(await begun(webhook(made, console)))
    await report(made, 1, 2, 3)
    assert await webhook(made, console).step()
    # Another process, over the same file: it neither repeats nor leaves out.
    task = await begun(webhook(made, console))
    await ended(task)
    assert console.numbers() == [1, 2, 3]


@pytest.mark.asyncio
async def test_the_first_time_it_does_not_send_what_is_old(made: Rig) -> None:
    console = Console()
    await report(made, 1, 2)
    task = await begun(webhook(made, console))
    await report(made, 3)
    while not console.posts:
        await asyncio.sleep(0)
    await ended(task)
    assert console.numbers() == [3]


@pytest.mark.asyncio
async def test_taking_reports_never_waits_for_the_console(made: Rig) -> None:
    console, answered = Console(), asyncio.Event()

    async def send(headers: Mapping[str, str], body: bytes) -> int:
        console.posts.append((headers, body))
        await answered.wait()
        return 201

    hook = Webhook(made.store, send, SECRET, now=lambda: made.now)
    made.desk.heard = hook.heard
    task = await begun(hook)
    await report(made, 1)
    while not console.posts:
        await asyncio.sleep(0)
    await report(made, 2, 3)
    assert await made.store.last_report() == 3
    answered.set()
    while len(console.posts) < 3:
        await asyncio.sleep(0)
    await ended(task)
    assert console.numbers() == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_store_that_fails_for_a_while_is_waited_for(
    made: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console()
    hook = webhook(made, console)
    await ended(await begun(hook))
    await report(made, 1)
    put, fails = made.store.put, [StoreUnavailable("full")]

    async def sometimes(*records: Any) -> None:
        if fails:
            raise fails.pop()
        await put(*records)

    monkeypatch.setattr(made.store, "put", sometimes)
    await ended(await begun(hook))
    assert console.numbers() == [1, 1]
    assert console.pauses == [LONGEST_PAUSE]


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ftp://example.org", "https://", "console", "http://10.0.0.1/"]
)
def test_reports_go_nowhere_in_the_clear(url: str) -> None:
    with pytest.raises(BadConfig, match=r"moderation\.webhook"):
        poster(url)


@pytest.mark.asyncio
async def test_it_posts_over_http_and_follows_no_redirect(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head + await reader.readexactly(2))
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        post = poster(f"http://127.0.0.1:{port}/api/v1/report", "coop-key")
        assert await post(signed(SECRET, "id", 1, b"{}"), b"{}") == 302
    head = seen[0].lower()
    assert head.startswith(b"post /api/v1/report http/1.1")
    assert b"x-api-key: coop-key" in head
    assert len(seen) == 1
    with pytest.raises(ConnectionRefusedError):
        await post({}, b"{}")


@pytest.mark.asyncio
async def test_the_console_shows_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[ssl.SSLContext] = []

    def connection(host: str, port: int | None, **given: Any) -> None:
        contexts.append(given["context"])
        raise ConnectionRefusedError(host)

    monkeypatch.setattr(http.client, "HTTPSConnection", connection)
    with pytest.raises(ConnectionRefusedError):
        await poster("https://console.example/report")({}, b"{}")
    assert (contexts[0].verify_mode, contexts[0].check_hostname) == (ssl.CERT_REQUIRED, True)
