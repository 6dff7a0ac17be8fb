"""Where the command line keeps a user: a directory with a profile, a key store and its key.

What may live here: paths, the profile file, and how its key store is opened. The library knows
nothing of profiles.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

import msgspec

from client.credentials import Credentials, Jwt, Password
from client.keystore import Keystore
from crypto_modes.errors import BadArgument, BadConfig

PASSPHRASE, PASSWORD, TOKEN = "LOUVER_PASSPHRASE", "LOUVER_PASSWORD", "LOUVER_JWT"
RECOVERY = "LOUVER_RECOVERY_KEY"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What ``register`` and ``login`` remember for the other commands. ``guard`` says what opens
    the key store: a ``passphrase`` or a ``file``."""

    url: str
    name: str
    ca: str = ""
    guard: str = "file"


def directory(home: Path | None, profile: str) -> Path:
    """``home``, or ``$XDG_CONFIG_HOME/louver/PROFILE`` (default ``~/.config``)."""
    if home is not None:
        return home
    if not profile or "/" in profile or profile.startswith("."):
        raise BadArgument(f"{profile!r} is no profile's name")
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "louver" / profile


def exists(place: Path) -> bool:
    """Whether a directory has a profile already."""
    return (place / "profile.json").exists()


def load(place: Path) -> Profile:
    """The profile of a directory. Raises ``BadConfig`` before ``register`` or ``login``."""
    file = place / "profile.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Profile)
    except FileNotFoundError:
        raise BadConfig(f"there is no profile in {place} yet; {_advice(place)}") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadConfig(f"cannot read {file}: {error}") from None


def _advice(place: Path) -> str:
    named = place.parent == directory(None, "default").parent
    others = sorted(each.parent.name for each in place.parent.glob("*/profile.json"))
    if named and others:
        return f"there is: {', '.join(f'--profile {each}' for each in others)}"
    return "run: louver register NAME --url wss://…"


def save(place: Path, profile: Profile) -> None:
    """Keep a profile; nothing in it is secret."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / "profile.json").write_bytes(msgspec.json.encode(profile) + b"\n")
    except OSError as error:
        raise BadConfig(f"cannot write to {place}: {error.strerror}") from None


def open_keystore(place: Path, guard: str) -> Keystore:
    """The key store of a directory, with the passphrase from the environment or a prompt, or
    with the key file beside it."""
    database = place / "keystore.db"
    if guard == "file":
        return Keystore.open(database, key_file=place / "keystore.key")
    new = not database.exists()
    passphrase = os.environ.get(PASSPHRASE) or ask(
        "Passphrase of the key store", PASSPHRASE, twice=new
    )
    return Keystore.open(database, passphrase=passphrase)


def guard_for(*, passphrase: bool) -> str:
    """What is to open a new key store."""
    return "passphrase" if passphrase or os.environ.get(PASSPHRASE) else "file"


def credentials(name: str, *, register: bool) -> Credentials:
    """The password or JWT from the environment, or a prompt."""
    token = os.environ.get(TOKEN)
    if token:
        return Jwt(token, register=register)
    rule = ", at least 8 characters" if register else ""
    password = os.environ.get(PASSWORD) or ask(
        f"Password of {name}{rule}", PASSWORD, twice=register
    )
    return Password(password, register=register)


def ask(what: str, variable: str, *, twice: bool) -> str:
    """A secret from the terminal; where there is none, ``BadArgument`` names the variable of the
    environment that it is taken from instead."""
    if not sys.stdin.isatty():
        raise BadArgument(f"no terminal to ask for this on: {what}; set {variable}")
    answer = getpass.getpass(f"{what}: ")
    if not answer:
        raise BadArgument(f"nothing was typed for this: {what}")
    if twice and getpass.getpass("Once more: ") != answer:
        raise BadArgument("that was not the same twice; try again")
    return answer
