"""Make ``e2ee_linking.json`` beside this file: codes, offers, answers and hand-overs.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_linking``. All values
come from ``tests/linking_oracle.py``, which is written from the design alone. ``what`` says what a
vector is of; ``expect`` is ``ok`` or the name of the error that must be raised.
"""

from __future__ import annotations

from typing import Any

from tests import e2ee_oracle, linking_oracle
from tests.vectors.make_e2ee import TIME, changed, drawn, flipped, named, write

Fields = dict[str, Any]

ACCOUNT, SECRET, SEED = drawn("alice"), drawn("secret"), drawn("alice account_seed", 32)
NEW: Fields = {
    "account": ACCOUNT,
    "secret": SECRET,
    "device": drawn("laptop"),
    "signing_seed": drawn("laptop signing", 32),
    "agreement_private": drawn("laptop agreement", 32),
    "ephemeral_private": drawn("laptop ephemeral", 32),
    "created": TIME,
    "label": "Alice's läptop",
}
OWN = (drawn("phone"), drawn("phone ephemeral", 32))
SMALL = bytes(32)


def codes() -> list[Fields]:
    body = linking_oracle.offer_body(NEW)
    text = linking_oracle.code(SECRET, body)
    letters = text.replace("-", "")
    parts = {"secret": SECRET, "digest": e2ee_oracle.sha256(body)[:8]}
    good = {
        "as it is shown": text,
        "as it is scanned": f"LOUVER:LINK:{letters}",
        "small letters and spaces": f" {text.lower().replace('-', ' ')}\n",
    }
    bad = {
        "nothing": "",
        "a letter too few": text[:-1],
        "a letter too many": f"{text}A",
        "another version": f"AI{text[2:]}",
        "a letter that is none": f"{text[:-1]}!",
        "a safety text": "louver:safety:1:00",
    }
    found = [named(f"code: {name}", "ok", parts | {"text": each}) for name, each in good.items()]
    return found + [
        named(f"code: {name}", "BadArgument", parts | {"text": each}) for name, each in bad.items()
    ]


def packed(body: bytes) -> Fields:
    """An offer with a right MAC, and what belongs to its code."""
    raw = body + e2ee_oracle.mac(linking_oracle.keys(SECRET, ACCOUNT)[1], body)
    digest = e2ee_oracle.sha256(body)[:8]
    return {"account": ACCOUNT, "secret": SECRET, "digest": digest, "raw": raw}


def body_of(**other: Any) -> bytes:
    """``O`` with items put in as they are, in the place of the right ones."""
    items = linking_oracle.items(linking_oracle.offer_body(NEW))[1:]
    names = [
        "account",
        "device",
        "signing",
        "agreement",
        "created",
        "ephemeral",
        "label",
        "request",
    ]
    given = dict(zip(names, items, strict=True)) | other
    return e2ee_oracle.enc("louver/v1/link/offer", *given.values())


def bodies() -> dict[str, bytes]:
    """Offers that know the code and must be refused all the same."""
    signing = e2ee_oracle.verifying(NEW["signing_seed"])
    agreement = e2ee_oracle.public(NEW["agreement_private"])
    device = NEW["device"]
    return {
        "another account": body_of(account=drawn("bob")),
        "a device id of 15 bytes": body_of(device=drawn("laptop", 15)),
        "a device id that is the hex of a fingerprint": body_of(
            device=e2ee_oracle.sha256(signing).hex().encode()
        ),
        "a device id that is a key": body_of(device=signing),
        "a byte moves from one field into the next": body_of(
            device=device[:-1], signing=device[-1:] + signing
        ),
        "another time than was signed": body_of(created=TIME + 1),
        "a time of four bytes": body_of(created=b"\0\0\0\1"),
        "another device than was signed": body_of(device=drawn("tablet")),
        "the keys change places": body_of(signing=agreement, agreement=signing),
        "a small-order agreement key": body_of(agreement=SMALL),
        "a small-order ephemeral key": body_of(ephemeral=SMALL),
        "an ephemeral key of 31 bytes": body_of(ephemeral=drawn("short", 31)),
        "a label of 65 bytes": body_of(label="x" * 65),
        "a field too many": linking_oracle.offer_body(NEW) + b"\0\0\0\0",
    }


