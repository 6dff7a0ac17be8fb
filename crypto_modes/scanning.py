"""Scanning: what lists of words and links find in a text, and what is to be done about it.

What may live here: the Protocol of scanners, the two that are built in, and how a text is made
comparable. Pure, so that the relay may use it on what it can read, and a client on its own
messages, as a warning to its user. What may not: reading lists from files, and what follows from a
hit. moderation.md, Proactive scanning.

Matching is linear in the text, whatever the lists (Aho-Corasick), and bounded by words: ``ass`` is
not found in ``class``. Scripts that write no spaces between words have no such bounds, and there an
entry is found anywhere. Spaces put between letters and letters that only look alike are not seen
through; whoever promises that promises false alarms.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, Protocol, get_args

from crypto_modes import content as contents
from crypto_modes.content import Attachment, Edit, Plain
from crypto_modes.errors import BadConfig

Action = Literal["flag", "hold"]
ACTIONS: tuple[Action, ...] = get_args(Action)

ENTRY_LIMIT = 200  # characters
HITS_LIMIT = 8
LABELS_LIMIT = 16  # of a host: example.com has two

# Format characters: soft hyphens, joiners, marks of direction, byte-order marks, tags.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# Written without spaces: kana, Han, Hangul syllables, Thai, Lao, Khmer, Myanmar.
_UNBOUNDED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
)
# Where the authority of a link ends; what people put around one.
_AUTHORITY = re.compile(r"[/?#]")
_FULL_STOP = "\u3002"  # taken for a dot where addresses are typed
_AROUND = "()[]{}<>\"'«»“”‘’,;:!?."


class Hit(NamedTuple):
    """One entry of one list that was found; ``entry`` as it is in the list, made comparable."""

    action: Action
    list: str
    entry: str


class TextScanner(Protocol):
    """Finds what is on a list."""

    def scan(self, text: str) -> Sequence[Hit]:
        """The hits in ``text``, which ``comparable`` gave; at most ``HITS_LIMIT``."""


class MediaScanner(Protocol):
    """The same for a picture."""

    def scan_media(self, media: bytes) -> Sequence[Hit]:
        """The hits in a file. Takes its time: call it in a thread. Raises ``BadArgument`` for
        what is no picture."""


class Words:
    """A list of words and phrases. Raises ``BadConfig`` for an entry that is none, and where the
    library that matches is not installed."""

    def __init__(self, name: str, action: Action, entries: Iterable[str]) -> None:
        self._name = name
        self._action = action
        self._entries = list(dict.fromkeys(_entry(name, each) for each in entries))
        try:
            from ahocorasick_rs import AhoCorasick
        except ImportError:
            raise BadConfig(
                "lists of words need a library: pip install 'louver[scanners]'"
            ) from None
        self._automaton = AhoCorasick(self._entries)

    def scan(self, text: str) -> Sequence[Hit]:
        """See ``TextScanner``."""
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        if not found:
            return ()
        numbers = {number for number, start, end in found if _bounded(text, start, end)}
        entries = sorted(self._entries[number] for number in numbers)[:HITS_LIMIT]
        return tuple(Hit(self._action, self._name, entry) for entry in entries)


class Links:
    """A list of hosts, each with all below it, or with a path: ``example.com``,
    ``example.com/bad``. A link is found with and without its scheme.

    Labels beyond ASCII are made what they are in the DNS (IDNA) for the list only, and those of a
    text looked up: to convert each of a text's would cost its reader 70 ms for 16 KiB.
    """

    def __init__(self, name: str, action: Action, entries: Iterable[str]) -> None:
        self._name = name
        self._action = action
        self._hosts: dict[str, list[str]] = {}
        self._labels: dict[str, str] = {}  # as people write it -> as it is in the DNS
        for each in entries:
            host, path = _link(_entry(name, each).replace(_FULL_STOP, "."))
            if "." not in host:
                raise BadConfig(f"the list {name}: {each!r} is no host such as example.com")
            spelt = [_spelt(label) for label in host.split(".")]
            self._labels.update(spelt)
            self._hosts.setdefault(".".join(label for _, label in spelt), []).append(path)

    def scan(self, text: str) -> Sequence[Hit]:
        """See ``TextScanner``."""
        text = text.replace(_FULL_STOP, ".")
        if "." not in text:
            return ()
        found = {entry for token in text.split() if "." in token for entry in self._entries(token)}
        return tuple(Hit(self._action, self._name, each) for each in sorted(found)[:HITS_LIMIT])

    def _entries(self, token: str) -> Iterable[str]:
        host, path = _link(token.strip(_AROUND))
        written = host.split(".")[-LABELS_LIMIT:]
        labels = [self._labels.get(label, label) for label in written]
        for start in range(len(labels) - 1):
            below = ".".join(labels[start:])
            for listed in self._hosts.get(below, ()):
                if path == listed or not listed or path.startswith(f"{listed}/"):
                    yield f"{below}{listed}"


def comparable(text: str) -> str:
    """``text`` as lists are compared with it: compatibility forms and case folded away, what is
    invisible taken out, every run of white space one space."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", folded)).split())


def words_of(content: bytes) -> str:
    """All that a person reads of a message, one thing a line: its text, the text that an edit
    brings, the name of a file. Empty where there is nothing to read."""
    what = contents.parse(contents.without_reply(content)[0]).what
    match what:
        case Plain():
            return what.content.decode(errors="replace")
        case Edit():
            return what.text
        case Attachment():
            return what.name
    return ""


def parse_list(name: str, raw: bytes) -> list[str]:
    """The entries of a file: one a line in UTF-8, ``#`` begins a remark. Raises ``BadConfig``."""
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadConfig(f"the list {name} is no UTF-8 at byte {error.start}") from None
    entries = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not entries:
        raise BadConfig(f"the list {name} is empty")
    return entries


def held(hits: Iterable[Hit]) -> bool:
    """Whether any of ``hits`` holds the message back."""
    return any(hit.action == "hold" for hit in hits)


def _entry(name: str, raw: str) -> str:
    entry = comparable(raw).strip()
    if not 0 < len(entry) <= ENTRY_LIMIT:
        raise BadConfig(
            f"the list {name}: an entry has 1 to {ENTRY_LIMIT} characters: {raw[:40]!r}"
        )
    return entry


def _bounded(text: str, start: int, end: int) -> bool:
    """Whether a match ends where words end, on both sides."""
    return _edge(text, start) and _edge(text, end)


def _edge(text: str, place: int) -> bool:
    if place == 0 or place == len(text):
        return True
    before, after = text[place - 1], text[place]
    if not (_in_word(before) and _in_word(after)):
        return True
    return bool(_UNBOUNDED.match(before) or _UNBOUNDED.match(after))


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _link(token: str) -> tuple[str, str]:
    """Host and path (without the slash at its end) of what may be a link."""
    rest = token.rpartition("://")[2]
    place = _AUTHORITY.search(rest)
    authority, path = (rest[: place.start()], rest[place.start() :]) if place else (rest, "")
    host = authority.rpartition("@")[2].partition(":")[0].strip(".")
    return host, path.partition("?")[0].partition("#")[0].rstrip("/")


def _spelt(label: str) -> tuple[str, str]:
    """A label of a host as people write it and as it is in the DNS; twice the same for most."""
    with suppress(UnicodeError):
        return label.encode("idna").decode("idna"), label.encode("idna").decode()
    return label, label
