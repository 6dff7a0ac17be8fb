"""``louverd keys heads``: whether the conversations still are what the access log has digests of.

What may live here: opening both databases read-only, making each digest again from the records, and
holding it to the list's and to the log's. What may not: entering digests
(``server.moderation.chains``). A composition root of its own, since it must not start a relay.

The lists lie beside the messages, so who can change one can change the other: only the log's own
entries, from a copy that somebody else has, tell for certain.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from crypto_modes import at_rest
from crypto_modes.contract import NO_DIGEST
from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import equal
from crypto_modes.transparency.access_log import Entry, Opened
from server.moderation.chains import HEADS, Covered
from server.moderation.sqlite import SqliteModeration
from server.store import Store
from server.store.sqlite import ReadOnlySqliteStore

PAGE = 500
LISTS = 20

Heads = dict[tuple[bytes, int], bytes]


class Line(msgspec.Struct, frozen=True):
    """One recorded digest: its ``entry`` in the access log (-1: not entered yet), when (ms), over
    how many conversations, and whether it still holds, or the reason why not."""

    entry: int
    time: int
    digest: str
    conversations: int
    holds: bool
    reason: str = ""


async def check(data: Path, shown: Sequence[Opened] | None = None) -> list[Line]:
    """Every digest that is kept, oldest first, and those of the log whose list is gone. ``shown``
    are the verified entries of a copy of the log. Raises ``BadConfig``, ``StoreUnavailable``.
    """
    store, kept = ReadOnlySqliteStore(data), SqliteModeration(data, on_fatal=lambda _: None)
    try:
        await store.open()
        heads = await _recompute(store, kept)
        entries = None if shown is None else {each.index: each.entry for each in shown}
        async with aclosing(_lists(kept)) as lists:
            lines = [_line(each, heads, entries) async for each in lists]
    finally:
        await kept.close()
        await store.close()
    return lines + _gone(lines, entries or {})


async def _lists(kept: SqliteModeration) -> AsyncGenerator[Covered, None]:
    number = 0
    while page := await kept.find(Covered, number, LISTS):
        for each in page:
            yield each
        number = page[-1].number


async def _recompute(store: Store, kept: SqliteModeration) -> Heads:
    """The heads at all places of all lists, made from the records alone."""
    wanted: dict[bytes, set[int]] = {}
    async with aclosing(_lists(kept)) as lists:
        async for each in lists:
            for conversation, seq in each.each():
                wanted.setdefault(conversation, set()).add(seq)
    heads: Heads = {}
    for conversation, seqs in wanted.items():
        await _walk(store, conversation, seqs, heads)
    return heads


async def _walk(store: Store, conversation: bytes, seqs: set[int], heads: Heads) -> None:
    """Stops at the first message that is missing or is not what was stored."""
    seq, head, last = 0, NO_DIGEST, max(seqs)
    while seq < last and (page := await store.after(conversation, seq, PAGE)):
        for stored in page:
            try:
                head = at_rest.verify_chain([stored], head, seq)
            except CannotOpen:
                return
            seq = stored.meta.seq
            if seq in seqs:
                heads[conversation, seq] = head


def _line(covered: Covered, heads: Heads, entries: Mapping[int, Entry | None] | None) -> Line:
    reason = _wrong(covered, heads) or _other(covered, entries)
    return Line(
        entry=covered.entry,
        time=covered.time,
        digest=covered.digest.hex(),
        conversations=len(covered.each()),
        holds=not reason,
        reason=reason,
    )


def _wrong(covered: Covered, heads: Heads) -> str:
    """What the records have against it, if anything."""
    places = covered.each()
    gone = [each for each in places if each not in heads]
    if gone:
        conversation, seq = gone[0]
        more = f", and {len(gone) - 1} conversations more" if gone[1:] else ""
        return (
            f"conversation {conversation.hex()}: message {seq} or one before it is gone or is not"
            f" what was stored{more}"
        )
    if not equal(at_rest.heads_digest((*each, heads[each]) for each in places), covered.digest):
        return "one of its conversations has another history"
    return ""


def _other(covered: Covered, entries: Mapping[int, Entry | None] | None) -> str:
    """What the log has against it; nothing where the entry was erased or is newer than the copy."""
    if entries is None or covered.entry < 0:
        return ""
    entry = entries.get(covered.entry)
    if entry is None or (_digest(entry) == covered.digest.hex()):
        return ""
    return "the access log has another digest there"


def _gone(lines: Sequence[Line], entries: Mapping[int, Entry | None]) -> list[Line]:
    """Digests in the log whose list is not kept, though an older one is."""
    known = {each.digest for each in lines}
    oldest = min((each.entry for each in lines if each.entry >= 0), default=0)
    return [
        Line(index, entry.time, _digest(entry), entry.count, False, "its list was taken away")
        for index, entry in entries.items()
        if entry is not None and index >= oldest and _digest(entry) not in {"", *known}
    ]


def _digest(entry: Entry) -> str:
    """The digest that an entry is about; empty for any other entry."""
    ours = entry.kind == "keys" and entry.detail.get("outcome") == HEADS
    return entry.detail.get("digest", "") if ours else ""
