"""What the relay's numbers mean here: error codes and close codes become the typed errors.

Pure tables; ``crypto_modes/errors.py`` holds the classes. 4000–4499 means reconnect, 4500–4999
means stop, because a reconnect would fail in the same way.
"""

from __future__ import annotations

from crypto_modes import errors, wire
from crypto_modes.errors import LouverError

_BY_CODE: dict[int, type[LouverError]] = {
    101: errors.Unauthorized,
    103: errors.Forbidden,
    104: errors.UnknownType,
    106: errors.LimitExceeded,
    107: errors.FrameRefused,
    108: errors.NotInThisMode,
    109: errors.TokenExpired,
    111: errors.RateLimited,
    112: errors.CannotResume,
    120: errors.ModeMismatch,
    121: errors.UnknownDevice,
    122: errors.StaleDevices,
    123: errors.BelowFloor,
    130: errors.ReportRefused,
    131: errors.Held,
    140: errors.KeyServiceUnavailable,
    141: errors.StoreUnavailable,
}
_STOPS: dict[int, tuple[type[LouverError], str]] = {
    1008: (errors.Forbidden, "the relay refused this client"),
    1009: (errors.LimitExceeded, "this client sent a frame that is too large for the relay"),
    4500: (errors.Unauthorized, "the relay no longer accepts this device's token; log in again"),
    4501: (errors.FrameRefused, "the relay refused what this client sent; update the client"),
    4502: (errors.FrameRefused, "the relay waited for a hello in vain; is the network very slow?"),
    4503: (errors.Forbidden, "this device was removed from the account, and gets nothing more"),
    4504: (errors.LimitExceeded, "the account has too many connections; close one first"),
    4507: (errors.Forbidden, "the relay does not let this client in"),
    4530: (errors.Forbidden, "the account is suspended: louver notices says why"),
}
_STOP_CODES = range(4500, 5000)


def from_frame(frame: wire.Error) -> LouverError:
    """The error that an ``error`` frame reports. An unknown code that calls itself temporary is
    worth another try, any other is not.
    """
    kind = _BY_CODE.get(frame.code)
    if kind is None:
        kind = errors.Unavailable if frame.temporary else errors.FrameRefused
    return kind(frame.message or frame.name, retry_after=max(0.0, frame.retry_after))


def from_close(code: int, reason: str) -> LouverError:
    """The error that a closed connection means: ``ConnectionLost``, or what forbids to return."""
    if code in _STOP_CODES or code in _STOPS:
        kind, text = _STOPS.get(code, (errors.Forbidden, "the relay closed the connection"))
        return kind(f"{text} ({code} {reason or wire.CLOSES.get(code, '')})".replace(" )", ")"))
    name = reason or wire.CLOSES.get(code, "")
    return errors.ConnectionLost(f"the connection broke ({code} {name})".replace(" )", ")"))
