"""``louver compare [diff]`` and ``louver report``: arguments in, exit code out.

What may live here: turning arguments into a plan, running it, writing the directory, exit codes.
What may not: measuring or wording. Heavy libraries load inside functions, so that ``louver
--help`` stays quick.

Exit codes: 0 ok · 1 unexpected · 2 usage or config · 3 not reachable · 4 measurement invalid ·
5 verification failed · 99 threshold crossed · 130 interrupted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_modes.errors import BadArgument, BadConfig, ConnectionLost

if TYPE_CHECKING:
    from rich.console import Console

    from client.compare.campaign import Finished
    from client.compare.plan import Plan, Size

USAGE, UNREACHABLE, INTERRUPTED = 2, 3, 130
_NEEDED = ("numpy", "matplotlib", "jinja2", "jwt")
_EXITS = (
    "Exit codes: 0 ok, 1 unexpected, 2 usage or config, 3 not reachable, 4 measurement invalid, "
    "5 verification failed, 99 threshold crossed, 130 interrupted."
)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=_EXITS,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def run(arguments: list[str]) -> int:
    """Do what the words after ``louver compare`` say; ``report DIR`` is ``louver report``'s."""
    command = typer.main.get_command(app)
    try:
        code = command.main(
            arguments, prog_name="louver compare", standalone_mode=False, obj=arguments
        )
    except typer.Abort:
        return _failed("interrupted; nothing was kept", INTERRUPTED)
    except typer.TyperException as error:
        return _failed(str(error), USAGE)
    return int(code or 0)


@app.callback(invoke_without_command=True)
def compare(
    context: typer.Context,
    modes: Annotated[
        str, typer.Option(help="Modes to compare, the base first.")
    ] = "tls,at_rest,e2ee",
    trace: Annotated[str, typer.Option(help="synthetic, chitchat, or a file.")] = "synthetic",
    seed: Annotated[int, typer.Option(help="All but keys follows from it.")] = 1,
    users: Annotated[int | None, typer.Option(help="How many people chat.")] = None,
    rate: Annotated[float | None, typer.Option(help="Messages per second.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds measured a round.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of each mode.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One short round each.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Six long rounds each.")] = False,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="A condition to hold, else exit 99: 'e2ee.latency_ms.p99<50'."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("report"),
    json: _Json = False,
) -> int:
    """Send the same traffic through every mode of a real relay, and report what it cost and
    who could read. From nothing, in three to four minutes."""
    if context.invoked_subcommand:
        return 0
    given = {"users": users, "rate": rate, "duration": duration, "rounds": rounds}
    typed = list(context.obj or ())

    def work() -> int:
        _check_installed()
        size = _size(quick, full, given)
        return _compare(_plan(modes, trace, seed, size, threshold or [], out, typed), json)

    return _guarded(work)


@app.command()
def report(directory: Annotated[Path, typer.Argument()] = Path("report")) -> int:
    """Render the report in DIRECTORY again from its raw data."""

    def work() -> int:
        from client.compare.report import render

        _check_installed()
        print(render(directory))  # noqa: T201  the answer of this command
        return 0

    return _guarded(work)


@app.command()
def diff(first: Path, second: Path, seed: int = 1, json: _Json = False) -> int:
    """How SECOND differs from FIRST (two report directories), with 95 % intervals."""

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
    with (
        _made(plan.out),
        tempfile.TemporaryDirectory(prefix="louver-compare-") as home,
        terminal.progress(notes, campaign.count(plan)) as say,
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


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """A directory, made before the work so that a wrong one is told at once; whatever of it was
    made here, and is still empty when the work fails, goes away again."""
    made = [one for one in (directory, *directory.parents) if not one.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for one in made:
            with suppress(OSError):  # not empty: what was written stays
                one.rmdir()
        raise


def _write(plan: Plan, finished: Finished) -> None:
    """Raw data first, then what is derived from it."""
    import msgspec

    from client.compare import measures, record, report, results

    raw = finished.raw
    record.write(plan.out, raw.samples, raw.blocks)
    (plan.out / "steps.json").write_bytes(msgspec.json.encode(finished.steps) + b"\n")
    (plan.out / "ladder.json").write_bytes(msgspec.json.encode(finished.prices) + b"\n")
    (plan.out / "trace.jsonl").write_bytes(plan.trace.encoded)
    for mode in plan.modes if record.can_write_hlog() else ():
        micros = measures.flat(raw.latency(mode)) * 1000
        record.write_hlog(plan.out / f"latency-{mode}.hlog", micros, mode)
    (plan.out / results.FILE).write_bytes(results.encode(finished.results))
    report.render(plan.out)


def _plan(
    modes: str,
    trace: str,
    seed: int,
    size: Size,
    thresholds: Sequence[str],
    out: Path,
    typed: Sequence[str],
) -> Plan:
    from client.compare import plan
    from client.opening import installed_modes

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
        argv=tuple(typed),
    )


def _size(quick: bool, full: bool, given: Mapping[str, float | None]) -> Size:
    from client.compare import plan

    if quick and full:
        raise BadArgument("--quick and --full exclude each other")
    size = plan.QUICK if quick else plan.FULL if full else plan.DEFAULT
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
        size = replace(size, **{name: type(getattr(size, name))(value)})
    return size


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
