"""``louver mod keygen``, ``join``, ``login``, ``logout``, ``share``: coming to the desk.

What may live here: these steps. Passwords, codes and invitations are asked for or come from the
environment, never from the command line, which other users of the machine can see.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec

from client import profile, qr
from client.commands import Terms
from client.moderation import words
from client.moderation.asking import PREFIX, Office, Vault, signed
from client.moderation.post import Addresses, Post, Session
from crypto_modes import disclosure
from crypto_modes.errors import BadArgument

PASSWORD, CODE = "LOUVER_MOD_PASSWORD", "LOUVER_MOD_CODE"
INVITE, ID_TOKEN = "LOUVER_MOD_INVITE", "LOUVER_MOD_ID_TOKEN"
SHARE = "LOUVER_MOD_SHARE"
# A share is 84 characters.
_FILE_LIMIT = 1024


def keygen(terms: Terms) -> None:
    """Make the person's own key, or show the one that is there."""
    public = Post(terms.place).key(make=True).public.hex()
    if terms.json:
        terms.say(words.as_json({"key": public}))
        return
    terms.say(f"Your public key: {public}")
    terms.say("The vault's operator adds it to the vault's own list of the staff; join with it at")
    terms.say("the relay. Grants that you approve and what you read are signed with it.")


def join(terms: Terms, addresses: Addresses, *, password: bool) -> None:
    """Bring key and password for an invitation."""
    post = Post(terms.place)
    key = post.key(make=True)
    invite = _secret(INVITE, "The invitation (lvi_…)")
    chosen = _secret(PASSWORD, "A password of your own", twice=True) if password else ""
    post.remember(addresses)
    body = {"invite": invite, "key": key.public.hex(), "password": chosen}
    header = signed(key, f"{PREFIX}/join", json.dumps(body).encode(), addresses.name)
    joined = Office(post).open("/join", body, header)
    if terms.json:
        terms.say(words.as_json(joined))
        return
    member = joined["member"]
    terms.say(f"Welcome, {member['name']}: {member['role']}.")
    if joined["authenticator"]:
        terms.say("Scan this with an authenticator app; it is not shown again:")
        terms.say(qr.draw(joined["authenticator"], colours=sys.stdout.isatty()))
        terms.say(joined["authenticator"])
    terms.say("Next: louver mod login")


def login(terms: Terms, addresses: Addresses | None, *, token: bool) -> None:
    """Log in with password and code, or with an ID token of the identity provider."""
    post = Post(terms.place)
    if addresses is not None:
        post.remember(addresses)
    office = Office(post)
    if token:
        body = {"id_token": _secret(ID_TOKEN, "The ID token")}
    else:
        body = {
            "name": office.name,
            "password": _secret(PASSWORD, "Password"),
            "code": _secret(CODE, "Code of your authenticator app"),
        }
    opened = office.open("/sessions", body)
    post.open(Session(token=opened["token"], expires=opened["expires"]))
    person = opened["person"]
    if terms.json:
        terms.say(words.as_json(person))
    else:
        terms.say(f"Logged in as {person['name']}: {person['role']}.")


def logout(terms: Terms) -> None:
    """End the session."""
    Office(Post(terms.place)).close()


def who(terms: Terms) -> None:
    """Say who is logged in."""
    person = Office(Post(terms.place)).get("/sessions/current").json
    terms.say(words.as_json(person) if terms.json else f"{person['name']}: {person['role']}")


def share(terms: Terms, file: Path | None = None) -> None:
    """Hand an officer's share of the vault's key to the vault. Raises ``BadArgument`` for a file
    that cannot be read or is none of a share."""
    text = _secret(SHARE, "Your share") if file is None else _share_of(file)
    vault = Vault(Post(terms.place))
    found = vault.call(disclosure.SHARES, disclosure.ShareCall(text), disclosure.Sharing)
    if terms.json:
        terms.say(words.as_json(msgspec.to_builtins(found)))
    else:
        terms.say(f"{found.here} of {found.needed} shares are there.")


def known(
    terms: Terms, name: str, url: str, vault: str, authorities: tuple[str, str]
) -> Addresses | None:
    """What was given on the command line, with the rest as it was; None where nothing was given.

    Raises ``BadArgument`` where it is not enough.
    """
    before = Post(terms.place).knows()
    given = {"name": name, "url": url, "vault": vault, "ca": authorities[0]}
    given = {key: value for key, value in {**given, "vault_ca": authorities[1]}.items() if value}
    if not given:
        return None
    if before is not None:
        return msgspec.structs.replace(before, **given)
    if not name or not url:
        raise BadArgument("say who you are and where the relay is: NAME --url http://HOST:PORT")
    return Addresses(**given)


def _share_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_FILE_LIMIT).decode("ascii").strip()
    except OSError as error:
        raise BadArgument(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadArgument(f"{file} holds no share; it is one line that begins with lvs_") from None


def _secret(variable: str, question: str, *, twice: bool = False) -> str:
    """From the environment, or asked for."""
    return os.environ.get(variable) or profile.ask(question, variable, twice=twice)
