"""``louverd``: the operator's command. Each command reads, calls one function, says the result.

What may live here: arguments, wording and exit codes; a group's are in a file of its own. What
costs time to import is imported inside the commands, so that ``--help`` answers at once. Exit
codes: 0 done, 1 unexpected, 2 usage or configuration, 3 no relay answers. An error is one sentence
on standard error; results go to standard output, so that programs can read them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from server import dumps
from server.cli import keys, service, staff, team, transparency, vault, witness
from server.cli.options import File, Set, Version, ask

if TYPE_CHECKING:
    from server.settings_tree import Settings

USAGE = 2
UNEXPECTED = 1
UNREACHABLE = 3

app = typer.Typer(
    name="louverd",
    help="Run and look after a Louver relay.",
    epilog="Exit codes: 0 done, 1 unexpected, 2 usage or settings, 3 no relay answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config = typer.Typer(help="Write, check and explain settings.", no_args_is_help=True)
certs = typer.Typer(help="Certificates.", no_args_is_help=True)
app.add_typer(config, name="config")
app.add_typer(certs, name="certs")
app.add_typer(keys.keys, name="keys")
app.add_typer(service.modes, name="modes")
app.add_typer(service.sunset, name="sunset")
app.add_typer(staff.staff, name="staff")
app.add_typer(team.moderation, name="moderation")
app.add_typer(team.reports, name="reports")
app.add_typer(vault.vault, name="vault")


@app.callback()
def _any(version: Version = False) -> None:
    """Declares the options of all commands."""


@app.command()
def serve(file: File = None, set: Set = None) -> None:
    """Run a relay until SIGTERM. SIGHUP reads the settings again."""
    import asyncio

    from server import app as relay

    known = relay.installed_modes()
    settings = _settings(file, set, known)
    sources: Callable[[], Settings] = lambda: _settings(file, set, known)  # noqa: E731
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(relay.serve(settings, sources))
    raise typer.Exit(code)


@config.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write.")] = Path("louver.toml"),
) -> None:
    """Write a settings file: every key, meaning and default."""
    from server.config import example

    try:
        with file.open("x") as made:
            made.write(example())
    except FileExistsError:
        _fail(f"{file} exists; name another file or remove it", USAGE)
    except OSError as error:
        _fail(f"cannot write {file}: {error.strerror}", USAGE)
    typer.echo(f"wrote {file}; next: louverd certs dev --dir certs")
    typer.echo(f"             then: louverd serve --config {file}")


@config.command()
def check(file: File = None, set: Set = None) -> None:
    """Say whether a relay would start with these settings."""
    from server.app import installed_modes
    from server.certs import server_context

    settings = _settings(file, set, installed_modes())
    listen = settings.listen
    if not listen.insecure:
        server_context(Path(listen.certificate), Path(listen.key), tls12=listen.tls12)
    modes = sorted({*settings.modes_by_kind().values()})
    typer.echo(f"good; new conversations: {', '.join(modes)}; data in {settings.data}")


@config.command()
def show(
    file: File = None,
    set: Set = None,
    origins: Annotated[bool, typer.Option("--origins", help="Say where each came from.")] = False,
) -> None:
    """Print every setting in force, as TOML. What is wrong with them goes to standard error."""
    from server.app import installed_modes
    from server.config import flat, load, problems
    from server.config import origins as origins_of
    from server.settings_text import literal

    settings = load(file, set or (), checked=False)
    came_from = origins_of(settings)
    for key, value in flat(settings).items():
        origin = f"  # {came_from[key]}" if origins else ""
        typer.echo(f"{key} = {literal(value)}{origin}")
    for problem in problems(settings, installed_modes()):
        typer.echo(f"louverd: {problem}", err=True)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the settings file."""
    import json

    from server.config import schema as schema_of

    typer.echo(json.dumps(schema_of(), indent=2))


@certs.command()
def dev(
    directory: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path("certs"),
) -> None:
    """Make a throw-away authority and a certificate for localhost. Not for real use."""
    from server.certs import make_dev_certificates

    for made in make_dev_certificates(directory):
        typer.echo(f"wrote {made}")


@app.command()
def status(file: File = None, set: Set = None) -> None:
    """Print what a running relay says about itself, as JSON."""
    ask(file, set, "GET", "status")


@app.command()
def revoke(
    account: Annotated[str, typer.Option(help="The account's name.")] = "",
    device: Annotated[str, typer.Option(help="One device, 32 hex digits.")] = "",
    file: File = None,
    set: Set = None,
) -> None:
    """Log out a device, or all devices of an account, at once."""
    if not account and not device:
        _fail("name an account (--account NAME), a device (--device HEX), or both", USAGE)
    asked = {"account": account} if account else {}
    ask(file, set, "POST", "revoke", asked | ({"device": device} if device else {}))


@app.command()
def reveal(
    reports: Annotated[
        Path | None,
        typer.Option(help="Verify these reports (JSON lines) instead of reading everything."),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the attachments that are readable, by their ids."),
    ] = None,
    file: File = None,
    set: Set = None,
) -> None:
    """Print what the operator can read, as JSON lines. Every stored message and attachment: what it
    says, or why the operator cannot read it.
    """
    import asyncio

    from server import reveal as revealing
    from server.app import installed_modes
    from server.config import load

    typer.echo(f"louverd: {revealing.WARNING}", err=True)
    settings = load(file, set or (), checked=False)
    asyncio.run(
        revealing.print_lines(settings, installed_modes(), reports, sys.stdout.buffer, files)
    )


# Commands are listed in this order; these two are the fewest people's.
app.command()(transparency.transparency)
app.command()(witness.witness)


def main() -> NoReturn:
    """The entry point of the command ``louverd``."""
    from crypto_modes.errors import BadArgument, BadConfig, ConnectionLost, LouverError, Unavailable

    dumps.forbid()
    try:
        app()
    except (BadArgument, BadConfig) as error:
        _fail(str(error), USAGE)
    except ConnectionLost as error:
        _fail(str(error), UNREACHABLE)
    except Unavailable as error:
        _fail(error.advice or str(error), UNEXPECTED)
    except LouverError as error:
        _fail(str(error), UNEXPECTED)
    except BrokenPipeError:
        # The reader of our output has seen enough; silence the flush at exit too.
        sys.stderr.close()
        sys.exit(UNEXPECTED)
    except OSError as error:
        _fail(f"{error.strerror or error}", UNEXPECTED)
    except Exception as error:  # noqa: BLE001 - a bug's text may quote a secret; tell its place
        _fail(f"unexpected {type(error).__name__} in {_place(error)}; please report", UNEXPECTED)
    sys.exit(0)


def _settings(file: Path | None, set: list[str] | None, modes: Any) -> Settings:
    from server.config import load

    return load(file, set or (), modes)


def _loop_factory() -> Callable[[], Any] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _place(error: BaseException) -> str:
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        print(f"louverd: {line}", file=sys.stderr)  # noqa: T201 - this is the command line
    sys.exit(code)
