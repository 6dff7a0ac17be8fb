"""Reports: what a reporter reveals, encoded to the byte and sealed to the moderation team.

What may live here: the record, its limits, its sealing and the tags by which the relay counts it.
What may not: whether a report is to be believed (``verdicts.py``), transport, storage. The parts
are those of the IETF draft on messaging interoperability (draft-ietf-mimi-protocol, 5.9): an abuse
report names the reporting user, the alleged abuser, a reason and a note, and holds abusive
messages, each with its content, its frank and the time at which it was accepted. ::

    item   = enc("louver/v1/report/item", conversation, seq, id, sender, device, recipient, kind,
                 mode, time, message, key, commitment, stamp)
    report = enc("louver/v1/report", relay, reporter, reported, category, words, created, item…)
    tag    = HMAC(key or 0*32, enc("louver/v1/report/tag", reporter, conversation, id))
    sealed = HPKE(team key, pad(report), info = enc("louver/v1/report/seal", relay, reporter, tag…))

A relay that carries a report learns who reports, when, how many messages and the size class. By
the tags it refuses a second report of one message by one reporter without learning which message
that is: ``key`` is known to the two ends of a message only. Where a mode does not frank, the relay
could compute the tag; there it can read the message as well.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn, cast, get_args

import msgspec

from crypto_modes import primitives, wire
from crypto_modes.contract import DIGEST_SIZE, ID_SIZE, Discreet, Meta
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, CannotOpen, LimitExceeded, ReportRefused
from crypto_modes.keys import TeamKey
from crypto_modes.padding import pad, unpad

Category = Literal[
    "spam", "harassment", "threat", "hate", "sexual", "minors", "self_harm", "fraud", "other"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

# Who reports what the operator's own lists found: the relay itself, since no account has this id.
SCANNER = bytes(ID_SIZE)

MESSAGES_LIMIT = wire.REPORT_TAGS
WORDS_LIMIT = 2_000  # bytes of UTF-8
SEALED_LIMIT = wire.REPORT_LIMIT
_JSON_LIMIT = 2 * SEALED_LIMIT

LABEL = "louver/v1/report"
ITEM_LABEL = "louver/v1/report/item"
_REPORT, _ITEM = enc(LABEL), enc(ITEM_LABEL)
_NO_KEY = bytes(primitives.KEY_SIZE)
_LENGTH = 4
_FOREVER = 253_402_300_800_000  # the year 10000, in milliseconds


class Context(Discreet, frozen=True, kw_only=True):
    """What stamps and records say of a message beside its text."""

    conversation: wire.Id
    seq: wire.Count
    id: wire.Id
    sender: wire.Id
    device: wire.Id
    recipient: wire.Id
    kind: wire.Kind
    mode: wire.Word
    time: wire.Count

    @property
    def meta(self) -> Meta:
        """The context of the message; the epoch, which no stamp covers, is left at 0."""
        return Meta(
            self.conversation,
            self.seq,
            self.id,
            self.sender,
            self.device,
            self.recipient,
            self.kind,
            self.mode,
            0,
            self.time,
        )


class Item(Context, frozen=True, kw_only=True):
    """One reported message, as the reporter has it.

    ``message`` is ``M`` (padded, with its counters) where the mode franks, with ``key`` (``K_f``),
    ``commitment`` and ``stamp``, 32 bytes each; else it is the content, and the three are empty.
    """

    message: bytes
    key: bytes = b""
    commitment: bytes = b""
    stamp: bytes = b""


class Report(Discreet, frozen=True, kw_only=True):
    """A report by ``reporter`` about messages that ``reported`` sent through ``relay``.

    ``category``, ``words`` and ``created`` (milliseconds) are the reporter's own; only the items
    can be proven. They are in the order in which the reporter chose to show them.
    """

    relay: bytes
    reporter: bytes
    reported: bytes
    category: Category
    words: str
    created: int
    items: tuple[Item, ...]


class Sealed(msgspec.Struct, frozen=True, kw_only=True, tag_field="louver", tag="report/1"):
    """A sealed report beside what the relay knows of it, as the operator gives it to the team: one
    JSON object, bytes in base64. ``time`` is when the relay took it, in milliseconds.
    """

    relay: wire.Id
    reporter: wire.Id
    id: wire.Id
    time: wire.Count
    tags: Annotated[tuple[wire.Key, ...], msgspec.Meta(min_length=1, max_length=MESSAGES_LIMIT)]
    sealed: Annotated[bytes, msgspec.Meta(max_length=SEALED_LIMIT)]

    def to_json(self) -> bytes:
        """One line of JSON, without its end."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, raw: bytes) -> Sealed:
        """The sealed report in ``raw``. Raises ``ReportRefused``."""
        if len(raw) > _JSON_LIMIT:
            raise ReportRefused("no sealed report is that large")
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ReportRefused(f"this is no sealed report: {error}") from None

    def open(self, team: TeamKey) -> Report:
        """What it reveals. Raises ``CannotOpen`` or ``ReportRefused``, as ``unseal``."""
        return unseal(team, self.relay, self.reporter, self.tags, self.sealed)


