"""What a message says: a text, or something else that means the same in every mode; modes.md 31.

What may live here: the one codec of content, pure. What may not: who may edit what and until when
(``client/alterations.py``), or files (``attachments``).

Text is sent as it is. All else is structured::

    0xFF || enc("louver/v1/reply", target, content)              where the mode has no field for it
    0xFF || enc("louver/v1/disappearing", seconds, content)      an attachment or plain inside
    0xFF || enc("louver/v1/attachment_reference", blob, name, media_type, size, key,
                H(ciphertext), H(plaintext), chunk)
    0xFF || enc("louver/v1/reaction", target, emoji)             an empty emoji takes it back
    0xFF || enc("louver/v1/edit", target, text)
    0xFF || enc("louver/v1/deletion", target)
    0xFF || enc("louver/v1/timer", seconds)                      of the conversation; 0: none

No UTF-8 has the byte 0xFF, so no text looks like this. Every content has one encoding; what has not
exactly that is plain bytes, to be shown as such. It all lies inside ``M`` and is franked with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from crypto_modes import wire
from crypto_modes.contract import DIGEST_SIZE, ID_SIZE, Secretive
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, LimitExceeded
from crypto_modes.primitives import KEY_SIZE

MARK = b"\xff"
EMOJI_LIMIT = 64
NAME_LIMIT = 255
# A year. Whoever wants to keep something longer does not want it to disappear.
SECONDS_LIMIT = 366 * 24 * 60 * 60

_REPLY = "louver/v1/reply"
_DISAPPEARING = "louver/v1/disappearing"
_ATTACHMENT = "louver/v1/attachment_reference"
_REACTION = "louver/v1/reaction"
_EDIT = "louver/v1/edit"
_DELETION = "louver/v1/deletion"
_TIMER = "louver/v1/timer"

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,63}")


class Plain(Secretive, msgspec.Struct, frozen=True):
    """Text, or whatever bytes a program sent in their own kind."""

    content: bytes

    def __repr__(self) -> str:
        """Never the text."""
        return "<Plain>"


class Attachment(Secretive, msgspec.Struct, frozen=True, kw_only=True):
    """A file at the relay. ``key`` (32 bytes) and ``chunk`` (bytes) are empty and 0 where the
    relay may read; the digests are of the file as the relay has it, and of what is in it.

    The ``name`` is the sender's and may be anything but empty: whoever saves it looks first.
    """

    blob: bytes
    name: str
    media_type: str
    size: int
    ciphertext: bytes
    plaintext: bytes
    key: bytes = b""
    chunk: int = 0

    def __repr__(self) -> str:
        """Never the name or the key."""
        return f"<Attachment {self.blob.hex()}>"


class Reaction(msgspec.Struct, frozen=True):
    """An emoji at a message, in the place of the same user's former one."""

    target: bytes
    emoji: str


class Edit(Secretive, msgspec.Struct, frozen=True):
    """Another text for an own message."""

    target: bytes
    text: str

    def __repr__(self) -> str:
        """Never the text."""
        return f"<Edit of {self.target.hex()}>"


class Deletion(msgspec.Struct, frozen=True):
    """The wish that a message of one's own be gone from both ends."""

    target: bytes


class Timer(msgspec.Struct, frozen=True):
    """From now on messages of this conversation disappear after ``seconds``; 0: they stay."""

    seconds: int


Standing = Plain | Attachment
Alteration = Reaction | Edit | Deletion
What = Standing | Alteration | Timer
T = TypeVar("T", bound=What)


class Parsed(msgspec.Struct, frozen=True):
    """What a message says, and after how many seconds it is to disappear; 0: it stays."""

    what: What
    seconds: int = 0


def encode(what: What, seconds: int = 0) -> bytes:
    """The content that says ``what``. Raises ``BadArgument`` where nobody would take it."""
    content = _encode(what)
    if seconds:
        content = MARK + enc(_DISAPPEARING, seconds, content)
    if parse(content) != Parsed(what, seconds):
        raise BadArgument(f"this cannot be said: {what!r}, {seconds} seconds")
    return content


def parse(content: bytes) -> Parsed:
    """What ``content`` says; never raises. What is not exactly structured is ``Plain``."""
    if content[:1] == MARK:
        label, *items = _items(content) or [b""]
        if label == _DISAPPEARING.encode() and len(items) == 2:
            return _disappearing(content, *items)
        return Parsed(_structured(content))
    return Parsed(Plain(content))


def _disappearing(content: bytes, raw_seconds: bytes, raw: bytes) -> Parsed:
    seconds, inner = int.from_bytes(raw_seconds, "big"), _structured(raw)
    timed = len(raw_seconds) == 8 and 0 < seconds <= SECONDS_LIMIT
    twice = raw.startswith(content[: len(MARK + enc(_DISAPPEARING))])
    if not timed or twice or not isinstance(inner, Standing):
        return Parsed(Plain(content))
    return Parsed(inner, seconds)


