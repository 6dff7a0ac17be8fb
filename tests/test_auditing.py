"""Auditing: every way in which a log, or what is shown with it, can be other than what was signed.

The liar here has the log's own key wherever a real operator has it.
"""

from __future__ import annotations

import msgspec
import pytest

from client import auditing
from client.auditing import Copy, Trust
from crypto_modes.errors import LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import note
from crypto_modes.transparency.access_log import Opened
from tests import audited_log as liar
from tests import merkle_oracle as oracle
from tests.access_entries import read
from tests.audited_log import BESIDE, LOG, WITNESS, Files

SIZE = 11
TRUST = Trust(LOG)
LEAVES = liar.leaves(SIZE)
FORGED = liar.leaf_of(99)


def opened(files: Files, trust: Trust = TRUST) -> Copy:
    return auditing.verify(files.__getitem__, trust)


def refused(files: Files, trust: Trust = TRUST) -> str:
    with pytest.raises(LogRefused) as caught:
        opened(files, trust)
    return str(caught.value)


def changed(at: int) -> list[bytes]:
    return [*LEAVES[:at], FORGED, *LEAVES[at + 1 :]]


def without(at: int) -> list[bytes]:
    return LEAVES[:at] + LEAVES[at + 1 :]


HONEST = opened(liar.files_of(LEAVES))


def test_an_honest_log_holds() -> None:
    assert HONEST.head.size == SIZE
    assert HONEST.head.root == oracle.mth(LEAVES)
    assert [leaf.encode() for leaf in HONEST.leaves] == LEAVES
    assert opened(liar.files_of([])).head.size == 0


@pytest.mark.parametrize("at", range(SIZE))
def test_a_leaf_changed_or_deleted_under_a_signed_head_is_found(at: int) -> None:
    """In the file alone; and by who makes all hashes anew, but has signed before."""
    head = liar.head_of(LEAVES)
    honest, forged = liar.files_of(LEAVES), liar.files_of(changed(at), head)
    path = f"tile/entries/000.p/{SIZE}"
    assert f"leaf {at} is not the one" in refused({**honest, path: forged[path]})
    assert "do not make the root" in refused(forged)
    fewer = liar.files_of(without(at), head)
    renamed = {name.replace(f"/{SIZE - 1}", f"/{SIZE}"): raw for name, raw in fewer.items()}
    assert f"the {SIZE} leaves" in refused(renamed)


@pytest.mark.parametrize("at", range(SIZE))
def test_a_history_that_was_changed_and_signed_again_contradicts_an_older_copy(at: int) -> None:
    more = liar.leaves(SIZE + 5)
    later = opened(liar.files_of([*changed(at), *more[SIZE:]]))
    with pytest.raises(LogRefused, match=f"differ from leaf {at} on"):
        auditing.continues(later, HONEST)
    deleted = opened(liar.files_of([*without(at), *more[SIZE:]]))
    with pytest.raises(LogRefused, match=f"differ from leaf {at} on"):
        auditing.continues(deleted, HONEST)


@pytest.mark.parametrize("at", range(SIZE))
def test_a_split_view_is_found_by_two_who_compare(at: int) -> None:
    other = opened(liar.files_of(changed(at)))
    assert other.head.size == HONEST.head.size
    for one, two in ((other, HONEST), (HONEST, other)):
        with pytest.raises(LogRefused, match="shows different people different logs"):
            auditing.continues(one, two)


@pytest.mark.parametrize("size", range(SIZE))
def test_a_roll_back_is_found(size: int) -> None:
    older = opened(liar.files_of(LEAVES[:size]))
    assert auditing.continues(HONEST, older) == SIZE - size
    with pytest.raises(LogRefused, match="put back to an older state"):
        auditing.continues(older, HONEST)


def test_a_copy_continues_itself() -> None:
    assert auditing.continues(HONEST, HONEST) == 0


@pytest.mark.parametrize("at", range(SIZE))
def test_each_entry_is_proved_alone(at: int) -> None:
    leaf, proof = auditing.includes(HONEST, at)
    assert leaf.encode() == LEAVES[at]
    assert list(proof) == oracle.path(at, LEAVES)


@pytest.mark.parametrize("at", [-1, SIZE])
def test_an_entry_that_is_not_there_is_not_proved(at: int) -> None:
    with pytest.raises(LogRefused, match="none with number"):
        auditing.includes(HONEST, at)


