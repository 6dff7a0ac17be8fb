"""Backing up and restoring from end to end: what a new device has, and what no device has twice."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from client import Chat, Keystore, Password, connect
from client import backup as backups
from client.backup import KEPT, LEFT
from client.keystore import _open_database
from client.memory import Memory
from crypto_modes import backup, policy, wire
from crypto_modes.e2ee import identity, sessions
from crypto_modes.e2ee.server import find
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    BelowFloor,
    CannotOpen,
    CannotResume,
    Forbidden,
    KeyRefused,
)
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, edit, hostile_relay
from tests.test_client import enter, take, texts

KEY = bytes(range(32))
ROOT = Path(__file__).parent.parent


def opened(place: Path, name: str) -> Keystore:
    return Keystore.open(place / f"{name}.db", key_file=place / f"{name}.key")


def saved(relay: Running, place: Path, name: str) -> Path:
    """A backup of ``name``'s key store, which is closed."""
    file = place / f"{name}.backup"
    store = opened(place, name)
    backups.create(store, relay.url, file, KEY)
    store.close()
    return file


def restored(relay: Running | HostileRelay, file: Path, name: str, place: Path | None = None):  # type: ignore[no-untyped-def]  # a chat to enter
    """A new device of ``name`` from a backup, connected."""
    store = Keystore.in_memory() if place is None else opened(place, f"{name}-new")
    backups.restore(file, KEY, store)
    return connect(relay.url, name=name, keystore=store, credentials=Password("a long password"))


def rows(file: Path) -> list[backup.Row]:
    with file.open("rb") as stream:
        return list(backup.contents(backup.open_(KEY, stream.read))[1])


async def listed(chat: Chat, name: str) -> set[bytes]:
    found = await chat.devices(name)
    assert found.list is not None
    return {each.device for each in found.list.certificates}


# --- what comes back ---


