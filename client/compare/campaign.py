"""The whole comparison: rounds in interleaved order, exposure passes, one set of results.

What may live here: the order of things, putting results together, the exit code. What may not:
one round (``rounds``), how anything is measured (``instruments``) or shown (``report``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from client.compare import (
    floors,
    instruments,
    ladder,
    measures,
    results,
    rounds,
    saturate,
    stats,
    steps,
)
from client.compare.instruments import Exposed
from client.compare.lab import Lab
from client.compare.machine import machine, version
from client.compare.measures import Raw
from client.compare.plan import Plan
from client.compare.results import Access, ModeResult, Results
from client.compare.rounds import Say
from client.compare.verify import verify
from client.opening import installed_modes

OK, INVALID, WRONG, CROSSED = 0, 4, 5, 99


@dataclass
class Taken(rounds.Taken):
    """Everything measured so far."""

    exposed: dict[str, Exposed] = field(default_factory=dict)
    steps: list[steps.Taken] = field(default_factory=list)
    prices: ladder.Taken | None = None
    floors: floors.Taken = field(default_factory=floors.Taken)


@dataclass(frozen=True)
class Finished:
    """Results with their raw data, and the exit code they deserve."""

    results: Results
    raw: Raw
    steps: list[steps.Taken]
    prices: ladder.Taken
    code: int


def count(plan: Plan) -> int:
    """How often ``say`` will be called, unless a round must be repeated."""
    return (plan.size.rounds + 1) * len(plan.modes) + 3


async def compare(plan: Plan, home: Path, say: Say) -> Finished:
    """Run the plan; relays and their data live below ``home``.

    Raises:
        LabFailure: a relay or a load process did not do its part.
    """
    begin = time.monotonic()
    lab = Lab(home)
    await lab.prepare()
    taken = Taken()
    for number in range(plan.size.rounds):
        await rounds.play(plan, lab, taken, number, say)
    say("first contact and after")
    taken.steps = await instruments.conversations(lab, plan)
    say("each ingredient's price")
    taken.prices = await instruments.prices(lab, plan)
    taken.floors = await floors.measure(lab, plan)
    known = installed_modes()
    for mode in plan.modes:
        say(f"who can read: {mode}")
        declared = dict(known[mode].visibility)
        taken.exposed[mode] = await instruments.exposure(lab, plan, mode, declared)
        taken.verdicts[mode].add(verify(plan.trace, taken.exposed[mode].round.logs))
    say("intervals and report")
    raw = Raw(taken.samples, taken.blocks)
    found = _results(plan, taken, raw, time.monotonic() - begin)
    return Finished(found, raw, taken.steps, taken.prices, _code(found, taken))


def _results(plan: Plan, taken: Taken, raw: Raw, seconds: float) -> Results:
    base, *others = plan.modes
    trace, priced = plan.trace, taken.prices
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
        ladder=measures.ladder(priced, taken.floors, seed=plan.seed) if priced else None,
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
            "scan": exposed.scan,
            "user_report": exposed.user_report,
            "legal_request": exposed.legal_request,
            "insider": exposed.insider,
        },
        exposure=exposed.exposure,
        steps=measures.steps(taken.steps, mode, seed=plan.seed),
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
            f"{one.mode}, round {one.round + 1}: void when repeated, too (generator's lag p99 "
            f"{one.lag_ms.p99} ms, {one.achieved_per_s} of {one.offered_per_s} messages a second "
            "acknowledged); try a smaller --rate, or a quieter machine"
        )
    return told


def _exposure_problems(mode: str, exposed: Exposed) -> list[str]:
    told = []
    for who, got in exposed.exposure.items():
        if got.ok is False:
            said = "can read" if got.declared else "cannot read"
            why = got.note or f"{got.recovered} of {got.planted} canaries were found there"
            told.append(f"{mode}: declared that {who} {said}, but {why}")
    told += path_problems(mode, exposed)
    return told + report_problems(mode, exposed.user_report)


def path_problems(mode: str, exposed: Exposed) -> list[str]:
    """Sentences about paths that gave another part of the labelled messages than the mode declares
    for that adversary, all or nothing, and about readings that the log does not have."""
    told = []
    for path, who, got in (
        ("scan", "relay_memory", exposed.scan),
        ("legal_request", "compelled_operator", exposed.legal_request),
        ("insider", "database", exposed.insider),
    ):
        expected = 1.0 if exposed.exposure[who].declared else 0.0
        if got.readable is not None and got.readable != expected:
            told.append(
                f"{mode}: {path} read {got.readable:.1%} of the labelled messages, and the mode "
                f"declares {expected:.0%}"
            )
    if exposed.legal_request.logged not in (None, 1.0):
        told.append(f"{mode}: the access log lacks readings of the legal request")
    return told


def report_problems(mode: str, report: Access) -> list[str]:
    """Sentences about reports that were judged wrongly; empty is good."""
    told = []
    if report.forged_accepted:
        told.append(f"{mode}: {report.forged_accepted} forged reports were not refused")
    if report.verifiable is not None and report.verifiable < 1:
        right = round(report.verifiable * (report.labelled or 0))
        told.append(f"{mode}: only {right} of {report.labelled} genuine reports were confirmed")
    return told


def _void(taken: Taken) -> list[results.Round]:
    """What was kept although it is void: its repetition was void as well."""
    return [one for one in taken.rounds if one.kept and not one.valid]


def _code(found: Results, taken: Taken) -> int:
    void = len(_void(taken))
    if len(found.problems) > void:
        return WRONG
    if void:
        return INVALID
    return CROSSED if any(threshold.crossed for threshold in found.thresholds) else OK
