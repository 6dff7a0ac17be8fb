"""Several devices a user, up to ten: real clients and a real relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from client import Chat, Password, linking
from client.backoff import Backoff
from client.lane import Lane, Pending
from client.memory import Outbound
from crypto_modes import wire
from crypto_modes.contract import Draft
from crypto_modes.e2ee import identity
from crypto_modes.errors import LimitExceeded, LouverError, StaleDevices
from server.entrance import DEVICES_PER_ACCOUNT
from tests.conftest import Running, StartRelay
from tests.raw_client import PASSWORD, RawClient, Refused
from tests.test_client import deaf, enter, take, texts
from tests.test_client_linking import link, listed

protocols = pytest.mark.parametrize("protocol", ["msgpack", "json"])


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person waits seconds and a device makes 200 prekeys; a test need not."""
    monkeypatch.setattr(linking, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(identity, "ONCE_COUNT", 4)
    monkeypatch.setattr(identity, "REFILL_BELOW", 1)


@asynccontextmanager
async def devices(
    relay: Running, name: str, count: int, **options: object
) -> AsyncIterator[list[Chat]]:
    """So many linked devices of one user."""
    async with AsyncExitStack() as stack:
        chats = [
            await stack.enter_async_context(enter(relay, name, **options)) for _ in range(count)
        ]
        for other in chats[1:]:
            await link(chats[0], other)
        yield chats


async def heard(chat: Chat, count: int) -> list[str]:
    return texts(await take(chat, count))


@protocols
@pytest.mark.asyncio
async def test_ten_devices_of_both_hear_everything(start_relay: StartRelay, protocol: str) -> None:
    relay = await start_relay(mode="e2ee", limits={"connections_per_account": 20})
    async with (
        devices(relay, "alice", 10, protocol=protocol) as hers,
        devices(relay, "bob", 10, protocol=protocol) as his,
    ):
        long = "x" * 1000
        for text in ("first", long, "third"):
            await hers[0].send("bob", text)
        for chat in (*hers[1:], *his):
            assert await heard(chat, 3) == ["first", long, "third"]
        await his[9].send("alice", "answer")
        for chat in (*hers, *his[:9]):
            assert await heard(chat, 1) == ["answer"]
        for size in (1200, 2400) if protocol == "json" else (2400,):  # JSON takes a third more
            with pytest.raises(LimitExceeded, match="too long for 19 devices in one frame; split"):
                await hers[0].send("bob", "x" * size)
        await hers[0].send("bob", "after")  # the connection stands, and no key was spent
        assert await heard(his[3], 1) == ["after"]


@pytest.mark.asyncio
async def test_an_eleventh_device_is_told_what_to_do(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with devices(relay, "alice", 2, credentials=Password(PASSWORD, register=True)):
        for _ in range(DEVICES_PER_ACCOUNT - 2):
            await (await RawClient.open(relay.url)).register("alice", login=True)
        with pytest.raises(Refused) as refused:
            await (await RawClient.open(relay.url)).register("alice", login=True)
        assert refused.value.error.name == "limit"
        assert "at most 10 devices; remove one" in refused.value.error.message


@pytest.mark.asyncio
async def test_an_offline_device_catches_up_and_a_late_one_has_nothing_older(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as phone:
        async with enter(relay, "bob", tmp_path) as tablet:
            await link(phone, tablet)
            await alice.send("bob", "one")
            assert await heard(tablet, 1) == ["one"]
        await alice.send("bob", "two")
        await phone.send("alice", "three")
        assert await heard(phone, 2) == ["one", "two"]
        async with enter(relay, "bob", tmp_path, credentials=None) as tablet:
            got = await take(tablet, 2)
            assert [(each.text, each.own, each.warnings) for each in got] == [
                ("two", False, ()),
                ("three", True, ()),
            ]
        async with enter(relay, "bob") as laptop:
            await link(phone, laptop)
            older = await laptop.history("alice")
            assert [(each.text, each.warnings) for each in older] == [("", ("no_copy",))] * 3
            await alice.send("bob", "four")
            (message,) = await take(laptop)
            assert message.text == "four"


@pytest.mark.asyncio
async def test_nothing_is_lost_while_devices_come_and_go(start_relay: StartRelay) -> None:
    """Both talk all the time from two devices each; meanwhile Bob links and removes others."""
    relay = await start_relay(mode="e2ee")
    stop = asyncio.Event()
    sent: dict[str, list[str]] = {"alice": [], "bob": []}

    async def talk(chat: Chat, peer: str, who: str) -> None:
        while not stop.is_set():
            text = f"{who} {len(sent[who])}"
            sent[who].append(text)
            await chat.send(peer, text)

    async with devices(relay, "alice", 2) as hers, devices(relay, "bob", 2) as his:
        await hers[0].send("bob", "begin")
        for chat in (hers[1], *his):
            assert await heard(chat, 1) == ["begin"]
        talking = [
            asyncio.create_task(talk(hers[0], "bob", "alice")),
            asyncio.create_task(talk(his[0], "alice", "bob")),
        ]
        for _ in range(3):
            async with enter(relay, "bob") as guest:
                await link(his[0], guest)
                while len(await take(guest)) < 1:
                    await asyncio.sleep(0)
                await his[0].linking.remove(guest.welcome.device)
        stop.set()
        await asyncio.gather(*talking)
        everything = len(sent["alice"]) + len(sent["bob"])
        assert everything > 20
        for chat, own in ((hers[1], "alice"), (his[1], "bob")):
            got = await take(chat, everything)
            assert {each.warnings for each in got} == {()}
            for who, said in sent.items():
                assert [each.text for each in got if each.own == (who == own)] == said
        for chat, who in ((hers[0], "bob"), (his[0], "alice")):
            assert await heard(chat, len(sent[who])) == sent[who]
        assert await listed(his[0]) == {each.welcome.device for each in his}


@pytest.mark.asyncio
async def test_who_was_removed_before_a_session_began_keeps_nobody_from_writing(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as phone:
        await alice.send("bob", "one")
        assert await heard(phone, 1) == ["one"]
        async with enter(relay, "bob") as guest:
            await link(phone, guest)
            assert guest.welcome.device in await listed(alice, "bob")
            monkeypatch.setattr(alice._trust, "pushed", deaf)
            await phone.linking.remove(guest.welcome.device)
            await alice.send("bob", "two")  # it still believes in a device that has no keys now
            assert await heard(phone, 1) == ["two"]


class Desk:
    """Seals at once; ``news`` says for each refusal whether the lists have changed."""

    def __init__(self, news: bool) -> None:
        self.news = news
        self.posted: list[wire.Send] = []
        self.failures: list[LouverError] = []

    def seal_now(self, pending: Pending) -> Outbound:
        frame = wire.Send(ref=1, id=pending.draft.id, mode="e2ee", epoch=1)
        return Outbound(number=1, peer=b"p" * 16, frame=frame, content=b"")

    async def seal(self, pending: Pending) -> Outbound:
        return self.seal_now(pending)

    async def refresh(self, pending: Pending, refusal: LouverError) -> bool:
        return self.news

    def outdated(self, frame: wire.Send) -> bool:
        return False

    def post(self, frame: wire.Send) -> bool:
        self.posted.append(frame)
        return True

    def failed(self, pending: Pending, error: LouverError) -> None:
        self.failures.append(error)


@pytest.mark.parametrize("news", [True, False])
@pytest.mark.asyncio
async def test_a_message_outlasts_every_change_of_the_lists_but_not_a_relay_that_only_refuses(
    monkeypatch: pytest.MonkeyPatch, news: bool
) -> None:
    monkeypatch.setattr(Backoff, "next", lambda self, least=0.0: 0.0)
    desk = Desk(news)
    lane = Lane(desk)
    draft = Draft(
        conversation=b"c" * 16,
        id=b"i" * 16,
        sender=b"s" * 16,
        device=b"d" * 16,
        recipient=b"r" * 16,
        kind="text",
        epoch=1,
        content=b"",
    )
    lane.add(Pending(draft))
    for count in range(1, 10):
        async with asyncio.timeout(30):
            while len(desk.posted) < count and not desk.failures:
                await asyncio.sleep(0)
        lane.refused(1, StaleDevices("not these"))
    async with asyncio.timeout(30):
        while len(desk.posted) < 10 and not desk.failures:
            await asyncio.sleep(0)
    assert (len(desk.posted), len(desk.failures)) == ((10, 0) if news else (5, 1))


def test_a_frame_holds_less_where_it_travels_as_text() -> None:
    """What 19 copies may take in JSON, with all that stands around them, is one frame."""
    room = (wire.FRAME_LIMIT - 1024) * 3 // 4 - 512 - 19 * 24
    copies = tuple(wire.Copy(b"d" * 16, b"x" * (room // 19)) for _ in range(19))
    frame = wire.Send(
        ref=2**32 - 1,
        id=b"i" * 16,
        to=b"t" * 16,
        mode="e2ee",
        epoch=2**53 - 1,
        copies=copies,
        commitment=b"c" * 32,
    )
    assert len(wire.CODECS[wire.JSON].encode(frame)) <= wire.FRAME_LIMIT
