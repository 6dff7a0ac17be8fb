"""Pins: what a client remembers of its conversations' policies, so that no relay can lower them.

Only this memory lives here; what makes a policy valid is in ``policy.py``. Each pinned policy
links to the one before it, and a change is pinned only with the signatures it needs. So the
newest pinned modes are also the strongest that were ever promised and not given up by both
users: they are the **floor**, and it needs no second memory that could disagree with the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType

import msgspec

from crypto_modes import policy, wire
from crypto_modes.contract import DIGEST_SIZE, Need, NeedDevices, NeedPolicy, State
from crypto_modes.errors import BelowFloor, KeyRefused, ModeMismatch

POLICIES = "policies"  # conversation || epoch u64 -> H(P) || the policy in MessagePack
SPANS = "policy_spans"  # conversation -> oldest u64 || newest u64, all between are pinned too

_NO_STRENGTHS: Mapping[str, int] = MappingProxyType({})
_EPOCH = Struct(">Q").pack
_SPAN = Struct(">QQ")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(wire.Policy).decode


class Pins:
    """The pinned policies of one client.

    ``account`` is the client's own. ``strengths`` are those of the registered modes; who only
    reads digests needs none. Writes join the open transaction of ``state``.
    """

    __slots__ = ("_account", "_state", "_strengths")

    def __init__(
        self, state: State, account: bytes, strengths: Mapping[str, int] = _NO_STRENGTHS
    ) -> None:
        self._state = state
        self._account = account
        self._strengths = strengths

    def record(self, offered: wire.Policy, keys: Mapping[bytes, bytes]) -> bool:
        """Verify what the relay says is in force, and pin it; True if it is the newest epoch.

        ``keys`` maps accounts to the account keys that this client itself verified. The first
        policy of a conversation is taken on trust, as any first contact. Later ones must link to
        what is pinned: forwards one by one, or backwards where old messages need an old epoch.
        A policy that is only prepared, or rolled back, is not pinned.

        Raises:
            Need: an epoch in between is missing, or the verified key of a peer who signed.
            BelowFloor: it lowers a mode without both users' signatures, or where this device holds
                no key of its own user to know one by. Nothing is pinned.
            ModeMismatch: it contradicts what is pinned, or names a mode nobody registered.
            KeyRefused: a signature, or an account key in it, is wrong.
        """
        self._check_parties(offered)
        if offered.state != "in_force":
            return False
        span = self._span(offered.conversation)
        if span is None:
            self._put(offered, offered.epoch, offered.epoch)
        elif offered.epoch > span[1]:
            self._extend(offered, span, keys)
        elif offered.epoch < span[0]:
            self._prepend(offered, span)
        elif policy.digest(offered) != self._digest(offered.conversation, offered.epoch):
            raise ModeMismatch(f"the relay shows two different policies of epoch {offered.epoch}")
        return span is None or offered.epoch >= span[1]

    def adopt(self, handed: wire.Policy) -> bool:
        """Pin what another device of this user has pinned, in the place of what this one met since
        it logged in, blindly; whether the two agree. What links on from ``handed`` stays.

        Raises ``ModeMismatch`` or ``FrameRefused`` for what is no policy of this user.
        """
        self._check_parties(handed)
        span = self._span(handed.conversation)
        pinned = self._pinned(handed.conversation, handed.epoch)
        if pinned is not None and policy.digest(pinned) == policy.digest(handed):
            return True
        if span is not None:
            for epoch in range(span[0], span[1] + 1):
                self._state.delete(POLICIES, handed.conversation + _EPOCH(epoch))
        self._put(handed, handed.epoch, handed.epoch)
        return pinned is None

    def proposer(self, offered: wire.Policy, keys: Mapping[bytes, bytes]) -> bytes:
        """Who proposed this next epoch: the account whose signature it carries, verified.

        Nothing is pinned. ``keys`` as for ``record``. Raises ``Need``; ``ModeMismatch`` where it
        does not follow the newest pinned policy; ``KeyRefused`` where nobody signed it whose key
        this client knows.
        """
        self._check_parties(offered)
        current = self.current(offered.conversation)
        if current is None or offered.epoch > current.epoch + 1:
            missing = 0 if current is None else offered.epoch - 1
            raise Need(NeedPolicy(offered.conversation, self._peer(offered), missing))
        self._check_keys(offered, keys)
        lacking = policy.check_link(current, offered, self._strengths)
        signers = [
            account
            for account, mark in zip(
                (offered.first, offered.second), offered.signatures, strict=True
            )
            if mark and account in keys
        ]
        if len(signers) != 1 or not lacking:  # or it would be in force
            raise KeyRefused("a proposal has one signature, under a key that is known here")
        return signers[0]

    def digest(self, conversation: bytes, epoch: int, peer: bytes) -> bytes:
        """``H(P)`` of a pinned epoch, 32 bytes. Raises ``Need`` with a ``NeedPolicy``."""
        span = self._span(conversation)
        if span is None or not span[0] <= epoch <= span[1]:
            raise Need(NeedPolicy(conversation, peer, epoch))
        return self._digest(conversation, epoch)

    def current(self, conversation: bytes) -> wire.Policy | None:
        """The newest pinned policy; None before the first."""
        span = self._span(conversation)
        return None if span is None else self._policy(conversation, span[1])

    def epochs(self, conversation: bytes) -> list[wire.Policy]:
        """All pinned epochs, oldest first."""
        span = self._span(conversation)
        if span is None:
            return []
        return [self._policy(conversation, epoch) for epoch in range(span[0], span[1] + 1)]

    def floor(self, conversation: bytes, kind: wire.Kind) -> str | None:
        """The mode below which nothing of this kind is sent or shown unmarked; None if none."""
        current = self.current(conversation)
        return None if current is None else current.modes[kind]

    def to_send(self, conversation: bytes, kind: wire.Kind, peer: bytes) -> tuple[str, int]:
        """The mode and epoch to send in: always the floor. Raises ``Need``."""
        current = self.current(conversation)
        if current is None:
            raise Need(NeedPolicy(conversation, peer, 0))
        return current.modes[kind], current.epoch

    def note_received(self, delivery: wire.Deliver) -> tuple[str, ...]:
        """Warnings to show with a message: ``below_floor`` and ``wrong_mode``.

        ``below_floor`` is weaker than what is promised now, be it an old message or an injected
        one: a client cannot tell them apart by what the relay says. ``wrong_mode`` is not the
        mode that its epoch names. Raises ``Need`` for an epoch newer than the pinned ones.
        """
        current = self.current(delivery.conversation)
        if current is None or delivery.epoch > current.epoch:
            other = delivery.sender if delivery.recipient == self._account else delivery.recipient
            raise Need(NeedPolicy(delivery.conversation, other, delivery.epoch))
        warnings = []
        # An unknown mode is weaker than any: whoever invents one must not escape the mark.
        least = policy.strength(current.modes[delivery.kind], self._strengths)
        if self._strengths.get(delivery.mode, -1) < least:
            warnings.append("below_floor")
        stated = self._pinned(delivery.conversation, delivery.epoch)
        if stated is not None and stated.modes[delivery.kind] != delivery.mode:
            warnings.append("wrong_mode")
        return tuple(warnings)

    def _extend(
        self, offered: wire.Policy, span: tuple[int, int], keys: Mapping[bytes, bytes]
    ) -> None:
        self._check_next(offered, span[1] + 1)
        older = self._policy(offered.conversation, span[1])
        # No relay can say what the own key is. Without one a device follows what its user raised,
        # which can only protect more, and nothing that was lowered.
        lowered = policy.change(older.modes, offered.modes, self._strengths) == "lowered"
        if lowered and self._account not in keys:
            raise BelowFloor(
                "this device has no keys of its account, so it cannot tell whether its user agreed"
                " to a weaker mode; link it first"
            )
        self._check_keys(offered, keys)
        self._check_link(older, offered)
        self._put(offered, span[0], offered.epoch)

    def _prepend(self, offered: wire.Policy, span: tuple[int, int]) -> None:
        # Account keys may have changed since: the hash link alone carries the trust backwards.
        self._check_next(offered, span[0] - 1)
        self._check_link(offered, self._policy(offered.conversation, span[0]))
        self._put(offered, offered.epoch, span[1])

    def _check_parties(self, offered: wire.Policy) -> None:
        if self._account not in (offered.first, offered.second):
            raise ModeMismatch("this policy is of other people's conversation")
        if offered.conversation != policy.conversation_id(offered.first, offered.second):
            raise ModeMismatch("this policy is not of the conversation of its two accounts")

    def _check_keys(self, offered: wire.Policy, keys: Mapping[bytes, bytes]) -> None:
        for account, key, signature in zip(
            (offered.first, offered.second), offered.keys, offered.signatures, strict=True
        ):
            if signature and account not in (*keys, self._account):
                raise Need(NeedDevices(account))
            # A relay may write any key into a policy; only a verified one can consent.
            if key and account in keys and keys[account] != key:
                raise KeyRefused("this policy names another account key than the verified one")

    def _check_next(self, offered: wire.Policy, epoch: int) -> None:
        if offered.epoch != epoch:
            raise Need(NeedPolicy(offered.conversation, self._peer(offered), epoch))

    def _peer(self, offered: wire.Policy) -> bytes:
        return offered.second if offered.first == self._account else offered.first

    def _check_link(self, older: wire.Policy, newer: wire.Policy) -> None:
        if not policy.check_link(older, newer, self._strengths):
            return
        if policy.change(older.modes, newer.modes, self._strengths) == "lowered":
            raise BelowFloor("a weaker mode needs the signatures of both users; nothing changed")
        raise KeyRefused("an epoch needs the signature of a user; nothing changed")

    def _put(self, offered: wire.Policy, oldest: int, newest: int) -> None:
        policy.change(offered.modes, offered.modes, self._strengths)  # refuses unknown modes
        key = offered.conversation + _EPOCH(offered.epoch)
        self._state.put(POLICIES, key, policy.digest(offered) + _encode(offered))
        self._state.put(SPANS, offered.conversation, _SPAN.pack(oldest, newest))

    def _span(self, conversation: bytes) -> tuple[int, int] | None:
        raw = self._state.get(SPANS, conversation)
        if raw is None:
            return None
        oldest, newest = _SPAN.unpack(raw)
        return oldest, newest

    def _pinned(self, conversation: bytes, epoch: int) -> wire.Policy | None:
        raw = self._state.get(POLICIES, conversation + _EPOCH(epoch))
        return None if raw is None else _decode(raw[DIGEST_SIZE:])

    def _policy(self, conversation: bytes, epoch: int) -> wire.Policy:
        pinned = self._pinned(conversation, epoch)
        if pinned is None:
            raise ModeMismatch("the pinned policies are damaged; restore the client's key store")
        return pinned

    def _digest(self, conversation: bytes, epoch: int) -> bytes:
        raw = self._state.get(POLICIES, conversation + _EPOCH(epoch))
        if raw is None:
            raise ModeMismatch("the pinned policies are damaged; restore the client's key store")
        return raw[:DIGEST_SIZE]
