"""The key log: what is entered of an account's keys, and how two views of it are compared.

What may live here: the leaf, to the byte; a log's name; what a client holds of a log; comparing
that with what peers say inside their messages. What may not: fetching, and the life of a check
(``client/key_log.py``). modes.md 18. ::

    tag   = H(enc("louver/v1/key_log/account", account))
    entry = H(enc("louver/v1/key_log/entry", account, ACC, version, H(signed list)))
    leaf  = enc("louver/v1/key_log", tag, entry)

A tag has no salt, on purpose: the owner of an account must find every leaf of it without help of
the relay, or the relay could enter one and not tell. Account ids are 16 random bytes, so a tag
says nothing to whoever does not know the id already.
"""

from __future__ import annotations

from typing import NamedTuple

from crypto_modes import wire
from crypto_modes.contract import DIGEST_SIZE, KEY_LOG, LOG_HEAD, NO_DIGEST, State
from crypto_modes.e2ee.devices import signed_list
from crypto_modes.encoding import enc
from crypto_modes.errors import LogRefused
from crypto_modes.primitives import H, equal
from crypto_modes.transparency.note import BY_LOG, Checkpoint, Verifier
from crypto_modes.transparency.tree import check_consistency, leaf_hash

# Beside the row ``LOG_HEAD`` in a client's state: account -> the largest Head that it said in a
# message, not held to the log yet. One for each: whoever's log grew has proofs that it continues
# what he said before, and whoever says many leaves room for the others.
HEARD = "key_log_heard"
# account -> the Head that it said and that is not of the log known here. A claim and no proof: no
# log has signed what a message says, and whoever writes one can say anything.
CLAIMED = "key_log_claims"
# With so many waiting, strangers have to say it again: a relay has as many of them as it likes.
HEARD_LIMIT = 64

_SIZE = 8


class Head(NamedTuple):
    """A log's size and root (32 bytes); ``NO_HEAD`` for none."""

    size: int
    root: bytes

    def encode(self) -> bytes:
        """40 bytes."""
        return self.size.to_bytes(_SIZE, "big") + self.root

    @classmethod
    def decode(cls, raw: bytes) -> Head:
        """The head of a row."""
        return cls(int.from_bytes(raw[:_SIZE], "big"), raw[_SIZE : _SIZE + DIGEST_SIZE])


NO_HEAD = Head(0, NO_DIGEST)


def tag(account: bytes) -> bytes:
    """By which everybody who knows an account finds its leaves, 32 bytes."""
    return H(enc("louver/v1/key_log/account", account))


def entry(account: bytes, key: bytes, listed: wire.DeviceList) -> bytes:
    """The digest of an account's key and device list, 32 bytes.

    Over what the account key signed, so that it says which devices, and the relay cannot change a
    byte; the signature itself is not part of it.
    """
    signed = signed_list(account, listed.version, listed.certificates)
    return H(enc("louver/v1/key_log/entry", account, key, listed.version, H(signed)))


def hash_of(tag: bytes, entry: bytes) -> bytes:
    """The hash of a leaf in the tree, 32 bytes."""
    return leaf_hash(enc("louver/v1/key_log", tag, entry))


def log_of(relay: bytes, key: bytes) -> Verifier:
    """The log of a relay (its id, 16 bytes) under its key (Ed25519, 32 bytes)."""
    return Verifier(f"louver/key-log/{relay.hex()}", BY_LOG, key)


def advance(known: Head, checkpoint: Checkpoint, proof: tuple[bytes, ...]) -> Head:
    """The head of ``checkpoint``, which must continue the one that is ``known``.

    Raises ``LogRefused``.
    """
    head = Head(checkpoint.size, checkpoint.root)
    if known == NO_HEAD:
        return head
    if head.size < known.size:
        raise LogRefused(
            f"the relay's key log has {head.size} entries and had {known.size} before: it was put"
            " back to an older state, or the relay hides entries"
        )
    try:
        check_consistency(known.size, head.size, proof, known.root, head.root)
    except LogRefused as error:
        raise LogRefused(
            "the relay shows another key log than before, in which earlier entries were changed or"
            f" taken out ({error})"
        ) from None
    return head


def head(state: State) -> Head:
    """The newest head that this client verified, to be said inside its messages."""
    raw = state.get(KEY_LOG, LOG_HEAD)
    return NO_HEAD if raw is None else Head.decode(raw)


def heard(state: State, account: bytes, said: Head, *, stranger: bool = False) -> tuple[str, ...]:
    """Take in the head that ``account`` said inside a message; the warnings to show with it.
    ``stranger``: one to whom this user has never written.

    ``split_view`` where it is not of the log that this client knows, or not of the one that this
    account said before; it is in ``CLAIMED`` then. What only the relay can prove, being of another
    size, is kept for that in ``HEARD``. That two accounts contradict each other says nothing of
    either: each is held to the log.
    """
    if said.size == 0:
        return ()
    row, own = said.encode(), head(state)
    if said.size == own.size:
        contradicted = not equal(said.root, own.root)
        if not contradicted:
            return ()
    else:
        before = state.get(HEARD, account) or b""
        contradicted = before[:_SIZE] == row[:_SIZE] and before != row
    table = CLAIMED if contradicted else HEARD
    others = dict(state.scan(table))
    room = not stranger or account in others or len(others) < HEARD_LIMIT
    if room and row > others.get(account, b""):
        state.put(table, account, row)
    return ("split_view",) if contradicted else ()
