"""No picture of this process's memory on a disk: it holds keys, and what was said.

What may live here: the wish that the operating system writes no core dump. What may not: a promise
about memory itself. Python neither erases nor locks it: keys stay in freed memory for a while, and
may go to swap; who may read the memory of a running process reads them.
"""

from __future__ import annotations

import sys

try:
    import resource
except ImportError:  # Windows writes no core dumps of its own
    resource = None  # type: ignore[assignment]  # mypy knows no absent module

_SET_DUMPABLE = 4  # PR_SET_DUMPABLE, <linux/prctl.h>


def forbid() -> None:
    """Ask for no core dumps, of this process for good; where it cannot be had, nothing happens.

    On Linux also where dumps are piped to a program, which the limit does not stop; and other
    processes of the same user may no longer look into this one.
    """
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes  # costs milliseconds, which --help need not

        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
