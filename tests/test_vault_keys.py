"""The vault's keys: a key in shares opens nothing until enough people handed in theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from crypto_modes import shamir
from crypto_modes.disclosure import Sharing
from crypto_modes.errors import (
    BadConfig,
    Forbidden,
    GrantRefused,
    KeyRefused,
    KeyServiceUnavailable,
    LogUnavailable,
    LouverError,
)
from crypto_modes.keys import TeamKey
from crypto_modes.shamir import Share
from crypto_modes.transparency.access_log import Entry
from server.access_log import Receipt
from server.team import keygen
from server.vault import settings, staff
from server.vault.keys import KeyState, Split, SplitState, open_keys
from server.vault.officers import Officers
from tests.test_grants import NOW, STAFF
from tests.vault_rig import DOOR, Vault, granted

HOURS = 3600.0


def uncounted(entered: int) -> None:
    """Nothing is unwrapped in the tests that take this."""
    raise AssertionError(entered)


def officers_of(vault: Vault) -> Officers:
    return Officers(vault.keys, vault.asking, vault.refusals, vault.log, lambda: NOW)


class Meeting:
    """Officers before a vault whose key is split, 3 of 5."""

    def __init__(self, data: Path) -> None:
        self.clock = [0.0]
        self.vault = Vault(data, Split(DOOR.public, HOURS, lambda: self.clock[0]))
        self.vault.relay.store.say(b"HARM-0007")
        self.officers = officers_of(self.vault)
        self.shares = shamir.split(DOOR, 3, 5, os.urandom)

    @property
    def split(self) -> Split:
        (only,) = self.vault.keys.splits()
        return only

    async def hand_in(self, name: str, share: Share | int) -> Sharing:
        given = self.shares[share] if isinstance(share, int) else share
        return await self.officers.hand_in(STAFF[name], given.encode())

    async def closed(self) -> str:
        with pytest.raises(KeyServiceUnavailable) as caught:
            await self.vault.open(granted())
        assert "opened" not in self.vault.happened
        return str(caught.value)


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Meeting]:
    made = Meeting(tmp_path / "vault")
    yield made
    made.vault.stop()


@pytest.mark.asyncio
async def test_the_last_share_that_is_needed_opens_it(meeting: Meeting) -> None:
    assert "0 of the needed shares" in await meeting.closed()
    assert await meeting.hand_in("sven", 4) == Sharing(1, 3)
    assert "1 of 3 shares" in await meeting.closed()
    assert await meeting.hand_in("luis", 0) == Sharing(2, 3)
    assert "2 of 3 shares" in await meeting.closed()
    told = SplitState("the vault's key", together=False, shares=2, needed=3)
    assert meeting.vault.keys.state() == KeyState(0, 1, (told,))
    assert await meeting.hand_in("auda", 2) == Sharing(3, 3)
    assert meeting.vault.texts(await meeting.vault.open(granted())) == ["HARM-0007"]
    told = SplitState("the vault's key", together=True, shares=0, needed=3)
    assert meeting.split.state() == told
    assert [entry.actor for entry in meeting.vault.log.of("keys")] == ["sven", "luis", "auda"]


@pytest.mark.asyncio
async def test_the_key_is_forgotten_after_its_time(meeting: Meeting) -> None:
    for name, share in (("sven", 0), ("luis", 1), ("auda", 2)):
        await meeting.hand_in(name, share)
    meeting.clock[0] = HOURS - 0.001
    assert len((await meeting.vault.open(granted())).records) == 1
    meeting.vault.happened.clear()
    meeting.clock[0] = HOURS
    await meeting.closed()
    assert meeting.vault.keys.split is not None
    assert meeting.vault.keys.split._secret is None


@pytest.mark.asyncio
async def test_shares_wait_for_each_other_no_longer_than_the_key_stays(meeting: Meeting) -> None:
    await meeting.hand_in("sven", 0)
    meeting.clock[0] = HOURS - 0.001
    assert (await meeting.hand_in("luis", 1)).here == 2
    meeting.clock[0] = HOURS
    assert "0 of 3 shares" in await meeting.closed()
    assert (await meeting.hand_in("auda", 2)).here == 1
    await meeting.closed()


@pytest.mark.asyncio
async def test_no_share_stays_once_the_key_is_there(meeting: Meeting) -> None:
    for name, share in (("sven", 0), ("luis", 1), ("auda", 2)):
        await meeting.hand_in(name, share)
    assert meeting.vault.keys.split is not None
    assert meeting.vault.keys.split._shares == {}
    assert not any(share.value in each.read_bytes() for share in meeting.shares
                   for each in meeting.vault.data.iterdir())  # fmt: skip


@pytest.mark.asyncio
async def test_one_person_hands_in_one_share(meeting: Meeting) -> None:
    await meeting.hand_in("sven", 0)
    # Sven's second one takes the place of his first, also from another account of his.
    assert (await meeting.hand_in("sven", 1)).here == 1
    twin = msgspec.structs.replace(STAFF["luis"], subject=STAFF["sven"].subject)
    assert (await meeting.officers.hand_in(twin, meeting.shares[2].encode())).here == 1
    with pytest.raises(KeyRefused, match="somebody else"):
        await meeting.hand_in("auda", 2)
    await meeting.closed()


@pytest.mark.asyncio
async def test_a_share_of_who_has_left_meanwhile_does_not_count(meeting: Meeting) -> None:
    await meeting.hand_in("sven", 0)
    await meeting.hand_in("luis", 1)
    staff.remove(meeting.vault.file, "sven")
    assert (await meeting.hand_in("auda", 2)).here == 2
    other_work = msgspec.structs.replace(STAFF["luis"], role="operator")
    staff.add(meeting.vault.file, other_work)
    assert (await meeting.hand_in("anna", 3)).here == 2
    assert not meeting.split.together


@pytest.mark.asyncio
async def test_who_leaves_while_the_log_is_written_hands_in_nothing(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await meeting.hand_in("luis", 1)
    await meeting.hand_in("auda", 2)
    log, append = meeting.vault.log, meeting.vault.log.append

    async def slow(entries: Sequence[Entry]) -> Receipt:
        receipt = await append(entries)
        staff.remove(meeting.vault.file, "sven")
        monkeypatch.setattr(log, "append", append)
        return receipt

    monkeypatch.setattr(log, "append", slow)
    with pytest.raises(GrantRefused, match="not of the staff"):
        await meeting.hand_in("sven", 0)
    assert (meeting.split.together, meeting.split.here) == (False, 2)
    assert meeting.vault.log.of("refused")


@pytest.mark.asyncio
async def test_a_false_share_costs_a_new_beginning_and_no_more(meeting: Meeting) -> None:
    false = msgspec.structs.replace(meeting.shares[2], value=os.urandom(32))
    await meeting.hand_in("sven", 0)
    await meeting.hand_in("luis", 1)
    with pytest.raises(KeyRefused, match=r"at least one of them is false; all .* again"):
        await meeting.hand_in("auda", false)
    assert "0 of 3 shares" in await meeting.closed()
    assert meeting.vault.log.of("refused")[0].actor == "auda"
    for name, share in (("sven", 0), ("luis", 1), ("auda", 2)):
        await meeting.hand_in(name, share)
    assert len((await meeting.vault.open(granted())).records) == 1


WRONG: dict[str, tuple[str, Callable[[Meeting], str], type[LouverError], str]] = {
    "an operator": ("otto", lambda m: m.shares[0].encode(), GrantRefused, "holds no share"),
    "a moderator": ("mara", lambda m: m.shares[0].encode(), GrantRefused, "holds no share"),
    "nonsense": ("sven", lambda m: "lvs_", KeyRefused, "84 characters"),
    "mistyped": (
        "sven",
        lambda m: m.shares[0].encode()[:-1] + ("A" if m.shares[0].encode()[-1] != "A" else "B"),
        KeyRefused,
        "wrong character",
    ),
    "another key's": (
        "sven",
        lambda m: shamir.split(TeamKey(b"o" * 32), 3, 5, os.urandom)[0].encode(),
        KeyRefused,
        "another key",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.asyncio
async def test_what_is_no_share_is_refused_and_entered(meeting: Meeting, wrong: str) -> None:
    name, text, error, words = WRONG[wrong]
    with pytest.raises(error, match=words):
        await meeting.officers.hand_in(STAFF[name], text(meeting))
    (entry,) = meeting.vault.log.of("refused")
    assert entry.actor == name
    assert meeting.split.here == 0


@pytest.mark.asyncio
async def test_no_share_is_taken_unseen(meeting: Meeting) -> None:
    meeting.vault.log.dead = 0
    with pytest.raises(LogUnavailable):
        await meeting.hand_in("sven", 0)
    assert meeting.split.here == 0


@pytest.mark.asyncio
async def test_a_vault_whose_key_was_not_split_takes_no_share(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault")
    with pytest.raises(Forbidden, match="was split"):
        await officers_of(vault).hand_in(STAFF["sven"], "lvs_")
    vault.stop()


@pytest.mark.asyncio
async def test_an_old_door_and_a_split_one_side_by_side(tmp_path: Path) -> None:
    """A message that was closed for the old key opens while the new one is not together."""
    vault = Vault(tmp_path / "vault", Split(TeamKey(b"n" * 32).public, HOURS, lambda: 0.0))
    vault.keys._doors = dict.fromkeys([vault.relay.store.door.mark], DOOR)
    vault.relay.store.say(b"HARM-0001")
    assert vault.texts(await vault.open(granted())) == ["HARM-0001"]
    vault.stop()


def test_keys_come_from_the_files_that_the_settings_name(tmp_path: Path) -> None:
    secret, public, _ = keygen(tmp_path, "vault")
    team, _, _ = keygen(tmp_path, "team")
    given = settings.Keys(door=(str(secret),), team=(str(team),))
    assert open_keys(given, lambda: 0.0, uncounted).state() == KeyState(1, 1)
    halves = open_keys(settings.Keys(split=str(public)), lambda: 0.0, uncounted)
    told = SplitState("the vault's key", together=False, shares=0, needed=0)
    assert halves.state() == KeyState(0, 0, (told,))
    with pytest.raises(BadConfig, match=r"keys\.split: .*holds no public key"):
        open_keys(settings.Keys(split=str(secret)), lambda: 0.0, uncounted)
    with pytest.raises(BadConfig, match=r"keys\.door: .*missing"):
        open_keys(settings.Keys(door=(str(tmp_path / "gone"),)), lambda: 0.0, uncounted)
    secret.chmod(0o644)
    with pytest.raises(BadConfig, match=r"keys\.door: others may use"):
        open_keys(given, lambda: 0.0, uncounted)
