"""``enc``: the one canonical encoding under every MAC, signature, KDF info and AAD.

Nothing else may live here. Whatever is authenticated goes through this function and never
through MessagePack or JSON, whose parsers differ on duplicate keys and number forms.
"""

from __future__ import annotations

from struct import Struct

from crypto_modes.errors import BadArgument

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
