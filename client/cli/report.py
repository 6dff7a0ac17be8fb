"""``louver report``: reporting messages to the moderation team, and verifying what was reported.

What may live here: the options, and what is asked before something is revealed. What is revealed
and how it is judged are in ``client.reporting`` and ``client.verifying``. ``louver report DIR``
once rendered a comparison again, and still does; that is ``louver compare report DIR`` now.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.client import Chat
    from client.commands import Terms
    from client.messages import Message

_OLD = "comparison"
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


class _Group(typer.core.TyperGroup):
    """A group that takes what is none of its commands for the directory of a comparison."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((each for each in args if not each.startswith("-")), "")
        asks = not set(args).isdisjoint(ctx.help_option_names)
        if not args or (first not in self.commands and not asks):
            args = [_OLD, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Report messages to the moderation team; verify reports. With a directory instead of a"
    " command: render the report of an earlier comparison again.",
)


@app.command(_OLD, hidden=True, context_settings=_PASS_ON, add_help_option=False)
def comparison(context: typer.Context) -> None:
    """Render the report of an earlier comparison again."""
    options.elsewhere("client.compare.cli", ["report", *context.args])


@app.command()
def send(
    peer: options.With,
    message: Annotated[
        list[str],
        typer.Option(help="Its id, or its number as `louver history --json` tells; repeatable."),
    ],
    category: Annotated[
        str,
        typer.Option(
            help="spam, harassment, threat, hate, sexual, minors, self_harm, fraud or other."
        ),
    ],
    words: Annotated[str, typer.Option(help="What the team should know, in your words.")] = "",
    block: Annotated[bool, typer.Option("--block", help="Block this user, too.")] = False,
    team_key: Annotated[
        str, typer.Option(help="The team's fingerprint that you compared; no other key will do.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking.")] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Report messages that you received. What is revealed is shown before it is sent."""

    async def work(terms: Terms) -> None:
        from client import wording
        from client.commands import opened

        async with opened(terms) as chat:
            chosen = await _chosen(chat, peer, message)
            if not await _agreed(chat, terms, chosen, (category, words), ask=not yes):
                return
            filed = await chat.reports.send(
                chosen, _category(category), words, also_block=block, team=team_key
            )
            if terms.json:
                told = {"report": filed.id, "time": filed.time, "blocked": filed.blocked}
                terms.say(wording.as_json(told))
                return
            terms.say(f"Reported; the team has it as {filed.id.hex()}.")
            terms.say(f"{peer} is blocked." if filed.blocked else f"{peer} is not blocked.")

    options.run(work, options.place(home, profile), as_json)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE")],
    key: Annotated[Path, typer.Option(help="The team's secret key, team.key.")],
    franking_keys: Annotated[
        Path | None, typer.Option(help="The directory of the relay's franking keys.")
    ] = None,
    confirm: Annotated[
        str, typer.Option(help="Ask the relay instead: http://HOST:PORT, its internal listener.")
    ] = "",
    token: Annotated[Path | None, typer.Option(help="The file of its admin token.")] = None,
    as_json: options.Json = False,
) -> None:
    """Open sealed reports, and judge each message. Exit code 5 where one is not proven."""
    from client import verifying, wording
    from crypto_modes.errors import LouverError

    worst = wording.OK
    platform = verifying.Platform(franking_keys, confirm, token)
    for file in files:
        try:
            found = verifying.verify(file, key, platform)
        except LouverError as error:
            sys.stderr.write(f"louver: {wording.plain(str(error))}\n")
            worst = max(worst, wording.exit_code(error))
            continue
        for line in verifying.objects(found) if as_json else verifying.lines(found):
            typer.echo(line)
        worst = max(worst, wording.OK if found.proven else wording.NOT_VERIFIED)
    raise typer.Exit(worst)


async def _chosen(chat: Chat, peer: str, named: list[str]) -> list[Message]:
    """The messages that the user named, in the order of the conversation."""
    from crypto_modes.errors import BadArgument

    received = await chat.reports.received(peer)
    names = {each.id.hex(): each for each in received} | {str(each.seq): each for each in received}
    missing = [each for each in named if each.lower() not in names]
    if missing:
        raise BadArgument(
            f"this device has received no message {missing[0]!r} from {peer}: give its id or"
            " number, as louver history --json shows them"
        )
    chosen = {names[each.lower()].id: names[each.lower()] for each in named}
    return sorted(chosen.values(), key=lambda each: each.seq)


async def _agreed(
    chat: Chat, terms: Terms, chosen: list[Message], why: tuple[str, str], *, ask: bool
) -> bool:
    """Show what will be revealed and to whom; whether the user wants that."""
    from client.verifying import preview
    from crypto_modes.errors import BadArgument

    category, words = why
    report = chat.reports.compose(chosen, _category(category), words)
    team = await chat.reports.team()
    if terms.json and not ask:
        return True
    for line in preview(report):
        terms.say(line)
    new = {"first": ", seen for the first time", "changed": ", WHICH CHANGED"}.get(team.state, "")
    terms.say(f"The team's key: {team.fingerprint}{new}.")
    if not ask:
        return True
    if not sys.stdin.isatty():
        raise BadArgument("nobody is here to ask; add --yes to send this report")
    return typer.confirm("Send this report?")


def _category(name: str) -> Any:
    from crypto_modes.errors import BadArgument
    from crypto_modes.reports import CATEGORIES

    if name not in CATEGORIES:
        raise BadArgument(f"--category is one of {', '.join(CATEGORIES)}, not {name!r}")
    return name
