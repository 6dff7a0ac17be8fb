"""Whom and what this client believes: the modes' ends, the pinned policies, and the ``Need`` loop.

What may live here: calling a mode and fetching, once, what it says it needs; every answer is
verified by the mode or the pins before it is believed. What may not: messages' order and
storage (``outgoing``, ``incoming``), making proposals (``proposals``), publishing own keys
(``keys``).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, runtime_checkable

from client.credentials import check_name
from client.key_log import KeyLog
from client.memory import Memory
from client.messages import Event, KeyChange, KeyRefusal, OwnKeyRefusal
from client.session import Session
from crypto_modes import policy, registry, wire
from crypto_modes.contract import (
    ClientMode,
    ClientTools,
    Mode,
    Need,
    NeedBundles,
    NeedDevices,
    NeedPolicy,
    Want,
)
from crypto_modes.errors import (
    BadArgument,
    KeyChanged,
    KeyRefused,
    LogRefused,
    LouverError,
    ModeMismatch,
    NotInThisMode,
    UnknownDevice,
)
from crypto_modes.pins import Pins

# A mode may need a device list, bundles and some epochs of policy in turn; one that still lacks
# something after this many answers is being led on by the relay.
MOST_NEEDS = 64

T = TypeVar("T")


@runtime_checkable
class Verifying(Protocol):
    """What a mode that knows its users' keys offers beside the two verbs."""

    def publication(self, left: wire.Published | None, above: int) -> list[wire.Publish]: ...
    def safety_number(self, peer: bytes) -> str: ...
    def accept_key(self, peer: bytes, number: str) -> None: ...
    def pinned_key(self, peer: bytes) -> bytes | None: ...
    def refill_due(self) -> bool: ...
    def purge(self) -> None: ...


