"""The key log's leaf to the byte, and two views of one log compared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import wire
from crypto_modes.contract import KEY_LOG, LOG_HEAD, NO_DIGEST
from crypto_modes.errors import LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import key_log, note, tree
from crypto_modes.transparency.key_log import CLAIMED, HEARD, NO_HEAD, Head
from crypto_modes.transparency.note import Checkpoint
from tests.memory_state import MemoryState
from tests.test_transparency_tree import NODES, ROOTS
from tests.vector_files import raw, vectors

BOB, CAROL = b"b" * 16, b"c" * 16


def listing(vector: dict[str, Any]) -> wire.DeviceList:
    fields = raw(vector["certificate"], "device", "signing", "agreement")
    certificate = wire.Certificate(**fields, signature=b"s" * 64)
    return wire.DeviceList(
        version=vector["version"], certificates=(certificate,), signature=b"s" * 64
    )


@pytest.mark.parametrize("vector", vectors("key_log"))
def test_the_vectors_of_the_key_log(vector: dict[str, Any]) -> None:
    given = raw(vector, "account", "key", "tag", "entry", "leaf", "relay", "log_seed", "note")
    assert key_log.tag(given["account"]) == given["tag"]
    entry = key_log.entry(given["account"], given["key"], listing(given))
    assert entry == given["entry"]
    assert key_log.hash_of(given["tag"], entry) == tree.leaf_hash(given["leaf"])
    log = key_log.log_of(given["relay"], SigningKey(given["log_seed"]).public)
    opened = note.open_checkpoint(given["note"], log)
    assert opened == Checkpoint(log.name, 1, tree.leaf_hash(given["leaf"]))
    assert note.sign(opened, SigningKey(given["log_seed"])).encode() == given["note"]


def test_an_entry_is_of_one_account_key_version_and_set_of_devices() -> None:
    (parameters,) = vectors("key_log")
    given = raw(parameters.values[0], "account", "key")
    account, key, listed = given["account"], given["key"], listing(given)
    other = given | {"certificate": given["certificate"] | {"created": 1}}
    found = {
        key_log.entry(account, key, listed),
        key_log.entry(BOB, key, listed),
        key_log.entry(account, b"k" * 32, listed),
        key_log.entry(account, key, listing(given | {"version": 4})),
        key_log.entry(account, key, listing(other)),
    }
    assert len(found) == 5


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint("log", size, ROOTS[size])


def test_a_head_only_moves_on() -> None:
    known = key_log.advance(NO_HEAD, checkpoint(5), ())
    assert known == Head(5, ROOTS[5])
    assert key_log.advance(known, checkpoint(5), ()) == known
    proof = tree.consistency(NODES, 5, 9)
    assert key_log.advance(known, checkpoint(9), proof) == Head(9, ROOTS[9])
    with pytest.raises(LogRefused, match="has 4 entries and had 5"):
        key_log.advance(known, checkpoint(4), ())
    with pytest.raises(LogRefused, match="another key log than before"):
        key_log.advance(known, Checkpoint("log", 9, ROOTS[8]), proof)
    with pytest.raises(LogRefused, match="another key log than before"):
        key_log.advance(known, Checkpoint("log", 5, ROOTS[6]), ())


@given(st.integers(0, 1 << 63), st.binary(min_size=32, max_size=32))
def test_a_head_comes_back(size: int, root: bytes) -> None:
    encoded = Head(size, root).encode()
    assert len(encoded) == 40
    assert Head.decode(encoded) == Head(size, root)


def knowing(size: int) -> MemoryState:
    state = MemoryState()
    state.put(KEY_LOG, LOG_HEAD, Head(size, ROOTS[size]).encode())
    return state


def test_what_a_peer_says_is_compared_at_once_where_it_can_be() -> None:
    state = knowing(7)
    assert key_log.head(state) == Head(7, ROOTS[7])
    assert key_log.heard(state, BOB, Head(7, ROOTS[7])) == ()
    assert key_log.heard(state, BOB, NO_HEAD) == ()
    assert key_log.heard(state, BOB, Head(7, ROOTS[6])) == ("split_view",)
    assert list(state.scan(HEARD)) == []
    assert list(state.scan(CLAIMED)) == [(BOB, Head(7, ROOTS[6]).encode())]
    assert key_log.head(MemoryState()) == NO_HEAD == Head(0, NO_DIGEST)


def test_what_only_the_relay_can_prove_is_kept_for_that() -> None:
    state = knowing(7)
    assert key_log.heard(state, BOB, Head(9, ROOTS[9])) == ()
    assert key_log.heard(state, CAROL, Head(9, ROOTS[9])) == ()
    assert key_log.heard(state, CAROL, Head(3, ROOTS[3])) == ()
    kept = {account: Head.decode(row) for account, row in state.scan(HEARD)}
    assert kept == {BOB: Head(9, ROOTS[9]), CAROL: Head(9, ROOTS[9])}
    assert key_log.heard(state, BOB, Head(9, ROOTS[8])) == ("split_view",)


@pytest.mark.parametrize("table", [HEARD, CLAIMED])
def test_strangers_cannot_push_each_other_out_nor_fill_the_state(table: str) -> None:
    """Whether what they say is to be held to the log, or is not of the log that is known here."""
    state, said = knowing(7 if table == HEARD else 9), Head(9, b"\x01" * 32)
    later = Head(10, b"\x01" * 32) if table == HEARD else Head(9, b"\x02" * 32)
    told = () if table == HEARD else ("split_view",)
    crowd = [bytes((number,)) * 16 for number in range(key_log.HEARD_LIMIT + 1)]
    for stranger in crowd:
        assert key_log.heard(state, stranger, said, stranger=True) == told
    assert {account for account, _ in state.scan(table)} == set(crowd[:-1])
    # Who is known has his place all the same; and so has a stranger who has one already.
    key_log.heard(state, BOB, said)
    key_log.heard(state, crowd[0], later, stranger=True)
    kept = dict(state.scan(table))
    assert kept[BOB] == said.encode()
    assert kept[crowd[0]] == later.encode()
    assert len(kept) == key_log.HEARD_LIMIT + 1
