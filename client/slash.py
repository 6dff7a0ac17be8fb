"""The commands of a chat that start with a slash, as a table: word, arguments, help, what it does.

What may live here: the table, and commands of a few lines over the library. What may not: what
happens unasked (``terminal``). To add one: a function that takes the talk and the rest of the
line, and a row. What it raises as a ``LouverError`` is shown as a sentence.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from client import device_wording, wording
from client.messages import Message, Proposal
from client.reporting import Choice
from client.spool import kind_of, place_of
from client.verifying import preview
from crypto_modes.e2ee.linker import Joining
from crypto_modes.errors import BadArgument, KeyChanged
from crypto_modes.reports import CATEGORIES

if TYPE_CHECKING:
    from client.terminal import Talk


class Command(NamedTuple):
    """A command: how it is written, in a line of help, and what it does."""

    word: str
    arguments: str
    help: str
    run: Callable[[Talk, str], Awaitable[None]]


async def _mode(talk: Talk, argument: str) -> None:
    if argument == "agree":
        await _agree(talk)
    elif argument in ("withdraw", "decline"):
        await talk.chat.proposals.withdraw(talk.peer)
    elif argument:
        mode, *kinds = argument.split()
        policy = await talk.chat.proposals.ask_for(talk.peer, mode, kinds)
        if policy.state == "prepared":
            talk.show_proposal(Proposal(talk.chat.account, policy))
            return
    await talk.show_mode()


async def _agree(talk: Talk) -> None:
    """To what was shown here last; what waits in its place is shown instead of agreed to."""
    try:
        await talk.chat.proposals.agree(talk.peer, talk.proposed)
    except BadArgument as error:
        talk.screen.show(f"! {error}")
        pending = await talk.chat.proposals.pending(talk.peer)
        if pending is not None:
            talk.show_proposal(pending)


async def _safety(talk: Talk, _: str) -> None:
    with contextlib.suppress(KeyChanged):  # its number is just what is wanted
        await talk.chat.devices(talk.peer)
    talk.compared = number = talk.chat.safety_number(talk.peer)
    talk.screen.show(f"Compare with {talk.name}, by voice or in person:")
    talk.screen.show(wording.safety(number))
    mode = (await talk.chat.policy(talk.peer)).modes["text"]
    if not talk.chat.proposals.private(mode):
        talk.screen.show(
            f"It does not matter in mode {wording.plain(mode)}: there the operator can read."
        )


async def _accept(talk: Talk, _: str) -> None:
    number, talk.compared = talk.compared, ""  # whatever comes of it, look again
    if not number:
        talk.screen.show(f"! look at /safety first, and compare it with {talk.name}")
        return
    await talk.chat.accept_key(talk.peer, number)
    talk.screen.show(f"You accepted the new key of {talk.name}.")


async def _anyway(talk: Talk, _: str) -> None:
    if not talk.unsent:
        raise BadArgument("there is nothing that was not sent")
    talk.type(talk.unsent, anyway=True)


async def _history(talk: Talk, _: str) -> None:
    for message in await talk.chat.history(talk.peer, limit=20):
        talk.show_message(message)


def _target(talk: Talk, rest: str) -> tuple[bytes, str]:
    """The id of the message that ``rest`` begins with the number of (``-``: the user's own last
    one), and what follows. Raises ``BadArgument``.
    """
    number, _, rest = rest.partition(" ")
    if number != "-":
        return talk.target(number.removeprefix("#")), rest.strip()
    if not talk.last:
        raise BadArgument("you have sent nothing yet")
    return talk.last, rest.strip()


async def _reply(talk: Talk, rest: str) -> None:
    target, text = _target(talk, rest)
    if not text:
        raise BadArgument("write it like this: /reply 7 your answer")
    talk.say(talk.chat.compose.reply(talk.peer, target, text))


async def _react(talk: Talk, rest: str) -> None:
    target, emoji = _target(talk, rest)
    talk.later(talk.chat.compose.react(talk.peer, target, emoji))


async def _edit(talk: Talk, rest: str) -> None:
    target, text = _target(talk, rest)
    if not text:
        raise BadArgument("write it like this: /edit 7 the new text (/delete 7 takes it back)")
    talk.later(talk.chat.compose.edit(talk.peer, target, text))


async def _delete(talk: Talk, rest: str) -> None:
    target, _ = _target(talk, rest)
    await talk.chat.compose.delete(talk.peer, target)
    talk.screen.show(wording.deleted(talk.name))


async def _timer(talk: Talk, rest: str) -> None:
    compose = talk.chat.compose
    if rest:
        await compose.timer(talk.peer, wording.seconds_of(rest))
    seconds = await compose.timer_of(talk.peer)
    if not seconds:
        talk.screen.show("Messages stay.")
        return
    talk.screen.show(
        f"What you both send disappears from your devices {wording.duration(seconds)} after it was"
        " shown. Either of you may keep a copy all the same, and the relay keeps its own."
    )


async def _file(talk: Talk, rest: str) -> None:
    if not rest:
        raise BadArgument("write it like this: /file PATH")
    path = place_of(rest)
    talk.say(talk.chat.attachments.send(talk.peer, path, kind=kind_of(path.name)))


async def _save(talk: Talk, rest: str) -> None:
    number, _, place = rest.partition(" ")
    message = talk.message(number.removeprefix("#"))
    talk.later(_saved(talk, message, place_of(place.strip() or ".")))


async def _saved(talk: Talk, message: Message, place: Path) -> None:
    path = await talk.chat.attachments.save(message, place)
    talk.screen.show(f"Verified and saved: {wording.plain(str(path))}")


async def _report(talk: Talk, rest: str) -> None:
    """In two steps: what would be revealed is shown first, and sent only when that is confirmed."""
    chosen, talk.reporting = talk.reporting, None
    reports = talk.chat.reports
    if rest == "send":
        if chosen is None:
            raise BadArgument("say first what to report: /report 7 threat, and your words")
        await reports.send(chosen.messages, chosen.category, chosen.words)
        talk.screen.show(f"Reported to the team. {talk.name} is not told, and not blocked: /block")
        return
    number, _, why = rest.partition(" ")
    shown = talk.message(number.removeprefix("#"))
    # As it was received, not as it was edited since: that is what its sender committed to.
    kept = tuple(each for each in await reports.received(talk.peer) if each.id == shown.id)
    category, _, words = why.strip().partition(" ")
    if category not in CATEGORIES:
        raise BadArgument(f"say why: /report {number} CATEGORY, one of {', '.join(CATEGORIES)}")
    if not kept:
        raise BadArgument(f"only what {talk.name} wrote, and is still here, can be reported")
    report = reports.compose(kept, category, words)
    team = await reports.team()
    for line in preview(report):
        talk.screen.show(line)
    talk.screen.show(f"The team's key: {team.fingerprint} ({team.state}). To send it: /report send")
    talk.reporting = Choice(kept, category, words)


async def _block(talk: Talk, _: str) -> None:
    await talk.chat.block(talk.peer)
    talk.screen.show(f"{talk.name} is blocked.")


async def _devices(talk: Talk, _: str) -> None:
    chat = talk.chat
    found = await chat.devices(chat.account)
    for each in found.list.certificates if found.list is not None else ():
        mark = "  (this one)" if each.device == chat.welcome.device else ""
        talk.screen.show(f"  {device_wording.identifier(each.device)}{mark}")


async def _link(talk: Talk, rest: str) -> None:
    linking = talk.chat.linking
    if not rest:
        joining = await linking.begin(socket.gethostname()[:32])
        talk.screen.show(device_wording.code(joining, colours=False))
        talk.later(_linked(talk, joining))
    elif rest == "yes" and talk.candidate is not None:
        found, talk.candidate = talk.candidate, None
        talk.screen.show(device_wording.approved(await linking.approve(found)))
    else:
        talk.candidate = found = await linking.consider(rest)
        name = talk.chat.welcome.name
        talk.screen.show(device_wording.candidate(found, name, with_account_key=False))
        talk.screen.show("To approve: /link yes")


async def _linked(talk: Talk, joining: Joining) -> None:
    talk.screen.show(device_wording.linked(await talk.chat.linking.finish(joining)))


async def _reset(talk: Talk, _: str) -> None:
    await talk.chat.linking.reset(talk.peer)
    talk.screen.show(
        "Your next message sets encryption up anew. What is under way to you may not open."
    )


async def _quit(_: Talk, __: str) -> None:
    """Leaving is the talk's own business; the row is here for the help."""


