"""The chat in a terminal: line by line, nothing drawn, so that it works everywhere.

What may live here: reading lines, showing lines without breaking the one being typed, and the
commands that start with a slash. The rules of its wording: say who can read, in the mode's own
words; say what failed and what to do; never more than is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import threading
from collections.abc import AsyncIterator
from typing import Protocol

from client import wording
from client.client import Chat
from client.messages import (
    ChatState,
    Event,
    KeyChange,
    KeyRefusal,
    Message,
    OwnKeyRefusal,
    Proposal,
    StateChange,
    Unreadable,
)
from crypto_modes import wire
from crypto_modes.errors import KeyChanged, LouverError

HELP = """\
/mode      who can read this conversation
/safety    the safety number, to compare with the other's over another way
/accept    accept the other's new key: the one that /safety showed, after comparing
/history   the last twenty messages
/block     block the other
/quit      leave"""
UNAUDITED = "This composition of end-to-end encryption has not been audited by anyone yet."
# How long leaving waits for messages that the relay has not confirmed; they are kept in any case.
FLUSH_SECONDS = 5.0


class Screen(Protocol):
    """Where lines come from and go to."""

    def show(self, text: str) -> None: ...
    def lines(self) -> AsyncIterator[str]: ...


class Console:
    """Standard input and output. What is being typed is written again after each shown line."""

    def __init__(self, prompt: str) -> None:
        self._live = sys.stdin.isatty() and sys.stdout.isatty()
        self._prompt = prompt if self._live else ""

    def show(self, text: str) -> None:
        if not self._live:
            sys.stdout.write(f"{text}\n")
        else:
            import readline

            # Back to the start, erase the line, show, and put the typed part back.
            typed = readline.get_line_buffer()
            sys.stdout.write(f"\r\x1b[K{text}\n{self._prompt}{typed}")
        sys.stdout.flush()

    async def lines(self) -> AsyncIterator[str]:
        """Lines until the end of input. Read by a thread, as terminals know no other way; one
        line at a time, so that nothing is being read any more when ``/quit`` is obeyed.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        wanted = threading.Semaphore(0)
        read = self._typed_line if self._live else _Pipe().line

        def work() -> None:
            line: str | None = ""
            while line is not None:
                wanted.acquire()
                line = read()
                with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
                    loop.call_soon_threadsafe(queue.put_nowait, line)

        settings = termios.tcgetattr(sys.stdin) if self._live else None
        # A daemon: it may sit in a read for ever, and must not keep the process alive.
        threading.Thread(target=work, name="louver-input", daemon=True).start()
        try:
            while True:
                wanted.release()
                line = await queue.get()
                if line is None:
                    return
                yield line
        finally:
            if settings is not None:
                # Whoever leaves while a line is being typed gets a sane terminal back.
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)

    def _typed_line(self) -> str | None:
        try:
            return input(self._prompt)
        except (EOFError, ValueError):
            return None


class _Pipe:
    """Lines of a standard input that is no terminal, past Python's buffer: a thread that is
    stuck inside that buffer's lock would crash the interpreter on leaving.
    """

    def __init__(self) -> None:
        self._rest = b""

    def line(self) -> str | None:
        while b"\n" not in self._rest:
            more = os.read(0, 65536)
            if not more:
                last, self._rest = self._rest, b""
                return last.decode(errors="replace") if last else None
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode(errors="replace")


