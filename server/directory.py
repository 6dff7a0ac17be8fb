"""Accounts as others see them: names, account keys, signed device lists, prekeys, blocks.

What may live here: lookups with their cache, and what must hold before a key is published.
Passwords and tokens are in ``accounts``; the key log will join this room. A stranger learns the
same from an absent account as from one that blocks him.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.e2ee import devices
from crypto_modes.errors import Forbidden, FrameRefused, KeyRefused, UnknownDevice
from server.store import Account, Store

CACHE = 20_000
UNREACHABLE = "there is no such account, or it cannot be reached by you"


class Entry(msgspec.Struct, frozen=True):
    """One account in memory: its public part, whom it blocks, its listed devices."""

    account: Account
    blocks: frozenset[bytes]
    devices: frozenset[bytes]


def _nobody(account: bytes, device: bytes) -> None:
    """Where nobody is connected, as in tools and tests."""


class Directory:
    """Lookups and publications over a ``Store``; at most ``CACHE`` accounts in memory.

    ``removed(account, device)`` hears of each device that its user took off the list: it has no
    right to be connected any more.
    """

    def __init__(self, store: Store, removed: Callable[[bytes, bytes], None] = _nobody) -> None:
        self._store = store
        self._removed = removed
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        # Reads under way, by account; `forget` drops them, for what they bring may be old.
        self._reading: dict[bytes, set[object]] = {}

    def known(self, account: bytes) -> Entry | None:
        """The cached entry, for the hot path; None means: ``await entry(account)``."""
        return self._entries.get(account)

    async def entry(self, account: bytes) -> Entry:
        """The entry of an account. Raises ``Forbidden`` where there is none."""
        entry = self._entries.get(account)
        while entry is None:
            entry = await self._read(account)
        return entry

    async def peer(self, own: bytes, account: bytes) -> Entry:
        """The entry of a peer that may be reached. Raises ``Forbidden``, in the same words for
        absent, suspended and blocking accounts.
        """
        entry = await self.entry(account)
        if own in entry.blocks or entry.account.suspended:
            raise Forbidden(UNREACHABLE)
        return entry

    async def look_up(self, own: bytes, frame: wire.GetDevices) -> wire.Devices:
        """Answer a ``devices`` frame by account id or by name."""
        if frame.name is not None:
            account = await self._named(frame.name)
        elif len(frame.account) == ID_SIZE:
            account = frame.account
        else:
            raise FrameRefused("a lookup needs an account id of 16 bytes, or a name")
        entry = await (self.entry(account) if account == own else self.peer(own, account))
        return public(entry, frame.ref)

    async def _named(self, name: str) -> bytes:
        """The id behind a name. Raises ``Forbidden``.

        Whether the name exists, blocks or is cached: the same reads, so that the time it takes
        does not tell them apart.
        """
        found = await self._store.account_named(name)
        account = found.id if found is not None else bytes(ID_SIZE)
        while await self._read(account) is None:
            pass
        return account

    async def bundles(self, own: bytes, frame: wire.GetKeys, now: int) -> wire.Keys:
        """Prekey bundles of the devices that are on the account's signed list.

        Raises ``UnknownDevice`` where none of them is.
        """
        entry = await (self.entry(own) if frame.account == own else self.peer(own, frame.account))
        wanted = [device for device in frame.devices if device in entry.devices]
        if not wanted:
            raise UnknownDevice("none of these devices is on the account's signed list")
        found = [await self._store.take_bundle(own, device, now) for device in wanted]
        bundles = tuple(bundle for bundle in found if bundle is not None)
        return wire.Keys(ref=frame.ref, account=frame.account, bundles=bundles)

    async def publish(self, own: bytes, device: bytes, frame: wire.Publish) -> wire.Published:
        """Verify and store what a device publishes of itself and its account.

        Raises ``KeyRefused`` where a signature, a key or a version does not hold.
        """
        entry = await self.entry(own)
        listed = entry.account.list if frame.list is None else frame.list
        if frame.list is not None:
            await self._check_list(entry, frame, frame.list)
        if frame.prekeys:
            # Before the list: peers who hear of a new device must find its keys here.
            await self._publish_prekeys(own, device, listed, frame.prekeys)
        if frame.list is not None and not _is_published(entry, frame):
            await self._publish_list(entry, frame, frame.list)
        once, kem = await self._store.count_prekeys(device)
        version = listed.version if listed is not None else 0
        return wire.Published(ref=frame.ref, version=version, once=once, kem=kem)

    async def block(self, own: bytes, account: bytes, on: bool) -> None:
        """Block or unblock ``account`` for ``own``."""
        await self._store.set_block(own, account, on)
        self.forget(own)

    def forget(self, account: bytes) -> None:
        """Drop an account from memory; the next look reads the store."""
        self._entries.pop(account, None)
        self._reading.pop(account, None)

    async def _check_list(self, entry: Entry, frame: wire.Publish, listed: wire.DeviceList) -> None:
        account = entry.account
        if _is_published(entry, frame):
            return  # a client that did not hear the answer publishes again
        if account.key and account.key != frame.key and not frame.replace:
            raise KeyRefused(
                "this account already has another account key: link this device from one that has"
                " it, or replace the key on purpose, which every peer will be warned of"
            )
        devices.verify_list(account.id, frame.key, listed)
        if account.list is not None and listed.version <= account.list.version:
            raise KeyRefused("the device list was changed meanwhile: look at it, and try again")
        for certificate in listed.certificates:
            bound = await self._store.device(certificate.device)
            # Else a list of one's own would give access to a stranger's prekeys by device id.
            if bound is not None and bound.account != account.id:
                raise KeyRefused("this list names a device of another account")
            if bound is not None and bound.removed:
                raise KeyRefused("this list names a device that was removed before, for good")

    async def _publish_list(
        self, entry: Entry, frame: wire.Publish, listed: wire.DeviceList
    ) -> None:
        account = entry.account
        removed = await self._store.put_list(account.id, frame.key, listed)
        self.forget(account.id)
        for device in removed:
            self._removed(account.id, device)

    async def _publish_prekeys(
        self,
        account: bytes,
        device: bytes,
        listed: wire.DeviceList | None,
        prekeys: tuple[wire.Prekey, ...],
    ) -> None:
        certificates = listed.certificates if listed is not None else ()
        certificate = next((each for each in certificates if each.device == device), None)
        if certificate is None:
            raise UnknownDevice("publish a device list that names this device before its prekeys")
        for prekey in prekeys:
            devices.verify_prekey(account, device, certificate.signing, prekey)
        await self._store.put_prekeys(device, prekeys)

    async def _read(self, account: bytes) -> Entry | None:
        """Read an account and keep it; None where it changed meanwhile. Raises ``Forbidden``."""
        token = object()
        self._reading.setdefault(account, set()).add(token)
        found = await self._store.account(account)
        blocks = await self._store.blocks(account)
        reads = self._reading.get(account, set())
        fresh = token in reads
        reads.discard(token)
        if not reads:
            self._reading.pop(account, None)
        if found is None:
            raise Forbidden(UNREACHABLE)
        return self._remember(found, blocks) if fresh else None

    def _remember(self, account: Account, blocks: set[bytes]) -> Entry:
        listed = account.list.certificates if account.list is not None else ()
        entry = Entry(account, frozenset(blocks), frozenset(each.device for each in listed))
        self._entries[account.id] = entry
        if len(self._entries) > CACHE:
            self._entries.popitem(last=False)
        return entry


def _is_published(entry: Entry, frame: wire.Publish) -> bool:
    return (entry.account.key, entry.account.list) == (frame.key, frame.list)


def public(entry: Entry, ref: int = 0) -> wire.Devices:
    """The ``devices`` frame that tells others about an account."""
    account = entry.account
    return wire.Devices(
        ref=ref, account=account.id, name=account.name, key=account.key, list=account.list
    )
