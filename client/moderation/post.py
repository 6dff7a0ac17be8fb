"""Where a person of the staff keeps what is his: addresses, his signing key, the open session.

What may live here: these three files, ``staff.json``, ``staff.key`` and ``staff-session.json``, all
of mode 0600 in the profile's directory. What may not: passwords, and anything that was read.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TypeVar

import msgspec

from client.keyfile import key_file
from crypto_modes.errors import BadConfig, Unauthorized
from crypto_modes.keys import SigningKey

_FILE_LIMIT = 16 * 1024
S = TypeVar("S", bound=msgspec.Struct)


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask: the relay's internal listener and the vault, each with the PEM file of who
    certifies it (empty: whom this system trusts)."""

    name: str
    url: str
    vault: str = ""
    ca: str = ""
    vault_ca: str = ""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay gave at login; ``expires`` in milliseconds."""

    token: str
    expires: int


class Post:
    """One person's files under ``place``."""

    def __init__(self, place: Path) -> None:
        self._place = place

    @property
    def addresses(self) -> Addresses:
        """Raises ``BadConfig`` before the first ``join`` or ``login``."""
        found = self._read("staff.json", Addresses)
        if found is None:
            raise BadConfig(
                "this profile is of nobody of the staff yet; run: louver mod join NAME --url"
                " http://HOST:PORT --vault https://HOST:PORT"
            )
        return found

    def knows(self) -> Addresses | None:
        """The same, or None."""
        return self._read("staff.json", Addresses)

    def remember(self, addresses: Addresses) -> None:
        """From now on these are asked."""
        self._write("staff.json", addresses)

    def key(self, *, make: bool = False) -> SigningKey:
        """The person's own key. Raises ``BadConfig``."""
        return SigningKey(key_file(self._place / "staff.key", make=make))

    @property
    def session(self) -> Session:
        """Raises ``Unauthorized`` where there is none."""
        found = self._read("staff-session.json", Session)
        if found is None:
            raise Unauthorized("nobody is logged in here; run: louver mod login")
        return found

    def open(self, session: Session) -> None:
        """Keep a session."""
        self._write("staff-session.json", session)

    def close(self) -> None:
        """Forget it."""
        (self._place / "staff-session.json").unlink(missing_ok=True)

    def _read(self, name: str, kind: type[S]) -> S | None:
        path = self._place / name
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(_FILE_LIMIT), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadConfig(f"cannot read {path}: {error}") from None

    def _write(self, name: str, content: msgspec.Struct) -> None:
        """Whole or not at all, and for this user alone from the first byte on."""
        draft = self._place / f".{name}.{secrets.token_hex(8)}"
        try:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(content))
            draft.replace(self._place / name)
        except OSError as error:
            raise BadConfig(f"cannot write to {self._place}: {error.strerror}") from None
