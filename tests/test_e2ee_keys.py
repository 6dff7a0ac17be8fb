"""A client's own prekeys, and what it believes of other accounts."""

from __future__ import annotations

import msgspec
import pytest

from crypto_modes import e2ee, policy, primitives, wire
from crypto_modes.contract import ADVERSARIES, Need, NeedDevices
from crypto_modes.e2ee import devices, identity
from crypto_modes.e2ee.header import First
from crypto_modes.errors import BadArgument, CannotOpen, KeyChanged, KeyRefused
from crypto_modes.keys import SigningKey
from tests import e2ee_oracle as oracle
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple

DAY = 24 * 60 * 60 * 1000


def prekeys(frames: list[wire.Publish]) -> list[wire.Prekey]:
    return [prekey for frame in frames for prekey in frame.prekeys]


def count(published: list[wire.Prekey]) -> dict[tuple[str, int], int]:
    kinds = [(each.use, each.algorithm) for each in published]
    return {kind: kinds.count(kind) for kind in kinds}


def test_the_first_publication_is_complete() -> None:
    relay = Relay()
    alice = Device(relay, ALICE, b"alice-phone-0001")
    frames = alice.client.publication(None)
    assert frames[0].key == alice.client.pinned_key(ALICE)
    # With the list come keys to begin a session with: nobody meets a device without them.
    assert {"signed", "last"} <= {each.use for each in frames[0].prekeys}
    assert count(prekeys(frames)) == {
        ("signed", 5): 1,
        ("last", 8): 1,
        ("once", 5): 100,
        ("once", 8): 100,
    }
    assert len({each.id for each in prekeys(frames)}) == 202
    assert relay.publish(alice, frames) == wire.Published(ref=0, version=1, once=100, kem=100)


def test_a_first_list_rises_above_what_it_replaces() -> None:
    for above in ((), (0,), (7,)):
        frames = Device(Relay(), ALICE, b"alice-phone-0001").client.publication(None, *above)
        assert frames[0].list is not None
        assert frames[0].list.version == sum(above) + 1


def test_a_device_that_is_on_no_list_publishes_nothing() -> None:
    relay, alice, _ = couple()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.link(alice)
    relay.publish(alice, [alice.client.linker.remove(laptop.id)])
    laptop.client.supply(relay.published[ALICE])
    assert laptop.client.publication(None) == []


def test_after_connecting_the_current_keys_are_published_again() -> None:
    _, alice, _ = couple()
    alice.restart()
    frames = alice.client.publication(None)
    assert frames[0].list == alice.relay.published[ALICE].list
    assert count(prekeys(frames)) == {("signed", 5): 1, ("last", 8): 1}


@pytest.mark.parametrize(
    ("left", "added"),
    [((100, 100), {}), ((50, 50), {}), ((49, 77), {("once", 5): 51}), ((0, 1), None)],
)
def test_refills_are_batched(left: tuple[int, int], added: dict[tuple[str, int], int]) -> None:
    _, alice, _ = couple()
    frames = alice.client.publication(wire.Published(ref=0, version=1, once=left[0], kem=left[1]))
    assert all(frame.list is None for frame in frames)
    expected = {("once", 5): 100, ("once", 8): 99} if added is None else added
    assert count(prekeys(frames)) == expected


def test_a_relay_that_always_says_it_has_none_gets_no_more_than_a_days_keys() -> None:
    relay = Relay()
    alice = Device(relay, ALICE, b"alice-phone-0001")
    alice.publish()
    none = wire.Published(ref=0, version=1)
    made = [count(prekeys(alice.client.publication(none))) for _ in range(5)]
    full = {("once", 5): 100, ("once", 8): 100}
    assert made == [full, full, {}, {}, {}]  # and a hundred at first
    alice.restart()
    assert alice.client.publication(none) == []
    relay.clock.now += DAY
    assert count(prekeys(alice.client.publication(none))) == full


