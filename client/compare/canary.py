"""Canaries: unique harmless tokens that ride in messages and are searched for afterwards.

Only their form lives here. A canary is ``cnry`` + 8 hex digits that all canaries of one run
share + 4 digits of number + 6 hex digits of check: 22 characters of ``[a-z0-9]``, so that one
also fits an account name, a host name and a path. The shared beginning lets a probe look for one
needle per encoding instead of one per canary; the check keeps a chance hit from counting.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

SIZE = 22
STEM_SIZE = 12
PATTERN = re.compile(r"cnry[0-9a-f]{8}[0-9]{4}[0-9a-f]{6}")
THEFT = 8000  # numbers from here on are of the conversation whose device is stolen
CONTROL = 9000  # and from here on controls, planted by the probes themselves
ACCOUNT, SERVER_NAME, ORIGIN, WAITING, ASKED, HOME = range(CONTROL, CONTROL + 6)


@dataclass(frozen=True, slots=True)
class Canaries:
    """The canaries of one run; ``key`` is any text that names the run (its seed)."""

    key: str

    @property
    def stem(self) -> str:
        """The 12 characters that every canary of this run starts with."""
        return "cnry" + hashlib.sha256(f"stem {self.key}".encode()).hexdigest()[:8]

    def make(self, number: int) -> str:
        """Canary ``number`` (0 … 9999)."""
        return f"{self.stem}{number:04d}{self._check(number)}"

    def number(self, text: str) -> int | None:
        """The number of a whole canary of this run, or None for anything else."""
        if len(text) != SIZE or not PATTERN.fullmatch(text) or not text.startswith(self.stem):
            return None
        number = int(text[STEM_SIZE : STEM_SIZE + 4])
        return number if text.endswith(self._check(number)) else None

    def _check(self, number: int) -> str:
        return hashlib.sha256(f"check {self.key} {number}".encode()).hexdigest()[:6]