@pytest.mark.parametrize("mode", ["tls", "at_rest", "e2ee"])
@pytest.mark.asyncio
async def test_a_lost_device_is_replaced_by_a_new_one_with_its_history(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    relay = await start_relay(mode=mode)
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", tmp_path) as bob:
            sent = await alice.send("bob", "before")
            await take(bob)
            await bob.send("alice", "answer")
            assert texts(await take(alice)) == ["answer"]
            old, number = bob.welcome.device, bob.safety_number("alice")
            seen = await bob.history("alice")
        file = saved(relay, tmp_path, "bob")
        async with restored(relay, file, "bob") as bob:
            assert bob.unlinked is None
            assert bob.welcome.device != old
            assert bob.account == seen[0].recipient
            again = await bob.history("alice")
            assert texts(again) == texts(seen) == ["before", "answer"]
            assert again[0].evidence == seen[0].evidence
            assert bob.safety_number("alice") == number
            # No earlier key is asked for, and the other user compares nothing again.
            assert await listed(alice, "bob") == {bob.welcome.device}
            await alice.send("bob", "welcome back")
            await bob.send("alice", "I am", reply_to=sent.id)
            assert texts(await take(bob)) == ["welcome back"]
            assert texts(await take(alice)) == ["I am"]
            assert alice.safety_number("bob") == number


@pytest.mark.attack(15)
@pytest.mark.asyncio
async def test_floors_and_pins_come_back(start_relay: StartRelay, tmp_path: Path) -> None:
    """A relay that forgot, or lies, finds a restored device no more trusting than the old one."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", tmp_path) as bob:
            await alice.send("bob", "one")
            await take(bob)
        async with restored(relay, saved(relay, tmp_path, "bob"), "bob") as bob:
            current = bob._trust.pins.current((await alice.policy("bob")).conversation)
            assert current is not None
            weaker = msgspec.structs.replace(
                current,
                epoch=current.epoch + 1,
                modes=dict.fromkeys(wire.KINDS, "tls"),
                previous=policy.digest(current),
            )
            with pytest.raises(BelowFloor):
                await bob._trust.believe(weaker)


@pytest.mark.asyncio
async def test_other_devices_stay_and_only_the_lost_one_goes(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", tmp_path) as phone, enter(relay, "bob") as laptop:
            lost = phone.welcome.device
            joining = await laptop.linking.begin("laptop")
            candidate = await phone.linking.consider(joining.code.text())
            await asyncio.gather(laptop.linking.finish(joining), phone.linking.approve(candidate))
            await phone.devices(phone.account)
        file = saved(relay, tmp_path, "bob")
        async with restored(relay, file, "bob") as bob:
            assert await listed(alice, "bob") == {bob.welcome.device, candidate.device}
            assert lost not in await listed(alice, "bob")


# --- what does not ---


@pytest.mark.attack(7)
@pytest.mark.asyncio
async def test_a_backup_has_no_ratchet_no_prekey_and_no_token(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob", tmp_path) as bob:
        await alice.send("bob", "one")
        await take(bob)
        await bob.send("alice", "two")
        store = bob._memory.store
        own = identity._own(store.get(identity.OWN, b"") or b"")
        secrets = [own.signing, own.agreement, Memory(store).identity().token.encode()]
        secrets += [identity._stored(raw).secret for _, raw in store.scan(identity.PREKEYS)]
        for table in (sessions.ACTIVE, sessions.INACTIVE):
            for _, raw in store.scan(table):
                session = sessions.sessions.from_bytes(raw)
                secrets += [value for value in _leaves(session) if len(value) >= 32]
    file = saved(relay, tmp_path, "bob")
    with file.open("rb") as stream:
        plain = b"".join(backup.open_(KEY, stream.read))
    public = {own.account_key}
    assert len(secrets) > 200
    assert [secret.hex() for secret in secrets if secret not in public and secret in plain] == []
    assert own.account_seed in plain


def _leaves(value: object) -> list[bytes]:
    """Every byte string inside a session."""
    if isinstance(value, bytes):
        return [value]
    names = getattr(value, "__struct_fields__", None) or getattr(value, "__slots__", ())
    if names:
        return [leaf for name in names for leaf in _leaves(getattr(value, name))]
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, tuple) else []


@pytest.mark.attack(7)
@pytest.mark.asyncio
async def test_the_device_that_made_the_backup_is_shut_out(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """Row 7, cloning by export: after a restore the old state neither reads nor is believed."""
    relay = await start_relay(mode="e2ee")
    clone = tmp_path / "clone"
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", tmp_path) as bob:
            await alice.send("bob", "one")
            await take(bob)
            await bob.send("alice", "two")
            assert texts(await take(alice)) == ["two"]
            lost = bob.welcome.device
        file = saved(relay, tmp_path, "bob")
        clone.mkdir()
        for name in ("bob.db", "bob.key"):
            shutil.copy(tmp_path / name, clone / name)
        async with restored(relay, file, "bob") as bob:
            sent = await alice.send("bob", "for the new device only")
            assert texts(await take(bob)) == ["for the new device only"]
            with pytest.raises(Forbidden, match="removed from its account"):
                async with enter(relay, "bob", clone):
                    pass
            # Nor would a relay that lets it in be of help: nothing is encrypted to it.
            assert await listed(alice, "bob") == {bob.welcome.device}
            (stored,) = await relay.app.store.before(sent.conversation, 0, 1)
            copies = [find(stored.record, device) for device in (lost, bob.welcome.device)]
            assert (copies[0], copies[1] != b"") == (b"", True)


@pytest.mark.asyncio
async def test_disappearing_messages_are_not_backed_up(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob", tmp_path) as bob:
        await alice.send("bob", "stays")
        await take(bob)
        await alice.compose.timer("bob", 3600)
        await alice.send("bob", "goes")
        assert texts(await take(bob, 2))[1] == "goes"
    file = saved(relay, tmp_path, "bob")
    with file.open("rb") as stream:
        plain = b"".join(backup.open_(KEY, stream.read))
    assert b"stays" in plain
    assert b"goes" not in plain


@pytest.mark.asyncio
async def test_every_table_is_decided_upon(start_relay: StartRelay, tmp_path: Path) -> None:
    """A new table must be named in one of the two lists, or this fails."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob", tmp_path) as bob:
        await alice.send("bob", "one")
        (message,) = await take(bob)
        await bob.compose.react("alice", message.id, "👍")
        await bob.compose.timer("alice", 60)
        await bob.send("alice", "goes")
    database = _open_database(tmp_path / "bob.db")
    found = {name for (name,) in database.execute("SELECT DISTINCT name FROM rows")}
    database.close()
    assert found - {*KEPT, *LEFT} == set()
    assert len(found) > 12
    assert set(KEPT).isdisjoint(LEFT)


def test_every_table_that_the_code_names_is_decided_upon() -> None:
    rooms = (*(ROOT / "client").glob("*.py"), *(ROOT / "crypto_modes").rglob("*.py"))
    text = " ".join(path.read_text() for path in rooms)
    named = set(re.findall(r'"((?:client|e2ee|key_log|polic)[a-z]*(?:_[a-z]+)+|policies)"', text))
    assert named - {*KEPT, *LEFT} == set()


# --- refusals ---


