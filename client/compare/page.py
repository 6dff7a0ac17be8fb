"""The report's contents as plain values: what each part of the page says.

What may live here: choosing and wording. What may not: HTML (``templates``), drawing
(``plots``), files (``report``).
"""

from __future__ import annotations

import shlex
from typing import Any

from client.compare import costs, words
from client.compare.results import Access, Exposure, ModeResult, Results, Way
from client.compare.words import interval, number, share

Part = dict[str, Any]
_SUMMARY = ("p50", "p90", "p95", "p99", "p999", "max")
_PATHS: dict[Way, tuple[str, str]] = {
    "insider": (
        "Somebody inside, on their own",
        (
            "Somebody with a copy of the databases and without the platform's key looks for every "
            "labelled message, with nobody's leave. Where he reads, no log knows. An operator with "
            "every file and key is in the table of adversaries above."
        ),
    ),
    "user_report": (
        "A user's report",
        (
            "Recipients report the labelled messages with the client library, sealed to the "
            "moderation team; the team opens the exported reports and asks the relay about each "
            "message. Verified: the sender committed to this text and the relay stamped it. "
            "Confirmed: the relay keeps this very message. Claim: only the reporter's word. "
            "Forgeries are genuine reports with something in them made untrue, sealed as well "
            "and laid on the team's desk past the relay."
        ),
    ),
    "scan": (
        "Scanning",
        (
            "While messages pass, the relay holds them to a list that has the labelled ones, before"
            " it seals them; what is found is sealed to the moderation team. Where the relay cannot"
            " read, there is nothing to hold to a list."
        ),
    ),
    "legal_request": (
        "A legal request",
        (
            "Through the moderation API and the vault: one of the staff opens a case, asks for each"
            " conversation with a labelled message from the first of them to the last, two others "
            "sign, and the vault enters it in the access log before it opens anything. The log was "
            "copied and verified leaf by leaf. Without approval, with his own, and with one "
            "other person's, the same person was refused. Time is of machines: people take longer."
        ),
    ),
}
_MEASURED = (
    "readable", "verified or confirmed", "by", "verdicts on the messages",
    "verdicts with the franking keys, without asking the relay",
    "forged not refused (altered in)", "bytes disclosed per byte needed",
    "time to evidence in ms, p50 / p99, all in one go", "approvals by others",
    "readings in the access log", "tries without two approvals, each refused and logged",
)  # fmt: skip


def page(results: Results) -> Part:
    """Everything the template needs."""
    modes = [_mode(results, name, place) for place, name in enumerate(results.modes, start=1)]
    return {
        "sentence": words.sentence(results),
        "method": _method(results),
        "problems": results.problems,
        "modes": modes,
        "cautions": words.cautions(results),
        "limits": words.limits(results),
        "facts": _facts(results),
        "latency": _latency(results),
        "ratios": _ratios(results),
        "throughput": _throughput(results),
        "cpu": _cpu(results),
        "steps_text": words.STEPS_TEXT,
        "steps": costs.steps(results),
        "steps_table": costs.steps_table(results),
        "ladder": costs.ladder(results),
        "canaries": results.trace.canaries,
        "exposure": _exposure(results),
        "exposure_table": _exposure_table(results),
        "drill_text": _drill_text(results),
        "drill": _drill(results),
        "reading": words.READING,
        "missing": words.missing(results),
        "command": shlex.join(["./louver", "compare", *results.argv]),
        "details": _details(results),
        "rounds_table": _rounds(results),
        "footer": f"louver {results.version} · {results.schema} · rendered from the raw samples "
        "beside this file; no script, no network.",
    }


def _mode(results: Results, name: str, place: int) -> Part:
    mode = results.modes[name]
    proof, forgeries = words.proof(mode.moderation["user_report"])
    return {
        "access": words.staff(mode),
        "name": name,
        "place": (place - 1) % 6 + 1,
        "slats": _slats(mode),
        "p50": number(mode.latency_ms.p50),
        "p99": number(mode.latency_ms.p99),
        "per_core": number(mode.throughput.per_core_second),
        "stored": number(mode.stored_bytes_per_message),
        "words": f"{mode.words}.",
        "readers": f"Measured: {words.who_can_read(mode)}.",
        "proof": proof,
        "forgeries": forgeries,
    }


def _slats(mode: ModeResult) -> int:
    """How far the louver is shut: disks are readable (0), only the operator reads (1), nobody."""
    declared = {who for who, got in mode.exposure.items() if got.declared}
    return 0 if "database" in declared else 1 if "compelled_operator" in declared else 2


def _method(results: Results) -> str:
    rates = {f"{r.offered_per_s:.0f}" for r in results.rounds}
    return (
        "Latency counts from the planned time of sending, so nothing hides a stall. The same "
        f"{results.trace.messages:,} planned messages went through real relays over TLS in each "
        "round of each mode, with SQLite on disk and a flush before every acknowledgement, at "
        f"{' and '.join(sorted(rates))} a second."
    )


