"""The frames a client may send, one struct each; the docstring says how each is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from crypto_modes.wire.parts import (
    APPEAL_LIMIT,
    LINK_BODY_LIMIT,
    LINK_SLOTS,
    NOTICES_LIMIT,
    PIECE,
    REPORT_LIMIT,
    REPORT_TAGS,
    Copy,
    Count,
    DeviceList,
    Digest,
    Frame,
    Id,
    Key,
    Kind,
    Line,
    MaybeId,
    Modes,
    Name,
    Prekey,
    Ref,
    Secret,
    Signature,
    Word,
)


class Register(Frame, frozen=True, kw_only=True, tag="register"):
    """Make an account. Either ``password`` or ``token`` (a JWT of the operator's provider).

    ``device`` is the 16-byte id this client will keep for itself. Answered with ``token``.
    """

    ref: Ref
    name: Name
    device: Id
    password: Secret | None = None
    token: Secret | None = None


class Login(Frame, frozen=True, kw_only=True, tag="login"):
    """Bind this device to an existing account. Answered with ``token``."""

    ref: Ref
    name: Name
    device: Id
    password: Secret | None = None
    token: Secret | None = None


class Hello(Frame, frozen=True, kw_only=True, tag="hello"):
    """Open the session, within the hello deadline. Answered with ``welcome``.

    ``resume`` is the relay id of the client's stored state, or empty for a first session; a
    different relay answers ``cannot_resume`` rather than mixing two histories.
    """

    ref: Ref
    token: Secret
    device: Id
    client: Line = ""
    version: Line = ""
    resume: MaybeId = b""


class Send(Frame, frozen=True, kw_only=True, tag="send"):
    """Send a message to ``to`` or into ``conversation``. ``id`` is the idempotency key.

    ``tls`` and ``at_rest`` fill ``body``; ``e2ee`` fills ``copies`` and ``commitment`` (32).
    Answered with ``accepted`` once durable.
    """

    ref: Ref
    id: Id
    to: MaybeId = b""
    conversation: MaybeId = b""
    kind: Kind = "text"
    mode: Word
    epoch: Count
    body: bytes = b""
    copies: Annotated[tuple[Copy, ...], Meta(max_length=20)] = ()
    commitment: Digest = b""


class Ack(Frame, frozen=True, kw_only=True, tag="ack"):
    """This device has safely stored everything up to ``seq``. Not answered."""

    conversation: Id
    seq: Count


class Read(Frame, frozen=True, kw_only=True, tag="read"):
    """The person has read everything up to ``seq``. Not answered; the peer gets ``receipt``."""

    conversation: Id
    seq: Count


class History(Frame, frozen=True, kw_only=True, tag="history"):
    """A page of a conversation: the newest ``limit`` messages before ``before`` (0: the end).

    Answered with ``page``.
    """

    ref: Ref
    conversation: Id
    before: Count = 0
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class SetTyping(Frame, frozen=True, kw_only=True, tag="typing"):
    """The user started or stopped typing to ``to``. Not answered, never stored."""

    to: Id
    on: bool = True


class SetPresence(Frame, frozen=True, kw_only=True, tag="presence"):
    """Say one's own status to the peers of existing conversations. Not answered."""

    status: Literal["online", "away", "offline"]


class GetDevices(Frame, frozen=True, kw_only=True, tag="devices"):
    """Look up an account by ``account`` or ``name``. Answered with ``devices``."""

    ref: Ref
    account: MaybeId = b""
    name: Name | None = None


class GetKeys(Frame, frozen=True, kw_only=True, tag="keys"):
    """Ask for prekey bundles of an account's devices. Answered with ``keys``."""

    ref: Ref
    account: Id
    devices: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=10)]


class Publish(Frame, frozen=True, kw_only=True, tag="publish"):
    """Publish one's account key, signed device list and prekeys, in as many frames as needed.

    ``replace`` must be said to change an account key that peers have already seen; they stop
    sending until their users accept the new one. Answered with ``published``.
    """

    ref: Ref
    key: Digest = b""
    replace: bool = False
    list: DeviceList | None = None
    prekeys: Annotated[tuple[Prekey, ...], Meta(max_length=64)] = ()


class SetLink(Frame, frozen=True, kw_only=True, tag="link"):
    """Use a mailbox for linking a device to this account: write ``body`` into a slot, or read the
    slot where ``body`` is empty. Answered with ``link``.

    Slot 0 makes the mailbox and holds the new device's offer, slot 1 its confirmation; the other
    device writes its answer into 2 to 9. Each is written once; a mailbox lasts ten minutes.
    """

    ref: Ref
    box: Id
    slot: Annotated[int, Meta(ge=0, le=LINK_SLOTS - 1)]
    body: Annotated[bytes, Meta(max_length=LINK_BODY_LIMIT)] = b""


