"""Auditing an access log from its files alone: nobody is asked, nothing is believed.

What may live here: what must hold of a log, of two copies of it, and of the entries shown with it.
What may not: where the files come from (``log_files``), wording. Everything raises ``LogRefused``
with what is wrong and where, and does nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from client.log_files import CHECKPOINT
from crypto_modes.errors import LogRefused
from crypto_modes.primitives import equal
from crypto_modes.transparency import tree
from crypto_modes.transparency.access_log import Leaf, Opened
from crypto_modes.transparency.note import NOTE_LIMIT, Checkpoint, Note, Verifier, open_checkpoint
from crypto_modes.transparency.tiles import Read, Whole, read_whole


class Trust(NamedTuple):
    """Whose signatures count: the log's, and those of ``quorum`` of these witnesses."""

    log: Verifier
    witnesses: tuple[Verifier, ...] = ()
    quorum: int = 0


class Copy(NamedTuple):
    """A log that held: its head, all of it, its leaves read, and which witnesses signed, when
    (seconds)."""

    head: Checkpoint
    whole: Whole
    leaves: list[Leaf]
    witnessed: dict[Verifier, int]


def verify(read: Read, trust: Trust) -> Copy:
    """The log whose files ``read`` gives: signed, witnessed, every leaf under the root."""
    raw = read(CHECKPOINT)
    head = open_checkpoint(raw[: NOTE_LIMIT + 1], trust.log)
    witnessed = _witnessed(Note.decode(raw), trust)
    whole = read_whole(head, read)
    leaves = []
    for index, leaf in enumerate(whole.leaves):
        try:
            leaves.append(Leaf.decode(leaf))
        except LogRefused as error:
            raise LogRefused(f"leaf {index}: {error}") from None
    return Copy(head, whole, leaves, witnessed)


def continues(new: Copy, old: Copy) -> int:
    """Hold a copy to one that was saved before; how many entries came since.

    Shorter is a roll-back or a deletion; another leaf where one was is a changed history or, where
    both were shown at one time, two logs for two people.
    """
    if new.head.size < old.head.size:
        raise LogRefused(
            f"the log has {new.head.size} entries, and the copy saved before has {old.head.size}:"
            " it was put back to an older state, or entries are hidden"
        )
    for index, (mine, theirs) in enumerate(zip(old.whole.leaves, new.whole.leaves, strict=False)):
        if mine != theirs:
            raise LogRefused(
                f"the two copies differ from leaf {index} on, and the log signed both: its history"
                " was changed, or it shows different people different logs. Keep both copies: they"
                " are proof"
            )
    # Not only leaf by leaf: also by the proof that a witness or a client would be shown.
    proof = tree.consistency(new.whole, old.head.size, new.head.size)
    tree.check_consistency(old.head.size, new.head.size, proof, old.head.root, new.head.root)
    return new.head.size - old.head.size


def includes(copy: Copy, index: int) -> tuple[Leaf, tree.Proof]:
    """The leaf ``index`` and the proof that it is in the log, which holds."""
    if not 0 <= index < copy.head.size:
        raise LogRefused(f"the log has {copy.head.size} entries and none with number {index}")
    proof = tree.inclusion(copy.whole, index, copy.head.size)
    leaf = copy.leaves[index]
    tree.check_inclusion(leaf.hash, index, copy.head.size, proof, copy.head.root)
    return leaf, proof


def keeps(copy: Copy, raw: bytes, index: int, trust: Trust) -> Leaf:
    """Hold the log to a receipt: the checkpoint in ``raw`` and the ``index`` that it promised."""
    promised = open_checkpoint(raw[: NOTE_LIMIT + 1], trust.log)
    if not 0 <= index < promised.size:
        raise LogRefused("a receipt promises an entry that its own checkpoint does not cover")
    if promised.size > copy.head.size:
        raise LogRefused(
            f"a receipt is from when the log had {promised.size} entries, and it shows"
            f" {copy.head.size}: it was put back to an older state, or hides entries"
        )
    if not equal(tree.root(copy.whole, promised.size), promised.root):
        raise LogRefused("a receipt is from another history than the one that the log shows")
    return includes(copy, index)[0]


class Shown(NamedTuple):
    """How many entries were shown and are those of their leaves, by kind; how many were erased."""

    kinds: Counter[str]
    erased: int


def entries(copy: Copy, shown: Iterable[Opened]) -> Shown:
    """Hold entries with their salts to the leaves: none is made up, changed or left out."""
    kinds: Counter[str] = Counter()
    erased = expected = 0
    for each in shown:
        if each.index != expected or each.index >= copy.head.size:
            raise LogRefused(f"the entries shown are not one for each leaf, from {expected} on")
        expected += 1
        each.check(copy.leaves[each.index])
        if each.entry is None:
            erased += 1
        else:
            kinds[each.entry.kind] += 1
    if expected != copy.head.size:
        raise LogRefused(
            f"{expected} entries are shown of a log that has {copy.head.size}; fetch them together"
        )
    return Shown(kinds, erased)


def _witnessed(note: Note, trust: Trust) -> dict[Verifier, int]:
    signed = note.verify((trust.log, *trust.witnesses))
    witnessed = {each: seconds for each, seconds in signed.items() if each in trust.witnesses}
    if len(witnessed) < trust.quorum:
        raise LogRefused(
            f"{len(witnessed)} of your witnesses signed this checkpoint, and you want"
            f" {trust.quorum}: nobody else vouches that others are shown the same log"
        )
    return witnessed
