"""The doors of linking by what stands afterwards: who holds which key, and who is on the list.

The messages themselves, and the lies that they may tell, are in `test_e2ee_linking.py`.
"""

from __future__ import annotations

import msgspec
import pytest

from crypto_modes import policy, wire
from crypto_modes.e2ee import devices, handover, linking
from crypto_modes.e2ee.handover import Handover, Peer
from crypto_modes.e2ee.identity import Identity
from crypto_modes.e2ee.linker import Approval, Joining
from crypto_modes.errors import BadArgument, KeyRefused, LimitExceeded, UnknownDevice
from crypto_modes.keys import AgreementKey, SigningKey
from tests.e2ee_relay import ALICE, BOB, MODES, Device, Relay, couple, talking


def family() -> tuple[Relay, Device, Device]:
    """Alice's phone, and her laptop that is not linked yet."""
    relay, alice, _ = couple()
    return relay, alice, Device(relay, ALICE, b"alice-laptop-002")


def approved(joining: Joining, by: Device, *, with_account_key: bool = False) -> Approval:
    return by.client.linker.approve(
        joining.code, joining.offer, (), with_account_key=with_account_key
    )


def listed(relay: Relay, account: bytes = ALICE) -> wire.DeviceList:
    found = relay.published[account].list
    assert found is not None
    return found


def ids(found: wire.DeviceList) -> set[bytes]:
    return {each.device for each in found.certificates}


# --- linking ---


def test_what_is_shown_is_this_devices_and_leads_to_its_box() -> None:
    _, alice, laptop = family()
    joining = laptop.client.linker.join("laptop")
    assert (joining.device, joining.box) == (laptop.id, joining.code.box(ALICE))
    shown = alice.client.linker.consider(joining.code, joining.offer)
    assert (shown.request.device, shown.label) == (laptop.id, "laptop")


@pytest.mark.attack
@pytest.mark.parametrize("given", [True, False])
def test_1_the_account_key_goes_along_only_where_the_user_said_so(given: bool) -> None:
    relay, alice, laptop = family()
    assert not laptop.client.linker.holds_account_key()
    joining = laptop.client.linker.join("laptop")
    approval = approved(joining, alice, with_account_key=given)
    seed = laptop.client.linker.joined(joining, approval.answer).handover.seed
    laptop.publish()
    assert seed == (Identity(alice.tools).account_signer().raw if given else b"")
    assert laptop.client.linker.holds_account_key() is given
    assert alice.client.linker.holds_account_key() is True
    tablet = Device(relay, ALICE, b"alice-tablet-003")
    if given:
        tablet.link(laptop)
        assert ids(listed(relay)) == {alice.id, laptop.id, tablet.id}
        with pytest.raises(BadArgument, match="it links others"):
            laptop.client.linker.join("laptop")
        return
    with pytest.raises(BadArgument, match="does not hold the account key"):
        tablet.link(laptop)
    with pytest.raises(BadArgument, match="does not hold the account key"):
        laptop.client.linker.remove(alice.id)


def test_linking_again_keeps_the_devices_keys_and_can_be_taken_back_like_the_first_time() -> None:
    """The relay may refuse the new list, so that all must be as it was."""
    relay, alice, laptop = family()
    again, certified = [], []
    for given in (False, True):
        before = dict(laptop.state.rows)
        joining = laptop.client.linker.join("laptop")
        answer = approved(joining, alice, with_account_key=given).answer
        joined = laptop.client.linker.joined(joining, answer)
        assert laptop.state.rows != before
        laptop.client.linker.withdraw(joined)
        assert laptop.state.rows == before
        again.append(joined.again)
        laptop.client.linker.joined(joining, answer)
        laptop.publish()
        alice.client.supply(relay.published[ALICE])
        certified += [each for each in listed(relay).certificates if each.device == laptop.id]
    assert again == [False, True]
    assert certified[0] == certified[1]
    assert ids(listed(relay)) == {alice.id, laptop.id}


@pytest.mark.attack
@pytest.mark.parametrize("changed", ["signing", "agreement"])
def test_2_no_one_key_of_a_listed_device_may_change_under_its_id(changed: str) -> None:
    _, alice, laptop = family()
    laptop.link(alice)
    own = Identity(laptop.tools).require()
    keys = {"signing": SigningKey(b"s" * 32).raw, "agreement": AgreementKey(b"a" * 32).raw}
    twin = msgspec.structs.replace(own, **{changed: keys[changed]})
    code, offered = linking.offer(
        ALICE,
        linking.Offer(Identity(laptop.tools).request(twin), AgreementKey(b"e" * 32).public, "x"),
        b"a secret, 16 B!!",
    )
    with pytest.raises(KeyRefused, match="this id and other keys"):
        alice.client.linker.approve(code, offered, (), with_account_key=False)


