"""The architecture holds: the rules of shape.py over the whole project, and each rule seen to fail.

A planted violation stands beside every rule: a checker that finds nothing anywhere would pass on
the project too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import shape
from tests.shape import Source

ROOT = Path(__file__).parent.parent
CODE = ("client", "crypto_modes", "server", "deploy/bootstrap")
OTHERS = ("tests", "docs")


def read(root: Path, folders: tuple[str, ...]) -> list[Source]:
    """The Python files below ``folders``, with their module names."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    sources = []
    for path in paths:
        relative = path.relative_to(root)
        parts = list(relative.with_suffix("").parts)
        parts = parts[1:] if parts[0] == "deploy" else parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        sources.append(Source(str(relative), ".".join(parts), path.read_text()))
    return sources


PROJECT = read(ROOT, CODE)
EVERYTHING = PROJECT + read(ROOT, OTHERS)


# The attacks that a look at the code can rule out, by their rows in the list of known ones.
ATTACKS = {shape.randomness: 43, shape.comparisons: 44}
CODE_RULES = [
    pytest.param(rule, marks=[pytest.mark.attack(ATTACKS[rule])] if rule in ATTACKS else [])
    for rule in shape.CODE_RULES
]


@pytest.mark.parametrize("rule", CODE_RULES)
def test_the_code_keeps_the_rule(rule: shape.Rule) -> None:
    assert [found for source in PROJECT for found in rule(source)] == []


@pytest.mark.parametrize("rule", shape.FILE_RULES)
def test_every_file_keeps_the_rule(rule: shape.Rule) -> None:
    assert [found for source in EVERYTHING for found in rule(source)] == []


def test_every_room_was_read() -> None:
    rooms = {source.module.partition(".")[0] for source in EVERYTHING}
    assert rooms >= {*shape.ROOMS, "tests"}


def test_every_guarded_module_exists() -> None:
    """A table that names what is gone guards nothing."""
    modules = {source.module for source in PROJECT}
    named = {*shape.IMPORTS_ONLY, *shape.IMPORTED_ONLY_BY, *shape.RANDOM_ALLOWED}
    assert sorted(name for name in named if name not in modules) == []


