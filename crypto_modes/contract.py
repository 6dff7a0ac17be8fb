"""The contract of a mode: what the ends and the middle hand each other, and the five verbs.

Only data shapes and Protocols live here; no mode, no cryptography. The ends *seal* and
*open*; the middle *admits*, *emits* and, for moderation, *reveals*. All five are synchronous
and pure: what a mode lacks it asks for by raising ``Need``; the caller fetches it, supplies
it, and calls again, so the hot path holds no await inside cryptography.

Sizes: identifiers are 16 bytes, digests, commitments and stamps 32; times are milliseconds
since 1970-01-01 UTC; ``seq`` counts from 1 per conversation, without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from crypto_modes import wire

ID_SIZE = 16
DIGEST_SIZE = 32
NO_DIGEST = bytes(DIGEST_SIZE)
VERSION = 1

# Two tables of ``State`` that the client program fills and modes only read: conversation -> seq u64
# up to which all was handled; and ``LOG_HEAD`` -> the newest checked head of the key log, size u64
# || root 32.
POSITIONS = "client_cursors"
KEY_LOG, LOG_HEAD = "key_log", b"head"
LOG_HEAD_SIZE = 40
NO_LOG_HEAD = bytes(LOG_HEAD_SIZE)

# The adversaries of the comparison; every mode declares for each whether it can read.
ADVERSARIES = (
    "network_tap",
    "database",
    "backup",
    "bus",
    "logs",
    "relay_memory",
    "vault_without_grant",
    "compelled_operator",
    "stolen_device_past",
    "stolen_device_future",
    "stolen_device_healed",
)


_SHOWN = ("conversation", "seq", "id", "kind", "mode", "epoch")


class Secretive:
    """For structs that hold a secret and leave it out of their ``repr``: pretty printers, and the
    tracebacks that show locals with one, ask for another, and msgspec's tells every field.
    """

    __slots__ = ()

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


class Discreet(msgspec.Struct, frozen=True, gc=False):
    """A struct that prints which message it is about, never what it says or what opens it: a
    ``repr`` ends up in tracebacks and logs.
    """

    def __repr__(self) -> str:
        shown = (f"{name}={_plain(getattr(self, name))}" for name in _SHOWN if hasattr(self, name))
        return f"{type(self).__name__}({', '.join([*shown, '…'])})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same for those who print prettily; msgspec's own would tell all."""
        return [(name, getattr(self, name)) for name in _SHOWN if hasattr(self, name)]


def _plain(value: object) -> str:
    """Identifiers in hexadecimal, all else as it is."""
    return value.hex() if isinstance(value, bytes) else str(value)


class Draft(Discreet, frozen=True, kw_only=True):
    """A message before it is sealed, under the policy ``epoch`` in force."""

    conversation: bytes
    id: bytes
    sender: bytes
    device: bytes
    recipient: bytes
    kind: wire.Kind
    epoch: int
    content: bytes
    reply_to: bytes = b""


class Sealed(Discreet, frozen=True, kw_only=True):
    """What travels to the relay: one ``body``, or one copy per device and a commitment."""

    mode: str
    epoch: int
    body: bytes = b""
    copies: tuple[wire.Copy, ...] = ()
    commitment: bytes = b""


class Meta(msgspec.Struct, frozen=True, gc=False):
    """What the relay itself knows of one message; never taken from a field the sender fills
    when the connection says it better (``sender`` and ``device`` are the authenticated ones).
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


class Stored(Discreet, frozen=True):
    """One message as the disk, the bus and the backup see it.

    ``commitment`` and ``stamp`` are empty where the mode does not frank; ``chain`` is the head
    of the conversation's hash chain after this record.
    """

    meta: Meta
    record: bytes
    commitment: bytes = b""
    stamp: bytes = b""
    chain: bytes = NO_DIGEST


class BlobMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay knows of one attachment. ``size`` is that of what travels, padded or sealed;
    the sender is the authenticated one.
    """

    id: bytes
    conversation: bytes
    sender: bytes
    kind: wire.Kind
    mode: str
    epoch: int
    size: int
    time: int


class Evidence(Discreet, frozen=True, kw_only=True):
    """What a reporter reveals of one message: the padded plaintext ``message`` (M), the franking
    ``key`` (K_f, 32 bytes) and who reports. Empty for a read without a report.
    """

    reporter: bytes = b""
    message: bytes = b""
    key: bytes = b""


class Opened(Discreet, frozen=True, kw_only=True):
    """One message in the clear, at its recipient.

    ``evidence`` is what a report of it would reveal, where the mode franks. ``warnings`` are
    short machine-readable names of what the mode noticed (``gap:3``, ``session_reset``,
    ``reordered``, ``fork``, ``no_copy``), for the client to show.

    ``unopened`` are the ids of this device's own messages, oldest first, that the sending device
    had not opened when it had handled all up to the seq ``position``: one of them that the relay
    numbered no higher was withheld from it. ``log_head`` is the head of the key log that it had
    seen, size u64 || root 32; empty for none.
    """

    content: bytes
    kind: wire.Kind
    reply_to: bytes = b""
    evidence: Evidence | None = None
    warnings: tuple[str, ...] = ()
    unopened: tuple[bytes, ...] = ()
    position: int = 0
    log_head: bytes = b""


class Need(Exception):
    """Not an error: the mode lacks ``what``. Fetch it, supply it, call again.

    ``what`` is one of the ``Need…`` structs below.
    """

    def __init__(self, what: Want) -> None:
        super().__init__(repr(what))
        self.what = what


