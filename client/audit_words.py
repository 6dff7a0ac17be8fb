"""What ``louver audit verify`` says of a log that held, for people and for programs.

What may live here: wording, and reading the files that the questions name. What must hold is in
``auditing``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from client import auditing, log_files
from client.auditing import Copy, Shown, Trust
from client.wording import as_json as json_of
from crypto_modes.errors import BadArgument, LogRefused
from crypto_modes.transparency.access_log import Leaf

_HEX = re.compile("[0-9a-f]+")
_RANGE = re.compile(r"([0-9]{1,15})-([0-9]{1,15})", re.ASCII)


class Receipt(msgspec.Struct, frozen=True):
    """What the vault gave for an entry; see ``server.access_log.Receipt``. The checkpoint is
    base64, or hexadecimal as ``louver mod --json`` prints it."""

    index: int
    checkpoint: str

    def signed(self) -> bytes:
        """The checkpoint. Raises ``ValueError`` where it is neither."""
        if _HEX.fullmatch(self.checkpoint):
            return bytes.fromhex(self.checkpoint)
        return base64.b64decode(self.checkpoint, validate=True)


class Answer(msgspec.Struct, frozen=True):
    """What ``louver mod read --json`` and ``open --json`` print: the receipt is a part of it."""

    receipt: Receipt


def shown(copy: Copy, place: str) -> Shown | None:
    """The entries beside a copy, held to it; None where there are none."""
    found = None if "://" in place else log_files.read_opened(Path(place))
    return None if found is None else auditing.entries(copy, found)


def lines(
    place: str, copy: Copy, came: int, entries: Shown | None, *, as_json: bool
) -> Iterator[str]:
    """What was verified of one copy."""
    head = copy.head
    witnesses = {each.name: seconds for each, seconds in copy.witnessed.items()}
    if as_json:
        told = {"place": place, "log": head.origin, "size": head.size, "root": head.root.hex()}
        kinds = None if entries is None else dict(entries.kinds)
        erased = None if entries is None else entries.erased
        yield json_of({**told, "came": came, "witnesses": witnesses, "entries": kinds,
                       "erased": erased})  # fmt: skip
        return
    yield f"{place}: {head.size} entries, every leaf under the root that {head.origin} signed"
    for name, seconds in witnesses.items():
        yield f"  witness {name} saw it grow, {_time(seconds * 1000)}"
    if not witnesses:
        yield "  no witness that you named signed it: others may be shown another log"
    if came:
        yield f"  continues the copy before it; {came} entries came since"
    if entries is not None:
        kinds_of = ", ".join(f"{count} {kind}" for kind, count in sorted(entries.kinds.items()))
        yield f"  entries shown are those entered: {kinds_of or 'none'}; {entries.erased} erased"


def asked(
    copy: Copy,
    trust: Trust,
    leaf: int | None,
    range_: str,
    receipt: Path | None,
    *,
    as_json: bool,
) -> Iterator[str]:
    """What was asked about single entries, each held to the log."""
    if leaf is not None:
        found, proof = auditing.includes(copy, leaf)
        path = [each.hex() for each in proof]
        yield _leaf(leaf, found, as_json=as_json, more={"proof": path})
    if range_:
        matched = _RANGE.fullmatch(range_)
        if not matched:
            raise BadArgument("--range takes FIRST-LAST, for example 0-99")
        for index in range(int(matched[1]), int(matched[2]) + 1):
            found, _ = auditing.includes(copy, index)
            yield _leaf(index, found, as_json=as_json)
    if receipt is not None:
        index, checkpoint = _receipt(receipt)
        found = auditing.keeps(copy, checkpoint, index, trust)
        yield _leaf(index, found, as_json=as_json, more={"receipt": "kept"})


def _leaf(index: int, leaf: Leaf, *, as_json: bool, more: dict[str, object] | None = None) -> str:
    if as_json:
        told = {"index": index, "time": leaf.time, "commitment": leaf.commitment.hex()}
        return json_of({**told, **(more or {})})
    kept = ", as its receipt promised" if more and "receipt" in more else ""
    return f"  leaf {index}, {_time(leaf.time)}, is in the log{kept}"


def _receipt(path: Path) -> tuple[int, bytes]:
    try:
        with path.open("rb") as file:
            raw = file.read(log_files.ANSWER_LIMIT)
        try:
            found = msgspec.json.decode(raw, type=Receipt)
        except (msgspec.ValidationError, UnicodeDecodeError):
            found = msgspec.json.decode(raw, type=Answer).receipt
        return found.index, found.signed()
    except OSError as error:
        raise BadArgument(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise LogRefused(f"{path} is no receipt of an access log") from None


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"time {milliseconds}"
