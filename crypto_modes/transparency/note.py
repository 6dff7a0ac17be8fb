"""Signed notes, checkpoints and cosignatures: how a log says what it holds, in text.

What may live here: the formats of C2SP ``signed-note``, ``tlog-checkpoint`` and
``tlog-cosignature``, written and read strictly: what is read is what would be written. What may
not: which logs and witnesses are trusted. Of the assigned signatures those with Ed25519 are here:
0x01, by the log, and 0x04, by a witness, with the time.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from typing import Literal, NamedTuple

from crypto_modes import primitives
from crypto_modes.contract import DIGEST_SIZE
from crypto_modes.errors import KeyRefused, LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import H
from crypto_modes.transparency.tree import EMPTY_ROOT, SIZE_LIMIT

NOTE_LIMIT = 64 * 1024
SIGNATURE_LIMIT = 16

BY_LOG: Literal[1] = 0x01
BY_WITNESS: Literal[4] = 0x04

_ID_SIZE = 4
_TIME_SIZE = 8
_DASH = "\u2014 "
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME = re.compile(r"[^\s+]+")


class Verifier(NamedTuple):
    """A key that is trusted to sign notes: its ``name``, what it signs, its 32 bytes."""

    name: str
    kind: Literal[1, 4]
    key: bytes

    @property
    def id(self) -> bytes:
        """4 bytes that name the key in a signature line; no protection, only a hint."""
        return H(f"{self.name}\n".encode() + bytes((self.kind,)) + self.key)[:_ID_SIZE]

    def encode(self) -> str:
        """The ``vkey`` of a note: what people and configurations exchange."""
        public = b64encode(bytes((self.kind,)) + self.key).decode()
        return f"{self.name}+{self.id.hex()}+{public}"

    @classmethod
    def decode(cls, text: str) -> Verifier:
        """The key in a ``vkey``. Raises ``KeyRefused``."""
        name, id_, public = [*text.split("+", 2), "", ""][:3]
        try:
            raw = _base64(public)
        except LogRefused:
            raw = b""
        if len(raw) != 1 + primitives.KEY_SIZE or raw[0] not in (BY_LOG, BY_WITNESS):
            raise KeyRefused("a log's key is written NAME+ID+KEY, with an Ed25519 key")
        found = cls(name, BY_LOG if raw[0] == BY_LOG else BY_WITNESS, raw[1:])
        if not _NAME.fullmatch(name) or found.id.hex() != id_:
            raise KeyRefused("a log's key does not belong to the name beside it")
        primitives.ed25519_check(found.key)
        return found


class Signature(NamedTuple):
    """One signature line: who, which of their keys, and the bytes."""

    name: str
    id: bytes
    raw: bytes


class Note(NamedTuple):
    """A text, ending in a newline, and who signed it."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note as it travels."""
        lines = (
            f"{_DASH}{each.name} {b64encode(each.id + each.raw).decode()}\n"
            for each in self.signatures
        )
        return (self.text + "\n" + "".join(lines)).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Note:
        """The note in these bytes. Raises ``LogRefused``."""
        if len(raw) > NOTE_LIMIT:
            raise LogRefused(f"a note has at most {NOTE_LIMIT} bytes")
        try:
            whole = raw.decode()
        except UnicodeDecodeError:
            raise LogRefused("a note is UTF-8") from None
        # The text may hold empty lines, signatures cannot: the last one divides them.
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not text or not lines.endswith("\n") or _CONTROL.search(whole):
            raise LogRefused("a note is a text, an empty line and signatures, each line ended")
        found = tuple(_signature(line) for line in lines[:-1].split("\n"))
        if len(found) > SIGNATURE_LIMIT:
            raise LogRefused(f"a note has at most {SIGNATURE_LIMIT} signatures")
        return cls(text + "\n", found)

    def verify(self, trusted: Iterable[Verifier]) -> dict[Verifier, int]:
        """Which of the ``trusted`` keys signed, and when: seconds since 1970 by a witness, else 0.

        Signatures of others are no concern; one that claims a trusted key must hold. Raises
        ``LogRefused`` where it does not, or nobody trusted signed.
        """
        known = {(each.name, each.id): each for each in trusted}
        found = {}
        for signature in self.signatures:
            verifier = known.get((signature.name, signature.id))
            if verifier is not None:
                found[verifier] = _verify(verifier, signature.raw, self.text)
        if not found:
            raise LogRefused("nobody who is trusted has signed this note")
        return found


