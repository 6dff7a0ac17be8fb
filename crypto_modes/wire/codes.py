"""Stable numbers: error codes, close codes, and the ``error`` frame made from an exception."""

from __future__ import annotations

from crypto_modes import errors
from crypto_modes.wire.server_frames import Error

CODES: dict[int, str] = {
    100: "internal",
    101: "unauthorized",
    103: "forbidden",
    104: "unknown_type",
    106: "limit",
    107: "bad_request",
    108: "not_in_this_mode",
    109: "token_expired",
    111: "rate_limited",
    112: "cannot_resume",
    120: "mode_mismatch",
    121: "unknown_device",
    122: "stale_devices",
    123: "below_floor",
    130: "report_not_valid",
    131: "held_for_review",
    140: "key_service_unavailable",
    141: "store_unavailable",
}
TEMPORARY = frozenset({100, 111, 140, 141})

# 4000–4499: reconnect. 4500–4999: stop, a reconnect would fail in the same way.
CLOSES: dict[int, str] = {
    4001: "draining",
    4004: "internal",
    4008: "slow_consumer",
    4012: "no_pong",
    4013: "rate_limited",
    4500: "invalid_token",
    4501: "bad_request",
    4502: "no_hello",
    4503: "removed",
    4504: "too_many_connections",
    4507: "forbidden",
    4530: "suspended",
}


def error_frame(ref: int, error: errors.LouverError) -> Error:
    """The ``error`` frame that tells the other end about ``error``."""
    return Error(
        ref=ref,
        code=error.code,
        name=CODES[error.code],
        message=str(error),
        temporary=error.code in TEMPORARY,
        retry_after=error.retry_after,
    )
