"""As many open files as the configured connections need.

What may live here: this one limit of the operating system. What may not: the limits of Louver.
Many systems give a process 1,024 files unless it asks for more; a relay would then stop
accepting connections long before ``limits.connections``, and fail to open its own files.
"""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows counts no file descriptors
    resource = None  # type: ignore[assignment]  # mypy knows no absent module

# Files of the relay itself: databases and their journals, logs, listeners, requests of operators.
_OWN = 256


def allow(connections: int) -> str:
    """Raise the soft limit, towards the hard one, to what ``connections`` need; never lower it.

    Returns a sentence for the operator where that is not enough; else nothing.
    """
    if resource is None:
        return ""
    need = connections + _OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= need:
        return ""
    best = need if hard == resource.RLIM_INFINITY else min(need, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    except (OSError, ValueError):  # forbidden by a sandbox, or over what the kernel allows
        best = soft
    if best >= need:
        return ""
    return (
        f"this process may open {best} files, too few for {connections} connections; set the hard "
        f"limit to {need} or more (LimitNOFILE= in systemd, ulimit -Hn in a shell), or "
        f"limits.connections to at most {max(best - _OWN, 0)}"
    )