def test_signed_keys_rotate_after_a_week_and_are_kept_for_thirty_days() -> None:
    relay, alice, bob = couple()
    full = wire.Published(ref=0, version=1, once=100, kem=100)
    delayed = alice.send(BOB, b"written under the old keys")
    relay.clock.now += 7 * DAY
    fresh = prekeys(bob.client.publication(full))
    assert count(fresh) == {("signed", 5): 1, ("last", 8): 1}
    assert bob.client.publication(full) == []
    relay.clock.now += 22 * DAY
    bob.client.publication(full)
    bob.restart()
    assert bob.receive(delayed).content == b"written under the old keys"


def test_expired_prekeys_are_deleted_with_their_replay_memory() -> None:
    relay, alice, bob = couple()
    relay.prekeys[BOB, bob.id] = [each for each in relay.prekeys[BOB, bob.id] if each.use != "once"]
    delayed = alice.send(BOB)
    bob.receive(delayed)
    assert [table for table, _ in bob.state.rows].count(identity.REPLAYS) == 1
    for _ in range(2):
        relay.clock.now += 16 * DAY
        bob.client.publication(wire.Published(ref=0, version=1, once=100, kem=100))
    assert identity.REPLAYS not in {table for table, _ in bob.state.rows}
    with pytest.raises(CannotOpen):
        bob.receive(delayed)


def test_used_one_time_keys_are_gone() -> None:
    relay, alice, bob = couple()
    assert sum(1 for table, _ in bob.state.rows if table == identity.PREKEYS) == 202
    bob.receive(alice.send(BOB))
    assert sum(1 for table, _ in bob.state.rows if table == identity.PREKEYS) == 200
    assert relay.left(BOB, bob.id) == wire.Published(ref=0, version=1, once=99, kem=99)


@pytest.mark.attack(12)
@pytest.mark.parametrize("algorithm", [devices.X25519, devices.ML_KEM_768])
def test_12_a_one_time_key_that_the_relay_gives_out_twice_serves_the_first_alone(
    algorithm: int,
) -> None:
    relay, alice, bob = couple()
    laptop = Device(relay, ALICE, b"alice-laptop-001")
    laptop.link(alice)
    again = [each for each in relay.prekeys[BOB, bob.id] if each.algorithm == algorithm]
    first = alice.send(BOB, b"first")
    left = [each for each in relay.prekeys[BOB, bob.id] if each.algorithm != algorithm]
    relay.prekeys[BOB, bob.id] = [*again, *left]
    second = laptop.send(BOB, b"second")
    assert bob.receive(first).content == b"first"
    before = dict(bob.state.rows)
    with pytest.raises(CannotOpen):
        bob.receive(second)
    assert bob.state.rows == before
    assert bob.receive(alice.send(BOB, b"third")).content == b"third"


@pytest.mark.attack
def test_10_a_first_message_cannot_use_a_prekey_for_something_else() -> None:
    _, _, bob = couple()
    kept = identity.Identity(bob.tools)
    ids = {(each.use, each.algorithm): each.id for each in bob.relay.prekeys[BOB, bob.id]}
    signed, last = ids["signed", 5], ids["last", 8]
    once, once_kem = ids["once", 5], ids["once", 8]
    for good in ((signed, once, once_kem), (signed, 0, last)):
        kept.secrets(First(bytes(32), *good, 1, bytes(1088)))
    for wrong in (
        (once, 0, last),
        (last, 0, last),
        (signed, signed, last),
        (signed, once_kem, last),
        (signed, once, once),
        (signed, once, 10**6),
        (10**6, once, last),
    ):
        with pytest.raises(CannotOpen):
            kept.secrets(First(bytes(32), *wrong, 1, bytes(1088)))


@pytest.mark.attack
def test_11_a_drained_relay_still_begins_sessions() -> None:
    relay, alice, bob = couple()
    relay.prekeys[BOB, bob.id] = [each for each in relay.prekeys[BOB, bob.id] if each.use != "once"]
    assert bob.receive(alice.send(BOB, b"by the last resort")).content == b"by the last resort"


def bundle_of(relay: Relay, end: Device) -> wire.Bundle:
    return relay.bundle(end.account, end.id)


def give(alice: Device, bundle: wire.Bundle) -> None:
    alice.client.supply(alice.relay.published[BOB])
    alice.client.supply(wire.Keys(ref=0, account=BOB, bundles=(bundle,)))


