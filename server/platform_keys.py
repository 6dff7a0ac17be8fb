"""From the settings to the keys of the platform: the provider that wraps, and the moderation door.

What may live here: choosing and opening them, for the relay and for the operator's tools. What may
not: how a provider wraps (``server/keyrings``), and any way to open the door.
"""

from __future__ import annotations

from pathlib import Path

from crypto_modes.door import Door
from crypto_modes.errors import BadConfig
from crypto_modes.keyring import Keyring
from server.keyrings.file import FileKeyring
from server.reports import public_key, team_key
from server.settings_tree import Settings


def open_keyring(settings: Settings, *, make: bool) -> Keyring:
    """The provider that the settings name. ``make`` is false once a stored key depends on it.

    Raises ``BadConfig`` where it cannot be used.
    """
    path = settings.keys.path
    return FileKeyring(Path(path) if path else settings.data / "kek", make=make)


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
