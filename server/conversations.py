"""Conversations in memory: who takes part, and which policy epochs are accepted now.

What may live here: the cache and its loading, and the policy use cases. What a policy means is
in ``crypto_modes.policy``; the durable record is the store's.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from crypto_modes import policy as policies
from crypto_modes import wire
from crypto_modes.contract import Mode
from crypto_modes.errors import Forbidden, FrameRefused, ModeMismatch, UnknownDevice
from server.directory import UNREACHABLE, Directory
from server.store import Store

CACHE = 50_000


class Conversation:
    """One conversation: its id, its two accounts in ascending order, its latest epochs."""

    __slots__ = ("_epoch", "_fixed", "_modes", "epochs", "id", "parties")

    def __init__(self, id: bytes, parties: tuple[bytes, bytes], epochs: list[wire.Policy]) -> None:
        self.id = id
        self.parties = parties
        self.settle(epochs)

    def settle(self, epochs: list[wire.Policy]) -> None:
        """Take the epochs as stored; remember what the hot path compares."""
        self.epochs = epochs
        now = time.time_ns() // 1_000_000
        current = policies.in_force(epochs, now)
        # Until an overlap or a proposal has run out, each send asks the table in `policy`.
        self._fixed = all(now >= each.deadline for each in epochs)
        self._epoch = current.epoch
        self._modes = current.modes

    def other(self, account: bytes) -> bytes:
        """The account at the other end."""
        first, second = self.parties
        return second if account == first else first

    def check(self, kind: wire.Kind, mode: str, epoch: int) -> None:
        """Refuse a message outside of what is in force. Raises ``ModeMismatch``."""
        if self._fixed and epoch == self._epoch and mode == self._modes[kind]:
            return
        policies.check_send(self.epochs, kind, mode, epoch, time.time_ns() // 1_000_000)
        self.settle(self.epochs)

    def answer(self, ref: int, epoch: int) -> wire.Policy:
        """The policy of ``epoch``, or the one in force for 0. Raises ``ModeMismatch``."""
        now = time.time_ns() // 1_000_000
        if not epoch:
            return msgspec.structs.replace(policies.in_force(self.epochs, now), ref=ref)
        for each in self.epochs:
            if each.epoch == epoch:
                return msgspec.structs.replace(policies.shown(each, now), ref=ref)
        raise ModeMismatch(f"this conversation has no epoch {epoch}")


class Conversations:
    """At most ``CACHE`` conversations in memory, over the store."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        registry: Mapping[str, Mode],
        defaults: wire.Modes,
    ) -> None:
        self._store = store
        self._directory = directory
        self._strengths = {name: mode.strength for name, mode in registry.items()}
        # Modes that keep the operator out need the keys of both ends; no send could succeed
        # in a conversation that was raised to one before both were published.
        self._keyed = {
            name for name, mode in registry.items() if not mode.visibility["compelled_operator"]
        }
        self.defaults = defaults
        # One change of any policy at a time on this node: they are rare, and a lost one is dear.
        self._changing = asyncio.Lock()
        self._by_id: OrderedDict[bytes, Conversation] = OrderedDict()
        self._by_peer: dict[tuple[bytes, bytes], Conversation] = {}
        self._waiting: dict[bytes, wire.Policy] = {}  # prepared epochs, by conversation

    def known(self, own: bytes, peer_or_id: bytes) -> Conversation | None:
        """The cached conversation of ``own`` with a peer, or with this id, for the hot path."""
        found = self._by_peer.get((own, peer_or_id))
        if found is None:
            found = self._by_id.get(peer_or_id)
            if found is not None and own not in found.parties:
                return None
        return found

    async def peer_of(self, own: bytes, to: bytes, conversation: bytes) -> bytes:
        """The peer that ``to`` or ``conversation`` means.

        Raises:
            Forbidden: no such conversation of this account; the same for absent and foreign.
            FrameRefused: neither was given.
        """
        if len(to) == 16:
            return to
        if len(conversation) != 16:
            raise FrameRefused("name a recipient in `to`, or a conversation, by 16 bytes")
        known = self._by_id.get(conversation)
        parties = known.parties if known else await self._store.parties(conversation)
        if parties is None or own not in parties:
            raise Forbidden(UNREACHABLE)
        first, second = parties
        return second if own == first else first

    async def load(self, own: bytes, peer: bytes) -> Conversation:
        """The conversation of two existing accounts, begun under the operator's default."""
        if own == peer:
            raise FrameRefused("a conversation needs two different accounts")
        known = self._by_peer.get((own, peer))
        if known is not None:
            self._by_id.move_to_end(known.id)
            return known
        wanted = policies.conversation_id(own, peer)
        async with self._changing:
            epochs = await self._store.policies(wanted)
            if not epochs:
                epochs = [await self._first_epoch(own, peer)]
                await self._store.put_policy(epochs[0])
        parties = (min(own, peer), max(own, peer))
        return self._remember(Conversation(wanted, parties, epochs))

    async def propose(
        self, conversation: Conversation, proposer: bytes, frame: wire.SetPolicy, now: int
    ) -> wire.Policy:
        """Take a signed proposal for the next epoch; the resulting policy is durable.

        Raises ``ModeMismatch``, ``KeyRefused`` or ``FrameRefused``.
        """
        keys = await self._keys(*conversation.parties)
        async with self._changing:
            current = policies.in_force(conversation.epochs, now)
            newest = conversation.epochs[-1]
            pending = newest if newest.epoch > current.epoch else None
            epochs = conversation.epochs
            policy = policies.propose(
                current,
                pending,
                frame,
                proposer,
                before=next((each for each in epochs if each.epoch == current.epoch - 1), None),
                keys=keys,
                strengths=self._strengths,
                now=now,
            )
            if not self._keyed.isdisjoint(policy.modes.values()) and not all(policy.keys):
                raise UnknownDevice("one of the two users has published no keys yet")
            await self._store.put_policy(policy)
            kept = [each for each in epochs if each.epoch != policy.epoch]
            conversation.settle([*kept, policy])
            self._await(policy)
            return policy

    def expired(self, now: int) -> list[wire.Policy]:
        """The epochs that were prepared, and ran out since this was asked last: rolled back.

        That they are follows from their deadline, also where nobody asks; this is for telling.
        """
        over = [each for each in self._waiting.values() if now >= each.deadline]
        for each in over:
            del self._waiting[each.conversation]
        return [policies.shown(each, now) for each in over]

    def _await(self, newest: wire.Policy) -> None:
        """Remember whether a conversation's newest epoch waits for a signature."""
        if newest.state == "prepared":
            self._waiting[newest.conversation] = newest
        else:
            self._waiting.pop(newest.conversation, None)

    async def _first_epoch(self, own: bytes, peer: bytes) -> wire.Policy:
        created = time.time_ns() // 1_000_000
        return policies.default_policy(await self._keys(own, peer), self.defaults, created)

    async def _keys(self, *accounts: bytes) -> dict[bytes, bytes]:
        return {each: (await self._directory.entry(each)).account.key for each in accounts}

    def _remember(self, conversation: Conversation) -> Conversation:
        # Another task may have loaded it meanwhile: there must be only one object of each.
        known = self._by_id.get(conversation.id)
        if known is not None:
            return known
        newest = conversation.epochs[-1]
        if time.time_ns() // 1_000_000 < newest.deadline:
            self._await(newest)  # from before a restart
        first, second = conversation.parties
        self._by_id[conversation.id] = conversation
        self._by_peer[first, second] = self._by_peer[second, first] = conversation
        if len(self._by_id) > CACHE:
            _, oldest = self._by_id.popitem(last=False)
            first, second = oldest.parties
            del self._by_peer[first, second], self._by_peer[second, first]
        return conversation
