"""A process to be killed: appends without pause and prints what was acknowledged, one per line.

Run as ``python -m tests.store_writer DIRECTORY``; a line is ``conversation seq id`` in hex and
decimal, written at once. It never ends by itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from server.store.sqlite import SqliteStore
from tests.store_entries import Entry

TALKS = 5
IN_FLIGHT = 40


async def main(data: Path) -> None:
    store = SqliteStore(data, on_fatal=print)
    await store.open()

    def told(entry: Entry) -> None:
        line = f"{entry.conversation.hex()} {entry.seq} {entry.id.hex()}\n"
        os.write(sys.stdout.fileno(), line.encode())
        send(entry.conversation)

    def send(talk: bytes) -> None:
        store.append(Entry(talk, record=os.urandom(300), told=told))

    for number in range(IN_FLIGHT):
        send(bytes([number % TALKS]) * 16)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
