"""A real client that is killed again and again: ``python -m tests.killed_client URL PLACE KILLS``.

Alice sends some texts and reads until the last one's echo has come. She ends by SIGKILL, as a power
cut would end her: at the first moment in one run, at the second in the next, and so on, from the
same disk. The first and the last run are left alone. Moments are just before and just after each
commit of the key store and each write to the socket, from the first text of a run on; with ``all``
as a fourth argument, from her registration on. What she was shown is in ``PLACE/shown``, a line
each.

Each run is a fork of one process that has done nothing yet but import: no run has anything of the
one before but its disk.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection

from client import Chat, Keystore, Password, connect
from client.keystore import _SealedRows
from client.opening import installed_modes

if "LOUVER_PLANT" in os.environ:
    importlib.import_module("tests.plants")

TEXTS = 2
ECHO = "echo of "
MODES = installed_modes()  # looked for once, and not in every run


def dies_at(last: int) -> None:
    """Kill this process at the moment from now on that has this number."""
    moments = itertools.count(1)
    commit, send = _SealedRows.commit, ClientConnection.send

    def moment() -> None:
        if next(moments) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def committing(rows: Any) -> None:
        moment()
        commit(rows)
        moment()

    async def sending(socket: Any, *frame: Any, **options: Any) -> None:
        moment()
        await send(socket, *frame, **options)
        moment()

    _SealedRows.commit = committing  # type: ignore[method-assign]  # to die around it
    ClientConnection.send = sending  # type: ignore[method-assign,assignment]  # the same


async def run(url: str, place: Path, *, whole: bool, last: int) -> None:
    """One run of Alice, on her disk."""
    if whole:
        dies_at(last)
    keystore = Keystore.open(place / "store.db", key_file=place / "store.key")
    # What a killed process wrote the system keeps; it is a power cut that needs syncs.
    keystore._rows._database.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]
    credentials = Password("a long password", register=True)
    given = {"keystore": keystore, "credentials": credentials, "modes": MODES}
    async with connect(url, name="alice", **given) as chat:  # type: ignore[arg-type]  # by name
        await chat.look_up("bob")
        if not whole:
            dies_at(last)
        texts = [os.urandom(12).hex() for _ in range(TEXTS)]
        await asyncio.gather(
            listen(chat, place / "shown", ECHO + texts[-1]),
            *(chat.send("bob", text) for text in texts),
        )


async def listen(chat: Chat, shown: Path, last: str) -> None:
    """Write down what is shown, each as it comes, until ``last`` is."""
    with shown.open("a", buffering=1) as lines:
        async for message in chat:
            lines.write(f"{message.text}\n")
            if message.text == last:
                return


def main(url: str, place: Path, kills: int, *, whole: bool) -> None:
    """A run for each kill, and one more; ``whole`` or after one that ends well."""
    first = () if whole else (sys.maxsize,)
    for last in (*first, *range(1, kills + 1), sys.maxsize):
        child = os.fork()
        if child == 0:
            asyncio.run(run(url, place, whole=whole, last=last))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"run {last} ended with {code}")
    if code:
        raise SystemExit("the last run was killed too")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), whole="all" in sys.argv[4:])
