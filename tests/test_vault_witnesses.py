"""The witnesses in the vault's settings: what is refused, and a quorum at a vault that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto_modes.errors import BadConfig, LogUnavailable
from crypto_modes.keys import SigningKey
from crypto_modes.transparency.note import BY_WITNESS, Note, Verifier
from server.cli.witness import application
from server.hosting import Host
from server.vault import settings
from server.vault.app import App
from server.vault.settings import Keys, Listen, Settings, WitnessAt
from server.vault.settings import Relay as RelaySettings
from server.witness import Witness
from tests.access_entries import read
from tests.audited_log import BESIDE, LOG
from tests.test_vault_service import TEAM

OTHER = Verifier("other.example", BY_WITNESS, SigningKey(b"o" * 32).public).encode()
HTTPS = "https://witness.example.org"


def file_of(place: Path, quorum: int, *witnesses: tuple[str, str]) -> Path:
    tables = "".join(f'[[witnesses]]\nkey = "{key}"\naddress = "{at}"\n' for key, at in witnesses)
    file = place / "vault.toml"
    file.write_text(f"witness_quorum = {quorum}\n{tables}[keys]\nteam = ['team.key']\n")
    return file


def test_witnesses_are_read_from_the_file(tmp_path: Path) -> None:
    found = settings.load(file_of(tmp_path, 1, (BESIDE.encode(), HTTPS), (OTHER, HTTPS)))
    assert [each.key for each in found.witnesses] == [BESIDE.encode(), OTHER]
    assert found.witness_quorum == 1
    assert settings.load(file_of(tmp_path, 0)).witnesses == ()


@pytest.mark.parametrize(
    ("quorum", "witnesses", "says"),
    [
        (1, [], "more than there are different witnesses"),
        (2, [(OTHER, HTTPS), (OTHER, HTTPS)], "more than there are different witnesses"),
        (0, [(LOG.encode(), HTTPS)], "the key of a log, not of a witness"),
        (0, [("nothing", HTTPS)], "witnesses.0: a log's key is written"),
        (0, [(OTHER, "http://witness.example.org")], "must be https://"),
    ],
)
def test_what_could_not_work_is_refused(
    tmp_path: Path, quorum: int, witnesses: list[tuple[str, str]], says: str
) -> None:
    with pytest.raises(BadConfig, match=says):
        settings.load(file_of(tmp_path, quorum, *witnesses))


def settings_of(place: Path, *witnesses: WitnessAt) -> Settings:
    return Settings(
        data=place / "vault",
        listen=Listen(port=0),
        relay=RelaySettings(token=str(place / "vault.token")),
        keys=Keys(team=(str(place / "team.key"),)),
        witnesses=witnesses,
        witness_quorum=len(witnesses),
    )


@pytest.mark.asyncio
async def test_a_vault_waits_for_its_quorum_and_opens_nothing_without(tmp_path: Path) -> None:
    (tmp_path / "team.key").write_bytes(TEAM.raw)
    (tmp_path / "vault.token").write_text("lvv_" + "t" * 43)
    for name in ("team.key", "vault.token"):
        (tmp_path / name).chmod(0o600)
    first = App(settings_of(tmp_path))
    await first.start()
    log = first.log.verifier
    await first.stop()
    witness = Witness(tmp_path / "witness", "witness.example", (log,))
    host = Host(application(witness), "127.0.0.1", 0, section="witness")
    await host.start()
    at = WitnessAt(key=witness.verifier.encode(), address=f"http://127.0.0.1:{host.port}")
    vault = App(settings_of(tmp_path, at))
    await vault.start()
    receipt = await vault.log.append([read(0)])
    assert witness.verifier in Note.decode(receipt.checkpoint).verify((witness.verifier,))
    await host.stop()
    with pytest.raises(LogUnavailable) as caught:
        await vault.log.append([read(1)])
    assert "witness_quorum is 1" in caught.value.advice
    await vault.stop()
