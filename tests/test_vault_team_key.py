"""The team's key in shares: what a reporter revealed is opened once enough officers met."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto_modes import shamir
from crypto_modes.disclosure import Sharing
from crypto_modes.errors import BadConfig, KeyRefused, KeyServiceUnavailable, ReportRefused
from crypto_modes.keys import TeamKey
from crypto_modes.reports import Report, seal
from server.team import keygen
from server.vault import settings
from server.vault.keys import KeyState, Split, SplitState, open_keys
from tests.reported import TEAM, insults, report_of
from tests.test_grants import STAFF
from tests.test_vault_keys import HOURS, officers_of, uncounted
from tests.vault_rig import DOOR, Vault, granted

MET = ("sven", "luis", "auda")


class Team:
    """A vault whose team key is split, 2 of 3; its door's is not."""

    def __init__(self, data: Path) -> None:
        self.clock = [0.0]
        self.vault = Vault(data)
        self.vault.keys._team = ()
        self.vault.keys.team_split = Split(
            TEAM.public, HOURS, lambda: self.clock[0], "the team's key"
        )
        self.shares = shamir.split(TEAM, 2, 3, os.urandom)
        self.report: Report = report_of(*insults(b"HARM-0001")[2])
        self.id = self.vault.relay.take(self.report)

    async def hand_in(self, place: int) -> Sharing:
        text = self.shares[place].encode()
        return await officers_of(self.vault).hand_in(STAFF[MET[place]], text)

    async def opens(self) -> bool:
        try:
            opened = await self.vault.report(self.id)
        except KeyServiceUnavailable:
            return False
        return [each.content for each in opened.findings] == [b"HARM-0001"]


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    made = Team(tmp_path / "vault")
    yield made
    made.vault.stop()


@pytest.mark.asyncio
async def test_a_report_is_opened_once_enough_officers_met(team: Team) -> None:
    with pytest.raises(KeyServiceUnavailable, match="team's key is not together: 0 of the needed"):
        await team.vault.report(team.id)
    assert not team.vault.log.of("read")
    assert await team.hand_in(0) == Sharing(1, 2)
    assert not await team.opens()
    assert "opened" not in team.vault.happened
    assert await team.hand_in(2) == Sharing(2, 2)
    assert await team.opens()
    told = [each.detail for each in team.vault.log.of("keys")]
    assert told == [{"outcome": "share handed in", "key": "the team's key"}] * 2
    state = SplitState("the team's key", together=True, shares=0, needed=2)
    assert team.vault.keys.state() == KeyState(1, 0, (state,))
    team.clock[0] = HOURS
    assert not await team.opens()


@pytest.mark.asyncio
async def test_the_two_keys_do_not_stand_for_each_other(team: Team) -> None:
    """Whoever met to open reports opens no conversation, and the other way round."""
    keys = team.vault.keys
    keys._doors, keys.split = {}, Split(DOOR.public, HOURS, lambda: team.clock[0])
    team.vault.relay.store.say(b"HARM-0007")
    for place in (0, 1):
        await team.hand_in(place)
    assert await team.opens()
    with pytest.raises(KeyServiceUnavailable, match="the vault's key is not together: 0 of"):
        await team.vault.open(granted())
    team.clock[0] = HOURS
    for name, share in zip(MET, shamir.split(DOOR, 2, 3, os.urandom), strict=True):
        await officers_of(team.vault).hand_in(STAFF[name], share.encode())
    assert team.vault.texts(await team.vault.open(granted())) == ["HARM-0007"]
    assert not await team.opens()
    stranger = shamir.split(TeamKey(b"o" * 32), 2, 3, os.urandom)[0]
    with pytest.raises(KeyRefused, match="another key"):
        await officers_of(team.vault).hand_in(STAFF["sven"], stranger.encode())


@pytest.mark.asyncio
async def test_what_an_old_key_in_a_file_opens_needs_no_officers(team: Team) -> None:
    team.vault.keys._team = (TEAM,)
    newer = TeamKey(b"n" * 32)
    team.vault.keys.team_split = Split(newer.public, HOURS, lambda: 0.0, "the team's key")
    assert await team.opens()
    sealed = team.vault.relay.reports[team.id]
    team.vault.relay.reports[team.id] = type(sealed)(
        relay=sealed.relay,
        reporter=sealed.reporter,
        id=sealed.id,
        time=sealed.time,
        tags=sealed.tags,
        sealed=seal(newer.public, team.report),
    )
    assert not await team.opens()
    for name, share in zip(MET, shamir.split(newer, 2, 3, os.urandom), strict=True):
        await officers_of(team.vault).hand_in(STAFF[name], share.encode())
    assert await team.opens()


@pytest.mark.asyncio
async def test_a_report_for_nobody_says_so_once_the_key_is_there(team: Team) -> None:
    team.id = team.vault.relay.take(team.report)
    sealed = team.vault.relay.reports[team.id]
    changed = seal(TeamKey(b"o" * 32).public, team.report)
    fields = {name: getattr(sealed, name) for name in ("relay", "reporter", "id", "time", "tags")}
    team.vault.relay.reports[team.id] = type(sealed)(**fields, sealed=changed)
    for place in (0, 1):
        await team.hand_in(place)
    with pytest.raises(ReportRefused, match="another key"):
        await team.opens()


def test_the_setting_names_the_public_half(tmp_path: Path) -> None:
    secret, public, _ = keygen(tmp_path, "team")
    _, door, _ = keygen(tmp_path, "vault")
    flags = [f"keys.team_split={public}"]
    found = open_keys(settings.load(None, flags).keys, lambda: 0.0, uncounted)
    told = SplitState("the team's key", together=False, shares=0, needed=0)
    assert found.state() == KeyState(0, 0, (told,))
    both = settings.load(None, [*flags, f"keys.split={door}"]).keys
    assert len(open_keys(both, lambda: 0.0, uncounted).splits()) == 2
    with pytest.raises(BadConfig, match=r"keys\.team_split: .*no public key"):
        open_keys(settings.Keys(team_split=str(secret)), lambda: 0.0, uncounted)
    one = settings.load(None, [*flags, f"keys.split={public}"]).keys
    with pytest.raises(BadConfig, match="one for each"):
        open_keys(one, lambda: 0.0, uncounted)
