"""What the relay and the vault say to each other about the access log, and who may enter what.

What may live here: bodies of requests and answers, in JSON, and their limits. What may not: HTTP.
"""

from __future__ import annotations

from typing import Annotated, get_args

import msgspec

from crypto_modes import wire
from crypto_modes.transparency.access_log import Entry, Kind

TOKEN_PREFIX = "lvv_"  # noqa: S105 - public, so that leaked tokens can be recognised
ENTRIES_LIMIT = 100
# One entry has 500 ids of 16 bytes and what a case needs in words.
BODY_LIMIT = 1024 * 1024
# How far the relay's clock and the vault's may differ; the day of a leaf decides who finds it.
SKEW = 5 * 60_000
DAYS_LIMIT = 400
# What the relay may enter: only who opens something can say that it was opened.
BY_RELAY = frozenset(get_args(Kind)) - {"read"}


class Entered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``/log/v1/append``."""

    entries: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1, max_length=ENTRIES_LIMIT)]


class DaysAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``/log/v1/day-keys``: a conversation, and from which day on (days of UTC)."""

    conversation: wire.Id
    first: wire.Count


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``/log/v1/counts``: from ``first`` up to, but not including, ``end``, in
    milliseconds."""

    first: wire.Count
    end: wire.Count


class DayKeys(msgspec.Struct, frozen=True):
    """The keys of the days from ``first`` on, 32 bytes each; none after what policy lets out.
    ``log`` is the log's public key, which signed them (``access_log.sign_days``)."""

    log: wire.Key
    first: wire.Count
    keys: Annotated[tuple[wire.Key, ...], msgspec.Meta(max_length=DAYS_LIMIT)]
    signature: wire.Signature
