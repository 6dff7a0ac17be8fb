"""What the relay tells its operator: one place that turns events into counts and log lines.

What may live here: the methods that gateway, sessions and use cases call, each a count, a line,
or both. How counts are exposed is in ``observe``, what a line may contain in ``logs``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import get_args

from crypto_modes import wire
from crypto_modes.errors import Unavailable
from server import logs
from server.gateway.handshake import origin_line
from server.observe import Metrics, ModeMetrics

_TAGS: dict[type, str] = {
    frame: str(frame.__struct_config__.tag) for frame in get_args(wire.ClientFrame)
}


class Watch:
    """Conforms to ``gateway.Observer``; the relay's use cases call the second half."""

    def __init__(self, modes: Iterable[str], metrics: Metrics) -> None:
        self.metrics = metrics
        self._modes: dict[str, ModeMetrics] = {name: metrics.mode(name) for name in modes}
        self.bytes_received = 0
        self.bytes_sent = 0
        self.frames_sent = 0

    # --- the gateway ---

    def opened(self, address: str, subprotocol: str) -> None:
        logs.logger().debug("connected", address=address)

    def closed(self, code: int) -> None:
        self.metrics.closes[code] += 1

    def refused(self, status: int, address: str) -> None:
        self.metrics.closes[status] += 1
        logs.logger().info("handshake refused", code=status, address=address)

    def refused_origin(self, origin: str, address: str) -> None:
        line = origin_line(origin)
        logs.logger().warning("origin refused", address=address, origin=origin, advice=line)

    def received(self, size: int) -> None:
        self.bytes_received += size

    def sent(self, frames: int, size: int) -> None:
        self.frames_sent += frames
        self.bytes_sent += size

    def limited(self, advice: str) -> None:
        logs.logger().warning("too few open files allowed", advice=advice)

    def failed(self, error: Exception) -> None:
        self.fault("gateway", error)

    # --- sessions and use cases ---

    def frame(self, kind: type) -> None:
        """A legal frame of this type arrived."""
        self.metrics.frames[_TAGS[kind]] += 1

    def errored(self, code: int) -> None:
        """A request was answered with this error code."""
        self.metrics.errors[code] += 1

    def accepted(self, mode: str, seconds: float) -> None:
        """A message of this mode became durable this long after it arrived."""
        self._modes[mode].accepted.observe(seconds)

    def duplicate(self) -> None:
        """A message was sent again with the same id."""
        self.metrics.duplicates += 1

    def scanned(self, action: str) -> None:
        """The operator's lists found something in a message, and this is what became of it."""
        self.metrics.hits[action] += 1

    def delivered(self, mode: str, stamped: int) -> None:
        """A message that the relay stamped at this time (ms) goes out to a device now."""
        self._modes[mode].delivered.observe(time.time() - stamped / 1000)

    def fault(self, where: str, error: Exception) -> None:
        """Something went wrong that an operator should look at."""
        told: dict[str, object] = {}
        if isinstance(error, Unavailable):
            told = {"problem": error, "advice": error.advice or None}
        logs.logger().error(f"{where} failed", exc_info=error, **told)

    def changed(self, event: str, **fields: object) -> None:
        """Something an operator did, or a state the relay entered."""
        logs.logger().info(event, **fields)
