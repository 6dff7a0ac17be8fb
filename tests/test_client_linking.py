"""Linking and removing devices: real clients, a real relay, and what a person sees of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from client import Chat, device_wording, linking
from client.device_commands import which
from client.linking import Candidate, Linked
from client.terminal import Talk
from crypto_modes import policy, wire
from crypto_modes.errors import (
    BadArgument,
    Forbidden,
    FrameRefused,
    KeyRefused,
    LimitExceeded,
    LogRefused,
    UnknownDevice,
)
from server.store import LogRow
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, hostile_relay
from tests.log_liar import Liar, false_list, row_of, rows_of
from tests.test_client import enter, take, texts
from tests.test_client_terminal import Lines
from tests.test_louver_cli import hear, louver, register, start


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person waits seconds; a test need not."""
    monkeypatch.setattr(linking, "LOOK_SECONDS", 0.02)


async def link(old: Chat, new: Chat, *, with_account_key: bool = False) -> Linked:
    joining = await new.linking.begin("laptop")
    finishing = asyncio.create_task(new.linking.finish(joining))
    found = await old.linking.consider(joining.code.qr())
    assert (found.device, found.label) == (new.welcome.device, "laptop")
    done = await old.linking.approve(found, with_account_key=with_account_key)
    assert done.device == new.welcome.device
    return await finishing


async def listed(chat: Chat, of: str = "") -> set[bytes]:
    found = await chat.devices(of or chat.account)
    return {each.device for each in found.list.certificates} if found.list is not None else set()


