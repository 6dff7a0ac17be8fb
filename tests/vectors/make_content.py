"""Make ``content.json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_content``. The bytes
come from ``tests/modes_oracle.py``; the product's code has no part in them. ``says`` is the name of
a class of ``crypto_modes/content.py``, ``fields`` what it has, bytes as hex; what says nothing
structured is ``Plain``. There are no errors to expect: every content says something.
"""

from __future__ import annotations

from typing import Any

from tests.modes_oracle import enc
from tests.vectors.make_modes import drawn, write

MARK = b"\xff"
TARGET = drawn("target")
FILE: dict[str, Any] = {
    "blob": drawn("blob"),
    "name": "holiday ☂.png",
    "media_type": "image/png",
    "size": 123_456,
    "key": drawn("file key", 32),
    "ciphertext": drawn("ciphertext", 32),
    "plaintext": drawn("plaintext", 32),
    "chunk": 32_768,
}


def attachment(**changes: Any) -> bytes:
    return MARK + enc("louver/v1/attachment_reference", *(FILE | changes).values())


def said(label: str, *items: Any) -> bytes:
    return MARK + enc(f"louver/v1/{label}", *items)


def disappearing(seconds: int | bytes, content: bytes) -> bytes:
    return said("disappearing", seconds, content)


Found = list[dict[str, Any]]


def good() -> Found:
    bare = {"key": b"", "chunk": 0}
    rows: list[tuple[str, bytes, str, dict[str, Any], int]] = [
        ("a text", "größe 👍".encode(), "Plain", {"content": "größe 👍".encode()}, 0),
        ("nothing", b"", "Plain", {"content": b""}, 0),
        ("a reaction", said("reaction", TARGET, "👍"), "Reaction", {"emoji": "👍"}, 0),
        ("a reaction taken back", said("reaction", TARGET, ""), "Reaction", {"emoji": ""}, 0),
        ("an edit", said("edit", TARGET, "better"), "Edit", {"text": "better"}, 0),
        ("a deletion", said("deletion", TARGET), "Deletion", {}, 0),
        ("a timer", said("timer", 3600), "Timer", {"seconds": 3600}, 0),
        ("no timer any more", said("timer", 0), "Timer", {"seconds": 0}, 0),
        ("a sealed file", attachment(), "Attachment", FILE, 0),
        ("a file in the clear", attachment(**bare), "Attachment", FILE | bare, 0),
        ("a text that disappears", disappearing(60, b"soon"), "Plain", {"content": b"soon"}, 60),
        ("a file that disappears", disappearing(1, attachment()), "Attachment", FILE, 1),
    ]
    return [
        {
            "name": name,
            "content": content,
            "says": says,
            "seconds": seconds,
            "fields": ({"target": TARGET} if says in ("Reaction", "Edit", "Deletion") else {})
            | fields,
        }
        for name, content, says, fields, seconds in rows
    ]


def plain() -> Found:
    """What is not exactly structured, and so says only its bytes."""
    reaction = said("reaction", TARGET, "👍")
    rows = {
        "only the mark": MARK,
        "a length that is cut": MARK + b"\0\0\0",
        "a label that nobody knows": said("poll", TARGET, "yes?"),
        "without the mark": reaction[1:],
        "something after the end": reaction + b"\0",
        "an item too many": said("reaction", TARGET, "👍", ""),
        "an item too few": said("reaction", TARGET),
        "half a target": said("reaction", TARGET[:8], "👍"),
        "an emoji that is no UTF-8": said("reaction", TARGET, b"\xf0"),
        "an emoji of 65 bytes": said("reaction", TARGET, "a" * 65),
        "an edit to nothing": said("edit", TARGET, ""),
        "an edit that is no UTF-8": said("edit", TARGET, b"\xff"),
        "a timer of nine bytes": said("timer", bytes(9)),
        "a timer of over a year": said("timer", 366 * 86_400 + 1),
        "disappearing after no time": disappearing(0, b"text"),
        "disappearing after over a year": disappearing(366 * 86_400 + 1, b"text"),
        "disappearing after one byte": disappearing(b"\1", b"text"),
        "a reaction that disappears": disappearing(60, reaction),
        "disappearing twice": disappearing(60, disappearing(60, b"text")),
        "a file without a name": attachment(name=""),
        "a file with too long a name": attachment(name="n" * 256),
        "a file of no type": attachment(media_type="image"),
        "a file of a type in capitals": attachment(media_type="IMAGE/PNG"),
        "a file with half a key": attachment(key=drawn("file key", 16)),
        "a key and no chunks": attachment(chunk=0),
        "chunks and no key": attachment(key=b""),
        "a cut digest": attachment(plaintext=drawn("plaintext", 31)),
        "a size of nine bytes": attachment(size=bytes(9)),
    }
    return [
        {
            "name": name,
            "content": content,
            "says": "Plain",
            "seconds": 0,
            "fields": {"content": content},
        }
        for name, content in rows.items()
    ]


def main() -> None:
    write("content", "What a message says, in every mode.", good() + plain())


if __name__ == "__main__":
    main()
