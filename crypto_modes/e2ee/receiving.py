"""Opening: the copy for this device, held to its commitment and counters; modes.md 30.

Only the order of these steps lives here: place → session → decrypt → commitment → counters →
store. The floor comes before (``pins.py``), showing and acknowledging after, at the caller.
Nothing is written before all that can fail has not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from crypto_modes import policy, wire
from crypto_modes.contract import (
    DIGEST_SIZE,
    NO_DIGEST,
    NO_LOG_HEAD,
    Evidence,
    Need,
    NeedDevices,
    Opened,
)
from crypto_modes.e2ee import body, header
from crypto_modes.e2ee.body import Body, Heard
from crypto_modes.e2ee.header import First, Header
from crypto_modes.e2ee.memory import Memory
from crypto_modes.e2ee.pqxdh import Party
from crypto_modes.e2ee.session import NAME, Envelope, Session, Unsealed
from crypto_modes.errors import CannotOpen, KeyChanged, LouverError
from crypto_modes.franking import commitment
from crypto_modes.primitives import KEY_SIZE, H, equal

ASKED_LIMIT = 256

_OURS, _THEIRS = b"\x00", b"\x01"  # who began a session

_conversation = lru_cache(4096)(policy.conversation_id)


class _Came(NamedTuple):
    """What a copy came with: its session, parsed header and ciphertext, and the first-message
    block if it began that session just now. ``answered``: it had been received on before.
    """

    session: Session
    parsed: tuple[Header, bytes]
    begins: First | None
    answered: bool


class Receiver:
    """Opens deliveries for one device."""

    __slots__ = ("_answered", "_asked", "_memory")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        # Messages (sender, conversation, id) whose sending device was asked for. Once a list came,
        # a second look without it is final; where none came, the message is none the worse for it.
        self._asked: set[tuple[bytes, bytes, bytes]] = set()
        self._answered: set[tuple[bytes, bytes, bytes]] = set()

    def supplied(self, account: bytes) -> None:
        """A verified list of ``account`` came."""
        if len(self._answered) >= ASKED_LIMIT:
            self._answered.clear()
        came = {asked for asked in self._asked if asked[0] == account}
        self._asked -= came
        self._answered |= came

    def open(self, delivery: wire.Deliver) -> Opened:
        """The text of a delivery for this device.

        Raises ``Need``; ``KeyChanged`` where only a changed key explains the sender; and for
        everything else the one ``CannotOpen``, whatever the reason.
        """
        try:
            # Also of nothing: a gap must not be put in another place either.
            self._check_place(delivery)
            return self._open(delivery) if delivery.body else _no_copy(delivery)
        except (CannotOpen, KeyChanged):
            raise
        except LouverError:
            raise CannotOpen from None

    def _open(self, delivery: wire.Deliver) -> Opened:
        memory, account = self._memory, self._memory.tools.account
        if (delivery.sender, delivery.device) == (account, memory.tools.device):
            raise CannotOpen
        mine = delivery.sender == account
        other = delivery.recipient if mine else delivery.sender
        digest = memory.pins.digest(delivery.conversation, delivery.epoch, other)
        peer = delivery.sender + delivery.device
        came = self._find(delivery, peer)
        envelope = Envelope(
            delivery.epoch,
            delivery.conversation,
            delivery.id,
            delivery.sender,
            delivery.device,
            delivery.recipient,
            digest,
            delivery.commitment,
        )
        kept = memory.sessions.kept(peer, came.session, memory.tools.now())
        device, random = memory.tools.device, memory.tools.random
        unsealed = came.session.open(envelope, device, came.parsed, kept, random)
        key, message = unsealed.plaintext[:KEY_SIZE], unsealed.plaintext[KEY_SIZE:]
        # GCM alone does not bind a text: one ciphertext can open to two. The commitment does.
        opened = commitment(key, delivery.conversation, delivery.id, message)
        if not equal(opened, delivery.commitment):
            raise CannotOpen
        text = body.decode(message)
        if text.kind != delivery.kind:
            raise CannotOpen
        warnings, unopened = self._keep(delivery, came, unsealed, (text, H(message)))
        return Opened(
            content=text.content,
            kind=text.kind,
            reply_to=text.reply_to,
            evidence=None if mine else Evidence(reporter=account, message=message, key=key),
            warnings=warnings,
            unopened=unopened,
            position=text.position,
            log_head=b"" if text.log_head == NO_LOG_HEAD else text.log_head,
        )

    def _check_place(self, delivery: wire.Deliver) -> None:
        account = self._memory.tools.account
        sender, recipient = delivery.sender, delivery.recipient
        if account not in (sender, recipient) or delivery.mode != NAME:
            raise CannotOpen
        if len(delivery.commitment) != DIGEST_SIZE:
            raise CannotOpen
        # The sender vouches for the conversation in the AAD; that it is theirs, only this shows.
        if _conversation(sender, recipient) != delivery.conversation:
            raise CannotOpen

    def _find(self, delivery: wire.Deliver, peer: bytes) -> _Came:
        parsed = header.parse(delivery.body)
        head = parsed[0]
        party = self._sender(delivery)
        session = self._memory.sessions.find(peer, head.session, self._memory.tools.now())
        if session is not None:
            return _Came(session, parsed, None, session.answered)
        if head.first is None:
            raise CannotOpen
        digest = NO_DIGEST
        if delivery.sender != self._memory.tools.account:
            pins, epoch = self._memory.pins, head.first.epoch
            if not 0 < epoch <= delivery.epoch:  # or any sender could make us ask for nonsense
                raise CannotOpen
            digest = pins.digest(delivery.conversation, epoch, delivery.sender)
        session = self._memory.handshakes.accept(head.first, party, delivery.conversation, digest)
        return _Came(session, parsed, head.first, answered=False)

    def _sender(self, delivery: wire.Deliver) -> Party:
        """The listed device that sent this; asks for a list that names it, once per message."""
        sender, peers = delivery.sender, self._memory.peers
        known = peers.known(sender)
        party = None if known is None else known.devices.get(delivery.device)
        if party is not None:
            return party
        if peers.offered(sender) is not None:
            raise KeyChanged("the peer's key changed; compare safety numbers, then accept it")
        if sender == self._memory.tools.account and peers.key(sender) is None:
            raise CannotOpen  # not linked yet: nobody could say which devices are this user's
        asked = (sender, delivery.conversation, delivery.id)
        if asked in self._answered:
            self._answered.discard(asked)
            raise CannotOpen
        if len(self._asked) >= ASKED_LIMIT:
            self._asked.clear()
        self._asked.add(asked)
        raise Need(NeedDevices(sender))

    def _keep(
        self, delivery: wire.Deliver, came: _Came, unsealed: Unsealed, text: tuple[Body, bytes]
    ) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
        """Store what a message that opened changes; the warnings to show with it, and which own
        messages its device had not opened.
        """
        memory, conversation = self._memory, delivery.conversation
        peer = delivery.sender + delivery.device
        if came.begins is not None:
            memory.identity.use_up(came.begins)
        heard = memory.heard(conversation, peer)
        certain = None if heard.highest else self._meant(delivery, unsealed)
        warnings = heard.note(*text, certain)
        late = unsealed.late or "reordered" in warnings
        now = memory.tools.now()
        begins = came.begins is not None
        former = memory.sessions.opened(peer, came.session, unsealed, now, begins=begins, late=late)
        unopened: tuple[bytes, ...] = ()
        if delivery.sender != memory.tools.account:
            said = memory.said(conversation)
            said.hear(delivery.device, heard)
            memory.keep_said(conversation, said)
            unopened, forked = said.answered(text[0].echo, memory.tools.device)
            if forked and "fork" not in warnings:
                warnings = (*warnings, "fork")
        # A session that takes the place of one that worked: a reinstalled peer, or a clone.
        reset = former is not None and (former.answered if begins else came.answered)
        if delivery.sender == memory.tools.account:
            reset = _own_reset(heard, came, former if reset and begins else None, late=late)
        # So is one that begins with a counter of the past: a copy that fell out, and begins anew.
        reset = reset or (begins and "fork" in warnings)
        memory.keep_heard(conversation, peer, heard)
        return ((*warnings, "session_reset") if reset else warnings), unopened

    def _meant(self, delivery: wire.Deliver, unsealed: Unsealed) -> int | None:
        """How many messages before the first one heard of a device were surely encrypted to this
        one; None: all, as nobody could write to its account before it. On a later device those
        that the session passed over; a session with an own device has those of all conversations.
        """
        own = self._memory.identity.load()
        if own is not None and own.first:
            return None
        if delivery.sender == self._memory.tools.account:
            return 0
        return sum(len(each.chain) == KEY_SIZE for each in unsealed.fresh)


def _own_reset(heard: Heard, came: _Came, former: Session | None, *, late: bool) -> bool:
    """Whether another device of this user has surely left a session that worked for a new one;
    ``former``: the one whose place a session takes that begins just now.

    A session of own devices carries all conversations, and the relay orders each by itself only:
    what was written on a session before it was left may come after. So only what one conversation
    shows in its own order counts. There a device that goes from one session that *it* began to
    another has begun anew, or is a clone; of two that crossed, each end began one.
    """
    if late:
        return False
    session, before = came.session, heard.session
    heard.session = session.id + (_THEIRS if session.pq.responder else _OURS)
    if before[:-1] in (b"", session.id):
        return False
    both = before.endswith(_THEIRS) and session.pq.responder
    return both or (former is not None and before.startswith(former.id))


def _no_copy(delivery: wire.Deliver) -> Opened:
    return Opened(content=b"", kind=delivery.kind, warnings=("no_copy",))
