"""The vault's end of the line to its relay: whatever answers there, nothing is believed of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crypto_modes import verdicts
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    CannotOpen,
    Forbidden,
    GrantRefused,
    LouverError,
    ReportRefused,
    StoreUnavailable,
)
from server.vault import relay
from server.vault.relay import Relay
from server.vault.settings import Relay as RelaySettings
from tests.reported import insults, report_of
from tests.vault_rig import TALK, MemoryRelay

TOKEN = "lvv_" + "t" * 43


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[tuple[Relay, list[bytes]]]:
    """A relay that gives one answer to everybody, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Relay(RelaySettings(address=f"http://127.0.0.1:{port}"), TOKEN), asked


async def records(asked: Relay) -> Any:
    return await asked.records(TALK, 1, 20, 3, b"c" * 16)


async def links(asked: Relay) -> Any:
    return await asked.links(TALK, 3, 9, b"c" * 16)


async def report(asked: Relay) -> Any:
    return await asked.report(b"r" * 16)


async def confirm(asked: Relay) -> Any:
    return await asked.confirm([verdicts.question(each) for each in insults(b"x")[2]])


def another_report() -> bytes:
    made = MemoryRelay([])
    return made.reports[made.take(report_of(*insults(b"x")[2]))].to_json()


PROBLEM = b'{"detail": "because"}'
ANSWERS: list[tuple[Callable[[Relay], Any], int, bytes, type[LouverError], str]] = [
    (records, 200, b"nonsense", CannotOpen, "not understood"),
    (records, 200, b'{"relay": "\xff"}', CannotOpen, "not understood"),
    (records, 400, PROBLEM, BadArgument, "because"),
    (records, 400, b"\xff", BadArgument, "not understood"),
    (records, 403, PROBLEM, GrantRefused, "because"),
    (records, 401, PROBLEM, StoreUnavailable, "does not answer"),
    (records, 500, PROBLEM, StoreUnavailable, "does not answer"),
    (records, 302, b"", StoreUnavailable, "does not answer"),
    (links, 200, b"nonsense", CannotOpen, "not understood"),
    (links, 200, b'{"links": [[1, "AAAA"]]}', CannotOpen, "not understood"),
    (links, 403, PROBLEM, GrantRefused, "because"),
    (report, 404, PROBLEM, Forbidden, "because"),
    (report, 200, b"{}", ReportRefused, "no sealed report"),
    (confirm, 200, b"[]", CannotOpen, "what it was asked"),
    (confirm, 200, b'[{"state": "yes"}, {"state": "yes"}]', CannotOpen, "what it was asked"),
    (confirm, 200, b'[{"state": "perhaps"}]', CannotOpen, "not understood"),
    (confirm, 200, b'[{"state": "\xff"}]', CannotOpen, "not understood"),
]


@pytest.mark.parametrize(("ask", "status", "body", "error", "words"), ANSWERS)
@pytest.mark.asyncio
async def test_an_answer_that_is_none_is_refused(
    ask: Callable[[Relay], Any], status: int, body: bytes, error: type[LouverError], words: str
) -> None:
    async with answering(status, body) as (asked, _):
        with pytest.raises(error, match=words):
            await ask(asked)


@pytest.mark.asyncio
async def test_another_report_is_not_the_one_that_was_asked_for() -> None:
    async with answering(200, another_report()) as (asked, _):
        with pytest.raises(CannotOpen, match="another report"):
            await report(asked)


@pytest.mark.asyncio
async def test_an_answer_without_an_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "ANSWER_LIMIT", 1000)
    async with answering(200, b" " * 1001) as (asked, _):
        with pytest.raises(CannotOpen, match="no end"):
            await records(asked)


@pytest.mark.asyncio
async def test_what_it_asks_and_with_which_token() -> None:
    async with answering(200, b'[{"state": "yes"}]') as (asked, seen):
        assert [each.state for each in await confirm(asked)] == ["yes"]
        with pytest.raises(CannotOpen):
            await records(asked)
        with pytest.raises(CannotOpen):
            await links(asked)
    first, second, third = (each.decode() for each in seen)
    assert first.startswith("POST /vault/v1/confirm ")
    query = f"conversation={TALK.hex()}&first=1&last=20&known=3&case={(b'c' * 16).hex()}"
    assert second.startswith(f"GET /vault/v1/records?{query} ")
    query = f"conversation={TALK.hex()}&after=3&last=9&case={(b'c' * 16).hex()}"
    assert third.startswith(f"GET /vault/v1/links?{query} ")
    assert all(f"Authorization: Bearer {TOKEN}\r\n" in each for each in (first, second, third))


@pytest.mark.asyncio
async def test_a_relay_that_says_nothing_is_away(tmp_path: Path) -> None:
    async with answering(200, b"") as (asked, _):
        pass
    with pytest.raises(StoreUnavailable) as caught:
        await records(asked)
    assert "127.0.0.1" not in str(caught.value)
    assert "relay.address" in caught.value.advice
    (tmp_path / "none.pem").write_text("none")
    for authority in ("none.pem", "gone.pem"):
        given = {"address": "https://127.0.0.1:1", "authority": str(tmp_path / authority)}
        with pytest.raises(BadConfig, match=r"relay\.authority"):
            Relay(RelaySettings(**given), TOKEN)
