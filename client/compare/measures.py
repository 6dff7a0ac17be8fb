"""From raw samples and blocks to the numbers of the comparison.

What may live here: which measure is which statistic over which raw columns. No measuring, no
arithmetic beyond naming it (``stats``), no rendering.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from client.compare import stats
from client.compare.floors import Taken as Floors
from client.compare.ladder import Taken as Prices
from client.compare.record import NEVER, Block, Sample
from client.compare.results import Interval, Ladder, Step, StepName
from client.compare.stats import Array, Rounds, Statistic
from client.compare.steps import Taken

_BLOCK_US = 1_000_000
# A message passes three processes that wait for the same cores: sender, relay, recipient. The
# generator's lag is how long one of them waits. Where it reaches half of the median message, three
# such waits exceed that message: its tail then tells of the machine and not of the mode.
NOISY_ABOVE = 0.5


@dataclass(frozen=True)
class Raw:
    """All samples and blocks of one run."""

    samples: Sequence[Sample]
    blocks: Sequence[Block]

    def latency(self, mode: str) -> Rounds:
        """Planned → opened, steady state, milliseconds, in blocks of a second."""
        return _cut(self._of(mode, "steady"), lambda s: s.opened_us - s.planned_us)

    def lag(self, mode: str) -> Rounds:
        """Planned → handed to the client library, steady state, milliseconds."""
        return _cut(self._of(mode, "steady"), lambda s: s.sent_us - s.planned_us)

    def accepted(self, mode: str) -> Rounds:
        """Planned → durable acknowledgement, steady state, milliseconds."""
        return _cut(self._of(mode, "steady"), lambda s: s.accepted_us - s.planned_us)

    def first(self, mode: str) -> Rounds:
        """Sent → opened of each conversation's first message, handshake included."""
        return _cut(self._of(mode, "first"), lambda s: s.opened_us - s.sent_us)

    def rate(self, mode: str) -> Rounds:
        """(messages, seconds) under saturation."""
        return self._pairs(mode, "saturation", lambda b: (b.messages, b.seconds))

    def server_cpu(self, mode: str) -> Rounds:
        """(relay CPU µs, messages) at the offered rate."""
        return self._pairs(mode, "latency", lambda b: (b.server_cpu_us, b.messages))

    def saturated_cpu(self, mode: str) -> Rounds:
        """(relay CPU µs, messages) under saturation."""
        return self._pairs(mode, "saturation", lambda b: (b.server_cpu_us, b.messages))

    def client_cpu(self, mode: str) -> Rounds:
        """(client CPU µs, messages) at the offered rate."""
        return self._pairs(mode, "latency", lambda b: (b.client_cpu_us, b.messages))

    def _of(self, mode: str, phase: str) -> Iterable[Sample]:
        return (
            s
            for s in self.samples
            if s.mode == mode and s.phase == phase and NEVER not in (s.opened_us, s.accepted_us)
        )

    def _pairs(
        self, mode: str, instrument: str, pair: Callable[[Block], tuple[float, float]]
    ) -> Rounds:
        rounds: dict[int, list[Array]] = defaultdict(list)
        for block in self.blocks:
            if (block.mode, block.instrument) == (mode, instrument):
                rounds[block.round].append(np.array([pair(block)], dtype=np.float64))
        return list(rounds.values())


def _cut(samples: Iterable[Sample], value_us: Callable[[Sample], int]) -> Rounds:
    rounds: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        block = rounds[sample.round][sample.planned_us // _BLOCK_US]
        block.append(value_us(sample) / 1000)
    return [[np.array(block) for block in blocks.values()] for blocks in rounds.values()]


MEASURES: dict[str, tuple[Callable[[Raw, str], Rounds], Statistic]] = {
    "latency_ms.p50": (Raw.latency, stats.percentile(50)),
    "latency_ms.p99": (Raw.latency, stats.percentile(99)),
    "accepted_ms.p50": (Raw.accepted, stats.percentile(50)),
    "accepted_ms.p99": (Raw.accepted, stats.percentile(99)),
    "first_message_ms.p50": (Raw.first, stats.percentile(50)),
    "throughput.messages_per_second": (Raw.rate, stats.quotient),
    "throughput.relay_cpu_us_per_message": (Raw.saturated_cpu, stats.quotient),
    "server_cpu_us_per_message": (Raw.server_cpu, stats.quotient),
    "client_cpu_us_per_message": (Raw.client_cpu, stats.quotient),
}


def steps(taken: Sequence[Taken], mode: str, *, seed: int) -> dict[StepName, Step]:
    """Each step of a conversation in this mode: medians over the timed pairs, bytes of the tapped
    one."""
    found: dict[StepName, list[Taken]] = defaultdict(list)
    for one in taken:
        if one.mode == mode:
            found[one.step].append(one)
    return {step: _step(every, seed) for step, every in found.items()}


def _step(every: Sequence[Taken], seed: int) -> Step:
    tapped = [one for one in every if one.wire_bytes]
    timed = [one for one in every if not one.wire_bytes]
    cpu, took = (
        np.array([getattr(one, name) for one in timed]) for name in ("cpu_us", "latency_ms")
    )
    return Step(
        pairs=len(timed),
        messages=timed[0].messages,
        client_cpu_us=stats.median(cpu, seed=seed),
        latency_ms=stats.median(took, seed=seed),
        wire_bytes=round(sum(one.wire_bytes for one in tapped) / len(tapped), 1),
    )


def ladder(taken: Prices, floors: Floors, *, seed: int) -> Ladder:
    """Each ingredient's price: the median over the rounds, at the relay over slices of time."""
    at_relay = {name: stats.median(np.array(got), seed=seed) for name, got in floors.cpu_us.items()}
    return Ladder(
        rounds=min(map(len, taken.rungs.values())),
        messages=taken.messages,
        cpu_us={rung: stats.median(np.array(got), seed=seed) for rung, got in taken.rungs.items()},
        relay_cpu_us=at_relay,
        key_calls=floors.asked / floors.messages if floors.messages else None,
    )


def flat(rounds: Rounds) -> Array:
    """All values of all rounds."""
    blocks = [block for one in rounds for block in one]
    return np.concatenate(blocks) if blocks else np.array([])


def noisy(raw: Raw, mode: str) -> bool:
    """Whether the machine was too busy in any round to tell anything from this mode's p99."""
    lags, median = raw.lag(mode), stats.percentile(50)(flat(raw.latency(mode)))
    at = stats.percentile(99)
    return any(at(np.concatenate(blocks)) > NOISY_ABOVE * median for blocks in lags)


def ratios(raw: Raw, mode: str, base: str, *, seed: int) -> dict[str, Interval]:
    """Every measure of ``mode`` over ``base``, both from the same run."""
    return _over((raw, mode), (raw, base), seed=seed, paired=True)


def changes(new: Raw, old: Raw, mode: str, *, seed: int) -> dict[str, Interval]:
    """Every measure of ``mode`` in one run over the same in another."""
    return _over((new, mode), (old, mode), seed=seed, paired=False)


def _over(
    over: tuple[Raw, str], under: tuple[Raw, str], *, seed: int, paired: bool
) -> dict[str, Interval]:
    tails_tell = not (noisy(*over) or noisy(*under))
    found = {}
    for name, (rounds, statistic) in MEASURES.items():
        got = stats.ratio(rounds(*over), rounds(*under), statistic, seed=seed, paired=paired)
        tail = name.endswith(".p99")
        found[name] = msgspec.structs.replace(got, noisy=tail and not tails_tell)
    return found