# (rule, file, text, what the violation must say)
PLANTED = [
    (shape.arrows, "crypto_modes/tls.py", "import server", "crypto_modes may not import server"),
    (shape.arrows, "crypto_modes/tls.py", "from client import connect", "import client.connect"),
    (shape.arrows, "server/relay.py", "from client.client import Chat", "server may not import"),
    (shape.arrows, "client/client.py", "import server.store", "client may not import server"),
    (shape.arrows, "server/store/sqlite.py", "from server import relay", "server.store may not"),
    (shape.arrows, "server/store/sqlite.py", "from .. import relay", "server.store may not"),
    (shape.arrows, "server/bus/memory.py", "from server.store import Store", "server.bus may not"),
    (shape.arrows, "server/gateway/listener.py", "import server.relay", "server.gateway may not"),
    (shape.arrows, "server/relay.py", "from server.gateway import Gateway", "may not be imported"),
    (shape.arrows, "server/relay.py", "from server.store import sqlite", "may not be imported"),
    (shape.arrows, "server/reveal.py", "from crypto_modes import vault", "may not be imported by"),
    (shape.arrows, "server/relay.py", "from server.vault import opening", "may not be imported by"),
    (shape.arrows, "server/vault/opening.py", "from server.store import Store", "server.vault may"),
    (shape.arrows, "server/vault/relay.py", "import server.relay", "server.vault may not"),
    (shape.confinement, "server/vault/opening.py", "import pydantic", "pydantic may not"),
    (shape.arrows, "server/session.py", "import server.app", "server.app may not be imported"),
    (shape.arrows, "crypto_modes/errors.py", "from crypto_modes import wire", "may not import"),
    (shape.arrows, "deploy/bootstrap/launcher.py", "import client", "bootstrap may not import"),
    (shape.confinement, "server/relay.py", "import websockets", "websockets may not"),
    (shape.confinement, "server/relay.py", "def f():\n import apsw", "apsw may not"),
    (shape.confinement, "crypto_modes/tls.py", "from nacl import bindings", "nacl may not"),
    (shape.confinement, "crypto_modes/e2ee/pqxdh.py", "import cryptography.x509", "cryptography"),
    (shape.confinement, "server/app.py", "import unheard_of", "unheard_of may not"),
    (shape.confinement, "deploy/bootstrap/launcher.py", "import rich", "rich may not"),
    (shape.purity, "crypto_modes/tls.py", "import os", "may not import os"),
    (shape.purity, "crypto_modes/tls.py", "from time import time", "may not import time.time"),
    (shape.purity, "crypto_modes/tls.py", "import secrets", "may not import secrets"),
    (shape.purity, "crypto_modes/wire/codec.py", "import asyncio", "may not import asyncio"),
    (shape.purity, "crypto_modes/tls.py", "x = open('f')", "may not call open()"),
    (shape.purity, "crypto_modes/tls.py", "x = datetime.now(UTC)", "may not call now()"),
    (shape.purity, "crypto_modes/tls.py", "k = X25519PrivateKey.generate()", "call generate()"),
    (shape.randomness, "server/accounts.py", "import random", "not random"),
    (shape.randomness, "server/accounts.py", "from random import choice", "not random"),
    (shape.randomness, "server/accounts.py", "token = uuid.uuid4().hex", "not uuid"),
    (shape.comparisons, "server/accounts.py", "ok = token == given", "compare token"),
    (shape.comparisons, "server/accounts.py", "ok = given != device.token", "compare token"),
    (shape.comparisons, "crypto_modes/franking.py", "ok = mac(key, m) == got", "compare mac"),
    (shape.comparisons, "crypto_modes/franking.py", "a = b == s.commitment[:32]", "commitment"),
    (shape.comparisons, "server/http.py", "ok = admin_token == header", "compare admin_token"),
    (shape.sizes, "tests/test_long.py", "x = 1\n" * 401, "401 lines, at most 400"),
    (shape.sizes, "tests/x.py", "def f():\n" + " x = 1\n" * 60, "f has 61 lines, at most 60"),
    (shape.docstrings, "tests/test_bare.py", "import os", "must say what may live here"),
]


@pytest.mark.parametrize(("rule", "path", "text", "says"), PLANTED)
def test_a_planted_violation_is_found(
    tmp_path: Path, rule: shape.Rule, path: str, text: str, says: str
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (source,) = read(tmp_path, (*CODE, *OTHERS))
    found = list(rule(source))
    assert len(found) == 1
    assert says in found[0]


ALLOWED = [
    (shape.arrows, "server/app.py", "from server.gateway import Gateway"),
    (shape.arrows, "server/relay.py", "from server.store import Store"),
    (shape.confinement, "crypto_modes/primitives.py", "import nacl, cryptography"),
    (shape.purity, "crypto_modes/tls.py", "import hashlib, hmac, struct"),
    (shape.purity, "crypto_modes/tls.py", "now = tools.now()"),
    (shape.purity, "crypto_modes/tls.py", "key = prekeys.generate(random)"),
    (shape.purity, "server/relay.py", "import os, time"),
    (shape.randomness, "client/backoff.py", "import random"),
    (shape.comparisons, "server/accounts.py", "missing = token == b''"),
    (shape.comparisons, "server/accounts.py", "ok = compare_digest(token, given)"),
    (shape.comparisons, "server/accounts.py", "ok = tokens == 3 or count == limit"),
    (shape.comparisons, "server/accounts.py", "bad = len(x) != SIGNATURE_SIZE"),
    (shape.sizes, "tests/x.py", "def f():\n" + " x = 1\n" * 59),
]


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_what_is_allowed_is_left_alone(
    tmp_path: Path, rule: shape.Rule, path: str, text: str
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (source,) = read(tmp_path, (*CODE, *OTHERS))
    assert list(rule(source)) == []
