"""Two users with up to three devices each, against a network that does what it likes.

The real ``E2eeClient`` runs at every end, over an in-memory relay that loses, reorders and repeats,
on devices that crash before or after they have stored what they did, while a thief holds a copy
of one device's state. PQ epochs are shortened to a few messages so that many pass.

What must hold throughout: no message key seals two messages; what arrives opens, or lies two PQ
epochs behind and was reported as missing; nothing opens twice; nobody is accused of a fork. At
the end, when all that is under way has come, both ends of every session agree; and a thief who
breaks one half of the cryptography is locked out by the other within the turns that modes.md
states. ``LOUVER_DEEP=1`` runs more and longer histories.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from crypto_modes import policy, wire
from crypto_modes.e2ee import header, memory, pq_ratchet, session, sessions
from crypto_modes.e2ee.body import GAP_LIMIT
from crypto_modes.e2ee.pq_ratchet import Answered, Offered
from crypto_modes.e2ee.session import Envelope, Session, SkippedKeys, Unsealed
from crypto_modes.errors import CannotOpen, KeyRefused
from tests.e2ee_relay import ALICE, BOB, Device, Relay

DEEP = os.environ.get("LOUVER_DEEP") == "1"
CONVERSATION = policy.conversation_id(ALICE, BOB)
SHORT = {"EPOCH_MESSAGES": 4, "REPEAT": 6, "REPEAT_AT_TURN": 2}
SHAPES = ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3))

LATE = 1 << 60  # a time at which every epoch is due

Rows = dict[tuple[str, bytes], bytes]
Opening = tuple[Envelope, bytes, tuple[header.Header, bytes], SkippedKeys]
_open, _aead_seal = Session.open, session.aead_seal


class Sent(NamedTuple):
    """A message under way to one device; ``counter`` is the sender's."""

    sender: Device
    counter: int
    text: bytes
    delivery: wire.Deliver


class Published(NamedTuple):
    """A world in which everybody is linked and nobody has written."""

    lists: dict[bytes, wire.Devices]
    prekeys: dict[tuple[bytes, bytes], list[wire.Prekey]]
    rows: dict[tuple[bytes, bytes], Rows]


@cache
def worlds() -> dict[tuple[int, int], Published]:
    """One world for each of ``SHAPES``; made once, since keys take a while."""
    relay, found = Relay(), {}
    devices: dict[bytes, list[Device]] = {ALICE: [], BOB: []}
    for shape in SHAPES:
        for account, count in zip((ALICE, BOB), shape, strict=True):
            if len(devices[account]) < count:
                device = Device(relay, account, b"%d of " % count + account[:11])
                device.link(devices[account][0]) if devices[account] else device.publish()
                devices[account].append(device)
        every = [each for some in devices.values() for each in some]
        for device in every:
            for listed in relay.published.values():
                device.client.supply(listed)
        rows = {(each.account, each.id): dict(each.state.rows) for each in every}
        prekeys = {key: list(kept) for key, kept in relay.prekeys.items()}
        found[shape] = Published(dict(relay.published), prekeys, rows)
    return found


class Half:
    """The skipped keys of a thief: the live ones of one ratchet, of the other what it skipped."""

    def __init__(self, live: SkippedKeys, own: dict[tuple[bytes, int], bytes], size: int) -> None:
        self._live, self._own, self._size = live, own, size

    def find(self, chain: bytes, n: int) -> bytes | None:
        return self._own.get((chain, n)) if len(chain) == self._size else self._live.find(chain, n)


class Thief:
    """A copy of one session of ``victim``, and what it can still open of what comes there.

    Twice: with the classical half broken as well, and with the post-quantum half broken as well.
    It follows both halves as far as it can.
    """

    def __init__(self, victim: Device, stolen: Session) -> None:
        self.victim, self.id = victim.id, stolen.id
        self.pq, self.chains = stolen.pq, stolen.chains
        self.public = stolen.chains.public
        # The last epoch that the victim's randomness, as it was copied, had part in.
        self.drawn = stolen.pq.epoch + isinstance(stolen.pq.step, Offered | Answered)
        self.healed: set[bytes] = set()
        self.kept: dict[tuple[bytes, int], bytes] = {}

    def listen(self, before: bytes, opening: Opening) -> None:
        live, head = session.from_bytes(before), opening[2][0]
        if live.id != self.id or opening[1] != self.victim:
            return
        opened = self._try(live, opening, pq=True)
        assert not (opened and head.pq_epoch > self.drawn), "the PQ half does not heal"
        live = session.from_bytes(before)
        late = opening[3].find(head.dh, head.n) is not None
        if head.dh != live.chains.remote and live.chains.public != self.public and not late:
            self.healed.add(head.dh)
        opened = self._try(live, opening, pq=False)
        assert not (opened and head.dh in self.healed), "the classical half does not heal"

    def _try(self, live: Session, opening: Opening, *, pq: bool) -> bool:
        """Open with one half stolen and one live, having done what the victim may have done."""
        stolen = session.from_bytes(session.to_bytes(live))
        stolen.pq, stolen.chains, stolen.skipped = self.pq, self.chains, 1
        mine = session.from_bytes(session.to_bytes(stolen))
        if pq:
            mine.chains = live.chains
            mine.pq.carry(LATE, os.urandom, turned=True, room=True)
        else:
            mine.pq = live.pq
        size = 4 if pq else 32
        half = Half(opening[3], self.kept, size)
        try:
            unsealed = _open(mine, *opening[:3], half, os.urandom)
        except (CannotOpen, KeyRefused):
            return False
        if pq:
            self.pq = mine.pq
        else:
            self.chains = mine.chains
        self.kept |= {(e.chain, e.n): e.key for e in unsealed.fresh if len(e.chain) == size}
        return True


