"""Where a connection is in its life.

Only the phases live here; what moves a connection from one to the next is in ``connection``.
"""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """Where a connection is in its life. Between GREETING and PINGED it is open."""

    OPENING = 0
    REFUSED = 1
    GREETING = 2
    EXTENDED = 3
    LIVE = 4
    PINGED = 5
    CLOSING = 6
    CLOSED = 7


OPENING, REFUSED, GREETING, EXTENDED, LIVE, PINGED, CLOSING, CLOSED = Phase
WITHOUT_HANDLER = frozenset({OPENING, REFUSED})
