"""One load process: real clients with real cryptography, sending when the trace says so.

What may live here: connecting users, playing rows, writing down what happened. What may not:
judging it (``verify``) or starting processes (``fleet``). Run as ``python -m
client.compare.load JOB``; it takes orders as JSON lines on standard input and answers each with
one line:

    (start)               → {"accounts": {user: hex}}   all users are connected
    {"introduce": {…}}    → {"introduced": n}           first message of each conversation
    {"play": start_ns}    → {"played": n}               the trace, from CLOCK_MONOTONIC start_ns
    {"finish": seconds}   → {"opened": n}               wait for what is still to come, write
    {"report": team}      → {"reported": n}             the labelled messages that arrived, to the
                                                        team with this fingerprint

Times are CLOCK_MONOTONIC nanoseconds, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from client import Jwt, Keystore, Message, connect
from client.compare.lab import trust
from client.compare.pacer import TracePacer
from client.compare.trace import Row, Trace
from client.compare.trace import load as load_trace
from crypto_modes.errors import LouverError
from crypto_modes.reports import MESSAGES_LIMIT

FIRST = -1  # the row number of a first message is FIRST - (its conversation's number)


class Job(msgspec.Struct, frozen=True):
    """What one load process is told. ``users`` maps user numbers to (name, token)."""

    url: str
    certificates: str
    trace: str
    output: str
    users: dict[int, tuple[str, str]]
    keep_labelled: bool = False


class SentRow(msgspec.Struct, frozen=True, array_like=True):
    """One message on the sender's side; ``accepted_ns`` 0 where it was refused."""

    row: int
    id: bytes
    planned_ns: int
    sent_ns: int
    accepted_ns: int
    error: str = ""


class OpenedRow(msgspec.Struct, frozen=True, array_like=True):
    """One message on the recipient's side, in the order in which it was shown."""

    user: int
    id: bytes
    sender: bytes
    opened_ns: int
    digest: bytes
    warnings: tuple[str, ...] = ()


class Log(msgspec.Struct):
    """What one load process saw."""

    sent: list[SentRow] = []
    opened: list[OpenedRow] = []
    kept: list[Message] = []


def introduction(number: int) -> bytes:
    """The text of a conversation's first message, in every mode the same."""
    return f"hello {number}".encode()


def digest(content: bytes) -> bytes:
    """What stands for a content in the log (16 bytes)."""
    return hashlib.sha256(content).digest()[:16]


