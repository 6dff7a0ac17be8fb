"""The access log: what is entered of each step of a case, and of each read.

What may live here: the entry to the byte, its leaf, and the marks by which a user finds the leaves
of his conversations. Pure functions only. What may not: storage and the process that keeps the log
(``server/access_log``), whom an entry may be shown to. moderation.md, The access log. ::

    entry      = enc("louver/v1/access/entry", kind, time, case, basis, actor, conversation,
                     account, grant, count, size, record…, "", (name, value)… sorted by name)
    commitment = H(enc("louver/v1/access/commitment", salt, entry))
    day        = time // 86,400,000
    key        = HMAC(secret, enc("louver/v1/access/day", conversation, day))
    mark       = HMAC(key, enc("louver/v1/access/mark", index))[0:16]
    leaf       = enc("louver/v1/access", time, mark, commitment)
    days       = Ed25519(the log's key, enc("louver/v1/access/day_keys", conversation, first, key…))

The tree holds leaves only. An entry and its salt, 16 random bytes, lie beside it and can be erased:
the leaf stays, commits to what nobody can read any more, and the tree is as it was.

A mark tells nobody anything but who has the key of that conversation and day, and tells them all:
the keys of a conversation are given to its two users, day by day and after the delay that policy
sets, so that they can see for every leaf of that day whether it was about them. The log signs them,
for they come by way of the relay, which would hide a reading by another key. Only a reading under a
grant has such a mark; every other entry, and so a report, whose sender shows what he has, has 16
random bytes: the mark of one would tell the reported user that there is a report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from crypto_modes import wire
from crypto_modes.encoding import dec, enc, number
from crypto_modes.errors import FrameRefused, KeyRefused, LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import H, ed25519_verify, equal, hmac
from crypto_modes.transparency.note import BY_LOG, Verifier
from crypto_modes.transparency.tree import leaf_hash

Kind = Literal[
    "report",  # a report came in
    "case",  # a case was opened, or changed its state
    "request",  # a grant was asked for
    "approval",  # somebody approved it
    "refused",  # a request, an approval or a read was refused, and why
    "read",  # records were about to be opened; written before they were
    "alert",  # an emergency has had no second approval in time
    "hold",  # a preservation came into force or ended
    "action",  # something was done about an account or a message, or undone
    "notice",  # a user was told
    "appeal",  # a user appealed
    "decision",  # an appeal was decided
    "staff",  # somebody joined or left the staff, or changed role
    "keys",  # how many data keys the key service unwrapped, and heads of conversations
]

SALT_SIZE = MARK_SIZE = 16
COMMITMENT_SIZE = 32
DAY = 86_400_000  # milliseconds
RECORDS_LIMIT = 500
DETAIL_LIMIT = 16


_LEAF = "louver/v1/access"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step, for people who may see it. Ids are 16 bytes or empty, ``time`` is milliseconds.

    ``actor`` is the staff's name, ``account`` whom it is about, ``records`` the ids of messages,
    ``count`` and ``size`` how many and how many bytes of text. ``detail`` has what the kind needs
    for the transparency report: ``authority``, ``country``, ``category``, ``outcome``, ``reason``.
    """

    kind: Kind
    time: wire.Count
    case: wire.MaybeId = b""
    basis: str = ""
    actor: str = ""
    conversation: wire.MaybeId = b""
    account: wire.MaybeId = b""
    grant: wire.MaybeId = b""
    count: wire.Count = 0
    size: wire.Count = 0
    records: Annotated[tuple[wire.Id, ...], msgspec.Meta(max_length=RECORDS_LIMIT)] = ()
    detail: Annotated[Mapping[str, str], msgspec.Meta(max_length=DETAIL_LIMIT)] = {}

    def encode(self) -> bytes:
        """The canonical bytes."""
        pairs = [part for name in sorted(self.detail) for part in (name, self.detail[name])]
        return enc(
            "louver/v1/access/entry",
            self.kind,
            self.time,
            self.case,
            self.basis,
            self.actor,
            self.conversation,
            self.account,
            self.grant,
            self.count,
            self.size,
            *self.records,
            "",
            *pairs,
        )


