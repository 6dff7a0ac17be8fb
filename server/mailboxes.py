"""Mailboxes in which two devices of one account leave each other a few bytes, to link one to it.

Only this memory and its rules live here; what the bytes mean is the clients' affair
(``crypto_modes/e2ee/linking.py``), and the relay can neither read nor forge them. A mailbox is
found by an id of 16 bytes that only the two devices know, inside one account. It is never stored:
a restart of the relay ends an attempt, and the person begins again. Both devices must be
connected to the same relay process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crypto_modes import wire
from crypto_modes.errors import Forbidden, FrameRefused, RateLimited

if TYPE_CHECKING:
    from server.session import Session

SECONDS = 600.0
PER_ACCOUNT = 4
# Of all accounts: some 150 large hand-overs at a time, or 60,000 offers.
BYTES = 32 * 1024 * 1024
# What a mailbox costs beside its bodies.
OVERHEAD = 512
OFFER, CONFIRMATION = 0, 1


class _Mailbox:
    """``maker`` is the device that waits to be linked; ``slots`` what was written."""

    __slots__ = ("ends", "maker", "size", "slots")

    def __init__(self, maker: bytes, ends: float) -> None:
        self.maker = maker
        self.ends = ends
        self.size = OVERHEAD
        self.slots: dict[int, bytes] = {}

    def is_over(self, device: bytes) -> bool:
        """Whether nobody needs it any more once ``device`` makes another one."""
        return device == self.maker or CONFIRMATION in self.slots


class Mailboxes:
    """All mailboxes of one relay. ``now()`` gives seconds of a clock that never goes back,
    ``wait(network, now)`` the seconds until one more may be made from there, or 0.0: without that
    whoever has many accounts takes all the room there is, from one place.
    """

    def __init__(self, now: Callable[[], float], wait: Callable[[str, float], float]) -> None:
        self._now = now
        self._wait = wait
        # Oldest first: they all last equally long.
        self._boxes: dict[tuple[bytes, bytes], _Mailbox] = {}
        # The same by account, so that nobody's cost grows with the mailboxes of others.
        self._of: dict[bytes, set[bytes]] = {}
        self.size = 0

    def link(self, session: Session, frame: wire.SetLink) -> None:
        """Write or read a slot, and answer."""
        device = session.device
        if frame.body:
            self.write(session.account, device, frame.box, frame.slot, frame.body, session.network)
            body = b""
        else:
            body = self.read(session.account, frame.box, frame.slot)
        session.link.send(wire.Link(ref=frame.ref, box=frame.box, slot=frame.slot, body=body))

    def write(
        self, account: bytes, device: bytes, box: bytes, slot: int, body: bytes, network: str
    ) -> None:
        """Fill a slot; the same bytes again change nothing. ``network`` is where it comes from.

        Raises:
            Forbidden: no such mailbox, or the slot is the other device's.
            FrameRefused: the slot was filled with something else.
            RateLimited: too many mailboxes, of the account, from there, or of all.
        """
        self._expire()
        mailbox = self._boxes.get((account, box))
        if mailbox is None:
            if slot != OFFER:
                raise Forbidden("there is no such mailbox: it is older than ten minutes")
            mailbox = self._make(account, device, box, len(body), network)
        if (slot in (OFFER, CONFIRMATION)) != (device == mailbox.maker):
            raise Forbidden("this slot of the mailbox is the other device's to write")
        written = mailbox.slots.get(slot)
        if written is not None:
            if written != body:
                raise FrameRefused("this slot was written already: begin again with a new code")
            return
        self._check_room(len(body))
        mailbox.slots[slot] = body
        mailbox.size += len(body)
        self.size += len(body)

    def read(self, account: bytes, box: bytes, slot: int) -> bytes:
        """What a slot holds, or nothing yet. Raises ``Forbidden`` where there is no mailbox."""
        self._expire()
        mailbox = self._boxes.get((account, box))
        if mailbox is None:
            raise Forbidden(
                "no device of this account waits with this code: it was mistyped, is older than"
                " ten minutes, or the relay was started anew"
            )
        return mailbox.slots.get(slot, b"")

    def _make(self, account: bytes, device: bytes, box: bytes, size: int, network: str) -> _Mailbox:
        own = self._of.get(account, set())
        # Those that are done with, and its own former one, whose code nobody has any more.
        former = [each for each in own if self._boxes[account, each].is_over(device)]
        for each in former:
            self._drop((account, each))
        if len(own) >= PER_ACCOUNT:
            raise RateLimited("other devices of this account wait to be linked", retry_after=60.0)
        self._check_room(OVERHEAD + size)
        now = self._now()
        wait = self._wait(network, now)
        if wait > 0.0:
            raise RateLimited("too many devices are being linked from there", retry_after=wait)
        mailbox = self._boxes[account, box] = _Mailbox(device, now + SECONDS)
        self._of.setdefault(account, set()).add(box)
        self.size += OVERHEAD
        return mailbox

    def _check_room(self, size: int) -> None:
        if self.size + size > BYTES:
            raise RateLimited("too many devices are being linked now", retry_after=60.0)

    def _expire(self) -> None:
        now = self._now()
        while self._boxes:
            key = next(iter(self._boxes))
            if self._boxes[key].ends > now:
                return
            self._drop(key)

    def _drop(self, key: tuple[bytes, bytes]) -> None:
        self.size -= self._boxes.pop(key).size
        account, box = key
        self._of[account].discard(box)
        if not self._of[account]:
            del self._of[account]
