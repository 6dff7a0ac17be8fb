"""Virtual time: an event loop that never waits, and a process without clocks and true randomness.

What may live here: what must be taken from Python so that one seed always does the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from unittest.mock import patch

from server.gateway.connection import Connection
from server.gateway.stalls import _Stall
from server.session import Session
from server.store.sqlite import writer

# Monotonic at the beginning; the wall clock then shows 2026-01-01.
_START = 1000.0
_WALL = 1_767_225_600.0 - _START
# So many turns of the loop without any time passing are a loop that never ends.
_ENDLESS = 1_000_000


class Stuck(AssertionError):
    """Everybody waits for somebody else, or somebody for nothing without end."""


class _Selector:
    """Nothing is ever ready: waiting is done by letting time pass."""

    def __init__(self) -> None:
        self.now = _START
        self._still = 0

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Stuck("everybody waits, and nothing is to come")
        self._still = 0 if timeout > 0.0 else self._still + 1
        if self._still > _ENDLESS:
            raise Stuck("the loop turns without end, and time stands still")
        self.now += max(timeout, 0.0)
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """asyncio's own loop on a clock that jumps to the next timer. ``listen`` is told the protocol
    factory of a server that starts, and None when it stops.
    """

    def __init__(self, listen: Callable[[Any], None]) -> None:
        super().__init__()
        self._selector = _Selector()
        self._listen = listen
        self.failures: list[str] = []
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self._selector.now

    async def create_server(  # type: ignore[override]  # a gateway asks for nothing else
        self, factory: Any, *_: Any, **__: Any
    ) -> Any:
        """A listener of the simulated network."""
        self._listen(factory)
        return _Server(self._listen)

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]  # takes anything
        """There are no threads here."""
        raise Stuck("a thread was asked for")

    def finish(self) -> None:
        """Cancel what still runs, and close."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks))
        self.close()

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context['message']}: {error!r}")

    # What BaseEventLoop leaves to its subclasses.

    def _process_events(self, events: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


class _Server:
    """What ``create_server`` gives back, as far as a gateway looks at it."""

    sockets = ()

    def __init__(self, listen: Callable[[Any], None]) -> None:
        self._listen = listen

    def close(self) -> None:
        self._listen(None)

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""


class Wall:
    """The wall clock of the machine, which an operator or NTP may set; ``ahead`` in seconds."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.ahead = 0.0

    def time(self) -> float:
        return self._loop.time() + _WALL + self.ahead

    def time_ns(self) -> int:
        return int(self.time() * 1e9)


@contextmanager
def sealed(loop: SimulatedLoop, wall: Wall, chance: random.Random) -> Iterator[None]:
    """Until it is left, this process has only the loop's time and ``chance``'s randomness.

    Sets order objects by their address unless they have a hash, so those that the relay keeps in
    sets it walks through, get the number of their connection for one.
    """
    clock = loop.time
    with ExitStack() as stack:
        for place, name, value in (
            (os, "urandom", chance.randbytes),
            (random, "_urandom", chance.randbytes),  # under SystemRandom, and so under `secrets`
            (time, "time", wall.time),
            (time, "time_ns", wall.time_ns),
            (time, "monotonic", clock),
            (time, "monotonic_ns", lambda: int(clock() * 1e9)),
            (time, "perf_counter", clock),
            (writer, "monotonic", clock),
            (Connection, "__hash__", lambda self: _number(self._transport)),
            (Session, "__hash__", lambda self: _number(self.link._transport)),
            (_Stall, "__hash__", lambda self: _number(self._transport)),
        ):
            stack.enter_context(patch.object(place, name, value))
        yield


def _number(transport: Any) -> int:
    return cast("int", transport.number)
