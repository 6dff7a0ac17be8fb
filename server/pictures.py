"""Lists of pictures: PDQ hashes that the operator brings, and comparing a picture with them.

What may live here: reading hashes, decoding a picture within limits, and the comparison. What may
not: what follows from a hit (``scanning``), or any list. PDQ is the perceptual hash that Meta
published for exchanging such lists (facebook/ThreatExchange, hashing/hashing.pdf): 256 bits, of
which two pictures that look alike to people share most. The libraries are an extra,
``louver[scanners-images]``; where lists are set and they are missing, the relay does not start.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from importlib import import_module

from crypto_modes.errors import BadArgument, BadConfig
from crypto_modes.scanning import HITS_LIMIT, Action, Hit

BITS = 256
# Of 256: what the algorithm's authors call a match, and the quality below which it says nothing.
DISTANCE = 31
QUALITY = 50
PIXELS_LIMIT = 50_000_000
# Of all that the library can open, what people send: some of the rest is run by other programs.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
# By name: it has no types, and is in no lock, since it is built from source.
_PDQ = "pdqhash"


class Pictures:
    """A list of PDQ hashes, 64 hexadecimal digits each; ``crypto_modes.scanning.MediaScanner``.

    Raises ``BadConfig`` for an entry that is none, and where the libraries are not installed.
    """

    def __init__(self, name: str, action: Action, entries: Iterable[str]) -> None:
        self._name = name
        self._action = action
        self._hashes = [_number(name, entry) for entry in entries]
        try:
            for library in ("numpy", "PIL", _PDQ):
                import_module(library)
        except ImportError:
            raise BadConfig(
                "lists of pictures need libraries: pip install 'louver[scanners-images]'"
            ) from None

    def scan_media(self, media: bytes) -> Sequence[Hit]:
        """See ``MediaScanner``."""
        seen = _hash(media)
        if seen is None:
            return ()
        near = sorted({each for each in self._hashes if (each ^ seen).bit_count() <= DISTANCE})
        return tuple(Hit(self._action, self._name, f"{each:064x}") for each in near[:HITS_LIMIT])


def _number(name: str, entry: str) -> int:
    try:
        if len(entry) != BITS // 4:
            raise ValueError(entry)
        return int(entry, 16)
    except ValueError:
        raise BadConfig(f"the list {name}: {entry[:70]!r} is no PDQ hash of 64 digits") from None


def _hash(media: bytes) -> int | None:
    """The hash of a picture; None where it has too little in it to be told from others."""
    import numpy
    from PIL import Image

    try:
        with Image.open(io.BytesIO(media), formats=FORMATS) as image:
            if image.width * image.height > PIXELS_LIMIT:
                raise BadArgument(f"a picture of over {PIXELS_LIMIT // 1_000_000} million pixels")
            pixels = numpy.asarray(image.convert("RGB"))
    except BadArgument:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything at what was made to hurt
        raise BadArgument(f"this is no picture: {type(error).__name__}") from None
    bits, quality = import_module(_PDQ).compute(pixels)
    if quality < QUALITY:
        return None
    return int("".join("1" if bit else "0" for bit in bits), 2)