class NeedDevices(msgspec.Struct, frozen=True):
    """A client lacks the verified device list of ``account``; ask with a ``devices`` frame."""

    account: bytes


class NeedBundles(msgspec.Struct, frozen=True):
    """A client lacks prekey bundles of these devices; ask with a ``keys`` frame."""

    account: bytes
    devices: tuple[bytes, ...]


class NeedPolicy(msgspec.Struct, frozen=True):
    """A client lacks the policy of this epoch; ask with a ``policy`` frame."""

    conversation: bytes
    peer: bytes
    epoch: int


class NeedDataKey(msgspec.Struct, frozen=True):
    """A relay has no usable data key for this conversation and sender; make and store one."""

    conversation: bytes
    sender: bytes


class NeedWrappedKey(msgspec.Struct, frozen=True):
    """A relay has not unwrapped the data key with this id (16 bytes) yet."""

    dek_id: bytes


class NeedFrankingKey(msgspec.Struct, frozen=True):
    """A relay has not loaded the franking key of this month (``YYYYMM``) yet."""

    month: int


Want = NeedDevices | NeedBundles | NeedPolicy | NeedDataKey | NeedWrappedKey | NeedFrankingKey


class ClientMode(Protocol):
    """The two verbs of the ends."""

    def seal(self, draft: Draft) -> Sealed:
        """Turn plaintext into what travels. Raises ``Need`` or a ``LouverError``."""

    def open(self, delivery: wire.Deliver) -> Opened:
        """Turn what travels into plaintext and proof. Raises ``Need`` or ``CannotOpen``."""

    def supply(self, answer: wire.Devices | wire.Keys | wire.Policy) -> None:
        """Take the relay's answer to a ``Need``, verified before it is believed.

        Raises ``KeyRefused`` or ``KeyChanged``. Modes that never need anything ignore it.
        """


class ServerMode(Protocol):
    """The three verbs of the middle."""

    def admit(self, meta: Meta, sealed: Sealed, previous: bytes) -> Stored:
        """Wire to store. ``previous`` is the head of the conversation's hash chain."""

    def emit(self, stored: Stored, device: bytes) -> wire.Deliver:
        """Store to wire, for one device of one of the two users."""

    def reveal(self, stored: Stored, evidence: Evidence) -> bytes:
        """The plaintext, for moderation. Raises ``CannotRead`` or ``ReportRefused``."""


class Pieces(Protocol):
    """One attachment on its way through the middle, in pieces of ``wire.PIECE`` bytes, the last
    one shorter. Stored is ``head``, then each piece, ``overhead`` bytes longer than it travels.
    """

    @property
    def head(self) -> bytes: ...
    @property
    def overhead(self) -> int: ...

    def admit(self, index: int, piece: bytes) -> bytes:
        """Wire to store. One ``index`` is only ever given the same piece."""

    def emit(self, index: int, stored: bytes) -> bytes:
        """Store to wire. Raises ``CannotOpen``."""


@runtime_checkable
class CarriesBlobs(Protocol):
    """What a ``ServerMode`` offers beside its three verbs to carry attachments: the first two of
    them, for pieces. A mode without it refuses attachments and carries messages all the same.
    """

    def pieces(self, meta: BlobMeta, head: bytes = b"") -> Pieces:
        """How a new attachment is stored, or one that was begun with this ``head``.

        Raises ``Need`` or ``CannotOpen``.
        """


class DataKeys(Protocol):
    """The unwrapped data keys a relay holds in memory; misses raise ``Need``."""

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        """``(dek_id, dek)`` for a new record; counts the use. 16 and 32 bytes."""

    def find(self, dek_id: bytes) -> bytes:
        """The 32-byte data key with this id."""


class FrankingKeys(Protocol):
    """The relay's monthly franking keys ``K_S``."""

    def find(self, month: int) -> bytes:
        """The 32-byte key of the month ``YYYYMM``. Raises ``Need``, or ``ReportRefused`` once it
        was destroyed."""


class State(Protocol):
    """A client mode's durable memory. Writes join the caller's open transaction: they become
    durable together with the message they belong to, or not at all."""

    def get(self, table: str, key: bytes) -> bytes | None: ...
    def put(self, table: str, key: bytes, value: bytes) -> None: ...
    def delete(self, table: str, key: bytes) -> None: ...
    def scan(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]: ...


class ServerTools(msgspec.Struct, frozen=True, kw_only=True):
    """What a mode may use in a relay. ``random(n)`` gives n secret random bytes."""

    deployment: bytes
    random: Callable[[int], bytes]
    data_keys: DataKeys
    franking_keys: FrankingKeys


class ClientTools(msgspec.Struct, frozen=True, kw_only=True):
    """What a mode may use in a client. ``now()`` gives milliseconds; ``frame`` is how many bytes of
    binary a frame may hold, fewer where they travel as text.
    """

    account: bytes
    device: bytes
    state: State
    random: Callable[[int], bytes]
    now: Callable[[], int]
    frame: int = wire.FRAME_LIMIT


class Mode(Protocol):
    """A mode as it is registered, also by other packages (entry-point group ``louver.modes``).

    ``strength`` orders modes for the floor: a higher one lets fewer people read. ``words`` is
    the sentence every user interface must show. ``visibility`` says for each of
    ``ADVERSARIES`` whether it can read message text.
    """

    @property
    def name(self) -> str: ...
    @property
    def strength(self) -> int: ...
    @property
    def words(self) -> str: ...
    @property
    def visibility(self) -> Mapping[str, bool]: ...

    def server(self, tools: ServerTools) -> ServerMode: ...
    def client(self, tools: ClientTools) -> ClientMode: ...
