"""The whole tree of Louver's errors, on one screen; every error names whose fault it is.

Only exception classes live here. An error carries the stable wire ``code`` of
``wire.CODES`` with which a relay answers it, and whether trying again may help.

::

    LouverError
    ├── LocalError                 this program called Louver wrongly
    │   ├── BadArgument            a value of the wrong size, type or range
    │   └── BadConfig              the configuration cannot be used
    ├── RemoteError                the other end sent what it must not
    │   ├── FrameRefused           not a legal frame
    │   │   ├── UnknownType        a frame type nobody knows
    │   │   ├── LimitExceeded      too large, too many, too deep
    │   │   └── RateLimited        too fast; retry_after says when
    │   ├── Unauthorized           no token, a wrong one
    │   ├── TokenExpired           a token past its time
    │   ├── Forbidden              known, but not allowed
    │   ├── NotInThisMode          the request has no meaning in this mode
    │   ├── ModeMismatch           not the mode and epoch in force
    │   ├── BelowFloor             weaker than what was promised before
    │   ├── UnknownDevice          a device that is on no verified list
    │   ├── StaleDevices           copies for yesterday's devices
    │   ├── CannotResume           the cursor belongs to another relay or lies ahead
    │   ├── KeyRefused             an invalid key, certificate, list or signature
    │   ├── KeyChanged             a pinned account key changed; stop until accepted
    │   ├── LogRefused             a transparency log that contradicts itself or proves nothing
    │   ├── CannotOpen             does not decrypt, or not to what was committed
    │   ├── ReportRefused          evidence that proves nothing
    │   ├── Held                   held back for review by the operator's lists
    │   └── GrantRefused           a grant, approval or request of the staff that does not hold
    ├── Unavailable                a service we depend on; try again
    │   ├── KeyServiceUnavailable
    │   │   └── KeyServiceRefuses  it answers, and does not let us use the key
    │   ├── StoreUnavailable
    │   ├── LogUnavailable         the access log takes no entry; then nothing is opened
    │   └── VaultUnavailable       the vault does not answer
    ├── ConnectionLost             the transport broke; resume
    └── CannotRead                 nobody's fault: this mode keeps the operator out
"""

from __future__ import annotations

from typing import ClassVar


class LouverError(Exception):
    """Base of all errors; ``code`` is the wire code, ``temporary`` whether to retry.

    ``retry_after`` is in seconds, 0.0 where unknown.
    """

    code: ClassVar[int] = 100
    temporary: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LocalError(LouverError):
    """This program called Louver wrongly."""


class BadArgument(LocalError):
    """A value of the wrong size, type or range."""

    code = 107


class BadConfig(LocalError):
    """The configuration cannot be used; the message names the key and what to write."""


class RemoteError(LouverError):
    """The other end sent what it must not."""


class FrameRefused(RemoteError):
    """Not a legal frame here and now."""

    code = 107


class UnknownType(FrameRefused):
    """A frame type nobody knows."""

    code = 104


class LimitExceeded(FrameRefused):
    """Too large, too many or too deep."""

    code = 106


class RateLimited(FrameRefused):
    """Too fast; ``retry_after`` says when to come back."""

    code = 111
    temporary = True


class Unauthorized(RemoteError):
    """No token, or a wrong one."""

    code = 101


class TokenExpired(RemoteError):
    """A token past its time; log in again."""

    code = 109


class Forbidden(RemoteError):
    """Known, but not allowed; the same answer for absent and for blocking peers."""

    code = 103


class NotInThisMode(RemoteError):
    """The request has no meaning in the conversation's mode."""

    code = 108


class ModeMismatch(RemoteError):
    """Not the mode and epoch in force in this conversation."""

    code = 120


class BelowFloor(RemoteError):
    """Weaker than what this conversation was promised before."""

    code = 123


class UnknownDevice(RemoteError):
    """A device that is on no verified list of its account."""

    code = 121


class StaleDevices(RemoteError):
    """Copies were addressed to a device list that is no longer current."""

    code = 122


class CannotResume(RemoteError):
    """The client's cursor belongs to another relay or lies ahead of this one."""

    code = 112


class KeyRefused(RemoteError):
    """An invalid key, certificate, device list or signature."""

    code = 107


class KeyChanged(RemoteError):
    """A pinned account key changed; nothing is sent until the user accepts it."""

    code = 103


class LogRefused(RemoteError):
    """A transparency log's checkpoint or proof does not hold, or contradicts an earlier one."""

    code = 107


class CannotOpen(RemoteError):
    """A message that does not decrypt, or not to what was committed.

    One message text for every cause, so that it is no oracle.
    """

    code = 107

    def __init__(self, message: str = "this message cannot be opened") -> None:
        super().__init__(message)


class ReportRefused(RemoteError):
    """Evidence that proves nothing."""

    code = 130


class Held(RemoteError):
    """A message that the operator's lists hold back until a moderator has looked at it."""

    code = 131


class GrantRefused(RemoteError):
    """A grant, an approval or a signed request of the staff that does not hold; it says which."""

    code = 103


class Unavailable(LouverError):
    """A service that Louver depends on does not answer; trying again may help.

    The message goes to clients; ``advice`` is for the operator's own eyes and may name paths.
    """

    temporary = True

    def __init__(self, message: str, *, retry_after: float = 0.0, advice: str = "") -> None:
        super().__init__(message, retry_after=retry_after)
        self.advice = advice


class KeyServiceUnavailable(Unavailable):
    """The key service does not answer; nothing was stored and nothing acknowledged."""

    code = 140


class KeyServiceRefuses(KeyServiceUnavailable):
    """The key service answers and does not let us use the key: it was taken away, on purpose or by
    mistake. Unlike an outage this is survived on no unwrapped key.
    """


class StoreUnavailable(Unavailable):
    """The store refused the write or the read; nothing was acknowledged."""

    code = 141


class LogUnavailable(Unavailable):
    """The access log takes no entry, so that nothing may be opened, decided or done."""

    code = 141


class VaultUnavailable(Unavailable):
    """The vault does not answer; nothing was opened and nothing entered in its log."""

    code = 141


class ConnectionLost(LouverError):
    """The transport broke; what was not accepted may be sent again with the same id."""

    temporary = True


class CannotRead(LouverError):
    """This mode keeps the operator out, unless a recipient reveals the message."""

    code = 103
