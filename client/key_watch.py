"""Watching the key log: one's own entries, all of them, and what peers say of the log.

What may live here: reading the log entry by entry, judging those of one's own account, holding
what peers said inside their messages to the log, and when. What may not: asking for and verifying
proofs (``key_log``).

Every leaf is read, because a relay that enters a false key for somebody would not point it out to
them. That is 64 bytes for each list that was ever published on this relay: 10 MB for 100,000
accounts, once, and then what is new. A larger relay than that wants a log that proves what it does
not hold; this one does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from secrets import SystemRandom
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from client.contents import Contents
from client.key_log import OWN, KeyLog, LogState
from client.memory import Memory
from client.messages import Event, LogRefusal, OwnKeyRefusal, SplitView
from client.trust import Trust, now_ms
from crypto_modes import policy, wire
from crypto_modes.contract import KEY_LOG
from crypto_modes.e2ee import devices
from crypto_modes.errors import (
    FrameRefused,
    KeyRefused,
    LogRefused,
    LouverError,
    NotInThisMode,
    UnknownDevice,
)
from crypto_modes.primitives import equal
from crypto_modes.transparency import key_log
from crypto_modes.transparency.key_log import CLAIMED, HEARD, Head
from crypto_modes.transparency.tree import Frontier

PAGE = 512
# Pages that are read before what they say is held to the log and kept.
PAGES_AT_ONCE = 16
ROUND_SECONDS = 60.0
DAY = 24 * 60 * 60 * 1000

_FRONTIER = b"frontier"
_U64 = 8
_random = SystemRandom().random


class Own(NamedTuple):
    """An entry of the own account: the account key in it, or none where the relay does not show
    what it was made of, and the list's version.
    """

    number: int
    key: bytes
    version: int


class Claim(NamedTuple):
    """What an account said of the log inside a message, and what is not so here: it was shown
    another log, or it lies. ``name`` is empty where it is not known.
    """

    account: bytes
    name: str
    head: Head


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was proved of somebody's keys, just now: the entry of exactly this key and list is
    number ``index`` (from 0) in the tree of ``log.head``, which continues every one seen before.
    ``own`` are the entries of one's own account, each of its own doing. ``claims`` say something
    else of the log and prove nothing.
    """

    account: bytes
    name: str
    key: bytes
    version: int
    devices: int
    index: int
    log: LogState
    safety_number: str
    own: tuple[Own, ...]
    claims: tuple[Claim, ...] = ()


@runtime_checkable
class Showing(Protocol):
    """What a mode offers whose safety numbers machines compare, too."""

    def safety_text(self, peer: bytes) -> str: ...