@pytest.mark.parametrize("at", range(SIZE))
def test_every_receipt_is_held_to_the_log(at: int) -> None:
    receipt = liar.head_of(LEAVES[: at + 1]).encode()
    assert auditing.keeps(HONEST, receipt, at, TRUST).encode() == LEAVES[at]
    forged = opened(liar.files_of(changed(at)))
    with pytest.raises(LogRefused, match="another history"):
        auditing.keeps(forged, receipt, at, TRUST)
    rolled_back = opened(liar.files_of(LEAVES[:at]))
    with pytest.raises(LogRefused, match="hides entries"):
        auditing.keeps(rolled_back, receipt, at, TRUST)
    with pytest.raises(LogRefused, match="does not cover"):
        auditing.keeps(HONEST, receipt, at + 1, TRUST)
    strange = liar.head_of(LEAVES[: at + 1], SigningKey(b"x" * 32)).encode()
    with pytest.raises(LogRefused):
        auditing.keeps(HONEST, strange, at, TRUST)


def test_another_key_signs_no_log_that_is_trusted() -> None:
    strange = liar.files_of(LEAVES, liar.head_of(LEAVES, SigningKey(b"x" * 32)))
    assert "nobody who is trusted" in refused(strange)


def test_a_missing_file_or_foreign_leaf_is_refused() -> None:
    foreign = [*LEAVES, b"not a leaf of an access log"]
    assert f"leaf {SIZE}: this is no leaf" in refused(liar.files_of(foreign))


# entries with their salts


def shown_wrongly(at: int) -> dict[str, list[Opened]]:
    honest = liar.shown(SIZE)
    one = honest[at]
    other = msgspec.structs.replace(read(at), actor="somebody else")
    later = msgspec.structs.replace(read(at), time=read(at).time + 1)
    return {
        "changed": [*honest[:at], Opened(at, one.salt, other), *honest[at + 1 :]],
        "other time": [*honest[:at], Opened(at, one.salt, later), *honest[at + 1 :]],
        "other salt": [*honest[:at], Opened(at, b"s" * 16, one.entry), *honest[at + 1 :]],
        "left out": honest[:at] + honest[at + 1 :],
        "twice": [*honest[:at], one, *honest[at:]],
        "put in": [*honest, Opened(SIZE, one.salt, one.entry)],
        "swapped": [*honest[:at], Opened(at, salt=liar.salt(SIZE), entry=read(SIZE)),
                    *honest[at + 1 :]],
    }  # fmt: skip


@pytest.mark.parametrize("at", range(SIZE))
@pytest.mark.parametrize("how", list(shown_wrongly(0)))
def test_entries_that_are_not_those_entered_are_found(at: int, how: str) -> None:
    with pytest.raises(LogRefused):
        auditing.entries(HONEST, shown_wrongly(at)[how])


def test_the_time_of_a_leaf_is_that_of_its_entry() -> None:
    """A leaf of another day would be found by nobody: its commitment alone does not hold it."""
    moved = msgspec.structs.replace(HONEST.leaves[0], time=1)
    copy = opened(liar.files_of([moved.encode(), *LEAVES[1:]]))
    with pytest.raises(LogRefused, match="leaf 0 is not the one entered"):
        auditing.entries(copy, liar.shown(SIZE))


def test_entries_are_counted_and_erased_ones_too() -> None:
    honest = liar.shown(SIZE)
    assert auditing.entries(HONEST, honest) == ({"read": SIZE}, 0)
    assert auditing.entries(HONEST, [*honest[:-1], Opened(SIZE - 1)]) == ({"read": SIZE - 1}, 1)


# witnesses


def cosigned(key: SigningKey = WITNESS, seconds: int = 1_790_000_000) -> Files:
    head = note.cosign(liar.head_of(LEAVES), BESIDE.name, key, seconds)
    return liar.files_of(LEAVES, head)


def test_a_witness_counts_where_it_is_trusted_and_signed() -> None:
    assert opened(cosigned()).witnessed == {}
    trust = Trust(LOG, (BESIDE,), 1)
    assert opened(cosigned(), trust).witnessed == {BESIDE: 1_790_000_000}
    assert "0 of your witnesses signed" in refused(liar.files_of(LEAVES), trust)
    assert opened(liar.files_of(LEAVES), Trust(LOG, (BESIDE,))).witnessed == {}


def test_a_false_signature_of_a_trusted_witness_is_refused() -> None:
    forged = note.Signature(BESIDE.name, BESIDE.id, b"\0" * 72)
    head = liar.head_of(LEAVES)
    spoilt = note.Note(head.text, (*head.signatures, forged))
    assert "does not hold" in refused(liar.files_of(LEAVES, spoilt), Trust(LOG, (BESIDE,)))
