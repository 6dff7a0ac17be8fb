"""``enc``: the one canonical encoding under every MAC, signature, KDF info and AAD.

Nothing else may live here but its inverse. Whatever is authenticated goes through this function
and never through MessagePack or JSON, whose parsers differ on duplicate keys and number forms.
"""

from __future__ import annotations

from struct import Struct

from crypto_modes.errors import BadArgument, FrameRefused

LABEL_PREFIX = "louver/v1/"

_LENGTH = Struct(">I").pack
_INTEGER = Struct(">Q").pack
_INTEGER_LENGTH = _LENGTH(8)


def enc(label: str, *items: bytes | int | str) -> bytes:
    """Encode ``label`` and ``items`` injectively: u32 big-endian length, then bytes, for each.

    Integers become u64 big-endian, strings UTF-8. The label separates domains: two uses never
    share one, so a value authenticated for one purpose is worthless for another.

    Raises:
        BadArgument: the label lacks the prefix ``louver/v1/`` or is not ASCII, or an integer
            does not fit 64 bits.
    """
    if not label.startswith(LABEL_PREFIX) or not label.isascii():
        raise BadArgument(f"a label must be ASCII and start with {LABEL_PREFIX!r}, not {label!r}")
    raw = label.encode()
    parts = [_LENGTH(len(raw)), raw]
    for item in items:
        if isinstance(item, int):
            if not 0 <= item < 1 << 64:
                raise BadArgument("an encoded integer must fit an unsigned 64-bit field")
            parts += (_INTEGER_LENGTH, _INTEGER(item))
        else:
            raw = item.encode() if isinstance(item, str) else item
            parts += (_LENGTH(len(raw)), raw)
    return b"".join(parts)


def dec(label: str, data: bytes) -> list[bytes]:
    """The items that ``enc(label, …)`` encoded, as bytes; ``number`` reads an integer.

    Raises ``FrameRefused`` for what ``enc`` does not make, or makes under another label.
    """
    items, place = [], 0
    while place < len(data):
        start = place + 4
        end = start + int.from_bytes(data[place:start], "big")
        if end > len(data):
            raise FrameRefused("encoded items are cut off")
        items.append(data[start:end])
        place = end
    if not items or items[0] != label.encode():
        raise FrameRefused(f"these are no items of {label!r}")
    return items[1:]


def number(item: bytes) -> int:
    """The integer in an item. Raises ``FrameRefused``."""
    if len(item) != 8:
        raise FrameRefused("an encoded integer has 8 bytes")
    return int.from_bytes(item, "big")
