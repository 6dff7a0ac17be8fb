"""One round: the trace and a saturation through every mode, on a fresh relay each.

What may live here: what makes a round void, repeating it, summing it up. What may not: how
anything is measured (``instruments``), or what follows from all rounds (``campaign``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np

from client.compare import instruments, record, results, saturate
from client.compare.fleet import Round
from client.compare.lab import Lab, LabFailure
from client.compare.pacer import Lag
from client.compare.plan import Plan
from client.compare.record import Block, Sample
from client.compare.verify import Verdict, samples, verify

LAG_BOUND_MS = 15.0
ACHIEVED_AT_LEAST = 0.95
ATTEMPTS = 2


class Say(Protocol):
    """Tell the user which step begins; ``more`` steps are to come than were announced."""

    def __call__(self, text: str, *, more: int = 0) -> None: ...


@dataclass
class Taken:
    """What the rounds gave. Samples, blocks and outcomes are of kept attempts only; ``rounds``
    and ``verdicts`` are of all, for a message lost in a void attempt is lost all the same."""

    samples: list[Sample] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    rounds: list[results.Round] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=lambda: defaultdict(Verdict))
    outcomes: dict[str, list[saturate.Outcome]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class _Played:
    """One mode's part in one attempt; ``outcome`` None where the attempt was given up."""

    summary: results.Round
    samples: list[Sample]
    blocks: list[Block]
    outcome: saturate.Outcome | None


@dataclass(frozen=True)
class _Place:
    """Which round, attempt and mode, and how many were played before it."""

    mode: str
    number: int
    attempt: int
    order: int


async def play(plan: Plan, lab: Lab, taken: Taken, number: int, say: Say) -> None:
    """Round ``number`` in every mode, and once again in every mode if it is void in any.

    Void is a round whose generator missed its schedule, or in which less than 95 % of the offered
    rate was acknowledged. The second is the relay's doing as well, so a repeat is not blind to what
    is measured: repeating one mode alone would pick that mode's good luck. Hence all modes share
    their attempts, the second is kept whatever it shows, and both are in the results.

    Raises:
        LabFailure: a relay or a load process did not do its part.
    """
    begun = 0
    for attempt in range(ATTEMPTS):
        parts: list[_Played] = []
        last = attempt == ATTEMPTS - 1
        for mode in plan.order(number):
            again = " again" if attempt else ""
            say(f"round {number + 1} of {plan.size.rounds}{again}: {mode}", more=begun)
            begun = 0
            place = _Place(mode, number, attempt, len(taken.rounds) + len(parts))
            parts.append(await _play(plan, lab, taken, place, last=last))
            if parts[-1].outcome is None:
                break
        keep = parts[-1].outcome is not None
        _note(taken, parts, keep=keep)
        if keep:
            return
        begun = len(parts)


def _note(taken: Taken, parts: Sequence[_Played], *, keep: bool) -> None:
    for part in parts:
        taken.rounds.append(msgspec.structs.replace(part.summary, kept=keep))
        if keep and part.outcome is not None:
            taken.samples += part.samples
            taken.blocks += part.blocks
            taken.outcomes[part.summary.mode].append(part.outcome)


async def _play(plan: Plan, lab: Lab, taken: Taken, place: _Place, *, last: bool) -> _Played:
    """A void round gets no saturation unless it is the ``last`` attempt, and so is kept."""
    mode, number = place.mode, place.number
    async with lab.relay(mode, f"{number}-{place.attempt}-{mode}") as relay:
        played = await instruments.latency(lab, relay, plan)
        verdict = verify(plan.trace, played.logs)
        if not verdict.delivered:
            raise LabFailure(f"{mode}: nothing arrived: {'; '.join(verdict.examples)}")
        taken.verdicts[mode].add(verdict)
        start, warmup = played.start_ns, plan.size.warmup
        made = samples(
            plan.trace, played.logs, mode=mode, number=number, start_ns=start, warmup=warmup
        )
        summary = _summary(plan, played, made, place)
        if not (summary.valid or last):
            return _Played(summary, made, [], None)
        outcome = await instruments.saturation(lab, relay, plan)
        blocks = _latency_blocks(plan, played, mode, number)
        blocks += _saturation_blocks(outcome, mode, number)
        return _Played(summary, made, blocks, outcome)


def _summary(plan: Plan, played: Round, made: list[Sample], place: _Place) -> results.Round:
    steady = [s for s in made if s.phase == "steady"]
    late = np.array([s.sent_us - s.planned_us for s in steady]) / 1000
    p50, p99, most = (round(float(x), 3) for x in np.percentile(late, [50, 99, 100]))
    lag = Lag(p50, p99, most, LAG_BOUND_MS)
    done = [s.accepted_us for s in steady if s.accepted_us != record.NEVER]
    took = [s.opened_us - s.planned_us for s in steady if s.opened_us != record.NEVER]
    first = steady[0].planned_us
    offered = len(steady) / max((steady[-1].planned_us - first) / 1e6, 1e-9)
    achieved = len(done) / max((max(done, default=first) - first) / 1e6, 1e-9)
    ticks = played.ticks
    cores = (ticks[-1].client_us - ticks[0].client_us) / 1e6
    cores /= ticks[-1].seconds - ticks[0].seconds
    half, most_of_it = np.percentile(np.array(took or [0]) / 1000, [50, 99])
    return results.Round(
        mode=place.mode,
        round=place.number,
        attempt=place.attempt,
        order=place.order,
        offered_per_s=round(offered, 2),
        achieved_per_s=round(achieved, 2),
        lag_ms=results.Lag(p50=lag.p50, p99=lag.p99, max=lag.max, bound=lag.bound),
        latency_ms=results.Span(p50=round(float(half), 3), p99=round(float(most_of_it), 3)),
        generator_cpu=round(cores, 3),
        valid=lag.valid and achieved >= ACHIEVED_AT_LEAST * offered,
        kept=True,
    )


def _latency_blocks(plan: Plan, played: Round, mode: str, number: int) -> list[Block]:
    """CPU per block of a second, after the warm-up; messages are those planned in it."""
    planned = np.array([row.at_us / 1e6 for row in plan.trace.rows])
    blocks = []
    for at, (low, high) in enumerate(zip(played.ticks, played.ticks[1:], strict=False)):
        count = int(((planned >= low.seconds) & (planned < high.seconds)).sum())
        cpu = (high.server_us - low.server_us, high.client_us - low.client_us)
        seconds = high.seconds - low.seconds
        rounded = [round(x, 1) for x in cpu]
        blocks.append(Block(mode, number, "latency", at, round(seconds, 4), count, *rounded))
    return blocks


def _saturation_blocks(outcome: saturate.Outcome, mode: str, number: int) -> list[Block]:
    return [
        Block(
            mode,
            number,
            "saturation",
            at,
            round(one.seconds, 4),
            one.accepted,
            round(one.server_cpu_us, 1),
            round(one.client_cpu_us, 1),
        )
        for at, one in enumerate(outcome.slices)
    ]
