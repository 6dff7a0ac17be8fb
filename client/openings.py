"""Was my conversation opened? What the user of a conversation finds in the access log, by himself.

What may live here: fetching every leaf, verifying that they are the log, and looking among them.
What may not: wording. The answer is a proof either way: each leaf of the days asked about is marked
for this conversation or is not, all of them are under the root that the log signed, and that log
continues the one that was seen before. The keys of the days, by which a leaf is known as marked,
are signed by the log too, for they come by way of the relay.

==========  ======  ==========================================================================
table       key     value
==========  ======  ==========================================================================
access_log  head    size u64 || root 32 of the largest head that was verified
access_log  key     the log's public key, 32 bytes, pinned at first sight
==========  ======  ==========================================================================

What it proves ends where the vault does: the log says what the vault opened, and in ``tls`` a
database can be read without it. The days' keys are the vault's word: one that lies about them hides
its own readings from users. An auditor, who sees entries, still finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from client.memory import Memory
from client.session import Session
from client.trust import Trust
from crypto_modes import wire
from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.policy import conversation_id
from crypto_modes.primitives import equal
from crypto_modes.transparency import access_log, tree
from crypto_modes.transparency.access_log import DAY, Leaf
from crypto_modes.transparency.key_log import NO_HEAD, Head
from crypto_modes.transparency.note import Checkpoint, Verifier, open_checkpoint
from crypto_modes.transparency.tiles import WIDTH, unbundle

TABLE = "access_log"
_HEAD, _KEY = b"head", b"key"
DAYS = 365


class Found(msgspec.Struct, frozen=True):
    """``times`` of the readings (milliseconds), with the ``indexes`` of their leaves; none: it was
    not opened on the days from ``first`` up to, but not including, ``end``. The log is the one
    under ``vkey`` with ``head``.
    """

    times: tuple[int, ...]
    indexes: tuple[int, ...]
    first: int
    end: int
    vkey: str
    head: Head


class Openings:
    """One user's questions about the vault's log. ``now()`` gives milliseconds."""

    def __init__(
        self, memory: Memory, session: Session, trust: Trust, now: Callable[[], int]
    ) -> None:
        self._memory = memory
        self._session = session
        self._trust = trust
        self._now = now

    async def check(self, peer: bytes | str, *, days: int = DAYS, vkey: str = "") -> Found:
        """Whether the conversation with ``peer`` was opened in the last so many ``days``, at most
        365; those that policy still holds back are not in the answer.

        ``vkey`` is the log's key where the user has it from elsewhere. Raises ``LogRefused`` where
        the log does not prove what it says, ``Forbidden`` where there is none.
        """
        if not 1 <= days <= DAYS:
            raise BadArgument(f"ask for 1 to {DAYS} days")
        account = await self._trust.account(peer)
        first = max(self._now() // DAY - days, 0)
        page = await self._ask(account, first, 0, 0)
        log, head = self._open(page, vkey)
        conversation = conversation_id(self._trust.account_id, account)
        access_log.check_days(log, conversation, first, page.keys, page.signature)
        known = self._known(head)
        reading = _Reading(dict(enumerate(page.keys, page.first)), known)
        reading.take(_leaves(page, 0, head.size))
        while reading.size < head.size:
            more = await self._ask(account, first, head.size, reading.size)
            reading.take(_leaves(more, reading.size, head.size))
        reading.check(head)
        self._remember(log, head)
        return Found(
            times=tuple(reading.times),
            indexes=tuple(reading.indexes),
            first=page.first,
            end=page.first + len(page.keys),
            vkey=log.encode(),
            head=Head(head.size, head.root),
        )

    async def _ask(self, peer: bytes, first: int, size: int, start: int) -> wire.Opened:
        asked = wire.GetOpened(ref=0, peer=peer, first=first, size=size, start=start)
        page = await self._session.ask(asked, wire.Opened)
        if page.start != start or page.first != first:
            raise LogRefused("the relay answers something else than was asked for")
        return page

    def _open(self, page: wire.Opened, vkey: str) -> tuple[Verifier, Checkpoint]:
        log = access_log.log_of(page.key)
        pinned = self._memory.store.get(TABLE, _KEY)
        if vkey and Verifier.decode(vkey) != log:
            raise LogRefused("the relay shows another access log than the one of the key you gave")
        if pinned is not None and not equal(pinned, page.key):
            raise LogRefused(
                "the relay shows another access log than before; what was entered there before is"
                " not in it. Ask the operator why"
            )
        return log, open_checkpoint(page.checkpoint, log)

    def _known(self, head: Checkpoint) -> Head:
        """The largest head that was verified. Raises ``LogRefused`` where it was larger."""
        raw = self._memory.store.get(TABLE, _HEAD)
        known = NO_HEAD if raw is None else Head.decode(raw)
        if head.size < known.size:
            raise LogRefused(
                f"the access log has {head.size} entries and had {known.size} before: it was put"
                " back to an older state, or entries are hidden"
            )
        return known

    def _remember(self, log: Verifier, head: Checkpoint) -> None:
        with self._memory.store.transaction():
            self._memory.store.put(TABLE, _KEY, log.key)
            self._memory.store.put(TABLE, _HEAD, Head(head.size, head.root).encode())


class _Reading:
    """Leaves as they come, however many: of the tree only its edge is kept, and of the leaves those
    that the ``keys`` of the days mark. Nothing of it counts before ``check``.
    """

    def __init__(self, keys: Mapping[int, bytes], known: Head) -> None:
        self._keys = keys
        self._known = known
        self._edge = tree.Frontier()
        self._before = tree.EMPTY_ROOT
        self.times: list[int] = []
        self.indexes: list[int] = []

    @property
    def size(self) -> int:
        """How many there were."""
        return self._edge.size

    def take(self, leaves: list[bytes]) -> None:
        """Read the next ones. Raises ``LogRefused`` for what is no leaf."""
        for raw in leaves:
            leaf, index = Leaf.decode(raw), self.size
            self._edge.append(tree.leaf_hash(raw))
            if self.size == self._known.size:
                self._before = self._edge.root()
            key = self._keys.get(leaf.time // DAY)
            if key is not None and equal(access_log.mark(key, index), leaf.mark):
                self.times.append(leaf.time)
                self.indexes.append(index)

    def check(self, head: Checkpoint) -> None:
        """Whether they are the log of ``head``, and it continues the known one. Raises
        ``LogRefused``."""
        if not equal(self._edge.root(), head.root):
            raise LogRefused("the leaves that the relay shows are not those of the access log")
        if self._known.size and not equal(self._before, self._known.root):
            raise LogRefused(
                "the access log is another one than before: earlier entries were changed or taken"
                " out, or different people are shown different logs"
            )


def _leaves(page: wire.Opened, start: int, size: int) -> list[bytes]:
    return unbundle(page.leaves, min(WIDTH, size - start))