def commitment(salt: bytes, entry: Entry) -> bytes:
    """32 bytes that say nothing about ``entry`` without the ``salt``."""
    return H(enc("louver/v1/access/commitment", salt, entry.encode()))


def day_key(secret: bytes, conversation: bytes, day: int) -> bytes:
    """By which a conversation's users tell that day's leaves about it from others, 32 bytes."""
    return hmac(secret, enc("louver/v1/access/day", conversation, day))


def mark(key: bytes, index: int) -> bytes:
    """The mark of the leaf ``index`` where it is about the conversation of ``key``, 16 bytes."""
    return hmac(key, enc("louver/v1/access/mark", index))[:MARK_SIZE]


def sign_days(key: SigningKey, conversation: bytes, first: int, keys: Sequence[bytes]) -> bytes:
    """That these are the keys of ``conversation`` on the days from ``first`` on, 64 bytes."""
    return key.sign(_days(conversation, first, keys))


def check_days(
    log: Verifier, conversation: bytes, first: int, keys: Sequence[bytes], signature: bytes
) -> None:
    """Raises ``LogRefused`` unless ``log`` says so."""
    try:
        ed25519_verify(log.key, signature, _days(conversation, first, keys))
    except KeyRefused:
        raise LogRefused(
            "the relay shows keys of days that the access log did not sign for this conversation:"
            " with others, readings are hidden. Ask the operator why"
        ) from None


def _days(conversation: bytes, first: int, keys: Sequence[bytes]) -> bytes:
    return enc("louver/v1/access/day_keys", conversation, first, *keys)


def opens(entry: Entry) -> bool:
    """Whether this entry says that a conversation was opened, which its users may find out.

    Not what was opened around a report: of two users only the other can have reported, and whoever
    is reported never learns who did.
    """
    granted = entry.kind == "read" and entry.grant != b"" and entry.basis != "user_report"
    return granted and entry.conversation != b""


class Leaf(msgspec.Struct, frozen=True):
    """What the tree holds: the time of the entry (milliseconds), its mark and its commitment."""

    time: wire.Count
    mark: wire.Id
    commitment: wire.Key

    def encode(self) -> bytes:
        """The bytes of the leaf, which everybody may have."""
        return enc(_LEAF, self.time, self.mark, self.commitment)

    @classmethod
    def decode(cls, raw: bytes) -> Leaf:
        """The leaf of these bytes. Raises ``LogRefused``."""
        try:
            time, mark, commitment = dec(_LEAF, raw)
            found = cls(number(time), mark, commitment)
        except (FrameRefused, ValueError):
            raise LogRefused("this is no leaf of an access log") from None
        if (len(mark), len(commitment)) != (MARK_SIZE, COMMITMENT_SIZE):
            raise LogRefused("this is no leaf of an access log")
        return found

    @property
    def hash(self) -> bytes:
        """The leaf's hash in the tree, 32 bytes."""
        return leaf_hash(self.encode())


class Opened(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An entry with its salt, as it is shown to who may see it; none where it was erased."""

    index: wire.Count
    salt: wire.MaybeId = b""
    entry: Entry | None = None

    def check(self, leaf: Leaf) -> None:
        """Hold it to its leaf. Raises ``LogRefused``."""
        if self.entry is None:
            return
        same = equal(commitment(self.salt, self.entry), leaf.commitment)
        if not same or self.entry.time != leaf.time:
            raise LogRefused(f"the entry shown for leaf {self.index} is not the one entered there")


def log_of(key: bytes) -> Verifier:
    """The access log under this key (Ed25519, 32 bytes), which names it: a new key, a new log."""
    return Verifier(f"louver/access-log/{key[:8].hex()}", BY_LOG, key)
