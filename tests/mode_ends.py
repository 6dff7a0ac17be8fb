"""Two ends and a middle for tests of modes: drafts, metadata, and tools that are always ready."""

from __future__ import annotations

import os

import msgspec

from crypto_modes.contract import ClientTools, Draft, Meta, ServerTools
from crypto_modes.policy import conversation_id
from tests.keys import NoFrankingKeys
from tests.memory_state import MemoryState

TIME = 1_790_000_000_000
DEPLOYMENT = b"deployment-0001!"
ALICE, BOB = b"alice-account-01", b"bobby-account-02"
ALICE_PHONE, BOB_PHONE = b"alice-phone-0001", b"bobby-phone-0001"

DRAFT = Draft(
    conversation=conversation_id(ALICE, BOB),
    id=b"message-id-00001",
    sender=ALICE,
    device=ALICE_PHONE,
    recipient=BOB,
    kind="text",
    epoch=1,
    content=b"meet me at the louvre",
)


class ReadyKeys:
    """Data keys that never miss: one per conversation and sender, drawn on first use."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        fresh = os.urandom(16), os.urandom(32)
        return self.pairs.setdefault((conversation, sender), fresh)

    def find(self, dek_id: bytes) -> bytes:
        return dict(self.pairs.values())[dek_id]


def server_tools(**changes: object) -> ServerTools:
    """The tools of a relay; ``changes`` replaces some."""
    tools = ServerTools(
        deployment=DEPLOYMENT,
        random=os.urandom,
        data_keys=ReadyKeys(),
        franking_keys=NoFrankingKeys(),
    )
    return msgspec.structs.replace(tools, **changes)


def client_tools(account: bytes, device: bytes = ALICE_PHONE) -> ClientTools:
    """The tools of a client with an empty memory."""
    return ClientTools(
        account=account, device=device, state=MemoryState(), random=os.urandom, now=lambda: TIME
    )


def meta_of(draft: Draft, mode: str, seq: int = 1) -> Meta:
    """What the relay knows of ``draft`` when it arrives as message ``seq``."""
    return Meta(
        draft.conversation,
        seq,
        draft.id,
        draft.sender,
        draft.device,
        draft.recipient,
        draft.kind,
        mode,
        draft.epoch,
        TIME,
    )
