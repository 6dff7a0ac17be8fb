"""``louver audit``: copying the access log of a vault, and verifying copies without asking anybody.

What may live here: the options and wording. What must hold is in ``client.auditing``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.auditing import Copy, Trust

app = typer.Typer(
    help="Verify the access log: every reading by the staff is in it.", no_args_is_help=True
)

Key = Annotated[
    str,
    typer.Option(
        envvar="LOUVER_LOG_KEY",
        help="The log's public key; the vault says it at /vault/v1/status.",
    ),
]
Witnesses = Annotated[
    list[str] | None, typer.Option("--witness", help="A witness's public key; repeatable.")
]
Quorum = Annotated[int, typer.Option(help="How many of these witnesses must have signed.", min=0)]
Place = Annotated[str, typer.Argument(help="http(s)://HOST:PORT of the vault, or a directory.")]
Authority = Annotated[
    Path | None, typer.Option("--ca", help="PEM file of the authority of the vault's certificate.")
]


@app.command()
def fetch(
    place: Place,
    directory: Annotated[Path, typer.Argument(help="Where to keep the copy.")],
    name: Annotated[str, typer.Option(help="Your name in the staff: entries, too.")] = "",
    key_file: Annotated[Path | None, typer.Option(help="Your secret key for that.")] = None,
    authority: Authority = None,
) -> None:
    """Save a copy of the log, to verify now and to hold later copies to."""
    import time

    from client import keyfile, log_files

    def work() -> None:
        from crypto_modes.errors import BadArgument
        from crypto_modes.keys import SigningKey

        if bool(name) != (key_file is not None):
            raise BadArgument("entries are shown to who signs: give --name and --key-file")
        size = log_files.fetch(log_files.reader(place, authority), directory)
        if key_file is not None:
            staff = log_files.Staff(name, SigningKey(keyfile.key_file(key_file, make=False)))
            site = log_files.Site(place, authority)
            shown = log_files.fetch_opened(site, staff, lambda: time.time_ns() // 1_000_000)
            log_files.keep_opened(directory, shown[:size])
        typer.echo(f"{size} entries in {directory}; next: louver audit verify {directory} --key …")

    _judged(work)


@app.command()
def verify(
    places: Annotated[
        list[str], typer.Argument(metavar="PLACE", help="Copies, oldest first; or the vault.")
    ],
    key: Key,
    witness: Witnesses = None,
    quorum: Quorum = 0,
    leaf: Annotated[int | None, typer.Option(help="Prove this one entry, too.")] = None,
    range_: Annotated[str, typer.Option("--range", help="List leaves: FIRST-LAST.")] = "",
    receipt: Annotated[
        Path | None, typer.Option(help="A receipt (JSON) that the log must keep.")
    ] = None,
    authority: Authority = None,
    as_json: options.Json = False,
) -> None:
    """Verify a log, and that later copies continue it. Exit code 5 where something is wrong.

    Signatures, every leaf and every tile; entries with their salts where a copy has them.
    """
    from client import audit_words, auditing, log_files
    from crypto_modes.errors import LogRefused

    def work() -> None:
        trust = _trust(key, witness, quorum)
        copies: list[Copy] = []
        for place in places:
            read = log_files.reader(place, authority)
            try:
                copy = auditing.verify(read, trust)
                came = auditing.continues(copy, copies[-1]) if copies else 0
            except LogRefused as error:
                # Of several copies, which.
                raise LogRefused(f"{place}: {error}") from None
            shown = audit_words.shown(copy, place)
            for line in audit_words.lines(place, copy, came, shown, as_json=as_json):
                typer.echo(line)
            copies.append(copy)
        for line in audit_words.asked(copies[-1], trust, leaf, range_, receipt, as_json=as_json):
            typer.echo(line)

    _judged(work)


def _trust(key: str, witnesses: list[str] | None, quorum: int) -> Trust:
    from client.auditing import Trust
    from crypto_modes.errors import BadArgument
    from crypto_modes.transparency.note import BY_WITNESS, Verifier

    beside = tuple(Verifier.decode(each) for each in witnesses or ())
    if len(set(beside)) < quorum or any(each.kind != BY_WITNESS for each in beside):
        raise BadArgument("give as many different keys of witnesses as --quorum says")
    return Trust(Verifier.decode(key), beside, quorum)


def _judged(work: Callable[[], None]) -> None:
    """Do it; what is wrong is said in one sentence, with its exit code."""
    from client import wording
    from crypto_modes.errors import LouverError

    try:
        work()
    except LouverError as error:
        sys.stderr.write(f"louver: {wording.plain(str(error))}\n")
        raise typer.Exit(wording.exit_code(error)) from None
