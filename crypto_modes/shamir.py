"""Shares of a secret key: any ``threshold`` of them give it back, fewer say nothing about it.

What may live here: splitting, combining, and a share to the byte and as text for people. Pure
functions only. What may not: who holds a share, or where they come together (``server/vault``).

Shamir, How to share a secret, CACM 22 (1979), byte by byte over GF(2^8) with the polynomial of
AES, x^8 + x^4 + x^3 + x + 1. A share is the values of the polynomials at ``index``. ::

    body  = 0x01 || key(16) || threshold u8 || count u8 || index u8 || value(32)
    key   = H(enc("louver/v1/share/key", public))[0:16]
    text  = "lvs_" || base64url(body || H(enc("louver/v1/share", body))[0:8])

The check finds what a person mistypes. That ``threshold`` true shares came together is known by the
public half of the key that they give, which a single share tells nothing about.

Multiplication has no table and no branch on secret values, so that it leaves no trace in caches;
what Python's integers do below is not ours to promise. It runs when officers meet, where nobody
measures it from outside.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Annotated

from msgspec import Meta, ValidationError, convert

from crypto_modes import wire
from crypto_modes.contract import Discreet
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, KeyRefused
from crypto_modes.keys import TeamKey
from crypto_modes.primitives import H, equal

PREFIX = "lvs_"
LEAST = 2  # one share alone would be the key
MOST = 32

_FORMAT = 0x01
_CHECK = 8
_BODY = 1 + 16 + 3 + TeamKey.size
_TEXT = len(PREFIX) + (_BODY + _CHECK) * 4 // 3
_POLYNOMIAL = 0x11B

Small = Annotated[int, Meta(ge=LEAST, le=MOST)]


class Share(Discreet, frozen=True, kw_only=True):
    """The ``index``-th of ``count`` shares, from 1; ``key`` marks whose it is, 16 bytes."""

    key: wire.Id
    threshold: Small
    count: Small
    index: Annotated[int, Meta(ge=1, le=MOST)]
    value: wire.Key

    def encode(self) -> str:
        """As text of 84 characters, for a file or a sheet of paper."""
        numbers = bytes((self.threshold, self.count, self.index))
        body = bytes((_FORMAT,)) + self.key + numbers + self.value
        return PREFIX + urlsafe_b64encode(body + _check(body)).decode()


def decode(text: str) -> Share:
    """The share that ``encode`` wrote as ``text``. Raises ``KeyRefused`` for anything else."""
    given = text.strip()
    if len(given) != _TEXT or not given.startswith(PREFIX) or not given.isascii():
        raise KeyRefused(f"a share is {_TEXT} characters and begins with {PREFIX}")
    raw = _raw(given.removeprefix(PREFIX))
    body, check = raw[:_BODY], raw[_BODY:]
    if not equal(check, _check(body)):
        raise KeyRefused("this share has a wrong character: its check does not fit")
    threshold, count, index = body[17:20]
    fields = {"key": body[1:17], "threshold": threshold, "count": count, "index": index}
    try:
        share = convert(fields | {"value": body[20:]}, Share)
    except ValidationError:
        raise KeyRefused("this share has numbers that no share has") from None
    if body[0] != _FORMAT or not share.threshold <= count or not index <= count:
        raise KeyRefused("this share has numbers that no share has")
    return share


def mark(public: bytes) -> bytes:
    """Which key a share is of, 16 bytes, from its public half."""
    return H(enc("louver/v1/share/key", public))[:16]


def split(
    secret: TeamKey, threshold: int, count: int, random: Callable[[int], bytes]
) -> tuple[Share, ...]:
    """``count`` shares, of which any ``threshold`` give ``secret`` back; others each time.

    ``random(n)`` gives n secret random bytes. Raises ``BadArgument``.
    """
    if not LEAST <= threshold <= count <= MOST:
        raise BadArgument(f"a key is split into {LEAST} to {MOST} shares, of which 2 or more open")
    rows = [secret.raw, *(random(secret.size) for _ in range(threshold - 1))]
    key = mark(secret.public)
    return tuple(
        Share(key=key, threshold=threshold, count=count, index=x, value=_at(rows, x))
        for x in range(1, count + 1)
    )


def combine(shares: Sequence[Share]) -> TeamKey:
    """The key that was split. Raises ``KeyRefused`` for shares of different splittings, too few,
    one twice, and for shares of which one at least is false.
    """
    if not shares or len({(each.key, each.threshold, each.count) for each in shares}) > 1:
        raise KeyRefused("these are no shares of one key, split once")
    first = shares[0]
    points = {each.index: each.value for each in shares}
    if len(points) < len(shares):
        raise KeyRefused("one share is here twice")
    if len(points) < first.threshold:
        raise KeyRefused(f"{len(points)} shares are here, and {first.threshold} are needed")
    secret = TeamKey(_interpolate(dict(sorted(points.items())[: first.threshold])))
    if not equal(mark(secret.public), first.key):
        raise KeyRefused("these shares do not give the key: at least one of them is false")
    return secret


def _check(body: bytes) -> bytes:
    return H(enc("louver/v1/share", body))[:_CHECK]


def _raw(text: str) -> bytes:
    try:
        raw = urlsafe_b64decode(text)
    except ValueError:
        raw = b""
    # The decoder passes over letters that are none; only what `encode` writes is a share.
    if urlsafe_b64encode(raw).decode() != text:
        raise KeyRefused("this share has a character that no share has")
    return raw


def _at(rows: Sequence[bytes], x: int) -> bytes:
    """Each polynomial, its coefficients one column of ``rows`` from the constant on, at ``x``."""
    columns = zip(*reversed(rows), strict=True)
    return bytes(reduce(lambda so_far, c: _multiply(so_far, x) ^ c, column) for column in columns)


def _interpolate(points: dict[int, bytes]) -> bytes:
    """The polynomials through ``points`` at 0."""
    secret = bytes(TeamKey.size)
    for x, value in points.items():
        weight = 1
        for other in points:
            if other != x:
                weight = _multiply(weight, _multiply(other, _invert(other ^ x)))
        secret = bytes(a ^ _multiply(weight, b) for a, b in zip(secret, value, strict=True))
    return secret


def _multiply(a: int, b: int) -> int:
    """The product in GF(2^8): eight steps whatever the values."""
    product = 0
    for _ in range(8):
        product ^= -(b & 1) & a
        a = (a << 1) ^ (-(a >> 7) & _POLYNOMIAL)
        b >>= 1
    return product


def _invert(a: int) -> int:
    """``a`` to the power of 254, which is 1/a for all but 0."""
    power = a
    for _ in range(6):
        power = _multiply(_multiply(power, power), a)
    return _multiply(power, power)
