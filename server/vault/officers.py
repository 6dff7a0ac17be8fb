"""Officers hand in their shares of the vault's key, each by a signed call.

What may live here: that use case. What may not: the shares, which ``keys.Split`` has in memory.
"""

from __future__ import annotations

from collections.abc import Callable

from crypto_modes import shamir
from crypto_modes.disclosure import Sharing
from crypto_modes.errors import Forbidden, GrantRefused, KeyRefused
from crypto_modes.grants import Person
from crypto_modes.transparency.access_log import Entry
from server.access_log import AccessLog
from server.vault.asking import Refusals
from server.vault.keys import Keys

# Who works on cases needs the key and so must not be able to bring it about alone with others who
# do; operators cannot, because they could also read the vault's memory.
OFFICERS = ("senior", "legal", "auditor", "admin")


class Officers:
    """The use case. ``now`` is the clock, in milliseconds."""

    def __init__(
        self, keys: Keys, refusals: Refusals, log: AccessLog, now: Callable[[], int]
    ) -> None:
        self._keys = keys
        self._refusals = refusals
        self._log = log
        self._now = now

    async def hand_in(self, officer: Person, text: str) -> Sharing:
        """Take a share; how many are there, of how many. Raises ``GrantRefused``, ``Forbidden``
        where no key was split, ``LogUnavailable``."""
        entry = Entry(
            kind="keys",
            time=self._now(),
            actor=officer.name,
            detail={"outcome": "share handed in"},
        )
        try:
            if self._keys.split is None:
                raise Forbidden("this vault's key was not split: keys.split")
            if officer.role not in OFFICERS:
                raise GrantRefused(f"a {officer.role} holds no share: {', '.join(OFFICERS)} may")
            share = shamir.decode(text)
            # Before it is taken: the key must not come together unseen.
            await self._log.append([entry])
            here = self._keys.split.take(share, officer)
        except (Forbidden, GrantRefused, KeyRefused) as error:
            await self._refusals.of(entry, error)
            raise
        return Sharing(here, self._keys.split.needed)
