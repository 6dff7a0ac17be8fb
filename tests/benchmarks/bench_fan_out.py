"""What a message costs the relay when its recipient has several devices connected.

    python tests/benchmarks/bench_fan_out.py [--devices 1 2 5 10] [--seconds 3] [--rounds 2]

The relay of ``bench_relay``, mode ``tls`` without TLS: a hundred accounts in a ring, each with so
many open sessions, one of which sends; they share a device id, so only the recipient's get copies.
CPU of the relay's process per message and per delivery, and the ratio to one device, in one run.
Reads /proc, so it runs on Linux only. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import uvloop  # noqa: E402 - the path of the project comes first
from bench_relay import HELLOS, PAYLOADS, prepare, running  # noqa: E402
from generator import Client, Load, connect  # noqa: E402

from crypto_modes import wire  # noqa: E402

CONNECTIONS = 100
WINDOW = 8
ACCEPTED = b"accepted"
DELIVER = b"deliver"


class Fan(Load):
    """A load whose end is reached when every open session of a recipient got each message."""

    def __init__(self, devices: int) -> None:
        super().__init__(lambda client: PAYLOADS[client](), lambda data: ACCEPTED in data[:24])
        self._devices = devices
        self.received = 0

    def on_frame(self, client: Client, payload: bytes) -> None:
        if ACCEPTED in payload[:24]:
            super().on_frame(client, payload)
        elif DELIVER in payload[:24]:
            self.received += 1
            if self.received % self._devices == 0:
                super().on_frame(client, payload)


async def measure(devices: int, seconds: float) -> tuple[float, float]:
    """CPU µs per message and per delivery."""
    load = Fan(devices)
    with running("tls") as server:
        clients = await prepare(server, load, CONNECTIONS)
        more: list[Client] = []
        for client in clients:
            for extra in await connect(server.port, devices - 1, load.on_frame, wire.MSGPACK):
                extra.send(HELLOS[client])
                more.append(extra)
        await asyncio.sleep(0.5)
        cpu = server.cpu()
        await load.run(clients, WINDOW, seconds)
        used = (server.cpu() - cpu) * 1e6
        for client in (*clients, *more):
            client.transport.abort()
    return used / load.acknowledged, used / load.received


async def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    results: dict[int, list[tuple[float, float]]] = {each: [] for each in options.devices}
    for _ in range(options.rounds):
        for devices in options.devices:
            PAYLOADS.clear()
            HELLOS.clear()
            results[devices].append(await measure(devices, options.seconds))
    base = statistics.median(found[0] for found in results[options.devices[0]])
    print(f"{'devices of each user':<24}{'CPU µs a message':>22}{'CPU µs a delivery':>22}")
    for devices, found in results.items():
        message, delivery = (statistics.median(each[at] for each in found) for at in (0, 1))
        print(f"{devices:<24}{f'{message:,.1f} ({message / base:.2f}x)':>22}{delivery:>22.1f}")


if __name__ == "__main__":
    uvloop.run(main())
