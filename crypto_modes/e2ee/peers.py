"""What a client knows of accounts: pinned account keys and verified device lists; modes.md 17, 18.

What may live here: learning, pinning, accepting a changed key. What may not: cryptography
beyond calling ``devices.py``; sessions. The first key seen of an account is pinned; another one
stops sending until the user accepts it, having compared safety numbers. The own account's key is
never learnt here: it is what ``identity.py`` holds, and a relay that shows another one lies.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crypto_modes import wire
from crypto_modes.contract import Need, NeedDevices, State
from crypto_modes.e2ee import devices
from crypto_modes.e2ee.pqxdh import Party
from crypto_modes.errors import BadArgument, KeyChanged, KeyRefused, UnknownDevice

PEERS = "e2ee_peers"  # account -> account key, 32 bytes || DeviceList
HANDED = "e2ee_handed"  # account -> account key, 32 bytes, from another own device; no list yet
OFFERS = "e2ee_offers"  # account -> the same, under a changed key that nobody accepted yet

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(wire.DeviceList).decode


class Known(msgspec.Struct, frozen=True):
    """A pinned account ``key``, the verified list under it, and its devices by id."""

    key: bytes
    list: wire.DeviceList
    devices: dict[bytes, Party]


class Peers:
    """The accounts that one client knows, its own among them.

    ``own_key()`` is the account key of ``account``, its own, as this device holds or was given it
    in person; None before.
    """

    __slots__ = ("_account", "_offers", "_own_key", "_parsed", "_state")

    def __init__(self, state: State, account: bytes, own_key: Callable[[], bytes | None]) -> None:
        self._state = state
        self._account = account
        self._own_key = own_key
        # Only a memo of decoded rows: an entry counts only while its bytes are the row's.
        self._parsed: dict[bytes, tuple[bytes, Known]] = {}
        # Beside the table, because whoever calls ``learn`` may roll back when it raises.
        self._offers: dict[bytes, bytes] = {}

    def known(self, account: bytes) -> Known | None:
        """What was verified of ``account``; None before its first list."""
        raw = self._state.get(PEERS, account)
        if raw is None:
            return None
        memo = self._parsed.get(account)
        if memo is not None and memo[0] == raw:
            return memo[1]
        key, listed = raw[:32], _decode(raw[32:])
        parties = {
            each.device: Party(account, each.device, key, each.signing, each.agreement)
            for each in listed.certificates
        }
        known = Known(key, listed, parties)
        self._parsed[account] = (raw, known)
        return known

    def to_send(self, account: bytes) -> Known:
        """The same, to encrypt to. Raises ``Need``, or ``KeyChanged`` until that is accepted, or
        ``UnknownDevice`` for the own account on a device without keys of it.
        """
        if self._offer(account) is not None:
            raise KeyChanged("the peer's key changed; compare safety numbers, then accept it")
        known = self.known(account)
        if known is None and account == self._account and self._own_key() is None:
            raise UnknownDevice("this device has no keys of its account yet; link it first")
        if known is None:
            raise Need(NeedDevices(account))
        return known

    def key(self, account: bytes) -> bytes | None:
        """The pinned account key, 32 bytes; of the own account, the key that this device holds."""
        if account == self._account:
            return self._own_key()
        raw = self._state.get(PEERS, account) or self._state.get(HANDED, account)
        return None if raw is None else raw[:32]

    def pinned(self) -> dict[bytes, bytes]:
        """The pinned keys of all other accounts."""
        rows = [row for table in (HANDED, PEERS) for row in self._state.scan(table)]
        return {account: raw[:32] for account, raw in rows if account != self._account}

    def trust(self, account: bytes, key: bytes) -> bool:
        """Pin what another device of this user has pinned, in the place of what this device may
        have met since, alone and blindly; whether that was the same, or nothing.
        """
        before = self.key(account)
        if before != key:
            self._withdraw(account)
            self._state.delete(PEERS, account)
        self._state.put(HANDED, account, key)
        return before in (None, key)

    def learn(self, frame: wire.Devices) -> list[bytes]:
        """Verify and keep a list; the ids of devices that are gone or have other keys now.

        Raises:
            KeyRefused: nothing was published, the list does not verify, or it is older than, or
                contradicts, the one known; or it is not under the own key, for the own account.
            KeyChanged: it verifies, but under another key than the pinned one. The offer is
                kept for ``accept``: the one write here that stands beside an error. It takes the
                place of an earlier one, so who accepts must say which.
        """
        if frame.list is None:
            raise KeyRefused("this account has published no devices yet; it must come online first")
        devices.verify_list(frame.account, frame.key, frame.list)
        row = frame.key + _encode(frame.list)
        pinned = self.key(frame.account)
        if frame.account == self._account:
            self._check_own(frame.key, pinned)
        if pinned is not None and pinned != frame.key:
            _check_newer(row, frame.list, self._offer(frame.account))
            self._offers[frame.account] = row
            self._state.put(OFFERS, frame.account, row)
            raise KeyChanged("the peer's key changed; compare safety numbers, then accept it")
        known = self.known(frame.account)
        _check_newer(row, frame.list, self._state.get(PEERS, frame.account))
        self._withdraw(frame.account)
        self._state.put(PEERS, frame.account, row)
        return _changed(known, self.known(frame.account))

    def accept(self, account: bytes) -> None:
        """Take the changed key that waits; ``E2eeClient.accept_key`` checks that it is the compared
        one. Raises ``BadArgument`` where none was offered.
        """
        row = self._offer(account)
        if row is None:
            raise BadArgument("no changed key of this account waits to be accepted")
        self._state.put(PEERS, account, row)
        self._withdraw(account)

    def offered(self, account: bytes) -> bytes | None:
        """The changed account key that waits to be accepted."""
        row = self._offer(account)
        return None if row is None else row[:32]

    def _check_own(self, shown: bytes, own: bytes | None) -> None:
        if own is None:
            raise KeyRefused("this device has no keys of its account yet; link it first")
        if shown != own:
            raise KeyRefused(
                "the relay shows another key for your own account: it was replaced from another"
                " device, or the relay lies; if you did not replace it, do not trust this relay"
            )

    def _offer(self, account: bytes) -> bytes | None:
        if account == self._account:
            return None  # whatever an earlier version kept: nobody offers us our own key
        return self._offers.get(account) or self._state.get(OFFERS, account)

    def _withdraw(self, account: bytes) -> None:
        self._offers.pop(account, None)
        self._state.delete(OFFERS, account)


def _check_newer(row: bytes, listed: wire.DeviceList, before: bytes | None) -> None:
    """Hold a list to the one known under the same key. Raises ``KeyRefused``."""
    if before is None or before[:32] != row[:32]:
        return
    version = _decode(before[32:]).version
    if listed.version < version:
        raise KeyRefused("the relay shows an older device list than before")
    if listed.version == version and before != row:
        raise KeyRefused("the relay shows two device lists of one version")


def _changed(before: Known | None, after: Known | None) -> list[bytes]:
    if before is None or after is None:
        return []
    return [id_ for id_, party in before.devices.items() if after.devices.get(id_) != party]
