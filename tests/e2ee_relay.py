"""A relay small enough to hold in the hand, and devices that talk over it, for tests of ``e2ee``.

The relay keeps lists, prekeys and policies in dictionaries, serves what clients need, and hands
deliveries out so that a test may drop, reorder, repeat or change them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec

from crypto_modes import e2ee, policy, wire
from crypto_modes.contract import (
    ClientTools,
    Draft,
    Meta,
    Need,
    NeedBundles,
    NeedDevices,
    NeedPolicy,
    Opened,
    Stored,
)
from crypto_modes.pins import Pins
from tests.keys import Clock
from tests.memory_state import MemoryState
from tests.mode_ends import server_tools

T = TypeVar("T")
FRANKING_KEY = b"franking key of this month, 32 B"
MODES: wire.Modes = dict.fromkeys(get_args(wire.Kind), "e2ee")
STRENGTHS = {"tls": 10, "at_rest": 20, "e2ee": 30}


class OneFrankingKey:
    """The same franking key for every month."""

    def find(self, month: int) -> bytes:
        return FRANKING_KEY


class Relay:
    """``published`` maps accounts to their ``devices`` frame; ``prekeys`` hold what is left."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.published: dict[bytes, wire.Devices] = {}
        self.prekeys: dict[tuple[bytes, bytes], list[wire.Prekey]] = {}
        self.policies: dict[tuple[bytes, int], wire.Policy] = {}
        self.mode = e2ee.MODE.server(server_tools(franking_keys=OneFrankingKey()))
        self.seq = 0

    def publish(self, device: Device, frames: list[wire.Publish]) -> wire.Published:
        """Take frames as a relay does, by size and signature; the counts that are left."""
        account = device.account
        for frame in frames:
            assert wire.size_of(frame) <= wire.FRAME_LIMIT
            if frame.list is not None:
                e2ee.verify_list(account, frame.key, frame.list)
                self.published[account] = wire.Devices(
                    ref=0, account=account, name="somebody", key=frame.key, list=frame.list
                )
            listed = self.published[account].list
            assert listed is not None
            signing = {each.device: each.signing for each in listed.certificates}
            kept = self.prekeys.setdefault((account, device.id), [])
            for prekey in frame.prekeys:
                e2ee.verify_prekey(account, device.id, signing[device.id], prekey)
                kept.append(prekey)
        return self.left(account, device.id)

    def left(self, account: bytes, device: bytes) -> wire.Published:
        kept = [each for each in self.prekeys.get((account, device), []) if each.use == "once"]
        kem = sum(1 for each in kept if each.algorithm == 8)
        return wire.Published(ref=0, version=1, once=len(kept) - kem, kem=kem)

    def bundle(self, account: bytes, device: bytes) -> wire.Bundle:
        """The newest signed prekey; one-time keys while there are any, then the last resort."""
        kept = self.prekeys[account, device]
        once = next((each for each in kept if (each.use, each.algorithm) == ("once", 5)), None)
        kem = next((each for each in kept if (each.use, each.algorithm) == ("once", 8)), None)
        for used in (once, kem):
            if used is not None:
                kept.remove(used)
        signed = next(each for each in reversed(kept) if each.use == "signed")
        last = next(each for each in reversed(kept) if each.use == "last")
        return wire.Bundle(device=device, signed=signed, kem=kem or last, once=once)

    def policy(self, a: bytes, b: bytes, epoch: int) -> wire.Policy:
        """The policy of an epoch, unsigned epoch 1 by default."""
        conversation = policy.conversation_id(a, b)
        keys = {each: self.published[each].key for each in (a, b)}
        first = self.policies.setdefault(
            (conversation, 1), policy.default_policy(keys, MODES, self.clock.now)
        )
        return first if epoch in (0, 1) else self.policies[conversation, epoch]

    def admit(self, draft: Draft, sealed: Any) -> Stored:
        """A message as the relay stores it, stamped."""
        self.seq += 1
        meta = Meta(
            draft.conversation,
            self.seq,
            draft.id,
            draft.sender,
            draft.device,
            draft.recipient,
            draft.kind,
            sealed.mode,
            sealed.epoch,
            self.clock.now,
        )
        return self.mode.admit(meta, sealed, bytes(32))


