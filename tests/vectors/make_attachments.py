"""Make ``attachments.json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_attachments``. All
values come from ``tests/attachments_oracle.py``, which is written from the design alone.
``body`` is the first ``size`` bytes of SHAKE-256 of the vector's ``name``; ``file`` is hex, and
where it is long and right only its SHA-256, ``digest``. ``expect`` is ``ok`` or the name of the
error that must be raised. Chunks of 4 KiB (``bits`` 12) keep the files of several chunks short.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests import attachments_oracle as oracle
from tests.modes_oracle import padded
from tests.vectors.make_modes import drawn, write

HEAD, CHUNK = 51, 4096 + 16
KEY, SALT = drawn("attachment key", 32), drawn("attachment salt")
Edit = Callable[[bytes], bytes]


def vector(name: str, size: int, expect: str = "ok", **fields: Any) -> dict[str, Any]:
    """A sealed file, its reference, and what was done to it."""
    bits, context = fields.pop("bits", 12), fields.pop("context", b"")
    edit: Edit | None = fields.pop("edit", None)
    body = drawn(name, size)
    file = oracle.seal(KEY, SALT, body, bits, context)
    made = edit(file) if edit else file
    short = {"file": made} if len(made) < 1000 or edit else {}
    return {
        "name": name,
        "expect": expect,
        "size": size,
        "key": KEY,
        "salt": SALT,
        "bits": bits,
        "context": context,
        "plaintext": hashlib.sha256(body).digest(),
        # Of the altered file where it was altered: a mere hash would find everything.
        "digest": hashlib.sha256(made).digest(),
        **short,
        **fields,
    }


def resealed(text: bytes, last: tuple[int, ...]) -> bytes:
    """Chunks of ``text`` with the flag of the end set for the indices in ``last``."""
    derived = oracle.okm(KEY, SALT, 12, b"")
    gcm = AESGCM(derived[:32])
    parts = [text[at : at + 4096] for at in range(0, len(text), 4096)]
    sealed = [gcm.encrypt(oracle.nonce(n, n in last), part, None) for n, part in enumerate(parts)]
    return b"\x01\x01\x0c" + SALT + derived[32:] + b"".join(sealed)


def main() -> None:
    whole = "CannotOpen"
    text = padded(drawn("a chunk of zeros more", 4000)) + bytes(4096)
    write(
        "attachments",
        "Sealed files: modes.md 31",
        [
            vector("empty", 0),
            vector("one byte", 1),
            vector("a full first size", 255),
            vector("one more", 256),
            vector("exactly one chunk", 4095),
            vector("two chunks", 4096),
            vector("several chunks", 20_000),
            vector("the usual chunks", 100_000, bits=15),
            vector("largest chunks", 100, bits=20),
            vector("bound to a context", 100, context=b"somewhere"),
            vector("another version", 100, whole, edit=lambda f: b"\x02" + f[1:]),
            vector("another algorithm", 100, whole, edit=lambda f: f[:1] + b"\x02" + f[2:]),
            vector("chunks too small", 100, whole, edit=lambda f: f[:2] + b"\x0b" + f[3:]),
            vector("chunks too large", 100, whole, edit=lambda f: f[:2] + b"\x15" + f[3:]),
            vector("other chunks", 100, whole, edit=lambda f: f[:2] + b"\x0d" + f[3:]),
            vector("another salt", 100, whole, edit=lambda f: f[:3] + bytes(16) + f[19:]),
            vector("another commitment", 100, whole, edit=lambda f: f[:19] + bytes(32) + f[51:]),
            vector("another key", 100, whole, key=drawn("another key", 32)),
            vector("only a head", 100, whole, edit=lambda f: f[:HEAD]),
            vector("half a head", 100, whole, edit=lambda f: f[:20]),
            vector("nothing", 100, whole, edit=lambda f: b""),
            vector("no last byte", 100, whole, edit=lambda f: f[:-1]),
            vector("a byte more", 100, whole, edit=lambda f: f + b"\0"),
            vector("no last chunk", 5000, whole, edit=lambda f: f[: HEAD + CHUNK]),
            vector(
                "the first chunk gone", 5000, whole, edit=lambda f: f[:HEAD] + f[HEAD + CHUNK :]
            ),
            vector("a chunk twice", 5000, whole, edit=lambda f: f[: HEAD + CHUNK] + f[HEAD:]),
            vector(
                "the first two exchanged",
                9000,
                whole,
                edit=lambda f: (
                    f[:HEAD]
                    + f[HEAD + CHUNK : HEAD + 2 * CHUNK]
                    + f[HEAD : HEAD + CHUNK]
                    + f[HEAD + 2 * CHUNK :]
                ),
            ),
            vector("ends twice", 4096, whole, edit=lambda f: resealed(text[:4608], (0, 1))),
            vector("never ends", 4096, whole, edit=lambda f: resealed(text[:4608], ())),
            vector("more zeros", 4000, whole, edit=lambda f: resealed(text, (1,))),
            vector(
                "padding that is none",
                100,
                whole,
                edit=lambda f: resealed(drawn("padding that is none", 100) + b"\x80" * 156, (0,)),
            ),
        ],
    )


if __name__ == "__main__":
    main()
