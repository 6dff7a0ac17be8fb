"""Structured logs that cannot contain bodies, keys, tokens or names, because of an allow-list.

What may live here: the list of fields a log line may have, with the type of each, and the
plumbing to standard error. A field that is not on the list, or not of its type, is dropped and
counted; identifiers leave as short keyed hashes; every line is one line. Lines of libraries
keep only the literal words of their template, never what was filled in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from crypto_modes.errors import BadConfig, Unavailable

Fields = MutableMapping[str, Any]
Logger = structlog.typing.FilteringBoundLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Words too short to be a token or a key, so that text put into an event shows up as unnamed.
_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}( [A-Za-z0-9_-]{1,24}){0,9}")
_WORD = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"[0-9a-fA-F:.]{2,45}(%[a-z0-9]{1,15})?")
_TOKEN = re.compile(r"lv[a-z]_[A-Za-z0-9_-]{16,}|[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.")
_LITERAL = re.compile(r"[A-Za-z0-9 ,._-]*")
_TEXT_LIMIT = 300
_FRAMES = 6


class _State:
    """What ``configure`` set and what was refused since the start."""

    def __init__(self) -> None:
        self.dropped = 0
        self.key = b""
        self.text = False


_state = _State()


def configure(level: str, format: str, key: bytes, stream: TextIO | None = None) -> None:
    """Start logging, or change it. ``key`` (32 secret bytes of their own) makes the hashes of
    identifiers useless to whoever lacks it; ``stream`` is standard error unless given.
    """
    _state.key, _state.text = key, format == "text"
    structlog.configure(
        processors=[_stamp, _allow, _render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    logging.basicConfig(handlers=[_Foreign()], level=LEVELS[level], force=True)
    # Libraries speak up only when something is wrong.
    for name in ("aiobotocore", "asyncio", "botocore", "hvac", "urllib3", "uvicorn", "websockets"):
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))


def logger() -> Logger:
    """Where a module logs: ``log.info("device revoked", account=account, count=2)``."""
    made: Logger = structlog.get_logger()
    return made


def dropped() -> int:
    """How many fields and events were dropped because the list does not allow them."""
    return _state.dropped


def short(identifier: bytes) -> str:
    """An identifier as logs show it: 12 hex digits of its keyed hash."""
    return hashlib.blake2b(identifier, digest_size=6, key=_state.key).hexdigest()


# What a field may be: each takes a value and gives what is written, or None to drop it


def _number(value: object) -> object:
    return value if isinstance(value, int | float) else None


def _word(value: object) -> object:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _identifier(value: object) -> object:
    return short(value) if isinstance(value, bytes) and len(value) <= 32 else None


def _address(value: object) -> object:
    return value if isinstance(value, str) and _ADDRESS.fullmatch(value) else None


def _text(value: object) -> object:
    """Text of the operator's own or that the operator must see; tokens are cut out."""
    return _plain(str(value)) if isinstance(value, str) else None


def _own_words(value: object) -> object:
    """The message of an error that speaks to the operator, never one that quotes a client."""
    return _plain(str(value)) if _speaks(value) else None


def _speaks(value: object) -> object:
    return value if isinstance(value, BadConfig | Unavailable) else None


def _error(value: object) -> object:
    return type(value).__name__ if isinstance(value, BaseException) else None


def _plain(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text)
    return _TOKEN.sub("[token]", shown)[:_TEXT_LIMIT]


FIELDS: Mapping[str, Callable[[object], object]] = {
    # who and where, as hashes
    "account": _identifier,
    "conversation": _identifier,
    "device": _identifier,
    "message": _identifier,
    "peer": _identifier,
    "relay": _identifier,
    # the network
    "address": _address,
    "origin": _text,
    "port": _number,
    # what happened
    "close": _number,
    "code": _number,
    "error": _error,
    "frame": _word,
    "kind": _word,
    "loop": _word,
    "mode": _word,
    "problem": _own_words,
    "provider": _word,
    "reason": _word,
    "signal": _word,
    "durability": _word,
    "library": _word,
    "version": _word,
    # how many, how long, how large
    "bytes": _number,
    "connections": _number,
    "count": _number,
    "epoch": _number,
    "messages": _number,
    "milliseconds": _number,
    "pid": _number,
    "readable": _number,
    "seconds": _number,
    "seq": _number,
    # the operator's own
    "advice": _text,
    "file": _text,
    "setting": _text,
}


# Processors, in order


def _stamp(logger: object, level: str, fields: Fields) -> Fields:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"time": now.replace("+00:00", "Z"), "level": level, **fields}


def _allow(logger: object, level: str, fields: Fields) -> Fields:
    """Let through what the list allows. ``where`` and ``library`` of a failure are made here."""
    allowed: Fields = {"time": fields.pop("time"), "level": fields.pop("level")}
    event = fields.pop("event", "")
    if not (isinstance(event, str) and _EVENT.fullmatch(event)):
        _state.dropped += 1
        event = "unnamed event"
    allowed["event"] = event
    failure = _failure(fields.pop("exc_info", None))
    if failure is not None:
        allowed["error"], allowed["where"] = type(failure).__name__, _where(failure)
        fields.setdefault("problem", _speaks(failure))
    for name, value in fields.items():
        if value is None:
            continue
        shown = FIELDS[name](value) if name in FIELDS else None
        if shown is None:
            _state.dropped += 1
        else:
            allowed[name] = shown
    return allowed


def _failure(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    if exc_info is True:
        exc_info = sys.exc_info()[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def _where(failure: BaseException) -> str:
    """The innermost calls. Only names of code and lines: an exception's text may quote a body."""
    frames = traceback.extract_tb(failure.__traceback__)[-_FRAMES:]
    calls = (f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
    return " < ".join(reversed(list(calls)))


def _render(logger: object, level: str, fields: Fields) -> str:
    return _as_text(fields) if _state.text else json.dumps(fields)


def _as_text(fields: Fields) -> str:
    head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('event')}"
    return " ".join([head, *(f"{name}={json.dumps(value)}" for name, value in fields.items())])


# Other people's lines


class _Foreign(logging.Handler):
    """Libraries' lines, reduced to the literal words at the start of their template."""

    def emit(self, record: logging.LogRecord) -> None:
        words = _LITERAL.match(str(record.msg))
        library = record.name.partition(".")[0].lower()
        say = getattr(logger(), record.levelname.lower(), logger().warning)
        say(
            "library says",
            library=library if _WORD.fullmatch(library) else "other",
            advice=words.group().strip() if words else "",
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Log what escapes into ``loop``, without the arguments that asyncio would print."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        words = _LITERAL.match(context.get("message", ""))
        advice = words.group().strip() if words else ""
        logger().error("unhandled failure", advice=advice, exc_info=context.get("exception"))

    loop.set_exception_handler(handle)
