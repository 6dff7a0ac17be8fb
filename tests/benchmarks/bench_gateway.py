"""What the gateway costs per message and per idle connection, against the bare relay.

    python tests/benchmarks/bench_gateway.py [--connections 100] [--seconds 3] [--idle 2000]

Both servers run in processes of their own and are loaded by this one, in turns and in one run,
so that the printed ratios hold on a busy machine; the absolute figures do not. The gateway here
has the smallest handler: it decodes a ``send`` and encodes an ``accepted`` and a ``deliver``,
which the bare relay does not. Reads /proc, so it runs on Linux only. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import uvloop  # noqa: E402 - the path of the project comes first
from generator import Client, Load, connect  # noqa: E402

from crypto_modes import wire  # noqa: E402
from crypto_modes.errors import FrameRefused  # noqa: E402
from server.certs import make_dev_certificates, server_context  # noqa: E402
from server.gateway import Gateway, GatewaySettings  # noqa: E402
from server.link import Link  # noqa: E402

BODY = os.urandom(200)
ENCODE = wire.CODECS[wire.MSGPACK].encode
SEND = ENCODE(wire.Send(ref=1, id=bytes(16), to=bytes(range(16)), mode="tls", epoch=1, body=BODY))
HELLO = ENCODE(wire.Hello(ref=1, token="t", device=bytes(16)))
WELCOME = wire.Notice(topic="welcome", text="")


class Silent:
    """An observer that costs one call."""

    def opened(self, address: str, subprotocol: str) -> None: ...
    def closed(self, code: int) -> None: ...
    def refused(self, status: int, address: str) -> None: ...
    def refused_origin(self, origin: str, address: str) -> None: ...
    def received(self, size: int) -> None: ...
    def sent(self, frames: int, size: int) -> None: ...
    def failed(self, error: Exception) -> None:
        raise error


class Ring:
    """Acknowledges each ``send`` and delivers it to the connection that came next."""

    __slots__ = ("index", "link", "links")

    def __init__(self, link: Link, links: list[Link]) -> None:
        self.link = link
        self.links = links
        self.index = len(links)
        links.append(link)

    def received(self, frame: wire.ClientFrame) -> None:
        if isinstance(frame, wire.Hello):
            self.link.greeted()
            return
        assert isinstance(frame, wire.Send)
        self.link.send(
            wire.Accepted(ref=frame.ref, id=frame.id, conversation=frame.to, seq=1, time=1)
        )
        self.links[(self.index + 1) % len(self.links)].send(
            wire.Deliver(
                conversation=frame.to,
                seq=1,
                id=frame.id,
                sender=frame.to,
                device=frame.to,
                recipient=frame.to,
                kind=frame.kind,
                mode=frame.mode,
                epoch=frame.epoch,
                time=1,
                body=frame.body,
            )
        )

    def refused(self, ref: int, error: FrameRefused) -> None:
        raise error

    def closed(self) -> None:
        """Nothing to give back."""


async def serve_gateway(certificates: Path | None) -> None:
    """Run a gateway with the ring on a free port until killed."""
    links: list[Link] = []
    settings = GatewaySettings(port=0, connections_per_address=100_000)
    gateway = Gateway(settings, lambda link: Ring(link, links), Silent())
    context = None
    if certificates is not None:
        context = server_context(certificates / "relay.pem", certificates / "relay.key")
    await gateway.start(context)
    print(gateway.port, flush=True)
    await asyncio.Event().wait()


class Server:
    """A server process under measurement: ``bare``, or ``gateway``, with TLS or without."""

    def __init__(self, name: str, certificates: Path | None = None) -> None:
        self.name = name
        self.context = None
        command = [sys.executable, str(HERE / "bare_relay.py")]
        if name == "gateway":
            command = [sys.executable, __file__, "--serve"]
        if certificates is not None:
            command += ["--certificates", str(certificates)]
            self.context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def cpu(self) -> float:
        """CPU seconds used so far."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def clients(self, count: int, load: Load) -> list[Client]:
        """Connected clients; those of the gateway have said hello."""
        if self.name == "bare":
            return await connect(self.port, count, load.on_frame)
        clients = await connect(self.port, count, load.on_frame, wire.MSGPACK, self.context)
        for client in clients:
            client.send(HELLO)
        await asyncio.sleep(0.2)
        return clients


@contextmanager
def running(name: str, certificates: Path | None = None) -> Iterator[Server]:
    """A server for as long as the block lasts."""
    server = Server(name, certificates)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()


def load_for(server: Server) -> Load:
    """The same 200 bytes for both: bare, or in a ``send`` frame."""
    if server.name == "bare":
        return Load(lambda _: BODY, lambda payload: len(payload) < 100)
    return Load(lambda _: SEND, lambda payload: b"accepted" in payload[:20])


async def cpu_per_message(options: argparse.Namespace) -> None:
    """Print µs per message for windows 1 and 8, the servers taking turns."""
    with running("bare") as bare, running("gateway") as gateway:
        loads = {server: load_for(server) for server in (bare, gateway)}
        peers = {s: await s.clients(options.connections, loads[s]) for s in loads}
        for window in (1, 8):
            costs: dict[Server, list[float]] = {bare: [], gateway: []}
            for _, server in itertools.product(range(options.rounds), costs):
                load = loads[server]
                cpu, messages = server.cpu(), load.acknowledged
                await load.run(peers[server], window, options.seconds)
                costs[server].append((server.cpu() - cpu) / (load.acknowledged - messages) * 1e6)
            reference, ours = (statistics.median(values) for values in costs.values())
            print(
                f"window {window}: bare {reference:5.1f} µs  gateway {ours:5.1f} µs per message"
                f"  ratio {ours / reference:.2f}"
            )


async def idle_memory(options: argparse.Namespace) -> None:
    """Print resident bytes per idle connection, the gateway's also with TLS."""
    with tempfile.TemporaryDirectory() as directory:
        make_dev_certificates(Path(directory))
        sizes = []
        for name, certificates in (("bare", None), ("gateway", None), ("gateway", Path(directory))):
            with running(name, certificates) as server:
                load = load_for(server)
                await server.clients(100, load)  # first-time costs are not the connections'
                before = server.memory()
                await server.clients(options.idle, load)
                sizes.append((server.memory() - before) / options.idle / 1024)
    bare, plain, secured = sizes
    print(
        f"idle connection: bare {bare:.1f} KB  gateway {plain:.1f} KB  ratio {plain / bare:.2f}"
        f"  (gateway with TLS {secured:.1f} KB)"
    )


async def main(options: argparse.Namespace) -> None:
    """Measure both."""
    await cpu_per_message(options)
    await idle_memory(options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--certificates", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    uvloop.run(serve_gateway(chosen.certificates) if chosen.serve else main(chosen))