def offers() -> list[Fields]:
    good = packed(linking_oracle.offer_body(NEW))
    spy = packed(linking_oracle.offer_body(NEW | {"device": drawn("spy")}))
    raws = {
        "one bit of the body": flipped(good["raw"], 8 * 60),
        "one bit of the MAC": flipped(good["raw"], 8 * len(good["raw"]) - 1),
        "the MAC is missing": good["raw"][:-32],
        "nothing": b"",
        "more than 1,024 bytes": good["raw"] + bytes(1024),
        "a device with the secret, but not the code's digest": spy["raw"],
    }
    bad = {name: good | {"raw": raw} for name, raw in raws.items()}
    bad |= {name: packed(body) for name, body in bodies().items()}
    bad |= {
        "another secret": good | {"secret": drawn("another secret")},
        "read for another account": good | {"account": drawn("bob")},
        "another message of linking": packed(
            e2ee_oracle.enc("louver/v1/link/answer", b"") + bytes(200)
        ),
    }
    found = [named("offer: honest", "ok", good)]
    return found + [named(f"offer: {name}", "KeyRefused", each) for name, each in bad.items()]


def answers() -> list[Fields]:
    raw = linking_oracle.offer(NEW)
    e_n = e2ee_oracle.public(NEW["ephemeral_private"])
    text = b"what is handed over"
    answered = linking_oracle.answer(ACCOUNT, SECRET, raw, e_n, OWN, text)
    confirmed = linking_oracle.open_answer(
        ACCOUNT, SECRET, raw, NEW["ephemeral_private"], answered
    )[1]
    good = {
        "account": ACCOUNT,
        "secret": SECRET,
        "offer": raw,
        "ephemeral": NEW["ephemeral_private"],
        "existing": OWN[0],
        "existing_ephemeral": OWN[1],
        "raw": answered,
        "handover": text,
        "confirmation": confirmed,
    }
    items = linking_oracle.items(answered)

    def repacked(place: int, item: bytes) -> bytes:
        given = [*items[1:place], item, *items[place + 1 :]]
        return e2ee_oracle.enc("louver/v1/link/answer", *given)

    raws = {
        "another device id": repacked(1, drawn("tablet")),
        "another ephemeral key": repacked(2, e2ee_oracle.public(drawn("other", 32))),
        "a small-order ephemeral key": repacked(2, SMALL),
        "another commitment": repacked(3, flipped(items[3])),
        "no commitment": repacked(3, b""),
        "one bit of the ciphertext": repacked(4, flipped(items[4])),
        "the tag is cut": repacked(4, items[4][:-1]),
        "a field is missing": e2ee_oracle.enc("louver/v1/link/answer", *items[1:4]),
        "under another label": e2ee_oracle.enc("louver/v1/link/offer", *items[1:]),
        "cut": answered[:-1],
        "nothing": b"",
        "by who does not know the secret": linking_oracle.answer(
            ACCOUNT, drawn("guess"), raw, e_n, OWN, text
        ),
        "to another offer": linking_oracle.answer(ACCOUNT, SECRET, flipped(raw), e_n, OWN, text),
        "to another ephemeral key": linking_oracle.answer(
            ACCOUNT, SECRET, raw, e2ee_oracle.public(drawn("another", 32)), OWN, text
        ),
        "for another account": linking_oracle.answer(drawn("bob"), SECRET, raw, e_n, OWN, text),
    }
    found = [named("answer: honest", "ok", good)]
    return found + [
        named(f"answer: {name}", "KeyRefused", good | {"raw": each}) for name, each in raws.items()
    ]


