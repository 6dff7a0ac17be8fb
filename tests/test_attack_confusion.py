"""Known attacks that pass one thing off as another: rows 3, 10, 20 and 21."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import msgspec
import pytest

from client import Chat
from crypto_modes import policy, wire
from crypto_modes.e2ee import body, devices, header, identity, pqxdh, session
from crypto_modes.e2ee.header import First
from crypto_modes.e2ee.pqxdh import Context, Party, Prekeys
from crypto_modes.e2ee.session import Envelope
from crypto_modes.encoding import LABEL_PREFIX
from crypto_modes.errors import CannotOpen, KeyRefused, LouverError
from crypto_modes.franking import commitment
from crypto_modes.keys import AgreementKey, KemKey, SigningKey
from crypto_modes.primitives import KEM_KEY_SIZE
from tests.conftest import StartRelay
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple
from tests.hostile_relay import HostileRelay, changed, hostile_relay
from tests.labels import EXAMPLES, labels, takes
from tests.test_client import enter, take, texts
from tests.test_e2ee_pqxdh import both, drawn

KEY = bytes(range(1, 33))


# --- 3: one object for another ---


def pieces(value: bytes) -> set[bytes]:
    """An object, and whatever of it has the size of a key, a MAC or a signature."""
    cuts = {value[start : start + size] for size in (32, 64) for start in range(0, len(value), 32)}
    return {value, *cuts}


@pytest.mark.attack(3)
def test_every_label_has_an_example_and_one_place_in_the_code() -> None:
    """A label that is written twice may have two meanings."""
    written = Counter(label.removeprefix(LABEL_PREFIX) for label, _ in labels())
    assert written.keys() == EXAMPLES.keys(), "add to tests/labels.py what makes and takes these"
    assert [label for label, count in written.items() if count > 1] == []


@pytest.mark.attack(3)
@pytest.mark.parametrize("made", EXAMPLES)
def test_no_object_is_taken_for_another(made: str) -> None:
    """All under one key: the worst that a reuse of keys, a leak or a mix-up could do."""
    value = EXAMPLES[made].make(KEY)
    assert takes(EXAMPLES[made], KEY, value)
    taken = [
        label
        for label, example in EXAMPLES.items()
        if label != made and any(takes(example, KEY, piece) for piece in pieces(value))
    ]
    assert taken == []


# --- 10: one kind of key for another ---


@pytest.mark.attack(10)
@pytest.mark.parametrize("algorithm", [5, 8])
def test_a_key_of_the_other_kind_is_refused_though_it_is_signed(algorithm: Any) -> None:
    """Its owner signs it, so that only the kind is wrong: whole, cut, and filled up."""
    key, agreement = SigningKey(KEY), AgreementKey(KEY).public
    kem = KemKey(KEY + KEY).public
    wrong = (kem, kem[:33], b"") if algorithm == 5 else (agreement, kem[:32], kem + b"\0")
    use: Any = "signed" if algorithm == 5 else "last"
    for public in wrong:
        plain = wire.Prekey(
            id=1, algorithm=algorithm, use=use, key=public, expires=1, signature=b""
        )
        mark = key.sign(devices.signed_prekey(ALICE, ALICE, plain))
        with pytest.raises(KeyRefused, match="size does not fit"):
            devices.verify_prekey(ALICE, ALICE, key.public, changed(plain, signature=mark))


@pytest.mark.attack(10)
def test_a_signed_key_cannot_be_relabelled() -> None:
    """A KEM key that begins with an elliptic-curve key, and every other name for a signed one."""
    key = SigningKey(KEY)
    agreement, kem = AgreementKey(KEY).public, KemKey(KEY + KEY).public
    names = [("signed", 5), ("once", 5), ("once", 8), ("last", 8), ("signed", 8), ("last", 5)]
    for use, algorithm in names[:4]:
        public = agreement if algorithm == 5 else kem
        plain = wire.Prekey(
            id=1,
            algorithm=algorithm,  # type: ignore[arg-type]  # 5 or 8
            use=use,  # type: ignore[arg-type]  # one of the three
            key=public,
            expires=1,
            signature=b"",
        )
        signed = changed(plain, signature=key.sign(devices.signed_prekey(ALICE, ALICE, plain)))
        devices.verify_prekey(ALICE, ALICE, key.public, signed)
        for other_use, other in names:
            if (other_use, other) == (use, algorithm):
                continue
            renamed = changed(signed, use=other_use, algorithm=other)
            with pytest.raises(KeyRefused):
                devices.verify_prekey(ALICE, ALICE, key.public, renamed)


@pytest.mark.attack(10)
def test_the_shared_key_depends_on_the_kem_key_beside_the_secret() -> None:
    """Re-encapsulation: another KEM key with the same ciphertext and the same secret."""
    given = drawn()
    mine, theirs = both(given)
    assert mine == theirs
    context = Context(*[Party(b"a" * 16, b"d" * 16, KEY, KEY, KEY)] * 2, b"c" * 16, KEY)
    once, ciphertext = AgreementKey(KEY), bytes(1088)
    found = set()
    for kem in (bytes(KEM_KEY_SIZE), b"\1" + bytes(KEM_KEY_SIZE - 1)):
        prekeys = Prekeys(once.public, once.public, kem)
        found.add(pqxdh.initiate(context, once, prekeys, once, lambda _: (KEY, ciphertext))[0])
    assert len(found) == 2


# --- 20: who talks to whom ---


async def introduced(hostile: HostileRelay, alice: Chat, bob: Chat) -> wire.Devices:
    """Bob's public keys, as the relay has them, after he and Alice have talked."""
    await alice.send("bob", "to bob")
    assert texts(await take(bob)) == ["to bob"]
    return await alice.devices("bob")


