"""Sealing: one copy per device of both users, all under one commitment.

Only the order of these steps lives here. Nothing is written before all that can fail has not,
so an error leaves ``State`` as it was; the caller commits before it sends, so no key is ever
used for two texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crypto_modes import wire
from crypto_modes.contract import Draft, Sealed
from crypto_modes.e2ee import body
from crypto_modes.e2ee.body import Body, Recent, Said
from crypto_modes.e2ee.memory import Memory
from crypto_modes.e2ee.session import NAME, Envelope, Session
from crypto_modes.errors import BadArgument, LimitExceeded, UnknownDevice
from crypto_modes.franking import commitment
from crypto_modes.primitives import KEM_KEY_SIZE, KEY_SIZE, H

FRAME_REST = 512  # what a send frame holds beside its copies
_COPY_FRAMING = 24


class _Target(NamedTuple):
    """A device to encrypt to, and the session to do it with."""

    peer: bytes
    device: bytes
    session: Session


def seal(memory: Memory, draft: Draft) -> Sealed:
    """The copies of ``draft`` for every device of both users but this one.

    The same draft id again gives the same text, counter and commitment, for the devices that are
    listed then. Raises ``Need``, ``KeyChanged``, ``LimitExceeded`` or ``BadArgument``.
    """
    if len(draft.content) > wire.CONTENT_LIMIT:
        raise LimitExceeded(f"a message may have at most {wire.CONTENT_LIMIT} bytes")
    if (draft.sender, draft.device) != (memory.tools.account, memory.tools.device):
        raise BadArgument("a draft is sent by this client's own account and device")
    digest = memory.pins.digest(draft.conversation, draft.epoch, draft.recipient)
    targets = list(_targets(memory, draft, digest))
    said = memory.said(draft.conversation)
    again = memory.recent(draft.conversation, draft.id)
    message, recent = _compose(memory, draft, said, again)
    c = commitment(recent.key, draft.conversation, draft.id, message)
    envelope = Envelope(
        draft.epoch,
        draft.conversation,
        draft.id,
        draft.sender,
        draft.device,
        draft.recipient,
        digest,
        c,
    )
    plaintext = recent.key + message
    copies = tuple(_copies(memory, targets, envelope, plaintext))
    now = memory.tools.now()
    for each in targets:
        memory.sessions.sent(each.peer, each.session, now)
        memory.handshakes.used(each.peer)
    if again is None:
        said.note(draft.id, recent)
        memory.keep_recent(draft.conversation, draft.id, recent)
        memory.keep_said(draft.conversation, said)
    return Sealed(mode=NAME, epoch=draft.epoch, copies=copies, commitment=c)


def _targets(memory: Memory, draft: Draft, digest: bytes) -> Iterator[_Target]:
    own, now = memory.tools.account, memory.tools.now()
    knowns = {account: memory.peers.to_send(account) for account in (draft.recipient, own)}
    if draft.device not in knowns[own].devices:
        raise UnknownDevice("this device is not on its account's list yet; link it first")
    for account, known in knowns.items():
        active = {
            device: memory.sessions.active(account + device, now)
            for device in known.devices
            if account != own or device != draft.device
        }
        missing = [device for device, session in active.items() if session is None]
        memory.handshakes.require(account, missing)
        for device, session in active.items():
            if session is None:
                party, begin = known.devices[device], memory.handshakes.begin
                session = begin(party, draft.conversation, draft.epoch, digest)
            yield _Target(account + device, device, session)


def _copies(
    memory: Memory, targets: list[_Target], envelope: Envelope, plaintext: bytes
) -> Iterator[wire.Copy]:
    """A copy for each; what the next PQ epoch needs is attached where the frame has room for it.

    Raises ``LimitExceeded`` before anything is sealed.
    """
    now, random = memory.tools.now(), memory.tools.random
    sizes = [each.session.size(len(plaintext)) for each in targets]
    room = memory.tools.frame - FRAME_REST - sum(sizes) - len(targets) * _COPY_FRAMING
    if room < 0:
        raise LimitExceeded(f"too long for {len(targets)} devices in one frame; split it")
    for each in targets:
        carried = each.session.carry(now, random, room=room >= KEM_KEY_SIZE)
        room -= len(carried[1])
        copy = each.session.seal(envelope, each.device, plaintext, carried)
        yield wire.Copy(each.device, copy)


def _compose(
    memory: Memory, draft: Draft, said: Said, again: Recent | None
) -> tuple[bytes, Recent]:
    """``M`` and what is remembered of it: as it was, where this id was sealed before."""
    if again is None:
        counter, previous, key = said.sent + 1, said.last, memory.tools.random(KEY_SIZE)
        position, log_head = memory.position(draft.conversation), memory.log_head()
        echo = said.echo
    else:
        counter, previous, key = again.counter, again.previous, again.key
        position, log_head, echo = again.position, again.log_head, again.echo
    text = Body(
        draft.kind, draft.content, draft.reply_to, counter, previous, position, log_head, echo
    )
    message = body.encode(text)
    recent = Recent(counter, previous, position, log_head, echo, key, H(message))
    if again is not None and again.digest != recent.digest:
        raise BadArgument("a message id was used before for another text")
    return message, recent
