"""What only the vault does: opening data keys through the moderation door.

What may live here: pure functions that need the moderation key's secret half. The vault's process
may import this, and the relay may not: that it has no way through the door is a rule of
``tests/shape.py``, not a promise.
"""

from __future__ import annotations

from crypto_modes.door import SIZE, mark
from crypto_modes.errors import CannotOpen
from crypto_modes.keys import TeamKey


def unwrap(secret: TeamKey, wrapped: bytes, context: bytes) -> bytes:
    """The data key, 32 bytes, that ``door.Door.wrap`` closed in for ``context``.

    Raises ``CannotOpen`` for another door, another context, or altered bytes.
    """
    marked = mark(secret.public)
    if len(wrapped) != SIZE or wrapped[: len(marked)] != marked:
        raise CannotOpen
    return secret.open(wrapped[len(marked) :], context)