class Trust:
    """The beliefs of one device. ``begin`` first, as soon as the account is known."""

    def __init__(
        self,
        memory: Memory,
        session: Session,
        modes: Mapping[str, Mode],
        emit: Callable[[Event], None],
    ) -> None:
        self._memory = memory
        self._session = session
        self._modes = modes
        self._emit = emit
        self.account_id = b""
        self.key_log = KeyLog(memory, session, now_ms)
        self._clients: dict[str, ClientMode] = {}
        self._under_way: dict[Want, asyncio.Task[None]] = {}

    def begin(self, account: bytes, device: bytes) -> None:
        """Make the modes' ends. Called once; a mode may write its first state here."""
        self.account_id = account
        tools = ClientTools(
            account=account,
            device=device,
            state=self._memory.store,
            random=os.urandom,
            now=now_ms,
            frame=self._session.frame_room(),
        )
        strengths = registry.strengths(self._modes)
        self.pins = Pins(self._memory.store, account, strengths)
        with self._memory.store.transaction():
            self._clients = {name: mode.client(tools) for name, mode in self._modes.items()}

    def client(self, mode: str) -> ClientMode:
        """This device's end of ``mode``. Raises ``ModeMismatch`` where it is not installed."""
        client = self._clients.get(mode)
        if client is None:
            known = ", ".join(self._clients)
            raise ModeMismatch(f"this client does not know the mode {mode!r}, only {known}")
        return client

    def verifying(self) -> Verifying:
        """The mode that knows the users' keys. Raises ``NotInThisMode`` where none is installed."""
        for client in self._clients.values():
            if isinstance(client, Verifying):
                return client
        raise NotInThisMode("no mode with keys of its own is installed here")

    def all_verifying(self) -> dict[str, Verifying]:
        """The modes that know the users' keys, by name."""
        return {
            name: client for name, client in self._clients.items() if isinstance(client, Verifying)
        }

    def words(self, mode: str) -> str:
        """Who can read in ``mode``. Our own words, where we know the mode: a relay may lie."""
        known = self._modes.get(mode)
        welcome = self._session.welcome
        if known is not None:
            return known.words
        return "" if welcome is None else welcome.words.get(mode, "")

    def weaker(self, mode: str, other: str) -> bool:
        """Whether more people can read ``mode`` than ``other``, as far as is known: of a mode that
        is no longer installed the worse is assumed.
        """
        if mode not in self._modes or other not in self._modes:
            return mode != other
        return self._modes[mode].strength < self._modes[other].strength

    def reads(self, mode: str, adversary: str) -> bool:
        """Whether one of ``contract.ADVERSARIES`` reads ``mode``, as it declares itself."""
        self.client(mode)  # installed, or ModeMismatch
        return self._modes[mode].visibility[adversary]

    def strongest(self) -> str:
        """The installed mode that the fewest people can read, of those that the relay knows too."""
        welcome = self._session.welcome
        shared = self._modes.keys() & (welcome.words.keys() if welcome is not None else set())
        if not shared:
            raise NotInThisMode("this client and the relay have no mode in common")
        return max(shared, key=lambda name: self._modes[name].strength)

    def private(self, mode: str) -> bool:
        """Whether ``mode`` declares that not even a compelled operator can read it."""
        known = self._modes.get(mode)
        return known is not None and not known.visibility["compelled_operator"]

    # --- the Need loop ---

    async def resolve(self, work: Callable[[], T], *, answering: Want | None = None) -> T:
        """``work`` inside one transaction, again after fetching each thing it says it needs.

        ``answering`` is what is being fetched already: to need that again has no end.
        Raises what ``work`` or the fetching raises; nothing of ``work`` is kept then.
        """
        fetched = {answering}
        for _ in range(MOST_NEEDS):
            try:
                with self._memory.store.transaction():
                    return work()
            except Need as need:
                want = need.what
            if want in fetched:
                break
            await self.satisfy(want)
            fetched.add(want)
        raise _unanswered(want)

    async def satisfy(self, want: Want) -> None:
        """Fetch ``want`` and supply it; whoever else wants it meanwhile shares the answer."""
        task = self._under_way.get(want)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(want))
            self._under_way[want] = task
            task.add_done_callback(lambda done: self._fetched(want, done))
        await asyncio.shield(task)

    def _fetched(self, want: Want, task: asyncio.Task[None]) -> None:
        del self._under_way[want]
        if not task.cancelled():
            task.exception()  # seen: everybody who waited may have been cancelled since

    async def _fetch(self, want: Want) -> None:
        match want:
            case NeedDevices(account):
                await self.look_up(account, answering=want)
            case NeedBundles(account, devices):
                await self._fetch_bundles(account, devices, want)
            case NeedPolicy(_, peer, epoch):
                ask = wire.SetPolicy(ref=0, peer=peer, epoch=epoch)
                offered = await self._session.ask(ask, wire.Policy)
                await self.believe(offered, answering=want)
            case _:
                raise NotInThisMode("a client's mode asked for what only a relay has")

    async def _fetch_bundles(self, account: bytes, devices: tuple[bytes, ...], want: Want) -> None:
        """Supply the bundles of these devices; where one has none because it was removed a moment
        ago, the newer list instead. Raises ``UnknownDevice`` where it is still listed.
        """
        request = wire.GetKeys(ref=0, account=account, devices=devices)
        try:
            keys = await self._session.ask(request, wire.Keys)
            await self._supply(keys, account, answering=want)
        except UnknownDevice:
            found = await self.look_up(account, answering=want)
            listed = () if found.list is None else found.list.certificates
            if {each.device for each in listed}.issuperset(devices):
                raise

    # --- accounts ---

    async def look_up(
        self, account: bytes = b"", name: str | None = None, *, answering: Want | None = None
    ) -> wire.Devices:
        """An account's name, key and devices. Raises ``Forbidden`` where it cannot be reached."""
        if name is not None:
            check_name(name)
        request = wire.GetDevices(ref=0, account=account, name=name)
        found = await self._session.ask(request, wire.Devices)
        if found.account != account and found.name != name:
            raise KeyRefused("the relay answered with another account than was asked for")
        self._memory.keep_name(found.account, found.name)
        if found.list is not None:
            await self._supply(found, found.account, answering=answering)
        return found

    async def account(self, peer: bytes | str) -> bytes:
        """The account id of a name or an id."""
        if isinstance(peer, bytes):
            return peer
        known = self._memory.account_of(peer)
        return known if known is not None else (await self.look_up(name=peer)).account

    async def name(self, account: bytes) -> str:
        """The name of an account."""
        return self._memory.name_of(account) or (await self.look_up(account)).name

    # --- what the relay says ---

    async def _supply(
        self,
        answer: wire.Devices | wire.Keys,
        account: bytes,
        *,
        answering: Want | None = None,
    ) -> None:
        def supply() -> KeyChanged | None:
            changed = None
            for client in self._clients.values():
                try:
                    client.supply(answer)
                except KeyChanged as error:
                    changed = error  # raised outside, because what it wrote is to be kept
            return changed

        try:
            if isinstance(answer, wire.Devices) and self.all_verifying():
                await self.key_log.admit(answer)
            changed = await self.resolve(supply, answering=answering)
        except (KeyRefused, LogRefused) as error:
            own = account == self.account_id
            self._emit(OwnKeyRefusal(str(error)) if own else KeyRefusal(account, str(error)))
            raise
        if changed is not None:
            self._emit(self.key_change(account))
            raise changed

    async def pushed(self, frame: wire.Devices) -> None:
        """Take a list that was sent unasked; one that does not verify becomes an event."""
        if frame.list is not None:
            await self._supply(frame, frame.account)

    async def believe(self, offered: wire.Policy, *, answering: Want | None = None) -> bool:
        """Pin a policy, if it may follow what is pinned; whether it is the newest then.

        Raises ``BelowFloor`` and others.
        """
        return await self.resolve(
            lambda: self.pins.record(offered, self.keys(offered)), answering=answering
        )

    async def policy(self, peer: bytes, *, fresh: bool = False) -> wire.Policy:
        """The policy in force with ``peer``; asked for again where ``fresh``."""
        conversation = policy.conversation_id(self.account_id, peer)
        current = self.pins.current(conversation)
        if fresh or current is None:
            await self.satisfy(NeedPolicy(conversation, peer, 0))
            current = self.pins.current(conversation)
        if current is None:
            raise _unanswered(NeedPolicy(conversation, peer, 0))
        return current

    # --- keys ---

    def safety_number(self, peer: bytes) -> str:
        """60 digits. Raises ``NotInThisMode`` where a side has no keys that are known here."""
        try:
            return self.verifying().safety_number(peer)
        except (Need, BadArgument):
            raise NotInThisMode(
                "there is no safety number: not both of you have published keys"
            ) from None

    async def accept_key(self, peer: bytes, number: str) -> None:
        """The user compared ``number`` and accepts the changed key it belongs to."""
        client = self.verifying()
        await self.resolve(lambda: client.accept_key(peer, number))

    def key_change(self, peer: bytes) -> KeyChange:
        """The event for a changed key, with its safety number where this device has keys."""
        try:
            return KeyChange(peer, self.safety_number(peer))
        except NotInThisMode:
            return KeyChange(peer)

    def keys(self, offered: wire.Policy) -> dict[bytes, bytes]:
        """The account keys of both parties that this client itself verified."""
        try:
            pinned_key = self.verifying().pinned_key
        except NotInThisMode:
            return {}
        pairs = ((account, pinned_key(account)) for account in (offered.first, offered.second))
        return {account: key for account, key in pairs if key is not None}


def _unanswered(want: Want) -> LouverError:
    match want:
        case NeedBundles():
            return UnknownDevice(
                "the other user has not published keys yet; ask them to connect once"
            )
        case NeedDevices():
            return UnknownDevice("the other user has not published a device list yet")
    return ModeMismatch("the relay does not show the policy that it refers to")


def now_ms() -> int:
    """Wall-clock time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000
