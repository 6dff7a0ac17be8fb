"""Both ends and the middle of a mode in one process, without network or disk, for the ladder.

What may live here: a message's whole way through the real verbs and the real frames, and what a
relay would hand out on that way. What may not: timing (``ladder``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar, get_args

from client.keystore import Keystore
from crypto_modes import e2ee, policy, registry, wire
from crypto_modes.contract import (
    KEY_LOG,
    LOG_HEAD,
    NO_DIGEST,
    ClientTools,
    Draft,
    Meta,
    Mode,
    Need,
    NeedBundles,
    NeedDevices,
    NeedPolicy,
    ServerTools,
)
from crypto_modes.pins import Pins
from crypto_modes.transparency.key_log import Head

TEXT = b"See you at the station at eight?"  # 32 bytes: about the median of the trace
HEAD = Head(1000, bytes(32))
_CODEC = wire.CODECS[wire.MSGPACK]
_MOST_NEEDS = 8

T = TypeVar("T")


class OneKey:
    """The relay's data key and franking key, at hand: a warm cache."""

    def __init__(self) -> None:
        self._id, self._key = os.urandom(16), os.urandom(32)

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        """The data key and its id."""
        return self._id, self._key

    def find(self, which: bytes | int) -> bytes:
        """The same, by its id; or the franking key of any month."""
        return self._key


class End:
    """One device of an account, with its key store in memory."""

    def __init__(self, mode: Mode) -> None:
        self.account, self.device = os.urandom(16), os.urandom(16)
        self.state = Keystore.in_memory()
        self.state.put(KEY_LOG, LOG_HEAD, HEAD.encode())
        self.client = mode.client(
            ClientTools(
                account=self.account,
                device=self.device,
                state=self.state,
                random=os.urandom,
                now=now,
            )
        )
        strengths = registry.strengths(registry.registry(registry.BUILTIN))
        self.pins = Pins(self.state, self.account, strengths)
        published = (
            self.client.publication(None) if isinstance(self.client, e2ee.E2eeClient) else []
        )
        self.key = published[0].key if published else b""
        self._list = published[0].list if published else None
        self._prekeys = [prekey for frame in published for prekey in frame.prekeys]

    def devices(self) -> wire.Devices:
        """What the relay tells of this account."""
        return wire.Devices(
            ref=0, account=self.account, name="somebody", key=self.key, list=self._list
        )

    def keys(self) -> wire.Keys:
        """One bundle of its prekeys."""
        signed, once, kem = (
            next(each for each in self._prekeys if (each.use, each.algorithm) == wanted)
            for wanted in (("signed", 5), ("once", 5), ("once", 8))
        )
        bundle = wire.Bundle(device=self.device, signed=signed, kem=kem, once=once)
        return wire.Keys(ref=0, account=self.account, bundles=(bundle,))


class Way:
    """The way of a message in one mode between two ends who know each other.

    ``sent`` and ``delivered`` are the last message's frames, as bytes.
    """

    def __init__(self, mode: Mode) -> None:
        self._mode = mode.name
        self.ends = End(mode), End(mode)
        keys = OneKey()
        self.relay = mode.server(
            ServerTools(deployment=bytes(16), random=os.urandom, data_keys=keys, franking_keys=keys)
        )
        one, other = self.ends
        self.conversation = policy.conversation_id(one.account, other.account)
        modes: wire.Modes = dict.fromkeys(get_args(wire.Kind), mode.name)
        held = {end.account: end.key for end in self.ends}
        self._policy = policy.default_policy(held, modes, now())
        self._seq = 0
        self.sent = self.delivered = b""
        for turn in range(4):
            self.carry(turn % 2)

    def carry(self, sender: int) -> None:
        """One message from that end to the other: sealed, sent, admitted, delivered, opened."""
        one, other = self.ends[sender], self.ends[1 - sender]
        draft = Draft(
            conversation=self.conversation,
            id=os.urandom(16),
            sender=one.account,
            device=one.device,
            recipient=other.account,
            kind="text",
            epoch=1,
            content=TEXT,
        )
        sealed = self._needing(one, other, lambda: one.client.seal(draft))
        self.sent = _CODEC.encode(
            wire.Send(
                ref=1,
                id=draft.id,
                to=draft.recipient,
                mode=sealed.mode,
                epoch=sealed.epoch,
                body=sealed.body,
                copies=sealed.copies,
                commitment=sealed.commitment,
            )
        )
        _CODEC.decode_client(self.sent)
        self._seq += 1
        stored = self.relay.admit(self.meta(draft), sealed, NO_DIGEST)
        self.delivered = _CODEC.encode(self.relay.emit(stored, other.device))
        delivery = _CODEC.decode_server(self.delivered)
        assert isinstance(delivery, wire.Deliver)  # noqa: S101  as encoded a line before
        opened = self._needing(other, one, lambda: other.client.open(delivery))
        if opened.content != TEXT or opened.warnings:
            raise RuntimeError(f"the ladder's message came as {opened.warnings or 'another text'}")

    def meta(self, draft: Draft) -> Meta:
        """What the relay knows of it."""
        return Meta(
            draft.conversation,
            self._seq,
            draft.id,
            draft.sender,
            draft.device,
            draft.recipient,
            draft.kind,
            self._mode,
            draft.epoch,
            now(),
        )

    def _needing(self, end: End, peer: End, work: Callable[[], T]) -> T:
        for _ in range(_MOST_NEEDS):
            try:
                return work()
            except Need as need:
                self._serve(end, peer, need)
        raise RuntimeError("a mode needs the same thing again and again")

    def _serve(self, end: End, peer: End, need: Need) -> None:
        match need.what:
            case NeedDevices(account):
                end.client.supply((end if account == end.account else peer).devices())
            case NeedBundles():
                end.client.supply(peer.keys())
            case NeedPolicy():
                end.pins.record(self._policy, {})
            case other:
                raise RuntimeError(f"the ladder's relay cannot serve {other!r}")


def now() -> int:
    """Wall-clock time in milliseconds."""
    return time.time_ns() // 1_000_000
