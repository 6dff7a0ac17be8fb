"""``louver opened``: whether the staff opened a conversation, found in the access log.

What may live here: the options and wording. How it is found is in ``client.openings``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.commands import Terms
    from client.openings import Found

app = typer.Typer()


@app.command()
def opened(
    name: str,
    days: Annotated[int, typer.Option(help="How far back to look, 1 to 365.")] = 365,
    log_key: Annotated[str, typer.Option(help="The log's public key, if you have it.")] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Say whether the staff opened your conversation with NAME. Proved from every leaf of the log.

    The last days are held back by the operator's policy, and are not in the answer.
    """

    async def work(terms: Terms) -> None:
        from client import commands, wording
        from client.wording import as_json as json_of

        async with commands.opened(terms) as chat:
            found = await chat.openings.check(name, days=days, vkey=log_key)
        if terms.json:
            told = {"opened": bool(found.times), "times": found.times, "leaves": found.indexes}
            span = {"first": _day(found.first), "end": _day(found.end)}
            head = {"size": found.head.size, "root": found.head.root, "log_key": found.vkey}
            terms.say(json_of({**told, **span, **head}))
            return
        for line in _lines(wording.plain(name), found):
            terms.say(line)

    options.run(work, options.place(home, profile), as_json)


def _lines(name: str, found: Found) -> list[str]:
    if found.end <= found.first:
        return [f"Nothing can be said yet: the operator tells about these days of {name} later."]
    span = f"from {_day(found.first)} to {_day(found.end - 1)} (UTC)"
    where = [
        f"  {found.head.size} entries of {found.vkey.partition('+')[0]}, all of them verified",
        f"  {_day(found.end)} and what follows cannot be told yet: ask again later",
    ]
    if not found.times:
        return [f"No: your conversation with {name} was not opened {span}.", *where]
    times = [f"  {_time(each)}, entry {index}" for each, index in
             zip(found.times, found.indexes, strict=True)]  # fmt: skip
    return [f"Yes: your conversation with {name} was opened {span}:", *times, *where]


def _day(day: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _time(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