@pytest.mark.attack
def test_16_bundles_cannot_be_weakened() -> None:
    relay, alice, bob = couple()
    good = bundle_of(relay, bob)
    other = bundle_of(relay, alice)
    assert good.once is not None
    for changed in (
        {"kem": good.once},
        {"kem": other.kem},
        {"signed": good.once},
        {"signed": other.signed},
        {"once": good.signed},
        {"once": good.kem},
        {"device": alice.id},
        {"signed": msgspec.structs.replace(good.signed, signature=bytes(64))},
    ):
        with pytest.raises(KeyRefused):
            give(alice, msgspec.structs.replace(good, **changed))
    stripped = msgspec.to_builtins(wire.Keys(ref=0, account=BOB, bundles=(good,)))
    del stripped["bundles"][0]["kem"]
    with pytest.raises(msgspec.ValidationError, match="kem"):
        msgspec.convert(stripped, wire.Keys)
    relay.clock.now += 31 * DAY
    with pytest.raises(KeyRefused, match="expired"):
        give(alice, good)


def test_bundles_of_unknown_accounts_are_refused() -> None:
    relay, alice, bob = couple()
    with pytest.raises(KeyRefused, match="not verified yet"):
        alice.client.supply(wire.Keys(ref=0, account=BOB, bundles=(bundle_of(relay, bob),)))


def impostor(relay: Relay, name: bytes = b"mallory-phone-03") -> wire.Devices:
    """A list for Bob's account under another key, as a hostile relay would show it."""
    fake = Device(Relay(), BOB, name)
    fake.publish()
    fake.relay.clock = relay.clock
    return fake.relay.published[BOB]


@pytest.mark.attack
def test_14_a_changed_account_key_stops_sending_until_it_is_accepted() -> None:
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    before = alice.client.safety_number(BOB)
    with pytest.raises(KeyChanged, match="compare safety numbers"):
        alice.client.supply(impostor(relay))
    for _ in range(2):
        with pytest.raises(KeyChanged):
            alice.client.seal(alice.draft(BOB))
        alice.restart()
    number = alice.client.safety_number(BOB)
    assert number != before
    assert alice.client.pinned_key(BOB) == relay.published[BOB].key
    alice.client.accept_key(BOB, number)
    assert alice.client.pinned_key(BOB) != relay.published[BOB].key
    with pytest.raises(Need):
        alice.client.seal(alice.draft(BOB))


@pytest.mark.attack
def test_14_the_stop_holds_even_if_the_caller_rolled_back() -> None:
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    rows = dict(alice.state.rows)
    with pytest.raises(KeyChanged):
        alice.client.supply(impostor(relay))
    alice.state.rows = rows
    with pytest.raises(KeyChanged):
        alice.client.seal(alice.draft(BOB))


@pytest.mark.attack
def test_1_a_device_added_by_the_relay_gets_nothing() -> None:
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    spy = SigningKey(b"spy seed, of 32 bytes, not Bob's")
    listed = relay.published[BOB].list
    assert listed is not None
    request = impostor(relay).list
    assert request is not None
    certificates = (*listed.certificates, request.certificates[0])
    forged = devices.sign_list(BOB, spy, listed.version + 1, certificates)
    own = msgspec.structs.replace(relay.published[BOB], list=forged)
    with pytest.raises(KeyRefused):
        alice.client.supply(own)
    stored = alice.client.seal(alice.draft(BOB))
    assert [copy.device for copy in stored.copies] == [bob.id]


@pytest.mark.parametrize("id", [b"bobby-phone-0002", b"bobby-phone-0001"])
def test_an_accepted_key_begins_anew_also_with_a_device_of_the_same_id(id: bytes) -> None:
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    again = Device(relay, BOB, id)
    relay.prekeys.pop((BOB, id), None)
    again.publish()
    with pytest.raises(KeyChanged):
        alice.client.supply(relay.published[BOB])
    number = alice.client.safety_number(BOB)
    alice.client.accept_key(BOB, number)
    assert again.receive(alice.send(BOB, b"welcome back")).content == b"welcome back"
    with pytest.raises(BadArgument, match="no changed key"):
        alice.client.accept_key(BOB, number)


