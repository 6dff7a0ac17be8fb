"""``louver export``: a user's own copy, readable without the relay.

What may live here: options. What an export holds is in ``client.exporting``, its format in
``client.export_file``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.commands import Terms

_SAVE = "save"


class _Group(typer.core.TyperGroup):
    """A group whose first command need not be named: `louver export --all FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_SAVE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="Keep a copy of your conversations. `louver export --with NAME FILE`, or `--all FILE`;"
    " `--offline` asks no relay, `--profile` is whose. It can be read without a relay in any case.",
)
File = Annotated[Path, typer.Argument(help="The export, one JSON object a line.")]


@app.command(_SAVE)
def save(
    file: File,
    peer: Annotated[str, typer.Option("--with", help="The name of the other user.")] = "",
    everybody: Annotated[bool, typer.Option("--all", help="Every conversation.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only what this device has; asks no relay.")
    ] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Write a file with all that was said, in the clear, with proofs."""
    if bool(peer) == everybody:
        raise typer.BadParameter("name somebody by --with NAME, or take --all")

    async def work(terms: Terms) -> None:
        from client import export_commands

        await export_commands.save(terms, file, peer, offline=offline)

    options.run(work, options.place(home, profile), as_json)


@app.command()
def show(file: File) -> None:
    """Show an export, and check what needs no relay. Exit code 5 where it fails."""

    async def work(terms: Terms) -> None:
        from client import export_commands

        export_commands.show(terms, file)

    options.run(work, Path())
