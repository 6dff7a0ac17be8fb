"""The records in the scope of a grant: what the relay hands to the vault, and what must hold.

What may live here: the shape of that answer, which is JSON with bytes in base64, and the checks
that need no key. Pure functions only, so that relay, vault and auditor mean the same. What may not:
transport, decryption (``vault.py``), the log.

The vault believes the relay nothing that it can check. Every message has its number, so that a
missing one shows; who writes to whom follows from the conversation's id; and in ``at_rest`` each
record is a link of the conversation's hash chain, whose head the relay states with every answer.

What the vault knows from an earlier look, and the head that is stated now, mostly lie outside of
what a grant is about. Between them and the records there are gaps, and the relay has to show the
links across each: of every record a digest, by which the chain is followed and nothing is read.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, NamedTuple, NoReturn

import msgspec

from crypto_modes import at_rest, policy, tls, wire
from crypto_modes.contract import DIGEST_SIZE, NO_DIGEST, Discreet, Meta, Stored
from crypto_modes.errors import BadArgument, CannotOpen
from crypto_modes.grants import RECORDS_LIMIT, Grant
from crypto_modes.primitives import H, equal

# What the relay keeps and the vault may show; of other modes it hands over a digest.
OPEN = frozenset({tls.NAME, at_rest.NAME})
KEYS_LIMIT = RECORDS_LIMIT
# Links across so many messages are asked for at once, and across so many in all.
LINKS_LIMIT = 4096
GAP_LIMIT = 1_000_000

Head = Annotated[bytes, msgspec.Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]


class DoorKey(msgspec.Struct, frozen=True, kw_only=True):
    """A data key of ``sender`` behind the moderation door; ``moderation`` is empty without one."""

    id: wire.Id
    sender: wire.Id
    epoch: wire.Count
    moderation: bytes


class Record(Discreet, frozen=True, kw_only=True):
    """A stored message. ``body`` is the record of ``tls`` or ``at_rest``; of other modes there is
    its ``digest``, 32 bytes. ``chain`` is the head after it.
    """

    conversation: wire.Id
    seq: wire.Count
    id: wire.Id
    sender: wire.Id
    device: wire.Id
    recipient: wire.Id
    kind: wire.Kind
    mode: wire.Word
    epoch: wire.Count
    time: wire.Count
    body: bytes = b""
    digest: wire.Digest = b""
    chain: Head

    @property
    def stored(self) -> Stored:
        """As a mode takes it."""
        meta = Meta(*(getattr(self, name) for name in Meta.__struct_fields__))
        return Stored(meta, self.body, chain=self.chain)


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """The relay's answer. ``before`` is the head of the chain before the first record; ``newest``
    and ``head`` are the number and head of the newest message that there is; ``known`` is the head
    after the message that the vault asked about, empty where there is none.
    """

    relay: wire.Id
    before: Head
    newest: wire.Count
    head: Head
    known: wire.Digest = b""
    records: Annotated[tuple[Record, ...], msgspec.Meta(max_length=RECORDS_LIMIT)] = ()
    keys: Annotated[tuple[DoorKey, ...], msgspec.Meta(max_length=KEYS_LIMIT)] = ()

    def to_json(self) -> bytes:
        """What travels."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, raw: bytes) -> Handed:
        """The answer in ``raw``. Raises ``CannotOpen``."""
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise CannotOpen(f"the relay's answer is not understood: {error}") from None


class Link(msgspec.Struct, frozen=True, array_like=True):
    """A record of ``at_rest``: the message's number and H of the record, 32 bytes."""

    seq: wire.Count
    digest: Head


