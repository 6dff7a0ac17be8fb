"""What only one key provider does: the passphrase's file, Transit's token, KMS's context.

What all of them do is in ``test_keyring_contract.py``.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto_modes.errors import BadConfig, KeyServiceRefuses
from crypto_modes.keyring import Keyring
from crypto_modes.primitives import H
from server import config, platform_keys
from server.app import installed_modes
from server.keyrings import passphrase
from server.keyrings.passphrase import FILE_SIZE, PassphraseKeyring
from server.keyrings.transit import TransitKeyring
from server.reveal import print_lines
from server.settings_tree import Keys, Settings
from tests.conftest import StartRelay
from tests.fake_key_services import FakeKms
from tests.keyring_places import PASSPHRASE, Kms, Transit

CONTEXT = b"a context"

# --- passphrase ---


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at its least: these tests are about the file."""
    monkeypatch.setattr(passphrase, "KIBIBYTES", 64)
    monkeypatch.setattr(passphrase, "PASSES", 1)


def test_argon2id_costs_what_it_should() -> None:
    assert (passphrase.PASSES, passphrase.KIBIBYTES, passphrase.LANES) == (3, 256 * 1024, 4)


@pytest.mark.usefixtures("cheap")
@pytest.mark.asyncio
async def test_only_the_passphrase_opens_the_file(tmp_path: Path) -> None:
    keyring = PassphraseKeyring(tmp_path / "kek", PASSPHRASE, make=True)
    key, wrapped = await keyring.generate(CONTEXT)
    raw = (tmp_path / "kek").read_bytes()
    assert len(raw) == FILE_SIZE
    assert (tmp_path / "kek").stat().st_mode & 0o777 == 0o600
    assert keyring._keks[0] not in raw
    with pytest.raises(BadConfig, match="not the passphrase"):
        PassphraseKeyring(tmp_path / "kek", PASSPHRASE + "s", make=False)
    assert (
        await PassphraseKeyring(tmp_path / "kek", PASSPHRASE, make=False).unwrap(wrapped, CONTEXT)
        == key
    )


@pytest.mark.usefixtures("cheap")
def test_a_letter_typed_in_two_ways_is_one_letter(tmp_path: Path) -> None:
    PassphraseKeyring(tmp_path / "kek", "größenordnung", make=True)
    PassphraseKeyring(tmp_path / "kek", "gro\u0308ßenordnung", make=False)