class GetLog(Frame, frozen=True, kw_only=True, tag="log"):
    """Ask for the newest checkpoint of the key log and, where named, for proofs in the tree of
    ``size`` (0: the newest): that the leaf hash ``leaf`` is in it, that the tree of ``since``
    entries is its beginning. Answered with ``log``.
    """

    ref: Ref
    size: Count = 0
    since: Count = 0
    leaf: Digest = b""


class GetEntries(Frame, frozen=True, kw_only=True, tag="entries"):
    """Read the key log from the entry ``start``, at most ``limit`` of them, maybe fewer.

    Answered with ``entries``.
    """

    ref: Ref
    start: Count
    limit: Annotated[int, Meta(ge=1, le=512)] = 512


class GetOpened(Frame, frozen=True, kw_only=True, tag="opened"):
    """Ask whether the staff opened the conversation with ``peer``: for leaves of the vault's access
    log from ``start`` on, a multiple of 256, when it had ``size`` of them (0: now), and for the
    keys of the days from ``first`` on. Answered with ``opened``.

    A day is of UTC, counted from 1970-01-01. It proves nothing about who asks but the session: the
    conversation is that of the account that is logged in.
    """

    ref: Ref
    peer: Id
    first: Count
    size: Count = 0
    start: Count = 0


class SetPolicy(Frame, frozen=True, kw_only=True, tag="policy"):
    """Ask for the policy with ``peer``, or propose the next epoch: ``modes`` and ``created``
    with the proposer's ``signature`` over the policy record. Answered with ``policy``.
    """

    ref: Ref
    peer: Id
    epoch: Count = 0
    modes: Modes | None = None
    created: Count = 0
    signature: Signature = b""


class Block(Frame, frozen=True, kw_only=True, tag="block"):
    """Block or unblock an account. Answered with ``blocked``."""

    ref: Ref
    account: Id
    on: bool = True


class GetTeam(Frame, frozen=True, kw_only=True, tag="team"):
    """Ask for the key to which reports are sealed. Answered with ``team``."""

    ref: Ref


class Report(Frame, frozen=True, kw_only=True, tag="report"):
    """Hand in a report, ``sealed`` to the moderation team's key. ``id`` is the idempotency key.

    ``tags`` has one for each reported message, which tells the relay a second report of it by the
    same account, and nothing else; modes.md, Reports. Answered with ``reported`` once durable.
    """

    ref: Ref
    id: Id
    tags: Annotated[tuple[Key, ...], Meta(min_length=1, max_length=REPORT_TAGS)]
    sealed: Annotated[bytes, Meta(min_length=1, max_length=REPORT_LIMIT)]


class GetNotices(Frame, frozen=True, kw_only=True, tag="notices"):
    """What the relay's moderation tells this account: notices with a number above ``after``, at
    most 50. Those in ``read`` were read by the user. Answered with ``notices``.

    Before ``hello`` it needs the device's ``token`` and ``device``: so that who is suspended can
    read why.
    """

    ref: Ref
    after: Count = 0
    read: Annotated[tuple[Id, ...], Meta(max_length=NOTICES_LIMIT)] = ()
    token: Secret | None = None
    device: MaybeId = b""


class Appeal(Frame, frozen=True, kw_only=True, tag="appeal"):
    """Object to an ``action`` that a notice names, once, in at most 2,000 bytes. ``token`` and
    ``device`` as in ``notices``. Answered with ``appealed`` once durable.
    """

    ref: Ref
    action: Id
    words: Annotated[str, Meta(min_length=1, max_length=APPEAL_LIMIT)]
    token: Secret | None = None
    device: MaybeId = b""


class SetBlob(Frame, frozen=True, kw_only=True, tag="blob"):
    """One step of an attachment. Answered with ``blob``, which says how far it is.

    ``begin``: upload ``size`` bytes whose SHA-256 is ``digest``, for the conversation with ``to``;
    or go on with an upload where ``blob`` says it stands. ``id`` is 16 random bytes of the
    client's. ``put``: the next piece, 32,768 bytes or the rest; the same again is no harm. Once
    all is there the answer comes when it is durable. ``keep``: a message refers to it now; what
    nobody keeps is deleted after a while. ``get``: the piece at ``offset``, for either user.
    ``drop``: delete it, for its sender. At most eight may be without an answer.
    """

    ref: Ref
    id: Id
    do: Literal["begin", "put", "keep", "get", "drop"]
    to: MaybeId = b""
    kind: Kind = "file"
    mode: Word | None = None
    epoch: Count = 0
    size: Count = 0
    digest: Digest = b""
    offset: Count = 0
    data: Annotated[bytes, Meta(max_length=PIECE)] = b""


ClientFrame = (
    Register
    | Login
    | Hello
    | Send
    | Ack
    | Read
    | History
    | SetTyping
    | SetPresence
    | GetDevices
    | GetKeys
    | Publish
    | SetLink
    | GetLog
    | GetEntries
    | GetOpened
    | SetPolicy
    | Block
    | GetTeam
    | Report
    | GetNotices
    | Appeal
    | SetBlob
)
