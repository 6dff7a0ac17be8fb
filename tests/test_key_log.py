"""The relay's key log: entered with each list, durable with it, and proved to whoever asks."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import msgspec
import pytest

from crypto_modes import wire
from crypto_modes.e2ee import devices
from crypto_modes.errors import BadArgument, BadConfig, KeyRefused
from crypto_modes.keys import AgreementKey, SigningKey
from crypto_modes.transparency import key_log, note, tree
from crypto_modes.transparency.note import Checkpoint
from server.key_log import OPENINGS_BYTES
from server.store.sqlite import SqliteStore, files
from server.store.sqlite import key_log as rows
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient
from tests.store_directory_contract import device_list
from tests.store_entries import ALICE, BOB, CAROL, account, populate

pytestmark = pytest.mark.asyncio
KEY = b"k" * 32


async def opened(data: Path, **options: object) -> SqliteStore:
    store = SqliteStore(data, on_fatal=lambda refusal: pytest.fail(str(refusal)), **options)  # type: ignore[arg-type]  # a durability
    await store.open()
    return store


def leaf(owner: bytes, version: int) -> bytes:
    return key_log.hash_of(key_log.tag(owner), key_log.entry(owner, KEY, device_list(version)))


# --- the store ---


async def test_a_list_and_its_entry_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    assert await store.log_proofs(0, 0, b"") == rows.LogProofs(newest=(0, tree.EMPTY_ROOT), size=0)
    await populate(store)
    for owner, version in ((ALICE, 1), (BOB, 1), (ALICE, 2)):
        await store.put_list(owner, KEY, device_list(version))
    with pytest.raises(KeyRefused):
        await store.put_list(ALICE, KEY, device_list(2))
    await store.close()
    store = await opened(tmp_path)
    found = await store.log_rows(0, 10)
    assert [(row.index, row.account, row.list.version) for row in found] == [
        (0, ALICE, 1),
        (1, BOB, 1),
        (2, ALICE, 2),
    ]
    assert [row.index for row in await store.log_rows(1, 1)] == [1]
    hashes = [leaf(ALICE, 1), leaf(BOB, 1), leaf(ALICE, 2)]
    assert [key_log.hash_of(row.entry.tag, row.entry.entry) for row in found] == hashes
    frontier = tree.Frontier()
    for each in hashes:
        frontier.append(each)
    proofs = await store.log_proofs(0, 1, leaf(BOB, 1))
    assert (proofs.newest, proofs.size, proofs.index) == ((3, frontier.root()), 3, 1)
    tree.check_inclusion(leaf(BOB, 1), 1, 3, proofs.inclusion, frontier.root())
    tree.check_consistency(1, 3, proofs.consistency, leaf(ALICE, 1), frontier.root())
    await store.close()


async def test_proofs_are_of_any_size_that_the_log_had(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await populate(store)
    for version in range(1, 20):
        await store.put_list(ALICE, KEY, device_list(version))
    roots = [tree.EMPTY_ROOT]
    frontier = tree.Frontier()
    for version in range(1, 20):
        frontier.append(leaf(ALICE, version))
        roots.append(frontier.root())
    for size in range(1, 20):
        for since in range(1, size + 1):
            proofs = await store.log_proofs(size, since, leaf(ALICE, since))
            top = roots[size]
            tree.check_consistency(since, size, proofs.consistency, roots[since], top)
            tree.check_inclusion(leaf(ALICE, since), since - 1, size, proofs.inclusion, top)
    assert (await store.log_proofs(5, 0, leaf(ALICE, 6))).index is None
    for size, since in ((20, 0), (5, 6), (0, 20)):
        with pytest.raises(BadArgument):
            await store.log_proofs(size, since, b"")
    await store.close()


async def test_lists_older_than_the_log_are_entered_at_the_first_start(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    early = account(CAROL, "carol", key=KEY, list=device_list(4))
    early = msgspec.structs.replace(early, created=1)
    for each in (account(key=KEY, list=device_list(7)), early, account(BOB, "bob")):
        await store.add_account(each)
    assert await store.log_rows(0, 10) == []
    await store.close()
    store = await opened(tmp_path)
    found = await store.log_rows(0, 10)
    assert [(row.account, row.list.version) for row in found] == [(CAROL, 4), (ALICE, 7)]
    await store.put_list(ALICE, KEY, device_list(8))
    await store.close()
    store = await opened(tmp_path)
    assert [row.list.version for row in await store.log_rows(0, 10)] == [4, 7, 8]
    await store.close()


async def test_an_entry_can_be_neither_changed_nor_entered_twice(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await populate(store)
    await store.put_list(ALICE, KEY, device_list(1))
    await store.close()
    db = apsw.Connection(str(tmp_path / files.MESSAGES))
    with pytest.raises(apsw.ConstraintError):
        rows.append(db, ALICE, KEY, device_list(1))
    db.close()


async def test_a_relaxed_store_syncs_what_it_is_about_to_have_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    store = await opened(tmp_path, durability="relaxed")
    await populate(store)
    monkeypatch.setattr(os, "fsync", watched)
    await store.put_list(ALICE, KEY, device_list(1))
    assert synced == []
    for _ in range(3):
        await store.log_proofs(0, 0, b"")
    assert synced == ["louver.db-wal"]
    await store.close()


# --- the relay ---


class Owner:
    """A user with real keys; ``publish`` publishes the next version of the list."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.key = SigningKey(os.urandom(32))
        self.signing = SigningKey(os.urandom(32))
        self.agreement = AgreementKey(os.urandom(32))
        self.version = 0

    async def publish(self) -> wire.DeviceList:
        me = self.client
        request = devices.Request(me.device, self.signing.public, self.agreement.public, 1, b"")
        signed = self.signing.sign(request.signed(me.account))
        certificate = devices.certify(me.account, self.key, request._replace(signature=signed))
        self.version += 1
        listed = devices.sign_list(me.account, self.key, self.version, (certificate,))
        frame = wire.Publish(ref=me.ref(), key=self.key.public, list=listed)
        assert (await me.ask(frame, wire.Published)).version == self.version
        return listed

    def leaf(self, listed: wire.DeviceList) -> bytes:
        owner = self.client.account
        return key_log.hash_of(key_log.tag(owner), key_log.entry(owner, self.key.public, listed))


