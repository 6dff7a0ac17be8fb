"""Was my conversation opened? Real clients, relay and log; and a relay or log that lies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client import Chat
from client.trust import now_ms
from crypto_modes import wire
from crypto_modes.errors import BadArgument, Forbidden, LogRefused, Unavailable
from crypto_modes.keys import SigningKey
from crypto_modes.policy import conversation_id
from crypto_modes.transparency import access_log, note, tree
from crypto_modes.transparency.access_log import DAY, Entry
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tiles import ENTRIES, Tile
from server.moderation.vault_client import VaultLog
from tests.access_entries import read
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, changed, hostile_relay
from tests.test_client import enter
from tests.test_louver_cli import louver, register
from tests.vault_log import NOTICE_DAYS, TOKEN, VaultLogServer, serving

pytestmark = pytest.mark.asyncio


def read_of(conversation: bytes, days_ago: int, **fields: Any) -> Entry:
    made = read(0, conversation)
    told = {"time": now_ms() - days_ago * DAY, "grant": b"g" * 16} | fields
    return msgspec.structs.replace(made, **told)


class Scene:
    """Alice and Bob, their relay (and one before it that may lie), and the vault's log."""

    def __init__(
        self, relay: Running, hostile: HostileRelay, vault: VaultLogServer, chats: list[Chat]
    ) -> None:
        self.relay, self.hostile, self.vault = relay, hostile, vault
        self.alice, self.bob, self.carol = chats
        self.talk = conversation_id(self.alice.account, self.bob.account)

    async def enter(self, *entries: Entry) -> None:
        await self.vault.log.append(entries)


@asynccontextmanager
async def scene(start_relay: StartRelay, place: Path) -> AsyncIterator[Scene]:
    relay = await start_relay(mode="at_rest")
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(serving(place / "vault"))
        vault.now[0] = now_ms()
        there = VaultLog(vault.url, TOKEN)
        stack.callback(there.close)
        relay.app.relay.openings.vault = there
        hostile = await stack.enter_async_context(hostile_relay(relay))
        chats = [
            await stack.enter_async_context(enter(hostile, name))  # type: ignore[arg-type]  # as a relay
            for name in ("alice", "bob", "carol")
        ]
        yield Scene(relay, hostile, vault, chats)


