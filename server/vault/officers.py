"""Officers hand in their shares of the vault's keys, each by a signed call.

What may live here: that use case. What may not: the shares, which ``keys.Split`` has in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crypto_modes import shamir
from crypto_modes.disclosure import Sharing
from crypto_modes.errors import Forbidden, GrantRefused, KeyRefused
from crypto_modes.grants import Person
from crypto_modes.transparency.access_log import Entry
from server.access_log import AccessLog
from server.vault.asking import Asking, Refusals
from server.vault.keys import Keys

# Who works on cases needs the key and so must not be able to bring it about alone with others who
# do; operators cannot, because they could also read the vault's memory.
OFFICERS = ("senior", "legal", "auditor", "admin")


class Officers:
    """The use case. ``asking`` knows the staff; ``now`` is the clock, in milliseconds."""

    def __init__(
        self,
        keys: Keys,
        asking: Asking,
        refusals: Refusals,
        log: AccessLog,
        now: Callable[[], int],
    ) -> None:
        self._keys = keys
        self._asking = asking
        self._refusals = refusals
        self._log = log
        self._now = now

    async def hand_in(self, officer: Person, text: str) -> Sharing:
        """Take a share; how many are there, of how many. Raises ``GrantRefused``, ``Forbidden``
        where no key was split, ``LogUnavailable``."""
        entry = Entry(kind="keys", time=self._now(), actor=officer.name, detail={})
        try:
            if not self._keys.splits():
                raise Forbidden("no key of this vault was split: keys.split, keys.team_split")
            if officer.role not in OFFICERS:
                raise GrantRefused(f"a {officer.role} holds no share: {', '.join(OFFICERS)} may")
            share = shamir.decode(text)
            split = self._keys.split_of(share)
            # Before it is taken: the key must not come together unseen.
            detail = {"outcome": "share handed in", "key": split.whose}
            await self._log.append([msgspec.structs.replace(entry, detail=detail)])
            # Whoever has left meanwhile has no part in it any more.
            people = (await self._asking.people()).values()
            subjects = {each.subject for each in people if each.role in OFFICERS}
            split.forget_but(subjects)
            if officer.subject not in subjects:
                raise GrantRefused(f"{officer.name} is not of the staff")
            here = split.take(share, officer)
        except (Forbidden, GrantRefused, KeyRefused) as error:
            await self._refusals.of(entry, error)
            raise
        return Sharing(here, split.needed)
