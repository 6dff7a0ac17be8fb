"""What scanning costs a message: microseconds of CPU, with lists of growing length.

    python tests/benchmarks/bench_scanning.py [--seconds S]

Messages are of the sizes of real one-to-one chat (7 to 672 bytes; see ``client/compare/traffic``),
words of a random vocabulary, one in a hundred with something that is on the lists. In one run: the
relay's own question "what do the lists find?" for no list, and for lists of words and of links with
10, 1,000 and 100,000 entries each.
"""

from __future__ import annotations

import argparse
import random
import string
import time
from collections.abc import Callable

from crypto_modes.scanning import Hit, Links, Words, comparable, words_of

SIZES = (7, 36, 110, 174, 672)
ROUNDS = 5


def vocabulary(chance: random.Random, count: int) -> list[str]:
    """Different made-up words."""
    made: dict[str, None] = {}
    while len(made) < count:
        made["".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 11)))] = None
    return list(made)


def message(chance: random.Random, words: list[str], size: int) -> bytes:
    """Words up to ``size`` bytes."""
    text = ""
    while len(text) < size:
        text += chance.choice(words) + " "
    return text[:size].encode()


def scanner(words: list[str], hosts: list[str]) -> Callable[[bytes], list[Hit]]:
    """What ``server.scanning.Scanning.scan`` does with two lists."""
    lists = (Words("words", "flag", words), Links("links", "flag", hosts))

    def scan(content: bytes) -> list[Hit]:
        text = comparable(words_of(content))
        return [hit for each in lists for hit in each.scan(text)]

    return scan


def cost(scan: Callable[[bytes], object], messages: list[bytes], seconds: float) -> float:
    """Microseconds of CPU for one message, the best of ``ROUNDS``."""
    best = float("inf")
    for _ in range(ROUNDS):
        count, begun = 0, time.process_time()
        while (spent := time.process_time() - begun) < seconds / ROUNDS:
            for each in messages:
                scan(each)
            count += len(messages)
        best = min(best, spent / count)
    return best * 1e6


def main() -> None:
    """Print a table: a row for a length of lists, a column for a size of message."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure")
    seconds = parser.parse_args().seconds
    chance = random.Random(7)
    spoken = vocabulary(chance, 5_000)
    print("µs a message" + "".join(f"{size:>8} B" for size in SIZES))
    for count in (10, 1_000, 100_000):
        listed = vocabulary(chance, count)
        scan = scanner(listed, [f"{each}.example" for each in listed])
        shown = f"{count:>9,} × 2"
        for size in SIZES:
            messages = [message(chance, spoken, size) for _ in range(99)]
            messages.append(message(chance, listed, size))
            shown += f"{cost(scan, messages, seconds):>10.2f}"
        print(shown)


if __name__ == "__main__":
    main()
