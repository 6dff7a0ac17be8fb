"""What several frames embed: field types with their limits, and the structs inside frames.

No whole frame lives here, and no codec.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

FRAME_LIMIT = 64 * 1024
FRAME_LIMIT_BEFORE_HELLO = 4 * 1024
CONTENT_LIMIT = 16 * 1024
# Reported messages of one report, and its sealed bytes: with base64, its frame stays below 64 KiB.
REPORT_TAGS = 20
REPORT_LIMIT = 44 * 1024
LINK_BODY_LIMIT = 32 * 1024  # fits a frame in JSON too
LINK_SLOTS = 10
# What a user says against a decision, in bytes of UTF-8, and how many notices he reads at a time.
APPEAL_LIMIT = 2_000
NOTICES_LIMIT = 50
# A piece of an attachment in one frame; also as base64 in JSON it stays below the frame limit.
PIECE = 32 * 1024

KINDS = ("text", "image", "video", "voice", "file", "call")

Ref = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
MaybeId = Annotated[bytes, Meta(max_length=16)]
Digest = Annotated[bytes, Meta(max_length=32)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(max_length=64)]
Name = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9][a-z0-9._-]*\Z")]
Word = Annotated[str, Meta(min_length=1, max_length=32)]
Line = Annotated[str, Meta(max_length=256)]
Secret = Annotated[str, Meta(min_length=1, max_length=3072)]
Kind = Literal["text", "image", "video", "voice", "file", "call"]


class Frame(Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """Base of every frame; the field ``type`` on the wire names the struct.

    Without the garbage collector: a frozen struct of bytes, text and numbers cannot be part of a
    cycle, and thousands of them wait in queues where every collection would walk over them.
    """


class Copy(Struct, frozen=True, array_like=True, gc=False):
    """One device's ciphertext of a message."""

    device: Id
    body: bytes


class Certificate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A device certificate: ``ACC.sign(enc("louver/v1/device", …))``, modes.md 17.

    ``signing`` is ``IKs`` (Ed25519), ``agreement`` is ``IKd`` (X25519), both 32 bytes.
    """

    device: Id
    signing: Key
    agreement: Key
    created: Count
    signature: Signature


class DeviceList(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A signed device list; ``version`` strictly rises. At most ten devices."""

    version: Count
    certificates: Annotated[tuple[Certificate, ...], Meta(max_length=10)]
    signature: Signature


class Prekey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A signed prekey. ``algorithm`` is 0x05 X25519 or 0x08 ML-KEM-768; ``use`` is ``signed``,
    ``once`` or ``last`` (resort). ``key`` has 32 or 1,184 bytes; modes.md 19.
    """

    id: Count
    algorithm: Literal[5, 8]
    use: Literal["signed", "once", "last"]
    key: Annotated[bytes, Meta(min_length=32, max_length=1184)]
    expires: Count
    signature: Signature


class Bundle(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What starts a session with one device; ``once`` is None when the one-time keys ran out."""

    device: Id
    signed: Prekey
    kem: Prekey
    once: Prekey | None = None


class LogEntry(Struct, frozen=True, array_like=True):
    """A leaf of the key log: ``tag`` names the account to those who know it, ``entry`` is the
    digest of its key and list; modes.md 18.
    """

    tag: Key
    entry: Key


class Opening(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the leaf at ``index`` of one's own account was made of: the account key and the list."""

    index: Count
    key: Key
    list: DeviceList


class Told(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One notice. ``topic``: ``action`` (something was done about this account or its messages),
    ``report`` (what became of a report of this user), ``decision`` (of an appeal: ``outcome``
    ``upheld`` or ``reversed``), ``opened`` (messages of ``conversation`` may be read, ``basis``
    says on what ground), ``released`` (what was held for review may be sent again). ``kind``:
    ``warn``, ``mute`` (``until`` in milliseconds), ``suspend``, ``remove`` (``count`` messages) or
    ``none``.

    ``facts``, ``rule`` and ``automated`` are the reasons; against an ``action`` (16 bytes, or
    empty) an ``appeal`` is possible, once.
    """

    id: Id
    number: Count
    time: Count
    topic: Word
    action: MaybeId = b""
    kind: str = ""
    outcome: str = ""
    basis: str = ""
    conversation: MaybeId = b""
    until: Count = 0
    count: Count = 0
    facts: str = ""
    rule: str = ""
    automated: bool = False
    redress: str = ""
    read: bool = False


class Limits(Struct, frozen=True, kw_only=True):
    """The limits in force, sent in ``welcome`` so that a client need not find them by failing.

    ``blob`` is the largest attachment in bytes, 0 where the relay takes none.
    """

    frame: int
    content: int
    page: int
    devices: int
    outbox: int
    blob: int = 0


Path = Annotated[tuple[Key, ...], Meta(max_length=64)]
Modes = Annotated[dict[Kind, Word], Meta(max_length=6)]
