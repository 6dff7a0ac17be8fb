"""The mode ``e2ee``: only the two users can read; a report opens what the reporter chooses.

Only the mode's declaration lives here. The protocol is Louver's own small composition of
published parts (PQXDH, the Double Ratchet, Sesame, franking); the primitives are well kept, the
composition is unaudited.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from crypto_modes.contract import ADVERSARIES, ClientTools, ServerTools
from crypto_modes.e2ee.client import E2eeClient
from crypto_modes.e2ee.devices import verify_list, verify_prekey
from crypto_modes.e2ee.server import E2eeServer
from crypto_modes.e2ee.session import NAME

__all__ = ["MODE", "E2ee", "E2eeClient", "E2eeServer", "verify_list", "verify_prekey"]


class E2ee:
    """The mode as it is registered."""

    name = NAME
    strength = 30
    words = "Only the two of you can read; a report opens what the reporter chooses"
    # A thief of a device reads what comes until the ratchet heals, and nothing from before
    # that the device did not keep.
    visibility: Mapping[str, bool] = MappingProxyType(
        {adversary: adversary == "stolen_device_future" for adversary in ADVERSARIES}
    )

    def server(self, tools: ServerTools) -> E2eeServer:
        """The relay's side."""
        return E2eeServer(tools)

    def client(self, tools: ClientTools) -> E2eeClient:
        """The ends' side."""
        return E2eeClient(tools)


MODE = E2ee()
