"""The history of a run, and what is wrong with it.

What may live here: recording what clients asked for, were told and received, and the verdicts
over it. What may not: clients, relays, faults. In the terms of Jepsen a send is *invoked*, and ends
``ok`` (accepted), ``fail`` (refused for good: it must never show up) or not at all (``info``: it
may or may not have happened). Nothing is asserted while a run goes on; the verdicts are taken at
its end, when every device was given the time to catch up.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

Key = tuple[bytes, bytes]  # conversation, message id

VERDICTS = ("lost", "duplicated", "phantom", "altered", "reordered", "gap", "conflict", "stale")


@dataclass(slots=True)
class Send:
    """One message as its sender knows it; ``order`` counts a sender's sends in a conversation.

    Its place among them is from ``order`` to ``latest``, which differ once it was ``muddled``.
    """

    sender: bytes
    order: int
    digest: bytes
    latest: int = 0
    seq: int = 0
    failed: bool = False


@dataclass(slots=True)
class _Stream:
    """What one device got of one conversation: the ids by seq, and the highest seq it acked."""

    got: dict[int, bytes] = field(default_factory=dict)
    acked: int = 0
    last: int = 0  # of the connection that is open now


class History:
    """Everything that was asked for and received in one run.

    ``parties`` maps a conversation to the devices that must have all of it in the end.
    """

    def __init__(self) -> None:
        self.parties: dict[bytes, tuple[bytes, ...]] = {}
        self.sends: dict[Key, Send] = {}
        self.wrong: Counter[str] = Counter(dict.fromkeys(VERDICTS, 0))
        self.examples: dict[str, str] = {}
        self.moved = 0  # counts what was accepted or delivered, to see when nothing is any more
        self.crashes = 0
        self._orders: Counter[Key] = Counter()
        self._streams: defaultdict[Key, _Stream] = defaultdict(_Stream)

    # --- recording ---

    def invoke(self, conversation: bytes, id: bytes, sender: bytes, body: bytes) -> None:
        """A device sends a message for the first time; sending it again is not recorded."""
        self._orders[sender, conversation] += 1
        order = self._orders[sender, conversation]
        self.sends[conversation, id] = Send(sender, order, digest(body), order)

    def ok(self, conversation: bytes, id: bytes, seq: int) -> None:
        """The relay said ``accepted``."""
        send = self.sends[conversation, id]
        if send.seq not in (0, seq):
            self._note("duplicated", f"{id.hex()} was accepted as {send.seq} and as {seq}")
        send.seq = seq

    def fail(self, conversation: bytes, id: bytes) -> None:
        """The relay refused it, and not for the moment."""
        self.sends[conversation, id].failed = True

    def muddled(self, conversation: bytes, ids: Iterable[bytes]) -> None:
        """One of these was refused for the moment while the others were under way: what the sender
        has not waited for has no order among itself any more.
        """
        sends = [self.sends[conversation, id_] for id_ in ids]
        first = min((send.order for send in sends), default=0)
        last = max((send.latest for send in sends), default=0)
        for send in sends:
            send.order, send.latest = first, last

    def connected(self, device: bytes) -> None:
        """A new connection of ``device``: delivery begins again after its cursors."""
        for (owner, _), stream in self._streams.items():
            if owner == device:
                stream.last = 0

    def delivered(
        self, device: bytes, conversation: bytes, seq: int, id: bytes, body: bytes | None
    ) -> None:
        """A device received a message; ``body`` None where only a place in the order is known
        (the ``accepted`` that a sending device gets in the place of its own message).
        """
        stream = self._streams[device, conversation]
        self.moved += 1
        if body is not None:
            self._judge(conversation, id, body)
            if seq <= stream.last:
                self._note("reordered", f"{device.hex()} got {seq} after {stream.last}")
            if seq <= stream.acked and stream.last == 0:
                self._note("stale", f"{device.hex()} got {seq} again after it had acked it")
            stream.last = max(stream.last, seq)
        before = stream.got.setdefault(seq, id)
        if before != id:
            self._note("conflict", f"seq {seq} is {before.hex()} and {id.hex()}")

    def acked(self, device: bytes, conversation: bytes, seq: int) -> None:
        """The device told the relay that it has everything up to ``seq``, and the relay read it."""
        stream = self._streams[device, conversation]
        stream.acked = max(stream.acked, seq)

    def forgiven(self) -> None:
        """The relay was killed: cursors are lazily durable, and it may deliver again."""
        self.crashes += 1
        for stream in self._streams.values():
            stream.acked = 0

    # --- judging ---

    def complete(self) -> bool:
        """Whether every accepted message reached every device; for those who wait for the end."""
        return not self._missing()

    def verdict(self) -> dict[str, int]:
        """How often each thing went wrong. Call it once, at the end."""
        for text in self._missing():
            self._note("lost", text)
        for (device, conversation), stream in self._streams.items():
            seqs = sorted(stream.got)
            if seqs and seqs != list(range(1, len(seqs) + 1)):
                self._note("gap", f"{device.hex()} has {len(seqs)} messages up to {seqs[-1]}")
            self._order(conversation, [stream.got[seq] for seq in seqs])
        self._places()
        return {name: self.wrong[name] for name in VERDICTS}

    @property
    def accepted(self) -> int:
        """How many messages were accepted."""
        return sum(1 for send in self.sends.values() if send.seq)

    def _missing(self) -> list[str]:
        missing = []
        for (conversation, id_), send in self.sends.items():
            if not send.seq:
                continue
            missing += [
                f"{id_.hex()}, accepted as {send.seq}, for {device.hex()}"
                for device in self.parties[conversation]
                if self._streams[device, conversation].got.get(send.seq) != id_
            ]
        return missing

    def _judge(self, conversation: bytes, id_: bytes, body: bytes) -> None:
        send = self.sends.get((conversation, id_))
        if send is None or send.failed:
            self._note("phantom", f"{id_.hex()} was {'refused' if send else 'never sent'}")
        elif digest(body) != send.digest:
            self._note("altered", id_.hex())

    def _order(self, conversation: bytes, ids: list[bytes]) -> None:
        """One device's messages keep the order in which it sent them, and come once."""
        latest: Counter[bytes] = Counter()
        for id_, times in Counter(ids).items():
            if times > 1:
                self._note("duplicated", f"{id_.hex()} has {times} places")
        for id_ in ids:
            send = self.sends.get((conversation, id_))
            if send is None:
                continue
            if send.latest < latest[send.sender]:
                self._note("reordered", f"{id_.hex()} was sent before one that stands before it")
            latest[send.sender] = max(latest[send.sender], send.order)

    def _places(self) -> None:
        """All devices agree on what a seq is."""
        places: dict[tuple[bytes, int], bytes] = {}
        for (_, conversation), stream in self._streams.items():
            for seq, id_ in stream.got.items():
                if places.setdefault((conversation, seq), id_) != id_:
                    self._note("conflict", f"two devices disagree about seq {seq}")

    def _note(self, verdict: str, text: str) -> None:
        self.wrong[verdict] += 1
        self.examples.setdefault(verdict, text)


def digest(body: bytes) -> bytes:
    """What is kept of a body, so that a long run needs little memory."""
    return hashlib.blake2b(body, digest_size=8).digest()
