"""How linking and removing devices is put to a person: what is about to happen, and what it means.

Only text lives here; nothing that prints or asks. What a device calls itself goes through
``wording.plain``, as everything does that comes from elsewhere.
"""

from __future__ import annotations

from client import qr, wording
from client.linking import Approved, Candidate, Linked
from crypto_modes.e2ee.linker import Joining

OLDER = (
    "Messages from before are not on this device: in e2ee nobody can encrypt them to it any more."
    " They stay on your other devices."
)
ALONE = (
    "It cannot link or remove devices. While no other device holds the account key, losing this one"
    " means new keys for the account, of which everybody you write with is warned"
    " (--with-account-key makes the new one a second holder)."
)
EQUAL = (
    "AND IT IS HANDED THE ACCOUNT KEY: it can then link and remove devices and agree to weaker"
    " modes, as this one can. Should it be stolen, removing it is not enough: the account's keys"
    " must be replaced, of which everybody is warned."
)


def identifier(device: bytes) -> str:
    """A device's id as it is shown and typed: 32 hexadecimal digits, as no key is."""
    return device.hex()


def code(joining: Joining, *, colours: bool) -> str:
    """What the new device shows."""
    return "\n".join(
        (
            "On a device of yours that is linked already, within ten minutes:",
            "",
            f"  louver devices link {joining.code.text()}",
            "",
            qr.draw(joining.code.qr(), colours=colours),
            "",
            f"It must say that the device is {identifier(joining.device)}.",
            "Show the code to nobody else: who has it could answer in your device's place.",
            "Waiting for your other device ...",
        )
    )


def linked(done: Linked) -> str:
    """What the new device says when it is linked."""
    lines = [
        f"Linked by your device {identifier(done.by)}. You can use e2ee from this device now.",
        f"It knows the keys of {_people(done.peers)} as your other device does.",
        OLDER,
    ]
    if done.holds_account_key:
        lines.append("It holds the account key: it can link and remove devices.")
    if done.contradicted:
        who = ", ".join(map(wording.plain, done.contradicted))
        lines.append(
            f"! THE RELAY HAD SHOWN THIS DEVICE SOMETHING ELSE about {who} than your other device"
            " knows. What your other device knows is used now. Compare /safety with them."
        )
    if not done.one_log:
        lines.append(
            "! THE RELAY SHOWS THIS DEVICE ANOTHER LOG OF KEYS than your other device has seen. No"
            " new key is believed here until it shows that one."
        )
    return "\n".join(lines)


def candidate(found: Candidate, name: str, *, with_account_key: bool) -> str:
    """What the existing device is about to do."""
    label = wording.plain(found.label) or "nothing"
    joins = (
        "It is linked already, and asks again." if found.replaces else f"It asks to join {name}."
    )
    return "\n".join(
        (
            f"This code belongs to the device {identifier(found.device)}; it calls itself {label}.",
            f"{joins} Compare the id with the one that it shows.",
            (
                "If you approve, it reads what is sent from now on, and writes as you. It is handed"
                " the account's public key, and of the people you write with names, keys and modes."
                " It is handed no earlier messages."
            ),
            EQUAL if with_account_key else ALONE,
        )
    )


def approved(done: Approved) -> str:
    """What the existing device says afterwards."""
    text = (
        f"Linked {identifier(done.device)}. What you know of {_people(done.peers)} was handed over"
    )
    if done.left_out:
        text += f"; {done.left_out} did not fit: it will meet those for the first time"
    return f"{text}."


def removal(device: bytes) -> str:
    """What removing a device means, before it is done."""
    return "\n".join(
        (
            f"This removes {identifier(device)} at once and for good.",
            (
                "Its connection is closed, and no message is encrypted to it any more. What it has"
                " received stays on it. If you gave it the account key and it was stolen, replace"
                " the account's keys as well: louver login NAME --replace-key."
            ),
        )
    )


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"
