"""The commands for the moderation team: its key pair, and the reports that are sealed to it.

What may live here: their options. What they do is in ``server.team``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.options import File, Set

moderation = typer.Typer(help="The moderation team's key.", no_args_is_help=True)
reports = typer.Typer(help="Sealed reports; only the team can open them.", no_args_is_help=True)


@moderation.command()
def keygen(
    directory: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path("team"),
) -> None:
    """Make the moderation team's key pair: reports are sealed to it. One that is there stays."""
    from server.team import has_pair
    from server.team import keygen as make

    found = has_pair(directory)
    secret, public, fingerprint = make(directory)
    _tell(found, secret)
    typer.echo(f"secret key: {secret}  (for the team; take it off this machine, the relay needs it")
    typer.echo("            for nothing, and who has it reads every report)")
    typer.echo(f"public key: {public}  (for the relay: moderation.key)")
    typer.echo(f"fingerprint: {fingerprint}  (publish it, so that users can compare)")


@moderation.command()
def vault_key(
    directory: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path("vault"),
) -> None:
    """Make the moderation door's key pair. The data keys of at_rest are wrapped for it, too.
    One that is there stays.
    """
    from server.team import has_pair
    from server.team import keygen as make

    found = has_pair(directory, "vault")
    secret, public, _ = make(directory, "vault")
    _tell(found, secret)
    typer.echo(f"secret key: {secret}  (for the vault, on another machine: who has it and the")
    typer.echo("            two databases reads every message in at_rest; the relay needs it for")
    typer.echo("            nothing)")
    typer.echo(f"public key: {public}  (for the relay: keys.moderation)")


def _tell(found: bool, secret: Path) -> None:
    if found:
        typer.echo(f"{secret} was there already: no new key was made, and the pair is unchanged.")
        typer.echo(
            "For a new pair name another directory with --dir. This is the one that is there:"
        )
    else:
        typer.echo("A new pair was made.")


@reports.command("list")
def list_reports(file: File = None, set: Set = None) -> None:
    """Print what the relay knows of each report. One JSON line each."""
    import asyncio
    import json

    from server.config import load
    from server.team import listing

    async def work() -> None:
        async for number, each in listing(load(file, set or (), checked=False)):
            told = {"number": number, "id": each.id.hex(), "reporter": each.reporter.hex()}
            size = {"messages": len(each.tags), "bytes": len(each.sealed)}
            typer.echo(json.dumps({**told, "time": each.time, **size}))

    asyncio.run(work())


@reports.command()
def export(
    directory: Annotated[Path, typer.Argument(help="Where to write; what is there stays.")],
    file: File = None,
    set: Set = None,
) -> None:
    """Write each report to a file, for the team to open."""
    import asyncio

    from server.config import load
    from server.team import export as write

    new, count = asyncio.run(write(load(file, set or (), checked=False), directory))
    typer.echo(f"{new} new, {count} in all, in {directory}; next: louver report verify")