def with_reply(content: bytes, reply_to: bytes) -> bytes:
    """``content`` for a mode that has no field for what it answers. Raises ``LimitExceeded``."""
    if not reply_to:
        return content
    wrapped = MARK + enc(_REPLY, reply_to, content)
    if len(wrapped) > wire.CONTENT_LIMIT:
        raise LimitExceeded(f"a reply may have at most {wire.CONTENT_LIMIT} bytes, its frame too")
    return wrapped


def without_reply(content: bytes) -> tuple[bytes, bytes]:
    """``(content, reply_to)``; ``reply_to`` is empty where it answers nothing."""
    if content[:1] == MARK:
        items = _items(content)
        if items is not None and len(items) == 3 and items[0] == _REPLY.encode():
            _, target, inner = items
            if len(target) == ID_SIZE:
                return inner, target
    return content, b""


def describe(content: bytes) -> str | None:
    """What structured content says, in words for a moderator; None for what is plain."""
    inner, reply_to = without_reply(content)
    parsed = parse(inner)
    if isinstance(parsed.what, Plain) and not parsed.seconds and not reply_to:
        return None
    words = _words(parsed.what)
    if parsed.seconds:
        words = f"[disappears after {parsed.seconds} s] {words}"
    return f"[reply to {reply_to.hex()}] {words}" if reply_to else words


def _words(what: What) -> str:
    match what:
        case Plain(content):
            return content.decode("utf-8", "replace")
        case Attachment():
            return f"[file {what.blob.hex()}: {what.name!r}, {what.media_type}, {what.size} bytes]"
        case Reaction(target, emoji):
            return f"[reaction to {target.hex()}] {emoji}"
        case Edit(target, text):
            return f"[edit of {target.hex()}] {text}"
        case Deletion(target):
            return f"[deletion of {target.hex()}]"
        case Timer(seconds):
            return f"[messages disappear after {seconds} s]"


def _encode(what: What) -> bytes:
    match what:
        case Plain(content):
            return content
        case Attachment():
            said = enc(
                _ATTACHMENT,
                what.blob,
                what.name,
                what.media_type,
                what.size,
                what.key,
                what.ciphertext,
                what.plaintext,
                what.chunk,
            )
        case Reaction(target, emoji):
            said = enc(_REACTION, target, emoji)
        case Edit(target, text):
            said = enc(_EDIT, target, text)
        case Deletion(target):
            said = enc(_DELETION, target)
        case Timer(seconds):
            said = enc(_TIMER, seconds)
    return MARK + said


def _structured(content: bytes) -> What:
    """The one thing that ``content`` says, itself in no wrapping."""
    label, *items = _items(content) or [b""] if content[:1] == MARK else [b""]
    read = _READERS.get(label)
    if read is not None and len(items) == read[0]:
        try:
            what = read[1](items)
            if _allowed(what) and _encode(what) == content:
                return what
        except (UnicodeDecodeError, BadArgument):
            pass
    return Plain(content)


def _allowed(what: What) -> bool:
    match what:
        case Attachment():
            sized = (len(what.blob), len(what.ciphertext), len(what.plaintext))
            sealed = (len(what.key), what.chunk > 0) in ((0, False), (KEY_SIZE, True))
            named = 0 < len(what.name.encode()) <= NAME_LIMIT
            typed = _MEDIA_TYPE.fullmatch(what.media_type) is not None
            return sized == (ID_SIZE, DIGEST_SIZE, DIGEST_SIZE) and sealed and named and typed
        case Reaction(target, emoji):
            return len(target) == ID_SIZE and len(emoji.encode()) <= EMOJI_LIMIT
        case Edit(target, text):
            return len(target) == ID_SIZE and text != ""
        case Deletion(target):
            return len(target) == ID_SIZE
        case Timer(seconds):
            return seconds <= SECONDS_LIMIT
    return True


def _attachment(items: list[bytes]) -> Attachment:
    blob, name, media_type, size, key, ciphertext, plaintext, chunk = items
    return Attachment(
        blob=blob,
        name=name.decode(),
        media_type=media_type.decode("ascii"),
        size=int.from_bytes(size, "big"),
        key=key,
        ciphertext=ciphertext,
        plaintext=plaintext,
        chunk=int.from_bytes(chunk, "big"),
    )


# Label -> how many items, and what they make. That they had the right sizes, encoding again shows.
_READERS: dict[bytes, tuple[int, Callable[[list[bytes]], What]]] = {
    _ATTACHMENT.encode(): (8, _attachment),
    _REACTION.encode(): (2, lambda items: Reaction(items[0], items[1].decode())),
    _EDIT.encode(): (2, lambda items: Edit(items[0], items[1].decode())),
    _DELETION.encode(): (1, lambda items: Deletion(items[0])),
    _TIMER.encode(): (1, lambda items: Timer(int.from_bytes(items[0], "big"))),
}


def _items(content: bytes) -> list[bytes] | None:
    """The items of ``0xFF || enc(…)``, the label among them; None where it is not that."""
    found, at = [], len(MARK)
    while at < len(content):
        start = at + 4
        end = start + int.from_bytes(content[at:start], "big")
        if start > len(content) or end > len(content):
            return None
        found.append(content[start:end])
        at = end
    return found or None
