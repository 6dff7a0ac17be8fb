"""``louverd keys``: the platform's keys, and what their destruction takes with it.

What may live here: arguments, wording and the question before what cannot be undone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.options import File, Set, ask

keys = typer.Typer(help="The platform's keys: status, rotation, shredding.", no_args_is_help=True)


@keys.command()
def status(file: File = None, set: Set = None) -> None:
    """Print the key in force, how far a rotation is, and counts."""
    ask(file, set, "GET", "keys")


@keys.command()
def rotate(file: File = None, set: Set = None) -> None:
    """Bring a new platform key into force. Wraps every stored data key anew.

    Messages are not touched and nothing is refused meanwhile. It goes on by itself after a restart.
    Backups of keys.db from before it are worthless once it is done: make a new one then.
    """
    ask(file, set, "POST", "keys/rotate")


@keys.command()
def heads(
    copy: Annotated[
        Path | None,
        typer.Option("--log", help="A copy with entries, of `louver audit fetch`."),
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="LOUVER_LOG_KEY", help="The log's public key, with --log.")
    ] = "",
    file: File = None,
    set: Set = None,
) -> None:
    """Find out whether records were rolled back. Makes each digest of conversations' heads again
    from them.

    Reads the databases themselves, also beside a running relay. One JSON line for each hour; exit
    code 1 where one does not hold. Without --log the digests are only as good as moderation.db.
    """
    import asyncio

    import msgspec

    from crypto_modes.transparency.note import Verifier
    from server.chain_check import check
    from server.config import load
    from server.transparency import entries_of

    shown = None if copy is None else entries_of(copy, Verifier.decode(key))[0]
    lines = asyncio.run(check(load(file, set or (), checked=False).data, shown))
    for each in lines:
        typer.echo(msgspec.json.encode(each).decode())
    wrong = [each for each in lines if not each.holds]
    if wrong:
        typer.echo(
            f"louverd: {len(wrong)} of {len(lines)} digests in the access log are not those of the"
            " messages any more: messages were rolled back, deleted or changed, or a backup was"
            " restored",
            err=True,
        )
    raise typer.Exit(1 if wrong else 0)


@keys.command()
def shred(
    account: Annotated[str, typer.Option(help="Everything this account ever sent.")],
    peer: Annotated[
        str, typer.Option("--with", help="Only what these two sent each other, both ways.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    file: File = None,
    set: Set = None,
) -> None:
    """Destroy data keys of at_rest for good. What they opened cannot be read by anybody again.

    A backup of louver.db does not bring them back. A backup of keys.db from before does, together
    with the platform key of its time: rotate afterwards to make those worthless as well.
    """
    whose = f"{account} and {peer} sent each other" if peer else f"{account} ever sent"
    if not yes:
        typer.confirm(f"destroy for ever what {whose} in at_rest?", abort=True, err=True)
    asked = {"account": account} | ({"with": peer} if peer else {})
    ask(file, set, "POST", "keys/shred", asked)
    typer.echo(
        "louverd: now make a new backup of keys.db; `louverd keys rotate` ends old ones", err=True
    )
