"""``louver export``: writing an export to a file, and reading one without a relay.

What may live here: what the two commands do and print. What may not: their options (``cli``), or
what goes into an export (``exporting``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from client import export_file, profile, wording
from client.commands import Terms, opened
from client.export_file import About, Checker, Conversation, Damaged, Epoch, Line, Said
from client.exporting import lines
from client.memory import Memory
from client.opening import installed_modes
from crypto_modes import registry
from crypto_modes.errors import BadArgument, BadConfig


async def save(terms: Terms, file: Path, name: str, *, offline: bool) -> None:
    """Write the conversation with ``name``, or all where that is empty, to a new file."""
    names = [name] if name else []
    if offline:
        kept = profile.load(terms.place)
        with closing(profile.open_keystore(terms.place, kept.guard)) as keystore, _new(file) as out:
            count = _offline(Memory(keystore), names, out)
    else:
        async with opened(terms) as chat:
            for each in names:
                await chat.look_up(each)
            with _new(file) as out:
                count = await chat.exports.write(out, *names)
    if terms.json:
        terms.say(wording.as_json({"messages": count}))
        return
    terms.say(f"{count} message(s) are in {file} now, in the clear.")
    terms.say(f"To read it, anywhere: louver export show {file}")


def show(terms: Terms, file: Path) -> None:
    """Read an export, check it, and print it. Raises ``Damaged`` where something does not hold."""
    checker = Checker(registry.strengths(installed_modes()))
    messages, wrong = 0, 0
    try:
        with file.open("rb") as opened_file:
            for line in export_file.read(opened_file):
                problem = checker.problem(line)
                wrong += bool(problem)
                messages += isinstance(line, Said)
                for text in _shown(line):
                    terms.say(f"{text}  [! {problem}]" if problem else text)
    except OSError as error:
        raise BadConfig(f"cannot read {file}: {error.strerror}") from None
    if wrong:
        raise Damaged(f"{wrong} line(s) of this export do not hold; they are marked")
    terms.say(
        f"{messages} message(s); the file is whole; {checker.proven} are proven to be what their"
        " senders committed to"
    )


def _offline(memory: Memory, names: list[str], out: IO[bytes]) -> int:
    modes = installed_modes()
    accounts = [memory.account_of(name) for name in names]
    if None in accounts:
        raise BadArgument(f"nothing is known of {names[0]!r} on this device")
    peers = [each for each in accounts if each is not None] or memory.peers()
    words = {name: mode.words for name, mode in modes.items()}
    said = lines(memory, peers, lambda mode: words.get(mode, ""), offline=True)
    return export_file.write(out, said)


@contextmanager
def _new(file: Path) -> Iterator[IO[bytes]]:
    """A file that did not exist and that nobody else may read; gone again where writing fails."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise BadConfig(f"{file} exists; name another file or remove it") from None
    except OSError as error:
        raise BadConfig(f"cannot write {file}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
    except OSError as error:
        file.unlink(missing_ok=True)
        raise BadConfig(f"cannot write {file}: {error.strerror}") from None
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _shown(line: Line) -> Iterator[str]:
    plain = wording.plain
    match line:
        case About():
            day = wording.moment(line.made)
            yield f"Export of {plain(line.name)}, made {day}"
        case Conversation():
            yield f"With {plain(line.name)}:"
            for mode, words in line.words.items():
                yield f"  mode {plain(mode)}: {plain(words)}"
        case Epoch():
            modes = ", ".join(sorted({plain(mode) for mode in line.policy.modes.values()}))
            signed = sum(map(bool, line.policy.signatures))
            yield f"  epoch {line.policy.epoch}: {modes}; signed by {signed} of 2"
        case Said():
            name = "me" if line.own else line.name
            said = plain(line.text)
            body = said if line.what == "plain" else f"[{line.what}] {said}".rstrip()
            notes = "".join(f"  [! {wording.warning(each)}]" for each in line.warnings)
            body = body if line.kind == "text" else f"[{line.kind}]"
            place = f"{wording.moment(line.time)} {plain(line.mode)} {plain(name)} #{line.seq}"
            yield f"{place}: {body}{notes}"
