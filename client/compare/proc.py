"""What Linux tells about another process of ours: CPU time, memory, and its memory's content.

Only reading ``/proc`` lives here.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
# Which of a process's clocks, in the number that Linux makes of its id: what the scheduler counted.
_SCHEDULED = 2
_CHUNK = 1024 * 1024
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (r\S+) \S+ \S+ (\d+)\s*(.*)")


def cpu_us(pid: int) -> float:
    """CPU time of all threads so far, of those that ended as well, in microseconds.

    The process's own clock (``clock_getcpuclockid(3)``), in nanoseconds; where the system has none,
    clock ticks (10 ms), which are too coarse for one second's block but not for a round. Adding up
    the threads in ``/proc`` would forget those that end, and fail on one that ends meanwhile.
    Raises ``ProcessLookupError``.
    """
    with contextlib.suppress(OSError):
        return time.clock_gettime_ns(~pid << 3 | _SCHEDULED) / 1000
    try:
        # The name of the process is in brackets and may hold spaces: count fields after it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"process {pid} is gone") from None
    return (int(fields[11]) + int(fields[12])) * _TICK_US


def memory_bytes(pid: int) -> int:
    """Resident memory that is the process's own (not shared files), in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", text, re.MULTILINE)
    return sum(map(int, found)) * 1024


def memory(pid: int, overlap: int) -> Iterator[bytes]:
    """The content of all writable private memory, in chunks that overlap by ``overlap`` bytes.

    Raises:
        PermissionError: the kernel forbids it (ptrace_scope), and a probe must say so.
    """
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for start, end in _writable(pid):
            position = start
            while position < end:
                try:
                    file.seek(position)
                    chunk = file.read(min(_CHUNK + overlap, end - position))
                except OSError:
                    break  # a guard page, or unmapped since it was listed
                if not chunk:
                    break
                if chunk.count(0) < len(chunk):  # stacks are mostly untouched pages
                    yield chunk
                position += _CHUNK


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        found = _MAPPING.match(line)
        if found and found[3].startswith("rw") and found[5] not in ("[vvar]", "[vdso]"):
            yield int(found[1], 16), int(found[2], 16)
