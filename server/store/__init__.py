"""What a store must do: the records it keeps and the Protocol that every engine implements.

No SQL lives here, and nothing that knows about sockets or cryptography. The store is the
truth: ``append`` reports success only after the commit is durable. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

from crypto_modes import wire
from crypto_modes.contract import BlobMeta, Secretive, Stored

BlobState = Literal["partial", "whole", "kept"]
# What an attachment counts at least against its sender's quota, which so bounds their number too.
BLOB_LEAST = 64 * 1024

REMOVED = (
    "this device was removed from its account for good; to use the account here, begin with a new"
    " profile, and link it"
)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account. ``password`` is an Argon2id string or empty; ``subject`` the external
    provider's, or empty; ``key`` the account key ACC (32 bytes) or empty.
    """

    id: bytes
    name: str
    created: int
    password: str = ""
    subject: str = ""
    suspended: bool = False
    key: bytes = b""
    list: wire.DeviceList | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device that holds a bearer token; ``token`` is its 32-byte keyed hash. Of a device that its
    user removed only this is left, with no token and ``expires`` 0: its id is never bound again.
    """

    id: bytes
    account: bytes
    token: bytes
    created: int
    expires: int

    @property
    def removed(self) -> bool:
        """Whether its user took it off the account."""
        return self.expires == 0


class Head(msgspec.Struct, frozen=True):
    """One conversation of an account: its peer, its last ``seq``, how far the peer has read."""

    conversation: bytes
    peer: bytes
    seq: int
    peer_read: int = 0


class Chained(NamedTuple):
    """The newest ``at_rest`` messages of conversations, each with its number and the head of its
    hash chain, among messages in order of arrival up to ``place``; ``last``: there are no more."""

    place: int
    heads: list[tuple[bytes, int, bytes]]
    last: bool


class WrappedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A data key as it is stored: wrapped by the serving and, where configured, by the
    moderation key (else empty). ``generation`` is that of the serving key, at least.
    """

    dek_id: bytes
    conversation: bytes
    sender: bytes
    epoch: int
    created: int
    serving: bytes
    moderation: bytes = b""
    generation: int = 1


class PlatformKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key-encryption key in force: ``proof`` is what it, and no other, opens. ``retired`` once
    those before it are destroyed; ``oldest`` is the lowest generation that a stored key needs.
    """

    generation: int
    proof: bytes
    retired: bool = True
    oldest: int = 0


class KeyCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Data keys: all, those with a moderation door, those wrapped by an older generation than the
    one in force, and those that were destroyed."""

    all: int
    moderation: int
    behind: int
    shredded: int


class SealedReport(Secretive, msgspec.Struct, frozen=True, kw_only=True):
    """A report as the relay has it: who handed it in and when, one tag (32 bytes) for each message
    in it, and bytes that only the moderation team opens. ``number`` is given by the store, rising.
    """

    id: bytes
    reporter: bytes
    time: int
    tags: tuple[bytes, ...]
    sealed: bytes
    number: int = 0

    def __repr__(self) -> str:
        return f"<SealedReport {self.number}>"


class HeldMessage(NamedTuple):
    """A message that scanning held: the report about it, 16 bytes, its digest, 32, its sender."""

    report: bytes
    digest: bytes
    sender: bytes


class LogProofs(msgspec.Struct, frozen=True, kw_only=True):
    """The key log, read at one moment: ``newest`` is its size and root now; the proofs are in the
    tree of ``size``. ``index`` is None where no leaf has the hash that was asked for.
    """

    newest: tuple[int, bytes]
    size: int
    index: int | None = None
    inclusion: tuple[bytes, ...] = ()
    consistency: tuple[bytes, ...] = ()


class LogRow(msgspec.Struct, frozen=True):
    """One entry of the key log, with what it was made of."""

    index: int
    entry: wire.LogEntry
    account: bytes
    key: bytes
    list: wire.DeviceList


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an attachment, whose bytes are in a file. ``digest`` is what its bytes as
    they travel must have (32 bytes), ``head`` what its mode put before the first piece, ``touched``
    when its state changed.

    ``partial`` until all bytes are durable, then ``whole``, and ``kept`` once a message refers to
    it; what is not kept is deleted after a while.
    """

    meta: BlobMeta
    recipient: bytes
    digest: bytes
    head: bytes
    state: BlobState
    touched: int


Phase = Literal["planned", "announced", "frozen", "ended", "cancelled"]


class Sunset(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's plan to end ``mode`` for the service. From ``freeze`` on new conversations
    begin in ``instead``; from ``final`` on those in ``mode`` are read-only.
    """

    mode: str
    instead: str
    freeze: int
    final: int
    phase: Phase = "planned"


