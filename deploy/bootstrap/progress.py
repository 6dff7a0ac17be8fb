"""Words and one moving line for the minute in which the private environment is made."""

from __future__ import annotations

import time
from typing import TextIO

WIDTH = 72


class Progress:
    """Tells how far it is: one line that moves on a terminal, few plain lines elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._moving = out.isatty()
        self._started = time.monotonic()
        self._expected = 0
        self._seen: set[str] = set()

    def begin(self, extent: str, folder: str, grows: bool) -> None:
        """Say what happens, where, and that it happens once."""
        verb = "Adding to" if grows else "Making"
        self._line(f"{verb} Louver's private {extent} environment in {folder} (only this once).")

    def expect(self, packages: int) -> None:
        """How many packages the lock names; a few of them are for other systems."""
        self._expected = packages

    def step(self, package: str) -> None:
        """A package is being fetched."""
        self._seen.add(package)
        if self._moving or len(self._seen) % 20 == 1:
            self.note(f"fetching {len(self._seen)} of about {self._expected}: {package}")

    def note(self, text: str) -> None:
        """Something else worth knowing."""
        if self._moving:
            self._out.write("\r" + f"  {text}"[:WIDTH].ljust(WIDTH))
            self._out.flush()
        else:
            self._line(f"  {text}")

    def end(self) -> None:
        """Done."""
        if self._moving:
            self._out.write("\r" + " " * WIDTH + "\r")
        self._line(f"  ready after {time.monotonic() - self._started:.0f} s")

    def _line(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
