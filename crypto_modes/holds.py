"""Orders of preservation: what approvers sign so that something is kept, or need not be any more.

What may live here: the order to the byte. What may not: what a hold blocks, storage, the log. Who
may approve is said in ``grants``. From moderation.md. ::

    order    = enc("louver/v1/hold", case, event, target, place, requester, reason, nonce)
    approval = Ed25519(an approver's key, order)
    id       = H(enc("louver/v1/hold/id", order))[0:16]
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from crypto_modes import wire
from crypto_modes.encoding import enc
from crypto_modes.grants import REASON_LIMIT
from crypto_modes.primitives import H

Target = Literal["account", "conversation"]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep what an account sent, or a conversation (``place``, 16 bytes) as it is; or end that.

    ``nonce``, 16 random bytes, keeps an approval from serving a later order in the same words.
    """

    case: wire.Id
    event: Literal["place", "lift"]
    target: Target
    place: wire.Id
    requester: wire.Name
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_LIMIT)]
    nonce: wire.Id

    def encode(self) -> bytes:
        """What approvers sign."""
        return enc(
            "louver/v1/hold",
            self.case,
            self.event,
            self.target,
            self.place,
            self.requester,
            self.reason,
            self.nonce,
        )

    @property
    def id(self) -> bytes:
        """16 bytes by which the log names it."""
        return H(enc("louver/v1/hold/id", self.encode()))[:16]
