"""From the settings to the keys of the platform: the provider that wraps, and the moderation door.

What may live here: choosing and opening them, for the relay and for the operator's tools. What may
not: how a provider wraps (``server/keyrings``), and any way to open the door. The libraries of
services are extras, and are imported only where the settings name their service.
"""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from crypto_modes.door import Door
from crypto_modes.errors import BadConfig, KeyServiceUnavailable
from crypto_modes.keyring import Keyring
from server.key_care import KeyCare
from server.keyrings.checked import CheckedKeyring
from server.keyrings.data_keys import DataKeyCache
from server.keyrings.file import FileKeyring
from server.reports import public_key, team_key
from server.secrets_file import read_private
from server.settings_tree import Keys, Settings
from server.store import Store
from server.watch import Watch

PASSPHRASE_LIMIT = 1024


async def open_keys(
    settings: Settings, store: Store, watch: Watch, closing: AsyncExitStack
) -> tuple[DataKeyCache, KeyCare]:
    """What a relay needs of its keys, ready for use; ``closing`` closes it.

    Raises ``BadConfig`` where the provider is not the one that the stored keys were made with. One
    that cannot be reached is told to ``watch``, and wraps nothing before it was checked.
    """
    door = open_door(settings)
    keyring = await open_keyring(settings, store, make=True)
    closing.push_async_callback(keyring.close)
    try:
        await keyring.check()
    except KeyServiceUnavailable as error:
        watch.fault("key", error)
    cache = DataKeyCache(store, keyring, now=_now_ms, monotonic=_monotonic_ms, door=door)
    closing.push_async_callback(cache.close)
    care = KeyCare(store, keyring, cache, watch, settings.keys.provider)
    closing.push_async_callback(care.close)
    await care.resume()
    return cache, care


async def open_keyring(settings: Settings, store: Store, *, make: bool) -> CheckedKeyring:
    """The provider that the settings name, with the generations that stored keys need. Where its
    own key is missing it is made if ``make`` says so and no stored key depends on one.

    Raises ``BadConfig`` where it cannot be used. A service is not asked yet, nor is it checked.
    """
    kept = await store.platform_key()
    make = make and not await store.has_data_keys()
    newest, oldest = (kept.generation, kept.oldest) if kept else (1, 1)
    provider = await _provider(settings, make=make, newest=newest, oldest=oldest)
    return CheckedKeyring(store, provider, newest)


async def _provider(settings: Settings, *, make: bool, newest: int, oldest: int) -> Keyring:
    keys = settings.keys
    path = Path(keys.path) if keys.path else settings.data / "kek"
    match keys.provider:
        case "file":
            return FileKeyring(path, make=make, newest=newest, oldest=oldest)
        case "passphrase":
            from server.keyrings.passphrase import PassphraseKeyring

            words = await asyncio.to_thread(_passphrase, keys.passphrase, path)
            return await asyncio.to_thread(
                lambda: PassphraseKeyring(path, words, make=make, newest=newest, oldest=oldest)
            )
        case "transit":
            return _transit(keys)
        case "kms":
            return await _kms(keys)


def open_door(settings: Settings) -> Door | None:
    """The moderation door, or None where the settings name none. Raises ``BadConfig``."""
    public = public_key(settings.keys.moderation, "keys.moderation", "moderation vault-key")
    if not public:
        return None
    if public == team_key(settings.moderation.key):
        # One is used daily by people, the other only by the vault and under a granted case.
        raise BadConfig(
            "keys.moderation and moderation.key are one key: who opens reports could then open"
            " every message without a case; make another with `louverd moderation vault-key`"
        )
    return Door(public)


def _transit(keys: Keys) -> Keyring:
    try:
        from server.keyrings.transit import TransitKeyring
    except ImportError:
        raise _not_installed("kms-vault") from None
    return TransitKeyring(
        keys.address,
        keys.name,
        mount=keys.mount,
        token=Path(keys.token),
        authorities=keys.authorities,
    )


async def _kms(keys: Keys) -> Keyring:
    try:
        from server.keyrings.kms import KmsKeyring
    except ImportError:
        raise _not_installed("kms-aws") from None
    keyring = KmsKeyring(keys.name, region=keys.region, address=keys.address)
    await keyring.open()
    return keyring


def _not_installed(extra: str) -> BadConfig:
    return BadConfig(f"keys.provider needs a library: pip install 'louver[{extra}]'")


def _passphrase(file: str, path: Path) -> str:
    """From its file, or typed; typed twice where the key file is about to be made."""
    if file:
        try:
            raw = read_private(Path(file), PASSPHRASE_LIMIT)
            return raw.decode().rstrip("\r\n")
        except (FileNotFoundError, UnicodeDecodeError):
            raise BadConfig(f"keys.passphrase: {file} is missing or is no text") from None
    if not sys.stdin.isatty():
        raise BadConfig(
            "keys.passphrase is missing and there is no terminal to ask on: name a file that"
            " holds it, or start the relay on a terminal"
        )
    words = getpass.getpass(f"passphrase of {path}: ")
    if not path.exists() and getpass.getpass("once more, for a new key: ") != words:
        raise BadConfig("keys.passphrase: the two were not the same; nothing was made")
    return words


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
