"""No picture of the relay's memory on a disk: it holds keys, tokens and what it may read.

What may live here: the limit on core dumps. What may not: other limits of the operating system.
The process stays one that its owner's tools may look into, as measuring needs that; a program to
which dumps are piped is not bound by the limit, though systemd's keeps to it.
"""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows writes no core dumps of its own
    resource = None  # type: ignore[assignment]  # mypy knows no absent module


def forbid() -> None:
    """Ask for no core dumps, of this process and those it starts; lowering is always allowed."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
