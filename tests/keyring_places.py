"""One place for each key provider: where a contract suite opens it again and again.

What may live here: opening a provider, and the ways to take its service or its key away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from crypto_modes.keyring import Keyring
from server.keyrings import passphrase
from server.keyrings.file import FileKeyring
from server.keyrings.kms import KmsKeyring
from server.keyrings.passphrase import PassphraseKeyring
from server.keyrings.transit import TransitKeyring
from tests.fake_key_services import FakeKms, FakeService, FakeTransit

PASSPHRASE = "correct horse battery staple"


class Place(Protocol):
    """``service`` is None where the keys lie on this machine."""

    service: FakeService | None
    # Whether what older generations wrapped is gone for good once they are retired.
    forgets: bool

    async def open(self, newest: int = 1, oldest: int = 1) -> Keyring: ...
    def replace(self) -> None:
        """Put another key in the place of this one."""

    def stop(self) -> None: ...


class Files:
    """Keys in files of one directory."""

    service = None
    forgets = True

    def __init__(self, directory: Path, monkeypatch: Any) -> None:
        self.path = directory / "kek"

    async def open(self, newest: int = 1, oldest: int = 1) -> Keyring:
        return FileKeyring(self.path, make=True, newest=newest, oldest=oldest)

    def replace(self) -> None:
        self.path.unlink()

    def stop(self) -> None:
        """Nothing runs."""


class Sealed(Files):
    """The same behind a passphrase, with Argon2id at its cheapest."""

    def __init__(self, directory: Path, monkeypatch: Any) -> None:
        super().__init__(directory, monkeypatch)
        monkeypatch.setattr(passphrase, "KIBIBYTES", 64)
        monkeypatch.setattr(passphrase, "PASSES", 1)

    async def open(self, newest: int = 1, oldest: int = 1) -> Keyring:
        return PassphraseKeyring(self.path, PASSPHRASE, make=True, newest=newest, oldest=oldest)


class Transit:
    """Through ``hvac`` to the fake."""

    forgets = True

    def __init__(self, directory: Path, monkeypatch: Any) -> None:
        self.service = FakeTransit()
        self.token = directory / "token"
        self.token.write_text(self.service.token + "\n")
        self.token.chmod(0o600)

    async def open(self, newest: int = 1, oldest: int = 1) -> Keyring:
        return TransitKeyring(self.service.address, "louver", mount="transit", token=self.token)

    def replace(self) -> None:
        self.service.versions = {1: os.urandom(32)}

    def stop(self) -> None:
        self.service.stop()


class Kms:
    """Through ``aiobotocore`` to the fake."""

    forgets = False

    def __init__(self, directory: Path, monkeypatch: Any) -> None:
        self.service = FakeKms()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(directory / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(directory / "none"))

    async def open(self, newest: int = 1, oldest: int = 1) -> Keyring:
        keyring = KmsKeyring(FakeKms.key, region="eu-central-1", address=self.service.address)
        await keyring.open()
        return keyring

    def replace(self) -> None:
        self.service.versions = {1: os.urandom(32)}

    def stop(self) -> None:
        self.service.stop()


PLACES = {"file": Files, "passphrase": Sealed, "transit": Transit, "kms": Kms}