def test_a_message_from_a_changed_account_waits_for_the_user() -> None:
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    again = Device(relay, BOB, b"bobby-phone-0002")
    again.publish()
    stored = again.send(ALICE, b"it is me")
    with pytest.raises(KeyChanged):
        alice.receive(stored)
    with pytest.raises(KeyChanged):
        alice.receive(stored)
    alice.client.accept_key(BOB, alice.client.safety_number(BOB))
    assert alice.receive(stored).content == b"it is me"


def test_lists_only_get_newer() -> None:
    relay, alice, bob = couple()
    old = relay.published[BOB]
    Device(relay, BOB, b"bobby-tablet-002").link(bob)
    alice.client.supply(relay.published[BOB])
    alice.client.supply(relay.published[BOB])
    with pytest.raises(KeyRefused, match="older device list"):
        alice.client.supply(old)


@pytest.mark.attack
def test_19_two_lists_of_one_version_are_refused() -> None:
    relay, alice, bob = couple()
    alice.client.supply(relay.published[BOB])
    before = dict(bob.state.rows)
    Device(relay, BOB, b"x" * 16).link(bob)
    one = relay.published[BOB]
    bob.state.rows = before
    Device(relay, BOB, b"y" * 16).link(bob)
    alice.client.supply(one)
    with pytest.raises(KeyRefused, match="two device lists of one version"):
        alice.client.supply(relay.published[BOB])


def test_a_device_with_other_keys_loses_its_sessions() -> None:
    relay, alice, bob = couple()
    laptop = Device(relay, BOB, b"bobby-laptop-002")
    laptop.link(bob)
    bob.receive(alice.send(BOB))
    relay.publish(bob, [bob.client.linker.remove(laptop.id)])
    bob.client.supply(relay.published[BOB])
    relay.prekeys[BOB, laptop.id].clear()
    reinstalled = Device(relay, BOB, laptop.id)
    reinstalled.link(bob)
    alice.client.supply(relay.published[BOB])
    assert reinstalled.receive(alice.send(BOB, b"hello again")).content == b"hello again"


def test_an_account_without_keys_cannot_be_written_to() -> None:
    _, alice, _ = couple()
    with pytest.raises(KeyRefused, match="has published no devices yet"):
        alice.client.supply(wire.Devices(ref=0, account=BOB, name="bob"))


def test_safety_numbers_need_a_peer_and_agree() -> None:
    relay, alice, bob = couple()
    with pytest.raises(Need) as need:
        alice.client.safety_number(BOB)
    assert need.value.what == NeedDevices(BOB)
    bob.receive(alice.send(BOB))
    pair = [(each, relay.published[each].key) for each in (ALICE, BOB)]
    assert alice.client.safety_number(BOB) == bob.client.safety_number(ALICE)
    assert alice.client.safety_number(BOB) == oracle.safety_number(*pair)
    assert alice.client.safety_text(BOB) == bob.client.safety_text(ALICE)


def test_the_account_key_signs_policies_only_where_it_lives() -> None:
    relay, alice, _ = couple()
    record = policy.record(relay.policy(ALICE, BOB, 1))
    key = relay.published[ALICE].key
    primitives.ed25519_verify(key, alice.client.sign(record), record)
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.link(alice)
    with pytest.raises(BadArgument, match="does not hold the account key"):
        laptop.client.sign(record)
    fresh = Device(relay, BOB, b"bobby-tablet-002")
    with pytest.raises(BadArgument, match="no keys yet"):
        fresh.client.sign(record)


def test_stored_keys_do_not_print() -> None:
    own = identity.Own(b"a" * 32, b"account seed", b"signing", b"agreement", 0)
    assert "seed" not in repr(own)
    assert "agreement" not in repr(own)


def test_the_mode_says_who_reads() -> None:
    assert (e2ee.MODE.name, e2ee.MODE.strength) == ("e2ee", 30)
    assert e2ee.MODE.visibility.keys() == set(ADVERSARIES)
    assert [name for name, sees in e2ee.MODE.visibility.items() if sees] == ["stolen_device_future"]
