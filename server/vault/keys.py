"""The vault's secret keys: of moderation doors, from files or from shares, and of the team.

What may live here: holding them in memory, and choosing the right one. What may not: who may have
something opened. No key leaves this file: it opens, and gives what was inside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import msgspec

from crypto_modes import door, shamir, vault
from crypto_modes.errors import (
    BadConfig,
    CannotOpen,
    KeyRefused,
    KeyServiceUnavailable,
    ReportRefused,
)
from crypto_modes.grants import Person
from crypto_modes.keys import TeamKey
from crypto_modes.primitives import HPKE_KEY_SIZE, hpke_check
from crypto_modes.reports import Report, Sealed
from crypto_modes.shamir import Share
from server.secrets_file import secret_file
from server.vault.settings import Keys as KeySettings


class SplitState(msgspec.Struct, frozen=True):
    """Of a key that was split: whether it is together, and else how many shares wait, of how many
    that are ``needed``: 0 before the first one said."""

    whose: str
    together: bool
    shares: int
    needed: int


class KeyState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is there, without a secret: how many keys of doors and of the team are in files, and
    those that were split."""

    doors: int
    team: int
    split: tuple[SplitState, ...] = ()


class Split:
    """A key that comes together from shares, each from another person, and is gone after a time.

    ``seconds`` is how long it stays, and how long the shares wait for each other, by the clock
    ``monotonic``; ``whose`` key it is, in words.
    """

    def __init__(
        self,
        public: bytes,
        seconds: float,
        monotonic: Callable[[], float],
        whose: str = "the vault's key",
    ) -> None:
        self.mark = shamir.mark(public)
        self.whose = whose
        self._door = door.mark(public)
        self._seconds = seconds
        self._monotonic = monotonic
        self._shares: dict[str, Share] = {}
        self._secret: TeamKey | None = None
        self._since = self._until = 0.0
        self.needed = 0

    def take(self, share: Share, person: Person) -> int:
        """Take a share of this key from ``person``; how many are there. The last one that is needed
        makes the key, and then none is kept. Raises ``KeyRefused``.
        """
        self._forget_shares()
        if any(
            each.index == share.index and subject != person.subject
            for subject, each in self._shares.items()
        ):
            raise KeyRefused("somebody else has handed in this share; each has one of his own")
        if not self._shares:
            self._since = self._monotonic()
        self._shares[person.subject] = share
        self.needed = share.threshold
        if len(self._shares) < share.threshold:
            return len(self._shares)
        given, self._shares = list(self._shares.values()), {}
        try:
            self._secret = shamir.combine(given)
        except KeyRefused as error:
            raise KeyRefused(f"{error}; all of them must be handed in again") from None
        self._until = self._monotonic() + self._seconds
        return len(given)

    def forget_but(self, subjects: Collection[str]) -> None:
        """Keep only the shares of these people."""
        self._shares = {each: self._shares[each] for each in self._shares if each in subjects}

    @property
    def here(self) -> int:
        """How many shares wait for others."""
        self._forget_shares()
        return len(self._shares)

    @property
    def together(self) -> bool:
        """Whether the key is there now; forgets one whose time is over."""
        if self._secret is not None and self._monotonic() >= self._until:
            self._secret = None
        return self._secret is not None

    def _forget_shares(self) -> None:
        """Those who hand them in meet now: a share that waits for months for the others could be
        of somebody who has long left."""
        if self._monotonic() - self._since >= self._seconds:
            self._shares = {}

    def secret(self) -> TeamKey:
        """The key. Raises ``KeyServiceUnavailable`` while it is not together."""
        if not self.together or self._secret is None:
            needed = f"{self.here} of {self.needed or 'the needed'} shares are here"
            raise KeyServiceUnavailable(
                f"{self.whose} is not together: {needed}; hand in yours: louver mod share"
            )
        return self._secret

    def find(self, wrapped: bytes) -> TeamKey | None:
        """The key, if ``wrapped`` is behind its door. Raises ``KeyServiceUnavailable`` while it is
        not together."""
        return self.secret() if wrapped[: len(self._door)] == self._door else None

    def state(self) -> SplitState:
        """What is there, without a secret."""
        return SplitState(self.whose, self.together, self.here, self.needed)


