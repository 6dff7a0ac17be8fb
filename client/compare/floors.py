"""The relay's own share of the ladder: saturated without TLS, with it, with the envelope, and with
its data keys in a key service elsewhere.

What may live here: the four settings of a relay and their order. What may not: saturating one
(``instruments``). Each setting gets a fresh relay in each round, in alternating order.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

from client.compare import instruments
from client.compare.key_service import NAME, KeyService, key_service
from client.compare.lab import Lab
from client.compare.plan import Plan
from client.compare.results import FLOORS, FloorName

MODES: Mapping[FloorName, str] = {
    "plain": "tls",
    "tls": "tls",
    "envelope": "at_rest",
    "key_service": "at_rest",
}


@dataclass
class Taken:
    """Relay CPU a message in every slice of time, and how much the key service was ``asked`` for
    how many ``messages``."""

    cpu_us: dict[FloorName, list[float]] = field(default_factory=dict)
    asked: int = 0
    messages: int = 0


async def measure(lab: Lab, plan: Plan) -> Taken:
    """Every setting, as often as the plan says. The key service needs the library of its client,
    and is left out where that is not installed. Raises ``LabFailure``.
    """
    taken = Taken()
    names = [name for name in FLOORS if name != "key_service" or importlib.util.find_spec("hvac")]
    with key_service() as service:
        for number in range(plan.size.floors):
            for name in names if number % 2 == 0 else names[::-1]:
                await _once(lab, plan, taken, name, f"floor-{number}-{name}", service)
    return taken


async def _once(
    lab: Lab, plan: Plan, taken: Taken, name: FloorName, home: str, service: KeyService
) -> None:
    changed = _settings(lab, name, service)
    before = service.asked
    async with lab.relay(MODES[name], home, changed=changed) as relay:
        outcome = await instruments.saturation(lab, relay, plan, plain=name == "plain")
    slices = [one.server_cpu_us / one.accepted for one in outcome.slices if one.accepted]
    taken.cpu_us.setdefault(name, []).extend(slices)
    if name == "key_service":
        taken.asked += service.asked - before
        taken.messages += outcome.sent


def _settings(lab: Lab, name: FloorName, service: KeyService) -> Mapping[str, Mapping[str, object]]:
    if name == "plain":
        return {"listen": {"certificate": "", "key": "", "insecure": True}}
    if name == "key_service":
        token = lab.directory / "key-service.token"
        token.touch(mode=0o600)
        token.write_text(service.token)
        return {
            "keys": {
                "provider": "transit",
                "name": NAME,
                "address": service.address,
                "token": str(token),
            }
        }
    return {}
