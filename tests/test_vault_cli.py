"""``louverd vault`` as its operator meets it, and the vault's settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crypto_modes import shamir
from crypto_modes.errors import BadArgument, BadConfig
from server import cli
from server.team import keygen
from server.vault import settings, splitting
from tests.test_grants import STAFF

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> str:
    """What a command says on both its outputs; raises what it fails with."""
    result = CliRunner().invoke(cli.app, ["vault", *arguments], catch_exceptions=False)
    assert isinstance(result.exception, BadArgument | BadConfig | None)
    if result.exception is not None:
        raise result.exception
    return result.output


# --- settings ---


def test_the_example_has_every_key_at_its_default(tmp_path: Path) -> None:
    text = settings.example()
    assert tomllib.loads(text) == {"listen": {}, "relay": {}, "keys": {}, "log": {}}
    told = "\n".join(line.removeprefix("# ") if " = " in line else "" for line in text.splitlines())
    given = "\n".join(
        told_line or line
        for told_line, line in zip(told.splitlines(), text.splitlines(), strict=True)
        if told_line or line.startswith("[")
    )
    assert settings.Settings(**tomllib.loads(given)) == settings.Settings()
    (tmp_path / "vault.toml").write_text(text)
    with pytest.raises(BadConfig, match=r"keys\.door: is missing"):
        settings.load(tmp_path / "vault.toml")


def test_flags_come_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "vault.toml"
    file.write_text('[keys]\ndoor = ["a"]\n[listen]\nport = 1\n')
    found = settings.load(file, ["listen.port=7", "keys.team=b,c", "staff=here"])
    assert (found.keys.door, found.keys.team) == (("a",), ("b", "c"))
    assert (found.listen.port, found.staff_file) == (7, Path("here"))
    assert settings.load(file).staff_file == Path("louver-vault/staff.json")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("listen.address=0.0.0.0", "plaintext would cross the network"),
        ("listen.certificate=x", "a certificate needs its key"),
        ("relay.address=http://relay.example.org:7480", "https://"),
        ("relay.address=ftp://127.0.0.1", "https://"),
        ("relay.address=https://relay.example.org/path", "https://"),
        ("relay.tokn=x", "unknown key relay.tokn"),
        ("listen.port=x", "listen.port"),
        ("nonsense", "--set takes key=value"),
        ("a.b.c=1", "--set takes key=value"),
        ("data.x=1", "data"),
        ("keys.hours=0", "keys.hours"),
    ],
)
def test_what_cannot_be_is_told(flag: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words.replace(".", r"\.")):
        settings.load(None, ["keys.door=x", flag])


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("[[")
    (tmp_path / "large").write_bytes(b"#" * (settings.FILE_LIMIT + 1))
    for name, words in (("gone", "vault init"), ("broken", "not TOML"), ("large", "over 1 MiB")):
        with pytest.raises(BadConfig, match=words):
            settings.load(tmp_path / name)


def test_a_section_is_no_value() -> None:
    with pytest.raises(BadConfig, match="both as a value and as a section"):
        settings.load(None, ["listen=1", "listen.port=2"])


# --- commands ---


def test_init_writes_a_file_once(tmp_path: Path) -> None:
    file = tmp_path / "vault.toml"
    assert f"wrote {file}" in run("init", str(file))
    assert file.read_text() == settings.example()
    with pytest.raises(BadConfig, match="exists"):
        run("init", str(file))
    with pytest.raises(BadConfig, match="cannot write"):
        run("init", str(tmp_path / "nowhere" / "vault.toml"))


def test_the_list_of_the_staff_by_hand(tmp_path: Path) -> None:
    place = ("--set", f"data={tmp_path / 'vault'}")
    key = STAFF["lena"].key.hex()
    person = ("--role", "legal", "--subject", "idp|lena", "--key", key)
    assert "lena is legal" in run("staff", "add", "lena", *person, *place)
    told = {"name": "lena", "role": "legal", "subject": "idp|lena", "key": key}
    assert json.loads(run("staff", "list", *place)) == told
    with pytest.raises(BadArgument, match="somebody else has this key"):
        run("staff", "add", "leni", *person, *place)
    assert "lena is a stranger" in run("staff", "remove", "lena", *place)
    assert run("staff", "list", *place) == ""
    with pytest.raises(BadArgument, match="is not of the staff"):
        run("staff", "remove", "lena", *place)


@pytest.mark.parametrize(
    "wrong",
    [
        ("Lena", "legal", "x", "00" * 32),
        ("lena", "boss", "x", "00" * 32),
        ("lena", "legal", "", "00" * 32),
        ("lena", "legal", "x", "00"),
        ("lena", "legal", "x", "no"),
        ("lena", "legal", "x", "00" * 32),
    ],
)
def test_nobody_is_added_who_cannot_be(tmp_path: Path, wrong: tuple[str, str, str, str]) -> None:
    name, role, subject, key = wrong
    place = ("--set", f"data={tmp_path / 'vault'}")
    with pytest.raises(BadArgument):
        run("staff", "add", name, "--role", role, "--subject", subject, "--key", key, *place)
    assert not (tmp_path / "vault").exists()


def test_the_key_is_split_and_stays(tmp_path: Path) -> None:
    secret, _, _ = keygen(tmp_path, "vault")
    shares = tmp_path / "shares"
    asked = (str(secret), "--shares", "5", "--threshold", "3", "--dir", str(shares))
    told = run("split", *asked)
    assert "still opens everything alone" in told
    assert secret.exists()
    files = sorted(shares.iterdir())
    assert [each.name for each in files] == [f"share-{n}-of-5.txt" for n in range(1, 6)]
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
    three = [shamir.decode(files[place].read_text()) for place in (4, 0, 2)]
    assert shamir.combine(three).raw == secret.read_bytes()
    with pytest.raises(BadConfig, match="is not overwritten"):
        run("split", *asked)
    with pytest.raises(BadArgument):
        splitting.split(secret, 2, 3, tmp_path / "more")
    with pytest.raises(BadConfig, match="missing"):
        splitting.split(tmp_path / "gone", 3, 2, tmp_path / "more")


def test_a_vault_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    keygen(tmp_path, "vault")
    (tmp_path / "vault.token").write_text("lvv_" + "t" * 43 + "\n")
    (tmp_path / "vault.token").chmod(0o600)
    flags = ["listen.port=0", "relay.token=vault.token", "keys.door=vault.key"]
    command = [sys.executable, "-m", "server", "vault", "serve"]
    command += [part for flag in flags for part in ("--set", flag)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as vault:
        assert vault.stderr is not None
        line = next(line for line in vault.stderr if "vault ready" in line)
        port = json.loads(line)["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/log/v1/checkpoint") as answer:
            assert answer.read().count(b"\n") >= 4
        vault.send_signal(signal.SIGTERM)
        assert vault.wait(60) == 0
    assert (tmp_path / "louver-vault" / "log.db").exists()
