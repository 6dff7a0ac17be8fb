"""What a durable message costs the whole relay, in each mode, against the bare in-memory relay.

    python tests/benchmarks/bench_relay.py [--connections 100] [--seconds 3] [--rounds 3]
                                           [--modes tls at_rest e2ee] [--windows 1 8]
                                           [--idle 2000]

Every server runs in a process of its own and is loaded by this one, in turns and in one run, so
that the printed ratios hold on a busy machine; the absolute figures do not. The relay is the
real one: SQLite with ``synchronous=FULL``, ``accepted`` after the fsync, without TLS, a body of
200 bytes. ``e2ee`` has one device each; the copies are sealed once and sent again under new
ids, which the relay cannot tell. Reads /proc, so it runs on Linux only. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import uvloop  # noqa: E402 - the path of the project comes first
from generator import Client, Load, connect  # noqa: E402

from crypto_modes import wire  # noqa: E402
from crypto_modes.contract import ClientTools, Draft  # noqa: E402
from crypto_modes.e2ee import MODE as E2EE  # noqa: E402
from crypto_modes.pins import Pins  # noqa: E402
from crypto_modes.registry import BUILTIN, registry, strengths  # noqa: E402
from tests.memory_state import MemoryState  # noqa: E402

BODY = os.urandom(200)
CODEC = wire.CODECS[wire.MSGPACK]
# "accepted" stands in the first bytes of such a frame, behind the map's header and "type".
ACCEPTED = b"accepted"
# Seconds for one answer: a hundred passwords at once take long where others work too.
PATIENCE = 300
PASSWORD = "correct horse battery"
UNLIMITED = {
    f"{who}_{what}": 10**9
    for who in ("device", "account", "address", "lookup", "login")
    for what in ("rate", "burst")
}


class Server:
    """The bare relay or a real one in a mode, as a process under measurement."""

    def __init__(self, name: str, data: Path) -> None:
        self.name = name
        script = HERE / ("bare_relay.py" if name == "bare" else Path(__file__).name)
        command = [sys.executable, str(script)]
        if name != "bare":
            command += ["--serve", name, str(data)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def cpu(self) -> float:
        """CPU seconds of all threads so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(name: str) -> Iterator[Server]:
    """A server for as long as the block lasts, on a data directory of its own."""
    with tempfile.TemporaryDirectory(prefix="louver-bench-") as place:
        server = Server(name, Path(place))
        try:
            yield server
        finally:
            server.process.terminate()
            server.process.wait()
            assert server.process.stdout is not None
            server.process.stdout.close()


async def serve(mode: str, data: Path) -> None:
    """Run the real relay on a free port until it is terminated."""
    from server.app import App
    from server.settings_tree import Settings

    settings = Settings(
        mode=mode,
        data=data,
        listen={"port": 0, "insecure": True},
        internal={"port": 0},
        limits={"connections_per_address": 100_000, "connections_per_account": 10_000, **UNLIMITED},
        log={"level": "error"},
    )
    app = App(settings)
    await app.start()
    print(app.gateway.port, flush=True)
    await asyncio.Event().wait()


class User:
    """One account behind one connection: asks until ready, then only sends payloads."""

    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.name = f"user{number}"
        self.device = os.urandom(16)
        self.account = b""
        self.payload: Callable[[], bytes] = bytes
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        client.on_frame = lambda _, data: self._answers.put_nowait(data)

    async def ask(self, frame: wire.ClientFrame, kind: type[Any]) -> Any:
        """Send a request and wait for an answer of this type."""
        self.client.send(CODEC.encode(frame))
        while True:
            async with asyncio.timeout(PATIENCE):
                answer = CODEC.decode_server(await self._answers.get())
            if isinstance(answer, kind):
                return answer
            assert not isinstance(answer, wire.Error), answer

    async def enter(self, mode: str) -> None:
        """Register, say hello and, for ``e2ee``, publish keys."""
        frame = wire.Register(ref=1, name=self.name, device=self.device, password=PASSWORD)
        token = await self.ask(frame, wire.Token)
        self.account = token.account
        hello = wire.Hello(ref=2, token=token.token, device=self.device)
        await self.ask(hello, wire.Welcome)
        HELLOS[self.client] = CODEC.encode(hello)
        if mode == "e2ee":
            await self._publish()

    async def _publish(self) -> None:
        self.state = MemoryState()
        tools = ClientTools(
            account=self.account,
            device=self.device,
            state=self.state,
            random=os.urandom,
            now=lambda: time.time_ns() // 1_000_000,
        )
        self.mode = E2EE.client(tools)
        for frame in self.mode.publication(None):
            await self.ask(frame, wire.Published)

    async def befriend(self, peer: User, mode: str) -> None:
        """Prepare what is sent to ``peer`` for the rest of the run."""
        policy = await self.ask(wire.SetPolicy(ref=3, peer=peer.account), wire.Policy)
        given: dict[str, Any] = {"body": BODY}
        if mode == "e2ee":
            given = await self._seal(peer, policy)
        prefix = os.urandom(8)
        numbers = itertools.count()
        send = wire.Send(
            ref=4, id=bytes(16), to=peer.account, mode=mode, epoch=policy.epoch, **given
        )
        head, tail = CODEC.encode(send).split(bytes(16), 1)
        self.payload = lambda: head + prefix + next(numbers).to_bytes(8) + tail

    async def _seal(self, peer: User, policy: wire.Policy) -> dict[str, Any]:
        listed = {}
        for account in (self.account, peer.account):
            frame = wire.GetDevices(ref=5, account=account)
            listed[account] = await self.ask(frame, wire.Devices)
            self.mode.supply(listed[account])
        pins = Pins(self.state, self.account, strengths(registry(BUILTIN)))
        pins.record(policy, {account: found.key for account, found in listed.items()})
        keys = wire.GetKeys(ref=6, account=peer.account, devices=(peer.device,))
        self.mode.supply(await self.ask(keys, wire.Keys))
        draft = Draft(
            conversation=policy.conversation,
            id=os.urandom(16),
            sender=self.account,
            device=self.device,
            recipient=peer.account,
            kind="text",
            epoch=policy.epoch,
            content=BODY,
        )
        sealed = self.mode.seal(draft)
        return {"copies": sealed.copies, "commitment": sealed.commitment}


