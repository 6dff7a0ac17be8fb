"""The theft of a device on a real relay: what its key store opens of what was recorded, and what
not; and that the probe sees a device whose keys did not go, or a conversation that did not heal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from client import Chat, Keystore, Password, connect
from client.compare import theft
from client.compare.canary import WAITING, Canaries
from client.compare.search import Found
from client.compare.theft import FUTURE, HEALED, MESSAGES, PARTS, PAST, Loot
from crypto_modes import e2ee, tls
from tests.conftest import StartRelay

RUN = Canaries("theft")


async def _theft(start_relay: StartRelay, mode: str, place: Path) -> Loot:
    relay = await start_relay(mode=mode)
    password = Password("a long password", register=True)

    def come(name: str, store: Keystore) -> AbstractAsyncContextManager[Chat]:
        return connect(relay.url, name=name, keystore=store, credentials=password)

    return await theft.suffer(come, place, RUN)


def _recovered(loot: Loot) -> dict[str, int]:
    return {part: len(loot.read.numbers & theft.planted(part)) for part in PARTS}


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", [tls.MODE, e2ee.MODE], ids=lambda mode: str(mode.name))
async def test_a_thief_reads_what_the_mode_declares(
    mode: tls.Tls | e2ee.E2ee, start_relay: StartRelay, tmp_path: Path
) -> None:
    loot = await _theft(start_relay, mode.name, tmp_path)
    found = theft.exposure(loot, mode.visibility)
    assert {part: got.ok for part, got in found.items()} == dict.fromkeys(PARTS, True)
    every = {part: MESSAGES if mode.visibility[part] else 0 for part in PARTS}
    assert _recovered(loot) == every
    # The device's own history is in the open, and neither hidden nor counted.
    assert {part: got.kept for part, got in found.items()} == {PAST: MESSAGES, FUTURE: 0, HEALED: 0}


@pytest.mark.asyncio
async def test_keys_that_were_not_gone_are_seen(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device as it was before the conversation has the keys of all of it still to come."""
    talk = theft._talk

    async def early(
        friend: Chat, victim: Chat, canaries: Canaries, steal: Callable[[], object]
    ) -> None:
        steal()
        await talk(friend, victim, canaries, lambda: None)

    monkeypatch.setattr(theft, "_talk", early)
    loot = await _theft(start_relay, "e2ee", tmp_path)
    got = theft.exposure(loot, e2ee.MODE.visibility)[PAST]
    assert got.recovered
    assert got.ok is False


@pytest.mark.asyncio
async def test_a_conversation_that_does_not_heal_is_seen(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theft, "HEALING_TURNS", 0)
    loot = await _theft(start_relay, "e2ee", tmp_path)
    got = theft.exposure(loot, e2ee.MODE.visibility)
    assert (got[HEALED].recovered, got[HEALED].ok, got[PAST].ok) == (MESSAGES, False, True)


def test_a_thief_who_cannot_even_open_what_waited_proves_nothing() -> None:
    deaf = Loot(Found(), frozenset(), 3)
    assert [got.ok for got in theft.exposure(deaf, e2ee.MODE.visibility).values()] == [False] * 3
    hearing = Loot(Found(numbers={WAITING}), frozenset(), 3)
    got = theft.exposure(hearing, e2ee.MODE.visibility)
    assert (got[PAST].ok, got[HEALED].ok) == (True, True)
    # Declared to be readable until it heals: that nothing was read is as wrong.
    assert got[FUTURE].ok is False