class Load:
    """The users of one process and what they do."""

    def __init__(self, job: Job, trace: Trace) -> None:
        self._job = job
        self._trace = trace
        self._chats: dict[int, Any] = {}
        self._accounts: dict[int, bytes] = {}
        self._log = Log()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._arrived = asyncio.Event()
        labelled = (row for row in trace.rows if row.label and job.keep_labelled)
        self._labelled = frozenset(row.content for row in labelled)

    async def connect(self, stack: contextlib.AsyncExitStack) -> dict[int, str]:
        """Connect every user; their accounts in hex."""
        context = trust(Path(self._job.certificates))
        for user, (name, token) in self._job.users.items():
            chat = await stack.enter_async_context(
                connect(
                    self._job.url,
                    name=name,
                    credentials=Jwt(token),
                    keystore=Keystore.in_memory(),
                    ssl=context,
                )
            )
            self._chats[user] = chat
            listener = asyncio.create_task(self._listen(user, chat))
            stack.callback(listener.cancel)
        return {user: chat.account.hex() for user, chat in self._chats.items()}

    async def introduce(self, accounts: dict[int, bytes]) -> int:
        """The first message of each conversation that one of our users begins.

        One at a time, so that no handshake waits for another one's.
        """
        self._accounts = accounts
        mine = 0
        for number, (pair, first) in enumerate(self._trace.pairs.items()):
            if first in self._chats:
                other = pair[0] if pair[1] == first else pair[1]
                now = time.monotonic_ns()
                self._send(FIRST - number, first, other, introduction(number), now)
                await self._settled()
                mine += 1
        return mine

    async def play(self, start_ns: int) -> int:
        """Send our users' rows at their times; returns once all are durable or refused."""
        rows = [(i, r) for i, r in enumerate(self._trace.rows) if r.sender in self._chats]
        loop = asyncio.get_running_loop()
        finished = asyncio.Event()

        def dispatch(due: Sequence[tuple[int, Row]]) -> None:
            for number, row in due:
                planned = start_ns + row.at_us * 1000
                self._send(number, row.sender, row.recipient, row.content, planned)

        # A loop's own timers round to whole milliseconds; a sleeping thread does not.
        args = (rows, start_ns, loop, dispatch, finished)
        thread = threading.Thread(target=_pace, args=args, daemon=True)
        thread.start()
        await finished.wait()
        await self._settled()
        return len(rows)

    async def finish(self, seconds: float) -> int:
        """Wait until nothing has arrived for ``seconds``, or all has; write the log."""
        expected = sum(row.recipient in self._chats for row in self._trace.rows)
        expected += sum(
            next(u for u in pair if u != first) in self._chats
            for pair, first in self._trace.pairs.items()
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self._log.opened) < expected:
                    self._arrived.clear()
                    await self._arrived.wait()
        # A duplicate would come after its original: give it a moment to show itself.
        await asyncio.sleep(0.1)
        encoded = msgspec.msgpack.encode(self._log)
        await asyncio.to_thread(Path(self._job.output).write_bytes, encoded)
        return len(self._log.opened)

    async def report(self, team: str) -> int:
        """Report the kept messages as their recipients would; how many messages that were."""
        chats = {chat.account: chat for chat in self._chats.values()}
        groups: dict[tuple[bytes, bytes], list[Message]] = defaultdict(list)
        for message in self._log.kept:
            groups[message.recipient, message.sender].append(message)
        for (recipient, _), messages in groups.items():
            for start in range(0, len(messages), MESSAGES_LIMIT):
                some = messages[start : start + MESSAGES_LIMIT]
                await chats[recipient].reports.send(some, "spam", team=team)
        return len(self._log.kept)

    def _send(self, row: int, sender: int, recipient: int, content: bytes, planned: int) -> None:
        now = time.monotonic_ns()
        try:
            future = self._chats[sender].send_soon(self._accounts[recipient], content)
        except LouverError as error:
            # A full window, or a chat that has ended: this row is lost, and said to be. The rows
            # after it must be tried all the same.
            self._log.sent.append(SentRow(row, b"", planned, now, 0, repr(error)))
            return
        self._waiting.add(future)

        def settled(done: asyncio.Future[Any]) -> None:
            accepted = time.monotonic_ns()
            self._waiting.discard(done)
            error = None if done.cancelled() else done.exception()
            if done.cancelled() or error is not None:
                self._log.sent.append(SentRow(row, b"", planned, now, 0, repr(error)))
            else:
                self._log.sent.append(SentRow(row, done.result().id, planned, now, accepted))

        future.add_done_callback(settled)

    async def _settled(self) -> None:
        while self._waiting:
            await asyncio.wait(self._waiting)

    async def _listen(self, user: int, chat: Any) -> None:
        note = self._log.opened.append
        async for message in chat:
            now = time.monotonic_ns()
            if message.own:
                continue
            seen = digest(message.content)
            note(OpenedRow(user, message.id, message.sender, now, seen, message.warnings))
            self._arrived.set()
            if message.content in self._labelled:
                self._log.kept.append(message)


def _pace(
    rows: Sequence[tuple[int, Row]],
    start_ns: int,
    loop: asyncio.AbstractEventLoop,
    dispatch: Any,
    finished: asyncio.Event,
) -> None:
    """Hand rows to the loop when they are due; runs in a thread."""
    pacer = TracePacer([row.at_us / 1e6 for _, row in rows])
    sent = 0
    while not (pace := pacer.pace((time.monotonic_ns() - start_ns) / 1e9, sent)).stop:
        if pace.due:
            loop.call_soon_threadsafe(dispatch, rows[sent : sent + pace.due])
            sent += pace.due
        else:
            time.sleep(pace.wait)  # a thread of its own: it holds up nothing but what is not due
    loop.call_soon_threadsafe(finished.set)


async def _serve(job: Job) -> None:
    trace = load_trace(Path(job.trace))
    load = Load(job, trace)
    orders = await _orders()
    async with contextlib.AsyncExitStack() as stack:
        _answer({"accounts": await load.connect(stack)})
        async for line in orders:
            order = msgspec.json.decode(line, type=dict[str, Any])
            match order:
                case {"introduce": accounts}:
                    known = {int(user): bytes.fromhex(key) for user, key in accounts.items()}
                    _answer({"introduced": await load.introduce(known)})
                case {"play": start_ns}:
                    _answer({"played": await load.play(start_ns)})
                case {"finish": seconds}:
                    _answer({"opened": await load.finish(seconds)})
                case {"report": team}:
                    _answer({"reported": await load.report(team)})


async def _orders() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Take the job file from the command line and serve it."""
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(job))
    else:
        uvloop.run(_serve(job))


if __name__ == "__main__":
    main()
