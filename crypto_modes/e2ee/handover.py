"""What an existing device hands to a new one when it links it; modes.md 17c.

What may live here: the record and its bytes. What may not: how it travels (``linking.py``), or
what is done with it (``linker.py``, and the client, which keeps names and policies).

The peers' keys and policies are handed over so that the new device does not meet everybody for the
first time, blindly, through the relay: it holds the relay to what its user's other device saw. So
does the key log, as the other device has pinned it: a new device can be shown no log of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from crypto_modes import policy, wire
from crypto_modes.contract import DIGEST_SIZE, ID_SIZE, Secretive
from crypto_modes.encoding import dec, enc, number
from crypto_modes.errors import FrameRefused
from crypto_modes.primitives import KEY_SIZE, SIGNATURE_SIZE

# About 450 bytes a peer with a signed policy: some 400 peers.
HANDOVER_LIMIT = 192 * 1024

_LIST, _CERTIFICATE = "louver/v1/link/list", "louver/v1/link/certificate"
# Numbered: each form of a hand-over has a label of its own, and refuses all others.
_HANDOVER, _LOG = "louver/v1/link/handover/2", "louver/v1/link/log"
_PEER, _POLICY = "louver/v1/link/peer", "louver/v1/link/policy"

# A signed checkpoint has some 250 bytes, and a line more for each witness.
CHECKPOINT_LIMIT = 8 * 1024


class Peer(msgspec.Struct, frozen=True):
    """What is handed over of one other user; ``key`` and ``policy`` where they are pinned."""

    account: bytes
    name: str
    key: bytes = b""
    policy: wire.Policy | None = None


class LogPin(NamedTuple):
    """What is pinned of the relay's key log: its ``key`` (32 bytes), and the newest checkpoint that
    was verified, a signed note.
    """

    key: bytes
    checkpoint: bytes


class Handover(Secretive, msgspec.Struct, frozen=True):
    """All that is handed over. ``seed`` is the account key's, or empty: decision 0014."""

    account: bytes
    key: bytes
    seed: bytes
    listed: wire.DeviceList
    peers: tuple[Peer, ...] = ()
    log: LogPin | None = None

    def __repr__(self) -> str:
        return f"<Handover of {len(self.peers)} peers>"


def encode(handover: Handover) -> bytes:
    """The bytes of a hand-over."""
    peers = [_peer(each) for each in handover.peers]
    head = (handover.account, handover.key, handover.seed, _list(handover.listed))
    return enc(_HANDOVER, *head, b"" if handover.log is None else enc(_LOG, *handover.log), *peers)


def fitting(handover: Handover, peers: Iterable[Peer]) -> Handover:
    """``handover`` with as many of ``peers``, from the first on, as fit ``HANDOVER_LIMIT``."""
    room = HANDOVER_LIMIT - len(encode(handover))
    taken = []
    for each in peers:
        room -= len(_peer(each)) + 4
        if room < 0:
            break
        taken.append(each)
    return msgspec.structs.replace(handover, peers=tuple(taken))


def decode(raw: bytes) -> Handover:
    """The hand-over in these bytes. Raises ``FrameRefused``; nothing is verified yet."""
    if len(raw) > HANDOVER_LIMIT:
        raise FrameRefused(f"a hand-over has at most {HANDOVER_LIMIT} bytes")
    items = dec(_HANDOVER, raw)
    if len(items) < 5:
        raise FrameRefused("a hand-over lacks a field")
    account, key, seed, listed, log = items[:5]
    _check(account, ID_SIZE)
    _check(key, KEY_SIZE)
    _check(seed, 0, KEY_SIZE)
    peers = tuple(_read_peer(account, each) for each in items[5:])
    return Handover(account, key, seed, _read_list(listed), peers, _read_log(log) if log else None)


def _read_log(raw: bytes) -> LogPin:
    key, checkpoint = _exactly(2, dec(_LOG, raw))
    _check(key, KEY_SIZE)
    if len(checkpoint) > CHECKPOINT_LIMIT:
        raise FrameRefused(f"a checkpoint that is handed over has at most {CHECKPOINT_LIMIT} bytes")
    return LogPin(key, checkpoint)


def _list(listed: wire.DeviceList) -> bytes:
    certificates = [_certificate(each) for each in listed.certificates]
    return enc(_LIST, listed.version, listed.signature, *certificates)


def _certificate(each: wire.Certificate) -> bytes:
    keys = (each.signing, each.agreement)
    return enc(_CERTIFICATE, each.device, *keys, each.created, each.signature)


def _read_list(raw: bytes) -> wire.DeviceList:
    items = dec(_LIST, raw)
    if len(items) < 2:
        raise FrameRefused("a device list lacks a field")
    certificates = tuple(_read_certificate(each) for each in items[2:])
    return wire.DeviceList(version=number(items[0]), signature=items[1], certificates=certificates)


def _read_certificate(raw: bytes) -> wire.Certificate:
    device, signing, agreement, created, signature = _exactly(5, dec(_CERTIFICATE, raw))
    _check(device, ID_SIZE)
    _check(signing, KEY_SIZE)
    _check(agreement, KEY_SIZE)
    return wire.Certificate(
        device=device,
        signing=signing,
        agreement=agreement,
        created=number(created),
        signature=signature,
    )


def _peer(peer: Peer) -> bytes:
    shown = b"" if peer.policy is None else _policy(peer.policy)
    return enc(_PEER, peer.account, peer.name, peer.key, shown)


def _read_peer(own: bytes, raw: bytes) -> Peer:
    account, name, key, shown = _exactly(4, dec(_PEER, raw))
    _check(account, ID_SIZE)
    _check(key, 0, KEY_SIZE)
    if account == own:
        raise FrameRefused("a user is not among one's own peers")
    found = _read_policy(own, account, shown) if shown else None
    return Peer(account, _text(name), key, found)


def _policy(shown: wire.Policy) -> bytes:
    modes = [shown.modes[kind] for kind in wire.KINDS]  # type: ignore[index]  # KINDS are the Kinds
    return enc(
        _POLICY,
        shown.epoch,
        *modes,
        *shown.keys,
        shown.created,
        shown.previous,
        *shown.signatures,
    )


def _read_policy(own: bytes, peer: bytes, raw: bytes) -> wire.Policy:
    items = _exactly(len(wire.KINDS) + 7, dec(_POLICY, raw))
    epoch, words, rest = items[0], items[1 : len(wire.KINDS) + 1], items[len(wire.KINDS) + 1 :]
    first_key, second_key, created, previous, first_mark, second_mark = rest
    for each in (first_key, second_key):
        _check(each, 0, KEY_SIZE)
    for each in (first_mark, second_mark):
        _check(each, 0, SIGNATURE_SIZE)
    _check(previous, DIGEST_SIZE)
    first, second = sorted((own, peer))
    return wire.Policy(
        ref=0,
        conversation=policy.conversation_id(first, second),
        epoch=number(epoch),
        modes=dict(zip(wire.KINDS, map(_text, words), strict=True)),  # type: ignore[arg-type]  # as above
        first=first,
        second=second,
        keys=(first_key, second_key),
        created=number(created),
        previous=previous,
        signatures=(first_mark, second_mark),
    )


def _exactly(count: int, items: list[bytes]) -> list[bytes]:
    if len(items) != count:
        raise FrameRefused(f"{count} fields were to be handed over here, not {len(items)}")
    return items


def _check(item: bytes, *sizes: int) -> None:
    if len(item) not in sizes:
        raise FrameRefused("a field that was handed over has a size that it cannot have")


def _text(item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError:
        raise FrameRefused("a name that was handed over is no text") from None
