"""A second reading of Shamir's secret sharing over GF(2^8), which imports nothing of the product.

What may live here: the field by logarithms to the base 3, and interpolation by Newton's divided
differences instead of Lagrange's weights; a share to the byte, from the design alone.
"""

from __future__ import annotations

import base64
import hashlib
import struct

LOGARITHM: dict[int, int] = {}
POWER: list[int] = []
_value = 1
for _exponent in range(255):
    POWER.append(_value)
    LOGARITHM[_value] = _exponent
    _doubled = _value * 2 if _value < 128 else (_value * 2 - 256) ^ 0x1B
    _value ^= _doubled  # times 3


def times(a: int, b: int) -> int:
    return POWER[(LOGARITHM[a] + LOGARITHM[b]) % 255] if a and b else 0


def over(a: int, b: int) -> int:
    return POWER[(LOGARITHM[a] - LOGARITHM[b]) % 255] if a else 0


def evaluate(coefficients: list[int], x: int) -> int:
    total, power = 0, 1
    for coefficient in coefficients:
        total ^= times(coefficient, power)
        power = times(power, x)
    return total


def at_zero(points: list[tuple[int, int]]) -> int:
    """Newton: p(x) = d0 + d1 (x - x0) + d2 (x - x0)(x - x1) …, in a field where - is +."""
    xs = [x for x, _ in points]
    table = [y for _, y in points]
    for level in range(1, len(xs)):
        for place in range(len(xs) - 1, level - 1, -1):
            table[place] = over(table[place] ^ table[place - 1], xs[place] ^ xs[place - level])
    total, product = 0, 1
    for x, difference in zip(xs, table, strict=True):
        total ^= times(difference, product)
        product = times(product, x)
    return total


def secret(values: dict[int, bytes]) -> bytes:
    size = len(next(iter(values.values())))
    return bytes(at_zero([(x, value[at]) for x, value in values.items()]) for at in range(size))


def share(rows: list[bytes], x: int) -> bytes:
    return bytes(evaluate([row[at] for row in rows], x) for at in range(len(rows[0])))


def enc(label: str, *items: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(item)) + item for item in (label.encode(), *items))


def text(public: bytes, threshold: int, count: int, index: int, value: bytes) -> str:
    key = hashlib.sha256(enc("louver/v1/share/key", public)).digest()[:16]
    body = b"\x01" + key + bytes((threshold, count, index)) + value
    check = hashlib.sha256(enc("louver/v1/share", body)).digest()[:8]
    return "lvs_" + base64.urlsafe_b64encode(body + check).decode()