class Checkpoint(NamedTuple):
    """What a log holds: how many leaves, under which root. ``origin`` names the log."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text to sign."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def decode(cls, text: str) -> Checkpoint:
        """The checkpoint in the text of a note. Raises ``LogRefused``."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or "" in lines or not _NUMBER.fullmatch(lines[1]):
            raise LogRefused("a checkpoint is a log's name, its size and its root, each on a line")
        found = cls(lines[0], int(lines[1]), _base64(lines[2]), tuple(lines[3:]))
        if len(found.root) != DIGEST_SIZE or found.size >= SIZE_LIMIT:
            raise LogRefused(f"a checkpoint's root has {DIGEST_SIZE} bytes, its size 63 bits")
        if found.size == 0 and found.root != EMPTY_ROOT:
            raise LogRefused("a log without leaves has the root of none")
        return found


def sign(checkpoint: Checkpoint, key: SigningKey) -> Note:
    """The log's signed note; its key bears the name of its origin, as is recommended."""
    text = checkpoint.text()
    verifier = Verifier(checkpoint.origin, BY_LOG, key.public)
    return Note(text, (Signature(verifier.name, verifier.id, key.sign(text.encode())),))


def cosign(note: Note, name: str, key: SigningKey, seconds: int) -> Note:
    """``note`` with the signature of a witness, who saw at ``seconds`` that the log only grew."""
    verifier = Verifier(name, BY_WITNESS, key.public)
    raw = seconds.to_bytes(_TIME_SIZE, "big") + key.sign(_cosigned(note.text, seconds))
    return Note(note.text, (*note.signatures, Signature(name, verifier.id, raw)))


def open_checkpoint(raw: bytes, log: Verifier) -> Checkpoint:
    """The checkpoint in a note that ``log`` signed, of the log with that very name.

    Raises ``LogRefused``.
    """
    note = Note.decode(raw)
    note.verify((log,))
    found = Checkpoint.decode(note.text)
    if found.origin != log.name:
        raise LogRefused("a checkpoint is of another log than the one that signed it")
    return found


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not _NAME.fullmatch(name):
        raise LogRefused("a signature line is a dash, a name and base64")
    raw = _base64(encoded)
    if len(raw) <= _ID_SIZE:
        raise LogRefused("a signature line holds a key's id and a signature")
    return Signature(name, raw[:_ID_SIZE], raw[_ID_SIZE:])


def _verify(verifier: Verifier, raw: bytes, text: str) -> int:
    """The time of a signature. Raises ``LogRefused``."""
    seconds, signed = 0, text.encode()
    if verifier.kind == BY_WITNESS:
        # A witness vouches for a log's growth, so what it signs must be a checkpoint.
        Checkpoint.decode(text)
        seconds, raw = int.from_bytes(raw[:_TIME_SIZE], "big"), raw[_TIME_SIZE:]
        signed = _cosigned(text, seconds)
    try:
        primitives.ed25519_verify(verifier.key, raw, signed)
    except KeyRefused:
        raise LogRefused(f"the signature of {verifier.name!r} does not hold") from None
    if seconds >= SIZE_LIMIT:
        raise LogRefused("a witness's time has 63 bits")
    return seconds


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _base64(text: str) -> bytes:
    """Exactly what standard base64 with padding writes; other spellings would be a second note."""
    try:
        raw = b64decode(text, validate=True)
    except (NotBase64, ValueError):
        raise LogRefused("not base64") from None
    if b64encode(raw).decode() != text:
        raise LogRefused("not base64 as it is written")
    return raw
