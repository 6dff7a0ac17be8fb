"""How a user proves who they are when this device has no token yet.

Only the two kinds of credentials live here; ``session.py`` exchanges them for a token.
"""

from __future__ import annotations

import msgspec


class Password(msgspec.Struct, frozen=True):
    """A password. ``register`` makes the account where it does not exist."""

    text: str
    register: bool = False

    def __repr__(self) -> str:
        """Never the secret: credentials end up in tracebacks and logs."""
        return f"Password(…, register={self.register})"


class Jwt(msgspec.Struct, frozen=True):
    """A token of the operator's identity provider; ``register`` as for a password."""

    token: str
    register: bool = True

    def __repr__(self) -> str:
        """Never the secret."""
        return f"Jwt(…, register={self.register})"


Credentials = Password | Jwt
