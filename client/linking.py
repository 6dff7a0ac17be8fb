"""The devices of one's own account: linking a new one, removing one, beginning sessions anew.

What may live here: the steps of both sides over the relay's mailbox, and what of names and policies
is handed over. What may not: the protocol (``crypto_modes.e2ee.linking``), or how a person is asked
(``cli.devices``, ``slash``). Nothing here trusts the relay: it carries bytes that it can neither
read nor make.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

import msgspec

from client.keys import OwnKeys
from client.memory import Memory
from client.session import Session
from client.trust import Trust, Verifying
from crypto_modes import pins, wire
from crypto_modes.contract import NeedDevices, Secretive
from crypto_modes.e2ee.handover import Peer
from crypto_modes.e2ee.linker import Joined, Joining, Linker
from crypto_modes.e2ee.linking import Code
from crypto_modes.errors import (
    BadArgument,
    FrameRefused,
    KeyRefused,
    LimitExceeded,
    NotInThisMode,
    RemoteError,
)
from crypto_modes.primitives import equal

# How often a side looks whether the other has written; a person is waiting meanwhile.
LOOK_SECONDS = 1.0
# How long the code is shown, a little less than a mailbox lasts; and how long the existing device
# waits for the new one's last word, which takes it a moment.
CODE_SECONDS = 580.0
CONFIRMATION_SECONDS = 60.0
# How often a list is signed again because another device changed it meanwhile.
MOST_LISTS = 4

_OFFER, _CONFIRMATION = 0, 1
_ANSWER = range(2, wire.LINK_SLOTS)
_MORE, _LAST = b"\x01", b"\x00"
_CHUNK = wire.LINK_BODY_LIMIT - 1


@runtime_checkable
class Linkable(Verifying, Protocol):
    """A mode whose devices are linked to their account."""

    @property
    def linker(self) -> Linker: ...


class Candidate(Secretive, msgspec.Struct, frozen=True):
    """The device that a code belongs to, verified: ``device`` is its id (16 bytes), ``label`` what
    it calls itself, which is no more than that. ``replaces``: it is linked already.
    """

    code: Code
    offer: bytes
    device: bytes
    label: str
    replaces: bool

    def __repr__(self) -> str:
        return f"<Candidate {self.device.hex()}>"


class Linked(msgspec.Struct, frozen=True):
    """What the new device was handed: ``by`` which device (its id), how many ``peers`` it can now
    recognise, whether it holds the account key, and of which peers (by name) this device had been
    shown other keys or policies than the other one: the relay has lied to one of them. ``one_log``:
    the key log that this device is shown is the one that the other had pinned.
    """

    by: bytes
    peers: int
    holds_account_key: bool
    contradicted: tuple[str, ...] = ()
    one_log: bool = True


class Approved(msgspec.Struct, frozen=True):
    """The new device is linked. ``peers`` were handed over, ``left_out`` did not fit."""

    device: bytes
    peers: int
    left_out: int


class Linking:
    """The verbs about one's own devices, of one chat. ``linked()`` is called once this device is.

    Raises ``NotInThisMode`` throughout where no mode with devices of its own is installed.
    """

    def __init__(
        self,
        memory: Memory,
        session: Session,
        trust: Trust,
        keys: OwnKeys,
        linked: Callable[[], None],
    ) -> None:
        self._memory = memory
        self._session = session
        self._trust = trust
        self._keys = keys
        self._linked = linked

    @property
    def holds_account_key(self) -> bool:
        """Whether this device can link and remove others, and sign for the account."""
        return self._linkable().linker.holds_account_key()

    # --- on the new device ---

    async def begin(self, label: str) -> Joining:
        """Offer this device; show ``code.text()`` or ``code.qr()`` of the result to the existing
        one, then ``finish``. Raises ``BadArgument`` where this device holds the account key.
        """
        linker = self._linkable().linker
        joining = await self._trust.resolve(lambda: linker.join(label))
        await self._write(joining.box, _OFFER, joining.offer)
        return joining

    async def finish(self, joining: Joining) -> Linked:
        """Wait until the existing device has approved, take what it hands over, and publish.

        Raises ``KeyRefused`` where the answer is not from whoever was shown the code,
        ``LimitExceeded`` where nobody answered in ten minutes, and others of the relay's.
        """
        answer = await _within(CODE_SECONDS, self._answer_in(joining.box))
        linkable = self._linkable()
        joined, contradicted, met = await self._trust.resolve(
            lambda: self._take(linkable, joining, answer)
        )
        try:
            await self._keys.publish_of(linkable)
        except RemoteError:
            # Another device changed the list meanwhile: what this one was given is void.
            await self._trust.resolve(lambda: linkable.linker.withdraw(joined))
            raise
        await self._write(joining.box, _CONFIRMATION, joined.confirmation)
        self._linked()
        handed, one_log = joined.handover, await self._one_log(met)
        return Linked(joined.by, len(handed.peers), bool(handed.seed), contradicted, one_log)

    def _take(
        self, linkable: Linkable, joining: Joining, answer: bytes
    ) -> tuple[Joined, tuple[str, ...], bytes]:
        """All that is believed with the answer, in one transaction; of whom this device had met
        something else, and the checkpoint that it had met.
        """
        joined = linkable.linker.joined(joining, answer)
        if joined.again:
            return joined, (), b""
        handed = joined.handover
        contradicted = tuple(self._believe(linkable.linker, handed.peers))
        met = b"" if handed.log is None else self._trust.key_log.adopt(handed.log)
        return joined, contradicted, met

    async def _one_log(self, met: bytes) -> bool:
        """Whether the relay's log goes on from what is pinned, and had the checkpoint ``met``."""
        log = self._trust.key_log
        try:
            await log.update()
            if met:
                await log.compare(met)
        except RemoteError as error:
            return error.temporary  # then it is looked at again before any key is believed
        return True

    def _believe(self, linker: Linker, peers: Iterable[Peer]) -> Iterator[str]:
        """Pin names, keys and policies; the names of those that contradict what was here."""
        for peer in peers:
            agreed = []
            if peer.name:
                agreed.append(self._memory.adopt_name(peer.account, peer.name))
            if peer.key:
                agreed.append(linker.trust(peer.account, peer.key))
            if peer.policy is not None:
                agreed.append(self._trust.pins.adopt(peer.policy))
            if not all(agreed):
                yield peer.name or peer.account.hex()

    # --- on the existing device ---

    async def consider(self, code: str) -> Candidate:
        """Which device a code belongs to; nothing is done yet. Show it, ask, then ``approve``.

        Raises ``BadArgument`` for what is no code, ``Forbidden`` where no device waits with it,
        ``KeyRefused`` where the relay shows another device than the one with the code.
        """
        linkable, read = self._linkable(), Code.read(code)
        offer = await self._read(self._box(read), _OFFER)
        found = linkable.linker.consider(read, offer)
        own = await self._trust.look_up(self._trust.account_id)
        listed = () if own.list is None else own.list.certificates
        replaces = any(each.device == found.request.device for each in listed)
        return Candidate(read, offer, found.request.device, found.label, replaces)

    async def approve(self, candidate: Candidate, *, with_account_key: bool = False) -> Approved:
        """Link the device, and hand over what this one knows of other users.

        ``with_account_key`` makes it equal to this one: it then links, removes and signs, and who
        steals it can do so too. Returns once it has confirmed. Raises ``BadArgument`` on a device
        that lacks the account key, and ``LimitExceeded`` for an eleventh device or where the new
        one says nothing more; look at the devices then.
        """
        linker = self._linkable().linker
        peers = list(self._peers(linker))
        approval = await self._trust.resolve(
            lambda: linker.approve(
                candidate.code,
                candidate.offer,
                peers,
                with_account_key=with_account_key,
                log=self._trust.key_log.pinned(),
            )
        )
        box = self._box(candidate.code)
        for slot, part in zip(_ANSWER, _parts(approval.answer), strict=False):
            await self._write(box, slot, part)
        said = await _within(CONFIRMATION_SECONDS, self._wait_for(box, _CONFIRMATION))
        if not equal(said, approval.confirmation):
            raise KeyRefused(
                "what confirmed this is not the device with the code; look at louver devices, and"
                " remove what you do not know"
            )
        await self._trust.satisfy(NeedDevices(self._trust.account_id))
        return Approved(candidate.device, approval.handed, len(peers) - approval.handed)

    def _peers(self, linker: Linker) -> Iterator[Peer]:
        """Everybody of whom something is pinned here, those with a conversation first."""
        keys, own = linker.pinned(), self._trust.account_id
        for conversation, _ in self._memory.store.scan(pins.SPANS):
            policy = self._trust.pins.current(conversation)
            if policy is not None:
                account = policy.second if policy.first == own else policy.first
                name = self._memory.name_of(account)
                yield Peer(account, name, keys.pop(account, b""), policy)
        for account, key in keys.items():
            yield Peer(account, self._memory.name_of(account), key)

    # --- either ---

    async def remove(self, device: bytes) -> None:
        """Take a device off the account, at once and for good: the relay closes its connection,
        and no message is encrypted to it any more.

        Raises ``BadArgument`` for this device itself, or where this one lacks the account key;
        ``UnknownDevice``.
        """
        linker, own = self._linkable().linker, self._trust.account_id
        for attempt in range(MOST_LISTS):
            await self._trust.satisfy(NeedDevices(own))
            frame = await self._trust.resolve(lambda: linker.remove(device))
            try:
                await self._session.ask(frame, wire.Published)
                break
            except (FrameRefused, KeyRefused):
                if attempt == MOST_LISTS - 1:
                    raise
        await self._trust.satisfy(NeedDevices(own))

    async def reset(self, peer: bytes) -> None:
        """Forget the sessions with all devices of ``peer``; the next message sets them up anew.
        What is under way from them in an old one will not open.
        """
        linker = self._linkable().linker
        await self._trust.resolve(lambda: linker.reset(peer))

    # --- the mailbox ---

    async def _write(self, box: bytes, slot: int, body: bytes) -> None:
        await self._session.ask(wire.SetLink(ref=0, box=box, slot=slot, body=body), wire.Link)

    async def _read(self, box: bytes, slot: int) -> bytes:
        found = await self._session.ask(wire.SetLink(ref=0, box=box, slot=slot), wire.Link)
        return found.body

    async def _wait_for(self, box: bytes, slot: int) -> bytes:
        while True:
            body = await self._read(box, slot)
            if body:
                return body
            await asyncio.sleep(LOOK_SECONDS)

    async def _answer_in(self, box: bytes) -> bytes:
        answer = b""
        for slot in _ANSWER:
            part = await self._wait_for(box, slot)
            answer += part[1:]
            if part[:1] == _LAST:
                return answer
        raise FrameRefused("an answer without an end")

    def _box(self, code: Code) -> bytes:
        return code.box(self._trust.account_id)

    def _linkable(self) -> Linkable:
        found = self._trust.verifying()
        if not isinstance(found, Linkable):
            raise NotInThisMode("no mode whose devices are linked is installed here")
        return found


async def _within(seconds: float, work: Awaitable[bytes]) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise LimitExceeded("the other device did not answer in time; begin again") from None


def _parts(answer: bytes) -> list[bytes]:
    """The answer in portions of one slot each, the last one marked. Raises ``BadArgument``."""
    starts = range(0, len(answer), _CHUNK)
    if len(starts) > len(_ANSWER):
        raise BadArgument("this answer is too long for a mailbox")
    ends = [*[_MORE] * (len(starts) - 1), _LAST]
    return [mark + answer[at : at + _CHUNK] for mark, at in zip(ends, starts, strict=True)]
