"""What ``louver link`` and ``louver devices …`` do.

What may live here: the steps of a command over the library. What may not: its options
(``cli.devices``), or how things are put (``device_wording``).
"""

from __future__ import annotations

import socket
import sys

from client import device_wording, wording
from client.client import Chat
from client.commands import Terms, opened
from client.linking import Candidate
from client.screen import Console
from crypto_modes import wire
from crypto_modes.errors import BadArgument

# An id may be shortened to this many digits, where only one device begins with them.
LEAST_DIGITS = 8
_HEX = frozenset("0123456789abcdef")


async def show(terms: Terms, peer: str | None) -> None:
    """Show the verified devices of somebody, or one's own."""
    async with opened(terms) as chat:
        found = await chat.devices(peer or chat.account)
        listed = found.list.certificates if found.list is not None else ()
        if terms.json:
            ids = [each.device.hex() for each in listed]
            fields = {"account": found.account, "name": found.name, "key": found.key}
            terms.say(wording.as_json({**fields, "devices": ids}))
        elif not listed:
            terms.say(f"{found.name} has published no keys: end-to-end encryption is not used yet.")
        else:
            terms.say(f"{found.name} has {len(listed)} device(s) on a list signed by their key:")
            for each in listed:
                mark = "  (this one)" if each.device == chat.welcome.device else ""
                terms.say(f"  {device_wording.identifier(each.device)}{mark}")


async def link(terms: Terms, label: str | None) -> None:
    """On a new device: show a code, and wait until another one has approved."""
    async with opened(terms) as chat:
        joining = await chat.linking.begin(socket.gethostname()[:32] if label is None else label)
        if terms.json:
            shown = {"code": joining.code.text(), "qr": joining.code.qr()}
            terms.say(wording.as_json({**shown, "device": joining.device}))
        else:
            terms.say(device_wording.code(joining, colours=sys.stdout.isatty()))
        done = await chat.linking.finish(joining)
        if terms.json:
            fields = {"linked": True, "by": done.by, "peers": done.peers}
            given = {"account_key": done.holds_account_key, "contradicted": [*done.contradicted]}
            terms.say(wording.as_json(fields | given))
        else:
            terms.say(device_wording.linked(done))


async def approve(terms: Terms, code: str, *, with_account_key: bool, yes: bool) -> None:
    """On a linked device: show which device a code belongs to, ask, and link it."""
    async with opened(terms) as chat:
        found = await chat.linking.consider(code)
        name = chat.welcome.name
        if not terms.json:
            terms.say(device_wording.candidate(found, name, with_account_key=with_account_key))
        await _agree(yes=yes)
        done = await _approve(chat, found, with_account_key=with_account_key)
        terms.say(done if not terms.json else wording.as_json({"device": found.device}))


async def remove(terms: Terms, id: str, *, yes: bool) -> None:
    """Take a device off the account."""
    async with opened(terms) as chat:
        device = which(id, await chat.devices(chat.account))
        if not terms.json:
            terms.say(device_wording.removal(device))
        await _agree(yes=yes)
        await chat.linking.remove(device)
        said = {"device": device, "removed": True}
        terms.say(wording.as_json(said) if terms.json else "Removed.")


def which(typed: str, own: wire.Devices) -> bytes:
    """The listed device whose id was typed, in full or as its beginning. Ids only: whatever else
    is 32 digits long, such as a key's, is on no list. Raises ``BadArgument``.
    """
    digits = typed.strip().lower()
    listed = () if own.list is None else own.list.certificates
    found = [each.device for each in listed if each.device.hex().startswith(digits)]
    if len(digits) < LEAST_DIGITS or not _HEX.issuperset(digits) or len(found) != 1:
        raise BadArgument(
            f"name one of your devices by its id, or the first {LEAST_DIGITS} digits of it; see:"
            " louver devices"
        )
    return found[0]


async def _approve(chat: Chat, found: Candidate, *, with_account_key: bool) -> str:
    done = await chat.linking.approve(found, with_account_key=with_account_key)
    return device_wording.approved(done)


async def _agree(*, yes: bool) -> None:
    """Ask, unless ``yes`` was said already. Raises ``BadArgument`` for any other answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadArgument("there is no terminal to ask on: look at it, then say --yes")
    console = Console("Go on? [y/N] ")
    async for line in console.lines():
        if line.strip().lower() in ("y", "yes"):
            return
        break
    raise BadArgument("nothing was done")
