"""The ends of ``e2ee``: what a client program calls.

Only the doors live here: own keys, peers' keys, seal and open. Every door either succeeds or
leaves ``State`` as it was, except ``supply`` with a changed key, which keeps the offer.
"""

from __future__ import annotations

from crypto_modes import wire
from crypto_modes.contract import ClientTools, Draft, Need, NeedDevices, Opened, Sealed
from crypto_modes.e2ee import devices, sending
from crypto_modes.e2ee.identity import batches
from crypto_modes.e2ee.memory import Memory
from crypto_modes.e2ee.receiving import Receiver
from crypto_modes.errors import BadArgument, KeyRefused, LimitExceeded
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import equal


class E2eeClient:
    """One device's end of ``e2ee``."""

    __slots__ = ("_memory", "_receiver")

    def __init__(self, tools: ClientTools) -> None:
        self._memory = Memory(tools)
        self._receiver = Receiver(self._memory)

    def seal(self, draft: Draft) -> Sealed:
        """One copy per device; see ``sending.seal``. Commit the state, then send."""
        return sending.seal(self._memory, draft)

    def open(self, delivery: wire.Deliver) -> Opened:
        """The text of a delivery; see ``Receiver.open``. Commit text and state together."""
        return self._receiver.open(delivery)

    def supply(self, answer: wire.Devices | wire.Keys | wire.Policy) -> None:
        """Take the relay's answer. Policies are for ``Pins``, which knows every mode.

        Raises ``KeyRefused``, ``KeyChanged`` or ``UnknownDevice``.
        """
        if isinstance(answer, wire.Devices):
            for device in self._memory.peers.learn(answer):
                self._memory.sessions.drop(answer.account + device)
        elif isinstance(answer, wire.Keys):
            self._memory.handshakes.take(answer)

    def publication(self, left: wire.Published | None, above: int = 0) -> list[wire.Publish]:
        """The frames to publish now; ``ref`` is for the caller to set. A first list gets the
        version after ``above``: one under a new key must still rise above what it replaces.

        With None after connecting: the device list and prekeys, made on first use. With the
        relay's ``published``: what its counts lack, often nothing. On a linked device that is
        not on the list yet, nothing. State changes with it: commit, then send.
        """
        identity, account = self._memory.identity, self._memory.tools.account
        if identity.load() is None:
            key = SigningKey.generate(self._memory.tools.random)
            own = identity.make(key, key.public)
            certificate = devices.certify(account, key, identity.request(own))
            self._list_own(key, devices.sign_list(account, key, above + 1, (certificate,)))
        known = self._memory.peers.known(account)
        if known is None or self._memory.tools.device not in known.devices:
            return []
        prekeys = identity.publishable(left)
        frames = [wire.Publish(ref=0, prekeys=batch) for batch in batches(prekeys)]
        head = [] if left is not None else [wire.Publish(ref=0, key=known.key, list=known.list)]
        return head + frames

    def refill_due(self) -> bool:
        """Whether a peer used up a one-time key since the last ``publication``."""
        return self._memory.identity.used

    def purge(self) -> None:
        """Delete what is past its time: skipped keys after 7 days, sessions idle for 30, prekeys
        after theirs. For a daily call: a thief of the device finds what is not deleted.
        """
        self._memory.sessions.purge(self._memory.tools.now())
        self._memory.identity.purge()

    def request_certificate(self, account_key: bytes) -> bytes:
        """On a new device: make its keys, to be linked to an account whose key (32 bytes) was
        learnt from the existing device in person. Hand the result to ``certify`` there.
        """
        identity = self._memory.identity
        own = identity.load() or identity.make(None, account_key)
        return identity.request(own).encode()

    def certify(self, request: bytes) -> wire.Publish:
        """On the device that holds the account key: certify another one of the same account.

        Raises ``KeyRefused``, or ``BadArgument`` on a device that was linked itself.
        """
        own = self._memory.identity.require()
        if not own.account_seed:
            raise BadArgument("only the device that made the account can certify others")
        key, account = SigningKey(own.account_seed), self._memory.tools.account
        certificate = devices.certify(account, key, devices.Request.decode(request))
        known = self._memory.peers.to_send(account)
        others = [each for each in known.list.certificates if each.device != certificate.device]
        if len(others) >= devices.DEVICE_LIMIT:
            raise LimitExceeded(f"an account has at most {devices.DEVICE_LIMIT} devices")
        version = known.list.version + 1
        listed = devices.sign_list(account, key, version, (*others, certificate))
        return self._list_own(key, listed)

    def sign(self, message: bytes) -> bytes:
        """The account key's signature, for a policy record. ``message`` is made by ``enc``.

        Raises ``BadArgument`` on a linked device, which does not hold the account key.
        """
        own = self._memory.identity.require()
        if not own.account_seed:
            raise BadArgument("only the device that made the account can sign for it")
        return SigningKey(own.account_seed).sign(message)

    def pinned_key(self, peer: bytes) -> bytes | None:
        """The account key pinned for ``peer``, 32 bytes; None before first contact."""
        return self._memory.peers.key(peer)

    def accept_key(self, peer: bytes, number: str) -> None:
        """The user has compared ``number``, 60 digits: take the changed key of ``peer`` that they
        belong to, and begin anew with it.

        Raises ``BadArgument`` where none waits, and ``KeyRefused`` where the one that waits now has
        another number: a relay may show one key to be compared, and the next to be accepted.
        """
        if self._memory.peers.offered(peer) is None:
            raise BadArgument("no changed key of this account waits to be accepted")
        if not equal(_digits(self.safety_number(peer)), _digits(number)):
            raise KeyRefused("the key that waits has another safety number; compare the new one")
        self._memory.peers.accept(peer)
        self._memory.sessions.drop(peer)

    def safety_number(self, peer: bytes) -> str:
        """60 digits for people to compare; of the changed key, where one waits."""
        return devices.safety_number(*self._pairs(peer))

    def safety_text(self, peer: bytes) -> str:
        """The same for a QR code."""
        return devices.safety_text(*self._pairs(peer))

    def _pairs(self, peer: bytes) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        key = self._memory.peers.offered(peer) or self._memory.peers.key(peer)
        if key is None:
            raise Need(NeedDevices(peer))
        own = self._memory.identity.require()
        return (self._memory.tools.account, own.account_key), (peer, key)

    def _list_own(self, key: SigningKey, listed: wire.DeviceList) -> wire.Publish:
        """Take in one's own new list as anyone would, and give the frame that publishes it."""
        account = self._memory.tools.account
        name = "self"  # a devices frame must have one; nothing is verified about it
        self.supply(wire.Devices(ref=0, account=account, name=name, key=key.public, list=listed))
        return wire.Publish(ref=0, key=key.public, list=listed)


def _digits(number: str) -> bytes:
    """A safety number as it may have been typed: spaces and lines do not count."""
    return "".join(number.split()).encode()
