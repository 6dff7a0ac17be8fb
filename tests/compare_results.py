"""Made-up results of a comparison, for tests of statistics and of the report; not a measurement."""

from __future__ import annotations

from functools import cache

import numpy as np

from client.compare import measures, record, results, stats
from client.compare.measures import Raw
from crypto_modes.contract import ADVERSARIES

MODES = ("tls", "at_rest", "e2ee")
BASE_MS = {"tls": 1.2, "at_rest": 1.35, "e2ee": 3.1}
LADDER_US = (5.0, 4.4, 20.0, 78.0, 17.0, 8.6, 0.6, 2.8, 90.0)
CPU_US = {"tls": 70.0, "at_rest": 88.0, "e2ee": 84.0}
STOLEN = ("stolen_device_past", "stolen_device_future", "stolen_device_healed")
READABLE = {
    "tls": {"database", "backup", "relay_memory", "compelled_operator", *STOLEN},
    "at_rest": {"relay_memory", "compelled_operator", *STOLEN},
    "e2ee": {"stolen_device_future"},
}
MEASURED = {
    "network_tap",
    "database",
    "backup",
    "logs",
    "relay_memory",
    "vault_without_grant",
    "compelled_operator",
    "stolen_device_past",
    "stolen_device_future",
    "stolen_device_healed",
}
WORDS = {
    "tls": "The operator can read and keeps readable text",
    "at_rest": "Stored encrypted; the operator can read",
    "e2ee": "Only the two of you can read; a report opens what the reporter chooses",
}


@cache
def raw(rounds: int = 3, seconds: int = 5, rate: int = 60, scale: float = 1.0) -> Raw:
    rng = np.random.default_rng(1)
    samples, blocks = [], []
    for mode in MODES:
        for number in range(rounds):
            for row in range(rate * seconds):
                planned = row * 1_000_000 // rate
                accepted = planned + int(scale * 1000 * rng.lognormal(np.log(BASE_MS[mode]), 0.3))
                opened = accepted + int(200 * rng.lognormal(0, 0.5))
                samples.append(
                    record.Sample(
                        mode, number, "steady", row, 40, planned, planned, accepted, opened
                    )
                )
            for row in range(8):
                slow = 9000 if mode == "e2ee" else 2000
                samples.append(record.Sample(mode, number, "first", row, 8, 0, 0, 900, slow))
            blocks += [
                record.Block(
                    mode, number, kind, at, 1.0, count, CPU_US[mode] * count, 150.0 * count
                )
                for kind, count in (("latency", rate), ("saturation", 9000))
                for at in range(seconds)
            ]
    return Raw(samples, blocks)


@cache
def made_up() -> results.Results:
    source = raw()
    modes = {mode: _mode(source, mode) for mode in MODES}
    return results.Results(
        schema="louver.compare/1",
        created="2026-11-22T05:00:00Z",
        version="0.1.0",
        argv=["--seed", "1"],
        seed=1,
        seconds=118.0,
        machine=results.Machine(
            cpu="Made-up CPU",
            cores=2,
            memory=25_000_000_000,
            kernel="Linux 6.1",
            python="3.11.2",
            openssl="OpenSSL 3.5.4",
            sqlite="3.51.3",
            hdrhistogram="0.10.3",
            loop="uvloop 0.22",
        ),
        trace=results.TraceInfo(
            name="synthetic",
            sha256="0" * 64,
            messages=300,
            users=40,
            conversations=60,
            labelled=9,
            canaries=48,
        ),
        rounds=[_round(mode, n, order) for n in range(3) for order, mode in enumerate(MODES)],
        modes=modes,
        ladder=results.Ladder(
            rounds=15,
            messages=100,
            cpu_us={
                rung: results.Estimate(value=price, low=0.9 * price, high=1.2 * price)
                for rung, price in zip(results.RUNGS, LADDER_US, strict=True)
            },
            relay_cpu_us={
                name: results.Estimate(value=price)
                for name, price in zip(results.FLOORS, (20.0, 25.0, 50.0, 51.0), strict=True)
            },
            key_calls=0.002,
        ),
        ratios={f"{m}/tls": measures.ratios(source, m, "tls", seed=1) for m in MODES[1:]},
    )


