"""The relay's franking keys ``K_S``: one per month, each in a file of its own, then destroyed.

Only keeping them lives here; stamping is in ``crypto_modes/franking.py``. A key is made on the
first use of its month and deleted ``REPORT_WINDOW`` after the month's end: from then on nobody,
the operator included, can tell a true stamp from a forged one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from crypto_modes.contract import Need, NeedFrankingKey
from crypto_modes.errors import BadArgument, ReportRefused
from crypto_modes.franking import end_of_window, month_of
from crypto_modes.primitives import KEY_SIZE
from server.secrets_file import private_directory, secret_file

# A message stamped as a month ends may ask for its key a moment later.
LATE = timedelta(hours=1)

_MILLISECOND = timedelta(milliseconds=1)


class FrankingKeyFiles:
    """Monthly franking keys in ``directory``, as ``YYYYMM.key``; conforms to ``FrankingKeys``.

    ``now()`` gives milliseconds. ``find`` may be called from any thread, the rest belongs to the
    event loop. Deleted means unlinked: what a disk or a backup keeps of a file is beyond a
    program's reach, so keep this directory out of backups that live longer than the window.
    """

    def __init__(self, directory: Path, now: Callable[[], int]) -> None:
        """Open ``directory``, or make it. Raises ``BadConfig`` where others may enter it."""
        self._directory = directory
        self._now = now
        self._keys: dict[int, bytes] = {}
        self._ends: dict[int, int] = {}
        private_directory(directory, "the franking keys")

    def find(self, month: int) -> bytes:
        """The 32-byte key of ``YYYYMM``. Raises ``Need``, or ``ReportRefused`` once destroyed."""
        try:
            key = self._keys[month]
        except KeyError:
            raise Need(NeedFrankingKey(month)) from None
        if self._now() >= self._ends[month]:
            raise _destroyed(month)
        return key

    async def supply(self, need: NeedFrankingKey) -> None:
        """Load the key of a month, making this month's where it is missing.

        Raises:
            ReportRefused: its key was destroyed, or never made: no stamp can be checked.
            BadArgument: no such month, or one that has not come.
            BadConfig: the file is damaged or others may read it.
        """
        now, month = self._now(), need.month
        end = end_of_window(month)
        self.expire()
        if now >= end:
            raise _destroyed(month)
        path = self._path(month)
        if month > month_of(now):
            raise BadArgument(f"the month {month} has not come; check the relay's clock")
        late = month_of(now - LATE // _MILLISECOND)
        if month < late and not path.exists():
            # Making it now would only make every true stamp of that month look forged.
            raise _destroyed(month)
        key = await asyncio.to_thread(secret_file, path, KEY_SIZE)
        # The end first: `find` on another thread never sees a key without one.
        self._ends[month] = end
        self._keys[month] = key

    def expire(self) -> None:
        """Destroy the keys whose report window is over, in memory and on disk; call it daily.

        Raises:
            OSError: a file could not be removed. The key is no longer used all the same.
        """
        now = self._now()
        for path in sorted(self._directory.glob("[0-9][0-9][0-9][0-9][0-9][0-9].key")):
            month = int(path.stem)
            if month % 100 not in range(1, 13):
                continue  # not one of ours; it must not keep the others from being destroyed
            if now >= end_of_window(month):
                self._keys.pop(month, None)
                path.unlink(missing_ok=True)

    def _path(self, month: int) -> Path:
        return self._directory / f"{month:06}.key"


def _destroyed(month: int) -> ReportRefused:
    return ReportRefused(f"the franking key of {month} is destroyed; reports on it have expired")
