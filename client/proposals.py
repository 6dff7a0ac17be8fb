"""Changes of a conversation's mode: proposing one, and telling a real one from a made-up one.

What may live here: what is signed, which policy frames become events, and which proposals wait
for somebody. What may not: what makes a policy valid (``crypto_modes.policy``), or what was
promised before (``crypto_modes.pins``).

Only pinned keys go into what is signed: a signature under a record with a key that the relay has
made up would be a consent to whoever holds that key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from client.keys import OwnKeys
from client.messages import Event, Proposal, RolledBack
from client.session import Session
from client.trust import Trust, Verifying, now_ms
from crypto_modes import policy, wire
from crypto_modes.errors import (
    BadArgument,
    FrameRefused,
    LouverError,
    ModeMismatch,
    NotInThisMode,
    UnknownDevice,
)
from crypto_modes.primitives import equal

# Both users may propose the same at once, and one comes second; who is second joins the first.
CROSSINGS = 3
# As much of a proposal's digest names it as nobody finds a second record for in its day, in bytes.
NAME_SIZE = 8


@runtime_checkable
class Signing(Verifying, Protocol):
    """A mode that also holds the account key of this user."""

    def sign(self, record: bytes) -> bytes: ...


class _Waiting(NamedTuple):
    proposal: Proposal
    timer: asyncio.TimerHandle


class Proposals:
    """The changes of mode of one chat. ``spawn`` runs work that nobody waits for. ``close`` it with
    the chat.
    """

    def __init__(
        self,
        session: Session,
        trust: Trust,
        keys: OwnKeys,
        emit: Callable[[Event], None],
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._session = session
        self._trust = trust
        self._keys = keys
        self._emit = emit
        self._spawn = spawn
        self._waiting: dict[bytes, _Waiting] = {}  # by conversation

    async def propose(self, peer: bytes, modes: wire.Modes) -> wire.Policy:
        """Sign and propose the next epoch; the policy as the relay then shows it.

        Raises ``KeyChanged`` until a new key of the peer is accepted, and ``ModeMismatch`` for a
        mode that is not installed here, or where the relay answers with something else than what
        was signed.
        """
        for mode in modes.values():
            self._trust.client(mode)
        for attempt in range(1, CROSSINGS + 1):
            try:
                return await self._propose(peer, modes)
            except ModeMismatch:
                if attempt == CROSSINGS:
                    raise
            current = await self._trust.policy(peer, fresh=True)
            if current.modes | modes == current.modes:
                return current  # the two of us met in it
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def ask_for(self, peer: bytes, mode: str, kinds: Sequence[str] = ()) -> wire.Policy:
        """Propose ``mode`` for these kinds of content, or for all; where the peer has proposed just
        that, it is in force then. What is so already is left alone. Raises as ``propose``, and
        ``BadArgument``.
        """
        unknown = [kind for kind in kinds if kind not in wire.KINDS]
        if unknown:
            raise BadArgument(f"{unknown[0]!r} is none of {', '.join(wire.KINDS)}")
        current = (await self._trust.policy(peer, fresh=True)).modes
        self._trust.client(mode)
        wanted: wire.Modes = {kind: mode for kind in current if not kinds or kind in kinds}
        if current | wanted == current:
            return await self._trust.policy(peer)
        return await self.propose(peer, wanted)

    async def agree(self, peer: bytes, shown: bytes) -> wire.Policy:
        """Sign the proposal of the peer that the user was shown, and no other: ``shown`` is its
        ``policy.digest``, or at least the first eight bytes of it.

        Raises ``BadArgument`` where it waits no more; another may, which is to be shown first.
        Otherwise as ``propose``.
        """
        await self._trust.policy(peer, fresh=True)
        pending = await self.pending(peer)
        if pending is None or pending.by != peer:
            raise BadArgument("the other user has proposed nothing that waits for an answer")
        named = policy.digest(pending.policy)
        if len(shown) < NAME_SIZE or not equal(named[: len(shown)], shown):
            raise BadArgument(
                "another proposal waits than the one you were shown; nothing was signed: look at"
                " the new one first"
            )
        for mode in pending.policy.modes.values():
            self._trust.client(mode)
        return await self._propose(peer, pending.policy.modes, exactly=named)

    async def withdraw(self, peer: bytes) -> wire.Policy:
        """End the proposal that waits, whoever made it; the policy that stays in force.

        What is signed is the next epoch, with the modes as they are: with that, the proposal fits
        nowhere in the chain any more, and no relay can bring it back to who knows this epoch.
        Raises ``BadArgument`` where none waits (any more), ``LimitExceeded`` where one was
        withdrawn less than a day ago; otherwise as ``propose``.
        """
        current = await self._trust.policy(peer, fresh=True)
        if await self.pending(peer) is None:
            raise BadArgument("no proposal waits for an answer")
        try:
            # No kind is named: whatever comes into force meanwhile, nothing is signed but that.
            return await self._propose(peer, {})
        except (FrameRefused, ModeMismatch):
            newest = await self._trust.policy(peer, fresh=True)
            if newest.epoch == current.epoch:
                raise
            if newest.modes == current.modes:
                return newest  # another device, or the other user, was first
            raise BadArgument("it is too late: another mode is in force meanwhile") from None

    def private(self, mode: str) -> bool:
        """Whether ``mode`` declares that not even a compelled operator can read it."""
        return self._trust.private(mode)

    async def raise_to_strongest(self, peer: bytes | str) -> wire.Policy:
        """Raise every kind of content with ``peer`` to the strongest mode, for who wants that from
        the first message on; the policy that is in force then.

        Raises ``UnknownDevice`` where the peer has published no keys, and ``NotInThisMode`` where
        this client and the relay share no mode that keeps the operator out.
        """
        account = await self._trust.account(peer)
        mode = self._trust.strongest()
        if not self._trust.private(mode):
            raise NotInThisMode("no mode that keeps the operator out is installed on both sides")
        current = await self._trust.policy(account, fresh=True)
        weaker: wire.Modes = {
            kind: mode for kind, now in current.modes.items() if self._trust.weaker(now, mode)
        }
        if not weaker:
            return current
        if (await self._trust.look_up(account)).list is None:
            raise UnknownDevice(
                f"they have published no keys, so mode {mode} cannot begin: ask them to connect"
                " once; nothing was sent"
            )
        return await self.propose(account, weaker)

    async def pending(self, peer: bytes) -> Proposal | None:
        """The proposal that waits for the other signature, asked for; None where none does. It is
        a ``Proposal`` event that this device may have missed, and is over like one.
        """
        current = await self._trust.policy(peer)
        request = wire.SetPolicy(ref=0, peer=peer, epoch=current.epoch + 1)
        try:
            offered = await self._session.ask(request, wire.Policy)
            if offered.state != "prepared":
                return None
            return self._wait(Proposal(await self._proposer(offered), offered))
        except LouverError:
            return None

    async def shown(self, frame: wire.Policy) -> wire.Policy | Proposal | RolledBack | None:
        """Take a policy that was sent unasked; the event it is worth, if it is worth one.

        What is in force is one if it is the newest, what is prepared if a user has really signed
        it, what is rolled back if it was one before. The rest is old, or changes nothing. Raises
        why it is not believed.
        """
        match frame.state:
            case "in_force" if await self._trust.believe(frame):
                self._over(frame)
                return frame
            case "prepared":
                return self._wait(Proposal(await self._proposer(frame), frame))
            case "rolled_back":
                waiting = self._waiting.get(frame.conversation)
                if waiting is not None and _alike(waiting.proposal.policy, frame):
                    return self._rolled_back(frame.conversation)
        return None

    def close(self) -> None:
        """Wait for nothing any more."""
        for waiting in self._waiting.values():
            waiting.timer.cancel()
        self._waiting.clear()

    # --- inside ---

    async def _propose(self, peer: bytes, modes: wire.Modes, exactly: bytes = b"") -> wire.Policy:
        """``exactly`` this record (its digest), where one is given."""
        current = await self._trust.policy(peer, fresh=True)
        signing = self._trust.verifying()
        if not isinstance(signing, Signing):
            raise NotInThisMode("no mode with an account key to sign with is installed here")
        await self._keys.publish_of(signing)
        await self._trust.look_up(peer)  # verifies and pins the peer's key, where there is one
        parties = (current.first, current.second)
        keys = {account: signing.pinned_key(account) or b"" for account in parties}
        candidate = policy.successor(current, modes, now_ms(), keys)
        candidate = await self._joined(peer, candidate)
        if exactly and not equal(policy.digest(candidate), exactly):
            raise BadArgument("the proposal that you were shown waits no more; nothing was signed")
        request = wire.SetPolicy(
            ref=0,
            peer=peer,
            epoch=candidate.epoch,
            modes=modes,
            created=candidate.created,
            signature=signing.sign(policy.record(candidate)),
        )
        answer = await self._session.ask(request, wire.Policy)
        if not _alike(answer, candidate):
            raise ModeMismatch("the relay shows another policy than the one that was proposed")
        await self._trust.believe(answer)
        if answer.state == "prepared":
            self._wait(Proposal(self._trust.account_id, answer))
        else:
            self._over(answer)
        return answer

    async def _proposer(self, offered: wire.Policy) -> bytes:
        trust = self._trust
        return await trust.resolve(lambda: trust.pins.proposer(offered, trust.keys(offered)))

    async def _joined(self, peer: bytes, candidate: wire.Policy) -> wire.Policy:
        """``candidate``, or the same change as the peer has proposed it, if it has: only two
        signatures under one record, its time included, lower a mode. The time is all that is
        taken over, and only one that the peer has signed and that is not too old to be in force.
        """
        pending = await self.pending(peer)
        if pending is None or pending.by != peer:
            return candidate
        created = pending.policy.created
        fresh = -policy.SIGNING_TIME <= created - candidate.created <= policy.CLOCK_SKEW
        joined = msgspec.structs.replace(candidate, created=created)
        return joined if fresh and _alike(joined, pending.policy) else candidate

    def _wait(self, proposal: Proposal) -> Proposal:
        """Say so when it has run out, also where the relay does not."""
        offered = proposal.policy
        self._forget(offered.conversation)
        # The relay's time runs from when it got the proposal, which is nearly when it was signed.
        latest = offered.created + policy.SIGNING_TIME + policy.CLOCK_SKEW
        left = min(offered.deadline or latest, latest) - now_ms()
        timer = asyncio.get_running_loop().call_later(
            max(0, left) / 1000, self._spawn, partial(self._ran_out, offered.conversation)
        )
        self._waiting[offered.conversation] = _Waiting(proposal, timer)
        return proposal

    async def _ran_out(self, conversation: bytes) -> None:
        """Look, before it is said: the other may have agreed while this device was away."""
        waiting = self._waiting.get(conversation)
        if waiting is None:
            return
        offered = waiting.proposal.policy
        peer = offered.second if offered.first == self._trust.account_id else offered.first
        current = await self._trust.policy(peer, fresh=True)
        if self._waiting.get(conversation) is not waiting:
            return
        if current.epoch < offered.epoch:
            self._emit(self._rolled_back(conversation))
        else:
            self._over(current)
            self._emit(current)

    def _rolled_back(self, conversation: bytes) -> RolledBack:
        proposal = self._waiting[conversation].proposal
        self._forget(conversation)
        return RolledBack(proposal.by, proposal.policy)

    def _over(self, newest: wire.Policy) -> None:
        """A new epoch is in force: what waited is this, or has lost its place to it."""
        waiting = self._waiting.get(newest.conversation)
        if waiting is None or waiting.proposal.policy.epoch > newest.epoch:
            return
        if _alike(waiting.proposal.policy, newest):
            self._forget(newest.conversation)
        else:
            self._emit(self._rolled_back(newest.conversation))

    def _forget(self, conversation: bytes) -> None:
        waiting = self._waiting.pop(conversation, None)
        if waiting is not None:
            waiting.timer.cancel()


def _alike(one: wire.Policy, other: wire.Policy) -> bool:
    """Whether both are the same record, whoever has signed it so far."""
    return policy.record(one) == policy.record(other)