def _facts(results: Results) -> list[str]:
    machine = results.machine
    checks = ("lost", "duplicated", "reordered", "altered")
    bad = sum(getattr(mode, check) for mode in results.modes.values() for check in checks)
    delivered = sum(mode.delivered for mode in results.modes.values())
    verdict = "none lost, doubled, out of order or altered" if not bad else f"{bad} went wrong"
    return [
        f"{machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB",
        f"{machine.kernel} · Python {machine.python} · {machine.loop}",
        results.created.replace("T", " ").replace("Z", " UTC"),
        f"{delivered:,} deliveries checked in all rounds and the search for readers: {verdict}",
    ]


def _latency(results: Results) -> Part:
    said = [
        f"{name}: half within {number(m.latency_ms.p50)} ms, 99 % within "
        f"{number(m.latency_ms.p99)} ms"
        for name, m in results.modes.items()
    ]
    rows = []
    for name, mode in results.modes.items():
        for what, got in (
            ("opened, after warm-up", mode.latency_ms),
            ("durable, after warm-up", mode.accepted_ms),
            ("first message", mode.first_message_ms),
        ):
            cells = [number(getattr(got, field)) for field in _SUMMARY]
            rows.append([f"{name}, {what}", f"{got.count:,}", *cells])
    heads = ["milliseconds", "deliveries", "p50", "p90", "p95", "p99", "p99.9", "max"]
    return {"text": "; ".join(said) + ".", "table": {"heads": heads, "rows": rows}}


def _ratios(results: Results) -> Part:
    base = next(iter(results.modes))
    said = []
    for pair, ratios in results.ratios.items():
        got = ratios.get("server_cpu_us_per_message")
        mode = pair.split("/")[0]
        if got and got.tells:
            said.append(f"{mode} costs the relay {interval(got)} times {base}'s CPU")
        elif got:
            said.append(f"{mode} and {base} could not be told apart by the relay's CPU")
    names = sorted({name for ratios in results.ratios.values() for name in ratios})
    rows = [
        [n, *(interval(r[n]) if n in r else "–" for r in results.ratios.values())] for n in names
    ]
    text = "; ".join(said) + "." if said else f"Only {base} was measured: no ratios."
    return {"text": text, "table": {"heads": ["measure", *results.ratios], "rows": rows}}


def _throughput(results: Results) -> Part:
    said, rows = [], []
    for name, mode in results.modes.items():
        got = mode.throughput
        said.append(f"{name} {number(got.per_core_second)}")
        rows.append([
            name, number(got.per_core_second), number(got.messages_per_second),
            f"{got.relay_cores:.2f}", f"{got.generator_cores:.2f}",
            number(got.relay_cpu_us_per_message), number(got.frame_bytes),
            f"{got.connections} × {got.window}",
        ])  # fmt: skip
    heads = ["mode", "msg/s per core", "msg/s reached", "relay cores", "generator cores",
             "relay µs/msg", "bytes per send", "in flight"]  # fmt: skip
    text = "Durable messages per second of relay CPU: " + ", ".join(said) + "."
    return {"text": text, "table": {"heads": heads, "rows": rows}}


def _cpu(results: Results) -> Part:
    said, rows = [], []
    for name, mode in results.modes.items():
        server, client = mode.server_cpu_us_per_message, mode.client_cpu_us_per_message
        said.append(f"{name}: {number(server)} µs at the relay, {number(client)} µs at the clients")
        sizes = (mode.wire_bytes_per_message, mode.stored_bytes_per_message)
        first = (mode.first_message_ms.p50, mode.first_message_wire_bytes)
        rows.append([name, *map(number, (server, client, *sizes, *first))])
    heads = ["mode", "relay µs", "clients µs", "wire bytes", "stored bytes",
             "first message ms", "first message wire bytes"]  # fmt: skip
    text = "At the offered rate, where fewer messages share a flush. " + "; ".join(said) + "."
    return {"text": text, "table": {"heads": heads, "rows": rows}}


def _exposure(results: Results) -> list[Part]:
    rows: list[Part] = []
    for who in next(iter(results.modes.values())).exposure:
        name, what = words.ADVERSARY.get(who, (who, ""))
        cells = [_cell(mode.exposure[who]) for mode in results.modes.values()]
        rows.append({"name": name, "what": what, "cells": cells})
    rows.sort(key=lambda row: all(cell["style"] == "none" for cell in row["cells"]))
    return rows


