"""What every store must do about accounts, devices, prekeys, policies and blocks.

The other half of ``store_contract.py``, under the same rules.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from crypto_modes import wire
from crypto_modes.errors import Forbidden, KeyRefused
from server.store import Store, Sunset
from tests.store_contract import Place
from tests.store_entries import (
    ALICE,
    BOB,
    CAROL,
    LAPTOP,
    OTHER_TALK,
    PHONE,
    TABLET,
    TALK,
    TIME,
    account,
    device,
    populate,
)

DAY = 24 * 60 * 60 * 1000


def device_list(version: int, *devices: bytes) -> wire.DeviceList:
    certificates = tuple(
        wire.Certificate(
            device=each, signing=b"s" * 32, agreement=b"a" * 32, created=TIME, signature=b"g" * 64
        )
        for each in devices or (PHONE,)
    )
    return wire.DeviceList(version=version, certificates=certificates, signature=b"g" * 64)


def prekey(id: int, algorithm: int, use: str, expires: int = TIME + 30 * DAY) -> wire.Prekey:
    key = bytes([id]) * (32 if algorithm == 5 else 1184)
    return wire.Prekey(
        id=id,
        algorithm=algorithm,  # type: ignore[arg-type]  # 5 or 8
        use=use,  # type: ignore[arg-type]  # signed, once or last
        key=key,
        expires=expires,
        signature=b"g" * 64,
    )


SIGNED, LAST = prekey(1, 5, "signed"), prekey(2, 8, "last")


class AccountContract:
    @pytest.mark.asyncio
    async def test_an_account_comes_back_by_id_and_name(self, place: Place) -> None:
        alice = account(key=b"k" * 32, list=device_list(3), subject="sub", suspended=True)
        await (await place.open()).add_account(alice)
        store = await place.open()
        assert await store.account(ALICE) == alice
        assert await store.account_named("alice") == alice
        assert await store.account(BOB) is None
        assert await store.account_named("bob") is None

    @pytest.mark.asyncio
    async def test_names_and_subjects_are_taken_once(self, place: Place) -> None:
        store = await place.open()
        await store.add_account(account(subject="one"))
        for taken in (account(BOB), account(BOB, "bob", subject="one"), account(ALICE, "bob")):
            with pytest.raises(Forbidden):
                await store.add_account(taken)
        await store.add_account(account(BOB, "bob"))
        await store.add_account(account(CAROL, "carol"))

    @pytest.mark.asyncio
    async def test_of_many_who_want_a_name_one_gets_it(self, place: Place) -> None:
        store = await place.open()
        wanted = [account(bytes([n]) * 16) for n in range(20)]
        outcomes = await asyncio.gather(
            *(store.add_account(one) for one in wanted), return_exceptions=True
        )
        assert outcomes.count(None) == 1
        assert sum(isinstance(outcome, Forbidden) for outcome in outcomes) == 19
        winner = wanted[outcomes.index(None)]
        assert await store.account_named("alice") == winner

    @pytest.mark.asyncio
    async def test_a_device_is_bound_and_its_token_replaced(self, place: Place) -> None:
        store = await place.open()
        assert not await store.has_devices()
        await populate(store)
        assert await store.has_devices()
        renewed = device(token=b"u" * 32)
        await store.bind_device(renewed)
        assert await store.device(PHONE) == renewed
        assert {found.id for found in await store.devices(ALICE)} == {PHONE, TABLET}
        assert await store.devices(CAROL) == []

    @pytest.mark.asyncio
    async def test_a_device_never_changes_hands(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        with pytest.raises(Forbidden):
            await store.bind_device(device(LAPTOP, ALICE))
        with pytest.raises(Forbidden):
            await store.bind_device(device(b"carol-device-001", CAROL))
        assert await store.device(LAPTOP) == device(LAPTOP, BOB)
        assert await store.device(b"carol-device-001") is None

    @pytest.mark.asyncio
    async def test_removing_a_device_forgets_everything_of_it(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await store.put_prekeys(PHONE, [SIGNED, LAST, prekey(3, 5, "once")])
        await store.take_bundle(BOB, PHONE, TIME)
        await store.remove_device(PHONE)
        await store.remove_device(PHONE)
        assert await store.device(PHONE) is None
        assert await store.count_prekeys(PHONE) == (0, 0)
        await store.bind_device(device())
        assert await store.take_bundle(BOB, PHONE, TIME) is None
        await store.put_prekeys(PHONE, [SIGNED, LAST, prekey(3, 5, "once")])
        bundle = await store.take_bundle(BOB, PHONE, TIME)
        assert bundle is not None
        assert bundle.once is not None

    @pytest.mark.asyncio
    async def test_a_device_that_leaves_the_list_is_gone_for_good(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await store.put_prekeys(PHONE, [SIGNED, LAST, prekey(3, 5, "once")])
        assert await store.put_list(ALICE, b"k" * 32, device_list(2, PHONE, TABLET)) == set()
        assert await store.put_list(ALICE, b"k" * 32, device_list(3, TABLET)) == {PHONE}
        found = await store.device(PHONE)
        assert found is not None
        assert (found.removed, found.token) == (True, b"")
        assert await store.count_prekeys(PHONE) == (0, 0)
        with pytest.raises(Forbidden, match="for good"):
            await store.bind_device(device(token=b"u" * 32))
        assert await store.put_list(ALICE, b"x" * 32, device_list(4, LAPTOP)) == set()
        tablet = await store.device(TABLET)
        assert tablet is not None
        assert not tablet.removed

    @pytest.mark.asyncio
    async def test_a_device_list_only_rises(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await store.put_list(ALICE, b"k" * 32, device_list(2))
        for version in (1, 2):
            with pytest.raises(KeyRefused):
                await store.put_list(ALICE, b"x" * 32, device_list(version))
        alice = await store.account(ALICE)
        assert alice == account(key=b"k" * 32, list=device_list(2))
        await store.put_list(ALICE, b"k" * 32, device_list(3))
        with pytest.raises(Forbidden):
            await store.put_list(CAROL, b"k" * 32, device_list(1))

    @pytest.mark.asyncio
    async def test_blocks_are_set_and_lifted(self, place: Place) -> None:
        store = await place.open()
        await store.set_block(ALICE, BOB, True)
        await store.set_block(ALICE, BOB, True)
        await store.set_block(ALICE, CAROL, True)
        assert await store.blocks(ALICE) == {BOB, CAROL}
        assert await store.blocks(BOB) == set()
        await store.set_block(ALICE, BOB, False)
        await store.set_block(BOB, ALICE, False)
        assert await (await place.open()).blocks(ALICE) == {CAROL}


class DirectoryContract:
    @pytest.mark.asyncio
    async def test_a_bundle_needs_a_signed_key_and_one_of_ml_kem(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        assert await store.take_bundle(BOB, PHONE, TIME) is None
        await store.put_prekeys(PHONE, [SIGNED, prekey(3, 5, "once")])
        assert await store.take_bundle(BOB, PHONE, TIME) is None
        assert await store.count_prekeys(PHONE) == (1, 0)
        await store.put_prekeys(PHONE, [LAST])
        bundle = await store.take_bundle(BOB, PHONE, TIME)
        assert bundle == wire.Bundle(
            device=PHONE, signed=SIGNED, kem=LAST, once=prekey(3, 5, "once")
        )

    @pytest.mark.asyncio
    async def test_one_time_keys_go_lowest_first_and_once_a_day_to_each(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        pools = [prekey(n, algorithm, "once") for n in (12, 11, 13) for algorithm in (5, 8)]
        await store.put_prekeys(PHONE, [SIGNED, LAST, *pools])
        assert await store.count_prekeys(PHONE) == (3, 3)

        async def ids(requester: bytes, now: int) -> tuple[int | None, int]:
            bundle = await store.take_bundle(requester, PHONE, now)
            assert bundle is not None
            assert bundle.signed == SIGNED
            return bundle.once.id if bundle.once else None, bundle.kem.id

        assert await ids(BOB, TIME) == (11, 11)
        assert await ids(BOB, TIME + DAY - 1) == (None, LAST.id)
        assert await ids(CAROL, TIME + 1) == (12, 12)
        assert await ids(BOB, TIME + DAY) == (13, 13)
        assert await ids(CAROL, TIME + 3 * DAY) == (None, LAST.id)
        assert await store.count_prekeys(PHONE) == (0, 0)

    @pytest.mark.asyncio
    async def test_a_day_without_keys_does_not_count_as_served(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await store.put_prekeys(PHONE, [SIGNED, LAST])
        await store.take_bundle(BOB, PHONE, TIME)
        await store.put_prekeys(PHONE, [prekey(7, 5, "once")])
        bundle = await store.take_bundle(BOB, PHONE, TIME + 1)
        assert bundle is not None
        assert bundle.once == prekey(7, 5, "once")

    @pytest.mark.asyncio
    async def test_no_one_time_key_is_given_twice(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        pools = [prekey(n, algorithm, "once") for n in range(1, 31) for algorithm in (5, 8)]
        await store.put_prekeys(PHONE, [SIGNED, LAST, *pools])
        bundles = await asyncio.gather(
            *(store.take_bundle(bytes([n]) * 16, PHONE, TIME) for n in range(40))
        )
        given = [bundle.once.id for bundle in bundles if bundle and bundle.once]
        assert sorted(given) == list(range(1, 31))
        kem = [bundle.kem.id for bundle in bundles if bundle and bundle.kem.use == "once"]
        assert sorted(kem) == list(range(1, 31))

    @pytest.mark.asyncio
    async def test_expired_keys_are_not_served(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        stale = [prekey(n, algorithm, "once", TIME) for n in (3, 4) for algorithm in (5, 8)]
        await store.put_prekeys(PHONE, [SIGNED, LAST, *stale, prekey(5, 5, "once")])
        bundle = await store.take_bundle(BOB, PHONE, TIME)
        assert bundle is not None
        assert (bundle.once, bundle.kem) == (prekey(5, 5, "once"), LAST)
        assert await store.take_bundle(BOB, PHONE, SIGNED.expires) is None

    @pytest.mark.asyncio
    async def test_the_next_signed_key_supersedes_the_last(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await store.put_prekeys(PHONE, [SIGNED, LAST])
        newer = [prekey(8, 5, "signed"), prekey(9, 8, "last")]
        await store.put_prekeys(PHONE, newer)
        await store.put_prekeys(PHONE, [SIGNED, LAST])
        bundle = await store.take_bundle(BOB, PHONE, TIME)
        assert bundle is not None
        assert [bundle.signed, bundle.kem] == newer

    @pytest.mark.asyncio
    async def test_prekeys_belong_to_a_bound_device(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        with pytest.raises(Forbidden):
            await store.put_prekeys(b"no such device 0", [SIGNED])
        await store.put_prekeys(PHONE, [SIGNED, LAST])
        assert await store.take_bundle(BOB, TABLET, TIME) is None


def policy(epoch: int, conversation: bytes = TALK, **fields: object) -> wire.Policy:
    values: dict[str, object] = {
        "ref": 7,
        "modes": {"text": "tls"},
        "first": ALICE,
        "second": BOB,
        "keys": (b"a" * 32, b""),
        "created": TIME,
        "previous": b"p" * 32,
        "signatures": (b"s" * 64, b""),
    }
    return wire.Policy(conversation=conversation, epoch=epoch, **{**values, **fields})  # type: ignore[arg-type]  # the fields of the test at hand


async def epochs(store: Store, conversation: bytes = TALK) -> list[int]:
    return [found.epoch for found in await store.policies(conversation)]


class PolicyContract:
    @pytest.mark.asyncio
    async def test_one_plan_to_end_a_mode_is_kept(self, place: Place) -> None:
        store = await place.open()
        assert await store.sunset() is None
        plan = Sunset(mode="e2ee", instead="tls", freeze=1, final=2)
        await store.put_sunset(plan)
        later = msgspec.structs.replace(plan, phase="frozen")
        await store.put_sunset(later)
        assert await store.sunset() == later
        store = await place.open()
        assert await store.sunset() == later

    @pytest.mark.asyncio
    async def test_conversations_are_counted_by_their_newest_epoch_in_force(
        self, place: Place
    ) -> None:
        store = await place.open()
        modes: wire.Modes = {"text": "e2ee", "call": "tls"}
        first = policy(1, modes=modes)
        await store.put_policy(first)
        assert await store.conversations_in("e2ee") == await store.conversations_in("tls") == 1
        lower = msgspec.structs.replace(
            first, epoch=2, modes={"text": "tls", "call": "tls"}, state="prepared"
        )
        await store.put_policy(lower)
        assert await store.conversations_in("e2ee") == 1
        await store.put_policy(msgspec.structs.replace(lower, state="in_force"))
        assert await store.conversations_in("e2ee") == 0

    @pytest.mark.asyncio
    async def test_the_service_epoch_rises_when_the_default_changes(self, place: Place) -> None:
        store = await place.open()
        assert await store.service_epoch({"text": "tls", "call": "e2ee"}) == 1
        assert await store.service_epoch({"call": "e2ee", "text": "tls"}) == 1
        assert await store.service_epoch({"text": "e2ee", "call": "e2ee"}) == 2
        store = await place.open()
        assert await store.service_epoch({"text": "e2ee", "call": "e2ee"}) == 2
        assert await store.service_epoch({"text": "tls", "call": "e2ee"}) == 3

    @pytest.mark.asyncio
    async def test_all_epochs_come_back_ascending(self, place: Place) -> None:
        store = await place.open()
        for epoch in (2, 1, 11):
            await store.put_policy(policy(epoch))
        store = await place.open()
        assert await epochs(store) == [1, 2, 11]
        assert await epochs(store, OTHER_TALK) == []
        expected = msgspec.structs.replace(policy(1), ref=0)
        assert (await store.policies(TALK))[0] == expected

    @pytest.mark.asyncio
    async def test_a_prepared_policy_comes_into_force(self, place: Place) -> None:
        store = await place.open()
        await store.put_policy(policy(1, state="prepared", deadline=TIME + 10))
        await store.put_policy(policy(1, state="in_force"))
        assert [found.state for found in await store.policies(TALK)] == ["in_force"]

    @pytest.mark.asyncio
    async def test_a_policy_makes_the_parties_known_and_no_head(self, place: Place) -> None:
        store = await place.open()
        await store.put_policy(policy(1))
        assert await store.parties(TALK) == (ALICE, BOB)
        assert await store.heads(ALICE) == []