@pytest.mark.asyncio
@pytest.mark.attack(20)
@pytest.mark.parametrize("how", ["bob's list", "bob's key", "bob's device keys"])
async def test_bobs_keys_under_carols_name_are_refused(start_relay: StartRelay, how: str) -> None:
    """Carol, with the relay's help, registers Bob's keys; what Alice writes her, Bob would read."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
        enter(hostile, "carol") as carol,
    ):
        his = await introduced(hostile, alice, bob)
        hers = await carol.devices("carol")
        assert his.list is not None
        assert hers.list is not None
        key = SigningKey(os.urandom(32))
        relabelled = {
            "bob's list": {"key": his.key, "list": his.list},
            "bob's key": {"key": his.key, "list": hers.list},
            "bob's device keys": {
                "key": key.public,
                "list": own_list(key, carol.account, his.list.certificates[0]),
            },
        }[how]

        def lie(line: Any, frame: wire.Devices) -> wire.Devices:
            hers_asked = frame.account == carol.account and line.name == "alice"
            return changed(frame, **relabelled) if hers_asked else frame  # type: ignore[no-any-return]  # the same type

        def bobs_prekeys(line: Any, frame: wire.GetKeys) -> wire.GetKeys:
            return changed(frame, account=bob.account)  # type: ignore[no-any-return]  # the same type

        hostile.down(wire.Devices, lie)
        hostile.up(wire.GetKeys, bobs_prekeys)
        hostile.down(wire.Keys, lambda line, frame: changed(frame, account=carol.account))
        before = len(hostile.sends("alice"))
        with pytest.raises(LouverError):
            await alice.send("carol", "for carol only")
        assert len(hostile.sends("alice")) == before


def own_list(key: SigningKey, account: bytes, copied: wire.Certificate) -> wire.DeviceList:
    """A list that somebody signs for ``account``, naming the device keys of somebody else."""
    plain = changed(copied, signature=b"")
    mark = key.sign(devices.signed_certificate(account, plain))
    return devices.sign_list(account, key, 1, (changed(plain, signature=mark),))


@pytest.mark.attack(20)
@pytest.mark.parametrize("field", Party._fields)
@pytest.mark.parametrize("side", ["initiator", "responder"])
def test_ends_that_disagree_on_who_they_are_share_no_key(side: str, field: str) -> None:
    party = Party(b"a" * 16, b"d" * 16, b"k" * 32, b"s" * 32, AgreementKey(KEY).public)
    context = Context(party, party, b"c" * 16, KEY)
    other = party._replace(**{field: bytes(len(getattr(party, field)))})
    prekeys = Prekeys(party.agreement, b"", bytes(KEM_KEY_SIZE))
    wrong = context._replace(**{side: other})
    assert pqxdh.transcript(context, prekeys, KEY, KEY) != pqxdh.transcript(
        wrong, prekeys, KEY, KEY
    )


# --- 21: with Bob's own keys, be somebody else to Bob ---


class Guessed(AgreementKey):
    """Alice's identity key as the attacker has it: the public half, and a guess at agreements."""

    __slots__ = ("guess",)

    def __init__(self, public: bytes, guess: bytes) -> None:
        super().__init__(os.urandom(32))
        self.public, self.guess = public, guess

    def agree(self, public: bytes) -> bytes:
        return self.guess