def _round(mode: str, number: int, order: int) -> results.Round:
    lag = results.Lag(p50=0.1, p99=0.9, max=2.0, bound=20.0)
    return results.Round(
        mode=mode,
        round=number,
        attempt=0,
        order=number * 3 + order,
        offered_per_s=60.0,
        achieved_per_s=60.0,
        lag_ms=lag,
        latency_ms=results.Span(p50=1.3, p99=3.1),
        generator_cpu=0.2,
        valid=True,
        kept=True,
    )


def _mode(source: Raw, mode: str) -> results.ModeResult:
    cpu = CPU_US[mode]
    return results.ModeResult(
        words=WORDS[mode],
        latency_ms=stats.summary(measures.flat(source.latency(mode))),
        accepted_ms=stats.summary(measures.flat(source.accepted(mode))),
        first_message_ms=stats.summary(measures.flat(source.first(mode))),
        first_message_wire_bytes=7400.0 if mode == "e2ee" else 800.0,
        throughput=results.Throughput(
            messages_per_second=9000.0,
            per_core_second=1e6 / cpu,
            relay_cores=0.63,
            generator_cores=0.8,
            relay_cpu_us_per_message=cpu,
            connections=4,
            window=64,
            frame_bytes=420.0 if mode == "e2ee" else 130.0,
        ),
        server_cpu_us_per_message=cpu,
        client_cpu_us_per_message=150.0,
        wire_bytes_per_message=1900.0 if mode == "e2ee" else 600.0,
        stored_bytes_per_message={"tls": 310.0, "at_rest": 640.0, "e2ee": 1240.0}[mode],
        relay_memory_bytes=64_000_000,
        tls="TLSv1.3, TLS_AES_256_GCM_SHA384",
        delivered=960,
        lost=0,
        duplicated=0,
        reordered=0,
        altered=0,
        moderation=_moderation(mode),
        exposure={who: _exposure(mode, who) for who in ADVERSARIES},
        steps={step: _step(mode, place) for place, step in enumerate(results.STEPS)},
    )


def _step(mode: str, place: int) -> results.Step:
    cpu = (3 if mode == "e2ee" else 1) * (400.0 + 100 * place)
    return results.Step(
        pairs=6,
        messages=8,
        client_cpu_us=results.Estimate(value=cpu, low=cpu - 20, high=cpu + 30),
        latency_ms=results.Estimate(value=cpu / 300, low=cpu / 400, high=cpu / 200),
        wire_bytes=2 * cpu,
    )


def _moderation(mode: str) -> dict[str, results.Access]:
    later = results.Access(measured=False, note="not measured here")
    insider = results.Access(
        measured=True,
        labelled=9,
        readable=1.0 if mode == "tls" else 0.0,
        time_to_evidence_ms=results.Span(p50=310.0, p99=340.0) if mode == "tls" else None,
        over_collection=42.0 if mode == "tls" else None,
        approvals=0,
        logged=0.0 if mode == "tls" else None,
    )
    order = results.Access(
        measured=True,
        labelled=9,
        readable=0.0 if mode == "e2ee" else 1.0,
        approvals=2,
        logged=1.0,
        refused=3,
    )
    report = results.Access(
        measured=True,
        labelled=9,
        readable=1.0,
        verifiable=1.0,
        time_to_evidence_ms=results.Span(p50=350.0, p99=390.0),
        over_collection=1.0,
        basis="commitment" if mode == "e2ee" else "record",
        forged_submitted=300,
        forged_accepted=0,
        forged_by=(
            {"text": 75, "reporter": 75, "place": 75, "key": 75}
            if mode == "e2ee"
            else {"text": 100, "reporter": 100, "place": 100}
        ),
        labels={"verified" if mode == "e2ee" else "confirmed": 9},
        labels_alone={"verified" if mode == "e2ee" else "claim": 9},
    )
    return {"scan": later, "user_report": report, "legal_request": order, "insider": insider}


def _exposure(mode: str, who: str) -> results.Exposure:
    declared = who in READABLE[mode]
    if who not in MEASURED:
        return results.Exposure(
            declared=declared, measured=False, applicable=False, note="in-process: nothing to tap"
        )
    return results.Exposure(
        declared=declared,
        measured=True,
        planted=48,
        recovered=48 if declared else 0,
        searched_bytes=1_000_000,
        kept=8 if who == "stolen_device_past" else None,
        ok=True,
        forms={"utf-8": 48} if declared else {},
    )