# --- taking off ---


def test_a_removed_device_is_on_the_list_no_more_and_the_others_are() -> None:
    relay, alice, laptop = family()
    tablet = Device(relay, ALICE, b"alice-tablet-003")
    for each in (laptop, tablet):
        each.link(alice)
    frame = alice.client.linker.remove(laptop.id)
    assert frame.key == alice.client.pinned_key(ALICE)
    relay.publish(alice, [frame])
    assert ids(listed(relay)) == {alice.id, tablet.id}
    with pytest.raises(BadArgument, match="the device you sit at"):
        alice.client.linker.remove(alice.id)
    with pytest.raises(UnknownDevice, match="no such device"):
        alice.client.linker.remove(b"nobodys-device-9")


# --- a device that was restored from a backup ---


def restored(relay: Relay, alice: Device) -> Device:
    """A device that holds Alice's account key and is on no list."""
    device = Device(relay, ALICE, b"alice-phone-0009")
    Identity(device.tools).make(Identity(alice.tools).account_signer())
    device.client.supply(relay.published[ALICE])
    return device


def test_a_restored_device_takes_the_place_of_the_lost_one_beside_the_others() -> None:
    relay, alice, laptop = family()
    laptop.link(alice)
    version = listed(relay).version
    new = restored(relay, alice)
    for _ in range(2):  # done again, after a crash
        new.client.linker.enlist(alice.id)
        new.publish()
        version += 1
        assert (ids(listed(relay)), listed(relay).version) == ({new.id, laptop.id}, version)
    bob = Device(relay, BOB, b"bobby-phone-0002")
    relay.published.pop(BOB)
    bob.publish()
    stored = bob.send(ALICE, b"to the new phone")
    assert new.receive(stored).content == b"to the new phone"
    assert alice.receive(stored).warnings == ("no_copy",)


def test_only_who_holds_the_account_key_takes_a_place() -> None:
    _, alice, laptop = family()
    laptop.link(alice)
    with pytest.raises(BadArgument, match="does not hold the account key"):
        laptop.client.linker.enlist(alice.id)


def test_a_restored_device_is_the_tenth_at_most() -> None:
    relay, alice, _ = family()
    key = Identity(alice.tools).account_signer()
    others = []
    for number in range(9):
        device = Device(relay, ALICE, b"alice-device-%03d" % number)
        request = Identity(device.tools).request(Identity(device.tools).draft())
        others.append(devices.certify(ALICE, key, request))
    full = devices.sign_list(ALICE, key, 2, (*listed(relay).certificates, *others))
    relay.published[ALICE] = msgspec.structs.replace(relay.published[ALICE], list=full)
    new = restored(relay, alice)
    with pytest.raises(LimitExceeded, match="at most 10 devices"):
        new.client.linker.enlist(b"nobodys-device-9")
    new.client.linker.enlist(alice.id)
    new.publish()
    assert ids(listed(relay)) == {new.id, *(each.device for each in others)}


# --- sessions ---


def test_after_a_reset_the_next_message_begins_anew() -> None:
    _, alice, bob = talking()
    alice.client.linker.reset(BOB)
    assert bob.receive(alice.send(BOB)).warnings == ("session_reset",)
    assert alice.receive(bob.send(ALICE)).warnings == ()


# --- what is handed over ---


def handed(count: int) -> Handover:
    """Of a list that names nobody, with as many peers."""
    shown = policy.default_policy({ALICE: b"a" * 32, BOB: b"b" * 32}, MODES, 1)
    peers = tuple(Peer(b"peer%012d" % n, f"peer{n}", b"k" * 32, shown) for n in range(count))
    empty = wire.DeviceList(version=1, signature=b"s" * 64, certificates=())
    return Handover(ALICE, b"k" * 32, b"", empty, peers)


def test_a_handover_may_be_full_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = handed(3)
    raw = handover.encode(whole)
    for limit, count in ((len(raw), 3), (len(raw) - 1, 2)):
        monkeypatch.setattr(handover, "HANDOVER_LIMIT", limit)
        assert len(handover.fitting(handed(0), whole.peers).peers) == count
    monkeypatch.setattr(handover, "HANDOVER_LIMIT", len(raw))
    assert handover.encode(handover.decode(raw)) == raw


def test_a_policy_is_handed_over_as_it_was() -> None:
    """Its two users, their order and its conversation are not told, but follow from the peer."""
    for one, other in ((ALICE, BOB), (BOB, ALICE)):
        shown = policy.default_policy({one: b"o" * 32, other: b"p" * 32}, MODES, 1)
        told = msgspec.structs.replace(
            handed(0), account=one, peers=(Peer(other, "x", b"", shown),)
        )
        assert handover.decode(handover.encode(told)) == told
