"""``louver policy``: the mode of a conversation, for scripts.

What may live here: options, and how a policy is printed. What a change is lives in
``client.proposals``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.client import Chat
    from client.commands import Terms
    from crypto_modes import wire

app = typer.Typer(help="Who can read a conversation, and changing that.", no_args_is_help=True)

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only this kind of content, such as image; may be repeated."),
]


@app.command()
def show(
    name: str,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show a conversation's modes, and what waits for an agreement."""

    async def work(terms: Terms) -> None:
        from client.commands import opened

        async with opened(terms) as chat:
            peer = await chat.look_up(name)
            _print(terms, chat, name, await chat.policy(peer))
            pending = await chat.proposals.pending(peer)
            if pending is not None:
                _print(terms, chat, name, pending.policy, by=pending.by)

    options.run(work, options.place(home, profile), as_json)


@app.command("set")
def set_(
    name: str,
    mode: str,
    kind: Kinds = None,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Put the conversation with NAME into a mode. A stronger one at once, a weaker one when NAME
    asks for the same within a day."""

    async def work(terms: Terms) -> None:
        from client.commands import opened

        async with opened(terms) as chat:
            peer = await chat.look_up(name)
            policy = await chat.proposals.ask_for(peer, mode, kind or ())
            by = chat.account if policy.state == "prepared" else b""
            _print(terms, chat, name, policy, by=by)

    options.run(work, options.place(home, profile), as_json)


@app.command()
def agree(
    name: str,
    proposal: Annotated[str, typer.Argument(help="Which one, as louver policy show names it.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Agree to what NAME has proposed. To this proposal, and no other that may wait by now."""

    async def work(terms: Terms) -> None:
        from client.commands import opened
        from crypto_modes.errors import BadArgument

        try:
            shown = bytes.fromhex(proposal)
        except ValueError:
            raise BadArgument("a proposal is named by hexadecimal digits") from None
        async with opened(terms) as chat:
            peer = await chat.look_up(name)
            _print(terms, chat, name, await chat.proposals.agree(peer, shown))

    options.run(work, options.place(home, profile), as_json)


@app.command()
def withdraw(
    name: str,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """End the proposal that waits with NAME, yours or theirs."""

    async def work(terms: Terms) -> None:
        from client.commands import opened

        async with opened(terms) as chat:
            peer = await chat.look_up(name)
            _print(terms, chat, name, await chat.proposals.withdraw(peer))

    options.run(work, options.place(home, profile), as_json)


def _print(terms: Terms, chat: Chat, name: str, policy: wire.Policy, *, by: bytes = b"") -> None:
    """One policy; ``by`` whoever has proposed it, where it is not in force."""
    from client import mode_words, wording
    from client.proposals import NAME_SIZE
    from crypto_modes.policy import digest

    theirs = by not in (b"", chat.account)
    if terms.json:
        fields = {"conversation": policy.conversation, "epoch": policy.epoch, "by": by}
        rest = {"state": policy.state, "modes": policy.modes, "deadline": policy.deadline}
        named = {"proposal": digest(policy)} if theirs else {}
        terms.say(wording.as_json({**fields, **rest, **named}))
        return
    lines = mode_words.shown(policy.modes, chat.words)
    if not by:
        lines[0] = f"With {wording.plain(name)}, {lines[0]}"
    else:
        who = "You have" if by == chat.account else f"{wording.plain(name)} has"
        lines[0] = f"{who} proposed, until {mode_words.until(policy.deadline)}: {lines[0]}"
    if theirs:
        short = digest(policy)[:NAME_SIZE].hex()
        lines.append(f"  to agree: louver policy agree {wording.plain(name)} {short}")
    for line in lines:
        terms.say(f"{line}.")