class Device:
    """One device of an account; ``client`` is the mode's end under test."""

    def __init__(self, relay: Relay, account: bytes, id: bytes) -> None:
        self.relay = relay
        self.account = account
        self.id = id
        self.state = MemoryState()
        self.restart()

    def restart(self, random: Callable[[int], bytes] = os.urandom) -> None:
        """Begin again from the stored state, as a program does."""
        self.tools = ClientTools(
            account=self.account,
            device=self.id,
            state=self.state,
            random=random,
            now=self.relay.clock,
        )
        self.client = e2ee.MODE.client(self.tools)
        self.pins = Pins(self.state, self.account, STRENGTHS)

    def publish(self, left: wire.Published | None = None) -> wire.Published:
        return self.relay.publish(self, self.client.publication(left))

    def link(self, first: Device, *, with_account_key: bool = False) -> None:
        """Become another device of ``first``'s account."""
        joining = self.client.linker.join("test")
        code, offer = joining.code, joining.offer
        approval = first.client.linker.approve(code, offer, (), with_account_key=with_account_key)
        joined = self.client.linker.joined(joining, approval.answer)
        assert joined.confirmation == approval.confirmation
        self.publish()
        first.client.supply(self.relay.published[self.account])

    def serve(self, need: Need) -> None:
        """Fetch what the client needs."""
        match need.what:
            case NeedDevices(account):
                self.client.supply(self.relay.published[account])
            case NeedBundles(account, devices):
                bundles = tuple(self.relay.bundle(account, device) for device in devices)
                self.client.supply(wire.Keys(ref=0, account=account, bundles=bundles))
            case NeedPolicy(_, peer, epoch):
                self.pins.record(self.relay.policy(self.account, peer, epoch), {})
            case other:
                raise AssertionError(other)

    def draft(self, peer: bytes, content: bytes = b"hello", **changes: Any) -> Draft:
        draft = Draft(
            conversation=policy.conversation_id(self.account, peer),
            id=os.urandom(16),
            sender=self.account,
            device=self.id,
            recipient=peer,
            kind="text",
            epoch=1,
            content=content,
        )
        return msgspec.structs.replace(draft, **changes)

    def send(self, peer: bytes, content: bytes = b"hello", **changes: Any) -> Stored:
        """Seal, with all that needs, and hand to the relay."""
        draft = self.draft(peer, content, **changes)
        return self.relay.admit(draft, self.needing(lambda: self.client.seal(draft)))

    def receive(self, stored: Stored) -> Opened:
        """Take this device's copy from the relay and open it."""
        return self.open(self.relay.mode.emit(stored, self.id))

    def open(self, delivery: wire.Deliver) -> Opened:
        return self.needing(lambda: self.client.open(delivery))

    def needing(self, call: Callable[[], T]) -> T:
        """Call until nothing is needed any more; a mode that never has enough fails the test."""
        for _ in range(8):
            try:
                return call()
            except Need as need:
                self.serve(need)
        raise AssertionError("the mode needs the same thing again and again")


ALICE, BOB = b"alice-account-01", b"bobby-account-02"


def couple() -> tuple[Relay, Device, Device]:
    """A relay, Alice's phone and Bob's phone, all keys published."""
    relay = Relay()
    alice = Device(relay, ALICE, b"alice-phone-0001")
    bob = Device(relay, BOB, b"bobby-phone-0001")
    published, prekeys, rows = _published()
    relay.published |= published
    relay.prekeys |= {key: list(kept) for key, kept in prekeys.items()}
    alice.state.rows |= rows[0]
    bob.state.rows |= rows[1]
    return relay, alice, bob


@cache
def _published() -> tuple[
    dict[bytes, wire.Devices],
    dict[tuple[bytes, bytes], list[wire.Prekey]],
    tuple[dict[tuple[str, bytes], bytes], ...],
]:
    """What a couple has published; made once, since 400 keys take a while."""
    relay = Relay()
    ends = Device(relay, ALICE, b"alice-phone-0001"), Device(relay, BOB, b"bobby-phone-0001")
    for end in ends:
        end.publish()
    return relay.published, relay.prekeys, tuple(end.state.rows for end in ends)


def talking() -> tuple[Relay, Device, Device]:
    """A couple that has exchanged a message each way."""
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB, b"first"))
    alice.receive(bob.send(ALICE, b"answer"))
    return relay, alice, bob
