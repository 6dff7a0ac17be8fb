"""Verdicts: what of a report is proven, and what its counters say about order and omissions.

Pure functions only: from an opened report and what the platform answered about it to findings in
plain words. What may not live here: who is punished. ::

    verified   the relay stamped this commitment at that time from this sender to the reporter, and
               the text shown is the one that the sender committed to (modes that frank)
    confirmed  the relay keeps exactly this message from this sender to the reporter (others, and
               what is preserved beyond the life of the key that stamped it)
    claim      nothing contradicts it, and nothing but the reporter's word supports it
    refused    it is not what it says to be

The relay alone can tell a true stamp, since it is a MAC under its own monthly key; so it is asked
first, and its answer is an input here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec

from crypto_modes import franking, policy, wire
from crypto_modes.content import without_reply
from crypto_modes.contract import Discreet, Meta
from crypto_modes.e2ee import body
from crypto_modes.e2ee.session import NAME as E2EE
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen, ReportRefused
from crypto_modes.primitives import H, equal
from crypto_modes.reports import SCANNER, Context, Item, Report

State = Literal["verified", "confirmed", "claim", "refused"]
# Stamp or record hold all that these say of a message, its number too; a claim may say anything.
PROVEN: tuple[State, ...] = ("verified", "confirmed")


class Answer(msgspec.Struct, frozen=True):
    """What the platform says of one item: whether it stamped or keeps it, or that it cannot say.

    ``kept``: it stamped it under a key that is destroyed, and keeps the record under preservation.
    ``reason`` is for people, where it is not yes.
    """

    state: Literal["yes", "kept", "no", "unknown"]
    reason: str = ""


UNKNOWN = Answer("unknown", "the relay was not asked")
_HELD = Answer(
    "unknown",
    "said to be held by lists; the relay keeps no message of it",
)


class Finding(Discreet, frozen=True, kw_only=True):
    """The verdict on one item. ``content`` is the message text or bytes, empty where refused.

    ``counter`` numbers the messages of the sending device in this conversation, 0 where unknown;
    ``previous`` and ``digest`` link them.
    """

    id: bytes
    state: State
    reason: str = ""
    content: bytes = b""
    reply_to: bytes = b""
    device: bytes = b""
    seq: int = 0
    counter: int = 0
    previous: bytes = b""
    digest: bytes = b""


class Question(Context, frozen=True, kw_only=True):
    """What the platform is asked about one item: its context, and commitment and stamp, or where
    there are none the digest of its text. A relay can answer without learning what was reported.
    """

    commitment: wire.Digest = b""
    stamp: wire.Digest = b""
    digest: wire.Digest = b""


def franked(item: Item) -> bool:
    """Whether a stamp and a commitment speak for the item, rather than a record of the relay."""
    return bool(item.commitment)


def question(item: Item) -> Question:
    """The question to the platform about an item."""
    place = {name: getattr(item, name) for name in Context.__struct_fields__}
    told = b"" if franked(item) else digest(item.message)
    return Question(**place, commitment=item.commitment, stamp=item.stamp, digest=told)


def digest(text: bytes) -> bytes:
    """What stands for a text in a question, 32 bytes."""
    return H(enc("louver/v1/report/text", text))


def asks_about(asked: Question, meta: Meta) -> bool:
    """Whether a stored message is the one that is asked about; the epoch is not asked."""
    return asked.meta == msgspec.structs.replace(meta, epoch=0)


def answer(key: bytes, asked: Question) -> Answer:
    """The platform's answer about a franked item, under its key of that month."""
    if equal(franking.stamp(key, asked.meta, asked.commitment), asked.stamp):
        return Answer("yes")
    return Answer("no", "this relay never stamped such a message")


def judge(report: Report, answers: Sequence[Answer]) -> list[Finding]:
    """The verdict on each item, given the platform's answer about each, in order."""
    return [
        _judge(report.reporter, item, answered)
        for item, answered in zip(report.items, answers, strict=True)
    ]


