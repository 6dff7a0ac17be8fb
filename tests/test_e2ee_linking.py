"""Linking a device, message by message: vectors, a second implementation, and what must fail."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes import policy, primitives, wire
from crypto_modes.e2ee import devices, handover, linking
from crypto_modes.e2ee.handover import Handover, LogPin, Peer
from crypto_modes.e2ee.linker import Linker
from crypto_modes.e2ee.linking import Code, Offer
from crypto_modes.e2ee.memory import Memory
from crypto_modes.errors import BadArgument, FrameRefused, KeyRefused, LimitExceeded, LouverError
from crypto_modes.keys import AgreementKey, SigningKey
from crypto_modes.primitives import H
from tests import linking_oracle as oracle
from tests.e2ee_relay import ALICE, BOB, Device, couple
from tests.vector_files import HERE, expected, raw


def of(what: str) -> list[Any]:
    found = json.loads((HERE / "e2ee_linking.json").read_text("utf-8"))["vectors"]
    return [
        pytest.param(each, id=each["name"])
        for each in found
        if each["name"].startswith(f"{what}: ")
    ]


@pytest.mark.parametrize("vector", of("code"))
def test_codes(vector: dict[str, Any]) -> None:
    fields = raw(vector, "secret", "digest")
    with expected(vector):
        assert Code.read(vector["text"]) == (fields["secret"], fields["digest"])
    if "shown" in vector["name"]:
        assert Code(fields["secret"], fields["digest"]).text() == vector["text"]
    if "scanned" in vector["name"]:
        assert Code(fields["secret"], fields["digest"]).qr() == vector["text"]


@pytest.mark.attack(2)
@pytest.mark.parametrize("vector", of("offer"))
def test_offers(vector: dict[str, Any]) -> None:
    fields = raw(vector, "account", "secret", "digest", "raw")
    with expected(vector):
        found = linking.read_offer(
            fields["account"], Code(fields["secret"], fields["digest"]), fields["raw"]
        )
        assert found.label == "Alice's läptop"
        assert found.request.device.hex() in vector["raw"]


@pytest.mark.parametrize("vector", of("answer"))
def test_answers(vector: dict[str, Any]) -> None:
    fields = raw(vector, "account", "secret", "offer", "ephemeral", "raw", "existing")
    fields = raw(fields, "existing_ephemeral", "handover", "confirmation")
    keys = AgreementKey(fields["ephemeral"]), AgreementKey(fields["existing_ephemeral"])
    named = (fields["account"], fields["secret"], fields["offer"])
    with expected(vector):
        opened = linking.open_answer(*named, keys[0], fields["raw"])
        assert (opened.device, opened.handover) == (fields["existing"], fields["handover"])
        assert linking.confirmation(opened.shared, fields["raw"]) == fields["confirmation"]
        own = (fields["existing"], keys[1])
        made, _ = linking.answer(*named, keys[0].public, own, fields["handover"])
        assert made == fields["raw"]


@pytest.mark.parametrize("vector", of("handover"))
def test_handovers(vector: dict[str, Any]) -> None:
    with expected(vector):
        found = handover.decode(bytes.fromhex(vector["raw"]))
        assert handover.encode(found).hex() == vector["raw"]
        fields = vector["fields"]
        assert (found.account.hex(), found.seed.hex()) == (fields["account"], fields["seed"])
        bob, carol = found.peers
        assert (bob.name, carol) == ("bob", Peer(bytes.fromhex(fields["peers"][1]["account"]), ""))
        assert bob.policy is not None
        assert bob.policy.conversation == policy.conversation_id(found.account, bob.account)
        assert (bob.policy.epoch, bob.policy.modes["call"]) == (3, "tls")
        log = fields["log"] and LogPin(**raw(fields["log"], "key", "checkpoint"))
        assert found.log == log


# --- the second implementation, from either side ---


def test_the_second_implementation_is_linked_by_the_first() -> None:
    relay, alice, _ = couple()
    alice.send(BOB)
    new: dict[str, Any] = {
        "account": ALICE,
        "secret": os.urandom(16),
        "device": b"alice-laptop-002",
        "signing_seed": os.urandom(32),
        "agreement_private": os.urandom(32),
        "ephemeral_private": os.urandom(32),
        "created": relay.clock.now,
        "label": "other",
    }
    offered = oracle.offer(new)
    code = Code.read(oracle.code(new["secret"], oracle.offer_body(new)))
    assert code.box(ALICE) == oracle.keys(new["secret"], ALICE)[0]
    pin = LogPin(os.urandom(32), b"a signed note")
    approval = alice.client.linker.approve(
        code, offered, [Peer(BOB, "bob", b"k" * 32)], with_account_key=True, log=pin
    )
    text, confirmed = oracle.open_answer(
        ALICE, new["secret"], offered, new["ephemeral_private"], approval.answer
    )
    assert confirmed == approval.confirmation
    label, account, key, seed, listed, log, *peers = oracle.items(text)
    assert (label, account, len(peers)) == (b"louver/v1/link/handover/2", ALICE, 1)
    assert oracle.items(log) == [b"louver/v1/link/log", *pin]
    assert oracle.verifying(seed) == key == alice.client.pinned_key(ALICE)
    assert new["device"] in listed


def test_the_first_implementation_is_linked_by_the_second() -> None:
    relay, alice, _ = couple()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    joining = laptop.client.linker.join("laptop")
    body = linking.read_offer(ALICE, joining.code, joining.offer)
    key = Memory(alice.tools).identity.account_signer()
    certificate = devices.certify(ALICE, key, body.request)
    known = relay.published[ALICE].list
    assert known is not None
    listed = devices.sign_list(ALICE, key, 2, (*known.certificates, certificate))
    handed = handover.encode(Handover(ALICE, key.public, b"", listed))
    own = (alice.id, os.urandom(32))
    secret = joining.code.secret
    answer = oracle.answer(ALICE, secret, joining.offer, body.ephemeral, own, handed)
    joined = laptop.client.linker.joined(joining, answer)
    private = joining.ephemeral.raw
    assert (
        joined.confirmation == oracle.open_answer(ALICE, secret, joining.offer, private, answer)[1]
    )
    assert joined.by == alice.id
    laptop.publish()
    assert laptop.receive(alice.send(BOB, b"x")).warnings == ("no_copy",)


# --- what must fail ---


def linkable() -> tuple[Device, Device]:
    relay, alice, _ = couple()
    return alice, Device(relay, ALICE, b"alice-laptop-002")


def peers(count: int) -> list[Peer]:
    shown = policy.default_policy(
        {ALICE: b"a" * 32, BOB: b"b" * 32}, dict.fromkeys(wire.KINDS, "at_rest"), 1
    )
    return [Peer(b"peer%012d" % n, f"peer{n}", b"k" * 32, shown) for n in range(count)]


def test_no_more_is_handed_over_than_fits_and_that_is_said() -> None:
    alice, laptop = linkable()
    joining = laptop.client.linker.join("laptop")
    approval = alice.client.linker.approve(
        joining.code, joining.offer, peers(2_000), with_account_key=False
    )
    assert 400 < approval.handed < 2_000
    assert len(approval.answer) < handover.HANDOVER_LIMIT + 1024
    joined = laptop.client.linker.joined(joining, approval.answer)
    assert [each.name for each in joined.handover.peers] == [
        f"peer{n}" for n in range(approval.handed)
    ]
    long = handover.encode(
        Handover(ALICE, b"k" * 32, b"", joined.handover.listed, tuple(peers(999)))
    )
    with pytest.raises(FrameRefused, match="at most"):
        handover.decode(long)


@pytest.mark.attack(1)
def test_an_answer_that_lies_changes_nothing() -> None:
    """By somebody who has the code, the account's key, and not the account's consent."""
    alice, laptop = linkable()
    joining = laptop.client.linker.join("laptop")
    found = linking.read_offer(ALICE, joining.code, joining.offer)
    key, spy = Memory(alice.tools).identity.account_signer(), SigningKey(os.urandom(32))
    mine = devices.certify(ALICE, key, found.request)
    phone = alice.relay.published[ALICE].list
    assert phone is not None
    good = devices.sign_list(ALICE, key, 2, (*phone.certificates, mine))
    other = mine_as(laptop, key, signing=spy)
    lies = {
        "another account": Handover(BOB, key.public, b"", good),
        "another key": Handover(ALICE, spy.public, b"", good),
        "a seed of another key": Handover(ALICE, key.public, spy.raw, good),
        "a list without this device": Handover(
            ALICE, key.public, b"", devices.sign_list(ALICE, key, 2, phone.certificates)
        ),
        "a list with other keys of this device": Handover(
            ALICE, key.public, b"", devices.sign_list(ALICE, key, 2, (other,))
        ),
        "a list that nobody signed": Handover(
            ALICE, key.public, b"", devices.sign_list(ALICE, spy, 2, (mine,))
        ),
    }
    for lie in lies.values():
        own = (alice.id, AgreementKey(os.urandom(32)))
        named = (ALICE, joining.code.secret, joining.offer, found.ephemeral, own)
        answer, _ = linking.answer(*named, handover.encode(lie))
        with pytest.raises(KeyRefused):
            laptop.client.linker.joined(joining, answer)
        assert laptop.state.rows == {}


def mine_as(laptop: Device, key: SigningKey, *, signing: SigningKey) -> wire.Certificate:
    """A certificate for the laptop's id and other keys."""
    plain = devices.Request(laptop.id, signing.public, AgreementKey(os.urandom(32)).public, 1, b"")
    request = plain._replace(signature=signing.sign(plain.signed(ALICE)))
    return devices.certify(ALICE, key, request)


