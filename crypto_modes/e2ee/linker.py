"""A client's part in linking devices to its account and taking them off; modes.md 17a–17e.

What may live here: what of ``linking.py`` needs a client's keys and state. Like ``client.py``:
each door succeeds or leaves ``State`` as it was, and the caller commits before it sends.

The new list is published by the *new* device, with its prekeys in the same frame: there is no
moment at which peers must encrypt to a device that they cannot begin a session with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from crypto_modes import wire
from crypto_modes.e2ee import devices, handover, identity, linking, peers
from crypto_modes.e2ee.handover import Handover, LogPin, Peer
from crypto_modes.e2ee.identity import Own
from crypto_modes.e2ee.linking import Code, Offer
from crypto_modes.e2ee.memory import Memory
from crypto_modes.e2ee.peers import Known
from crypto_modes.errors import BadArgument, KeyRefused, LimitExceeded, UnknownDevice
from crypto_modes.keys import AgreementKey, SigningKey
from crypto_modes.primitives import equal


class Joining(NamedTuple):
    """A new device, by its id, that shows its code. Lives in memory only: who begins again gets
    another.
    """

    device: bytes
    code: Code
    box: bytes
    offer: bytes
    own: Own
    ephemeral: AgreementKey

    def __repr__(self) -> str:
        return "<Joining>"


class Joined(NamedTuple):
    """A device that was linked: who did it, what it was handed, what to confirm that with.
    ``former`` are the rows that changed, as they were.
    """

    by: bytes
    handover: Handover
    confirmation: bytes
    former: tuple[tuple[str, bytes, bytes | None], ...]

    @property
    def again(self) -> bool:
        """Whether this device was linked before, and knows its peers itself."""
        return self.former[0][2] is not None


class Approval(NamedTuple):
    """What an existing device answers, the confirmation it then expects, and how many of the
    peers that it knows it could hand over.
    """

    answer: bytes
    confirmation: bytes
    handed: int


class Linker:
    """The doors of one client."""

    __slots__ = ("_memory",)

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    # --- the new device ---

    def join(self, label: str) -> Joining:
        """Begin to link this device. ``label`` is shown on the other one. Nothing is stored.

        Raises ``BadArgument`` on a device that holds the account key already.
        """
        tools, own = self._memory.tools, self._memory.identity.load()
        if own is not None and own.account_seed:
            raise BadArgument("this device holds the account key: it links others")
        own = own or self._memory.identity.draft()
        ephemeral = AgreementKey.generate(tools.random)
        secret = tools.random(linking.SECRET_SIZE)
        request = self._memory.identity.request(own)
        made = Offer(request, ephemeral.public, label)
        code, offer = linking.offer(tools.account, made, secret)
        return Joining(tools.device, code, code.box(tools.account), offer, own, ephemeral)

    def joined(self, joining: Joining, answer: bytes) -> Joined:
        """Take the answer: from now on this device has keys of its account. Publish them next.

        Raises ``KeyRefused`` where it does not come from a device that knows the code, or hands
        over what does not verify.
        """
        memory, account = self._memory, self._memory.tools.account
        secret, offer = joining.code.secret, joining.offer
        opened = linking.open_answer(account, secret, offer, joining.ephemeral, answer)
        handed = handover.decode(opened.handover)
        own = memory.identity.load() or joining.own
        _verify(handed, account, memory.identity.request(own))
        if own.account_key not in (b"", handed.key):
            raise KeyRefused("this device is linked to another account key; begin a new profile")
        rows = ((identity.OWN, b""), (peers.PEERS, account))
        former = tuple((table, key, memory.tools.state.get(table, key)) for table, key in rows)
        own.account_key, own.account_seed = handed.key, handed.seed
        memory.identity.save(own)
        name = "self"  # a devices frame must have one; nothing is verified about it
        listed = wire.Devices(ref=0, account=account, name=name, key=handed.key, list=handed.listed)
        memory.learn(listed)
        confirmation = linking.confirmation(opened.shared, answer)
        return Joined(opened.device, handed, confirmation, former)

    def withdraw(self, joined: Joined) -> None:
        """Be as before ``joined``: the relay did not take the list that this device was given."""
        state = self._memory.tools.state
        for table, key, value in joined.former:
            if value is None:
                state.delete(table, key)
            else:
                state.put(table, key, value)

    # --- the existing device ---

    def consider(self, code: Code, offer: bytes) -> Offer:
        """The device that offers itself under ``code``, verified, to be shown and asked about."""
        found = linking.read_offer(self._memory.tools.account, code, offer)
        if found.request.device == self._memory.tools.device:
            raise KeyRefused("this is the code of this very device: use it on another one")
        return found

    def approve(
        self,
        code: Code,
        offer: bytes,
        met: Iterable[Peer],
        *,
        with_account_key: bool,
        log: LogPin | None = None,
    ) -> Approval:
        """Certify the device that offers itself under ``code``, and seal the hand-over to it.

        The list that names it is signed here and published there. ``with_account_key`` makes it
        a device that links, removes and signs as this one does; ``log`` is the key log as it is
        pinned here. Raises ``BadArgument`` on a device
        without the account key, ``LimitExceeded`` for an eleventh device, ``KeyRefused``.
        """
        memory, account = self._memory, self._memory.tools.account
        key, found = memory.identity.account_signer(), self.consider(code, offer)
        known = memory.peers.to_send(account)
        others = _others(known, found.request)
        certificate = devices.certify(account, key, found.request)
        version = memory.identity.next_version(known.list.version)
        listed = devices.sign_list(account, key, version, (*others, certificate))
        seed = key.raw if with_account_key else b""
        handed = handover.fitting(Handover(account, known.key, seed, listed, log=log), met)
        ephemeral = AgreementKey.generate(memory.tools.random)
        own, sealed = (memory.tools.device, ephemeral), handover.encode(handed)
        answer, shared = linking.answer(account, code.secret, offer, found.ephemeral, own, sealed)
        return Approval(answer, linking.confirmation(shared, answer), len(handed.peers))

    def remove(self, device: bytes) -> wire.Publish:
        """A list without ``device``, to be published; believe it once the relay has it.

        Raises ``BadArgument`` for this device itself and on a device without the account key, and
        ``UnknownDevice`` for one that is not listed.
        """
        memory, account = self._memory, self._memory.tools.account
        key, known = memory.identity.account_signer(), memory.peers.to_send(account)
        if device == memory.tools.device:
            raise BadArgument("this is the device you sit at; remove it from another one")
        if device not in known.devices:
            raise UnknownDevice("this account has no such device on its list")
        rest = tuple(each for each in known.list.certificates if each.device != device)
        version = memory.identity.next_version(known.list.version)
        listed = devices.sign_list(account, key, version, rest)
        return wire.Publish(ref=0, key=known.key, list=listed)

    # --- a restored device, which holds the account key and is on no list yet ---

    def enlist(self, lost: bytes) -> None:
        """Sign a list that names this device and not ``lost``, and believe it: publish it next.

        Raises ``BadArgument`` without the account key, ``LimitExceeded`` for an eleventh device.
        """
        memory, account = self._memory, self._memory.tools.account
        key, known = memory.identity.account_signer(), memory.peers.to_send(account)
        request = memory.identity.request(memory.identity.require())
        staying = (each for each in known.list.certificates if each.device != lost)
        others = tuple(each for each in staying if each.device != request.device)
        if len(others) >= devices.DEVICE_LIMIT:
            raise LimitExceeded(
                f"an account has at most {devices.DEVICE_LIMIT} devices: remove one first"
            )
        version = memory.identity.next_version(known.list.version)
        certificate = devices.certify(account, key, request)
        listed = devices.sign_list(account, key, version, (*others, certificate))
        name = "self"  # a devices frame must have one; nothing is verified about it
        memory.learn(wire.Devices(ref=0, account=account, name=name, key=known.key, list=listed))

    # --- either ---

    def pinned(self) -> dict[bytes, bytes]:
        """The pinned account keys of all peers, to hand over."""
        return self._memory.peers.pinned()

    def trust(self, account: bytes, key: bytes) -> bool:
        """Pin a key that was handed over; False where this device had met another one."""
        same = self._memory.peers.trust(account, key)
        if not same:
            self._memory.sessions.drop(account)
        return same

    def holds_account_key(self) -> bool:
        """Whether this device can link and remove others."""
        own = self._memory.identity.load()
        return own is not None and bool(own.account_seed)

    def reset(self, peer: bytes) -> None:
        """Forget all sessions with an account; the next message begins anew. What is under way to
        this device in one of them will not open.
        """
        self._memory.sessions.drop(peer)


def _others(known: Known, request: devices.Request) -> tuple[wire.Certificate, ...]:
    """The listed devices that stay beside the one that asks. Raises ``LimitExceeded``, and
    ``KeyRefused`` where it takes the id of another: whose name it then had would be removed.
    """
    before = known.devices.get(request.device)
    if before is not None and (before.signing, before.agreement) != request[1:3]:
        raise KeyRefused("a device with this id and other keys is listed; remove that one first")
    others = tuple(each for each in known.list.certificates if each.device != request.device)
    if len(others) >= devices.DEVICE_LIMIT:
        raise LimitExceeded(
            f"an account has at most {devices.DEVICE_LIMIT} devices: remove one first"
        )
    return others


def _verify(handed: Handover, account: bytes, request: devices.Request) -> None:
    """Hold what was handed over to what the new device asked for. Raises ``KeyRefused``."""
    if handed.account != account:
        raise KeyRefused("the answer is about another account")
    if handed.seed and not equal(SigningKey(handed.seed).public, handed.key):
        raise KeyRefused("the account key that was handed over is not the one that was named")
    devices.verify_list(account, handed.key, handed.listed)
    wanted = (request.device, request.signing, request.agreement)
    if wanted not in [
        (each.device, each.signing, each.agreement) for each in handed.listed.certificates
    ]:
        raise KeyRefused("the list that was handed over does not name this device")
