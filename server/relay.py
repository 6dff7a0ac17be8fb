"""The use cases: what each frame of an open session does, one function each.

What may live here: straight-line use cases over the store, the bus, the directory and the modes.
The hot path of sending is in ``sending``, streams to devices in ``delivery``, credentials in
``enrol``, which frame is legal when in ``session``. Nothing here touches a socket or SQL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import msgspec

from crypto_modes import wire
from crypto_modes.contract import Mode, Need, ServerMode, Stored
from crypto_modes.errors import (
    CannotOpen,
    Forbidden,
    FrameRefused,
    KeyServiceUnavailable,
    RateLimited,
)
from crypto_modes.keys import SigningKey
from server.blobs import Blobs
from server.bus import Bus, Revoked, Signal
from server.conversations import Conversations
from server.defaults import Defaults
from server.directory import Directory, public
from server.effects import Effects, tombstone
from server.entrance import Credentials, Entrance
from server.keeping import Keeping
from server.key_log import KeyLog
from server.limits import Rates
from server.mailboxes import Mailboxes
from server.notices import UserNotices
from server.openings import Openings
from server.receipts import Receipts
from server.reports import Reports
from server.scanning import Scanning
from server.sending import TRIES, Outgoing
from server.session import Session
from server.settings_tree import Settings
from server.store import Store
from server.store.blob_files import BlobFiles
from server.sunset import Ending
from server.watch import Watch

# A page of history stops at this many bytes, so that it fits any outbox.
PAGE_BYTES = 256 * 1024

# Fetches what a mode said it needs; raises KeyServiceUnavailable or StoreUnavailable.
Supply = Callable[[Need], Awaitable[None]]


def now_ms() -> int:
    """Wall-clock time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


