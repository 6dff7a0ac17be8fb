"""``louverd modes`` and ``louverd sunset``: what the service offers, and ends.

What may live here: arguments and wording of these commands. What a change does is the relay's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from server.cli.options import File, Set, ask

modes = typer.Typer(help="The mode of new conversations.", no_args_is_help=True)

sunset = typer.Typer(help="End a mode for the whole service, by a plan.", no_args_is_help=True)

Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="A day, UTC: 2027-01-31.")]


@modes.command("set")
def set_(
    mode: Annotated[str, typer.Argument(help="For every kind of content.")] = "",
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="For one kind of content only.", metavar="KIND=MODE"),
    ] = None,
    file: File = None,
    set: Set = None,
) -> None:
    """Let new conversations begin in another mode. At once, until the next reload or restart.

    Conversations that exist keep theirs. The settings stay the truth: write it there as well.
    """
    kinds = dict(_pair(each) for each in kind or ())
    body = {"mode": mode} if mode else {}
    ask(file, set, "POST", "modes", {**body, "modes": kinds} if kinds else body)
    lines = [f'mode = "{mode}"'] if mode else []
    lines += [f'{each} = "{name}" under [modes]' for each, name in kinds.items()]
    typer.echo(
        "louverd: this holds until the next reload or restart; to keep it, write into the"
        f" settings: {', '.join(lines)}",
        err=True,
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, mode = text.partition("=")
    if not (name and equals and mode):
        raise typer.BadParameter(f"--kind takes KIND=MODE, for example image=tls, not {text!r}")
    return name, mode


@sunset.command()
def plan(
    mode: Annotated[str, typer.Option(help="What ends.")],
    instead: Annotated[str, typer.Option(help="What new conversations begin in then.")],
    freeze: Day,
    final: Day,
    file: File = None,
    set: Set = None,
) -> None:
    """Write down that MODE ends. Nothing new in it from FREEZE on, read-only from FINAL on.

    Nobody is told before `louverd sunset start`. No conversation is ever moved: its two users
    agree on another mode, or it can only be read in the end.
    """
    dates = {"freeze": _milliseconds(freeze), "final": _milliseconds(final)}
    body = {"event": "plan", "mode": mode, "instead": instead, **dates}
    _tell(ask(file, set, "POST", "sunset", body))


@sunset.command()
def start(file: File = None, set: Set = None) -> None:
    """Announce the plan to all users. At least 14 days before its first date."""
    _tell(ask(file, set, "POST", "sunset", {"event": "start"}))


@sunset.command()
def status(file: File = None, set: Set = None) -> None:
    """Print the plan, its phase, and what is still in its mode."""
    _tell(ask(file, set, "GET", "sunset"))


@sunset.command()
def cancel(file: File = None, set: Set = None) -> None:
    """Let the mode go on. Users who were told are told this, too."""
    _tell(ask(file, set, "POST", "sunset", {"event": "cancel"}))


def _milliseconds(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp() * 1000)


def _tell(answer: str) -> None:
    """The dates of a plan for people, on standard error: the JSON counts milliseconds."""
    import json

    plan = json.loads(answer)
    if plan["phase"] == "none":
        typer.echo("louverd: there is no plan", err=True)
        return
    freeze, final = (
        datetime.fromtimestamp(plan[date] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for date in ("freeze", "final")
    )
    typer.echo(
        f"louverd: the end of {plan['mode']} is {plan['phase']}: freeze {freeze}, final {final}",
        err=True,
    )