def handed() -> Fields:
    """What is handed over without the account key: of one peer all, of another nothing."""
    certificate = e2ee_oracle.certificate(
        ACCOUNT,
        SEED,
        {
            "device": NEW["device"],
            "signing": e2ee_oracle.verifying(NEW["signing_seed"]),
            "agreement": e2ee_oracle.public(NEW["agreement_private"]),
            "created": TIME,
        },
    )
    shown: Fields = {
        "epoch": 3,
        "modes": dict.fromkeys(linking_oracle.KINDS, "e2ee") | {"call": "tls"},
        "keys": [drawn("first key", 32), b""],
        "created": TIME,
        "previous": drawn("previous", 32),
        "signatures": [drawn("mark", 64), b""],
    }
    bob = {"account": drawn("bob"), "name": "bob", "key": drawn("bob key", 32), "policy": shown}
    carol = {"account": drawn("carol"), "name": "", "key": b"", "policy": None}
    return {
        "account": ACCOUNT,
        "key": e2ee_oracle.verifying(SEED),
        "seed": b"",
        "list": e2ee_oracle.device_list(ACCOUNT, SEED, 4, [certificate]),
        "log": {"key": drawn("log key", 32), "checkpoint": b"a signed note\n"},
        "peers": [bob, carol],
    }


def handovers() -> list[Fields]:
    good = handed()
    raw = linking_oracle.handover(good)
    changes: dict[str, tuple[str, Any]] = {
        "an account of 15 bytes": ("account", drawn("x", 15)),
        "a key of 31 bytes": ("key", drawn("x", 31)),
        "half a seed": ("seed", drawn("x", 16)),
        "a certificate's device of 17 bytes": ("list.certificates.0.device", drawn("x", 17)),
        "a peer's key of 33 bytes": ("peers.0.key", drawn("x", 33)),
        "the own account as peer": ("peers.0.account", ACCOUNT),
        "a name that is no text": ("peers.0.name", b"\xff"),
        "a policy's signature of 63 bytes": ("peers.0.policy.signatures", [drawn("x", 63), b""]),
        "a policy's digest of 31 bytes": ("peers.0.policy.previous", drawn("x", 31)),
        "an epoch of one byte": ("peers.0.policy.epoch", b"\1"),
        "a log's key of 31 bytes": ("log.key", drawn("x", 31)),
        "a checkpoint of more than 8 KiB": ("log.checkpoint", bytes(8 * 1024 + 1)),
    }
    bad = {
        name: linking_oracle.handover(changed(good, path, value))
        for name, (path, value) in changes.items()
    }
    bad |= {
        "cut": raw[:-1],
        "nothing": b"",
        "another record": linking_oracle.policy(good["peers"][0]["policy"]),
        "no list": e2ee_oracle.enc("louver/v1/link/handover/2", ACCOUNT, good["key"], b""),
        "the first form": e2ee_oracle.enc(
            "louver/v1/link/handover",
            *linking_oracle.items(raw)[1:5],
            *linking_oracle.items(raw)[6:],
        ),
        "the first form under the label of the second": e2ee_oracle.enc(
            "louver/v1/link/handover/2",
            *linking_oracle.items(raw)[1:5],
            *linking_oracle.items(raw)[6:],
        ),
    }
    fields: Fields = {"fields": good, "raw": raw}
    whole = linking_oracle.handover(good | {"seed": SEED})
    blind: Fields = good | {"log": None}
    unseen = linking_oracle.handover(blind)
    found = [
        named("handover: without the account key", "ok", fields),
        named("handover: with it", "ok", {"fields": good | {"seed": SEED}, "raw": whole}),
        named("handover: before any log was seen", "ok", {"fields": blind, "raw": unseen}),
    ]
    return found + [
        named(f"handover: {name}", "FrameRefused", {"raw": each}) for name, each in bad.items()
    ]


def main() -> None:
    found = codes() + offers() + answers() + handovers()
    write("e2ee_linking", "Linking a device: codes, offers, answers and hand-overs.", found)


if __name__ == "__main__":
    main()