def encode(report: Report) -> bytes:
    """The canonical bytes of a report.

    Raises ``BadArgument`` for one that ``decode`` would not take, ``LimitExceeded`` for too much.
    """
    words = report.words.encode()
    if len(words) > WORDS_LIMIT:
        raise LimitExceeded(f"the reporter's words may have at most {WORDS_LIMIT} bytes")
    if not 0 < len(report.items) <= MESSAGES_LIMIT:
        raise LimitExceeded(f"a report is about 1 to {MESSAGES_LIMIT} messages")
    raw = enc(
        LABEL,
        report.relay,
        report.reporter,
        report.reported,
        report.category,
        words,
        report.created,
        *map(_encode_item, report.items),
    )
    try:
        decode(raw)
    except ReportRefused as error:
        raise BadArgument(str(error)) from None
    return raw


def decode(raw: bytes) -> Report:
    """The report in ``raw``. Exact: only what ``encode`` makes is taken. Raises ``ReportRefused``.

    It holds the parts to each other, too: one conversation, no message twice, all of them by the
    account that is reported. None of that makes anything in it true.
    """
    head, *items = _split(raw, _REPORT, 6)
    if not 0 < len(items) <= MESSAGES_LIMIT:
        _refuse("a report is about 1 to 20 messages")
    relay, reporter, reported, category, words, created = cast("list[bytes]", head)
    report = Report(
        relay=_sized(relay),
        reporter=_sized(reporter),
        reported=_sized(reported),
        category=_category(category),
        words=_text(words, WORDS_LIMIT),
        created=_time(created),
        items=tuple(_decode_item(cast("bytes", each)) for each in items),
    )
    if report.reporter == report.reported:
        _refuse("nobody reports himself")
    if len({item.conversation for item in report.items}) > 1:
        _refuse("the messages of one report are of one conversation")
    if len({item.id for item in report.items}) < len(report.items):
        _refuse("one message is in this report twice")
    if any(item.sender != report.reported for item in report.items):
        _refuse("a report is about messages of the account it names")
    return report


def tags(report: Report) -> tuple[bytes, ...]:
    """One tag of 32 bytes for each message, in order; the same whenever it is reported again."""
    return tuple(
        primitives.hmac(
            item.key or _NO_KEY,
            enc("louver/v1/report/tag", report.reporter, item.conversation, item.id),
        )
        for item in report.items
    )


def seal(team: bytes, report: Report) -> bytes:
    """The report for the holders of the ``team``'s secret key alone, at most 44 KiB.

    Raises ``KeyRefused`` for a key that is none, ``LimitExceeded`` for a report too large for one
    frame: report fewer messages at a time.
    """
    info = _info(report.relay, report.reporter, tags(report))
    sealed = primitives.hpke_seal(team, pad(encode(report)), info)
    if len(sealed) > SEALED_LIMIT:
        raise LimitExceeded("these messages do not fit one report; report them in several")
    return sealed


