"""Where a comparison ran: what a reader needs to judge its absolute numbers. Only that."""

from __future__ import annotations

import os
import platform
import re
import socket
import ssl
from importlib import metadata
from pathlib import Path

from client.compare.lab import trust
from client.compare.results import Machine


def machine() -> Machine:
    """This machine."""
    return Machine(
        cpu=_first(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.processor() or "unknown",
        cores=len(os.sched_getaffinity(0)),
        memory=int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0) * 1024,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION,
        sqlite=f"as in apsw {version('apsw')}",
        hdrhistogram=version("hdrhistogram"),
        loop=f"uvloop {version('uvloop')}" if version("uvloop") != "absent" else "asyncio",
    )


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def negotiated(port: int, certificates: Path) -> str:
    """What TLS really negotiates with the relay on this port of the loopback."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        trust(certificates).wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        cipher = secure.cipher()
        return f"{secure.version()}, {cipher[0] if cipher else 'no cipher'}"


def _first(pattern: str, path: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return ""
    return found[1].strip() if found else ""
