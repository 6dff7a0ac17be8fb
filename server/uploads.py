"""An upload under way: how much of it is there, and how it is cut into pieces.

What may live here: what one upload is and says of itself. What may not: its steps (``blobs``).
"""

from __future__ import annotations

from collections.abc import Iterator

from crypto_modes import wire
from server.store import Blob


class Upload:
    """An attachment of this node's memory. ``received``: how many of its bytes are in the file."""

    __slots__ = ("blob", "received")

    def __init__(self, blob: Blob, received: int) -> None:
        self.blob = blob
        self.received = received


def piece_at(size: int, offset: int) -> int:
    """How long the piece at ``offset`` is; 0 beyond the end."""
    return max(0, min(wire.PIECE, size - offset))


def parts_of(size: int) -> Iterator[int]:
    """The lengths of all pieces."""
    return (piece_at(size, offset) for offset in range(0, size, wire.PIECE))


def standing(upload: Upload, ref: int) -> wire.Blob:
    """How far it is, as an answer to ``ref``."""
    meta = upload.blob.meta
    return wire.Blob(
        ref=ref, id=meta.id, size=meta.size, offset=upload.received, state=upload.blob.state
    )