def unseal(
    team: TeamKey, relay: bytes, reporter: bytes, given: tuple[bytes, ...], sealed: bytes
) -> Report:
    """The report that ``reporter`` handed to ``relay`` with the tags ``given``.

    Nobody but this reporter can have sealed it for this place, as he is the one who was logged in
    there; and nobody counted as one message what is another. Raises ``CannotOpen`` where it was
    sealed to another key or place, ``ReportRefused`` where its contents contradict it.
    """
    if len(sealed) > SEALED_LIMIT:
        raise ReportRefused("no report is that large")
    padded = team.open(sealed, _info(relay, reporter, given))
    try:
        report = decode(unpad(padded))
    except CannotOpen:
        raise ReportRefused("what was sealed is no report") from None
    if (report.relay, report.reporter) != (relay, reporter):
        raise ReportRefused("this report was made for another relay, or by another account")
    if not primitives.equal(b"".join(tags(report)), b"".join(given)):
        raise ReportRefused("its tags are not those of the messages in it")
    return report


def fingerprint(team: bytes) -> str:
    """32 hexadecimal digits in groups of four by which people tell one team's key from another.

    128 bits: to pass off another key as this one takes a second preimage, not a collision.
    """
    digits = primitives.H(enc("louver/v1/report/team", team)).hex()[:32]
    return " ".join(digits[start : start + 4] for start in range(0, 32, 4))


def _info(relay: bytes, reporter: bytes, given: tuple[bytes, ...]) -> bytes:
    return enc("louver/v1/report/seal", relay, reporter, *given)


def _encode_item(item: Item) -> bytes:
    return enc(
        ITEM_LABEL,
        item.conversation,
        item.seq,
        item.id,
        item.sender,
        item.device,
        item.recipient,
        item.kind,
        item.mode,
        item.time,
        item.message,
        item.key,
        item.commitment,
        item.stamp,
    )


def _decode_item(raw: bytes) -> Item:
    (fields,) = _split(raw, _ITEM, 13)
    conversation, seq, id_, sender, device, recipient, kind, mode, time, *proof = fields
    message, key, commitment, stamp = proof
    if kind not in _KINDS or not 0 < len(mode) <= 32:
        _refuse("a message in it has no legal kind or mode")
    if {len(key), len(commitment), len(stamp)} not in ({0}, {DIGEST_SIZE}):
        _refuse("a message in it has parts of a proof, or a proof of the wrong size")
    return Item(
        conversation=_sized(conversation),
        seq=_number(seq),
        id=_sized(id_),
        sender=_sized(sender),
        device=_sized(device),
        recipient=_sized(recipient),
        kind=_KINDS[kind],
        mode=_text(mode, 32),
        time=_time(time),
        message=message,
        key=key,
        commitment=commitment,
        stamp=stamp,
    )


_KINDS: dict[bytes, wire.Kind] = {kind.encode(): kind for kind in get_args(wire.Kind)}
_CATEGORIES: dict[bytes, Category] = {each.encode(): each for each in CATEGORIES}


def _split(raw: bytes, label: bytes, fixed: int) -> list[Any]:
    """The items after ``label``: the first ``fixed`` as one list, then the others one by one."""
    if not raw.startswith(label):
        _refuse("it is no report of this version")
    at, parts = len(label), []
    while at < len(raw):
        end = at + _LENGTH + int.from_bytes(raw[at : at + _LENGTH], "big")
        if at + _LENGTH > len(raw) or end > len(raw):
            _refuse("it is cut off")
        parts.append(raw[at + _LENGTH : end])
        at = end
    if len(parts) < fixed or (label == _ITEM and len(parts) > fixed):
        _refuse("it has parts missing, or too many")
    return [parts[:fixed], *parts[fixed:]]


def _sized(raw: bytes) -> bytes:
    if len(raw) != ID_SIZE:
        _refuse("an identifier in it has not 16 bytes")
    return raw


def _number(raw: bytes) -> int:
    value = int.from_bytes(raw, "big")
    if len(raw) != 8 or value >= 1 << 53:
        _refuse("a number in it is none")
    return value


def _time(raw: bytes) -> int:
    value = _number(raw)
    if value >= _FOREVER:
        _refuse("a time in it never comes")
    return value


def _text(raw: bytes, limit: int) -> str:
    if len(raw) > limit:
        _refuse("words in it are too long")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        _refuse("words in it are no text")


def _category(raw: bytes) -> Category:
    found = _CATEGORIES.get(raw)
    if found is None:
        _refuse("its category is not one of the list")
    return found


def _refuse(why: str) -> NoReturn:
    raise ReportRefused(f"this report is malformed: {why}")
