"""Where the relay spends its time under load, as a flame graph.

    pip install py-spy      # beside the development environment; in no lock
    python tests/benchmarks/bench_flame.py docs/relay.svg [--seconds 25] [--rate 100]

The relay of ``bench_relay``, mode ``tls`` without TLS, eight messages in flight on each of a
hundred connections. A hundred times a second py-spy looks who holds the interpreter's lock, for
that is what one process has only one of: what SQLite and the kernel do without it is not seen. The
picture has a box for each path of calls, as wide as its share, callers below. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import uvloop  # noqa: E402 - the path of the project comes first
from bench_relay import ACCEPTED, PAYLOADS, Server, prepare, running  # noqa: E402
from generator import Load  # noqa: E402

CONNECTIONS = 100
WINDOW = 8
# Threads as py-spy names them, and the frame above which their own work begins.
THREADS = {
    "MainThread": ("event loop", "Runner.run"),
    "store louver.db": ("writer", "Writer._turn"),
}
ROOMS = {
    "server/gateway": "#8ecae6",
    "server/outbox": "#8ecae6",
    "crypto_modes": "#b7e4c7",
    "server/store": "#ffb703",
    "server": "#fdd9a0",
}
OTHERS = "#d9d9d9"
WIDTH, ROW, LETTER = 1200, 18, 6.7
NARROWEST = 0.002  # of the width


class Frame(NamedTuple):
    """A function, and the file that it is in."""

    name: str
    file: str


class Node:
    """What was seen of one path of calls; ``count`` includes what it called."""

    def __init__(self) -> None:
        self.count = 0
        self.calls: dict[Frame, Node] = {}

    def add(self, path: list[Frame], count: int) -> None:
        self.count += count
        if path:
            self.calls.setdefault(path[0], Node()).add(path[1:], count)

    def depth(self) -> int:
        return 1 + max((each.depth() for each in self.calls.values()), default=0)


def parse(raw: str) -> Node:
    """A tree from py-spy's folded stacks: ``thread;frame (file:line);… count`` on each line."""
    root = Node()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        known = THREADS.get(thread.partition(": ")[2])
        path = [Frame(*each.rstrip(")").rpartition(" (")[::2]) for each in frames]
        names = [frame.name for frame in path]
        if known is not None and known[1] in names:
            begins = names.index(known[1]) + 1
            root.add([Frame(known[0], ""), *path[begins:]], int(count))
    return root


def colour(frame: Frame) -> str:
    """By the room that the file is in."""
    return next((ROOMS[room] for room in ROOMS if frame.file.startswith(room)), OTHERS)


def boxes(
    node: Node, total: int, left: float, level: int
) -> Iterator[tuple[float, int, Frame, int]]:
    """Left edge in pixels, level, frame and count of everything that ``node`` called."""
    for frame, each in sorted(node.calls.items()):
        if each.count >= total * NARROWEST:
            yield left, level, frame, each.count
            yield from boxes(each, total, left, level + 1)
        left += WIDTH * each.count / total


def picture(root: Node) -> str:
    """The SVG: no script, a title on each box for whoever points at it."""
    height = root.depth() * ROW
    box = f'viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>']
    for left, level, frame, count in boxes(root, root.count, 0.0, 0):
        width, top = WIDTH * count / root.count, height - (level + 1) * ROW
        room = int((width - 6) / LETTER)
        label = frame.name if len(frame.name) <= room else frame.name[: max(room - 1, 0)] + "…"
        text = f'<text x="{left + 3:.1f}" y="{top + 13}">{escape(label)}</text>' if room > 2 else ""
        lines.append(
            f"<g><title>{escape(frame.name)} {count / root.count:.1%} {escape(frame.file)}</title>"
            f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 1}"'
            f' fill="{colour(frame)}"/>{text}</g>'
        )
    return "\n".join([*lines, "</svg>\n"])


async def watch(server: Server, raw: Path, rate: int, seconds: int) -> None:
    """py-spy beside the load."""
    load = Load(lambda client: PAYLOADS[client](), lambda data: ACCEPTED in data[:24])
    clients = await prepare(server, load, CONNECTIONS)
    command = ["py-spy", "record", "--gil", "--threads", "--function", "--format", "raw"]
    command += ["--output", str(raw), "--rate", str(rate), "--duration", str(seconds)]
    spy = await asyncio.create_subprocess_exec(*command, "--pid", str(server.process.pid))
    await load.run(clients, WINDOW, seconds + 1.0)
    await spy.wait()
    for client in clients:
        client.transport.close()


async def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=int, default=25)
    parser.add_argument("--rate", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="louver-flame-") as place, running("tls") as server:
        raw = Path(place) / "raw"
        await watch(server, raw, options.rate, options.seconds)
        options.picture.write_text(picture(parse(await asyncio.to_thread(raw.read_text))))


if __name__ == "__main__":
    uvloop.run(main())
