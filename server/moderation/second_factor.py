"""The second factor of the staff: time-based one-time codes (TOTP, RFC 6238).

What may live here: codes, their secrets and the only use of ``pyotp``. What may not: who logs in.
The parameters are those that every authenticator app has: SHA-1, 6 digits, 30 seconds. ::

    secret = HMAC(pepper, enc("louver/v1/staff/code", member, generation))[0:20]

No secret is stored: ``pepper``, 32 bytes, lies in a file beside the database, so that the database
alone lets nobody in. A new generation is a new secret.
"""

from __future__ import annotations

import base64

import pyotp

from crypto_modes.encoding import enc
from crypto_modes.primitives import equal, hmac

SECRET_SIZE = 20  # RFC 4226, R6: at least 16, 20 recommended
DIGITS = 6
STEP_SECONDS = 30
# A code may be one step early or late: clocks differ, and people type (RFC 6238, 5.2).
DRIFT = 1


def secret_of(pepper: bytes, member: bytes, generation: int) -> bytes:
    """The secret that an authenticator app shares with us, 20 bytes."""
    return hmac(pepper, enc("louver/v1/staff/code", member, generation))[:SECRET_SIZE]


def code_at(secret: bytes, step: int) -> str:
    """The 6 digits of the 30 seconds from ``step * 30`` on, in seconds since 1970."""
    return _codes(secret).generate_otp(step)


def step_of(secret: bytes, code: str, now: int, used: int) -> int:
    """Which step ``code`` is of at ``now`` (milliseconds); 0 where it is no code, or one of a step
    up to ``used``: a code that somebody has seen being typed is worth nothing.
    """
    here = now // (STEP_SECONDS * 1000)
    steps = range(here - DRIFT, here + DRIFT + 1)
    # All are compared, so that the time taken does not tell which was close.
    right = [step for step in steps if equal(code_at(secret, step).encode(), code.encode())]
    return next((step for step in right if step > used), 0)


def enrolment(secret: bytes, name: str, service: str) -> str:
    """The ``otpauth://`` address that an authenticator app reads, mostly as a QR code."""
    return _codes(secret).provisioning_uri(name=name, issuer_name=service)


def _codes(secret: bytes) -> pyotp.TOTP:
    return pyotp.TOTP(base64.b32encode(secret).decode(), digits=DIGITS, interval=STEP_SECONDS)
