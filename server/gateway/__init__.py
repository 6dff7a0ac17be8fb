"""The gateway: WebSocket bytes ⇄ frames, and everything a hostile network may do to them.

What may live in this package: the opening handshake, reassembly, limits, deadlines, keepalive,
flow control. What may not: what a frame means; that is the session's, behind ``server.link``.
This package is the only place of the server that knows the library ``websockets``.

::

    bytes ─► handshake ─► inbox ─► connection ─► Handler          (server.link)
                          outbox ◄─ connection ◄─ Link.send       (server.outbox)
"""

from server.gateway.handshake import origin_line
from server.gateway.listener import Gateway
from server.gateway.settings import GatewaySettings, Observer

__all__ = ["Gateway", "GatewaySettings", "Observer", "origin_line"]
