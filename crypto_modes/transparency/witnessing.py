"""What a log and a witness say to each other: C2SP ``tlog-witness``, to the byte.

What may live here: the request, and what a witness must check before it signs. What may not: HTTP,
and remembering the last head. ::

    old <size that the witness saw last>
    <base64 of a hash of the proof of consistency>…

    <the checkpoint, a signed note>
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import NamedTuple

from crypto_modes.contract import DIGEST_SIZE
from crypto_modes.errors import LogRefused
from crypto_modes.transparency.note import NOTE_LIMIT, Note
from crypto_modes.transparency.tree import PROOF_LIMIT, Proof

REQUEST_LIMIT = NOTE_LIMIT + PROOF_LIMIT * 64
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)
_HASH = 44  # characters


class Request(NamedTuple):
    """A checkpoint to be signed, and the proof that it continues the log of ``old`` leaves."""

    old: int
    proof: Proof
    note: Note

    def encode(self) -> bytes:
        """The body of the request."""
        lines = [f"old {self.old}\n", *(f"{b64encode(each).decode()}\n" for each in self.proof)]
        return "".join(lines).encode() + b"\n" + self.note.encode()

    @classmethod
    def decode(cls, raw: bytes) -> Request:
        """The request in a body. Raises ``LogRefused``."""
        head, blank, rest = raw.partition(b"\n\n")
        if not blank or len(raw) > REQUEST_LIMIT or not head.isascii():
            raise LogRefused("a request is an old size, a proof, an empty line and a checkpoint")
        first, *hashes = head.decode().split("\n")
        matched = _OLD.fullmatch(first)
        if not matched or len(hashes) > PROOF_LIMIT:
            raise LogRefused("a request begins with the old size, and has a short proof")
        return cls(int(matched[1]), tuple(map(_hash, hashes)), Note.decode(rest))


def _hash(line: str) -> bytes:
    try:
        raw = b64decode(line, validate=True)
    except (NotBase64, ValueError):
        raw = b""
    if len(raw) != DIGEST_SIZE or len(line) != _HASH or b64encode(raw).decode() != line:
        raise LogRefused("a proof is hashes in base64, one on each line")
    return raw