class Network(RuleBasedStateMachine):
    """The steps; every device picks up its own copies from ``inboxes``."""

    def __init__(self) -> None:
        super().__init__()
        self.thieves: list[Thief] = []
        self.keys: set[bytes] = set()
        self.sealing: list[bytes] = []
        self._patches = [mock.patch.object(pq_ratchet, *each) for each in SHORT.items()]
        self._patches.append(mock.patch.object(session, "aead_seal", self._seal))
        self._patches.append(mock.patch.object(Session, "open", spying(self)))
        for patch in self._patches:
            patch.start()

    def _seal(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        self.sealing.append(key)
        return _aead_seal(key, nonce, plaintext, aad)

    @initialize(shape=st.sampled_from(SHAPES))
    def begin(self, shape: tuple[int, int]) -> None:
        world = worlds()[shape]
        self.relay = Relay()
        self.relay.published |= world.lists
        self.relay.prekeys |= {key: list(kept) for key, kept in world.prekeys.items()}
        self.devices: list[Device] = []
        for (account, name), rows in world.rows.items():
            device = Device(self.relay, account, name)
            device.state.rows |= rows
            self.devices.append(device)
        self.counters = dict.fromkeys([each.id for each in self.devices], 0)
        self.begun: dict[frozenset[bytes], set[bytes]] = {}
        self.inboxes: dict[bytes, list[Sent]] = {each.id: [] for each in self.devices}
        self.kept_back: list[tuple[Device, Sent]] = []
        self.opened: dict[bytes, list[Sent]] = {each.id: [] for each in self.devices}

    def device(self, number: int) -> Device:
        return self.devices[number % len(self.devices)]

    # -- steps ------------------------------------------------------------------------------

    @rule(who=st.integers(0, 5), count=st.integers(1, 4), crash=st.booleans())
    def send(self, who: int, count: int, crash: bool) -> None:
        device = self.device(who)
        for _ in range(count):
            self._send(device)
            if crash:  # stored, not sent yet: the program starts again and sends the same bytes
                device.restart()

    def _send(self, device: Device) -> None:
        self.counters[device.id] += 1
        counter = self.counters[device.id]
        text = b"%b %d" % (device.id, counter)
        peer = BOB if device.account == ALICE else ALICE
        self.sealing.clear()
        stored = device.send(peer, text)
        assert not self.keys & set(self.sealing), "a message key seals two messages"
        assert len(self.sealing) == len(set(self.sealing)) == len(self.devices) - 1
        self.keys |= set(self.sealing)
        for other in self.devices:
            if other is not device:
                delivery = self.relay.mode.emit(stored, other.id)
                self.between(device, other).add(header.parse(delivery.body)[0].session)
                self.inboxes[other.id].append(Sent(device, counter, text, delivery))

    @rule(who=st.integers(0, 5), other=st.integers(0, 5), rounds=st.integers(1, 6))
    def talk(self, who: int, other: int, rounds: int) -> None:
        """Turn by turn, with what is under way between all the others still under way."""
        for _ in range(rounds):
            for one, peer in ((who, other), (other, who)):
                self._send(self.device(one))
                self.deliver_all(peer)

    @rule(who=st.integers(0, 5))
    def crash_before_a_message_is_stored(self, who: int) -> None:
        """It was sealed, and has never left the device."""
        device = self.device(who)
        before = dict(device.state.rows)
        device.send(BOB if device.account == ALICE else ALICE, b"never stored")
        device.state.rows = before
        device.restart()

    @rule(who=st.integers(0, 5), which=st.integers(0, 9), crash=st.booleans())
    def deliver(self, who: int, which: int, crash: bool) -> None:
        """Mostly the oldest; after a crash before it was stored, the relay delivers it again."""
        device = self.device(who)
        if inbox := self.inboxes[device.id]:
            place = max(which - 5, 0) % len(inbox)
            if crash:
                before = dict(device.state.rows)
                self._open(device, inbox[place])
                device.state.rows = before
                device.restart()
            if self._open(device, sent := inbox.pop(place)):
                self.opened[device.id].append(sent)

    @rule(who=st.integers(0, 5))
    def deliver_all(self, who: int) -> None:
        device = self.device(who)
        for sent in self.inboxes[device.id]:
            if self._open(device, sent):
                self.opened[device.id].append(sent)
        self.inboxes[device.id].clear()

    def _open(self, device: Device, sent: Sent) -> bool:
        rows = dict(device.state.rows)
        try:
            opened = device.open(sent.delivery)
        except CannotOpen:
            assert device.state.rows == rows
            assert self._two_epochs_behind(device, sent), "a message is lost without need"
            later = [each for each in self.opened[device.id] if each.sender is sent.sender]
            assert any(each.counter > sent.counter for each in later), "a loss without a gap"
            return False
        assert opened.content == sent.text
        assert "fork" not in opened.warnings
        assert len(self.between(device, sent.sender)) <= 2
        assert "session_reset" not in opened.warnings  # also where both began
        return True

    def between(self, one: Device, other: Device) -> set[bytes]:
        """The sessions on which these two have written."""
        return self.begun.setdefault(frozenset((one.id, other.id)), set())

    def _two_epochs_behind(self, device: Device, sent: Sent) -> bool:
        head = header.parse(sent.delivery.body)[0]
        peer = sent.sender.account + sent.sender.id
        found = sessions.Sessions(device.state).find(peer, head.session, self.relay.clock.now)
        return found is not None and head.pq_epoch < found.pq.epoch - 1

    @rule(who=st.integers(0, 5), which=st.integers(0, 9))
    def keep_back(self, who: int, which: int) -> None:
        """Mostly the newest, perhaps for ever."""
        if inbox := self.inboxes[self.device(who).id]:
            place = -1 - max(which - 5, 0) % len(inbox)
            self.kept_back.append((self.device(who), inbox.pop(place)))

    @rule(which=st.integers(0, 9))
    def deliver_late(self, which: int) -> None:
        if self.kept_back:
            device, sent = self.kept_back.pop(which % len(self.kept_back))
            if self._open(device, sent):
                self.opened[device.id].append(sent)

    @rule(who=st.integers(0, 5), which=st.integers(0, 9))
    def repeat(self, who: int, which: int) -> None:
        device = self.device(who)
        if opened := self.opened[device.id]:
            rows = dict(device.state.rows)
            with pytest.raises(CannotOpen):
                device.open(opened[-1 - which % len(opened)].delivery)
            assert device.state.rows == rows

    @rule(who=st.integers(0, 5))
    def restart(self, who: int) -> None:
        self.device(who).restart()

    @rule(minutes=st.integers(1, 60))  # a week, after which skipped keys go, is never over
    def wait(self, minutes: int) -> None:
        self.relay.clock.now += minutes * 60_000

    @precondition(lambda self: len(self.thieves) < 4)
    @rule(who=st.integers(0, 5), which=st.integers(0, 4))
    def steal(self, who: int, which: int) -> None:
        victim = self.device(who)
        active = [raw for (table, _), raw in victim.state.rows.items() if table == sessions.ACTIVE]
        if active:
            stolen = session.from_bytes(active[which % len(active)])
            self.thieves.append(Thief(victim, stolen))

    # -- what holds at the end --------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if hasattr(self, "devices"):
                for _ in range(2):
                    for device in self.devices:
                        self.deliver_all(self.devices.index(device))
                self._losses_are_known()
                for _ in range(6):
                    for device in self.devices:
                        self._send(device)
                        for number in range(len(self.devices)):
                            self.deliver_all(number)
                self._ends_agree()
        finally:
            for patch in self._patches:
                patch.stop()

    def _losses_are_known(self) -> None:
        for device in self.devices:
            for sender in self.devices:
                got = {each.counter for each in self.opened[device.id] if each.sender is sender}
                missing = set(range(1, max(got, default=1))) - got
                heard = memory.Memory(device.tools).heard(CONVERSATION, sender.account + sender.id)
                if len(heard.gaps) < GAP_LIMIT:
                    known = {n for gap in heard.gaps for n in range(gap.start, gap.end + 1)}
                    assert known == missing, "a loss is not reported"

    def _ends_agree(self) -> None:
        now = self.relay.clock.now
        for one in self.devices:
            for other in self.devices:
                if one is other:
                    continue
                mine = sessions.Sessions(one.state).active(other.account + other.id, now)
                theirs = sessions.Sessions(other.state).active(one.account + one.id, now)
                assert mine is not None
                assert theirs is not None
                assert mine.id == theirs.id
                assert abs(mine.pq.epoch - theirs.pq.epoch) <= 1
                if mine.pq.epoch == theirs.pq.epoch:
                    assert mine.pq.root == theirs.pq.root
                    assert (mine.pq.sending, mine.pq.sent) == (
                        theirs.pq.receiving,
                        theirs.pq.received,
                    )


def spying(network: Network) -> Callable[..., Unsealed]:
    """``Session.open``, after which the thieves listen to what it opened."""

    def open_(self: Session, *opening: Any) -> Unsealed:
        before = session.to_bytes(self)
        unsealed = _open(self, *opening)
        for thief in network.thieves:
            thief.listen(before, opening[:4])
        return unsealed

    return open_


TestNetwork = Network.TestCase
TestNetwork.settings = settings(
    max_examples=1_500 if DEEP else 25,
    stateful_step_count=150 if DEEP else 50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
