"""What a user of the library sees: sent and received messages, and the events beside them.

Only frozen data lives here. Sizes: identifiers are 16 bytes; times are milliseconds since
1970-01-01 UTC; ``seq`` counts from 1 per conversation.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from crypto_modes import wire
from crypto_modes.content import Alteration, Edit, Plain, Reaction, What, parse
from crypto_modes.contract import Discreet, Evidence
from crypto_modes.errors import LouverError


class ChatState(Enum):
    """Where a chat stands: ``disconnected → connecting → connected → closed``."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The relay holds the message durably. ``stamp`` (32 bytes) is its frank in ``e2ee``."""

    id: bytes
    conversation: bytes
    seq: int
    time: int
    stamp: bytes = b""


class Message(Discreet, frozen=True, kw_only=True):
    """One message in the clear, as it is shown and as the key store keeps it.

    ``own``: sent by this user, from this or another device. ``warnings`` must be shown: they are
    those of ``contract.Opened`` and ``gap:N`` (N messages of the relay's numbering are missing
    before this one), ``reordered`` (the relay delivered it late), ``withheld:N`` (N own messages
    that the sending device should have had before this were not opened there), ``below_floor`` and
    ``wrong_mode``. ``evidence`` is what a report would reveal, where the mode franks.

    ``content`` is as it was sent; ``what`` says what it is. ``edited``, ``deleted`` (by its author)
    and ``reactions`` (account to emoji) are what became of it since; ``expires`` is when it leaves
    this device, in ms, or 0.
    """

    conversation: bytes
    seq: int
    id: bytes
    sender: bytes
    device: bytes
    recipient: bytes
    kind: wire.Kind
    mode: str
    epoch: int
    time: int
    content: bytes
    own: bool = False
    sender_name: str = ""
    reply_to: bytes = b""
    warnings: tuple[str, ...] = ()
    evidence: Evidence | None = None
    commitment: bytes = b""
    stamp: bytes = b""
    edited: bool = False
    deleted: bool = False
    reactions: dict[bytes, str] = msgspec.field(default_factory=dict)
    expires: int = 0

    @property
    def what(self) -> What:
        """What it says: ``Plain``, ``Attachment``, ``Reaction``, ``Edit``, ``Deletion``, ``Timer``
        of ``crypto_modes.content``."""
        return parse(self.content).what

    @property
    def target(self) -> bytes:
        """The id of the message that this one alters; empty where it alters none."""
        what = self.what
        return what.target if isinstance(what, Alteration) else b""

    @property
    def text(self) -> str:
        """The content as text: of an edit the new one, of a reaction the emoji, else of what is
        not plain nothing. What is not UTF-8 is replaced by U+FFFD."""
        match self.what:
            case Plain(said):
                return said.decode("utf-8", "replace")
            case Edit(_, text) | Reaction(_, text):
                return text
        return ""

    @property
    def opened(self) -> bool:
        """Whether this device has what was written; else ``content`` is empty for want of it."""
        return not {"no_copy", "cannot_open", "removed"} & {*self.warnings}

    @property
    def peer(self) -> bytes:
        """The other user's account."""
        return self.recipient if self.own else self.sender


class KeyChange(msgspec.Struct, frozen=True):
    """The account key of ``peer`` is not the pinned one: nothing is sent to them and nothing of
    theirs is shown until ``Chat.accept_key``. ``safety_number`` is the new key's, to compare; it is
    empty where this device has no keys itself. A further change is a further event."""

    peer: bytes
    safety_number: str = ""


class KeyRefusal(msgspec.Struct, frozen=True):
    """The relay showed a device list or keys of ``peer`` that do not verify; they are not used."""

    peer: bytes
    reason: str


class OwnKeyRefusal(msgspec.Struct, frozen=True):
    """The relay showed keys for this user's own account that this device does not hold. They are
    not used, and cannot be accepted: somebody replaced them on another device, or the relay lies.
    """

    reason: str


class LogRefusal(msgspec.Struct, frozen=True):
    """The relay's key log does not hold together: it was put back, changed, or is not shown.

    Keys that are pinned stay in use; no new one is believed meanwhile.
    """

    reason: str


class SplitView(msgspec.Struct, frozen=True):
    """``peer`` said, inside a message, that the key log had the head ``head`` (size, root 32), and
    the log that this device sees never had it: the relay shows different logs to different people,
    or that peer says something false. Only a claim, which stops nothing.
    """

    peer: bytes
    head: tuple[int, bytes]


class Proposal(msgspec.Struct, frozen=True):
    """The account ``by`` has proposed other modes, and really signed that; they are not in force.

    To agree is ``proposals.agree`` with its ``policy.digest``. What is in force comes as the
    ``wire.Policy`` itself.
    """

    by: bytes
    policy: wire.Policy


class RolledBack(msgspec.Struct, frozen=True):
    """What the account ``by`` had proposed is not in force and will not be: it ran out without the
    other's signature, or another change took its place. Nothing has changed by it.
    """

    by: bytes
    policy: wire.Policy


class Unreadable(msgspec.Struct, frozen=True):
    """A message that cannot be opened, whatever comes; it was dropped, and no receipt was sent."""

    conversation: bytes
    seq: int
    sender: bytes
    reason: str


class HeldBack(msgspec.Struct, frozen=True):
    """Messages of ``sender`` wait: the relay shows keys for them that do not verify. They are not
    lost, and are shown once it shows others; that is looked for now and then, and after a restart.
    """

    conversation: bytes
    sender: bytes
    reason: str


class Gone(msgspec.Struct, frozen=True):
    """The time of a message is up, and it has left this device: show it no more."""

    conversation: bytes
    id: bytes


class NotSent(msgspec.Struct, frozen=True):
    """A message was refused for good; the same error was raised where it was awaited."""

    id: bytes
    peer: bytes
    error: LouverError


class StateChange(msgspec.Struct, frozen=True):
    """The connection's new state; ``reason`` says why it broke, ``retry`` in how many seconds."""

    state: ChatState
    reason: str = ""
    retry: float = 0.0


Event = (
    wire.Notice
    | wire.Notices
    | wire.Receipt
    | wire.Typing
    | wire.Presence
    | wire.Policy
    | wire.Error
    | KeyChange
    | KeyRefusal
    | OwnKeyRefusal
    | LogRefusal
    | SplitView
    | Proposal
    | RolledBack
    | Unreadable
    | HeldBack
    | Gone
    | NotSent
    | StateChange
)
