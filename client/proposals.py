"""Changes of a conversation's mode: proposing one, and telling a real one from a made-up one.

What may live here: what is signed, and which policy frames become events. What may not: what makes
a policy valid (``crypto_modes.policy``), or what was promised before (``crypto_modes.pins``).

Only pinned keys go into what is signed: a signature under a record with a key that the relay has
made up would be a consent to whoever holds that key.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from client.keys import OwnKeys
from client.messages import Proposal
from client.session import Session
from client.trust import Trust, Verifying, now_ms
from crypto_modes import policy, wire
from crypto_modes.errors import LouverError, ModeMismatch, NotInThisMode


@runtime_checkable
class Signing(Verifying, Protocol):
    """A mode that also holds the account key of this user."""

    def sign(self, record: bytes) -> bytes: ...


class Proposals:
    """The changes of mode of one chat."""

    def __init__(self, session: Session, trust: Trust, keys: OwnKeys) -> None:
        self._session = session
        self._trust = trust
        self._keys = keys

    async def propose(self, peer: bytes, modes: wire.Modes) -> wire.Policy:
        """Sign and propose the next epoch; the policy as the relay then shows it.

        Raises ``KeyChanged`` until a new key of the peer is accepted, and ``ModeMismatch`` where
        the relay answers with something else than what was signed.
        """
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
        request = wire.SetPolicy(
            ref=0,
            peer=peer,
            epoch=candidate.epoch,
            modes=modes,
            created=candidate.created,
            signature=signing.sign(policy.record(candidate)),
        )
        answer = await self._session.ask(request, wire.Policy)
        if policy.record(answer) != policy.record(candidate):
            raise ModeMismatch("the relay shows another policy than the one that was proposed")
        await self._trust.believe(answer)
        return answer

    async def shown(self, frame: wire.Policy) -> wire.Policy | Proposal | None:
        """Take a policy that was sent unasked; the event it is worth, if it is worth one.

        What is in force is one if it is the newest, what is prepared if a user has really signed
        it. The rest is old, or changes nothing. Raises why it is not believed.
        """
        if frame.state == "in_force":
            return frame if await self._trust.believe(frame) else None
        if frame.state == "prepared":
            return Proposal(await self._proposer(frame), frame)
        return None

    async def _proposer(self, offered: wire.Policy) -> bytes:
        trust = self._trust
        return await trust.resolve(lambda: trust.pins.proposer(offered, trust.keys(offered)))

    async def _joined(self, peer: bytes, candidate: wire.Policy) -> wire.Policy:
        """``candidate``, or the same change as the peer has proposed it, if it has: only two
        signatures under one record, its time included, lower a mode. The time is all that is
        taken over, and only one that the peer has signed and that is not too old to be in force.
        """
        request = wire.SetPolicy(ref=0, peer=peer, epoch=candidate.epoch)
        try:
            pending = await self._session.ask(request, wire.Policy)
            proposer = await self._proposer(pending)
        except LouverError:
            return candidate
        fresh = -policy.SIGNING_TIME <= pending.created - candidate.created <= policy.CLOCK_SKEW
        joined = msgspec.structs.replace(candidate, created=pending.created)
        same = policy.record(joined) == policy.record(pending)
        if pending.state == "prepared" and proposer == peer and fresh and same:
            return joined
        return candidate
