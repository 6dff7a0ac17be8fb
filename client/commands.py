"""The commands of ``louver``, each a few lines over the library.

What may live here: what a command does. What may not: its options (``cli``), how things are put
(``wording``), or the interactive chat (``terminal``).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from client import profile as profiles
from client import wording
from client.client import Chat
from client.connection import check_url
from client.credentials import Credentials, check_name
from client.messages import Message
from client.opening import connect
from client.profile import Profile
from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument

Say = Callable[[str], None]


class Terms(msgspec.Struct, frozen=True):
    """How a command was called: its directory, and whether a program reads its output."""

    place: Path
    json: bool = False
    say: Say = lambda text: print_line(text)


def print_line(text: str) -> None:
    """Write one line to standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@asynccontextmanager
async def opened(terms: Terms) -> AsyncIterator[Chat]:
    """The chat of the profile in ``terms.place``."""
    profile = profiles.load(terms.place)
    async with _connected(terms.place, profile) as chat:
        yield chat


@asynccontextmanager
async def _connected(
    place: Path,
    profile: Profile,
    credentials: Credentials | None = None,
    *,
    replace_key: bool = False,
) -> AsyncIterator[Chat]:
    keystore = profiles.open_keystore(place, profile.guard)
    try:
        async with connect(
            profile.url,
            name=profile.name,
            keystore=keystore,
            credentials=credentials,
            ca=profile.ca or None,
            replace_key=replace_key,
        ) as chat:
            yield chat
    finally:
        keystore.close()


async def enrol(
    terms: Terms, profile: Profile, *, register: bool, insecure: bool, replace_key: bool = False
) -> None:
    """Make an account or log in; the profile is kept once the relay has let us in."""
    secure, _ = check_url(profile.url)
    if not secure and not insecure:
        raise BadArgument("ws:// is not encrypted: add --insecure, on this machine only")
    check_name(profile.name)
    if register and profiles.exists(terms.place):
        kept = profiles.load(terms.place).name
        raise BadArgument(
            f"{terms.place} is {kept}'s already: go on with louver chat, or register another user"
            " with --profile OTHER"
        )
    credentials = profiles.credentials(profile.name, register=register)
    async with _connected(terms.place, profile, credentials, replace_key=replace_key) as chat:
        profiles.save(terms.place, profile)
        welcome = chat.welcome
        if terms.json:
            fields = {"account": welcome.account, "name": welcome.name, "device": welcome.device}
            terms.say(wording.as_json({**fields, "relay": welcome.relay, "modes": welcome.modes}))
            return
        mode = welcome.modes["text"]
        if not register:
            terms.say(f"Welcome, {welcome.name}.")
        elif chat.unlinked is None:
            terms.say(f"{welcome.name} is registered here.")
        else:
            # The right password of an account that was there: who registered did not expect that.
            terms.say(f"{welcome.name} was registered before; this is one more device of theirs.")
        terms.say(f"New conversations are in mode {mode}: {wording.plain(chat.words(mode))}.")
        if chat.unlinked is not None:
            terms.say(f"No end-to-end encryption yet: {chat.unlinked}.")
            terms.say(
                "To link this device: louver link. To replace: louver login NAME --replace-key"
            )
        terms.say("Write to somebody: louver chat --to NAME")


async def send(terms: Terms, to: str, text: str, reply_to: str = "", timer: str = "off") -> None:
    """Send one message; ``-`` takes it from standard input. ``reply_to`` is a number or an id,
    ``timer`` as in ``wording.seconds_of``."""
    if text == "-":
        text = sys.stdin.read(wire.CONTENT_LIMIT + 1)
    if not text:
        raise BadArgument("there is nothing to send")
    seconds = wording.seconds_of(timer)
    async with opened(terms) as chat:
        if reply_to:
            target = (await message_of(chat, to, reply_to)).id
            sent = await chat.compose.reply(to, target, text, seconds=seconds)
        elif seconds:
            sent = await chat.compose.disappearing(to, text, seconds)
        else:
            sent = await chat.send(to, text)
        if terms.json:
            terms.say(wording.as_json(wording.sent_fields(sent)))


async def message_of(chat: Chat, peer: str, which: str) -> Message:
    """The message with ``peer`` that has this number or id. Raises ``BadArgument``."""
    number = which.removeprefix("#")
    if number.isascii() and number.isdecimal() and len(number) < 2 * ID_SIZE:
        page = await chat.history(peer, before=int(number) + 1, limit=1)
        found = next((each for each in page if each.seq == int(number)), None)
    else:
        try:
            id_ = bytes.fromhex(which)
        except ValueError:
            raise BadArgument("name a message by its number or its id, as history shows") from None
        found = await chat.attachments.message(peer, id_)
        if found is None:
            # A script may be told of a message before this device was: look at the newest.
            await chat.history(peer)
            found = await chat.attachments.message(peer, id_)
    if found is None:
        raise BadArgument(f"there is no message {which} with {peer} on this device")
    return found


async def history(terms: Terms, peer: str, limit: int, before: int) -> None:
    """Show the newest messages with somebody."""
    async with opened(terms) as chat:
        page = await chat.history(peer, limit=limit, before=before)
        numbers = {each.id: f"#{each.seq}" for each in page}
        for message in page:
            fields = wording.message_fields(message)
            line = wording.line(message, number=lambda each: numbers.get(each, wording.UNNUMBERED))
            terms.say(wording.as_json(fields) if terms.json else line)


async def block(terms: Terms, peer: str, *, on: bool) -> None:
    """Block or unblock somebody."""
    async with opened(terms) as chat:
        await chat.block(peer, on=on)
        if terms.json:
            terms.say(wording.as_json({"name": peer, "blocked": on}))
        else:
            terms.say(f"{peer} is {'blocked' if on else 'no longer blocked'}.")