@pytest.mark.attack(24)
@pytest.mark.usefixtures("cheap")
def test_the_commitment_is_compared_before_anything_is_decrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ciphertext is tried under a guessed passphrase, so none can open under many of them."""
    PassphraseKeyring(tmp_path / "kek", PASSPHRASE, make=True)
    tried: list[bytes] = []
    monkeypatch.setattr(passphrase, "aead_open", lambda *given: tried.append(given[0]))
    with pytest.raises(BadConfig, match="not the passphrase"):
        PassphraseKeyring(tmp_path / "kek", "a wrong passphrase", make=False)
    assert tried == []


@pytest.mark.attack(24)
@pytest.mark.usefixtures("cheap")
def test_no_byte_of_the_file_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    PassphraseKeyring(path, PASSPHRASE, make=True)
    raw = path.read_bytes()
    head = struct.calcsize(">c16sIII32s")
    # The costs' high bytes are refused by their bounds; all else by commitment or tag.
    for place in (0, 1, 16, 20, 24, 28, 29, 60, head, len(raw) - 1):
        altered = bytearray(raw)
        altered[place] ^= 1
        path.write_bytes(altered)
        with pytest.raises(BadConfig):
            PassphraseKeyring(path, PASSPHRASE, make=False)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("costs", [(17, 64, 4), (1, 2**21 + 1, 4), (1, 64, 17), (0, 64, 4)])
def test_a_planted_file_cannot_fill_the_memory(
    tmp_path: Path, costs: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kek"
    PassphraseKeyring(path, PASSPHRASE, make=True)
    raw = path.read_bytes()
    path.write_bytes(raw[:17] + struct.pack(">III", *costs) + raw[29:])
    monkeypatch.setattr(passphrase, "hash_secret_raw", None)  # not asked at all
    with pytest.raises(BadConfig, match="damaged"):
        PassphraseKeyring(path, PASSPHRASE, make=False)


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="fewer than 12"):
        PassphraseKeyring(tmp_path / "kek", "x" * 11, make=True)
    assert not (tmp_path / "kek").exists()


async def opened(given: Settings, *, make: bool) -> Keyring:
    return await platform_keys._provider(given, make=make, newest=1, oldest=1)


def settings(tmp_path: Path, **keys: Any) -> Settings:
    return Settings(data=tmp_path, keys=Keys(provider="passphrase", **keys))


@pytest.mark.usefixtures("cheap")
@pytest.mark.asyncio
async def test_the_passphrase_comes_from_a_file_or_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tmp_path / "words"
    words.write_text(PASSPHRASE + "\n")
    with pytest.raises(BadConfig, match="chmod 600"):
        await opened(settings(tmp_path, passphrase=str(words)), make=True)
    words.chmod(0o600)
    await opened(settings(tmp_path, passphrase=str(words)), make=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(BadConfig, match="no terminal"):
        await opened(settings(tmp_path), make=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    typed = iter([PASSPHRASE, PASSPHRASE, "something else"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    await opened(settings(tmp_path), make=False)
    with pytest.raises(BadConfig, match="nothing was made"):
        await opened(settings(tmp_path, path=str(tmp_path / "new")), make=True)
    assert not (tmp_path / "new").exists()


# --- Transit ---


@pytest.fixture
def transit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transit]:
    place = Transit(tmp_path, monkeypatch)
    yield place
    place.stop()


@pytest.mark.asyncio
async def test_transit_takes_the_token_that_an_agent_renewed(transit: Transit) -> None:
    keyring = await transit.open()
    transit.service.token = "s.renewed"
    with pytest.raises(KeyServiceRefuses) as refused:
        await keyring.generate(CONTEXT)
    assert "permission denied" in refused.value.advice
    assert "s.r" not in refused.value.advice
    transit.token.write_text("s.renewed")
    await keyring.generate(CONTEXT)
    await keyring.close()


def test_transit_needs_a_token_at_the_start(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with pytest.raises(BadConfig, match="missing or empty"):
        TransitKeyring("http://127.0.0.1:1", "louver", mount="transit", token=token)
    token.write_text("s.open to all")
    token.chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        TransitKeyring("http://127.0.0.1:1", "louver", mount="transit", token=token)


@pytest.mark.asyncio
async def test_a_version_that_was_retired_does_not_open_again(transit: Transit) -> None:
    keyring = await transit.open()
    await keyring.rotate(2)
    await keyring.retire(2)
    assert transit.service.least == 2
    await keyring.close()


# --- KMS ---


@pytest.mark.asyncio
async def test_kms_is_told_nothing_of_who_writes_to_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Kms(tmp_path, monkeypatch)
    try:
        keyring = await place.open()
        key, wrapped = await keyring.generate(CONTEXT)
        await keyring.wrap(key, CONTEXT)
        await keyring.unwrap(wrapped, CONTEXT)
        await keyring.close()
        told = [(name, body["EncryptionContext"]) for name, body in place.service.asked]
    finally:
        place.stop()
    bound = {"louver": H(CONTEXT).hex()}
    assert told == [("GenerateDataKey", bound), ("Encrypt", bound), ("Decrypt", bound)]


# --- a relay on each ---


@pytest.mark.parametrize("provider", ["passphrase", "transit", "kms"])
@pytest.mark.usefixtures("cheap")
@pytest.mark.asyncio
async def test_a_relay_runs_on_it(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    words = tmp_path / "words"
    words.write_text(PASSPHRASE)
    words.chmod(0o600)
    place = {"transit": Transit, "kms": Kms}.get(provider, Transit)(tmp_path, monkeypatch)
    address = place.service.address
    keys = {
        "passphrase": {"passphrase": str(words)},
        "transit": {"name": "louver", "address": address, "token": str(tmp_path / "token")},
        "kms": {"name": FakeKms.key, "address": address, "region": "eu-central-1"},
    }[provider]
    try:
        relay = await start_relay("at_rest", keys={"provider": provider, **keys})
        alice, bob = await relay.enter("alice"), await relay.enter("bob")
        await bob.close()
        await alice.say(bob, "HARM-0007")
        await relay.restart()
        assert [m.body for m in await (await bob.again(relay.url)).hear()] == [b"HARM-0007"]
        out = io.BytesIO()
        await print_lines(relay.app.settings, installed_modes(), None, out)
        assert json.loads(out.getvalue())["text"] == "HARM-0007"
        assert b"HARM-0007" not in (relay.data / "louver.db").read_bytes()
        assert bool(place.service.asked) == (provider != "passphrase")
        await relay.app.stop()
    finally:
        place.stop()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"provider": "transit", "name": "k", "token": "t"}, "keys.address is missing"),
        ({"provider": "transit", "name": "k", "address": "https://v"}, "keys.token is missing"),
        ({"provider": "kms", "region": "eu-central-1"}, "keys.name is missing"),
        ({"provider": "kms", "name": "k"}, "keys.region is missing"),
        ({"address": "http://vault.example.org"}, "keys.address must be an https:// address"),
        ({"address": "ftp://127.0.0.1"}, "keys.address must be an https:// address"),
    ],
)
def test_settings_that_cannot_work_are_told(keys: dict[str, Any], said: str) -> None:
    found = config.problems(Settings(listen={"insecure": True}, keys=keys))  # type: ignore[arg-type]  # read from a tree
    assert any(said in line for line in found), found
    good = {"provider": "transit", "name": "k", "token": "t", "address": "http://127.0.0.1:8200"}
    assert config.problems(Settings(listen={"insecure": True}, keys=good)) == []  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(("provider", "extra"), [("transit", "kms-vault"), ("kms", "kms-aws")])
@pytest.mark.asyncio
async def test_a_missing_library_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, extra: str
) -> None:
    for name in ("hvac", "aiobotocore", "server.keyrings.transit", "server.keyrings.kms"):
        monkeypatch.setitem(sys.modules, name, None)
    given = Settings(data=tmp_path, keys={"provider": provider, "name": "k"})  # type: ignore[arg-type]  # as above
    with pytest.raises(BadConfig, match=extra):
        await opened(given, make=False)
