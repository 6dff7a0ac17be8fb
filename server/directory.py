"""Accounts as others see them: names, account keys, signed device lists, prekeys, blocks.

What may live here: lookups with their cache, and what must hold before a key is published.
Passwords and tokens are in ``accounts``; the key log will join this room. A stranger learns the
same from an absent account as from one that blocks him.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from crypto_modes import wire
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


class Directory:
    """Lookups and publications over a ``Store``; at most ``CACHE`` accounts in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def known(self, account: bytes) -> Entry | None:
        """The cached entry, for the hot path; None means: ``await entry(account)``."""
        return self._entries.get(account)

    async def entry(self, account: bytes) -> Entry:
        """The entry of an account. Raises ``Forbidden`` where there is none."""
        entry = self._entries.get(account)
        if entry is not None:
            return entry
        found = await self._store.account(account)
        if found is None:
            raise Forbidden(UNREACHABLE)
        return await self._remember(found)

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
        account = frame.account
        if frame.name is not None:
            found = await self._store.account_named(frame.name)
            # A miss costs the same second look as a hit, so that time does not tell them apart.
            account = found.id if found is not None else bytes(16)
        elif len(account) != 16:
            raise FrameRefused("a lookup needs an account id of 16 bytes, or a name")
        entry = await (self.entry(account) if account == own else self.peer(own, account))
        return public(entry, frame.ref)

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
        if frame.list is not None:
            entry = await self._publish_list(entry, frame)
        if frame.prekeys:
            await self._publish_prekeys(entry, device, frame.prekeys)
        once, kem = await self._store.count_prekeys(device)
        version = entry.account.list.version if entry.account.list is not None else 0
        return wire.Published(ref=frame.ref, version=version, once=once, kem=kem)

    async def block(self, own: bytes, account: bytes, on: bool) -> None:
        """Block or unblock ``account`` for ``own``."""
        await self._store.set_block(own, account, on)
        self.forget(own)

    def forget(self, account: bytes) -> None:
        """Drop an account from memory; the next look reads the store."""
        self._entries.pop(account, None)

    async def _publish_list(self, entry: Entry, frame: wire.Publish) -> Entry:
        account, listed = entry.account, frame.list
        if listed is None:
            return entry
        if (account.key, account.list) == (frame.key, listed):
            return entry  # a client that did not hear the answer publishes again
        if account.key and account.key != frame.key and not frame.replace:
            raise KeyRefused(
                "this account already has another account key: link this device from one that has"
                " it, or replace the key on purpose, which every peer will be warned of"
            )
        devices.verify_list(account.id, frame.key, listed)
        for certificate in listed.certificates:
            bound = await self._store.device(certificate.device)
            # Else a list of one's own would give access to a stranger's prekeys by device id.
            if bound is not None and bound.account != account.id:
                raise KeyRefused("this list names a device of another account")
        await self._store.put_list(account.id, frame.key, listed)
        self.forget(account.id)
        return await self.entry(account.id)

    async def _publish_prekeys(
        self, entry: Entry, device: bytes, prekeys: tuple[wire.Prekey, ...]
    ) -> None:
        listed = entry.account.list.certificates if entry.account.list is not None else ()
        certificate = next((each for each in listed if each.device == device), None)
        if certificate is None:
            raise UnknownDevice("publish a device list that names this device before its prekeys")
        for prekey in prekeys:
            devices.verify_prekey(entry.account.id, device, certificate.signing, prekey)
        await self._store.put_prekeys(device, prekeys)

    async def _remember(self, account: Account) -> Entry:
        blocks = frozenset(await self._store.blocks(account.id))
        listed = account.list.certificates if account.list is not None else ()
        entry = Entry(account, blocks, frozenset(each.device for each in listed))
        self._entries[account.id] = entry
        if len(self._entries) > CACHE:
            self._entries.popitem(last=False)
        return entry


def public(entry: Entry, ref: int = 0) -> wire.Devices:
    """The ``devices`` frame that tells others about an account."""
    account = entry.account
    return wire.Devices(
        ref=ref, account=account.id, name=account.name, key=account.key, list=account.list
    )