class Links(msgspec.Struct, frozen=True):
    """The relay's answer: every link between two messages, in order; others have none."""

    links: Annotated[tuple[Link, ...], msgspec.Meta(max_length=LINKS_LIMIT)] = ()

    def to_json(self) -> bytes:
        """What travels."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, raw: bytes) -> Links:
        """The answer in ``raw``. Raises ``CannotOpen``."""
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise CannotOpen(f"the relay's answer is not understood: {error}") from None


class Gap(NamedTuple):
    """From the message ``after``, with the chain's ``head`` there, to ``last``, where it must be
    ``reaches``."""

    after: int
    head: bytes
    last: int
    reaches: bytes

    @property
    def next(self) -> int:
        """The last message of the links to ask for next."""
        return min(self.after + LINKS_LIMIT, self.last)


def record_of(stored: Stored) -> Record:
    """What the relay hands over of a message."""
    fields = {name: getattr(stored.meta, name) for name in Meta.__struct_fields__}
    if stored.meta.mode in OPEN:
        return Record(**fields, body=stored.record, chain=stored.chain)
    return Record(**fields, digest=H(stored.record), chain=stored.chain)


def link_of(stored: Stored) -> Link:
    """What the relay shows of a record of ``at_rest`` that nobody may read."""
    return Link(stored.meta.seq, H(stored.record))


def check_range(first: int, last: int) -> None:
    """Raises ``BadArgument`` unless ``first`` to ``last`` are 1 to 500 messages."""
    if not 1 <= first <= last < first + RECORDS_LIMIT:
        raise BadArgument(f"ask for 1 to {RECORDS_LIMIT} messages, numbered from 1")


def check(handed: Handed, grant: Grant) -> None:
    """Whether these are the records that ``grant`` is about: all that there are, and no others.

    Raises ``CannotOpen``, which says what is wrong with the relay's answer.
    """
    last = min(grant.last, handed.newest)
    if len(handed.records) > max(0, last - grant.first + 1):
        _refuse("more records than the grant is about")
    if len({record.id for record in handed.records}) < len(handed.records):
        _refuse("one message twice")
    previous = handed.before if grant.first > 1 else NO_DIGEST
    for seq, record in enumerate(handed.records, start=grant.first):
        _check_place(record, grant.conversation, seq)
        previous = _next_head(previous, record)
    if grant.first + len(handed.records) <= last:
        _refuse(f"no message {grant.first + len(handed.records)}, though there are {last} and more")
    if handed.records and handed.newest == last and not equal(previous, handed.head):
        _refuse("another end of the conversation than it states")


def check_known(handed: Handed, seq: int, head: bytes) -> None:
    """Whether the conversation still has the message ``seq`` after which its head was ``head``.

    Raises ``CannotOpen`` where the relay showed another history before.
    """
    if handed.newest < seq or not equal(handed.known, head):
        _refuse(
            f"another history than before: its message {seq} is gone or is another, by a restored"
            " backup or by somebody's hand"
        )
    # The relay may well remember what it said before: where the answer goes through that message,
    # it is the answer that must have that head.
    heads = {record.seq: record.chain for record in handed.records} | {handed.newest: handed.head}
    if handed.records:
        heads[handed.records[0].seq - 1] = handed.before
    if not equal(heads.get(seq, head), head):
        _refuse(f"another history than before: message {seq} or one before it is another")


def gaps(handed: Handed, seq: int, head: bytes) -> tuple[Gap, ...]:
    """What the relay has yet to show, in an answer that ``check`` and ``check_known`` let pass:
    that the records continue what was known, the message ``seq`` with ``head`` (0: nothing was),
    and that what is stated as the newest continues both.

    Raises ``CannotOpen`` where that is too much to be followed.
    """
    path = [(seq, head)] if seq else []
    found = []
    if handed.records:
        first, last = handed.records[0].seq - 1, handed.records[-1]
        if seq and seq < first:
            found.append(Gap(seq, head, first, handed.before))
        path = [(last.seq, last.chain), *(each for each in path if each[0] > last.seq)]
    path.append((handed.newest, handed.head))
    found += [Gap(*one, *other) for one, other in pairwise(path)]
    # Where the head is the same, no record of `at_rest` lies between.
    found = [each for each in found if not equal(each.head, each.reaches)]
    if sum(each.last - each.after for each in found) > GAP_LIMIT:
        raise CannotOpen(
            f"nothing was opened: more than {GAP_LIMIT:,} messages lie between these and what the"
            " vault knows or the relay states, and no chain of so many links is followed"
        )
    return tuple(found)


def follow(gap: Gap, links: Links) -> Gap:
    """What is left of ``gap`` after the links up to ``gap.next``. Raises ``CannotOpen``."""
    end, seq, head = gap.next, gap.after, gap.head
    for each in links.links:
        if not seq < each.seq <= end:
            _refuse("links of other messages than were asked for")
        seq, head = each.seq, at_rest.link_digest(head, each.seq, each.digest)
    if end == gap.last and not equal(head, gap.reaches):
        _refuse(f"another history than before, or than it states: message {end} is of another one")
    return gap._replace(after=end, head=head)


def _check_place(record: Record, conversation: bytes, seq: int) -> None:
    if record.conversation != conversation:
        _refuse("a message of another conversation")
    if record.seq != seq:
        _refuse(f"message {record.seq} where {seq} belongs: one is missing, or they are swapped")
    people = record.sender, record.recipient
    if people[0] == people[1] or policy.conversation_id(*people) != conversation:
        _refuse(f"message {seq} between people whose conversation this is not")


def _next_head(previous: bytes, record: Record) -> bytes:
    """The head after ``record``."""
    head = previous
    if record.mode == at_rest.NAME:
        head = at_rest.link(previous, record.seq, record.body)
    if not equal(head, record.chain):
        _refuse(f"message {record.seq} or one before it as it was not stored")
    return head


def _refuse(what: str) -> NoReturn:
    raise CannotOpen(f"nothing was opened: the relay shows {what}")
