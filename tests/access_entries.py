"""Entries of an access log for tests, and reading a log as somebody else would.

What may live here: made-up entries, and a log's files in a dictionary. What may not: assertions.
"""

from __future__ import annotations

from crypto_modes.transparency.access_log import Entry
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tiles import of_size
from server.access_log.durable import DurableLog

TIME = 1_790_000_000_000
TALK, OTHER = b"t" * 16, b"o" * 16


def read(number: int = 0, conversation: bytes = TALK) -> Entry:
    """A read of three records, told from others by its number."""
    return Entry(
        kind="read",
        time=TIME + number,
        case=b"c" * 16,
        basis="legal_request",
        actor="lena",
        conversation=conversation,
        grant=b"g" * 16,
        count=3,
        size=number,
        records=(b"r" * 16,),
        detail={"authority": "court", "country": "NO"},
    )


async def published(log: DurableLog) -> dict[str, bytes]:
    """Every file of the log as it is published, by its path; ``checkpoint`` is one of them."""
    files = {"checkpoint": log.head.encode()}
    size = Checkpoint.decode(log.head.text).size
    for tile in of_size(size):
        files[tile.path] = await log.tile(tile)
    return files