COMMANDS = {
    each.word: each
    for each in (
        Command(
            "/mode",
            "[MODE [KIND]]",
            "who can read; with MODE: ask for another; agree, decline, withdraw",
            _mode,
        ),
        Command(
            "/safety",
            "",
            "a number to compare with the other's over another way",
            _safety,
        ),
        Command(
            "/accept",
            "",
            "accept the other's new key, the one that /safety showed",
            _accept,
        ),
        Command("/history", "", "the last twenty messages", _history),
        Command("/anyway", "", "send what your own list warned of", _anyway),
        Command("/reply", "N TEXT", "answer message #N; - is your own last one", _reply),
        Command("/react", "N [EMOJI]", "put an emoji at it; none takes it back", _react),
        Command("/edit", "N TEXT", "put another text there, within a day", _edit),
        Command("/delete", "N", "take your message back, within a day", _delete),
        Command("/timer", "[1h|off]", "let messages disappear after they were shown", _timer),
        Command("/file", "PATH", "send a file", _file),
        Command("/save", "N [DIR]", "save the file of message #N", _save),
        Command("/report", "N CATEGORY", "report message #N to the moderation team", _report),
        Command("/block", "", "block the other", _block),
        Command("/devices", "", "the devices of your account", _devices),
        Command("/link", "[CODE]", "link this device, or another one by its code", _link),
        Command("/reset", "", "set encryption with the other up anew", _reset),
        Command("/quit", "", "leave", _quit),
    )
}
HELP = "\n".join(f"{f'{each.word} {each.arguments}':<20} {each.help}" for each in COMMANDS.values())
