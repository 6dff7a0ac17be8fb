"""A load test: URL CA PAIRS SECONDS. Ten messages a second per pair, timed from the plan."""

import asyncio
import sys
import time
from functools import partial

from client import Keystore, Password, connect, tls_context

LATE: list[float] = []  # seconds from the planned time to the message in the clear


async def pair(url: str, ca: str, seconds: int) -> None:
    a, b = (f"{side}{time.time_ns()}" for side in "ab")
    user = partial(connect, url, credentials=Password("a long one", True), ssl=tls_context(ca))
    enter_a, enter_b = (user(name=name, keystore=Keystore.in_memory()) for name in (a, b))
    async with enter_a as alice, enter_b as bob:
        to, start, plan = await alice.look_up(b), time.time(), [n / 10 for n in range(10 * seconds)]
        for at in plan:
            asyncio.get_running_loop().call_later(at, alice.send_soon, to, str(start + at))
        LATE.extend([-float((await anext(bob)).text) + time.time() for _ in plan])


async def main(url: str, ca: str, pairs: str, seconds: str) -> None:
    await asyncio.gather(*(pair(url, ca, int(seconds)) for _ in range(int(pairs))))
    print("p50, p99 in ms:", *(1000 * sorted(LATE)[len(LATE) * q // 100] for q in (50, 99)))


asyncio.run(main(*sys.argv[1:5]))
