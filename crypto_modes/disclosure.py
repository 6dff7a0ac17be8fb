"""What people of the staff and the vault say to each other, to the byte.

What may live here: the calls, their answers, and the header in which a call is signed; JSON with
bytes in base64. What may not: transport, and who may ask (``grants.py``). ::

    Louver-Request: base64url(JSON of grants.Request)

Plaintext is in answers alone, which go from the vault straight to who asked.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, TypeVar

import msgspec

from crypto_modes import wire
from crypto_modes.contract import Discreet
from crypto_modes.errors import BadArgument, GrantRefused
from crypto_modes.grants import APPROVALS_LIMIT, Approval, Grant, Request
from crypto_modes.reports import Category
from crypto_modes.verdicts import Finding, Note

HEADER = "Louver-Request"
OPEN = "/vault/v1/open"
REPORT = "/vault/v1/report"
SHARES = "/vault/v1/shares"
STATUS = "/vault/v1/status"
CALL_LIMIT = 64 * 1024  # bytes
_HEADER_LIMIT = 1024  # characters
# In `tls` nothing has to be unlocked: the words that go with every such message.
UNLOCKED = "a database administrator can read this without the vault and without a trace"


class OpenCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open what ``grant`` is about."""

    grant: Grant
    approvals: Annotated[tuple[Approval, ...], msgspec.Meta(max_length=APPROVALS_LIMIT)] = ()


class ReportCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open the sealed report ``report`` for the case ``case``; the ids have 16 bytes."""

    report: wire.Id
    case: wire.Id


class ShareCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hand in a share of the vault's key, as text."""

    share: Annotated[str, msgspec.Meta(max_length=256)]


class Entered(msgspec.Struct, frozen=True):
    """Where the entry of this reading stands in the access log: its index, and the checkpoint (a
    signed note) that covers it."""

    index: int
    checkpoint: bytes


class Shown(Discreet, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation. Where it is ``readable`` there is ``text``, or ``content`` for
    what is none; else ``reason`` says why not. ``label`` says what its mode is worth.
    """

    seq: int
    id: bytes
    sender: bytes
    device: bytes
    recipient: bytes
    kind: wire.Kind
    mode: str
    time: int
    readable: bool
    text: str | None = None
    content: bytes | None = None
    reason: str = ""
    label: str = ""


class Disclosure(Discreet, frozen=True, kw_only=True):
    """The answer to ``OpenCall``: all messages in scope, in order."""

    receipt: Entered
    records: tuple[Shown, ...]


class Opened(Discreet, frozen=True, kw_only=True):
    """The answer to ``ReportCall``: what the reporter says, and what of it is proven. What he says
    is his word alone; only findings are more.
    """

    receipt: Entered
    report: bytes
    reporter: bytes
    reported: bytes
    conversation: bytes
    category: Category
    words: str
    created: int
    time: int
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]


class Sharing(msgspec.Struct, frozen=True):
    """The answer to ``ShareCall``: how many shares are there, and how many are needed."""

    here: int
    needed: int


T = TypeVar("T")


def to_header(request: Request) -> str:
    """The value of the header that goes with a call."""
    return urlsafe_b64encode(msgspec.json.encode(request)).decode()


def from_header(text: str) -> Request:
    """The request in a header's value. Raises ``GrantRefused`` for none."""
    try:
        if len(text) > _HEADER_LIMIT:
            raise ValueError
        return msgspec.json.decode(urlsafe_b64decode(text.encode()), type=Request)
    except (ValueError, RecursionError):
        raise GrantRefused(
            f"sign this call with your own key, in the header {HEADER}; `louver mod` does"
        ) from None


def decode(raw: bytes, kind: type[T]) -> T:
    """The call or answer in ``raw``. Raises ``BadArgument``."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadArgument(f"this is no {kind.__name__}: {error}") from None
