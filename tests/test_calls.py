"""Asking by HTTP: whoever answers, and however slowly, the asker is back at its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crypto_modes.errors import ConnectionLost
from server.calls import AT_ONCE, Caller, TooLong
from server.vault.journal import Journal

pytestmark = pytest.mark.asyncio

LIMIT = 1000
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(serve: Serve, scheme: str = "http", seconds: float = 60) -> AsyncIterator[Caller]:
    """Who asks a peer that does as ``serve`` says, once it was asked anything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n" if scheme == "http" else b"\x16")
            await serve(reader, writer)
        except OSError:
            pass  # the asker went away, which some of these tests are about
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Caller(f"{scheme}://127.0.0.1:{port}", seconds=seconds, limit=LIMIT)


def saying(text: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        writer.write_eof()
        await reader.read()

    return serve


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"HTTP/1.1"])
async def test_a_peer_that_drips_is_let_go_at_the_deadline(begin: bytes) -> None:
    """Each of its bytes comes in time, and the last one never."""
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    async with peer(drip, seconds=0.1) as caller:
        with pytest.raises(ConnectionLost, match=r"not answered within 0\.1 s"):
            await caller.ask("GET", "/")
        # And it costs nothing any more.
        await gone.wait()


async def test_a_handshake_that_goes_nowhere_ends_there_too() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with peer(silent, "https", seconds=0.1) as caller:
        with pytest.raises(ConnectionLost, match="not answered within"):
            await caller.ask("GET", "/")


async def test_many_that_wait_keep_nobody_from_the_journal(tmp_path: Path) -> None:
    """A relay that does not answer must not stop the vault from writing down what it does."""
    asked, most = asyncio.Semaphore(0), 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most += 1
        asked.release()
        await reader.read(-1)

    journal = Journal(tmp_path / "journal", 4)
    journal.begin([])
    async with peer(silent) as caller:
        waiting = [asyncio.create_task(caller.ask("GET", "/")) for _ in range(10 * AT_ONCE)]
        for _ in range(AT_ONCE):
            await asked.acquire()
        await journal.add(b"line")
        assert most == AT_ONCE
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    journal.close()
    assert journal.read() == [b"line"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfive!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfive! and what follows",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfiv\r\n2\r\ne!\r\n0\r\n\r\n",
    ],
)
async def test_an_answer_that_says_where_it_ends(answer: bytes) -> None:
    async with peer(saying(answer)) as caller:
        assert await caller.ask("GET", "/") == (200, b"five!")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfive!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfiv\r\n2\r\ne",
        b"HTTP/1.1 200 OK\r\n\r\nfive!",
    ],
)
async def test_an_answer_that_was_cut_off_is_none(answer: bytes) -> None:
    async with peer(saying(answer)) as caller:
        with pytest.raises(ConnectionLost, match="cannot be asked"):
            await caller.ask("GET", "/")


async def test_an_answer_is_as_long_as_the_limit_and_no_longer() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
            await writer.drain()

    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    async with peer(saying(head % LIMIT + b"x" * LIMIT)) as caller:
        assert await caller.ask("GET", "/") == (200, b"x" * LIMIT)
    for serve in (saying(head % (LIMIT + 1) + b"x" * (LIMIT + 1)), endless):
        async with peer(serve) as caller:
            with pytest.raises(TooLong, match="without an end"):
                await caller.ask("GET", "/")


async def test_nothing_in_a_question_begins_a_second_one() -> None:
    async with peer(saying(b"")) as caller:
        with pytest.raises(ConnectionLost, match="InvalidURL"):
            await caller.ask("GET", "/ HTTP/1.1\r\n\r\nGET /other")
        with pytest.raises(ValueError, match="header"):
            await caller.ask("GET", "/", headers={"X": "a\r\nY: b"})


async def test_who_was_closed_asks_nothing() -> None:
    async with peer(saying(b"")) as caller:
        caller.close()
        with pytest.raises(ConnectionLost, match="not asked any more"):
            await caller.ask("GET", "/")