class KeyWatch:
    """The watch of one device. ``sleep`` seconds, ``now`` milliseconds, ``uniform`` in [0, 1)."""

    def __init__(
        self,
        memory: Memory,
        trust: Trust,
        contents: Contents,
        emit: Callable[[Event], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], int] = now_ms,
        uniform: Callable[[], float] = _random,
    ) -> None:
        self._memory = memory
        self._store = memory.store
        self._trust = trust
        self._contents = contents
        self._emit = emit
        self._sleep = sleep
        self._now = now
        self._uniform = uniform
        self._watching = asyncio.Lock()
        self._told: set[tuple[bytes, Head]] = set()

    @property
    def log(self) -> KeyLog:
        return self._trust.key_log

    async def run(self, report: Callable[[LouverError], None]) -> None:
        """Watch at once and then about daily, and hear peers every minute, until cancelled."""
        due = 0
        while True:
            try:
                if self._now() >= due:
                    due = self._now() + int(DAY * (0.75 + self._uniform() / 2))
                    await self.look()
                await self.hear()
            except LouverError as error:
                report(error)
            await self._sleep(ROUND_SECONDS * (0.5 + self._uniform()))

    async def look(self) -> None:
        """``watch``, with what is wrong told as an event; once more on each connection."""
        try:
            await self.watch()
        except LogRefused as error:
            self._emit(LogRefusal(str(error)))
        except KeyRefused as error:
            self._emit(OwnKeyRefusal(str(error)))

    # --- for the person ---

    async def verify(self, peer: bytes | str) -> Verified:
        """Prove the keys of ``peer``, and that the log holds together, all of it anew.

        Raises ``KeyChanged``, ``KeyRefused`` or ``LogRefused`` where anything does not hold, and
        ``UnknownDevice`` where nothing was published.
        """
        found = await self._trust.look_up(await self._trust.account(peer))
        if found.list is None:
            raise UnknownDevice("this user has published no keys yet; ask them to connect once")
        own = await self.watch()
        claims = await self.hear()
        entry = key_log.entry(found.account, found.key, found.list)
        index = await self.log.prove(found.account, entry)
        mine = found.account == self._trust.account_id
        return Verified(
            account=found.account,
            name=found.name,
            key=found.key,
            version=found.list.version,
            devices=len(found.list.certificates),
            index=index,
            log=self.log.state(),
            safety_number="" if mine else self._trust.safety_number(found.account),
            own=tuple(own),
            claims=tuple(claims),
        )

    def safety_text(self, peer: bytes) -> str:
        """The safety number in full, for a QR code. Raises ``NotInThisMode`` as the number does."""
        self._trust.safety_number(peer)
        client = self._trust.verifying()
        if not isinstance(client, Showing):
            raise NotInThisMode("no mode with a safety number for machines is installed here")
        return client.safety_text(peer)

    # --- the own account ---

    async def watch(self) -> list[Own]:
        """Read what is new in the log, and judge every entry of the own account; those entries.

        Nothing on a device without keys of its account. Raises ``LogRefused`` where the log
        contradicts itself, ``KeyRefused`` for an entry that this account did not make.
        """
        async with self._watching:
            key = self._own_key()
            if key is None:
                return []
            head = await self.log.update()
            await self._read_up_to(head)
            own = self._own()
            self._judge(own, key)
            await self._compare_newest(own)
            return own

    async def _read_up_to(self, head: Head) -> None:
        raw = self._store.get(KEY_LOG, _FRONTIER)
        frontier = Frontier() if raw is None else Frontier.decode(raw)
        while frontier.size < head.size:
            found: list[Own] = []
            for _ in range(PAGES_AT_ONCE):
                if frontier.size < head.size:
                    limit = min(PAGE, head.size - frontier.size)
                    found += self._take(await self.log.entries(frontier.size, limit), frontier)
            # Only now is it certain that these are the entries whose root was signed.
            await self._check(frontier, head)
            with self._store.transaction():
                for own in found:
                    value = own.key + own.version.to_bytes(_U64, "big")
                    self._store.put(OWN, own.number.to_bytes(_U64, "big"), value)
                self._store.put(KEY_LOG, _FRONTIER, frontier.encode())

    async def _check(self, frontier: Frontier, head: Head) -> None:
        """Raises ``LogRefused`` where what was listed is not what was signed."""
        read = Head(frontier.size, frontier.root())
        if read == head:
            return
        try:
            await self.log.check_earlier(read)
        except (LogRefused, FrameRefused) as error:
            if error.temporary:
                raise
            raise LogRefused(
                f"the relay lists other entries of its key log than it signed ({error})"
            ) from None

    def _take(self, page: wire.Entries, frontier: Frontier) -> list[Own]:
        mine = key_log.tag(self._trust.account_id)
        opened = {each.index: each for each in page.own}
        found = []
        for entry in page.entries:
            if equal(entry.tag, mine):
                found.append(self._opened(frontier.size, entry, opened.get(frontier.size)))
            frontier.append(key_log.hash_of(entry.tag, entry.entry))
        return found

    def _opened(self, index: int, entry: wire.LogEntry, shown: wire.Opening | None) -> Own:
        """What an own entry was made of, if the relay shows it and it is really that."""
        account = self._trust.account_id
        if shown is None or key_log.entry(account, shown.key, shown.list) != entry.entry:
            return Own(index, b"", 0)
        try:
            devices.verify_list(account, shown.key, shown.list)
        except KeyRefused:
            return Own(index, b"", 0)
        return Own(index, shown.key, shown.list.version)

    def _judge(self, own: list[Own], key: bytes) -> None:
        """Raises ``KeyRefused`` for an entry that is not this account's own doing.

        Under another key there may only be what this account had before its key was replaced on
        purpose: entered before the first under this key, with versions below its first. Under this
        key versions only rise.
        """
        hidden = [each.number for each in own if not each.key]
        if hidden:
            raise KeyRefused(
                f"the key log holds an entry for your account (number {hidden[0]}) that the relay"
                " does not show you: others may be shown keys that are not yours"
            )
        mine = [each for each in own if each.key == key]
        if not mine:
            raise KeyRefused(
                "your own keys are not in the relay's key log: nobody who checks will believe them"
            )
        first = mine[0]
        for earlier, later in pairwise(mine):
            # Two who hold the key did not know of each other's list, and each peer may be shown the
            # one that suits the relay: such as one that names a device again that was removed.
            if later.version <= earlier.version:
                raise KeyRefused(
                    "the key log holds lists of your devices that do not follow each other (number"
                    f" {later.number}): one of your devices signed it without having been shown the"
                    " newest, or somebody else holds your account key; look at your devices"
                )
        for each in own:
            before = each.number < first.number and each.version < first.version
            if each.key != key and not before:
                raise KeyRefused(
                    f"the key log holds another key for your account (number {each.number}): it was"
                    " replaced from another device, or the relay shows others a false one"
                )

    async def _compare_newest(self, own: list[Own]) -> None:
        """Raises ``KeyRefused`` where the newest own list is not what the relay shows."""
        found = await self._trust.look_up(self._trust.account_id)
        shown = 0 if found.list is None else found.list.version
        if shown < max(each.version for each in own):
            raise KeyRefused("the relay shows an older list of your devices than its key log holds")

    def _own(self) -> list[Own]:
        return [
            Own(int.from_bytes(row, "big"), raw[:-_U64], int.from_bytes(raw[-_U64:], "big"))
            for row, raw in self._store.scan(OWN)
        ]

    def _own_key(self) -> bytes | None:
        try:
            return self._trust.verifying().pinned_key(self._trust.account_id)
        except NotInThisMode:
            return None

    # --- what peers say ---

    async def hear(self) -> list[Claim]:
        """Hold heads that peers said inside their messages to the log; what is not so in it. Each
        such claim is an event, too, and stops nothing: whoever writes a message can invent one.

        Raises ``LogRefused`` for what is the relay's own doing.
        """
        # All of them: which come first is the relay's to choose, as it gives accounts their ids.
        for account, row in list(self._store.scan(HEARD)):
            if not await self._was_once(Head.decode(row)):
                self._store.put(CLAIMED, account, row)
            if self._store.get(HEARD, account) == row:  # else a newer one came meanwhile
                self._store.delete(HEARD, account)
        claims = [
            Claim(account, self._memory.name_of(account), Head.decode(row))
            for account, row in self._store.scan(CLAIMED)
        ]
        for claim in claims:
            self._tell(claim)
        return claims

    async def _was_once(self, said: Head) -> bool:
        """Whether the log had this head, as far as the relay can prove it."""
        if said.size > self.log.head().size:
            await self.log.update()
        if said.size > self.log.head().size:
            return False
        try:
            await self.log.check_earlier(said)
        except (LogRefused, FrameRefused) as error:
            if error.temporary:
                raise
            return False
        return True

    def _tell(self, claim: Claim) -> None:
        """Once in a run, or once for ever where a stranger said it: it would be his to fill the
        screen with what he invents.
        """
        account, _, head = claim
        own = self._trust.account_id
        if account != own and not self._contents.acquainted(policy.conversation_id(own, account)):
            self._store.delete(CLAIMED, account)
        elif (account, head) in self._told:
            return
        else:
            self._told.add((account, head))
        self._emit(SplitView(account, head))