class Relay:
    """Everything the sessions of one node share. The composition root makes exactly one."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        files: BlobFiles,
        bus: Bus,
        registry: Mapping[str, Mode],
        modes: Mapping[str, ServerMode],
        supply: Supply,
        credentials: Credentials,
        log_key: SigningKey,
        observer: Watch,
        epoch: int,
        scanning: Scanning,
        team: bytes = b"",
        keeping: Keeping | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.bus = bus
        self.registry = registry
        self.modes = modes
        self.supply = supply
        self.observer = observer
        self.directory = Directory(store, self._device_removed)
        self.conversations = Conversations(
            store, self.directory, registry, settings.modes_by_kind()
        )
        self.defaults = Defaults(store, self.conversations, registry, epoch, self.tell_everyone)
        self.ending = Ending(store, registry, self.defaults, self.tell_everyone, observer)
        self.rates = Rates(settings.limits)
        self.key_log = KeyLog(store, log_key, self.rates)
        self.entrance = Entrance(self, credentials)
        self.scanning = scanning
        self.effects = Effects(self, keeping or Keeping(store))
        self.notices = UserNotices(self)
        self.outgoing = Outgoing(self)
        self.reports = Reports(store, self.rates, observer, team)
        self.openings = Openings(self.rates)
        self.mailboxes = Mailboxes(time.monotonic, self.rates.mailbox)
        self.blobs = Blobs(self, files)
        self.receipts = Receipts(self._publish_receipt)
        self.sessions: dict[bytes, set[Session]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside the sessions; kept alive until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- modes ---

    def emit(self, stored: Stored, device: bytes) -> wire.Deliver:
        """This device's view of a stored message. Raises ``Need`` or ``CannotOpen``."""
        if self.effects.removed and self.effects.is_removed(stored):
            return tombstone(stored)
        mode = self.modes.get(stored.meta.mode)
        if mode is None:
            raise CannotOpen("this message is in a mode that is not installed here")
        return mode.emit(stored, device)

    async def emit_when_ready(self, stored: Stored, device: bytes) -> wire.Deliver:
        """As ``emit``, fetching what the mode lacks. Raises ``KeyServiceUnavailable``."""
        for _ in range(TRIES):
            try:
                return self.emit(stored, device)
            except Need as need:
                await self.supply(need)
        raise KeyServiceUnavailable("a key of this message was fetched, and lost again at once")

    # --- messages ---

    def ack(self, session: Session, frame: wire.Ack) -> None:
        """Remember how far this device has safely stored a conversation."""
        self._check_position(session, frame.conversation, frame.seq)
        self.store.advance(session.device, frame.conversation, frame.seq)

    async def read(self, session: Session, frame: wire.Read) -> None:
        """Remember how far the person has read, and tell the peer."""
        self._check_position(session, frame.conversation, frame.seq)
        self.store.advance_read(session.account, frame.conversation, frame.seq)
        if self.settings.features.receipts:
            peer = await self.conversations.peer_of(session.account, b"", frame.conversation)
            if peer not in (await self.directory.entry(session.account)).blocks:
                self.receipts.read(session.account, peer, frame.conversation, frame.seq)

    async def history(self, session: Session, frame: wire.History) -> None:
        """Answer with a page of older messages."""
        await self.conversations.peer_of(session.account, b"", frame.conversation)
        limit = min(frame.limit, self.settings.limits.page)
        found = await self.store.before(frame.conversation, frame.before, limit)
        messages: list[wire.Deliver] = []
        size = 0
        for stored in reversed(found):
            try:
                message = await self.emit_when_ready(stored, session.device)
            except CannotOpen as error:
                # Altered on disk: the page shows the gap instead of ending the history here.
                self.observer.fault("history", error)
                continue
            size += len(message.body)
            if messages and size > PAGE_BYTES:
                break
            messages.append(message)
        messages.reverse()
        oldest = messages[0].seq if messages else found[0].meta.seq if found else 0
        more = oldest > 1
        page = wire.Page(
            ref=frame.ref, conversation=frame.conversation, messages=tuple(messages), more=more
        )
        session.link.send(page)

    # --- ephemera ---

    async def typing(self, session: Session, frame: wire.SetTyping) -> None:
        """Tell the peer; never stored."""
        self._enabled("typing", self.settings.features.typing)
        await self.directory.peer(session.account, frame.to)
        conversation = await self.conversations.load(session.account, frame.to)
        shown = wire.Typing(conversation=conversation.id, account=session.account, on=frame.on)
        self.bus.publish((frame.to,), Signal(shown))

    async def presence(self, session: Session, frame: wire.SetPresence) -> None:
        """Tell the peers of this account's conversations; never stored."""
        self._enabled("presence", self.settings.features.presence)
        session.status = frame.status
        await self._tell_presence(session.account, frame.status)

    # --- accounts, keys, policies ---

    async def devices(self, session: Session, frame: wire.GetDevices) -> None:
        """Answer with an account's key and device list."""
        if frame.name is not None:
            wait = self.rates.lookup(session.account, time.monotonic())
            if wait > 0.0:
                raise RateLimited("too many look-ups of names", retry_after=wait)
        session.link.send(await self.directory.look_up(session.account, frame))

    async def keys(self, session: Session, frame: wire.GetKeys) -> None:
        """Answer with prekey bundles; one-time keys at most once a day per requester."""
        session.link.send(await self.directory.bundles(session.account, frame, now_ms()))

    async def publish(self, session: Session, frame: wire.Publish) -> None:
        """Take this device's keys; tell everybody concerned when the device list changed."""
        published = await self.directory.publish(session.account, session.device, frame)
        session.link.send(published)
        if frame.list is not None:
            changed = Signal(public(await self.directory.entry(session.account)), session.device)
            self.bus.publish((session.account, *await self._peers(session.account)), changed)

    async def policy(self, session: Session, frame: wire.SetPolicy) -> None:
        """Answer with the policy in force, or take a proposal for the next epoch."""
        await self.directory.peer(session.account, frame.peer)
        conversation = await self.conversations.load(session.account, frame.peer)
        if frame.modes is None:
            session.link.send(conversation.answer(frame.ref, frame.epoch))
            return
        self.ending.check_change(conversation.answer(0, 0).modes, frame.modes)
        policy = await self.conversations.propose(conversation, session.account, frame, now_ms())
        session.link.send(_with_ref(policy, frame.ref))
        self.bus.publish(conversation.parties, Signal(policy, session.device))

    def roll_back(self, now: int) -> None:
        """Tell both users of each proposal that ran out without the other's signature."""
        for policy in self.conversations.expired(now):
            self.bus.publish((policy.first, policy.second), Signal(policy))

    async def block(self, session: Session, frame: wire.Block) -> None:
        """Change the block list."""
        if frame.account == session.account:
            raise FrameRefused("an account cannot block itself")
        await self.directory.block(session.account, frame.account, frame.on)
        session.link.send(wire.Blocked(ref=frame.ref, account=frame.account, on=frame.on))

    # --- sessions ---

    @property
    def open_sessions(self) -> int:
        """How many sessions said hello and are still there."""
        return sum(map(len, self.sessions.values()))

    @property
    def inflight(self) -> int:
        """How many sends were taken and not yet answered."""
        return sum(session.inflight for own in self.sessions.values() for session in own)

    def join(self, session: Session) -> None:
        """Count an open session of an account."""
        self.sessions.setdefault(session.account, set()).add(session)

    def leave(self, session: Session) -> None:
        """Forget a session whose link is gone. Called once for every session, open or not."""
        own = self.sessions.get(session.account)
        if own is None or session not in own:
            return
        own.discard(session)
        if not own:
            del self.sessions[session.account]
        if session.delivery is not None:
            session.delivery.stop()
        if session.status not in ("", "offline") and not own:
            self.spawn(self._tell_presence(session.account, "offline"))

    async def reload(self, settings: Settings) -> None:
        """Take new settings; a new default, also one that was set meanwhile, is told to all."""
        self.settings = settings
        self.rates.change(settings.limits)
        await self.defaults.change(settings.modes_by_kind())

    async def revoke(self, name: str, device: bytes) -> int:
        """Take the tokens of one device or, where ``device`` is empty, of all devices of the
        named account, and close their connections. Raises ``Forbidden`` where there is none.
        """
        if device:
            found = await self.store.device(device)
            devices = [found] if found is not None else []
        else:
            account = await self.store.account_named(name)
            devices = await self.store.devices(account.id) if account is not None else []
        if device and name:
            owner = await self.store.account_named(name)
            devices = [each for each in devices if owner and each.account == owner.id]
        devices = [each for each in devices if not each.removed]
        if not devices:
            raise Forbidden("there is no such account or device")
        for each in devices:
            await self.store.remove_device(each.id)
            self.bus.publish((each.account,), Revoked(each.account, each.id))
            self.observer.changed("device revoked", account=each.account, device=each.id)
        return len(devices)

    def tell_everyone(self, frame: wire.ServerFrame) -> None:
        """Send a frame to every open session of this node."""
        for own in list(self.sessions.values()):
            for session in own:
                session.link.send(frame)

    # --- inside ---

    def _check_position(self, session: Session, conversation: bytes, seq: int) -> None:
        delivery = session.delivery
        if delivery is None or seq > delivery.sent.get(conversation, 0):
            raise FrameRefused("a position must lie within what this device was sent")

    def _enabled(self, feature: str, on: bool) -> None:
        if not on:
            raise Forbidden(
                f"{feature} is switched off here; the operator's key is features.{feature}"
            )

    def _device_removed(self, account: bytes, device: bytes) -> None:
        self.bus.publish((account,), Revoked(account, device))
        self.observer.changed("device removed", account=account, device=device)

    async def _peers(self, account: bytes) -> tuple[bytes, ...]:
        return tuple(head.peer for head in await self.store.heads(account))

    async def _tell_presence(self, account: bytes, status: Any) -> None:
        shown = wire.Presence(account=account, status=status, time=now_ms())
        blocks = (await self.directory.entry(account)).blocks
        peers = tuple(peer for peer in await self._peers(account) if peer not in blocks)
        self.bus.publish(peers, Signal(shown))

    def _publish_receipt(self, peer: bytes, receipt: wire.Receipt) -> None:
        self.bus.publish((peer,), Signal(receipt))


def _with_ref(policy: wire.Policy, ref: int) -> wire.Policy:
    return msgspec.structs.replace(policy, ref=ref)