@pytest.mark.attack(2)
def test_a_new_device_cannot_take_the_id_of_a_listed_one() -> None:
    alice, _ = linkable()
    other = Device(alice.relay, ALICE, b"alice-tablet-003")
    other.link(alice)
    twin = Device(alice.relay, ALICE, other.id)
    joining = twin.client.linker.join("tablet")
    with pytest.raises(KeyRefused, match="this id and other keys"):
        alice.client.linker.approve(joining.code, joining.offer, (), with_account_key=False)
    mirror = Device(alice.relay, ALICE, alice.id).client.linker.join("phone")
    with pytest.raises(KeyRefused, match="this very device"):
        alice.client.linker.approve(mirror.code, mirror.offer, (), with_account_key=False)


@pytest.mark.attack(1)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_altered_message_is_taken(data: st.DataObject) -> None:
    """Whatever the relay does to a message, it is refused in the same way."""
    laptop, joining, answer = ANSWERED
    target, read = data.draw(
        st.sampled_from(
            [
                (joining.offer, lambda raw: linking.read_offer(ALICE, joining.code, raw)),
                (answer, lambda raw: Linker(Memory(laptop.tools)).joined(joining, raw)),
            ]
        )
    )
    altered = bytearray(target)
    place = data.draw(st.integers(0, len(altered) - 1))
    altered[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(altered)))
    for each in (bytes(altered), target[:cut] if cut < len(target) else target + b"\0"):
        with pytest.raises(KeyRefused):
            read(each)