async def test_both_users_find_each_reading_and_nobody_else_any(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    async with scene(start_relay, tmp_path) as here:
        before = await here.alice.openings.check("bob")
        assert (before.times, before.head.size) == ((), 0)
        await here.enter(read_of(here.talk, 30), read_of(b"x" * 16, 30), read_of(here.talk, 9))
        for chat, peer in ((here.alice, "bob"), (here.bob, "alice")):
            found = await chat.openings.check(peer)
            assert found.indexes == (0, 2)
            assert [time // DAY for time in found.times] == [now_ms() // DAY - n for n in (30, 9)]
            assert found.vkey == here.vault.log.verifier.encode()
            assert found.head.size == 3
        for chat, peer in ((here.carol, "alice"), (here.carol, "bob"), (here.alice, "carol")):
            assert (await chat.openings.check(peer)).times == ()
        assert (await here.alice.openings.check("bob", days=20)).indexes == (2,)


async def test_what_policy_holds_back_and_what_is_no_reading_is_not_told(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    async with scene(start_relay, tmp_path) as here:
        await here.enter(
            read_of(here.talk, NOTICE_DAYS - 1),
            read_of(here.talk, 20, grant=b""),
            read_of(here.talk, 20, kind="request"),
            read_of(here.talk, 20, kind="report"),
        )
        found = await here.alice.openings.check("bob")
        assert found.times == ()
        assert found.end == here.vault.now[0] // DAY - NOTICE_DAYS
        here.vault.now[0] += 2 * DAY
        assert (await here.alice.openings.check("bob")).indexes == (0,)


async def test_a_log_of_many_pages_is_read_whole(start_relay: StartRelay, tmp_path: Path) -> None:
    async with scene(start_relay, tmp_path) as here:
        others = [read_of(b"x" * 16, 20)] * 100
        for _ in range(5):
            await here.enter(*others)
        await here.enter(*others[:12], read_of(here.talk, 20), *others[:12])
        found = await here.alice.openings.check("bob")
        assert (found.indexes, found.head.size) == ((512,), 525)


KEY = (b"k" * 32,)
LIES = (
    {"keys": KEY},
    {"keys": ()},
    {"signature": b""},
    {"signature": b"s" * 64},
    {"leaves": b""},
    {"start": 256},
    {"first": 1},
    {"checkpoint": b"none"},
    {"key": b"k" * 32},
)


@pytest.mark.attack(39)
async def test_a_relay_that_changes_any_leaf_or_answers_something_else_is_found(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """It would hide a reading by another mark."""
    async with scene(start_relay, tmp_path) as here:
        await here.enter(*(read_of(here.talk, 20) for _ in range(5)))
        lie: dict[str, Any] = {}
        here.hostile.down(wire.Opened, lambda line, frame: changed(frame, **lie))
        honest = await here.vault.log.tile(Tile(ENTRIES, 0, 5))
        for at in range(5):
            place = (at + 1) * len(honest) // 5 - 40
            flipped = bytes((honest[place] ^ 1,))
            lie = {"leaves": honest[:place] + flipped + honest[place + 1 :]}
            with pytest.raises(LogRefused, match="not those of the access log"):
                await here.alice.openings.check("bob")
        for each in LIES:
            lie = each
            with pytest.raises(LogRefused):
                await here.alice.openings.check("bob")
        lie = {}
        assert len((await here.alice.openings.check("bob")).times) == 5


async def test_a_log_put_back_replaced_or_rewritten_is_found(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    async with scene(start_relay, tmp_path) as here:
        await here.enter(read_of(here.talk, 20), read_of(here.talk, 21))
        seen = await here.alice.openings.check("bob")
        key, secret = ((tmp_path / "vault" / f"access.{each}").read_bytes()
                       for each in ("key", "secret"))  # fmt: skip
        for entries, same_key, says in (
            (1, True, "put back to an older state"),
            (2, True, "another one than before"),
            (3, True, "another one than before"),
            (3, False, "another access log than before"),
        ):
            place = tmp_path / f"other-{entries}-{same_key}"
            if same_key:
                # No honest log begins anew under its old key: the liar signs an empty one himself.
                signing = SigningKey(key)
                empty = Checkpoint(access_log.log_of(signing.public).name, 0, tree.EMPTY_ROOT)
                place.mkdir(mode=0o700)
                for name, content in (
                    ("access.key", key),
                    ("access.secret", secret),
                    ("access.head", note.sign(empty, signing).encode()),
                ):
                    (place / name).write_bytes(content)
                    (place / name).chmod(0o600)
            async with serving(place) as false:
                false.now[0] = now_ms()
                for number in range(entries):
                    await false.log.append([read_of(b"x" * 16, 20 + number)])
                there = VaultLog(false.url, TOKEN)
                here.relay.app.relay.openings.vault = there
                with pytest.raises(LogRefused, match=says):
                    await here.alice.openings.check("bob")
                there.close()
        assert seen.indexes == (0, 1)


async def test_another_key_than_the_one_given_is_refused(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    async with scene(start_relay, tmp_path) as here:
        key = here.vault.log.verifier
        assert (await here.alice.openings.check("bob", vkey=key.encode())).times == ()
        other = key._replace(key=SigningKey(b"x" * 32).public).encode()
        with pytest.raises(LogRefused, match="key you gave"):
            await here.alice.openings.check("bob", vkey=other)
        with pytest.raises(BadArgument):
            await here.alice.openings.check("bob", days=366)


async def test_without_a_vault_there_is_nothing_to_ask(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    async with scene(start_relay, tmp_path) as here:
        openings = here.relay.app.relay.openings
        openings.vault = VaultLog("http://127.0.0.1:1", TOKEN)
        with pytest.raises(Unavailable) as caught:
            await here.alice.openings.check("bob")
        assert caught.value.temporary
        openings.vault = None
        with pytest.raises(Forbidden, match="no vault"):
            await here.alice.openings.check("bob")


async def test_the_settings_name_the_vault_and_the_command_answers(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    async with serving(tmp_path / "vault") as vault:
        vault.now[0] = now_ms()
        relay = await start_relay(mode="at_rest", tls=True, moderation={"vault": vault.url})
        token = (relay.data / "vault.token").read_text().strip()
        assert token.startswith("lvv_")
        there = relay.app.relay.openings.vault
        assert isinstance(there, VaultLog)
        there._headers["Authorization"] = f"Bearer {TOKEN}"
        for name in ("alice", "bob"):
            await register(relay, name, tmp_path / name)
        code, out, err = await louver("opened", "bob", "--home", tmp_path / "alice")
        assert (code, err) == (0, "")
        assert "No: your conversation with bob was not opened from" in out
        assert "and what follows cannot be told yet" in out
        alice, bob = [await relay.app.store.account_named(name) for name in ("alice", "bob")]
        assert alice is not None
        assert bob is not None
        await vault.log.append([read_of(conversation_id(alice.id, bob.id), 20)])
        code, out, err = await louver("opened", "bob", "--home", tmp_path / "alice")
        assert "Yes: your conversation with bob was opened from" in out
        assert "entry 0" in out
        code, out, err = await louver("opened", "bob", "--json", "--home", tmp_path / "alice")
        told = msgspec.json.decode(out)
        assert (told["opened"], told["leaves"], told["size"]) == (True, [0], 1)
