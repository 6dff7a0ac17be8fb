"""What a bus must do: tell the nodes that hold a user's connections that something happened.

Only the Protocol lives here. The bus is a hint, the store is the truth: a lost event delays a
message until the next look at the cursors and never loses it. What crosses the bus is what the
disk holds (``Stored``), never an opened body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from crypto_modes import wire
from crypto_modes.contract import Stored


class Revoked(msgspec.Struct, frozen=True):
    """A device (or, if empty, every device) of the account lost its right to be connected."""

    account: bytes
    device: bytes = b""


class Suspended(msgspec.Struct, frozen=True):
    """The account may not be connected for now; its devices keep their tokens."""

    account: bytes


class Signal(msgspec.Struct, frozen=True):
    """An ephemeral frame for every device of an account, except the one that caused it."""

    frame: wire.ServerFrame
    source: bytes = b""


Event = Stored | Signal | Revoked | Suspended
Listener = Callable[[Event], None]


class Bus(Protocol):
    """Publish to accounts, listen as an account. Never blocks, never raises to the publisher."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def publish(self, accounts: tuple[bytes, ...], event: Event) -> None: ...
    def subscribe(self, account: bytes, listener: Listener) -> None: ...
    def unsubscribe(self, account: bytes, listener: Listener) -> None: ...
