"""How fast and how many: token buckets and quotas, each O(1) and bounded in memory.

Only arithmetic lives here: time is an argument (seconds of any clock that never goes back),
and nobody is disconnected. A bucket holds ``burst`` tokens and gains ``rate`` a second; it is
kept as the one moment at which it will be full again (the generic cell rate algorithm of ATM
Forum TM 4.0, 4.4.2), so a key costs one float.
"""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Generic, TypeVar

from crypto_modes.errors import BadArgument

if TYPE_CHECKING:
    from server.settings_tree import Limits

CAPACITY = 131_072

Key = TypeVar("Key", bound=Hashable)


class Buckets(Generic[Key]):
    """One token bucket per key. Keys that are idle until full are forgotten, exactly: a full
    bucket is what a new key gets. Keys beyond ``capacity`` share one bucket, so that a flood of
    new keys can neither fill the memory nor push out what is known of others.
    """

    __slots__ = (
        "_capacity",
        "_full_after",
        "_interval",
        "_numbers",
        "_older",
        "_overflow",
        "_turn",
        "_younger",
    )

    def __init__(self, rate: float, burst: int, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._start(rate, burst)

    def __len__(self) -> int:
        """How many keys are in memory."""
        return len(self._younger) + len(self._older)

    def change(self, rate: float, burst: int) -> None:
        """New numbers from now on. Where they differ, everybody starts with a full bucket."""
        if (rate, burst) != self._numbers:
            self._start(rate, burst)

    def _start(self, rate: float, burst: int) -> None:
        if not rate > 0 or burst < 1:
            raise BadArgument("a bucket needs a rate over 0 per second and a burst of at least 1")
        self._numbers = (rate, burst)
        self._interval = 1.0 / rate
        self._full_after = burst / rate
        self._younger: dict[Key, float] = {}
        self._older: dict[Key, float] = {}
        self._overflow = 0.0
        self._turn = 0.0

    def take(self, key: Key, now: float) -> float:
        """Take one token of ``key``: 0.0, or the seconds after which trying again may succeed.

        What is refused takes nothing, so a client that waits as told is served.
        """
        if now >= self._turn:
            self._forget(now)
        full = self._younger.get(key)
        if full is None:
            if len(self._younger) >= self._capacity:
                return self._take_overflow(now)
            full = self._older.get(key, now)
        full = (full if full > now else now) + self._interval
        late = full - now - self._full_after
        # The sum above is rounded: less than a nanosecond late is not late.
        if late > 1e-9:
            return late
        self._younger[key] = full
        return 0.0

    def _take_overflow(self, now: float) -> float:
        full = max(self._overflow, now) + self._interval
        if full - now - self._full_after > 1e-9:
            return full - now - self._full_after
        self._overflow = full
        return 0.0

    def _forget(self, now: float) -> None:
        """Every ``_full_after`` seconds drop the keys untouched for that long: they are full."""
        untouched = now >= self._turn + self._full_after
        self._older = {} if untouched else self._younger
        self._younger = {}
        self._turn = now + self._full_after


class Quota(Generic[Key]):
    """At most ``limit`` at a time of each key; every ``enter`` that was granted needs a
    ``leave``.
    """

    __slots__ = ("_inside", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._inside: dict[Key, int] = {}

    def enter(self, key: Key) -> bool:
        """Whether one more fits; if so it is counted."""
        count = self._inside.get(key, 0)
        if count >= self.limit:
            return False
        self._inside[key] = count + 1
        return True

    def leave(self, key: Key) -> None:
        """One less. Raises ``BadArgument`` where nobody was inside."""
        count = self._inside.get(key, 0)
        if count == 0:
            raise BadArgument("a quota was left by somebody who never entered")
        if count == 1:
            del self._inside[key]
        else:
            self._inside[key] = count - 1

    def count(self, key: Key) -> int:
        """How many are inside."""
        return self._inside.get(key, 0)


class Rates:
    """The buckets of a relay, from its settings."""

    __slots__ = (
        "_account",
        "_address",
        "_blob",
        "_device",
        "_log",
        "_login",
        "_lookup",
        "_mailbox",
        "_report",
    )

    def __init__(self, limits: Limits) -> None:
        self._device = Buckets[bytes](limits.device_rate, limits.device_burst)
        self._account = Buckets[bytes](limits.account_rate, limits.account_burst)
        self._address = Buckets[str](limits.address_rate, limits.address_burst)
        self._blob = Buckets[bytes](limits.blob_rate, limits.blob_burst)
        self._lookup = Buckets[bytes](limits.lookup_rate, limits.lookup_burst)
        self._log = Buckets[bytes](limits.lookup_rate, limits.lookup_burst)
        self._login = Buckets[str](limits.login_rate, limits.login_burst)
        self._mailbox = Buckets[str](limits.login_rate, limits.login_burst)
        self._report = Buckets[bytes](limits.report_rate, limits.report_burst)

    def change(self, limits: Limits) -> None:
        """Take over reloaded settings."""
        self._device.change(limits.device_rate, limits.device_burst)
        self._account.change(limits.account_rate, limits.account_burst)
        self._address.change(limits.address_rate, limits.address_burst)
        self._blob.change(limits.blob_rate, limits.blob_burst)
        self._lookup.change(limits.lookup_rate, limits.lookup_burst)
        self._log.change(limits.lookup_rate, limits.lookup_burst)
        self._login.change(limits.login_rate, limits.login_burst)
        self._mailbox.change(limits.login_rate, limits.login_burst)
        self._report.change(limits.report_rate, limits.report_burst)

    def frame(self, device: bytes, account: bytes, network: str, now: float) -> float:
        """One frame of an open session: 0.0 or retry after. A frame that one bucket refuses may
        have taken from another: a client that is refused loses a little more, never gains.
        """
        return (
            self._device.take(device, now)
            or self._account.take(account, now)
            or self._address.take(network, now)
        )

    def blob(self, account: bytes, network: str, now: float) -> float:
        """One step of an attachment, apart from other frames: it takes nothing from them."""
        return self._blob.take(account, now) or self._address.take(network, now)

    def greeting(self, network: str, now: float) -> float:
        """One frame before a session is open."""
        return self._address.take(network, now)

    def lookup(self, account: bytes, now: float) -> float:
        """One look-up of a name by this account; found or not costs the same."""
        return self._lookup.take(account, now)

    def report(self, account: bytes, now: float) -> float:
        """One report by this account, taken or not."""
        return self._report.take(account, now)

    def log(self, account: bytes, now: float) -> float:
        """One page of the key log for this account: as slow as look-ups, beside them."""
        return self._log.take(account, now)

    def mailbox(self, network: str, now: float) -> float:
        """One mailbox more from this network: as many as logins, which come before, beside them."""
        return self._mailbox.take(network, now)

    def login(self, network: str, now: float) -> float:
        """One registration or login from this network, successful or not."""
        return self._login.take(network, now)


def network_of(address: str) -> str:
    """What shares a bucket: an IPv4 address, or the /64 of an IPv6 address, because a single
    subscriber commands all 2^64 addresses of it. Anything else is its own network.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