def _cell(got: Exposure) -> Part:
    if not got.applicable:
        return {"style": "none", "share": 0, "number": "–", "word": got.note}
    if not got.measured or got.recovered is None or not got.planted:
        said = "declared: can read" if got.declared else "declared: cannot"
        return {"style": "none", "share": 0, "number": "–", "word": said}
    share = got.recovered / got.planted
    style = "seen" if got.recovered else "hidden"
    word = "could read" if got.recovered else "could not"
    if got.kept and not got.recovered:
        word += f"; its own history shows {got.kept}"
    if got.ok is False:
        style, word = f"{style} wrong", f"{word}; declared otherwise"
    return {
        "style": style,
        "share": round(share, 3),
        "number": f"{got.recovered} / {got.planted}",
        "word": word,
    }


def _exposure_table(results: Results) -> Part:
    rows = []
    for name, mode in results.modes.items():
        for who, got in mode.exposure.items():
            if not got.measured:
                said = words.NOT_MEASURED if got.applicable else "not applicable"
                rows.append([f"{name}, {who}", str(got.declared), said, "", "", got.note])
                continue
            forms = ", ".join(f"{form} {n}" for form, n in got.forms.items()) or "none"
            found = f"{got.recovered} / {got.planted}"
            rows.append([f"{name}, {who}", str(got.declared), found,
                         f"{got.searched_bytes or 0:,}", forms, got.note])  # fmt: skip
    heads = ["where", "declared", "recovered", "bytes searched", "forms", "note"]
    return {"heads": heads, "rows": rows}


def _drill_text(results: Results) -> str:
    return (
        f"{results.trace.labelled} messages of the trace carry labels (made-up advertising, and "
        "harmless markers that stand for severe content). This measures access, not safety. "
        "Every forgery must be refused; one that is accepted fails the whole run."
    )


def _drill(results: Results) -> list[Part]:
    paths = []
    for path, (title, text) in _PATHS.items():
        known = [mode.moderation[path] for mode in results.modes.values()]
        if any(access.measured for access in known):
            columns = [_access(access) for access in known]
            rows = [
                {"name": name, "cells": [column[at] for column in columns]}
                for at, name in enumerate(_MEASURED)
            ]
        else:
            text = known[0].note
            rows = [{"name": "readable", "cells": [words.NOT_MEASURED] * len(known)}]
        rows = [row for row in rows if any(cell != "–" for cell in row["cells"])]
        paths.append({"title": title, "text": text, "rows": rows})
    return paths


def _access(got: Access) -> list[str]:
    if not got.measured:
        return [words.NOT_MEASURED, *["–"] * (len(_MEASURED) - 1)]
    span = got.time_to_evidence_ms
    forged = "–"
    if got.forged_submitted:
        parts = ", ".join(f"{what} {count}" for what, count in got.forged_by.items())
        forged = f"{got.forged_accepted} of {got.forged_submitted} ({parts})"
    return [
        share(got.readable, got.labelled),
        share(got.verifiable, got.labelled),
        {"record": "the relay's record", "commitment": "commitment, stamp"}.get(got.basis, "–"),
        words.labels(got.labels),
        words.labels(got.labels_alone),
        forged,
        number(got.over_collection) if got.over_collection is not None else "–",
        f"{number(span.p50)} / {number(span.p99)}" if span else "–",
        "–" if got.approvals is None else str(got.approvals),
        "–" if got.logged is None else f"{got.logged:.0%}",
        "–" if got.refused is None else str(got.refused),
    ]


def _details(results: Results) -> list[tuple[str, str]]:
    trace, machine = results.trace, results.machine
    size = (
        f"{trace.name}: {trace.messages:,} planned messages, {trace.users} users, "
        f"{trace.conversations} conversations, {trace.labelled} labelled"
    )
    negotiated = sorted({mode.tls for mode in results.modes.values()})
    return [
        ("Trace", size),
        ("SHA-256", trace.sha256),
        ("Seed", str(results.seed)),
        ("TLS negotiated", "; ".join(negotiated)),
        ("Libraries", f"{machine.openssl}; SQLite {machine.sqlite}"),
        ("Duration", f"{results.seconds:.0f} s"),
        *(("Threshold", words.threshold(threshold)) for threshold in results.thresholds),
    ]


def _rounds(results: Results) -> Part:
    rows = [
        [f"{r.round + 1}{', again' if r.attempt else ''}", r.mode,
         f"{r.offered_per_s:.1f}", f"{r.achieved_per_s:.1f}",
         f"{r.lag_ms.p50:.2f} / {r.lag_ms.p99:.2f} / {r.lag_ms.max:.2f}",
         f"{r.latency_ms.p50:.2f} / {r.latency_ms.p99:.2f}", f"{r.generator_cpu:.2f}",
         "kept" if r.kept else "repeated", "yes" if r.valid else "void"]
        for r in sorted(results.rounds, key=lambda r: r.order)
    ]  # fmt: skip
    heads = ["round", "mode", "offered/s", "achieved/s", "generator lag ms p50 / p99 / max",
             "latency ms p50 / p99", "generator cores", "", "valid"]  # fmt: skip
    return {"heads": heads, "rows": rows}
