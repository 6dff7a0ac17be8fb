"""``louverd modes``: what the service offers to new conversations.

What may live here: arguments and wording of these commands. What a change does is the relay's.
"""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.options import File, Set, ask

modes = typer.Typer(help="The mode of new conversations.", no_args_is_help=True)


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
    """Let new conversations begin in another mode, at once, until the next reload or restart.

    Conversations that exist keep theirs. The settings stay the truth: write it there as well.
    """
    kinds = dict(_pair(each) for each in kind or ())
    body = {"mode": mode} if mode else {}
    ask(file, set, "POST", "modes", {**body, "modes": kinds} if kinds else body)
    lines = [f'mode = "{mode}"'] if mode else []
    lines += ["[modes]", *(f'{each} = "{name}"' for each, name in kinds.items())] if kinds else []
    typer.echo(
        "louverd: this holds until the next reload or restart; to keep it, write into the"
        f" settings: {'; '.join(lines)}",
        err=True,
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, mode = text.partition("=")
    if not (name and equals and mode):
        raise typer.BadParameter(f"--kind takes KIND=MODE, for example image=tls, not {text!r}")
    return name, mode
