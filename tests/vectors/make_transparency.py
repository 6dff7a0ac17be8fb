"""Make ``transparency_tree.json``, ``transparency_note.json`` and ``key_log.json``.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_transparency``. Trees
and proofs come from ``tests/merkle_oracle.py``, which is RFC 9162 word by word; the eight roots of
the Certificate Transparency reference are written down here and must come out. Notes of others are
copied as they were published: the example of golang.org/x/mod/sumdb/note, and a checkpoint of
a log that is in use, with a witness's signature.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests import e2ee_oracle
from tests import merkle_oracle as oracle
from tests.vectors.make_e2ee import drawn, flipped, named, write

# The leaves and roots with which implementations of RFC 6962 have been tested since 2013.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpR"
    "Zb6KE6RyyBwJnAM=\n"
)
WITNESS_KEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
CT_CHECKPOINT = (
    "arche2025h1.staging.ct.transparency.dev\n"
    "1432088532\n"
    "U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n"
)
CT_NOTE = (
    CT_CHECKPOINT + "\n"
    "— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREP"
    "MHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=\n"
    "— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3"
    "NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=\n"
    "— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9s"
    "XTynk5XeU/zZ0WBxtqB0DrAWfBw==\n"
)
CT_KEY = (
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
)


def tree_vectors() -> list[dict[str, Any]]:
    found = []
    for size, root in enumerate(CT_ROOTS, start=1):
        leaves = CT_LEAVES[:size]
        assert oracle.mth(leaves).hex() == root
        found.append(named(f"root of {size}", "ok", {"leaves": leaves, "root": root}))
    for index, size in ((0, 1), (0, 8), (5, 8), (2, 3), (1, 5), (6, 7)):
        fields = {
            "leaf": CT_LEAVES[index],
            "index": index,
            "size": size,
            "proof": oracle.path(index, CT_LEAVES[:size]),
            "root": CT_ROOTS[size - 1],
        }
        found.append(named(f"leaf {index} of {size}", "ok", fields))
    found += wrong_inclusions(found[-1])
    for old, size in ((1, 1), (1, 8), (6, 8), (2, 5), (4, 7), (7, 8)):
        fields = {
            "old": old,
            "size": size,
            "proof": oracle.proof(old, CT_LEAVES[:size]),
            "old_root": CT_ROOTS[old - 1],
            "root": CT_ROOTS[size - 1],
        }
        found.append(named(f"from {old} to {size}", "ok", fields))
    return found + wrong_consistencies(found[-1])


def wrong(vector: dict[str, Any], why: str, **fields: Any) -> dict[str, Any]:
    return vector | {"name": f"{vector['name']}, {why}", "expect": "LogRefused"} | fields


def wrong_inclusions(right: dict[str, Any]) -> list[dict[str, Any]]:
    proof = right["proof"]
    return [
        wrong(right, "another leaf", leaf=b"another"),
        wrong(right, "another index", index=right["index"] - 1),
        wrong(right, "an index outside", index=right["size"]),
        wrong(right, "a negative index", index=-1),
        wrong(right, "one bit of the proof", proof=[flipped(proof[0]), *proof[1:]]),
        wrong(right, "one bit of the root", root=flipped(bytes.fromhex(right["root"])).hex()),
        wrong(right, "too short", proof=proof[:-1]),
        wrong(right, "too long", proof=[*proof, proof[-1]]),
        wrong(right, "no proof", proof=[]),
        wrong(right, "a short hash", proof=[proof[0][:-1], *proof[1:]]),
        # The hash of two leaves, taken for a leaf: only the prefixes tell them apart.
        wrong(
            right,
            "a node as a leaf",
            leaf=oracle.mth(CT_LEAVES[4:5]) + oracle.mth(CT_LEAVES[5:6]),
            index=2,
            size=4,
            proof=[],
        ),
    ]


def wrong_consistencies(right: dict[str, Any]) -> list[dict[str, Any]]:
    proof = right["proof"]
    old_root = bytes.fromhex(right["old_root"])
    return [
        wrong(right, "one bit of the proof", proof=[flipped(proof[0]), *proof[1:]]),
        wrong(right, "one bit of the old root", old_root=flipped(old_root)),
        wrong(right, "one bit of the root", root=flipped(bytes.fromhex(right["root"])).hex()),
        wrong(right, "too short", proof=proof[:-1]),
        wrong(right, "too long", proof=[*proof, proof[-1]]),
        wrong(right, "no proof", proof=[]),
        wrong(right, "shrinking", old=right["size"], size=right["old"]),
        wrong(right, "from nothing, with a root", old=0, proof=[]),
        wrong(right, "two of one size", old=8, proof=[]),
    ]


def note_vectors() -> list[dict[str, Any]]:
    example = {"key": GO_KEY, "note": GO_NOTE.encode(), "time": 0}
    log = {"key": CT_KEY, "note": CT_NOTE.encode(), "time": 0}
    witness = log | {"key": WITNESS_KEY, "time": 0x6A122120}
    lines = CT_NOTE.split("\n")

    def bad(name: str, text: str | bytes, fields: dict[str, Any] = log) -> dict[str, Any]:
        raw = text if isinstance(text, bytes) else text.encode()
        return named(name, "LogRefused", fields | {"note": raw})

    return [
        named("the example of Go's sumdb", "ok", example),
        named("a log in use, signed by itself", "ok", log),
        named("a log in use, signed by a witness", "ok", witness),
        bad("nobody who is trusted", GO_NOTE),
        bad("one bit of the text", CT_NOTE.replace("1432088532", "1432088533")),
        bad("one bit of the text, by the witness", CT_NOTE.replace("532\n", "533\n"), witness),
        bad("another time", CT_NOTE.replace("2net5wAAAABqEiEg", "2net5wAAAABqEiEh"), witness),
        bad(
            "a witness of what is no checkpoint", "not a checkpoint\n\n" + lines[6] + "\n", witness
        ),
        bad("no signature", CT_CHECKPOINT + "\n"),
        bad("no empty line", CT_NOTE.replace("\n\n", "\n")),
        bad("no end of line", CT_NOTE[:-1]),
        bad("a carriage return", CT_NOTE.replace("\n", "\r\n")),
        bad("a tab", CT_NOTE.replace("arche", "\tarche", 1)),
        bad("not UTF-8", b"\xff" + CT_NOTE.encode()),
        bad("a hyphen for the dash", CT_NOTE.replace("— remora", "- remora")),
        bad("a name with a plus", CT_NOTE.replace("— remora", "— re+mora")),
        bad("no name", CT_NOTE.replace("— remora.n621.de ", "—  ")),
        bad("base64 without padding", CT_NOTE.replace("AWfBw==", "AWfBw")),
        bad("base64 with other spare bits", CT_NOTE.replace("AWfBw==", "AWfBx==")),
        bad("only an id", CT_CHECKPOINT + "\n— remora.n621.de 2net5w==\n"),
        bad("too many signatures", CT_NOTE + (lines[6] + "\n") * 14),
        bad("too large", "x" * 65536 + "\n\n" + lines[6] + "\n"),
    ]


def key_log_vectors() -> list[dict[str, Any]]:
    """The leaf of a list of one device, signed with keys that anybody can make again."""
    account, device = drawn("key log account"), drawn("key log device")
    seeds = {name: drawn(f"key log {name}", 32) for name in ("account key", "signing", "log")}
    key, signing = (e2ee_oracle.verifying(seeds[name]) for name in ("account key", "signing"))
    agreement = e2ee_oracle.public(drawn("key log agreement", 32))
    created, version = 1_790_000_000_000, 3
    enc = e2ee_oracle.enc
    certificate = enc("louver/v1/device", account, device, signing, agreement, created)
    digest = oracle.sha256(certificate)
    listed = enc("louver/v1/devices", account, version, digest)
    tag = oracle.sha256(enc("louver/v1/key_log/account", account))
    entry = oracle.sha256(
        enc("louver/v1/key_log/entry", account, key, version, oracle.sha256(listed))
    )
    leaf = enc("louver/v1/key_log", tag, entry)
    relay = drawn("key log relay")
    origin = f"louver/key-log/{relay.hex()}"
    root = oracle.mth([leaf])
    text = f"{origin}\n1\n{base64.b64encode(root).decode()}\n"
    public = e2ee_oracle.verifying(seeds["log"])
    id_ = hashlib.sha256(f"{origin}\n\x01".encode() + public).digest()[:4]
    signature = base64.b64encode(id_ + e2ee_oracle.sign(seeds["log"], text.encode())).decode()
    fields = {
        "account": account,
        "key": key,
        "version": version,
        "certificate": {
            "device": device,
            "signing": signing,
            "agreement": agreement,
            "created": created,
        },
        "tag": tag,
        "entry": entry,
        "leaf": leaf,
        "relay": relay,
        "log_seed": seeds["log"],
        "note": f"{text}\n— {origin} {signature}\n".encode(),
    }
    return [named("one device", "ok", fields)]


def main() -> None:
    write(
        "transparency_tree",
        "The Merkle tree of RFC 9162; leaves as they are, unhashed.",
        tree_vectors(),
    )
    write(
        "transparency_note",
        "C2SP signed notes under a vkey; the time is a witness's.",
        note_vectors(),
    )
    write(
        "key_log",
        "An entry of the key log, its leaf, and the checkpoint of that leaf alone.",
        key_log_vectors(),
    )


if __name__ == "__main__":
    main()
