"""The file of an export: one JSON object a line, to be read without Louver and without a relay.

What may live here: the lines, writing them, reading and checking them offline. What may not: what
goes into an export (``exporting``). Bytes are base64, times milliseconds since 1970-01-01 UTC::

    about          whose export this is, and how to read it
    conversation   one for each, before its lines: with whom, and who can read in which mode
    epoch          a policy of that conversation: its modes, and who signed them
    message        one message, in the order of the relay's numbers
    end            how many lines came before, and the SHA-256 of their bytes

The digest finds damage. It proves nothing to others: whoever holds the file can write another. What
can be proven is inside: an epoch's signatures are those of the two users, and a message with
evidence is what its sender committed to. That the relay stamped it, only the relay can say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

import msgspec

from crypto_modes import policy, wire
from crypto_modes.contract import Discreet
from crypto_modes.e2ee import body
from crypto_modes.errors import CannotOpen, LouverError
from crypto_modes.franking import commitment
from crypto_modes.primitives import equal

FORMAT = 1
LINE_LIMIT = 128 * 1024  # a message has at most 16 KiB, and as much again as evidence; base64
READ_ME = (
    "Everything here is in the clear: keep it as you would keep the conversations themselves."
    " One JSON object a line; `line` says which; bytes are base64, times are milliseconds since"
    " 1970-01-01 UTC. `text` is what was said where that is text; `content` is exactly what was"
    " sent. `evidence` opens the sender's `commitment`: HMAC-SHA-256 under `key` of the label,"
    " conversation, id and `message`, as docs/modes.md has it under Franking. An epoch is signed"
    " by Ed25519 over the record of docs/modes.md, Policy. The files of attachments are not here."
)


class About(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="about"):
    """The first line. ``offline``: the relay was not asked for what this device did not have."""

    format: int
    account: bytes
    name: str
    relay: bytes
    made: int
    offline: bool
    read_me: str = READ_ME


class Conversation(msgspec.Struct, frozen=True, tag_field="line", tag="conversation"):
    """With whom; ``words`` says of each mode who can read in it."""

    id: bytes
    peer: bytes
    name: str
    words: dict[str, str]


class Epoch(msgspec.Struct, frozen=True, tag_field="line", tag="epoch"):
    """A policy that was in force; ``digest`` is what the next one links to."""

    policy: wire.Policy
    digest: bytes


class Proof(Discreet, frozen=True):
    """What opens a commitment: the padded plaintext and the franking key (32 bytes)."""

    message: bytes
    key: bytes


class Said(Discreet, frozen=True, kw_only=True, tag_field="line", tag="message"):
    """One message; ``what`` names its form of ``crypto_modes.content``."""

    conversation: bytes
    seq: int
    id: bytes
    sender: bytes
    device: bytes
    recipient: bytes
    own: bool
    name: str
    time: int
    kind: wire.Kind
    mode: str
    epoch: int
    what: str
    text: str
    content: bytes
    target: bytes = b""
    reply_to: bytes = b""
    warnings: tuple[str, ...] = ()
    commitment: bytes = b""
    stamp: bytes = b""
    evidence: Proof | None = None


class End(msgspec.Struct, frozen=True, tag_field="line", tag="end"):
    """The last line."""

    lines: int
    sha256: str


Line = About | Conversation | Epoch | Said | End
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Damaged(CannotOpen):
    """This is no whole export; the message says why."""


def write(out: IO[bytes], lines: Iterable[Line]) -> int:
    """Write an export, its end included; how many messages it has."""
    digest, count, messages = hashlib.sha256(), 0, 0
    for line in lines:
        raw = _encode(line) + b"\n"
        out.write(raw)
        digest.update(raw)
        count += 1
        messages += isinstance(line, Said)
    out.write(_encode(End(count, digest.hexdigest())) + b"\n")
    return messages


def read(file: IO[bytes]) -> Iterator[Line]:
    """The lines of an export without its end, as they come.

    Raises ``Damaged``, at the latest at the end: believe nothing before that came.
    """
    digest, count = hashlib.sha256(), 0
    while raw := file.readline(LINE_LIMIT + 1):
        try:
            line = _decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise Damaged(f"line {count + 1} is not of an export of this format") from None
        if count == 0 and not (isinstance(line, About) and line.format == FORMAT):
            raise Damaged(f"this does not begin as an export of format {FORMAT} does")
        if isinstance(line, End):
            if (line.lines, line.sha256) != (count, digest.hexdigest()) or file.read(1):
                raise Damaged("the export was changed since it was made")
            return
        digest.update(raw)
        count += 1
        yield line
    raise Damaged("the export has no end: it is not whole")


class Checker:
    """Holds the lines of an export to what can be checked without a relay. ``strengths`` are those
    of the installed modes.
    """

    def __init__(self, strengths: Mapping[str, int]) -> None:
        self._strengths = strengths
        self._newest: wire.Policy | None = None
        self.proven = 0

    def problem(self, line: Line) -> str:
        """What is wrong with ``line``; empty where nothing is."""
        try:
            match line:
                case Conversation():
                    self._newest = None
                case Epoch():
                    self._check_epoch(line)
                case Said():
                    self._check_message(line)
        except LouverError as error:
            return str(error)
        return ""

    def _check_epoch(self, line: Epoch) -> None:
        older, self._newest = self._newest, line.policy
        if not equal(policy.digest(line.policy), line.digest):
            raise CannotOpen("this policy was changed since it was pinned")
        if older is not None and policy.check_link(older, line.policy, self._strengths):
            raise CannotOpen(f"epoch {line.policy.epoch} lacks a signature that it needs")

    def _check_message(self, line: Said) -> None:
        if line.conversation != policy.conversation_id(line.sender, line.recipient):
            raise CannotOpen("this message is not of the conversation of its two users")
        proof = line.evidence
        if proof is None:
            return
        opened = commitment(proof.key, line.conversation, line.id, proof.message)
        if not equal(opened, line.commitment):
            raise CannotOpen("this is not what its sender committed to")
        said = body.decode(proof.message)
        if (said.content, said.kind) != (line.content, line.kind):
            raise CannotOpen("its text is not the one of its evidence")
        self.proven += 1
