"""The bus of a single process: a table of listeners, called at once.

Nothing else may live here. Event loop only, like everything that publishes and listens.
"""

from __future__ import annotations

from collections.abc import Callable

from server.bus import Event, Listener


class MemoryBus:
    """``Bus`` without a wire.

    ``failed`` is told the name of a class of exception that a listener let out; not the
    exception itself, whose text might quote what was in the event.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._listeners: dict[bytes, tuple[Listener, ...]] = {}

    async def open(self) -> None: ...

    async def close(self) -> None:
        self._listeners.clear()

    def publish(self, accounts: tuple[bytes, ...], event: Event) -> None:
        for account in accounts:
            # The tuple is never changed, only replaced: a listener may come and go meanwhile.
            for listener in self._listeners.get(account, ()):
                try:
                    listener(event)
                except Exception as error:  # noqa: BLE001 - a listener's fault is not the publisher's
                    self._failed(type(error).__name__)

    def subscribe(self, account: bytes, listener: Listener) -> None:
        self._listeners[account] = (*self._listeners.get(account, ()), listener)

    def unsubscribe(self, account: bytes, listener: Listener) -> None:
        """Take away one subscription; none is no error, for closing may come twice."""
        left = list(self._listeners.get(account, ()))
        if listener in left:
            left.remove(listener)
        if left:
            self._listeners[account] = tuple(left)
        else:
            self._listeners.pop(account, None)