async def ask(client: RawClient, **fields: object) -> wire.Log:
    return await client.ask(wire.GetLog(ref=client.ref(), **fields), wire.Log)  # type: ignore[arg-type]  # the fields of the test at hand


def head(client: RawClient, log: wire.Log) -> Checkpoint:
    """The checkpoint, signed by the log of this relay."""
    assert client.welcome is not None
    return note.open_checkpoint(log.checkpoint, key_log.log_of(client.welcome.relay, log.key))


async def test_what_is_published_is_proved_to_everybody(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    empty = await ask(bob)
    assert head(bob, empty)[1:3] == (0, tree.EMPTY_ROOT)
    owner, other = Owner(alice), Owner(bob)
    first = await owner.publish()
    before = head(bob, await ask(bob))
    await other.publish()
    second = await owner.publish()
    log = await ask(bob, since=before.size, leaf=owner.leaf(second))
    after = head(bob, log)
    assert (before.size, after.size, log.index, log.size) == (1, 3, 2, 3)
    tree.check_inclusion(owner.leaf(second), log.index, 3, log.inclusion, after.root)
    tree.check_consistency(1, 3, log.consistency, before.root, after.root)
    earlier = await ask(bob, size=1, leaf=owner.leaf(first))
    assert (earlier.size, head(bob, earlier)) == (1, after)
    tree.check_inclusion(owner.leaf(first), 0, 1, earlier.inclusion, before.root)
    # A repeated publication is no second entry.
    again = wire.Publish(ref=alice.ref(), key=owner.key.public, list=second)
    await alice.ask(again, wire.Published)
    assert head(bob, await ask(bob)) == after


async def test_what_was_never_entered_has_no_proof(relay: Running) -> None:
    alice = await relay.enter("alice")
    owner = Owner(alice)
    await owner.publish()
    for fields in ({"leaf": b"x" * 32}, {"size": 2}, {"since": 2}):
        refusal = await alice.refusal(wire.GetLog(ref=alice.ref(), **fields))  # type: ignore[arg-type]  # as above
        assert (refusal.code, refusal.temporary) == (107, False)


async def test_a_page_opens_the_own_entries_and_nobody_elses(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    owner, other = Owner(alice), Owner(bob)
    lists = [await owner.publish(), await owner.publish()]
    foreign = await other.publish()
    get = wire.GetEntries(ref=alice.ref(), start=0)
    page = await alice.ask(get, wire.Entries)
    hashes = [key_log.hash_of(each.tag, each.entry) for each in page.entries]
    assert hashes == [*(owner.leaf(each) for each in lists), other.leaf(foreign)]
    assert [(each.index, each.key, each.list) for each in page.own] == [
        (index, owner.key.public, each) for index, each in enumerate(lists)
    ]
    rest = wire.GetEntries(ref=bob.ref(), start=1, limit=1)
    page = await bob.ask(rest, wire.Entries)
    assert (len(page.entries), page.own, page.start) == (1, (), 1)
    beyond = await bob.ask(wire.GetEntries(ref=bob.ref(), start=9), wire.Entries)
    assert beyond.entries == ()


async def test_a_page_ends_where_too_much_would_have_to_be_opened(relay: Running) -> None:
    alice = await relay.enter("alice")
    owner = Owner(alice)
    total = OPENINGS_BYTES // 256
    for _ in range(total):
        await owner.publish()
    read, pages = 0, 0
    while read < total:
        get = wire.GetEntries(ref=alice.ref(), start=read)
        page = await alice.ask(get, wire.Entries)
        assert wire.size_of(page) < wire.FRAME_LIMIT
        assert len(page.own) == len(page.entries) > 0
        read, pages = read + len(page.entries), pages + 1
    assert (read, pages) == (total, 2)


async def test_pages_are_as_slow_as_look_ups_and_beside_them(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"lookup_rate": 0.01, "lookup_burst": 3})
    alice = await relay.enter("alice")
    for _ in range(3):
        await alice.ask(wire.GetEntries(ref=alice.ref(), start=0), wire.Entries)
    refusal = await alice.refusal(wire.GetEntries(ref=alice.ref(), start=0))
    assert (refusal.code, refusal.temporary) == (111, True)
    assert refusal.retry_after > 50
    await alice.ask(wire.GetDevices(ref=alice.ref(), name="alice"), wire.Devices)
    await ask(alice)


async def test_the_log_goes_on_after_a_restart_under_the_same_key(relay: Running) -> None:
    alice = await relay.enter("alice")
    owner = Owner(alice)
    await owner.publish()
    before = await ask(alice)
    await alice.close()
    await relay.restart()
    owner.client = alice = await alice.again(relay.url)
    assert (await ask(alice)).checkpoint == before.checkpoint
    await owner.publish()
    log = await ask(alice, since=1)
    assert log.key == before.key
    old, new = head(alice, before), head(alice, log)
    tree.check_consistency(1, 2, log.consistency, old.root, new.root)


async def test_a_lost_or_swapped_log_key_stops_the_start(relay: Running) -> None:
    port, secret = relay.port, relay.data / "keylog.key"
    await relay.app.stop()
    assert secret.stat().st_mode & 0o777 == 0o600
    backup = secret.rename(relay.data / "backup")
    with pytest.raises(BadConfig, match=r"keylog\.key is missing.*restore it from its backup"):
        await relay.start_again(port)
    assert not secret.exists()
    secret.write_bytes(os.urandom(32))
    secret.chmod(0o600)
    with pytest.raises(BadConfig, match="not the key that signed this relay's key log"):
        await relay.start_again(port)
    backup.replace(secret)
    await relay.start_again(port)
