"""Finding canaries in any bytes: raw, UTF-16, base64, hex, escaped, inside compressed streams.

Pure: bytes in, canaries out. One needle per encoding is enough, because all canaries of a run
start alike; at each hit the rest is decoded and its check verified. MessagePack and CBOR keep
text as it is, so "raw" finds it there; JSON escapes are searched on their own.

Compressed streams are found by their header (gzip, zlib) at any offset. A raw deflate stream
has no header: it is tried at every offset of the first 64 KiB of a file, and no further, because
a try costs microseconds.
"""

from __future__ import annotations

import binascii
import re
import zlib
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from client.compare.canary import SIZE, Canaries

OVERLAP = 16 * 1024  # chunks of one input must overlap by as much: a whole canary in any form
_RAW_DEFLATE_LIMIT = 64 * 1024
_INFLATE_LIMIT = 1024 * 1024
_GZIP_OR_ZLIB = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")


@dataclass(frozen=True, slots=True)
class Form:
    """An encoding: its ``needle``, how many bytes to take from a hit, and how to decode them."""

    name: str
    needle: bytes
    take: int
    decode: Callable[[bytes], str]


@dataclass
class Found:
    """Which canaries were found (by number), in which forms, in how many bytes."""

    numbers: set[int] = field(default_factory=set)
    forms: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    searched: int = 0

    def add(self, form: str, number: int) -> None:
        """Note one hit."""
        self.numbers.add(number)
        self.forms[form].add(number)


class Searcher:
    """Looks for the canaries of one run; feed it inputs, read ``found``."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries
        self._forms = tuple(_forms(canaries.stem))
        self.found = Found()

    def feed(self, data: bytes, *, headless: bool = True) -> None:
        """Search one input, or one chunk of it (chunks overlapping by ``OVERLAP``).

        ``headless`` also looks for raw deflate streams, at 0.2 s an input.
        """
        self.found.searched += len(data)
        self._scan(data, "")
        for name, plain in streams(data, headless=headless):
            self._scan(plain, f"{name}+")

    def _scan(self, data: bytes, prefix: str) -> None:
        for form in self._forms:
            at = data.find(form.needle)
            while at >= 0:
                number = self._canaries.number(_try(form, data[at : at + form.take]))
                if number is not None:
                    self.found.add(prefix + form.name, number)
                at = data.find(form.needle, at + 1)


def streams(data: bytes, *, headless: bool) -> Iterator[tuple[str, bytes]]:
    """Everything in ``data`` that inflates to something, with the name of its format."""
    view = memoryview(data)  # slices of bytes would copy megabytes for each candidate
    for hit in _GZIP_OR_ZLIB.finditer(data):
        gzipped = hit.group().startswith(b"\x1f")
        plain = _inflate(view[hit.start() :], 31 if gzipped else 15)
        if plain:
            yield ("gzip" if gzipped else "zlib"), plain
    for offset in range(min(len(data), _RAW_DEFLATE_LIMIT) if headless else 0):
        plain = _inflate(view[offset:_RAW_DEFLATE_LIMIT], -15)
        if len(plain) >= SIZE:
            yield "deflate", plain


def _inflate(data: memoryview, window: int) -> bytes:
    """As much as inflates before the first error; b"" where nothing does."""
    stream = zlib.decompressobj(window)
    plain = b""
    try:
        # In small steps: a stream that breaks off later still shows its beginning.
        for start in range(0, len(data), 512):
            plain += stream.decompress(data[start : start + 512], _INFLATE_LIMIT - len(plain))
            if stream.eof or len(plain) >= _INFLATE_LIMIT:
                break
    except zlib.error:
        pass
    return plain


def _forms(stem: str) -> Iterator[Form]:
    raw = stem.encode()
    yield Form("raw", raw, SIZE, bytes.decode)
    yield Form("utf-16le", stem.encode("utf-16-le"), 2 * SIZE, lambda d: d.decode("utf-16-le"))
    yield Form("utf-16be", stem.encode("utf-16-be"), 2 * SIZE, lambda d: d.decode("utf-16-be"))
    yield Form("hex", raw.hex().encode(), 2 * SIZE, _from_hex)
    yield Form("HEX", raw.hex().upper().encode(), 2 * SIZE, _from_hex)
    escaped = "".join(f"\\u{ord(c):04x}" for c in stem).encode()
    yield Form("json escapes", escaped, 6 * SIZE, lambda d: d.decode("unicode-escape"))
    for shift in range(3):
        yield _base64_form(raw, shift)


def _base64_form(raw: bytes, shift: int) -> Form:
    """Base64 of a text in which the canary starts ``shift`` bytes into a group of three.

    The first and last character of the needle's groups mix in neighbours, so only the inner,
    fully determined characters are searched. A canary has no byte that base64 writes with ``+``
    or ``/``; its url-safe spelling is the same.
    """
    skip = (4 * shift + 2) // 3 if shift else 0
    encoded = b64encode(bytes(shift) + raw)
    needle = encoded[skip : len(encoded) - (4 if (shift + len(raw)) % 3 else 0)]
    # From the hit on, groups of four characters start after the ones the shift cut off.
    lead = (-skip) % 4
    length = (SIZE + shift) * 4 // 3 + 4

    def decode(data: bytes) -> str:
        whole = data[lead:]
        whole = whole[: len(whole) // 4 * 4]
        plain = b64decode(whole, altchars=b"-_", validate=False)
        return _completed(plain, raw)

    return Form(f"base64/{shift}", needle, length, decode)


def _completed(plain: bytes, raw: bytes) -> str:
    """The canary whose tail is in ``plain``: its stem is known, and may start before the group."""
    for cut in range(4):
        if plain.startswith(raw[cut:]):
            return (raw[:cut] + plain)[:SIZE].decode()
    return ""


def _from_hex(data: bytes) -> str:
    return binascii.unhexlify(data).decode()


def _try(form: Form, data: bytes) -> str:
    try:
        return form.decode(data)
    except (ValueError, binascii.Error):  # a hit by chance, or cut off
        return ""
