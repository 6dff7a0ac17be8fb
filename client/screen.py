"""The screen of a chat: lines typed and lines shown, on a terminal or through a pipe.

What may live here: reading and writing lines, without breaking the one that is being typed. What
may not: what the lines mean (``terminal``, ``slash``).
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


class Screen(Protocol):
    """Where lines come from and go to."""

    def show(self, text: str) -> None: ...
    def lines(self) -> AsyncIterator[str]: ...


class Console:
    """Standard input and output. What is being typed is written again after each shown line."""

    def __init__(self, prompt: str) -> None:
        self._live = sys.stdin.isatty() and sys.stdout.isatty()
        self._prompt = prompt if self._live else ""
        self._typing = False  # whether the prompt stands there, to be put back below what is shown

    def show(self, text: str) -> None:
        if not self._live:
            sys.stdout.write(f"{text}\n")
        else:
            import readline

            # Back to the start, erase the line, show, and put the typed part back.
            typed = readline.get_line_buffer()
            below = f"{self._prompt}{typed}" if self._typing else ""
            sys.stdout.write(f"\r\x1b[K{text}\n{below}")
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
        self._typing = True
        try:
            return input(self._prompt)
        except (EOFError, ValueError):
            return None
        finally:
            self._typing = False


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
