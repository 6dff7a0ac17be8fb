"""What a read of 500 records costs: a vault with its log on a disk, and a relay beside it, by HTTP.

    python -m tests.benchmarks.bench_vault [ROUNDS]

Prints the median and the slowest of ROUNDS calls (20), as a moderator's program meets them: signed
call, check of the grant, the records by HTTP from the relay's own store, entry in the log with its
checkpoint synced, decryption, answer. The bar is one second.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from crypto_modes import disclosure
from crypto_modes.disclosure import Disclosure
from crypto_modes.policy import conversation_id
from server.app import App
from server.settings_tree import Settings
from tests.conftest import GENEROUS, Running
from tests.test_door import with_door
from tests.test_vault_service import Service, start_vault

RECORDS = 500
TEXT = "HARM-0007, and some more words as people write them in a message. " * 2


async def measure(place: Path, rounds: int) -> list[float]:
    """Seconds of each call."""
    keys, _ = with_door(place)
    settings = Settings(
        data=place / "relay",
        mode="at_rest",
        keys=keys,
        limits=GENEROUS,
        listen={"port": 0, "insecure": True},
        internal={"port": 0},
        log={"level": "error"},
    )
    relay = Running(App(settings), None, None)
    await relay.app.start()
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    for number in range(RECORDS):
        await (alice, bob)[number % 2].say((bob, alice)[number % 2], TEXT)
    vault = await start_vault(relay, place / "vault.key", place / "vault", log={"level": "error"})
    service = Service(relay, vault)
    service.talk = conversation_id(alice.account, bob.account)
    taken = []
    for _ in range(rounds):
        call = service.order(last=RECORDS)
        begun = time.perf_counter()
        status, raw = await service.call(disclosure.OPEN, call, "lena")
        taken.append(time.perf_counter() - begun)
        shown = msgspec.json.decode(raw, type=Disclosure).records
        assert status == 200
        assert len([each for each in shown if each.text == TEXT]) == RECORDS
    await vault.stop()
    await relay.app.stop()
    return taken


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as place:
        taken = asyncio.run(measure(Path(place), rounds))
    print(f"a read of {RECORDS} records, {rounds} times:")
    print(f"  median {statistics.median(taken) * 1000:6.1f} ms")
    print(f"  slowest {max(taken) * 1000:5.1f} ms")


if __name__ == "__main__":
    main()
