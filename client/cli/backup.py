"""``louver backup``: history and identity in a file, under a recovery key that is shown once.

What may live here: the options, and what is said. What is kept and how is in ``client.backup``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.commands import Terms

app = typer.Typer(
    no_args_is_help=True, help="Back up history and identity; restore them as a new device."
)


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="Where to write; it must not exist.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Write a backup, and show its recovery key. 64 characters, this once.

    With a recovery key of an earlier backup in LOUVER_RECOVERY_KEY that one is used, and not shown.
    """

    async def work(terms: Terms) -> None:
        import os

        from client import backup, profile, wording
        from crypto_modes.backup import KEY_SIZE, recovery_key, recovery_text

        kept = profile.load(terms.place)
        known = os.environ.get(profile.RECOVERY)
        key = recovery_key(known) if known else os.urandom(KEY_SIZE)
        keystore = profile.open_keystore(terms.place, kept.guard)
        try:
            rows = backup.create(keystore, kept.url, file, key)
        finally:
            keystore.close()
        text = "" if known else recovery_text(key)
        if terms.json:
            terms.say(wording.as_json({"file": str(file), "rows": rows, "recovery_key": text}))
            return
        terms.say(f"{file} has your messages, keys and safety numbers ({rows} rows).")
        if text:
            terms.say("Write this recovery key down; it is not shown again, and kept nowhere:")
            terms.say(_lines(text))
        terms.say("Whoever has both the file and the recovery key can be you. Messages that")
        terms.say("disappear, and those not sent yet, are not in it.")

    options.run(work, options.place(home, profile), as_json)


@app.command()
def restore(
    file: Path,
    url: Annotated[str, typer.Option("--url", help="The relay, if it has moved.")] = "",
    ca: options.Ca = None,
    insecure: options.Insecure = False,
    passphrase: options.Passphrase = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Make a new device of your account from a backup. In a profile that does not exist yet.

    Asks for the recovery key (LOUVER_RECOVERY_KEY) and the account's password (LOUVER_PASSWORD).
    The device that made the backup is taken off your account.
    """
    trusted = str(ca.absolute()) if ca is not None else ""

    async def work(terms: Terms) -> None:
        await _restore(terms, file, (url, trusted), insecure=insecure, passphrase=passphrase)

    options.run(work, options.place(home, profile), as_json)


async def _restore(
    terms: Terms, file: Path, where: tuple[str, str], *, insecure: bool, passphrase: bool
) -> None:
    import os

    from client import backup, profile, wording
    from client.connection import check_url
    from client.opening import connect
    from client.profile import Profile
    from crypto_modes.backup import recovery_key
    from crypto_modes.errors import BadArgument, KeyRefused, LogRefused, LouverError

    if profile.exists(terms.place):
        raise BadArgument(
            f"{terms.place} has a profile already; restore with another --profile or --home"
        )
    typed = os.environ.get(profile.RECOVERY) or profile.ask(
        "Recovery key", profile.RECOVERY, twice=False
    )
    key = recovery_key(typed)
    about = backup.look(file, key)
    guard = profile.guard_for(passphrase=passphrase)
    made = Profile(url=where[0] or about.url, name=about.name, ca=where[1], guard=guard)
    if not check_url(made.url)[0] and not insecure:
        raise BadArgument("ws:// is not encrypted: add --insecure, on this machine only")
    trusting = f" --ca {made.ca}" if made.ca else ""
    login = profile.credentials(about.name, register=False)
    keystore = profile.open_keystore(terms.place, guard)
    try:
        backup.restore(file, key, keystore)
        # From here on, `louver login` takes up what a break of the connection interrupts.
        profile.save(terms.place, made)
        try:
            async with connect(
                made.url, name=made.name, keystore=keystore, credentials=login, ca=made.ca or None
            ) as chat:
                device, unlinked = chat.welcome.device, chat.unlinked
        except (KeyRefused, LogRefused) as error:
            raise type(error)(
                f"{error}. The history is unpacked in {terms.place}; to read it: louver export"
                f" --all FILE --offline --home {terms.place}"
            ) from None
        except LouverError as error:
            raise type(error)(
                f"{error}. The backup is unpacked in {terms.place}; go on there with:"
                f" louver login {about.name} --url {made.url}{trusting} --home {terms.place}"
            ) from None
    finally:
        keystore.close()
    if terms.json:
        told = {"name": about.name, "device": device, "linked": unlinked is None}
        terms.say(wording.as_json(told))
        return
    terms.say(f"Welcome back, {about.name}. This is a new device of your account.")
    if unlinked is None:
        terms.say("The device that made the backup is off the account's list.")
    else:
        terms.say("The backup has no account key, so link this device: louver link")


def _lines(text: str) -> str:
    groups = text.split()
    return "\n".join("  " + " ".join(groups[at : at + 4]) for at in range(0, len(groups), 4))