class Talk:
    """One conversation on a screen."""

    def __init__(self, chat: Chat, name: str, peer: bytes, screen: Screen) -> None:
        self._chat = chat
        self._name = name
        self._peer = peer
        self._screen = screen
        self._mode = ""
        self._compared = ""  # the safety number that was shown last
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the user leaves, or the relay ends it. Raises what ended the session."""
        await self._show_mode()
        self._screen.show("Type a line to send it, /help for commands.")
        messages = asyncio.create_task(self._messages())
        tasks = [asyncio.create_task(self._typed()), messages, asyncio.create_task(self._events())]
        try:
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            if messages.done():
                messages.result()
            if self._sending:
                await asyncio.wait(self._sending, timeout=FLUSH_SECONDS)
        finally:
            for task in (*tasks, *self._sending):
                task.cancel()
            await asyncio.gather(*tasks, *self._sending, return_exceptions=True)

    # --- what is typed ---

    async def _typed(self) -> None:
        async for line in self._screen.lines():
            text = line.strip()
            if text == "/quit":
                return
            if text.startswith("/"):
                await self._command(text)
            elif text:
                # Without waiting: while the relay is away, lines are kept and go out later.
                task = asyncio.create_task(self._send(line))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def _send(self, text: str) -> None:
        try:
            await self._chat.send(self._peer, text)
        except LouverError as error:
            self._screen.show(f"! not sent: {wording.plain(str(error))}")

    async def _command(self, text: str) -> None:
        commands = {
            "/mode": self._show_mode,
            "/safety": self._safety,
            "/accept": self._accept,
            "/history": self._history,
            "/block": self._block,
        }
        command = commands.get(text.split()[0])
        if command is None:
            self._screen.show(HELP)
            return
        try:
            await command()
        except LouverError as error:
            self._screen.show(f"! {wording.plain(str(error))}")

    async def _show_mode(self) -> None:
        policy = await self._chat.policy(self._peer)
        self._mode = policy.modes["text"]
        words = wording.plain(self._chat.words(self._mode))
        self._screen.show(f"With {self._name}, mode {self._mode}: {words}.")
        if self._mode == "e2ee":
            self._screen.show(UNAUDITED)

    async def _safety(self) -> None:
        with contextlib.suppress(KeyChanged):  # its number is just what is wanted
            await self._chat.devices(self._peer)
        self._compared = number = self._chat.safety_number(self._peer)
        self._screen.show(f"Compare with {self._name}, by voice or in person:")
        self._screen.show(wording.safety(number))

    async def _accept(self) -> None:
        number, self._compared = self._compared, ""  # whatever comes of it, look again
        if not number:
            self._screen.show(f"! look at /safety first, and compare it with {self._name}")
            return
        await self._chat.accept_key(self._peer, number)
        self._screen.show(f"You accepted the new key of {self._name}.")

    async def _history(self) -> None:
        for message in await self._chat.history(self._peer, limit=20):
            self._screen.show(wording.line(message))

    async def _block(self) -> None:
        await self._chat.block(self._peer)
        self._screen.show(f"{self._name} is blocked.")

    # --- what arrives ---

    async def _messages(self) -> None:
        async for message in self._chat:
            await self._show(message)

    async def _show(self, message: Message) -> None:
        here = self._peer in (message.sender, message.recipient)
        self._screen.show(wording.line(message, other=not here))
        if here:
            await self._chat.mark_read(message)

    async def _events(self) -> None:
        async for event in self._chat.events():
            text = self._words(event)
            if text:
                self._screen.show(text)

    def _words(self, event: Event) -> str:
        """What an event is to the person at this screen; nothing for most of them."""
        match event:
            case StateChange(ChatState.DISCONNECTED, reason, retry):
                return f"* disconnected: {wording.plain(reason)}; trying again in {retry:.0f} s"
            case StateChange(ChatState.CONNECTED):
                return "* connected again"
            case KeyChange(peer, _) if peer == self._peer:
                return (
                    f"! THE KEY OF {self._name} CHANGED. Nothing is sent or shown until you compare"
                    " /safety with them and /accept."
                )
            case KeyRefusal(peer, reason) if peer == self._peer:
                return f"! the relay showed keys of {self._name} that are not theirs: {reason}"
            case OwnKeyRefusal(reason):
                return f"! YOUR OWN KEY: {reason}"
            case Unreadable(_, _, sender, reason) if sender == self._peer:
                return f"! a message from {self._name} was dropped: {wording.plain(reason)}"
            case Proposal(by, policy) if self._peer in (policy.first, policy.second):
                return self._proposal_words(by, policy)
            case wire.Policy() if self._peer in (event.first, event.second):
                return self._policy_words(event)
            case wire.Notice():
                return f"* the operator says: {wording.plain(event.text)}"
            case wire.Typing() if event.account == self._peer and event.on:
                return f"* {self._name} is typing"
        return ""

    def _policy_words(self, policy: wire.Policy) -> str:
        mode = policy.modes["text"]
        if mode == self._mode:
            return ""
        self._mode = mode
        words = wording.plain(self._chat.words(mode))
        return f"* this conversation is now in mode {mode}: {words}"

    def _proposal_words(self, by: bytes, policy: wire.Policy) -> str:
        mode = policy.modes["text"]
        who = f"{self._name} proposes" if by == self._peer else "you have proposed"
        return f"* {who} mode {mode}: {wording.plain(self._chat.words(mode))}"


async def talk(chat: Chat, name: str, screen: Screen | None = None) -> None:
    """Chat with ``name`` until the user leaves. Raises ``Forbidden`` for an unknown name."""
    peer = await chat.look_up(name)
    await Talk(chat, wording.plain(name), peer, screen or Console("> ")).run()
