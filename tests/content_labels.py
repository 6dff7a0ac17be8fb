"""An example of each label of structured content: what makes it of 32 bytes, and what hears it.

What may live here: the table ``CONTENT`` for ``labels``. What may not: assertions.
"""

from __future__ import annotations

from collections.abc import Callable

from crypto_modes.content import (
    Attachment,
    Deletion,
    Edit,
    Plain,
    Reaction,
    Timer,
    What,
    encode,
    parse,
    with_reply,
    without_reply,
)


def attachment(key: bytes) -> Attachment:
    return Attachment(
        blob=key[:16],
        name="a name",
        media_type="image/png",
        size=1,
        ciphertext=key,
        plaintext=key,
        key=key,
        chunk=4096,
    )


def of_type(kind: type[What]) -> Callable[[bytes], object]:
    return lambda raw: isinstance(parse(raw).what, kind)


CONTENT: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], object]]] = {
    "reply": (lambda key: with_reply(b"text", key[:16]), lambda raw: without_reply(raw)[1]),
    "disappearing": (lambda key: encode(Plain(key), 60), lambda raw: parse(raw).seconds),
    "attachment_reference": (lambda key: encode(attachment(key)), of_type(Attachment)),
    "reaction": (lambda key: encode(Reaction(key[:16], "x")), of_type(Reaction)),
    "edit": (lambda key: encode(Edit(key[:16], "x")), of_type(Edit)),
    "deletion": (lambda key: encode(Deletion(key[:16])), of_type(Deletion)),
    "timer": (lambda key: encode(Timer(key[0] + 1)), of_type(Timer)),
}
