"""The Merkle tree against RFC 9162 read word by word, published values, and mutations."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.transparency import tree
from tests import merkle_oracle as oracle
from tests.vector_files import expected, raw, vectors

MOST = 80
LEAVES = [b"leaf %d" % n for n in range(MOST)]


class Kept:
    """Nodes in a dictionary; counts what is read and written."""

    def __init__(self, leaves: list[bytes] = LEAVES) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.count: Counter[str] = Counter()
        for size, leaf in enumerate(leaves):
            tree.append(self, size, tree.leaf_hash(leaf))

    def get(self, level: int, index: int) -> bytes:
        self.count["read"] += 1
        return self.nodes[level, index]

    def put(self, level: int, index: int, value: bytes) -> None:
        self.count["written"] += 1
        assert self.nodes.setdefault((level, index), value) == value, "a node never changes"


NODES = Kept()
ROOTS = [oracle.mth(LEAVES[:size]) for size in range(MOST + 1)]

sizes = st.integers(1, MOST)
two_sizes = st.tuples(sizes, sizes).map(sorted)


@pytest.mark.parametrize("size", range(MOST + 1))
def test_every_root_is_that_of_the_rfc_also_of_earlier_sizes(size: int) -> None:
    assert tree.root(NODES, size) == ROOTS[size]
    frontier = tree.Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(tree.leaf_hash(leaf))
    assert frontier.root() == ROOTS[size]
    again = tree.Frontier.decode(frontier.encode())
    assert (again.size, again.hashes) == (size, frontier.hashes)


@pytest.mark.parametrize("size", range(1, MOST + 1, 3))
def test_every_inclusion_proof_is_that_of_the_rfc_and_verifies(size: int) -> None:
    for index in range(size):
        proof = tree.inclusion(NODES, index, size)
        assert list(proof) == oracle.path(index, LEAVES[:size])
        tree.check_inclusion(tree.leaf_hash(LEAVES[index]), index, size, proof, ROOTS[size])


@pytest.mark.parametrize("new", range(1, MOST + 1, 3))
def test_every_consistency_proof_is_that_of_the_rfc_and_verifies(new: int) -> None:
    for old in range(1, new):
        proof = tree.consistency(NODES, old, new)
        assert list(proof) == oracle.proof(old, LEAVES[:new])
        tree.check_consistency(old, new, proof, ROOTS[old], ROOTS[new])
    assert tree.consistency(NODES, 0, new) == tree.consistency(NODES, new, new) == ()
    tree.check_consistency(0, new, (), tree.EMPTY_ROOT, ROOTS[new])
    tree.check_consistency(new, new, (), ROOTS[new], ROOTS[new])


@pytest.mark.parametrize("vector", vectors("transparency_tree"))
def test_the_vectors_of_the_tree(vector: dict[str, object]) -> None:
    given = raw(
        vector, *(key for key in ("leaves", "proof", "leaf", "root", "old_root") if key in vector)
    )
    with expected(vector):
        if "leaves" in given:
            leaves = given["leaves"]
            assert tree.root(Kept(leaves), len(leaves)) == given["root"]
        elif "leaf" in given:
            value = tree.leaf_hash(given["leaf"])
            tree.check_inclusion(
                value, given["index"], given["size"], given["proof"], given["root"]
            )
        else:
            tree.check_consistency(
                given["old"], given["size"], given["proof"], given["old_root"], given["root"]
            )


def test_appending_writes_two_nodes_on_average_and_a_proof_reads_few() -> None:
    nodes = Kept([b"%d" % n for n in range(1 << 12)])
    assert nodes.count["written"] < 2 << 12
    assert nodes.count["read"] < 1 << 12
    size = (1 << 12) - 1  # the most ragged
    for work in (
        lambda: tree.root(nodes, size),
        lambda: tree.inclusion(nodes, 77, size),
        lambda: tree.consistency(nodes, 1234, size),
    ):
        nodes.count.clear()
        work()
        assert nodes.count["read"] <= 2 * 12


@given(size=sizes, data=st.data())
def test_a_proof_of_inclusion_holds_for_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion(NODES, index, size)
    value, top = tree.leaf_hash(LEAVES[index]), ROOTS[size]
    whole = b"".join((value, top, *proof))
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    changed = bytearray(whole)
    changed[at // 8] ^= 1 << at % 8
    parts = [bytes(changed[at : at + 32]) for at in range(0, len(changed), 32)]
    with pytest.raises(LogRefused):
        tree.check_inclusion(parts[0], index, size, parts[2:], parts[1])
    other = data.draw(st.integers(-1, size + 2).filter(lambda each: each != index))
    with pytest.raises(LogRefused):
        tree.check_inclusion(value, other, size, proof, top)
    # The size comes with its root, from one checkpoint.
    grown = data.draw(sizes.filter(lambda each: each != size))
    with pytest.raises(LogRefused):
        tree.check_inclusion(value, index, grown, proof, ROOTS[grown])
    for wrong in (proof[:-1] if proof else (value,), (*proof, value), (value, *proof)):
        with pytest.raises(LogRefused):
            tree.check_inclusion(value, index, size, wrong, top)


@given(both=two_sizes, data=st.data())
def test_a_proof_of_consistency_holds_for_nothing_else(
    both: list[int], data: st.DataObject
) -> None:
    old, new = both
    proof = tree.consistency(NODES, old, new)
    whole = b"".join((ROOTS[old], ROOTS[new], *proof))
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    changed = bytearray(whole)
    changed[at // 8] ^= 1 << at % 8
    parts = [bytes(changed[at : at + 32]) for at in range(0, len(changed), 32)]
    with pytest.raises(LogRefused):
        tree.check_consistency(old, new, parts[2:], parts[0], parts[1])
    for before, after in ((old + 1, new), (old - 1, new), (old, new + 1), (old, new - 1)):
        if 0 < before <= MOST and 0 < after <= MOST:
            with pytest.raises(LogRefused):
                tree.check_consistency(before, after, proof, ROOTS[before], ROOTS[after])
    for wrong in ((*proof, ROOTS[1]), proof[:-1] if proof else (ROOTS[old],)):
        with pytest.raises(LogRefused):
            tree.check_consistency(old, new, wrong, ROOTS[old], ROOTS[new])


@given(both=two_sizes, data=st.data())
def test_a_log_that_forgot_or_changed_an_entry_cannot_prove_that_it_only_grew(
    both: list[int], data: st.DataObject
) -> None:
    """The proof is the best that a liar can do: that of the log he really holds."""
    old, new = both
    at = data.draw(st.integers(0, old - 1))
    leaves = [*LEAVES[:at], b"another", *LEAVES[at + 1 :]]
    forged = Kept(leaves)
    with pytest.raises(LogRefused):
        tree.check_consistency(
            old, new, tree.consistency(forged, old, new), ROOTS[old], tree.root(forged, new)
        )


@pytest.mark.parametrize(
    ("old", "new", "proof", "old_root", "new_root"),
    [
        (2, 1, (), ROOTS[2], ROOTS[1]),
        (-1, 1, (), ROOTS[0], ROOTS[1]),
        (0, 1, (), ROOTS[1], ROOTS[1]),
        (0, 1, (ROOTS[1],), ROOTS[0], ROOTS[1]),
        (3, 3, (), ROOTS[3], ROOTS[4]),
        (3, 5, (), ROOTS[3], ROOTS[5]),
        (4, 5, (), ROOTS[4], ROOTS[5]),
        (4, 5, (ROOTS[1][:31],), ROOTS[4], ROOTS[5]),
        (4, 5, (ROOTS[1],) * 65, ROOTS[4], ROOTS[5]),
        (4, 1 << 64, (ROOTS[1],), ROOTS[4], ROOTS[5]),
    ],
)
def test_what_cannot_be_a_proof_of_consistency(
    old: int, new: int, proof: tuple[bytes, ...], old_root: bytes, new_root: bytes
) -> None:
    with pytest.raises(LogRefused):
        tree.check_consistency(old, new, proof, old_root, new_root)


def test_what_cannot_be_proved_is_not_tried() -> None:
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(BadArgument):
            tree.inclusion(NODES, index, size)
    for old, new in ((4, 3), (-1, 3)):
        with pytest.raises(BadArgument):
            tree.consistency(NODES, old, new)


class Endless:
    """The nodes of a log whose leaves are all alike, so that it may have any size."""

    def get(self, level: int, index: int) -> bytes:
        value = tree.leaf_hash(b"")
        for _ in range(level):
            value = tree.node_hash(value, value)
        return value

    def put(self, level: int, index: int, value: bytes) -> None:
        raise AssertionError("it is only read")


def test_the_largest_log_can_prove_what_it_holds() -> None:
    """A path of 63 hashes, a proof of consistency of 64, and not one leaf more."""
    nodes, most = Endless(), tree.SIZE_LIMIT
    old, leaf = most // 2 + 1, nodes.get(0, 0)
    roots = tree.root(nodes, old), tree.root(nodes, most)
    path, proof = tree.inclusion(nodes, 5, most), tree.consistency(nodes, old, most)
    assert (len(path), len(proof)) == (63, tree.PROOF_LIMIT)
    tree.check_inclusion(leaf, 5, most, path, roots[1])
    tree.check_consistency(old, most, proof, *roots)
    with pytest.raises(LogRefused, match="cannot have"):
        tree.check_inclusion(leaf, 5, most + 1, path, roots[1])
    with pytest.raises(LogRefused, match="shrink"):
        tree.check_consistency(old, most + 1, proof, *roots)


def test_a_hash_of_another_size_is_no_hash_wherever_it_stands() -> None:
    leaf, top = tree.leaf_hash(LEAVES[0]), ROOTS[5]
    proof = tree.inclusion(NODES, 0, 5)
    for value, path, root in (
        (leaf + b"x", proof, top),
        (leaf, (proof[0][:31], *proof[1:]), top),
        (leaf, proof, top + b"x"),
        (leaf, (leaf,) * 65, top),
    ):
        with pytest.raises(LogRefused, match="at most 64 hashes of 32 bytes"):
            tree.check_inclusion(value, 0, 5, path, root)
    for old_top, new_top in ((ROOTS[3] + b"x", top), (ROOTS[3], top + b"x")):
        with pytest.raises(LogRefused, match="at most 64 hashes of 32 bytes"):
            tree.check_consistency(3, 5, (), old_top, new_top)


def test_the_leaf_behind_the_last_is_in_no_log() -> None:
    """The one leaf's hash is the root as well, so that no step of a path would show it."""
    with pytest.raises(LogRefused):
        tree.check_inclusion(ROOTS[1], 1, 1, (), ROOTS[1])


def test_appending_says_how_many_there_are() -> None:
    nodes, size = Kept([]), 0
    for leaf in LEAVES[:5]:
        size = tree.append(nodes, size, tree.leaf_hash(leaf))
    assert (size, tree.root(nodes, size)) == (5, ROOTS[5])


@pytest.mark.parametrize("broken", [b"", bytes(7), bytes(9), b"\0" * 7 + b"\3" + bytes(32)])
def test_what_is_no_frontier_is_refused(broken: bytes) -> None:
    with pytest.raises(BadArgument):
        tree.Frontier.decode(broken)
