"""``louver compare``, ``louver compare diff`` and ``louver report``: arguments in, exit code out.

What may live here: turning arguments into a plan, running it, writing the directory, exit codes.
What may not: measuring or wording. Heavy libraries load inside functions, so that ``louver
--help`` stays quick.

Exit codes: 0 ok · 1 unexpected · 2 usage or config · 3 not reachable · 4 measurement invalid ·
5 verification failed · 99 threshold crossed · 130 interrupted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from crypto_modes.errors import BadArgument, BadConfig, ConnectionLost

if TYPE_CHECKING:
    from rich.console import Console

    from client.compare.campaign import Finished
    from client.compare.plan import Plan, Size

USAGE, UNREACHABLE, INTERRUPTED = 2, 3, 130
MODES = "tls,at_rest,e2ee"
_NEEDED = ("numpy", "matplotlib", "jinja2", "hdrh", "jwt")


def run(
    *,
    modes: str = MODES,
    trace: str = "synthetic",
    seed: int = 1,
    users: int | None = None,
    rate: float | None = None,
    duration: float | None = None,
    rounds: int | None = None,
    quick: bool = False,
    full: bool = False,
    threshold: Sequence[str] = (),
    out: Path = Path("report"),
    json: bool = False,
) -> int:
    """Compare modes and write the report into ``out``; the exit code."""

    def work() -> int:
        _check_installed()
        size = _size(quick, full, users, rate, duration, rounds)
        plan = _plan(modes, trace, seed, size, threshold, out)
        return _compare(plan, json)

    return _guarded(work)


def run_report(directory: Path) -> int:
    """Render the report in ``directory`` again from its raw data; the exit code."""

    def work() -> int:
        from client.compare.report import render

        _check_installed()
        print(render(directory))  # noqa: T201  the answer of this command
        return 0

    return _guarded(work)


def run_diff(first: Path, second: Path, *, json: bool = False, seed: int = 1) -> int:
    """Show how ``second`` differs from ``first``, with intervals; the exit code."""

    def work() -> int:
        from client.compare import measures, record, results, terminal
        from client.compare.measures import Raw

        old, new = results.read(first), results.read(second)
        old_raw, new_raw = Raw(*record.read(first)), Raw(*record.read(second))
        shared = [mode for mode in old.modes if mode in new.modes]
        if not shared:
            raise BadArgument("these two comparisons share no mode")
        changes = {m: measures.changes(new_raw, old_raw, m, seed=seed) for m in shared}
        if json:
            _print_json(changes)
            return 0
        if old.trace.sha256 != new.trace.sha256:
            _console(stderr=True).print("The two runs had different traces: compare with care.")
        terminal.show_changes(_console(), changes)
        return 0

    return _guarded(work)


def _compare(plan: Plan, json: bool) -> int:
    import asyncio

    from client.compare import campaign, results, terminal

    notes = _console(stderr=True)
    plan.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="louver-compare-") as home,
        terminal.progress(notes, campaign.steps(plan)) as say,
    ):
        finished = asyncio.run(campaign.compare(plan, Path(home), say))
        _write(plan, finished)
    if json:
        sys.stdout.buffer.write(results.encode(finished.results))
    else:
        console = _console()
        terminal.show(console, finished.results)
        terminal.next_steps(console, plan.out)
    return finished.code


def _write(plan: Plan, finished: Finished) -> None:
    """Raw data first, then what is derived from it."""
    from client.compare import measures, record, report, results

    raw = finished.raw
    record.write(plan.out, raw.samples, raw.blocks)
    (plan.out / "trace.jsonl").write_bytes(plan.trace.encoded)
    for mode in plan.modes:
        micros = measures.flat(raw.latency(mode)) * 1000
        record.write_hlog(plan.out / f"latency-{mode}.hlog", micros, mode)
    (plan.out / results.FILE).write_bytes(results.encode(finished.results))
    report.render(plan.out)


def _plan(
    modes: str, trace: str, seed: int, size: Size, thresholds: Sequence[str], out: Path
) -> Plan:
    from client.client import installed_modes
    from client.compare import plan

    chosen = plan.modes(modes, list(installed_modes()))
    made = plan.make_trace(trace, size, seed)
    # A trace from a file brings its own length and people.
    duration = made.seconds - size.warmup
    if duration < 1:
        raise BadArgument(
            f"the trace lasts {made.seconds:.1f} s, of which {size.warmup:g} s are warm-up; "
            "a comparison needs at least one second more"
        )
    if out.exists() and not out.is_dir():
        raise BadArgument(f"--out {out} is a file; name a directory")
    return plan.Plan(
        modes=chosen,
        trace=made,
        size=replace(size, users=made.users, duration=duration),
        seed=seed,
        thresholds=tuple(plan.threshold(text, chosen) for text in thresholds),
        out=out,
        argv=tuple(_arguments()),
    )


def _size(
    quick: bool,
    full: bool,
    users: int | None,
    rate: float | None,
    duration: float | None,
    rounds: int | None,
) -> Size:
    from client.compare import plan

    if quick and full:
        raise BadArgument("--quick and --full exclude each other")
    size = plan.QUICK if quick else plan.FULL if full else plan.DEFAULT
    given = {"users": users, "rate": rate, "duration": duration, "rounds": rounds}
    for name, (low, high) in {
        "users": (2, 1000),
        "rate": (1, 100_000),
        "duration": (1, 3600),
        "rounds": (1, 100),
    }.items():
        value = given[name]
        if value is None:
            continue
        if not low <= value <= high:
            raise BadArgument(f"--{name} must be from {low} to {high}")
        size = replace(size, **{name: value})
    return size


def _arguments() -> list[str]:
    """What was typed after ``compare``, for the report."""
    words = sys.argv[1:]
    return words[words.index("compare") + 1 :] if "compare" in words else []


def _check_installed() -> None:
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise BadConfig(
            f"the comparison needs {', '.join(missing)}: run ./louver compare, which brings "
            "them, or pip install 'louver[try-out]'"
        )


def _guarded(work: Callable[[], int]) -> int:
    """Run it; each kind of failure has its exit code and one clear line."""
    try:
        return work()
    except (BadArgument, BadConfig) as error:
        return _failed(str(error), USAGE)
    except ConnectionLost as error:
        return _failed(str(error), UNREACHABLE)
    except OSError as error:
        return _failed(f"{error.filename or 'this system'}: {error.strerror}", USAGE)
    except KeyboardInterrupt:
        return _failed("interrupted; nothing was kept", INTERRUPTED)


def _failed(text: str, code: int) -> int:
    print(f"louver: {text}", file=sys.stderr)  # noqa: T201  this is the command line
    return code


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)
