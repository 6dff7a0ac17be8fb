"""Which of one's own messages the relay kept from a device of the other user.

What may live here: the one comparison of an echo with the relay's own numbers. What may not: the
echo itself, which is the mode's (``contract.Opened``).

No false alarm: a device says with an echo up to which number it had handled the conversation. A
message that the relay numbered higher may have crossed with the answer; one without a number was
refused or is under way; one that was sent before that device first opened one is not compared. What
is left had its turn and was not opened: it was withheld, or came as something that does not open.
"""

from __future__ import annotations

from client.memory import Memory
from crypto_modes.contract import Opened

_TOLD = "client_withheld"  # conversation || own message id -> nothing: told once


def warnings(memory: Memory, conversation: bytes, opened: Opened) -> tuple[str, ...]:
    """``withheld:N`` where ``opened`` shows N such messages for the first time. Writes, so inside
    the transaction that keeps what was opened.
    """
    if not opened.position:
        return ()
    fresh = 0
    for message_id in opened.unopened:
        own = memory.message_with(conversation, message_id)
        if own is None or own.seq > opened.position:
            continue
        if memory.store.get(_TOLD, conversation + message_id) is None:
            memory.store.put(_TOLD, conversation + message_id, b"")
            fresh += 1
    return (f"withheld:{fresh}",) if fresh else ()