@pytest.mark.asyncio
async def test_nothing_of_a_broken_backup_is_kept(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob", tmp_path) as bob:
        for n in range(8):
            await alice.send("bob", "x" * 15_000 + str(n))
        await take(bob, 8)
    file = saved(relay, tmp_path, "bob")
    assert file.stat().st_mode & 0o777 == 0o600
    whole = file.read_bytes()
    store = Keystore.in_memory()
    for broken, key in (
        (whole[:-1], KEY),
        (whole[: len(whole) // 2], KEY),
        (whole[:-20] + b"\0" + whole[-19:], KEY),
        (whole, os.urandom(32)),
        (b"", KEY),
    ):
        file.write_bytes(broken)
        with pytest.raises(CannotOpen):
            backups.restore(file, key, store)
        assert not any(list(store.scan(table)) for table in KEPT)
        assert Memory(store).identity().account == b""
    file.write_bytes(whole)
    assert backups.restore(file, KEY, store).name == "bob"
    with pytest.raises(BadArgument, match="in use"):
        backups.restore(file, KEY, store)


@pytest.mark.asyncio
async def test_a_backup_belongs_to_one_account_at_one_relay(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay, other = await start_relay(mode="e2ee"), await start_relay(mode="e2ee")
    async with enter(relay, "bob", tmp_path):
        pass
    file = saved(relay, tmp_path, "bob")
    async with enter(other, "bob"):
        pass
    with pytest.raises(CannotResume):
        async with restored(other, file, "bob"):
            pass


@pytest.mark.asyncio
async def test_an_account_whose_key_was_replaced_since_is_not_taken_back(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob", tmp_path):
        pass
    file = saved(relay, tmp_path, "bob")
    async with enter(relay, "bob", replace_key=True):
        pass
    with pytest.raises(KeyRefused, match=r"log holds another key for your account.*nothing was"):
        async with restored(relay, file, "bob"):
            pass


@pytest.mark.parametrize("moved_to", ["another key", "a newer list"])
@pytest.mark.asyncio
async def test_a_relay_that_shows_the_account_as_it_was_gets_nothing_to_publish(
    start_relay: StartRelay, tmp_path: Path, moved_to: str
) -> None:
    """What it shows is really signed, and in the log; only the log says that more came after."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob", tmp_path) as bob:
        former = await bob.devices(bob.account)
    file = saved(relay, tmp_path, "bob")
    if moved_to == "another key":
        async with enter(relay, "bob", replace_key=True):
            pass
    else:
        # Not in the backup's memory: the device that made it has linked another one since.
        async with enter(relay, "bob", tmp_path) as bob, enter(relay, "bob") as laptop:
            joining = await laptop.linking.begin("laptop")
            candidate = await bob.linking.consider(joining.code.text())
            await asyncio.gather(laptop.linking.finish(joining), bob.linking.approve(candidate))
    async with hostile_relay(relay) as hostile:
        hostile.down(wire.Devices, edit(key=former.key, list=former.list))
        wanted = {"another key": "holds another key", "a newer list": "an older list"}[moved_to]
        with pytest.raises(KeyRefused, match=f"{wanted}.*nothing was published"):
            async with restored(hostile, file, "bob"):
                pass
        published = [frame for _, frame in hostile.said if isinstance(frame, wire.Publish)]
        assert published == []


@pytest.mark.asyncio
async def test_what_a_crash_interrupts_is_taken_up_again(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", tmp_path) as bob:
            await bob.send("alice", "one")
            assert texts(await take(alice)) == ["one"]
        file = saved(relay, tmp_path, "bob")

        async def crash(*_: object, **__: object) -> None:
            raise RuntimeError("the power went")

        with monkeypatch.context() as broken:
            broken.setattr("client.keys.OwnKeys.publish_of", crash)
            with pytest.raises(RuntimeError):
                async with restored(relay, file, "bob", tmp_path):
                    pass
        store = opened(tmp_path, "bob-new")
        login = Password("a long password")
        async with connect(relay.url, name="bob", keystore=store, credentials=login) as bob:
            assert await listed(alice, "bob") == {bob.welcome.device}
            await bob.send("alice", "here again")
            assert texts(await take(alice)) == ["here again"]


@pytest.mark.asyncio
async def test_without_the_account_key_history_comes_back_and_linking_is_needed(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as phone:
        async with enter(relay, "bob", tmp_path) as laptop:
            joining = await laptop.linking.begin("laptop")
            candidate = await phone.linking.consider(joining.code.text())
            await asyncio.gather(laptop.linking.finish(joining), phone.linking.approve(candidate))
            await alice.send("bob", "one")
            assert texts(await take(laptop)) == ["one"]
        file = saved(relay, tmp_path, "bob")
        async with restored(relay, file, "bob") as bob:
            assert bob.unlinked is not None
            assert texts(await bob.history("alice")) == ["one"]


def test_a_store_without_an_account_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="nothing to back up"):
        backups.create(Keystore.in_memory(), "", tmp_path / "x", KEY)
    with pytest.raises(BadConfig, match="cannot read"):
        backups.look(tmp_path / "missing", KEY)
