"""Attachments over bare frames: the steps of an upload and a download, one answer at a time.

Only what several tests of the relay need lives here; the client library is not used.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

from crypto_modes import wire
from tests.raw_client import RawClient


async def announce(client: RawClient, peer: RawClient, data: bytes, **fields: Any) -> wire.SetBlob:
    """A ``begin`` for ``data``, in the mode in force unless ``fields`` say otherwise."""
    policy = await client.policy(peer)
    given: dict[str, Any] = {
        "ref": client.ref(),
        "id": os.urandom(16),
        "do": "begin",
        "to": peer.account,
        "kind": "file",
        "mode": policy.modes["file"],
        "epoch": policy.epoch,
        "size": len(data),
        "digest": sha256(data).digest(),
    }
    return wire.SetBlob(**(given | fields))


async def step(client: RawClient, do: str, id: bytes, **fields: Any) -> wire.Blob:
    """One step and its answer. Raises ``Refused``."""
    frame = wire.SetBlob(ref=client.ref(), id=id, do=do, **fields)  # type: ignore[arg-type]  # tests also send nonsense
    return await client.ask(frame, wire.Blob)


def piece(data: bytes, offset: int) -> dict[str, Any]:
    """The fields of a ``put`` at ``offset``."""
    return {"offset": offset, "data": data[offset : offset + wire.PIECE]}


async def put_all(client: RawClient, id: bytes, data: bytes, offset: int = 0) -> wire.Blob:
    """Put the pieces from ``offset`` on; the last answer."""
    while True:
        answer = await step(client, "put", id, **piece(data, offset))
        if answer.state != "partial":
            return answer
        offset = answer.offset


async def upload(client: RawClient, peer: RawClient, data: bytes, **fields: Any) -> bytes:
    """Upload and keep; the id."""
    begun = await client.ask(await announce(client, peer, data, **fields), wire.Blob)
    answer = await put_all(client, begun.id, data, begun.offset)
    assert (answer.state, answer.offset) == ("whole", len(data))
    await step(client, "keep", begun.id)
    return begun.id


async def download(client: RawClient, id: bytes) -> bytes:
    """All pieces."""
    data = b""
    while True:
        answer = await step(client, "get", id, offset=len(data))
        data += answer.data
        if len(data) >= answer.size:
            return data
