"""The frames a relay may send, one struct each."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from crypto_modes.wire.parts import (
    NOTICES_LIMIT,
    PIECE,
    Bundle,
    Count,
    DeviceList,
    Digest,
    Frame,
    Id,
    Key,
    Kind,
    Limits,
    LogEntry,
    Modes,
    Name,
    Opening,
    Path,
    Ref,
    Signature,
    Told,
    Word,
)


class Token(Frame, frozen=True, kw_only=True, tag="token"):
    """A bearer token bound to a device; ``expires`` in milliseconds. Send ``hello`` next."""

    ref: Ref
    account: Id
    device: Id
    token: str
    expires: Count


class Welcome(Frame, frozen=True, kw_only=True, tag="welcome"):
    """The session is open. ``words`` says in plain language who can read in each mode."""

    ref: Ref
    account: Id
    name: Name
    device: Id
    relay: Id
    time: Count
    epoch: Count
    modes: Modes
    words: dict[str, str]
    limits: Limits
    ping: float
    durability: Literal["full", "relaxed"]


class Accepted(Frame, frozen=True, kw_only=True, tag="accepted"):
    """The message is durable. ``stamp`` (32 bytes) is the relay's frank in ``e2ee``."""

    ref: Ref
    id: Id
    conversation: Id
    seq: Count
    time: Count
    stamp: Digest = b""


class Deliver(Frame, frozen=True, kw_only=True, tag="deliver"):
    """One message for this device. An empty ``body`` in ``e2ee``: no copy for this device.
    ``removed``: the relay's moderation took it away, and hands out nothing of it any more.
    """

    conversation: Id
    seq: Count
    id: Id
    sender: Id
    device: Id
    recipient: Id
    kind: Kind
    mode: Word
    epoch: Count
    time: Count
    body: bytes = b""
    commitment: Digest = b""
    stamp: Digest = b""
    removed: bool = False


class Page(Frame, frozen=True, kw_only=True, tag="page"):
    """A page of history, oldest first; ``more`` says that older messages exist."""

    ref: Ref
    conversation: Id
    messages: tuple[Deliver, ...]
    more: bool = False


class Receipt(Frame, frozen=True, kw_only=True, tag="receipt"):
    """``account`` has read everything up to ``seq``."""

    conversation: Id
    account: Id
    seq: Count
    time: Count


class Typing(Frame, frozen=True, kw_only=True, tag="typing"):
    """``account`` started or stopped typing to this user."""

    conversation: Id
    account: Id
    on: bool = True


class Presence(Frame, frozen=True, kw_only=True, tag="presence"):
    """The status of a peer."""

    account: Id
    status: Literal["online", "away", "offline"]
    time: Count


class Devices(Frame, frozen=True, kw_only=True, tag="devices"):
    """An account, its key (32 bytes, or empty if never published) and its signed device list.

    Also sent unasked, ``ref`` 0, when a peer's list changed.
    """

    ref: Ref
    account: Id
    name: Name
    key: Digest = b""
    list: DeviceList | None = None


class Keys(Frame, frozen=True, kw_only=True, tag="keys"):
    """Prekey bundles, one per device that had one."""

    ref: Ref
    account: Id
    bundles: tuple[Bundle, ...]


class Published(Frame, frozen=True, kw_only=True, tag="published"):
    """How many one-time keys of this device are left at the relay, per algorithm."""

    ref: Ref
    version: Count
    once: Count = 0
    kem: Count = 0


class Link(Frame, frozen=True, kw_only=True, tag="link"):
    """What a slot of a mailbox for linking holds; empty where nothing was written yet."""

    ref: Ref
    box: Id
    slot: int
    body: bytes = b""


class Log(Frame, frozen=True, kw_only=True, tag="log"):
    """The key log: its public ``key`` (Ed25519, 32 bytes), the newest signed ``checkpoint``, and
    the proofs in the tree of ``size``. ``index`` is that of the leaf that was asked for.
    """

    ref: Ref
    key: Key
    checkpoint: Annotated[bytes, Meta(max_length=4096)]
    size: Count
    index: Count = 0
    inclusion: Path = ()
    consistency: Path = ()


class Entries(Frame, frozen=True, kw_only=True, tag="entries"):
    """Entries of the key log from ``start``; ``own`` opens those of the account that asks."""

    ref: Ref
    start: Count
    entries: Annotated[tuple[LogEntry, ...], Meta(max_length=512)]
    own: tuple[Opening, ...] = ()


