"""The Double Ratchet, byte for byte against another implementation, and its own rules.

The oracle is Syndace's DoubleRatchet (MIT) with our key derivations plugged in. Its "AEAD" gives
out the message key itself, so that keys are compared and not only round trips.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, ClassVar

import doubleratchet
import pytest
from doubleratchet.aead import AuthenticationFailedException
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes.e2ee import pq_ratchet, ratchet
from crypto_modes.e2ee.ratchet import SKIP_LIMIT, Ratchet
from crypto_modes.errors import CannotOpen
from tests import e2ee_oracle as oracle

ROOT = b"r" * 32
PREKEY = b"p" * 32
PREKEY_PUBLIC = oracle.public(PREKEY)


class RootKdf(doubleratchet.KDF):
    @staticmethod
    async def derive(key: bytes, data: bytes, length: int) -> bytes:
        return oracle.hkdf(data, key, oracle.enc("louver/v1/root"), length)


class ChainKdf(doubleratchet.KDF):
    @staticmethod
    async def derive(key: bytes, data: bytes, length: int) -> bytes:
        return oracle.mac(key, b"\x02") + oracle.mac(key, b"\x01")


class KeyIsCiphertext(doubleratchet.AEAD):
    @staticmethod
    async def encrypt(plaintext: bytes, key: bytes, associated_data: bytes) -> bytes:
        return key

    @staticmethod
    async def decrypt(ciphertext: bytes, key: bytes, associated_data: bytes) -> bytes:
        if ciphertext != key:
            raise AuthenticationFailedException
        return key


class Curve(doubleratchet.DiffieHellmanRatchet):
    fresh: ClassVar[list[bytes]] = []

    @staticmethod
    def _generate_priv() -> bytes:
        return Curve.fresh.pop()

    @staticmethod
    def _derive_pub(priv: bytes) -> bytes:
        return oracle.public(priv)

    @staticmethod
    def _perform_diffie_hellman(own_priv: bytes, other_pub: bytes) -> bytes:
        return oracle.dh(own_priv, other_pub)


class Whole(doubleratchet.DoubleRatchet):
    @staticmethod
    def _build_associated_data(associated_data: bytes, header: doubleratchet.Header) -> bytes:
        return b""


OPTIONS: dict[str, Any] = {
    "diffie_hellman_ratchet_class": Curve,
    "root_chain_kdf": RootKdf,
    "message_chain_kdf": ChainKdf,
    "message_chain_constant": b"",
    "dos_protection_threshold": SKIP_LIMIT,
    "max_num_skipped_message_keys": SKIP_LIMIT,
    "aead": KeyIsCiphertext,
}


class End:
    """Our ratchet and the oracle's, doing the same."""

    def __init__(self, mine: Ratchet, theirs: Any, name: str) -> None:
        self.mine = mine
        self.theirs = theirs
        self.name = name
        self.turns = 0
        self.kept: dict[tuple[bytes, int], bytes] = {}

    async def send(self) -> tuple[Any, bytes]:
        key, pn, n = self.mine.send()
        message = await self.theirs.encrypt_message(b"", b"")
        assert message.ciphertext == key
        assert message.header == (self.mine.public, pn, n)
        return message, key

    async def receive(self, sent: tuple[Any, bytes]) -> None:
        (remote, pn, n), key = sent[0].header, sent[1]
        self.turns += 1
        fresh = hashlib.sha256(f"{self.name} {self.turns}".encode()).digest()
        Curve.fresh[:] = [fresh]
        if (remote, n) in self.kept:
            mine = self.kept.pop((remote, n))
        else:
            mine, skipped = self.mine.receive(remote, pn, n, fresh)
            self.kept |= {(each.chain, each.n): each.key for each in skipped}
        theirs = await self.theirs.decrypt_message(sent[0], b"")
        assert mine == theirs == key


async def ends() -> tuple[End, End]:
    """Alice, who has written once, and Bob, who has read it: here both libraries begin."""
    first = b"f" * 32
    Curve.fresh[:] = [first]
    alice_theirs, message = await Whole.encrypt_initial_message(
        **OPTIONS,
        shared_secret=ROOT,
        recipient_ratchet_pub=PREKEY_PUBLIC,
        message=b"",
        associated_data=b"",
    )
    alice = ratchet.initiator(ROOT, PREKEY_PUBLIC, first)
    key, pn, n = alice.send()
    assert (message.ciphertext, message.header) == (key, (alice.public, pn, n))
    answer = b"b" * 32
    Curve.fresh[:] = [answer]
    bob_theirs, opened = await Whole.decrypt_initial_message(
        **OPTIONS,
        shared_secret=ROOT,
        own_ratchet_priv=PREKEY,
        message=message,
        associated_data=b"",
    )
    bob = ratchet.responder(ROOT, PREKEY, PREKEY_PUBLIC)
    assert bob.receive(alice.public, pn, n, answer) == (opened, ())
    return End(alice, alice_theirs, "alice"), End(bob, bob_theirs, "bob")


STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(["send", "first", "last"])), max_size=40)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_every_key_and_header_is_the_other_implementations(
    steps: list[tuple[bool, str]],
) -> None:
    async def play() -> None:
        alice, bob = await ends()
        ways: dict[bool, list[tuple[Any, bytes]]] = {True: [], False: []}
        for forth, step in steps:
            sender, receiver = (alice, bob) if forth else (bob, alice)
            if step == "send":
                ways[forth].append(await sender.send())
            elif ways[forth]:
                await receiver.receive(ways[forth].pop(0 if step == "first" else -1))

    asyncio.run(play())


def pair() -> tuple[Ratchet, Ratchet]:
    return (
        ratchet.initiator(ROOT, PREKEY_PUBLIC, b"f" * 32),
        ratchet.responder(ROOT, PREKEY, PREKEY_PUBLIC),
    )


def test_the_last_late_message_still_opens() -> None:
    alice, bob = pair()
    sent = [alice.send() for _ in range(SKIP_LIMIT + 1)]
    key, pn, n = sent[-1]
    opened, skipped = bob.receive(alice.public, pn, n, b"b" * 32)
    assert opened == key
    assert [each.key for each in skipped] == [each[0] for each in sent[:-1]]


def test_the_widest_jump_opens_in_every_chain() -> None:
    alice, bob = pair()
    _, pn, first = alice.send()
    bob.receive(alice.public, pn, first, b"b" * 32)
    sent = [alice.send() for _ in range(SKIP_LIMIT + 1)]
    opened, skipped = bob.receive(alice.public, pn, SKIP_LIMIT + 1, b"")
    assert (opened, len(skipped)) == (sent[-1][0], SKIP_LIMIT)
    pq = [pq_ratchet.start(b"q" * 32, b"t" * 32, initiator=each) for each in (True, False)]
    keys = [pq[0].send()[0] for _ in range(SKIP_LIMIT + 1)]
    last, passed = pq[1].receive(0, SKIP_LIMIT)
    assert (last, len(passed)) == (keys[-1], SKIP_LIMIT)


@pytest.mark.attack
@pytest.mark.parametrize("n", [SKIP_LIMIT + 1, 2**31, 2**32 - 1])
def test_28_a_jump_over_the_limit_changes_nothing(n: int) -> None:
    alice, bob = pair()
    _, pn, first = alice.send()
    bob.receive(alice.public, pn, first, b"b" * 32)
    before = repr(vars_of(bob))
    with pytest.raises(CannotOpen):
        bob.receive(alice.public, 0, n + 1, b"")
    with pytest.raises(CannotOpen):
        bob.receive(oracle.public(b"x" * 32), n + 1, 0, b"n" * 32)
    with pytest.raises(CannotOpen):
        bob.receive(oracle.public(b"x" * 32), SKIP_LIMIT, 2, b"n" * 32)
    assert repr(vars_of(bob)) == before


def vars_of(end: Ratchet) -> list[Any]:
    return [getattr(end, field) for field in end.__struct_fields__]


def test_a_message_is_read_once() -> None:
    alice, bob = pair()
    _, pn, n = alice.send()
    bob.receive(alice.public, pn, n, b"b" * 32)
    with pytest.raises(CannotOpen):
        bob.receive(alice.public, pn, n, b"")


def test_nobody_writes_under_a_prekey() -> None:
    alice, _ = pair()
    with pytest.raises(CannotOpen):
        alice.receive(PREKEY_PUBLIC, 0, 0, b"")


def test_post_quantum_chains_are_the_second_readings() -> None:
    root, th = b"q" * 32, b"t" * 32
    first, second = oracle.pq_chains(root, th)
    alice = pq_ratchet.start(root, th, initiator=True)
    bob = pq_ratchet.start(root, th, initiator=False)
    for n in range(4):
        assert alice.send() == (oracle.pq_key(first, n), 0, n)
        assert bob.send() == (oracle.pq_key(second, n), 0, n)
    key, skipped = bob.receive(0, 3)
    assert key == oracle.pq_key(first, 3)
    assert [(each.n, each.key) for each in skipped] == [
        (n, oracle.pq_key(first, n)) for n in range(3)
    ]


@pytest.mark.parametrize(("epoch", "n"), [(1, 0), (0, SKIP_LIMIT + 1), (0, 2**32 - 1)])
def test_post_quantum_jumps_are_refused(epoch: int, n: int) -> None:
    bob = pq_ratchet.start(b"q" * 32, b"t" * 32, initiator=False)
    with pytest.raises(CannotOpen):
        bob.receive(epoch, n)
    assert (bob.received, bob.epoch) == (0, 0)
