"""Ports for relays that stop and come back: nobody else gets one meanwhile.

What may live here: finding one. A port that the system chose, given back for a moment, may be the
next that it chooses for another program, or for another worker of these tests.
"""

from __future__ import annotations

import itertools
import os
import socket

# Below what Linux and macOS give out by themselves (from 32768 and from 49152 on), and above what
# services use; each worker of xdist (gw0, gw1, …) has its own.
_FIRST, _EACH = 20_000, 1_500
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
# Two runs on one machine begin at different places.
_BEGIN = os.getpid() * 97 % _EACH
_places = (_FIRST + _WORKER * _EACH + (_BEGIN + count) % _EACH for count in itertools.count())


def spare_port() -> int:
    """A port of the loopback that nobody listens on, and no other than the last ones."""
    for port in itertools.islice(_places, _EACH):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
