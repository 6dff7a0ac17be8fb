"""``louverd vault``: the vault's process, its key in shares, and whom it knows.

What may live here: arguments and wording of these commands. What they do is in ``server.vault``.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, get_args

import typer

vault = typer.Typer(
    help="The vault, which opens messages under a granted case.",
    no_args_is_help=True,
)
staff = typer.Typer(help="Whom the vault knows. A change holds at once.", no_args_is_help=True)
vault.add_typer(staff, name="staff")

File = Annotated[
    Path | None, typer.Option("--config", "-c", help="The vault's settings file (TOML).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, before the file.", metavar="KEY=VALUE"),
]
Address = Annotated[
    str, typer.Option("--vault", help="Where it is, unless where the settings say.")
]
Authority = Annotated[str, typer.Option(help="Who signed its certificate (PEM).")]


@vault.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write.")] = Path("vault.toml"),
) -> None:
    """Write a settings file: every key, meaning and default."""
    from crypto_modes.errors import BadConfig
    from server.vault.settings import example

    try:
        with file.open("x") as made:
            made.write(example())
    except FileExistsError:
        raise BadConfig(f"{file} exists; name another file or remove it") from None
    except OSError as error:
        raise BadConfig(f"cannot write {file}: {error.strerror}") from None
    typer.echo(f"wrote {file}; next: louverd moderation vault-key --dir vault, and put")
    typer.echo("  keys.door and relay.token into it; then: louverd vault staff add …")
    typer.echo(f"             then: louverd vault serve --config {file}")


@vault.command()
def serve(file: File = None, set: Set = None) -> None:
    """Run a vault until SIGTERM."""
    import asyncio

    from server.vault.app import serve as run
    from server.vault.settings import load

    raise typer.Exit(asyncio.run(run(load(file, set or ()))))


@vault.command()
def split(
    key: Annotated[Path, typer.Argument(help="The secret key: vault/vault.key or team/team.key.")],
    shares: Annotated[int, typer.Option(help="How many to make, at most 32.")],
    threshold: Annotated[int, typer.Option(help="How many of them open, 2 or more.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path("shares"),
) -> None:
    """Split a key of the vault into shares. Any THRESHOLD of SHARES give it back, fewer say
    nothing.

    The key itself stays, and opens everything alone, until you destroy it.
    """
    from server.vault.splitting import split as make

    for path in make(key, shares, threshold, directory):
        typer.echo(f"wrote {path}")
    typer.echo(
        f"louverd: give each to another person and remove it here. {key} still opens everything"
        " alone: once the shares have opened a vault (keys.split, for the team's key"
        " keys.team_split), destroy it and its copies",
        err=True,
    )


@vault.command()
def status(
    address: Address = "",
    authority: Authority = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one object.")] = False,
    file: File = None,
    set: Set = None,
) -> None:
    """Say whether the running vault would open things. And if not, why.

    Exit code 0 where it would, 1 where something is in the way, 3 where no vault answers.
    """
    import asyncio

    import msgspec

    from crypto_modes.errors import ConnectionLost, VaultUnavailable
    from server.cli.vault_words import lines
    from server.vault.operator import At, state
    from server.vault.settings import load

    settings = load(file, set or (), checked=False)
    try:
        found = asyncio.run(state(settings, At(address, authority)))
    except VaultUnavailable as error:
        raise ConnectionLost(str(error)) from None
    for line in [msgspec.json.encode(found).decode()] if as_json else lines(found):
        typer.echo(line)
    for problem in found.problems:
        typer.echo(f"louverd: {problem}", err=True)
    raise typer.Exit(1 if found.problems else 0)


@vault.command()
def reconcile(
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only this day (UTC).")
    ] = None,
    address: Address = "",
    authority: Authority = "",
    file: File = None,
    set: Set = None,
) -> None:
    """Look for what was opened past the access log. Holds the data keys that the running vault
    unwrapped to those that it announced.

    Prints one JSON line for each day. Exit code 1 where more were unwrapped than announced.
    """
    import asyncio

    import msgspec

    from server.vault.operator import At, reconciled
    from server.vault.settings import load

    settings = load(file, set or (), checked=False)
    found = asyncio.run(reconciled(settings, At(address, authority)))
    days = [each for each in found.days if day is None or each.day == str(day.date())]
    for each in days:
        typer.echo(msgspec.json.encode(each).decode())
    more = [each for each in days if each.surplus]
    for each in more:
        typer.echo(
            f"louverd: on {each.day} the vault's key opened {each.unwrapped} data keys and the"
            f" access log announced {each.announced}: the others were opened past the access log",
            err=True,
        )
    if more and found.erased:
        typer.echo(
            f"louverd: {found.erased} entries of the log were erased; some may have announced them",
            err=True,
        )
    raise typer.Exit(1 if more else 0)


@staff.command()
def add(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    role: Annotated[str, typer.Option(help="moderator, senior, legal, auditor, operator, admin.")],
    subject: Annotated[
        str, typer.Option(help="The human behind it: what the identity provider calls him.")
    ],
    key: Annotated[str, typer.Option(help="His public key, 64 hexadecimal digits.")],
    file: File = None,
    set: Set = None,
) -> None:
    """Let the vault know a person, or change what it knows of him."""
    import msgspec

    from crypto_modes.errors import BadArgument
    from crypto_modes.grants import Person, Role
    from server.vault.staff import add as write

    try:
        told = {"name": name, "subject": subject, "role": role, "key": bytes.fromhex(key)}
        person = msgspec.convert(told, Person)
    except (msgspec.ValidationError, ValueError):
        raise BadArgument(
            f"a person has a name in small letters, one of the roles {', '.join(get_args(Role))},"
            " a subject, and a key of 64 hexadecimal digits"
        ) from None
    write(_list(file, set), person)
    typer.echo(f"{name} is {role} for this vault from now on")


@staff.command()
def remove(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    file: File = None,
    set: Set = None,
) -> None:
    """Let a person be a stranger to the vault, from the next call on."""
    from server.vault.staff import remove as take

    take(_list(file, set), name)
    typer.echo(f"{name} is a stranger to this vault from now on")


@staff.command("list")
def list_(file: File = None, set: Set = None) -> None:
    """Print one JSON line for each person."""
    import json

    from server.vault.staff import read

    for person in read(_list(file, set)).values():
        told = {"name": person.name, "role": person.role, "subject": person.subject}
        typer.echo(json.dumps({**told, "key": person.key.hex()}))


def _list(file: Path | None, set: list[str] | None) -> Path:
    from server.vault.settings import load

    return load(file, set or (), checked=False).staff_file
