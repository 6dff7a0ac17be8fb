"""The comparison in a terminal: progress while it runs, the table at its end, the changes.

What may live here: layout for ``rich``. What may not: wording that the page shares (``words``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from client.compare import words
from client.compare.results import STEPS, Interval, Results, Step
from client.compare.words import interval, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from client.compare.rounds import Say

_COLOURS = ("yellow", "blue", "green", "magenta", "cyan", "red")


@contextmanager
def progress(console: Console, total: int) -> Iterator[Say]:
    """A bar of ``total`` steps; call what it gives at the start of each."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        began = False

        def say(text: str, *, more: int = 0) -> None:
            nonlocal began, total
            total += more
            bar.update(task, total=total)
            if more:
                console.print("The round was void: it is repeated in every mode.", style="yellow")
            bar.update(task, description=f"{text:<24}", advance=1 if began else 0)
            began = True
            if not console.is_terminal:
                console.print(text)

        yield say


def show(console: Console, found: Results) -> None:
    """The sentence, the table, and whatever is wrong."""
    console.print()
    console.print(words.sentence(found), style="bold")
    console.print()
    console.print(_table(found))
    if steps := _steps(found):
        console.print(steps)
    machine = found.machine
    console.print(
        f"[dim]{machine.cpu}, {machine.cores} cores · trace {found.trace.name} "
        f"{found.trace.sha256[:12]}… · {found.trace.messages:,} planned messages a round · seed "
        f"{found.seed} · latency counts from the planned time[/]"
    )
    for caution in words.cautions(found):
        console.print(caution, style="yellow", markup=False)
    for limit in words.limits(found):
        console.print(limit, style="dim", markup=False)
    for threshold in found.thresholds:
        style = "bold red" if threshold.crossed else "green"
        console.print(words.threshold(threshold), style=style, markup=False)
    for problem in found.problems:
        console.print(f"not valid: {problem}", style="bold red", markup=False)


def next_steps(console: Console, directory: Path) -> None:
    """What to open now."""
    console.print(f"\nOpen [bold]{directory / 'index.html'}[/] in a browser. Beside it lie "
                  "results.json and every raw sample.")  # fmt: skip


def show_changes(console: Console, changes: Mapping[str, Mapping[str, Interval]]) -> None:
    """Each mode's measures, second run over first."""
    table = _bare("measure", *changes)
    names = sorted({name for mode in changes.values() for name in mode})
    for name in names:
        cells = [_change(mode.get(name)) for mode in changes.values()]
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        "[dim]second over first, with 95 % intervals from the two runs' own rounds and seconds; "
        "dim: could not tell apart[/]"
    )


def _change(got: Interval | None) -> str:
    if got is None:
        return "–"
    return f"[bold]{interval(got)}[/]" if got.tells else f"[dim]{interval(got)}[/]"


def _table(found: Results) -> Table:
    table = _bare("", *found.modes)
    for column, colour in zip(table.columns[1:], _COLOURS * 9, strict=False):
        column.header_style = f"bold {colour}"
    modes = list(found.modes.values())
    rows: list[tuple[str, list[str]]] = [
        ("p50, p99 (ms)", [_pair(m.latency_ms.p50, m.latency_ms.p99) for m in modes]),
        ("first message (ms)", [number(m.first_message_ms.p50) for m in modes]),
        ("messages/s per relay core", [number(m.throughput.per_core_second) for m in modes]),
        ("relay, clients (µs CPU/msg)", [
            _pair(m.server_cpu_us_per_message, m.client_cpu_us_per_message) for m in modes
        ]),
        ("wire, stored (bytes/msg)", [
            _pair(m.wire_bytes_per_message, m.stored_bytes_per_message) for m in modes
        ]),
        ("who can read", [m.words for m in modes]),
        ("  measured", [words.who_can_read(m) for m in modes]),
        ("staff reads, of what is labelled", [words.staff(m) for m in modes]),
        ("can a report be proven", [" · ".join(words.proof(m.moderation["user_report"]))
                                    for m in modes]),
        ("deliveries; lost, dup., reord., altered", [
            f"{m.delivered:,}; {m.lost}, {m.duplicated}, {m.reordered}, {m.altered}" for m in modes
        ]),
    ]  # fmt: skip
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def _steps(found: Results) -> Table | None:
    """First contact and steady cost apart; None where they were not measured."""
    modes = list(found.modes.values())
    table = _bare("clients: µs CPU, ms, wire bytes", *found.modes)
    for step in STEPS:
        if all(step in mode.steps for mode in modes):
            table.add_row(words.STEP[step][0].lower(), *(_step(mode.steps[step]) for mode in modes))
    return table if table.rows else None


def _step(got: Step) -> str:
    cells = (got.client_cpu_us.value, got.latency_ms.value, got.wire_bytes)
    return ", ".join(map(number, cells))


def _pair(one: float, other: float) -> str:
    return f"{number(one)}, {number(other)}"


def _bare(*heads: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table
