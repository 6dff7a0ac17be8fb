"""How a user is called, and proves to be that when this device has no token yet.

Only the form of names and the two kinds of credentials live here; ``session.py`` exchanges them
for a token.
"""

from __future__ import annotations

import msgspec

from crypto_modes import wire
from crypto_modes.contract import Secretive
from crypto_modes.errors import BadArgument


def check_name(name: str) -> None:
    """Raise ``BadArgument`` where no relay knows such a name, before one is asked."""
    try:
        msgspec.convert(name, wire.Name)
    except msgspec.ValidationError:
        raise BadArgument(
            f"{name!r} is no user's name: 1 to 32 of a-z, 0-9 and . _ -, a letter or digit first"
        ) from None


class Password(Secretive, msgspec.Struct, frozen=True):
    """A password. ``register`` makes the account where it does not exist."""

    text: str
    register: bool = False

    def __repr__(self) -> str:
        """Never the secret: credentials end up in tracebacks and logs."""
        return f"Password(…, register={self.register})"


class Jwt(Secretive, msgspec.Struct, frozen=True):
    """A token of the operator's identity provider; ``register`` as for a password."""

    token: str
    register: bool = True

    def __repr__(self) -> str:
        """Never the secret."""
        return f"Jwt(…, register={self.register})"


Credentials = Password | Jwt