class Append(Protocol):
    """One message on its way to the disk, made by the relay and driven by the store.

    The store gives ``seq`` (from 1, without gaps per conversation) inside the transaction, so
    admission happens there too; ``admit`` may be called again for the same message after an
    engine's retry, and may raise, in which case only this message fails and no ``seq`` is used.
    """

    @property
    def conversation(self) -> bytes: ...
    @property
    def parties(self) -> tuple[bytes, bytes]:
        """The two account ids in ascending order."""

    @property
    def id(self) -> bytes: ...
    @property
    def device(self) -> bytes:
        """The sending device; the same ``id`` from another device is a conflict (Forbidden)."""

    def admit(self, seq: int, previous: bytes) -> Stored:
        """Called on the store's thread. ``previous`` is the conversation's chain head."""

    def settled(self, outcome: Stored | Exception, duplicate: bool) -> None:
        """Called on the event loop, in order of appending, after the commit is durable or has
        failed. ``duplicate``: this id was stored before, ``outcome`` is what was stored then.
        """


class Store(Protocol):
    """The durable truth of a relay. Every method may raise ``StoreUnavailable``."""

    @property
    def deployment(self) -> bytes:
        """16 random bytes made with the database: the relay id in ``welcome``."""

    @property
    def durability(self) -> Literal["full", "relaxed"]:
        """``full`` or ``relaxed``."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    # messages
    def append(self, entry: Append) -> None: ...
    async def after(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        """Up to ``limit`` messages with a higher seq, ascending."""

    async def before(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        """The newest ``limit`` messages with a lower seq (0: from the end), ascending."""

    async def scan(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        """For operators' tools: up to ``limit`` messages of all conversations after this place,
        in order of (conversation, seq); start with ``(b"", 0)``."""

    async def chained(self, place: int) -> Chained:
        """For upkeep: a page of what came after ``place``, which begins at 0."""

    async def parties(self, conversation: bytes) -> tuple[bytes, bytes] | None: ...
    async def heads(self, account: bytes) -> list[Head]: ...
    async def cursors(self, device: bytes) -> dict[bytes, int]: ...
    def advance(self, device: bytes, conversation: bytes, seq: int) -> None:
        """Remember a device's cursor. Lazily durable: losing it only delivers again."""

    def advance_read(self, account: bytes, conversation: bytes, seq: int) -> None: ...

    # accounts and devices
    async def add_account(self, account: Account) -> None:
        """Raises ``Forbidden`` where the name or subject is taken."""

    async def account(self, id: bytes) -> Account | None: ...
    async def account_named(self, name: str) -> Account | None: ...
    async def suspend(self, account: bytes, *, on: bool) -> None:
        """Mark an account so that nobody logs in to it, or can reach it, for now. Durable."""

    async def bind_device(self, device: Device) -> None:
        """Add a device or replace its token. A new device's cursors start at today's heads.
        Raises ``Forbidden`` where the id belongs to another account, or to a removed device."""

    async def device(self, id: bytes) -> Device | None: ...
    async def has_devices(self) -> bool:
        """Whether any token was ever given and not taken: then the pepper must not change."""

    async def devices(self, account: bytes) -> list[Device]: ...
    async def remove_device(self, id: bytes) -> None:
        """Forget the device, its token, its cursors and its prekeys."""

    # directory
    async def put_list(
        self, account: bytes, key: bytes, devices: wire.DeviceList
    ) -> frozenset[bytes]:
        """Store the list, enter it in the key log, and remove the devices that the list before
        named under the same key and this one does not, of which only the ids are kept: all or
        nothing. Which devices were removed.

        Raises ``KeyRefused`` unless the version is higher than the stored one."""

    async def log_key(self) -> bytes:
        """The public key (32 bytes) under which the key log is signed; empty before the first."""

    async def keep_log_key(self, public: bytes) -> None: ...
    async def log_proofs(self, size: int, since: int, leaf: bytes) -> LogProofs:
        """Proofs in the key log's tree of ``size`` (0: the newest), durable by now. Raises
        ``BadArgument`` for sizes that it has not."""

    async def log_rows(self, start: int, limit: int) -> list[LogRow]:
        """Entries of the key log from the index ``start``, ascending."""

    async def put_prekeys(self, device: bytes, prekeys: Iterable[wire.Prekey]) -> None: ...
    async def take_bundle(self, requester: bytes, device: bytes, now: int) -> wire.Bundle | None:
        """A bundle; consumes one-time keys at most once per (requester, device, 24 h), else the
        signed and last-resort keys alone. None where the device published nothing."""

    async def count_prekeys(self, device: bytes) -> tuple[int, int]:
        """One-time keys left: (X25519, ML-KEM-768)."""

    # policies and blocks
    async def policies(self, conversation: bytes) -> list[wire.Policy]:
        """All epochs, ascending; ``ref`` 0."""

    async def put_policy(self, policy: wire.Policy) -> None: ...
    async def service_epoch(self, modes: Mapping[wire.Kind, str]) -> int:
        """The number of the operator's default: one higher than the last recorded, and recorded,
        each time ``modes`` differs from it; from 1."""

    async def sunset(self) -> Sunset | None:
        """The plan, if there ever was one."""

    async def put_sunset(self, plan: Sunset) -> None:
        """Take the place of any plan before. Returns once durable."""

    async def conversations_in(self, mode: str) -> int:
        """How many conversations have a kind of content in ``mode`` now; reads all policies."""

    async def set_block(self, account: bytes, blocked: bytes, on: bool) -> None: ...
    async def blocks(self, account: bytes) -> set[bytes]: ...

    # reports
    async def put_report(
        self, report: SealedReport, limit: int, held: HeldMessage | None = None
    ) -> SealedReport:
        """Keep a report; what is kept under its reporter and id already is returned unchanged.
        With it, or not at all, what scanning ``held`` under it.

        Raises ``Forbidden`` where this reporter has used one of the tags, ``LimitExceeded`` where
        ``limit`` reports of his are kept.
        """

    async def release_held(self, report: bytes) -> HeldMessage:
        """Let it go. Durable. Raises ``Forbidden`` where nothing is held under that report."""

    async def released(self, limit: int) -> list[bytes]:
        """The digests that were let go, the latest of them in their order."""

    async def reports(self, after: int, limit: int) -> list[SealedReport]:
        """Up to ``limit`` reports with a higher number, ascending."""

    async def report(self, id: bytes) -> SealedReport | None:
        """The first that was kept under this id; a later reporter may choose the same."""

    # attachments
    async def add_blob(self, blob: Blob, quota: int) -> None:
        """Durable. Raises ``LimitExceeded`` where its sender would have more than ``quota`` bytes,
        ``Forbidden`` where its id is taken."""

    async def blob(self, id: bytes) -> Blob | None: ...
    async def settle_blob(self, id: bytes, state: BlobState, now: int) -> None:
        """Durable. Nothing where there is none."""

    async def remove_blob(self, id: bytes) -> None: ...
    async def blobs(self, after: bytes, limit: int) -> list[Blob]:
        """For operators' tools: up to ``limit`` in order of ids after this one; start with b""."""

    async def stale_blobs(self, before: int, limit: int) -> list[Blob]:
        """Those that nobody keeps and that were touched before, the oldest first."""

    # data keys, in a database file of their own with a backup of its own
    async def put_data_key(self, key: WrappedKey) -> bool:
        """Returns once durable. False, and nothing is stored, where the key-encryption key was
        rotated since ``key`` was wrapped. Raises ``Forbidden`` for an id that is taken or was
        shredded."""

    async def has_data_keys(self) -> bool:
        """Whether any key is stored: then the key that wraps them must not change."""

    async def some_data_key(self) -> WrappedKey | None:
        """Any of them."""

    async def data_key(self, dek_id: bytes) -> WrappedKey | None: ...
    async def newest_data_key(self, conversation: bytes, sender: bytes) -> WrappedKey | None: ...
    async def platform_key(self) -> PlatformKey | None:
        """The key-encryption key in force; None before the first was recorded."""

    async def put_platform_key(self, key: PlatformKey) -> None:
        """Take the place of what is recorded. Durable."""

    async def data_keys_behind(self, after: bytes, limit: int) -> list[WrappedKey]:
        """Those wrapped by an older generation than the one in force, by id, after ``after``."""

    async def rewrap_data_key(self, before: WrappedKey, after: WrappedKey) -> None:
        """Durable. Nothing where ``before`` is not what is stored: it was shredded, say."""

    async def shred_data_keys(self, conversation: bytes, sender: bytes) -> int:
        """Destroy the data keys of a conversation, or of a sender in all of his (the other is
        empty), and remember that in both files; how many. Durable."""

    async def count_data_keys(self) -> KeyCounts: ...
