"""A real client that kills itself: ``python -m tests.killed_client URL DIRECTORY MOMENT``.

It sends texts that are different in every run, and at the given moment ends by SIGKILL, as a power
cut would end it. Moments are counted where state becomes durable and where a frame is handed to
the socket, just before and just after each. Past the last moment it waits for all answers and ends.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client import Keystore, Password, connect
from client.connection import Connection
from crypto_modes import wire

if "LOUVER_PLANT" in os.environ:
    importlib.import_module("tests.plants")

TEXTS = 4
_moments = itertools.count(1)


def moment() -> None:
    """One more moment; the last one, if it is the one that was asked for."""
    if next(_moments) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)


def watched(real: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *given: Any) -> Any:
        if given and not isinstance(given[0], wire.Send):
            return real(self, *given)
        moment()
        answer = real(self, *given)
        moment()
        return answer

    return call


async def main(url: str, place: Path) -> None:
    keystore = Keystore.open(place / "store.db", key_file=place / "store.key")
    credentials = Password("a long password", register=True)
    async with connect(url, name="alice", keystore=keystore, credentials=credentials) as chat:
        peer = await chat.look_up("bob")
        await chat.policy(peer)
        rows = type(keystore._rows)
        rows.commit = watched(rows.commit)  # type: ignore[method-assign]  # to die around it
        Connection.send = watched(Connection.send)  # type: ignore[method-assign]  # the same
        sent = [chat.send_soon(peer, os.urandom(12).hex()) for _ in range(TEXTS)]
        await asyncio.gather(*sent)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