class Keys:
    """All of them. ``split`` is None where no key of a door was split, ``team_split`` where the
    team's was not.

    ``counted`` hears of each data key before it is unwrapped: the time of the entry (milliseconds)
    that announced it. Where that raises, nothing is unwrapped.
    """

    def __init__(
        self,
        doors: Sequence[TeamKey],
        team: Sequence[TeamKey],
        split: Split | None = None,
        team_split: Split | None = None,
        *,
        counted: Callable[[int], None],
    ) -> None:
        self._counted = counted
        self._doors = {door.mark(each.public): each for each in doors}
        self._team = tuple(team)
        self.split = split
        self.team_split = team_split

    def unwrap(self, wrapped: bytes, context: bytes, entered: int = 0) -> bytes:
        """The data key behind a door, 32 bytes. ``entered`` is the time of the entry in the access
        log that announced it, milliseconds; without one it is counted as unannounced.

        Raises ``KeyServiceUnavailable`` while the key is not together, ``CannotOpen`` for another
        door or another context, ``StoreUnavailable`` where it cannot be counted.
        """
        secret = self.split.find(wrapped) if self.split else None
        secret = secret or self._doors.get(wrapped[:17])
        if secret is None:
            raise CannotOpen("its data key is behind no door that this vault has the key of")
        self._counted(entered)
        return vault.unwrap(secret, wrapped, context)

    def has(self, wrapped: bytes) -> bool:
        """Whether this is behind a door whose key is here. Raises ``KeyServiceUnavailable`` while
        it is not together."""
        found = self.split.find(wrapped) if self.split else None
        return (found or self._doors.get(wrapped[:17])) is not None

    def split_of(self, share: Share) -> Split:
        """Which key this is a share of. Raises ``KeyRefused`` for none that was split here."""
        for each in self.splits():
            if each.mark == share.key:
                return each
        raise KeyRefused("this is a share of another key than this vault's")

    def splits(self) -> tuple[Split, ...]:
        """The keys that were split."""
        return tuple(each for each in (self.split, self.team_split) if each is not None)

    def state(self) -> KeyState:
        """What is there, without a secret."""
        split = tuple(each.state() for each in self.splits())
        return KeyState(len(self._doors), len(self._team), split)

    def check_together(self, wrapped: bytes) -> None:
        """Raises ``KeyServiceUnavailable`` where this is behind a door whose key is not together.
        Opens nothing."""
        if self.split is not None:
            self.split.find(wrapped)

    def check_team(self) -> None:
        """Raises ``KeyServiceUnavailable`` where no key is there that could open a report."""
        if self.team_split is not None and not self._team:
            self.team_split.secret()

    def open(self, sealed: Sealed) -> Report:
        """What a report says. Raises ``ReportRefused``, and ``KeyServiceUnavailable`` where only a
        key that is not together could open it."""
        if not self._team and self.team_split is None:
            raise ReportRefused("this vault has no key of the team: keys.team")
        for team in self._team_keys():
            try:
                return sealed.open(team)
            except CannotOpen:
                continue
        raise ReportRefused("this report was sealed to another key, place or reporter")

    def _team_keys(self) -> Iterator[TeamKey]:
        """Those in files first: what they open needs no officers."""
        yield from self._team
        if self.team_split is not None:
            yield self.team_split.secret()


def open_keys(
    settings: KeySettings, monotonic: Callable[[], float], counted: Callable[[int], None]
) -> Keys:
    """The keys in the files that the settings name. Raises ``BadConfig``."""

    def split(setting: str, file: str, whose: str) -> Split | None:
        if not file:
            return None
        return Split(_public(setting, Path(file)), settings.hours * 3600, monotonic, whose)

    keys = Keys(
        [_secret("keys.door", each) for each in settings.door],
        [_secret("keys.team", each) for each in settings.team],
        split("keys.split", settings.split, "the vault's key"),
        split("keys.team_split", settings.team_split, "the team's key"),
        counted=counted,
    )
    if keys.split and keys.team_split and keys.split.mark == keys.team_split.mark:
        # Who met to open reports would have opened the door as well.
        raise BadConfig("keys.team_split: is the key of keys.split; make one for each")
    return keys


def _secret(setting: str, file: str) -> TeamKey:
    try:
        return TeamKey(secret_file(Path(file), TeamKey.size, make=False))
    except BadConfig as error:
        raise BadConfig(f"{setting}: {error}") from None


def _public(setting: str, file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            public = opened.read(HPKE_KEY_SIZE + 1)
        hpke_check(public)
    except (OSError, KeyRefused) as error:
        raise BadConfig(f"{setting}: {file} holds no public key ({error})") from None
    return public
