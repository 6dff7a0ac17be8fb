"""The access log at its keeper: the Protocol through which every step of a case is entered.

Only the Protocols and the receipt live here; what keeps it on disk lies beside. The log is kept by
the vault's process, which is the only one that opens anything, so that writing an entry before a
read is a call and no message on a network. moderation.md, The access log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from crypto_modes.transparency.access_log import Entry
from server.access_log.counts import Counted


class Receipt(msgspec.Struct, frozen=True):
    """Where entries stand: the index of the first, and the checkpoint (a signed note) that covers
    them all."""

    index: int
    checkpoint: bytes


class AccessLog(Protocol):
    """Append-only. Conformance is declared beside each class."""

    async def append(self, entries: Sequence[Entry]) -> Receipt:
        """Enter ``entries``, 1 to 100, in order. Once this returns they are durable and inside a
        signed checkpoint. Raises ``LogUnavailable``: then nothing that they are about may happen.
        """


class CountedLog(AccessLog, Protocol):
    """One that is also asked what its entries count."""

    async def counts(self, first: int, end: int) -> Counted:
        """Of the time from ``first`` up to, but not including, ``end``, milliseconds. Raises
        ``VaultUnavailable``."""
