"""What a planted fault is, and how one is written down in a line or two.

Only the shape lives here; the faults are in ``planted.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.removals import Change


class Plant(NamedTuple):
    """``without`` says in words which protection is gone; all of ``tests`` must fail then."""

    row: int
    without: str
    changes: Mapping[str, Change]
    tests: tuple[str, ...]


def fault(row: int, without: str, changes: Mapping[str, Change], *tests: str) -> Plant:
    """``tests`` as ``file::test``, the file without its ``test_`` and ``.py``."""
    nodes = [each.partition("::") for each in tests]
    return Plant(row, without, changes, tuple(f"tests/test_{a}.py::{b}" for a, _, b in nodes))
