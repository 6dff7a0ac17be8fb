"""The whole comparison: rounds in interleaved order, exposure passes, one set of results.

What may live here: the order of things, what makes a round valid, putting results together. What
may not: how anything is measured (``instruments``) or shown (``report``, ``terminal``).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from client.client import installed_modes
from client.compare import drill, instruments, measures, record, results, saturate, stats
from client.compare.fleet import Round
from client.compare.instruments import Exposed
from client.compare.lab import Lab, LabFailure
from client.compare.machine import machine, version
from client.compare.measures import Raw
from client.compare.pacer import Lag
from client.compare.plan import Plan
from client.compare.record import Block, Sample
from client.compare.results import ModeResult, Results
from client.compare.verify import Verdict, samples, verify

LAG_BOUND_MS = 15.0
ACHIEVED_AT_LEAST = 0.95
OK, INVALID, WRONG, CROSSED = 0, 4, 5, 99

Say = Callable[[str], None]


@dataclass
class Taken:
    """Everything measured so far."""

    samples: list[Sample] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    rounds: list[results.Round] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=lambda: defaultdict(Verdict))
    outcomes: dict[str, list[saturate.Outcome]] = field(default_factory=lambda: defaultdict(list))
    exposed: dict[str, Exposed] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """Results with their raw data, and the exit code they deserve."""

    results: Results
    raw: Raw
    code: int


def steps(plan: Plan) -> int:
    """How often ``say`` will be called."""
    return len(plan.order) + len(plan.modes) + 1


async def compare(plan: Plan, home: Path, say: Say) -> Finished:
    """Run the plan; relays and their data live below ``home``.

    Raises:
        LabFailure: a relay or a load process did not do its part.
    """
    begin = time.monotonic()
    lab = Lab(home)
    await lab.prepare()
    taken = Taken()
    for order, (number, mode) in enumerate(plan.order):
        say(f"round {number + 1} of {plan.size.rounds}: {mode}")
        await _round(plan, lab, taken, order, number, mode)
    known = installed_modes()
    for mode in plan.modes:
        say(f"who can read: {mode}")
        declared = dict(known[mode].visibility)
        taken.exposed[mode] = await instruments.exposure(lab, plan, mode, declared)
        taken.verdicts[mode].add(verify(plan.trace, taken.exposed[mode].round.logs))
    say("intervals and report")
    raw = Raw(taken.samples, taken.blocks)
    found = _results(plan, taken, raw, time.monotonic() - begin)
    return Finished(found, raw, _code(found, taken))


async def _round(plan: Plan, lab: Lab, taken: Taken, order: int, number: int, mode: str) -> None:
    """One latency round and one saturation on a fresh relay.

    A round in which the *generator* missed its schedule is void and repeated once. Nothing about
    the relay's own numbers can void a round, so repeating does not flatter them.
    """
    for attempt in range(2):
        async with lab.relay(mode, f"{number}-{order}-{attempt}-{mode}") as relay:
            played = await instruments.latency(lab, relay, plan)
            verdict = verify(plan.trace, played.logs)
            if not verdict.delivered:
                raise LabFailure(f"{mode}: nothing arrived: {'; '.join(verdict.examples)}")
            made = samples(
                plan.trace,
                played.logs,
                mode=mode,
                number=number,
                start_ns=played.start_ns,
                warmup=plan.size.warmup,
            )
            taken.verdicts[mode].add(verdict)
            summary = _summary(plan, played, made, mode, number, order)
            taken.rounds.append(summary)
            if not summary.valid and attempt == 0:
                continue
            outcome = await instruments.saturation(lab, relay, plan)
            taken.samples += made
            taken.blocks += _latency_blocks(plan, played, mode, number)
            taken.blocks += _saturation_blocks(outcome, mode, number)
            taken.outcomes[mode].append(outcome)
            return


def _summary(
    plan: Plan, played: Round, made: list[Sample], mode: str, number: int, order: int
) -> results.Round:
    steady = [s for s in made if s.phase == "steady"]
    late = np.array([s.sent_us - s.planned_us for s in steady]) / 1000
    p50, p99, most = (round(float(x), 3) for x in np.percentile(late, [50, 99, 100]))
    lag = Lag(p50, p99, most, LAG_BOUND_MS)
    done = [s.accepted_us for s in steady if s.accepted_us != record.NEVER]
    first = steady[0].planned_us
    offered = len(steady) / max((steady[-1].planned_us - first) / 1e6, 1e-9)
    achieved = len(done) / max((max(done, default=first) - first) / 1e6, 1e-9)
    ticks = played.ticks
    cores = (ticks[-1].client_us - ticks[0].client_us) / 1e6
    cores /= ticks[-1].seconds - ticks[0].seconds
    return results.Round(
        mode=mode,
        round=number,
        order=order,
        offered_per_s=round(offered, 2),
        achieved_per_s=round(achieved, 2),
        lag_ms=results.Lag(p50=lag.p50, p99=lag.p99, max=lag.max, bound=lag.bound),
        generator_cpu=round(cores, 3),
        valid=lag.valid and achieved >= ACHIEVED_AT_LEAST * offered,
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


def _results(plan: Plan, taken: Taken, raw: Raw, seconds: float) -> Results:
    base, *others = plan.modes
    trace = plan.trace
    found = Results(
        schema="louver.compare/1",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        version=version("louver"),
        argv=list(plan.argv),
        seed=plan.seed,
        seconds=round(seconds, 1),
        machine=machine(),
        trace=results.TraceInfo(
            name=trace.name,
            sha256=trace.sha256,
            messages=len(trace.rows),
            users=trace.users,
            conversations=len(trace.pairs),
            labelled=sum(bool(row.label) for row in trace.rows),
            canaries=len(trace.canaries),
        ),
        rounds=taken.rounds,
        modes={mode: _mode(plan, taken, raw, mode) for mode in plan.modes},
        ratios={
            f"{mode}/{base}": measures.ratios(raw, mode, base, seed=plan.seed) for mode in others
        },
        problems=_problems(taken),
    )
    verdicts = [threshold.judge(found) for threshold in plan.thresholds]
    return msgspec.structs.replace(found, thresholds=verdicts)


def _mode(plan: Plan, taken: Taken, raw: Raw, mode: str) -> ModeResult:
    exposed, verdict = taken.exposed[mode], taken.verdicts[mode]
    return ModeResult(
        words=installed_modes()[mode].words,
        latency_ms=stats.summary(measures.flat(raw.latency(mode))),
        accepted_ms=stats.summary(measures.flat(raw.accepted(mode))),
        first_message_ms=stats.summary(measures.flat(raw.first(mode))),
        first_message_wire_bytes=round(exposed.first_wire_bytes, 1),
        throughput=_throughput(plan, taken.outcomes[mode]),
        server_cpu_us_per_message=round(stats.quotient(measures.flat(raw.server_cpu(mode))), 2),
        client_cpu_us_per_message=round(stats.quotient(measures.flat(raw.client_cpu(mode))), 2),
        wire_bytes_per_message=round(exposed.wire_bytes, 1),
        stored_bytes_per_message=round(exposed.stored_bytes, 1),
        relay_memory_bytes=exposed.memory_bytes,
        tls=exposed.tls,
        delivered=verdict.delivered,
        lost=verdict.lost,
        duplicated=verdict.duplicated,
        reordered=verdict.reordered,
        altered=verdict.altered,
        moderation={
            "scan": drill.LATER,
            "user_report": exposed.user_report,
            "legal_request": drill.LATER,
            "insider": exposed.insider,
        },
        exposure=exposed.exposure,
    )


def _throughput(plan: Plan, outcomes: list[saturate.Outcome]) -> results.Throughput:
    slices = [one for outcome in outcomes for one in outcome.slices]
    seconds, accepted, server, client = (
        sum(getattr(one, name) for one in slices)
        for name in ("seconds", "accepted", "server_cpu_us", "client_cpu_us")
    )
    return results.Throughput(
        messages_per_second=round(accepted / seconds, 1),
        per_core_second=round(accepted / (server / 1e6), 1),
        relay_cores=round(server / 1e6 / seconds, 3),
        generator_cores=round(client / 1e6 / seconds, 3),
        relay_cpu_us_per_message=round(server / accepted, 2),
        connections=plan.size.pairs,
        window=plan.size.window,
        frame_bytes=outcomes[0].frame_bytes,
    )


def _problems(taken: Taken) -> list[str]:
    """Sentences about all that makes the numbers unusable; empty is good."""
    told = []
    for mode, verdict in taken.verdicts.items():
        if not verdict.flawless:
            counts = f"{verdict.lost} lost, {verdict.duplicated} duplicated, "
            counts += f"{verdict.reordered} reordered, {verdict.altered} altered"
            told.append(f"{mode}: {counts}: {'; '.join(verdict.examples[:5])}")
    for mode, exposed in taken.exposed.items():
        told += _exposure_problems(mode, exposed)
    for one in _void(taken):
        told.append(
            f"{one.mode}, round {one.round + 1}: the generator missed its schedule twice "
            f"(lag p99 {one.lag_ms.p99} ms, {one.achieved_per_s} of {one.offered_per_s} a "
            "second); try a smaller --rate, or a quieter machine"
        )
    return told


def _exposure_problems(mode: str, exposed: Exposed) -> list[str]:
    told = []
    for who, got in exposed.exposure.items():
        if got.ok is False:
            said = "can read" if got.declared else "cannot read"
            why = got.note or f"{got.recovered} of {got.planted} canaries were found there"
            told.append(f"{mode}: declared that {who} {said}, but {why}")
    report = exposed.user_report
    if report.forged_accepted:
        told.append(f"{mode}: {report.forged_accepted} forged reports were accepted")
    if report.verifiable is not None and report.verifiable < 1:
        told.append(f"{mode}: only {report.verifiable:.1%} of genuine reports were confirmed")
    return told


def _void(taken: Taken) -> list[results.Round]:
    """The last attempt of each round, where that was invalid too."""
    last = {(one.mode, one.round): one for one in taken.rounds}
    return [one for one in last.values() if not one.valid]


def _code(found: Results, taken: Taken) -> int:
    void = len(_void(taken))
    if len(found.problems) > void:
        return WRONG
    if void:
        return INVALID
    return CROSSED if any(threshold.crossed for threshold in found.thresholds) else OK
