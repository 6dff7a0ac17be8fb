"""The Merkle tree of RFC 6962 and 9162: its hash, its proofs and their verification.

What may live here: arithmetic over hashes of 32 bytes. What may not: what a leaf means, who signed
a root, or where nodes are kept: that is a ``Nodes`` which the caller passes in. Only the roots of
whole subtrees are kept, about two for each leaf; they never change, so a proof for any earlier
size can be made from them as well. Appending writes two nodes on average, a proof reads O(log n).

A proof binds a root, not a size: three leaves and four share the path of leaf 0. So take size and
root from one signed checkpoint, always together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from crypto_modes.contract import DIGEST_SIZE
from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.primitives import H, equal

EMPTY_ROOT = H(b"")
# A path has one hash for each level, a consistency proof one more (RFC 9162, 2.1.4.1).
PROOF_LIMIT = 64
SIZE_LIMIT = 1 << 63

Proof = tuple[bytes, ...]


class Nodes(Protocol):
    """Where a tree keeps the roots of its whole subtrees.

    The one at ``(level, index)`` covers the leaves ``index << level`` up to, but not including,
    ``(index + 1) << level``; level 0 are the leaves' hashes.
    """

    def get(self, level: int, index: int) -> bytes: ...
    def put(self, level: int, index: int, value: bytes) -> None: ...


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf, 32 bytes. RFC 9162, 2.1.1."""
    return H(b"\x00" + leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node, 32 bytes; the prefix keeps it from being taken for a leaf."""
    return H(b"\x01" + left + right)


def append(nodes: Nodes, size: int, value: bytes) -> int:
    """Put the leaf hash ``value`` behind ``size`` leaves; the new size."""
    level, index = 0, size
    nodes.put(level, index, value)
    while index & 1:
        value = node_hash(nodes.get(level, index - 1), value)
        level, index = level + 1, index >> 1
        nodes.put(level, index, value)
    return size + 1


def root(nodes: Nodes, size: int) -> bytes:
    """The tree's hash when it had ``size`` leaves, 32 bytes."""
    return _range(nodes, 0, size)


def inclusion(nodes: Nodes, index: int, size: int) -> Proof:
    """Proof that leaf ``index``, from 0, is in the tree of ``size``. RFC 9162, 2.1.3.1.

    Raises ``BadArgument`` where it cannot be.
    """
    if not 0 <= index < size:
        raise BadArgument(f"a tree of {size} leaves has no leaf {index}")
    return tuple(reversed(_path(nodes, index, size)))


def consistency(nodes: Nodes, old: int, new: int) -> Proof:
    """Proof that the tree of ``old`` leaves is the beginning of that of ``new``.

    Empty from 0, or between equal sizes. RFC 9162, 2.1.4.1. Raises ``BadArgument``.
    """
    if not 0 <= old <= new:
        raise BadArgument(f"a tree of {old} leaves is not the beginning of one of {new}")
    if old in (0, new):
        return ()
    # The largest whole subtree that ends where the old tree does, and the path from there on.
    level = (old & -old).bit_length() - 1
    index = (old >> level) - 1
    whole = () if index == 0 else (nodes.get(level, index),)
    return (*whole, *reversed(_path(nodes, old - 1, new, above=level)))


def check_inclusion(
    value: bytes, index: int, size: int, proof: Sequence[bytes], top: bytes
) -> None:
    """Hold a proof to the root ``top`` of the tree of ``size``. RFC 9162, 2.1.3.2.

    Raises ``LogRefused`` unless the leaf with the hash ``value`` is at ``index``.
    """
    _check_shape(proof, value, top)
    if not 0 <= index < size <= SIZE_LIMIT:
        raise LogRefused("a proof of inclusion speaks of a leaf that its log cannot have")
    first, last = index, size - 1
    for step in proof:
        if last == 0:
            raise LogRefused("a proof of inclusion is too long for its log")
        if first & 1 or first == last:
            value = node_hash(step, value)
            first, last = _up(first, last)
        else:
            value = node_hash(value, step)
        first, last = first >> 1, last >> 1
    if last or not equal(value, top):
        raise LogRefused("a proof of inclusion does not lead to its log's root")


def check_consistency(
    old: int, new: int, proof: Sequence[bytes], old_top: bytes, new_top: bytes
) -> None:
    """Hold a proof to the roots of both trees. RFC 9162, 2.1.4.2.

    Raises ``LogRefused`` unless the tree of ``old`` leaves is the beginning of that of ``new``.
    """
    _check_shape(proof, old_top, new_top)
    if not 0 <= old <= new <= SIZE_LIMIT:
        raise LogRefused("a log cannot shrink")
    if old in (0, new):
        same = equal(old_top, EMPTY_ROOT if old == 0 else new_top)
        if proof or not same:
            raise LogRefused("two logs of one size have different roots")
        return
    steps = [old_top, *proof] if old & (old - 1) == 0 else list(proof)
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    if not steps:
        raise LogRefused("a proof of consistency is empty")
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise LogRefused("a proof of consistency is too long for its log")
        if first & 1 or first == last:
            before, after = node_hash(step, before), node_hash(step, after)
            first, last = _up(first, last)
        else:
            after = node_hash(after, step)
        first, last = first >> 1, last >> 1
    if last or not equal(before, old_top) or not equal(after, new_top):
        raise LogRefused("a proof of consistency does not lead to both roots")


class Frontier:
    """The right edge of a growing tree: enough to append to it and to know its root.

    ``hashes`` are the roots of its whole subtrees, largest first: one for each bit in ``size``.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)

    def append(self, value: bytes) -> None:
        """Take in one more leaf hash."""
        size = self.size
        while size & 1:
            value = node_hash(self.hashes.pop(), value)
            size >>= 1
        self.hashes.append(value)
        self.size += 1

    def root(self) -> bytes:
        """The hash of the tree, 32 bytes."""
        return _joined(self.hashes)

    def encode(self) -> bytes:
        """8 bytes, and 32 for each bit in ``size``."""
        return self.size.to_bytes(8, "big") + b"".join(self.hashes)

    @classmethod
    def decode(cls, raw: bytes) -> Frontier:
        """The frontier that was encoded. Raises ``BadArgument`` for what is none."""
        size, rest = int.from_bytes(raw[:8], "big"), raw[8:]
        if len(raw) < 8 or len(rest) != size.bit_count() * DIGEST_SIZE:
            raise BadArgument("this is no frontier of a tree")
        return cls(size, (rest[at : at + DIGEST_SIZE] for at in range(0, len(rest), DIGEST_SIZE)))


def _check_shape(proof: Sequence[bytes], *tops: bytes) -> None:
    if len(proof) > PROOF_LIMIT or any(len(each) != DIGEST_SIZE for each in (*proof, *tops)):
        raise LogRefused(f"a proof has at most {PROOF_LIMIT} hashes of {DIGEST_SIZE} bytes")


def _up(first: int, last: int) -> tuple[int, int]:
    """Past the levels on which this node, the last of its level, has no sibling."""
    while first and not first & 1:
        first, last = first >> 1, last >> 1
    return first, last


def _path(nodes: Nodes, index: int, size: int, above: int = 0) -> list[bytes]:
    """The siblings on the way from the root down to ``index``, or to its subtree of ``above``."""
    found = []
    start, end = 0, size
    while end - start > 1 << above:
        half = 1 << (end - start - 1).bit_length() - 1
        if index < start + half:
            found.append(_range(nodes, start + half, end))
            end = start + half
        else:
            found.append(_range(nodes, start, start + half))
            start += half
    return found


def _range(nodes: Nodes, start: int, end: int) -> bytes:
    """The hash over the leaves ``start`` to ``end`` of a subtree that begins at ``start``."""
    parts = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(nodes.get(level, start >> level))
        start += 1 << level
    return _joined(parts)


def _joined(parts: Sequence[bytes]) -> bytes:
    if not parts:
        return EMPTY_ROOT
    value = parts[-1]
    for part in reversed(parts[:-1]):
        value = node_hash(part, value)
    return value