class Opened(Frame, frozen=True, kw_only=True, tag="opened"):
    """Leaves of the vault's access log from ``start`` on, as a C2SP bundle, under the signed
    ``checkpoint`` of the log with the public ``key`` (Ed25519, 32 bytes); and with the first of
    them the keys of this conversation's days from ``first`` on, those that policy lets out, and the
    log's ``signature`` of them, 64 bytes.

    By its key a day's leaves say whether they are about this conversation being opened.
    """

    ref: Ref
    key: Key
    checkpoint: Annotated[bytes, Meta(max_length=8192)]
    start: Count
    leaves: Annotated[bytes, Meta(max_length=32768)]
    first: Count
    keys: Annotated[tuple[Key, ...], Meta(max_length=400)] = ()
    signature: Signature = b""


class Policy(Frame, frozen=True, kw_only=True, tag="policy"):
    """A conversation's policy record; also sent unasked, ``ref`` 0, when it changes.

    ``state`` is ``in_force``, ``prepared`` (waits for the peer's signature until ``deadline``)
    or ``rolled_back``. ``first`` and ``second`` are the two accounts in ascending order with
    their account keys and signatures (each may be empty); ``previous`` is ``H(previous P)``. While
    ``in_force``, ``deadline`` says until when the epoch before is still accepted.
    """

    ref: Ref
    conversation: Id
    epoch: Count
    modes: Modes
    first: Id
    second: Id
    keys: tuple[Digest, Digest]
    created: Count
    previous: Digest
    signatures: tuple[Signature, Signature] = (b"", b"")
    state: Literal["in_force", "prepared", "rolled_back"] = "in_force"
    deadline: Count = 0


class Blocked(Frame, frozen=True, kw_only=True, tag="blocked"):
    """The block list now holds, or no longer holds, ``account``."""

    ref: Ref
    account: Id
    on: bool


class Team(Frame, frozen=True, kw_only=True, tag="team"):
    """The moderation team's key (1,216 bytes); empty where this relay has no team to report to.

    A relay can lie about it: clients keep the first one they see, and people compare fingerprints.
    """

    ref: Ref
    key: bytes = b""


class Reported(Frame, frozen=True, kw_only=True, tag="reported"):
    """The report is durable and waits for the team."""

    ref: Ref
    id: Id
    time: Count


class Notices(Frame, frozen=True, kw_only=True, tag="notices"):
    """Notices of this account by number; ``more`` says that there are later ones. Also sent
    unasked, ``ref`` 0, when there is a new one.
    """

    ref: Ref
    notices: Annotated[tuple[Told, ...], Meta(max_length=NOTICES_LIMIT)] = ()
    more: bool = False


class Appealed(Frame, frozen=True, kw_only=True, tag="appealed"):
    """The appeal is durable; somebody else than who decided will look at it."""

    ref: Ref
    action: Id
    time: Count


class Blob(Frame, frozen=True, kw_only=True, tag="blob"):
    """How an attachment stands. ``partial``: ``offset`` bytes are here, go on there. ``whole``: all
    are here, durably. ``kept``: and stay. For a ``get``, ``data`` is the piece at ``offset``.
    """

    ref: Ref
    id: Id
    size: Count
    offset: Count
    state: Literal["partial", "whole", "kept", "dropped"]
    data: Annotated[bytes, Meta(max_length=PIECE)] = b""


class Notice(Frame, frozen=True, kw_only=True, tag="notice"):
    """Something the user should be told: ``topic`` for programs, ``text`` for people.

    ``modes``: the operator's default changed to these. ``sunset``: a mode ends here, ``dates``
    say when (``freeze``: nothing new begins in it, ``final``: nothing is sent in it any more);
    without dates it does not end after all.
    """

    topic: Word
    text: str
    modes: Modes | None = None
    epoch: Count = 0
    dates: dict[Word, Count] | None = None


class Error(Frame, frozen=True, kw_only=True, tag="error"):
    """A request was refused. ``temporary`` says whether the same request may succeed later."""

    ref: Ref
    code: int
    name: str
    message: str
    temporary: bool = False
    retry_after: float = 0.0


class Bye(Frame, frozen=True, kw_only=True, tag="bye"):
    """The relay closes next; come back after ``reconnect_after`` seconds, or not at all (-1)."""

    reason: str
    reconnect_after: float = 0.0


ServerFrame = (
    Token
    | Welcome
    | Accepted
    | Deliver
    | Page
    | Receipt
    | Typing
    | Presence
    | Devices
    | Keys
    | Published
    | Link
    | Log
    | Entries
    | Opened
    | Policy
    | Blocked
    | Team
    | Reported
    | Notices
    | Appealed
    | Blob
    | Notice
    | Error
    | Bye
)
