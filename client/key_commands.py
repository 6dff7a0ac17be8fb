"""What ``louver keys …`` does: what is known of somebody's keys, and proofs of it.

What may live here: the steps of a command over the library, and how its results are put. What may
not: its options (``cli.keys``).
"""

from __future__ import annotations

import sys
import time

from client import qr, wording
from client.client import Chat
from client.commands import Terms, opened
from client.key_log import LogState
from client.key_watch import Verified
from crypto_modes.errors import KeyChanged, LouverError


async def show(terms: Terms, peer: str, *, as_qr: bool) -> None:
    """Show the safety number with somebody, to compare by another way."""
    async with opened(terms) as chat:
        changed = False
        account = await chat.look_up(peer)
        try:
            await chat.devices(account)
        except KeyChanged:
            changed = True  # the number of the new key is just what is wanted
        number = chat.safety_number(account)
        text = chat.key_watch.safety_text(account)
        if terms.json:
            fields = {"name": peer, "account": account, "changed": changed}
            terms.say(wording.as_json({**fields, "safety_number": number, "qr": text}))
            return
        if changed:
            terms.say(f"THE KEY OF {peer} CHANGED; this is the number of the new one.")
        terms.say(f"Compare with {peer}, by voice or in person:")
        terms.say(wording.safety(number))
        if as_qr:
            terms.say(qr.draw(text, colours=sys.stdout.isatty()))


async def verify(terms: Terms, peer: str) -> None:
    """Prove somebody's keys by the relay's key log; what does not hold is raised."""
    async with opened(terms) as chat:
        try:
            found = await chat.key_watch.verify(peer)
        except LouverError as error:
            if terms.json:
                reason = wording.plain(str(error))
                terms.say(wording.as_json({"name": peer, "verified": False, "reason": reason}))
            raise
        terms.say(wording.as_json(_fields(found)) if terms.json else _words(found, chat))


async def log(terms: Terms) -> None:
    """Show the log that is pinned, and its newest signed checkpoint."""
    async with opened(terms) as chat:
        await chat.key_watch.log.update()
        state = chat.key_watch.log.state()
        if terms.json:
            terms.say(wording.as_json(_log_fields(state)))
            return
        terms.say(f"Key:        {state.vkey}")
        terms.say(f"Consistent: since {_clock(state.since)}")
        terms.say(state.note.decode())


async def accept_log(terms: Terms, vkey: str) -> None:
    """Begin anew with a log whose key the operator has told by another way."""
    async with opened(terms) as chat:
        chat.key_watch.log.forget(vkey)
        await chat.key_watch.log.update()
        await chat.key_watch.watch()
        if terms.json:
            terms.say(wording.as_json(_log_fields(chat.key_watch.log.state())))
        else:
            terms.say("This log is pinned now; nothing is known any more of the one before.")


def _words(found: Verified, chat: Chat) -> str:
    head, name = found.log.head, wording.plain(found.name)
    lines = [
        f"The keys of {name} are in the relay's key log.",
        f"  key           {_grouped(found.key.hex())}",
        f"  device list   version {found.version}, {found.devices} device(s)",
        f"  log entry     number {found.index}, of {head.size} in all",
        f"  checkpoint    verified, signed by {found.log.vkey}",
        f"  consistent    since {_clock(found.log.since)}: nothing was changed or taken out",
    ]
    if found.own:
        lines.append(f"  own entries   {len(found.own)}, all of your own doing")
    if found.account == chat.account:
        return "\n".join(lines)
    lines.append(f"Whoever watches this log sees the same keys, {name} too. That they really are")
    lines.append(f"{name}'s, only comparing the safety number shows:")
    return "\n".join([*lines, wording.safety(found.safety_number)])


def _fields(found: Verified) -> dict[str, object]:
    return {
        "name": found.name,
        "verified": True,
        "account": found.account,
        "key": found.key,
        "version": found.version,
        "devices": found.devices,
        "index": found.index,
        "own_entries": [each.number for each in found.own],
        "safety_number": found.safety_number,
        **_log_fields(found.log),
    }


def _log_fields(state: LogState) -> dict[str, object]:
    return {
        "log_key": state.vkey,
        "size": state.head.size,
        "root": state.head.root,
        "since": state.since,
        "checkpoint": state.note.decode(),
    }


def _grouped(digits: str) -> str:
    return " ".join(digits[start : start + 8] for start in range(0, len(digits), 8))


def _clock(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
