"""Everything that talks to a relay from outside. The public names of the library live here.

They are loaded when they are first used, so that ``louver --help`` need not load a WebSocket
library. ::

    async with connect(url, name="alice", keystore=Keystore.open(path, passphrase=text),
                       credentials=Password("correct horse", register=True)) as chat:
        await chat.send("bob", "hello")
        async for message in chat:
            print(message.sender_name, message.text)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.client import Chat
    from client.credentials import Jwt, Password
    from client.keystore import Keystore
    from client.messages import (
        ChatState,
        Event,
        Gone,
        HeldBack,
        KeyChange,
        KeyRefusal,
        LogRefusal,
        Message,
        NotSent,
        OwnKeyRefusal,
        Proposal,
        RolledBack,
        Sent,
        SplitView,
        StateChange,
        Unreadable,
    )
    from client.opening import connect, installed_modes, tls_context

__all__ = [
    "Chat",
    "ChatState",
    "Event",
    "Gone",
    "HeldBack",
    "Jwt",
    "KeyChange",
    "KeyRefusal",
    "Keystore",
    "LogRefusal",
    "Message",
    "NotSent",
    "OwnKeyRefusal",
    "Password",
    "Proposal",
    "RolledBack",
    "Sent",
    "SplitView",
    "StateChange",
    "Unreadable",
    "connect",
    "installed_modes",
    "tls_context",
]

_HOMES = {
    "client.client": ("Chat",),
    "client.credentials": ("Jwt", "Password"),
    "client.keystore": ("Keystore",),
    "client.opening": ("connect", "installed_modes", "tls_context"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from where it lives."""
    if name not in __all__:
        raise AttributeError(f"module 'client' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "client.messages")), name)
