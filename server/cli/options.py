"""What the commands of ``louverd`` share: their options, and asking a running relay.

What may live here: option types. What may not: a command, or what one does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="LOUVER_CONFIG", help="The settings file (TOML)."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, before file and environment.", metavar="KEY=VALUE"),
]


def _tell_version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        typer.echo(f"louverd {version('louver')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_tell_version, is_eager=True, help="Show it and exit."),
]


def ask(
    file: Path | None, set: list[str] | None, method: str, path: str, body: object = None
) -> str:
    """Ask the running relay for ``/admin/v1/path``, and print its answer, which is returned."""
    from server import admin
    from server.config import load

    answer = admin.ask(load(file, set or (), checked=False), method, path, body)
    typer.echo(answer)
    return answer
