"""What ``louver keys …`` does: what is known of somebody's keys, and proofs of it.

What may live here: the steps of a command over the library, and how its results are put. What may
not: its options (``cli.keys``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from client import key_log_file, qr, wording
from client.client import Chat
from client.commands import Terms, opened
from client.key_log import KeyLog, LogState
from client.key_watch import PAGE, Claim, Verified
from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument, KeyChanged, LouverError
from crypto_modes.transparency.note import NOTE_LIMIT

# How a checkpoint begins, after what this command says before it.
_CHECKPOINT = b"\nlouver/key-log/"


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


async def log(terms: Terms, against: Path | None = None) -> None:
    """Show the log that is pinned, and its newest signed checkpoint; or hold what this command told
    somebody else (a file) to it. Raises ``LogRefused`` where the two logs contradict each other."""
    async with opened(terms) as chat:
        await chat.key_watch.log.update()
        state = chat.key_watch.log.state()
        if against is not None:
            await _compare(terms, chat.key_watch.log, against)
            return
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


async def _compare(terms: Terms, log: KeyLog, against: Path) -> None:
    try:
        with against.open("rb") as file:
            told = b"\n" + file.read(NOTE_LIMIT).strip() + b"\n"
    except OSError as error:
        raise BadArgument(f"cannot read {against}: {error.strerror}") from None
    head = await log.compare(told[told.find(_CHECKPOINT) + 1 :])
    if terms.json:
        terms.say(wording.as_json({"same_log": True, "size": head.size, "root": head.root}))
    else:
        terms.say(f"This is the same log as here, when it had {head.size} entries.")


async def save(terms: Terms, file: Path) -> None:
    """Write the log, up to its newest checkpoint, to a file."""
    async with opened(terms) as chat:
        log = chat.key_watch.log
        await log.update()
        state = log.state()
        await key_log_file.save(state, _pages(log, state.head.size), file)
        if terms.json:
            terms.say(wording.as_json({"file": str(file), **_log_fields(state)}))
        else:
            terms.say(f"{file} has the log of keys, {state.head.size} entries.")
            terms.say(f"To check it without the relay: louver keys audit {file}")


async def _pages(log: KeyLog, size: int) -> AsyncIterator[wire.Entries]:
    start = 0
    while start < size:
        page = await log.entries(start, min(PAGE, size - start))
        start += len(page.entries)
        yield page


def audit(terms: Terms, files: Sequence[Path], account: str, vkey: str) -> None:
    """Check saved logs; what does not hold is raised."""
    try:
        id_ = bytes.fromhex(account)
    except ValueError:
        raise BadArgument("the id of an account has 32 hexadecimal digits") from None
    if len(id_) not in (0, ID_SIZE):
        raise BadArgument("the id of an account has 32 hexadecimal digits")
    found = key_log_file.audit(files, id_, vkey)
    for each in found:
        if terms.json:
            fields = {"file": str(each.file), "verified": True, "log_key": each.log.encode()}
            root = each.heads[each.size]
            terms.say(wording.as_json({**fields, "size": each.size, "root": root, "own": each.own}))
        else:
            terms.say(f"{each.file}: {each.size} entries, as its checkpoint was signed over.")
    if terms.json:
        return
    if len(found) > 1:
        terms.say("Each continues the one before: nothing was changed or taken out.")
    if id_:
        numbers = ", ".join(str(number) for number in found[-1].own)
        terms.say(f"Entries of this account: {numbers}.")
    if not vkey:
        terms.say(f"Signed by {found[-1].log.encode()}")
        terms.say("That this is the relay's key, only its operator can tell you: --key checks it.")


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
    lines += [f"  claim         {_claim_words(each)}" for each in found.claims]
    if found.own:
        lines.append(f"  own entries   {len(found.own)}, all of your own doing")
    if found.account == chat.account:
        return "\n".join(lines)
    lines.append(f"Whoever watches this log sees the same keys, {name} too. That they really are")
    lines.append(f"{name}'s, only comparing the safety number shows:")
    return "\n".join([*lines, wording.safety(found.safety_number)])


def _claim_words(claim: Claim) -> str:
    who = wording.plain(claim.name) or claim.account.hex()[:8]
    return f"a message of {who} speaks of another log; that proves nothing, see keys log --against"


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
        "claims": [
            {"account": each.account.hex(), "size": each.head.size, "root": each.head.root.hex()}
            for each in found.claims
        ],
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