def forged(relay: Relay, bob: Device, guess: bytes) -> wire.Deliver:
    """A first message to Bob in Alice's name, by who holds all but her identity key."""
    alices, bobs = relay.published[ALICE], relay.published[BOB]
    parties = []
    for account, frame in ((ALICE, alices), (BOB, bobs)):
        assert frame.list is not None
        (each,) = frame.list.certificates
        parties.append(Party(account, each.device, frame.key, each.signing, each.agreement))
    bundle = relay.bundle(BOB, bob.id)
    assert bundle.once is not None
    conversation = policy.conversation_id(ALICE, BOB)
    digest = policy.digest(relay.policy(ALICE, BOB, 1))
    context = Context(parties[0], parties[1], conversation, digest)
    ephemeral = AgreementKey(os.urandom(32))
    prekeys = Prekeys(bundle.signed.key, bundle.once.key, bundle.kem.key)
    identity_key = Guessed(parties[0].agreement, guess)
    shared, ciphertext = pqxdh.initiate(context, identity_key, prekeys, ephemeral)
    ids = (bundle.signed.id, bundle.once.id, bundle.kem.id)
    first = First(ephemeral.public, *ids, 1, ciphertext)
    made = session.initiate(shared, bundle.signed.key, os.urandom(32), first, relay.clock.now)
    text = wire_text()
    c = commitment(KEY, conversation, b"m" * 16, text)
    place = Envelope(1, conversation, b"m" * 16, ALICE, parties[0].device, BOB, digest, c)
    return wire.Deliver(
        conversation=conversation,
        seq=1,
        id=b"m" * 16,
        sender=ALICE,
        device=parties[0].device,
        recipient=BOB,
        kind="text",
        mode="e2ee",
        epoch=1,
        time=relay.clock.now,
        body=made.seal(place, bob.id, KEY + text),
        commitment=c,
    )


def wire_text() -> bytes:
    """The plaintext of the forged message."""
    return body.encode(body.Body("text", b"it is me, alice", b"", 1, bytes(32), 0))


def own_keys(bob: Device) -> identity.Own:
    kept = identity.Identity(bob.tools).load()
    assert kept is not None
    return kept


def prekey_secret(bob: Device, id_: int) -> bytes:
    raw = bob.state.get(identity.PREKEYS, id_.to_bytes(8, "big"))
    assert raw is not None
    return msgspec.msgpack.decode(raw, type=identity.Stored).secret


@pytest.mark.attack(21)
@pytest.mark.parametrize("guess", ["zeros", "bob with alice", "bob with his prekey"])
def test_bobs_identity_key_does_not_make_one_alice(guess: str) -> None:
    relay, _, bob = couple()
    own = AgreementKey(own_keys(bob).agreement)
    hers = relay.published[ALICE].list
    assert hers is not None
    value = {
        "zeros": bytes(32),
        "bob with alice": own.agree(hers.certificates[0].agreement),
        "bob with his prekey": own.agree(relay.bundle(BOB, bob.id).signed.key),
    }[guess]
    with pytest.raises(CannotOpen):
        bob.open(forged(relay, bob, value))


@pytest.mark.attack(21)
def test_who_also_holds_the_signed_prekey_is_alice_until_it_is_gone() -> None:
    """What remains, as in X3DH and PQXDH: with the secret of SPK_B the first DH can be computed.

    Not wished for, but so: the test holds the documentation to the truth. It ends when the signed
    prekey is deleted, 30 days after it was made.
    """
    relay, _, bob = couple()
    own = own_keys(bob)
    hers = relay.published[ALICE].list
    assert hers is not None
    signed = AgreementKey(prekey_secret(bob, own.signed))
    leaked = signed.agree(hers.certificates[0].agreement)
    late = forged(relay, bob, leaked)
    assert bob.open(forged(relay, bob, leaked)).content == b"it is me, alice"
    relay.clock.now += identity.LIFE + 1
    bob.client.purge()
    with pytest.raises(CannotOpen):
        bob.open(late)
    assert header.parse(late.body)[0].first is not None
