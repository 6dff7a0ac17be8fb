"""Policy: which mode a conversation is in, as a chain of signed epochs that both ends verify.

What may live here: the policy record and its digest, who must sign a change, the transitions
of an epoch, and the one function that judges a proposal for relay and client alike. What may
not: what a client remembers (``pins.py``), storage, frames' transport. Times are milliseconds.

An epoch's life, drawn from ``TRANSITIONS``; ``ACCEPTED`` says whose messages a relay takes
meanwhile::

    prepared ──signed──► ready ──deadline──► in_force        prepared ──deadline──► rolled_back
     only the old         both, for 10 s       only the new    only the old

An epoch that leaves the modes as they are withdraws the one that is prepared: it takes its place in
the chain, so that the proposal fits nowhere any more, whoever signs it later. One signature does.

On the wire ``ready`` and ``in_force`` are one: clients send in the new epoch from ``ready`` on,
and what they had under way in the old one still arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import msgspec

from crypto_modes import wire
from crypto_modes.contract import DIGEST_SIZE, ID_SIZE, NO_DIGEST
from crypto_modes.encoding import enc
from crypto_modes.errors import (
    BadArgument,
    FrameRefused,
    KeyRefused,
    LimitExceeded,
    ModeMismatch,
)
from crypto_modes.primitives import KEY_SIZE, H, ed25519_verify

SIGNING_TIME = 24 * 60 * 60 * 1000  # a prepared epoch waits this long for the peer's signature
WITHDRAWAL_REST = SIGNING_TIME  # or one user could make epochs for the other to follow without end
OVERLAP = 10_000  # both epochs are accepted for this long after a change
CLOCK_SKEW = 5 * 60 * 1000  # how far a proposer's clock may run ahead

Phase = Literal["prepared", "ready", "in_force", "rolled_back"]
Event = Literal["signed", "deadline"]
Change = Literal["raised", "lowered", "same"]

TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    ("prepared", "signed"): "ready",
    ("prepared", "deadline"): "rolled_back",
    ("ready", "deadline"): "in_force",
}
# Which epochs a relay accepts, counted from the new one (0) and the one before it (-1).
ACCEPTED: dict[Phase, tuple[int, ...]] = {
    "prepared": (-1,),
    "ready": (0, -1),
    "in_force": (0,),
    "rolled_back": (-1,),
}
# How long the phases last that a deadline ends, and what each is called on the wire.
LASTS: dict[Phase, int] = {"prepared": SIGNING_TIME, "ready": OVERLAP}
ON_WIRE: dict[Phase, Literal["in_force", "prepared", "rolled_back"]] = {
    "prepared": "prepared",
    "ready": "in_force",
    "in_force": "in_force",
    "rolled_back": "rolled_back",
}
# Raising takes one user; lowering any kind takes both, so that no one is exposed by the other.
SIGNERS: dict[Change, int] = {"raised": 1, "same": 1, "lowered": 2}


def conversation_id(a: bytes, b: bytes) -> bytes:
    """The 16-byte id of the conversation of two accounts, the same from either side.

    Raises:
        BadArgument: an account id has not 16 bytes, or both are the same account.
    """
    if len(a) != ID_SIZE or len(b) != ID_SIZE or a == b:
        raise BadArgument(
            "a conversation needs two different accounts of 16 bytes each: nobody has one alone"
        )
    return H(enc("louver/v1/conversation", min(a, b), max(a, b)))[:ID_SIZE]


def record(policy: wire.Policy) -> bytes:
    """``P``: what is hashed and signed. Signatures, state and deadline are not part of it.

    The kinds stand in the order of ``wire.KINDS``, each followed by its mode, all six always, so
    that one policy has one encoding whatever order its map arrived in.

    Raises:
        FrameRefused: a kind lacks a mode, or a field has a size that no policy may have.
    """
    if policy.modes.keys() != set(wire.KINDS):
        raise FrameRefused(f"a policy names a mode for each of {', '.join(wire.KINDS)}")
    if len(policy.previous) != DIGEST_SIZE or any(
        len(key) not in (0, KEY_SIZE) for key in policy.keys
    ):
        raise FrameRefused("a policy's previous digest has 32 bytes, its keys 32 or none")
    named = cast("Mapping[str, str]", policy.modes)
    modes = [word for kind in wire.KINDS for word in (kind, named[kind])]
    return enc(
        "louver/v1/policy",
        policy.conversation,
        policy.epoch,
        enc("louver/v1/policy/modes", *modes),
        policy.first,
        policy.keys[0],
        policy.second,
        policy.keys[1],
        policy.created,
        policy.previous,
    )


def digest(policy: wire.Policy) -> bytes:
    """``H(P)``, 32 bytes: what the next epoch and every ``e2ee`` message are bound to."""
    return H(record(policy))


def default_policy(keys: Mapping[bytes, bytes], modes: wire.Modes, created: int) -> wire.Policy:
    """Epoch 1: the operator's default, unsigned. ``keys`` maps the two account ids to their
    account keys, empty where none was published yet.
    """
    first, second = sorted(keys)
    return wire.Policy(
        ref=0,
        conversation=conversation_id(first, second),
        epoch=1,
        modes=modes,
        first=first,
        second=second,
        keys=(keys[first], keys[second]),
        created=created,
        previous=NO_DIGEST,
    )


def successor(
    current: wire.Policy, modes: wire.Modes, created: int, keys: Mapping[bytes, bytes]
) -> wire.Policy:
    """The epoch after ``current``, prepared and still unsigned; kinds not in ``modes`` stay.

    A client builds it to sign it, the relay to check that signature.
    """
    return wire.Policy(
        ref=0,
        conversation=current.conversation,
        epoch=current.epoch + 1,
        modes=current.modes | modes,
        first=current.first,
        second=current.second,
        keys=(keys[current.first], keys[current.second]),
        created=created,
        previous=digest(current),
        state="prepared",
    )


def strength(mode: str, strengths: Mapping[str, int]) -> int:
    """How strong a registered mode is. Raises ``ModeMismatch`` where nobody registered it."""
    try:
        return strengths[mode]
    except KeyError:
        known = ", ".join(sorted(strengths))
        raise ModeMismatch(f"no mode {mode!r} is registered here; known: {known}") from None


def change(older: wire.Modes, newer: wire.Modes, strengths: Mapping[str, int]) -> Change:
    """How ``newer`` relates to ``older``; one weaker kind makes the whole change a lowering."""
    steps = [strength(newer[kind], strengths) - strength(older[kind], strengths) for kind in older]
    if min(steps) < 0:
        return "lowered"
    return "raised" if max(steps) > 0 else "same"


def check_link(older: wire.Policy, newer: wire.Policy, strengths: Mapping[str, int]) -> int:
    """The one rule for a change of epoch, for relay and client: how many signatures it lacks.

    The signatures are checked under the keys inside ``newer``; whether these are the accounts'
    keys is for the caller, who knows the accounts, to say.

    Raises:
        ModeMismatch: ``newer`` does not follow ``older``, or names a mode nobody registered.
        KeyRefused: a signature that is there does not verify.
        FrameRefused: ``newer`` is not complete.
    """
    parties = (older.conversation, older.first, older.second)
    if (newer.conversation, newer.first, newer.second) != parties:
        raise ModeMismatch("a policy's epochs belong to one conversation")
    if newer.epoch != older.epoch + 1 or newer.previous != digest(older):
        raise ModeMismatch(f"this policy does not follow epoch {older.epoch}; ask for it again")
    signed = record(newer)  # also checks that it is complete
    kind = change(older.modes, newer.modes, strengths)
    present = [(key, mark) for key, mark in zip(newer.keys, newer.signatures, strict=True) if mark]
    for key, signature in present:
        ed25519_verify(key, signature, signed)
    return max(0, SIGNERS[kind] - len(present))


def propose(
    current: wire.Policy,
    pending: wire.Policy | None,
    proposal: wire.SetPolicy,
    proposer: bytes,
    *,
    before: wire.Policy | None = None,
    keys: Mapping[bytes, bytes],
    strengths: Mapping[str, int],
    now: int,
) -> wire.Policy:
    """What a relay makes of a signed proposal: the next epoch, in force or still prepared.

    ``pending`` is the prepared epoch, if any: the same proposal by the other user completes it,
    a different one replaces it, and one of the modes that are in force withdraws it; ``before`` is
    the epoch before ``current``. Where both proposed the same at once, the second is refused: two
    records of one wish would never be in force, and each would replace the other. ``strengths``
    holds only modes that this relay may use.

    Raises:
        ModeMismatch: not the epoch after ``current``, a mode that is not registered, or the other
            user proposed the same before: sign that.
        KeyRefused: the proposer has no account key, or did not sign exactly this.
        FrameRefused: nothing changes or is withdrawn, or ``created`` is far from now.
        LimitExceeded: ``current`` was a withdrawal too, less than a day ago.
    """
    if proposal.epoch != current.epoch + 1 or proposal.modes is None:
        raise ModeMismatch(f"the next epoch is {current.epoch + 1}; propose its modes for it")
    if not now - SIGNING_TIME <= proposal.created <= now + CLOCK_SKEW:
        raise FrameRefused("a proposal is created now; set the clock, or sign a new one")
    candidate = successor(current, proposal.modes, proposal.created, keys)
    mine = proposer == candidate.second
    if not candidate.keys[mine] or not proposal.signature:
        raise KeyRefused("publish an account key, and sign the policy record with it")
    waits = pending is not None and phase(pending, now) == "prepared"
    if candidate.modes == current.modes:
        _check_withdrawal(current, before, now, waits=waits)
    elif pending is not None and waits:
        _check_not_crossing(candidate, pending, theirs=not mine)
    signatures = _joined(candidate, pending, now)
    signatures[mine] = proposal.signature
    candidate = msgspec.structs.replace(candidate, signatures=(signatures[0], signatures[1]))
    reached: Phase = "prepared"
    if not check_link(current, candidate, strengths):
        reached = TRANSITIONS[reached, "signed"]
    return msgspec.structs.replace(candidate, state=ON_WIRE[reached], deadline=now + LASTS[reached])


def _check_withdrawal(
    current: wire.Policy, before: wire.Policy | None, now: int, *, waits: bool
) -> None:
    if not waits:
        raise FrameRefused("this policy changes nothing; name a kind and another mode for it")
    again = before is not None and before.modes == current.modes
    # By the relay's own clock: ``created`` is what the user who withdrew says.
    taken = current.deadline - OVERLAP
    if again and now - taken < WITHDRAWAL_REST:
        raise LimitExceeded(
            "a proposal was withdrawn here less than a day ago; this one runs out by itself"
        )


def _check_not_crossing(candidate: wire.Policy, pending: wire.Policy, *, theirs: bool) -> None:
    alike = (candidate.modes, candidate.keys) == (pending.modes, pending.keys)
    if alike and pending.signatures[theirs] and candidate.created != pending.created:
        raise ModeMismatch(
            f"the other user has proposed the same for epoch {pending.epoch} already: ask for it,"
            " and sign that"
        )


def _joined(candidate: wire.Policy, pending: wire.Policy | None, now: int) -> list[bytes]:
    """The signatures collected so far for exactly this record."""
    if pending is None or phase(pending, now) != "prepared" or record(pending) != record(candidate):
        return [b"", b""]
    return list(pending.signatures)


def phase(policy: wire.Policy, now: int) -> Phase:
    """Where ``policy`` stands now: its stored state, and what its deadline made of it since."""
    stored: Phase = "ready" if policy.state == "in_force" else policy.state
    return TRANSITIONS.get((stored, "deadline"), stored) if now >= policy.deadline else stored


def shown(policy: wire.Policy, now: int) -> wire.Policy:
    """``policy`` as it stands now, on the wire: what has run out is rolled back."""
    return msgspec.structs.replace(policy, state=ON_WIRE[phase(policy, now)])


def in_force(epochs: Iterable[wire.Policy], now: int) -> wire.Policy:
    """The newest of a conversation's epochs that clients send in.

    Raises:
        ModeMismatch: none is.
    """
    usable = [policy for policy in epochs if 0 in ACCEPTED[phase(policy, now)]]
    if not usable:
        raise ModeMismatch("this conversation has no policy yet; ask for it with a policy frame")
    return max(usable, key=lambda policy: policy.epoch)


def check_send(
    epochs: Sequence[wire.Policy], kind: wire.Kind, mode: str, epoch: int, now: int
) -> None:
    """Refuse a message that is not in the mode of an epoch that is accepted now.

    Raises:
        ModeMismatch: with the mode and epoch to use instead.
    """
    current = in_force(epochs, now)
    for policy in epochs:
        if (
            policy.epoch == epoch
            and policy.modes[kind] == mode
            and epoch - current.epoch in ACCEPTED[phase(current, now)]
        ):
            return
    right = f"mode {current.modes[kind]!r}, epoch {current.epoch}"
    raise ModeMismatch(f"{kind} in this conversation is sent in {right}")