def _judge(reporter: bytes, item: Item, answered: Answer) -> Finding:
    place: dict[str, Any] = {"id": item.id, "device": item.device, "seq": item.seq}
    try:
        _check_place(reporter, item)
        if reporter == SCANNER and item.seq == 0:
            answered = _HELD
        if answered.state == "no":
            raise ReportRefused(answered.reason)
        read = _open(item)
    except ReportRefused as error:
        return Finding(state="refused", reason=str(error), **place)
    proven: State = "verified" if franked(item) and answered.state == "yes" else "confirmed"
    state = proven if answered.state in ("yes", "kept") else "claim"
    return Finding(state=state, reason=answered.reason, **place, **read)


def _check_place(reporter: bytes, item: Item) -> None:
    """The order matters: who reports is judged by context that a stamp or a record then holds."""
    # Lists never see what is franked: there a report "by the relay" would be anybody's.
    by_lists = reporter == SCANNER and not franked(item)
    if (reporter != item.recipient and not by_lists) or reporter == item.sender:
        raise ReportRefused("only the recipient of a message can report it")
    if policy.conversation_id(item.sender, item.recipient) != item.conversation:
        raise ReportRefused("the message is not of the conversation of these two accounts")
    if item.mode == E2EE and not franked(item):
        raise ReportRefused("a message in mode e2ee is reported with its proof, or not at all")


def _open(item: Item) -> dict[str, Any]:
    """What the message says and its links. Raises ``ReportRefused``."""
    if not franked(item):
        content, reply_to = without_reply(item.message)
        return {"content": content, "reply_to": reply_to}
    if not equal(
        franking.commitment(item.key, item.conversation, item.id, item.message), item.commitment
    ):
        raise ReportRefused("the revealed text is not what the sender committed to")
    try:
        text = body.decode(item.message)
    except CannotOpen:
        raise ReportRefused("the revealed text is not a message") from None
    if text.kind != item.kind:
        raise ReportRefused("the revealed message is of another kind than it says")
    return {
        "content": text.content,
        "reply_to": text.reply_to,
        "counter": text.counter,
        "previous": text.previous,
        "digest": H(item.message),
    }


class Note(msgspec.Struct, frozen=True):
    """What the counters say beside the single verdicts; ``id`` is the message it stands before.

    ``omitted``: the same device sent ``count`` messages between the one before and this, which the
    report leaves out; ``earlier``: so many before the first one shown; ``between``: the relay
    numbered so many of either user in between, where no counters speak; ``reordered``: the relay
    numbered it before one that was written earlier; ``fork``: the sending device contradicts
    itself, so its messages are not one conversation.
    """

    kind: Literal["omitted", "earlier", "between", "reordered", "fork"]
    id: bytes
    count: int = 0


def notes(findings: Iterable[Finding]) -> list[Note]:
    """What can be said of order and omissions among the messages that are proven.

    A gap is no accusation: reporters choose what they show. It says that there is more.
    """
    found: list[Note] = []
    proven = [each for each in findings if each.state in PROVEN]
    for device in sorted({each.device for each in proven if each.counter}):
        written = [each for each in proven if each.counter and each.device == device]
        found += _chain(sorted(written, key=lambda each: each.counter))
    numbered = sorted((each for each in proven if not each.counter), key=lambda each: each.seq)
    for before, after in pairwise(numbered):
        if after.seq > before.seq + 1:
            found.append(Note("between", after.id, after.seq - before.seq - 1))
    return found


def _chain(written: list[Finding]) -> Iterable[Note]:
    """The messages of one device in the order of its counters."""
    if written[0].counter > 1:
        yield Note("earlier", written[0].id, written[0].counter - 1)
    for before, after in pairwise(written):
        missing = after.counter - before.counter - 1
        if missing > 0:
            yield Note("omitted", after.id, missing)
        elif missing < 0 or not equal(after.previous, before.digest):
            yield Note("fork", after.id)
        if after.seq < before.seq:
            yield Note("reordered", after.id)
