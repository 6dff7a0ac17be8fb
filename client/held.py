"""Messages whose sender's keys do not verify: kept for when they do, and not acked meanwhile.

What may live here: the messages that wait, and how many. What may not: whether keys verify
(``trust``), or opening (``incoming``).

That keys are refused is the relay's doing, or the end of its key log; what was written is none the
worse for it. A message that has no room here is not lost either: the relay has no ack of it, and
delivers it again with the next connection.
"""

from __future__ import annotations

import msgspec

from client.sequence import Arrival
from crypto_modes import wire

# Of one device, and of all together; a message may have 64 KiB.
OF_ONE, OF_ALL = 64, 256


class Arrived(msgspec.Struct, frozen=True, eq=False):
    """A message to be opened, and how it came; each its own, as the relay may repeat one."""

    delivery: wire.Deliver
    arrival: Arrival

    @property
    def device(self) -> tuple[bytes, bytes]:
        """The sender's account and device."""
        return self.delivery.sender, self.delivery.device


class Held:
    """The messages that wait, by sending device: of one that waits all that follows waits as well,
    so that it is shown in order, and nobody is asked for its keys again and again.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[bytes, bytes], list[Arrived]] = {}

    def __contains__(self, device: tuple[bytes, bytes]) -> bool:
        return device in self._of

    def add(self, arrived: Arrived) -> bool:
        """Keep a message; False where there is no room for it."""
        of_one = len(self._of.get(arrived.device, ()))
        if of_one >= OF_ONE or sum(map(len, self._of.values())) >= OF_ALL:
            return False
        self._of.setdefault(arrived.device, []).append(arrived)
        return True

    def take(self) -> list[Arrived]:
        """All of them, those of each device in order; none is kept any longer."""
        found = [each for of_one in self._of.values() for each in of_one]
        self._of.clear()
        return found