async def prepare(server: Server, load: Load, count: int) -> list[Client]:
    """Connected clients that are ready to send."""
    if server.name == "bare":
        return await connect(server.port, count, load.on_frame)
    clients = await connect(server.port, count, load.on_frame, wire.MSGPACK)
    users = [User(client, number) for number, client in enumerate(clients)]
    await asyncio.gather(*(user.enter(server.name) for user in users))
    for user, peer in zip(users, users[1:] + users[:1], strict=True):
        await user.befriend(peer, server.name)
    for user in users:
        user.client.on_frame = load.on_frame
        PAYLOADS[user.client] = user.payload
    return clients


async def idle(server: Server, clients: list[Client], count: int) -> float:
    """KB that one more open session costs: ``count`` more connections of the same devices."""
    before = server.memory()
    more: list[Client] = []
    opened = asyncio.Semaphore(0)
    hellos = [HELLOS[client] for client in clients] if server.name != "bare" else []
    more = await connect(
        server.port, count, lambda *_: opened.release(), wire.MSGPACK if hellos else ""
    )
    for client, hello in zip(more, itertools.cycle(hellos), strict=False):
        client.send(hello)
        async with asyncio.timeout(10):
            await opened.acquire()
    used = server.memory() - before
    for client in more:
        client.transport.close()
    await asyncio.sleep(0.5)
    return used / count / 1024


HELLOS: dict[Client, bytes] = {}
PAYLOADS: dict[Client, Callable[[], bytes]] = {}


async def measure(name: str, windows: list[int], options: Any) -> dict[str, float]:
    """CPU µs per message and messages per second for each window, of one server."""
    if name == "bare":
        load = Load(lambda client: BODY, lambda data: data == ACCEPTED)
    else:
        load = Load(lambda client: PAYLOADS[client](), lambda data: ACCEPTED in data[:24])
    found: dict[str, float] = {}
    with running(name) as server:
        clients = await prepare(server, load, options.connections)
        for window in windows:
            before, cpu = load.acknowledged, server.cpu()
            await load.run(clients, window, options.seconds)
            done = load.acknowledged - before
            found[f"CPU µs, window {window}"] = (server.cpu() - cpu) / done * 1e6
            found[f"messages/s, window {window}"] = done / options.seconds
        # Last: in the bare relay's ring the idle ones would take part.
        found["KB per idle connection"] = await idle(server, clients, options.idle)
        for client in clients:
            client.transport.close()
    return found


def report(results: dict[str, list[dict[str, float]]]) -> None:
    """Medians of the rounds, and ratios to the bare relay and to ``tls``."""
    measures = next(iter(results.values()))[0]
    medians = {
        name: {key: statistics.median(round_[key] for round_ in rounds) for key in measures}
        for name, rounds in results.items()
    }
    print(f"{'':<26}" + "".join(f"{name:>20}" for name in medians))
    for key in measures:
        cells = []
        for values in medians.values():
            ratio = values[key] / medians["bare"][key]
            cells.append(f"{values[key]:>11,.1f} ({ratio:5.2f}x)")
        print(f"{key:<26}" + "".join(f"{cell:>20}" for cell in cells))


async def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--modes", nargs="+", default=["tls", "at_rest", "e2ee"])
    parser.add_argument("--serve", nargs=2, metavar=("MODE", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        await serve(options.serve[0], Path(options.serve[1]))
        return
    names = ["bare", *options.modes]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            PAYLOADS.clear()
            HELLOS.clear()
            results[name].append(await measure(name, options.windows, options))
    report(results)


if __name__ == "__main__":
    uvloop.run(main())
