"""What must not be destroyed: the accounts and conversations under preservation, in memory.

Only the set and the questions that whoever destroys something has to ask live here. Who puts a
place in it, and why, is in ``server/moderation/holds.py``. Nothing here says for whom something is
kept, or that it is a court who asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from crypto_modes.errors import Forbidden
from crypto_modes.policy import conversation_id
from server.store import Store

KEPT = "some of this must be kept for now, so nothing was destroyed; the legal team knows more"


class Keeping:
    """Of one relay; filled before anybody connects."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: set[bytes] = set()

    def set(self, place: bytes, *, on: bool) -> None:
        """Keep what is of this account or conversation (16 bytes), or no longer."""
        if on:
            self._places.add(place)
        else:
            self._places.discard(place)

    def keeps(self, account: bytes, conversation: bytes) -> bool:
        """Whether what ``account`` put into ``conversation`` must stay."""
        return account in self._places or conversation in self._places

    async def check_shred(self, accounts: Sequence[bytes]) -> None:
        """Raises ``Forbidden`` where data keys of what must be kept would go: of what two accounts
        sent each other, or of all that one has sent.
        """
        if not self._places.isdisjoint(accounts):
            raise Forbidden(KEPT)
        if len(accounts) == 2:
            if conversation_id(*accounts) in self._places:
                raise Forbidden(KEPT)
            return
        for place in list(self._places):
            if accounts[0] in (await self._store.parties(place) or ()):
                raise Forbidden(KEPT)
