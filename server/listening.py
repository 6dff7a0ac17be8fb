"""From the settings to what the gateway takes, and to words when it cannot listen.

Only this turning lives here: the gateway knows no settings, and the composition root no fields.
"""

from __future__ import annotations

import os

from crypto_modes.errors import BadConfig
from server.gateway import GatewaySettings
from server.settings_tree import Listen, Settings


def cannot_listen(listen: Listen, error: OSError) -> BadConfig:
    """Why the address of ``listen`` cannot be taken, in one sentence."""
    # asyncio rewrites the text of a failed bind; a failed look-up of a name has no errno.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror
    return BadConfig(
        f"cannot listen on listen.address {listen.address}, listen.port {listen.port}: {reason}"
    )


def gateway_settings(settings: Settings) -> GatewaySettings:
    """What the gateway takes of ``settings``."""
    listen, limits = settings.listen, settings.limits
    return GatewaySettings(
        address=listen.address,
        port=listen.port,
        origins=listen.origins,
        frame=limits.frame,
        before_hello=limits.before_hello,
        hello_seconds=limits.hello_seconds,
        ping_seconds=limits.ping_seconds,
        pong_seconds=limits.pong_seconds,
        write_seconds=limits.write_seconds,
        outbox_frames=limits.outbox_frames,
        outbox_bytes=limits.outbox_bytes,
        control_frames=limits.control_frames,
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
    )