@pytest.mark.asyncio
async def test_a_linked_device_talks_at_once_and_knows_whom_the_other_knew(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as phone:
        await alice.send("bob", "to the phone")
        assert texts(await take(phone)) == ["to the phone"]
        await phone.send("alice", "hello")
        async with enter(relay, "bob") as laptop:
            with pytest.raises(UnknownDevice):
                await laptop.send("alice", "too early")
            done = await link(phone, laptop)
            assert done == Linked(phone.welcome.device, 1, holds_account_key=False)
            assert laptop.unlinked is None
            assert laptop.safety_number("alice") == phone.safety_number("alice")
            mine, theirs = await laptop.policy("alice"), await phone.policy("alice")
            assert policy.digest(mine) == policy.digest(theirs)
            await laptop.send("alice", "from the laptop")
            assert texts(await take(alice, 2)) == ["hello", "from the laptop"]
            (own,) = await take(phone)
            assert (own.text, own.own) == ("from the laptop", True)
            (first,) = await laptop.history("alice", before=2)
            assert (first.text, first.warnings) == ("", ("no_copy",))
            assert await listed(alice, "bob") == {phone.welcome.device, laptop.welcome.device}


def show_another_log(relay: Running, hostile: HostileRelay, rows: list[LogRow]) -> Liar:
    """From now on whoever connects is shown a log in which Alice has another key."""
    liar = Liar(relay, rows, "bob").between(hostile)
    liar.rows[0] = row_of(false_list(rows[0].account))
    return liar


@pytest.mark.attack(14)
@pytest.mark.attack(19)
@pytest.mark.asyncio
async def test_a_new_device_holds_the_relay_to_the_log_that_the_other_has_seen(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with (
        hostile_relay(relay) as hostile,
        enter(relay, "alice"),
        enter(relay, "bob") as phone,
    ):
        await phone.key_watch.watch()
        pinned = phone.key_watch.log.pinned()
        show_another_log(relay, hostile, await rows_of(relay))
        async with enter(hostile, "bob") as laptop:  # type: ignore[arg-type]  # as a relay
            done = await link(phone, laptop)
            assert not done.one_log
            assert "SHOWS THIS DEVICE ANOTHER LOG OF KEYS" in device_wording.linked(done)
            assert pinned == laptop.key_watch.log.pinned()
            with pytest.raises(LogRefused):
                await laptop.send("alice", "to whom?")
            hostile.honest()
            laptop.key_watch.log.forget(laptop.key_watch.log.state().vkey)
            await laptop.send("alice", "to Alice")


@pytest.mark.attack(19)
@pytest.mark.asyncio
async def test_what_a_new_device_was_shown_before_it_was_linked_is_held_to_the_log(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with (
        hostile_relay(relay) as hostile,
        enter(relay, "alice"),
        enter(relay, "bob") as phone,
    ):
        await phone.key_watch.watch()
        liar = show_another_log(relay, hostile, await rows_of(relay))
        async with enter(hostile, "bob") as laptop:  # type: ignore[arg-type]  # as a relay
            await laptop.key_watch.log.update()
            liar.lying = False
            done = await link(phone, laptop)
            assert not done.one_log
            assert laptop.key_watch.log.proof()
        async with enter(hostile, "bob") as tablet:  # type: ignore[arg-type]  # as above
            await tablet.key_watch.log.update()
            assert (await link(phone, tablet)).one_log
            assert await tablet.key_watch.watch()


@pytest.mark.asyncio
async def test_a_device_without_the_account_key_asks_for_it_later(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with (
        enter(relay, "bob") as phone,
        enter(relay, "bob") as laptop,
        enter(relay, "bob") as tablet,
    ):
        await link(phone, laptop)
        assert not laptop.linking.holds_account_key
        joining = await tablet.linking.begin("tablet")
        found = await laptop.linking.consider(joining.code.text())
        with pytest.raises(BadArgument, match="does not hold the account key"):
            await laptop.linking.approve(found)
        with pytest.raises(BadArgument, match="does not hold the account key"):
            await laptop.linking.remove(phone.welcome.device)
        done = await link(phone, laptop, with_account_key=True)
        assert done.holds_account_key
        assert laptop.linking.holds_account_key
        with pytest.raises(BadArgument, match="it links others"):
            await laptop.linking.begin("again")
        await link(laptop, tablet)
        await laptop.linking.remove(phone.welcome.device)
        assert await listed(laptop) == {laptop.welcome.device, tablet.welcome.device}


@pytest.mark.asyncio
async def test_what_is_no_code_or_nobodys(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        with pytest.raises(BadArgument, match="ten groups of four"):
            await alice.linking.consider("ABCD-EFGH")
        async with enter(relay, "bob") as laptop:
            code = (await laptop.linking.begin("laptop")).code.text()
            wrong = "AF" + ("A" if code[2] != "A" else "B") + code[3:]
            for chat, typed in ((alice, code), (bob, wrong)):
                with pytest.raises((Forbidden, BadArgument)):
                    await chat.linking.consider(typed)
            with pytest.raises(KeyRefused, match="this very device"):
                await laptop.linking.consider(code)


@pytest.mark.asyncio
async def test_nobody_answers(start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "CODE_SECONDS", 0.2)
    monkeypatch.setattr(linking, "CONFIRMATION_SECONDS", 0.2)
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as phone, enter(relay, "bob") as laptop:
        joining = await laptop.linking.begin("laptop")
        with pytest.raises(LimitExceeded, match="did not answer in time"):
            await laptop.linking.finish(joining)
        with pytest.raises(LimitExceeded, match="did not answer in time"):
            await phone.linking.approve(await phone.linking.consider(joining.code.text()))
        # Nothing was published: nobody is kept from writing by a device that never came.
        assert await listed(phone) == {phone.welcome.device}
        for patience in ("CODE_SECONDS", "CONFIRMATION_SECONDS"):
            monkeypatch.setattr(linking, patience, 20.0)
        done = await link(phone, laptop)
        assert await listed(phone) == {phone.welcome.device, laptop.welcome.device}
        assert done.peers == 0


@pytest.mark.asyncio
async def test_a_list_that_changed_meanwhile_leaves_the_new_device_as_it_was(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with (
        enter(relay, "bob") as phone,
        enter(relay, "bob") as laptop,
        enter(relay, "bob") as tablet,
    ):
        joining = await laptop.linking.begin("laptop")
        found = await phone.linking.consider(joining.code.text())
        write, answered = phone.linking._write, asyncio.Event()

        async def noted(*given: Any) -> None:
            await write(*given)
            answered.set()

        phone.linking._write = noted  # type: ignore[method-assign]  # to know when
        approving = asyncio.create_task(phone.linking.approve(found))
        await asyncio.wait_for(answered.wait(), 30)
        phone.linking._write = write  # type: ignore[method-assign]  # and no longer
        await link(phone, tablet)  # a higher version is published before the laptop's
        with pytest.raises(FrameRefused, match="changed meanwhile"):
            await laptop.linking.finish(joining)
        approving.cancel()
        await asyncio.gather(approving, return_exceptions=True)
        assert "another device of yours; link this one to it" in str(laptop.unlinked)
        await link(phone, laptop)
        assert len(await listed(phone)) == 3


@pytest.mark.parametrize(("peers", "words"), [(0, "0 people"), (1, "1 person"), (2, "2 people")])
def test_what_was_handed_over_is_counted_as_people_count(peers: int, words: str) -> None:
    assert f"keys of {words} as" in device_wording.linked(linking.Linked(bytes(16), peers, False))
    approved = device_wording.approved(linking.Approved(bytes(16), peers, 0))
    assert f"What you know of {words} was" in approved


@pytest.mark.asyncio
async def test_keys_are_at_the_relay_before_the_list_that_names_their_device(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as phone, enter(relay, "bob") as laptop:
        store, order = relay.app.store, []
        for name in ("put_prekeys", "put_list"):

            def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
                async def noted(*given: Any) -> Any:
                    order.append(name)
                    return await real(*given)

                return noted

            monkeypatch.setattr(store, name, noting(name, getattr(store, name)), raising=False)
        await link(phone, laptop)
        assert order[:2] == ["put_prekeys", "put_list"]


# --- removing ---


@pytest.mark.asyncio
async def test_a_removed_device_is_out_at_once_and_says_so(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(enter(relay, "alice"))
        phone = await stack.enter_async_context(enter(relay, "bob"))
        tablet = await stack.enter_async_context(enter(relay, "bob", tmp_path))
        await link(phone, tablet)
        await alice.send("bob", "to both")
        assert texts([*await take(phone), *await take(tablet)]) == ["to both", "to both"]
        screen = Lines()
        talking = asyncio.create_task(Talk(tablet, "alice", alice.account, screen).run())
        await screen.see("/help")
        await phone.linking.remove(tablet.welcome.device)
        with pytest.raises(Forbidden, match="removed from the account"):
            await asyncio.wait_for(talking, 30)
        await alice.send("bob", "to the phone only")
        assert texts(await take(phone)) == ["to the phone only"]
        stored = await relay.app.store.after((await phone.policy("alice")).conversation, 1, 1)
        assert tablet.welcome.device not in stored[0].record
        await tablet.close()
        with pytest.raises(Forbidden, match="for good"):
            async with enter(relay, "bob", tmp_path):
                raise AssertionError("a removed device came in")
        assert await listed(alice, "bob") == {phone.welcome.device}
        with pytest.raises(UnknownDevice):
            await phone.linking.remove(tablet.welcome.device)
        with pytest.raises(BadArgument, match="you sit at"):
            await phone.linking.remove(phone.welcome.device)


# --- as a person does it ---


@pytest.mark.asyncio
async def test_two_terminals_link_and_remove(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    phone, laptop = tmp_path / "phone", tmp_path / "laptop"
    await register(relay, "bob", phone)
    code, out, err = await louver(
        "login", "bob", "--url", relay.url, "--ca", relay.ca, "--home", laptop
    )
    assert (code, err) == (0, "")
    assert "louver link" in out
    process = await start("link", "--home", laptop, "--label", "my laptop\x1b[2J")
    shown = await hear(process, "louver devices link")
    words = shown[-1].split()[-1]
    code, out, err = await louver("devices", "link", words, "--home", phone)
    assert (code, err.count("--yes")) == (2, 1)
    assert "my laptop\ufffd[2J" in out
    code, out, err = await louver("link", "--approve", words, "--yes", "--home", phone)
    assert (code, err) == (0, "")
    assert "Linked" in out
    assert "not on this device" in "".join(await hear(process, "Messages from before"))
    assert await process.wait() == 0
    code, out, _ = await louver("devices", "--json", "--home", laptop)
    devices = json.loads(out)["devices"]
    assert (code, len(devices)) == (0, 2)
    code, out, _ = await louver("devices", "remove", devices[1][:8], "--yes", "--home", phone)
    assert (code, out.splitlines()[-1]) == (0, "Removed.")
    code, _, err = await louver("devices", "--home", laptop)
    assert code == 1
    assert "was removed from its account for good" in err


@pytest.mark.asyncio
async def test_the_chat_links_too(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="tls")
    async with (
        enter(relay, "alice") as alice,
        enter(relay, "bob") as phone,
        enter(relay, "bob") as laptop,
    ):
        await phone._keys.publish({"e2ee"})
        assert alice.account
        old, new = Lines(), Lines()
        talks = [
            asyncio.create_task(Talk(chat, "alice", alice.account, screen).run())
            for chat, screen in ((phone, old), (laptop, new))
        ]
        await new.typed.put("/link")
        words = (await new.see("louver devices link")).splitlines()[2].split()[-1]
        await old.typed.put(f"/link {words}")
        await old.see("To approve: /link yes")
        await old.typed.put("/link yes")
        await old.see("Linked")
        await new.see("Linked by your device")
        for screen in (old, new):
            await screen.typed.put("/devices")
            await screen.see("(this one)")
            await screen.typed.put("/quit")
        await asyncio.gather(*talks)


def test_a_device_is_named_by_its_id_only() -> None:
    def certificate(device: bytes) -> wire.Certificate:
        return wire.Certificate(
            device=device, signing=b"s" * 32, agreement=b"a" * 32, created=0, signature=b""
        )

    ids = (b"\x01" * 16, b"\x01" * 4 + b"\x02" * 12)
    own = wire.Devices(
        ref=0,
        account=b"a" * 16,
        name="bob",
        key=b"k" * 32,
        list=wire.DeviceList(version=1, certificates=tuple(map(certificate, ids)), signature=b""),
    )
    assert which(ids[0].hex(), own) == ids[0]
    assert which(" 0101010102", own) == ids[1]
    for typed in ("01010101", "0202", "", "x" * 32, (b"s" * 32).hex(), ids[0].hex() + "00"):
        with pytest.raises(BadArgument, match="by its id"):
            which(typed, own)


def test_a_candidate_does_not_print_its_code() -> None:
    assert repr(Candidate(None, b"", b"d" * 16, "", replaces=False)).count("=") == 0  # type: ignore[arg-type]  # not looked at
