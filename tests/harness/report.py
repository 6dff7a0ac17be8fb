"""What every harness says at its end: one line of figures, a JSON record, and an exit code.

What may live here: the shape of a result and how it is printed. What may not: any harness.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Result:
    """A run: its figures, what was counted as wrong (each must be 0), and an example of each.

    ``planted`` says that a fault was put in on purpose: then nothing found is the failure.
    """

    harness: str
    figures: dict[str, float | int | str]
    wrong: dict[str, int]
    examples: dict[str, str] = field(default_factory=dict)
    planted: str = ""
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        """Whether anything was wrong."""
        return any(self.wrong.values())

    @property
    def ok(self) -> bool:
        """Whether the run ended as it must: nothing found, or the planted fault found."""
        return self.found if self.planted else not self.found

    def line(self) -> str:
        """The one line."""
        figures = ", ".join(f"{value} {name}" for name, value in self.figures.items())
        wrong = ", ".join(f"{count} {name}" for name, count in self.wrong.items() if count)
        verdict = wrong or "nothing wrong"
        if self.planted:
            verdict = f"planted fault {self.planted!r} " + (
                f"found: {wrong}" if wrong else "MISSED"
            )
        return f"{self.harness}: {figures} in {self.seconds:.1f} s; {verdict}"

    def record(self) -> dict[str, object]:
        """Everything, for a program."""
        return {
            "harness": self.harness,
            "figures": self.figures,
            "wrong": self.wrong,
            "examples": self.examples,
            "planted": self.planted,
            "seconds": round(self.seconds, 3),
            "ok": self.ok,
            "python": platform.python_version(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


def conclude(result: Result, json_to: Path | None) -> int:
    """Print the line, write the record; 0 if the run ended as it must, else 1."""
    sys.stdout.write(result.line() + "\n")
    for name, text in result.examples.items():
        sys.stdout.write(f"  {name}: {text}\n")
    if json_to is not None:
        json_to.write_text(json.dumps(result.record(), indent=2) + "\n")
    return 0 if result.ok else 1