def _answered() -> Any:
    alice, laptop = linkable()
    joining = laptop.client.linker.join("laptop")
    approval = alice.client.linker.approve(
        joining.code, joining.offer, peers(1), with_account_key=False
    )
    return laptop, joining, approval.answer


ANSWERED = _answered()


@given(raw=st.binary(max_size=300))
def test_decoders_refuse_what_they_do_not_know(raw: bytes) -> None:
    for read in (
        handover.decode,
        lambda raw: linking.read_offer(ALICE, Code(b"s" * 16, b"d" * 8), raw),
        lambda raw: linking.open_answer(ALICE, b"s" * 16, b"", AgreementKey(b"k" * 32), raw),
    ):
        with pytest.raises(LouverError):
            read(raw)


@given(secret=st.binary(min_size=16, max_size=16), digest=st.binary(min_size=8, max_size=8))
def test_a_code_may_be_typed_with_the_digits_that_look_like_its_letters(
    secret: bytes, digest: bytes
) -> None:
    shown = Code(secret, digest).text()
    assert Code.read(shown.translate(str.maketrans("OI", "01"))) == (secret, digest)


def test_a_label_of_64_bytes_is_shown_whole_and_one_that_is_no_text_is_shown_too() -> None:
    """It is the new device's word, and its user shall see what it says before approving."""
    _, laptop = linkable()
    joining = laptop.client.linker.join("ä" * 32)
    assert linking.read_offer(ALICE, joining.code, joining.offer).label == "ä" * 32
    body = joining.offer[:-32].replace("ä".encode() * 32, b"\xff" * 64)
    keys = linking.Keys.derive(joining.code.secret, ALICE)
    code = Code(joining.code.secret, H(body)[:8])
    read = linking.read_offer(ALICE, code, body + primitives.hmac(keys.offer, body))
    assert read.label == "\ufffd" * 64


def test_a_label_has_a_bound_and_secrets_do_not_print() -> None:
    request = devices.Request(b"d" * 16, b"s" * 32, b"a" * 32, 0, b"")
    with pytest.raises(BadArgument, match="at most 64 bytes"):
        linking.offer(ALICE, Offer(request, b"e" * 32, "ä" * 33), b"s" * 16)
    _, joining, answer = ANSWERED
    opened = linking.open_answer(
        ALICE, joining.code.secret, joining.offer, joining.ephemeral, answer
    )
    handed = handover.decode(opened.handover)
    keys = linking.Keys.derive(joining.code.secret, ALICE)
    shown = [repr(each) for each in (joining, joining.code, keys, opened, opened.shared, handed)]
    assert shown == [
        "<Joining>",
        "<Code>",
        "<Keys>",
        "<Answered>",
        "<Shared>",
        "<Handover of 1 peers>",
    ]
    assert handed.__rich_repr__() == []


def test_lists_are_signed_with_ever_higher_versions() -> None:
    """Also those that were never published: two lists of one version would be a fork."""
    alice, laptop = linkable()
    versions = []
    for _ in range(3):
        joining = laptop.client.linker.join("laptop")
        approval = alice.client.linker.approve(
            joining.code, joining.offer, (), with_account_key=False
        )
        alice.restart()
        joined = Linker(Memory(laptop.tools)).joined(joining, approval.answer)
        versions.append(joined.handover.listed.version)
        Linker(Memory(laptop.tools)).withdraw(joined)
    assert versions == [2, 3, 4]
    laptop.link(alice)
    assert alice.client.linker.remove(laptop.id).list.version == 6  # type: ignore[union-attr]  # it has one


def test_an_eleventh_device_is_refused() -> None:
    alice, laptop = linkable()
    for number in range(9):
        Device(alice.relay, ALICE, b"alice-device-%03d" % number).link(alice)
    joining = laptop.client.linker.join("laptop")
    with pytest.raises(LimitExceeded, match="at most 10 devices: remove one"):
        alice.client.linker.approve(joining.code, joining.offer, (), with_account_key=False)
