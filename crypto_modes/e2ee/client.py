"""The ends of ``e2ee``: what a client program calls.

Only the doors live here: own keys, peers' keys, seal and open; those for linking devices are in
``linker.py``. Every door either succeeds or leaves ``State`` as it was, except ``supply`` with a
changed key, which keeps the offer.
"""

from __future__ import annotations

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ClientTools, Draft, Need, NeedDevices, Opened, Sealed
from crypto_modes.e2ee import devices, sending
from crypto_modes.e2ee.identity import batches
from crypto_modes.e2ee.linker import Linker
from crypto_modes.e2ee.memory import Memory
from crypto_modes.e2ee.receiving import Receiver
from crypto_modes.errors import BadArgument, KeyRefused
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import equal


class E2eeClient:
    """One device's end of ``e2ee``."""

    __slots__ = ("_memory", "_receiver", "linker")

    def __init__(self, tools: ClientTools) -> None:
        self._memory = Memory(tools)
        self._receiver = Receiver(self._memory)
        self.linker = Linker(self._memory)

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
            self._memory.learn(answer)
            self._receiver.supplied(answer.account)
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
            self._begin(SigningKey.generate(self._memory.tools.random), above)
        known = self._memory.peers.known(account)
        if known is None or self._memory.tools.device not in known.devices:
            return []
        prekeys = identity.publishable(left)
        frames = [wire.Publish(ref=0, prekeys=batch) for batch in batches(prekeys)]
        if left is not None:
            return frames
        # In one frame: who hears of a new device must find keys to begin a session with it.
        head = msgspec.structs.replace(frames[0], key=known.key, list=known.list)
        return [head, *frames[1:]]

    def refill_due(self) -> bool:
        """Whether a peer used up a one-time key since the last ``publication``."""
        return self._memory.identity.used

    def purge(self) -> None:
        """Delete what is past its time: skipped keys after 7 days, sessions idle for 30, prekeys
        after theirs. For a daily call: a thief of the device finds what is not deleted.
        """
        self._memory.sessions.purge(self._memory.tools.now())
        self._memory.identity.purge()

    def sign(self, message: bytes) -> bytes:
        """The account key's signature, for a policy record. ``message`` is made by ``enc``.

        Raises ``BadArgument`` on a device that was linked without the account key.
        """
        return self._memory.identity.account_signer().sign(message)

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

    def _begin(self, key: SigningKey, above: int) -> None:
        """Make the keys of a new account, and take in its list as anyone would."""
        identity, account = self._memory.identity, self._memory.tools.account
        own = identity.make(key)
        own.first = not above
        identity.save(own)
        certificate = devices.certify(account, key, identity.request(own))
        listed = devices.sign_list(account, key, identity.next_version(above), (certificate,))
        name = "self"  # a devices frame must have one; nothing is verified about it
        self.supply(wire.Devices(ref=0, account=account, name=name, key=key.public, list=listed))


def _digits(number: str) -> bytes:
    """A safety number as it may have been typed: spaces and lines do not count."""
    return "".join(number.split()).encode()
