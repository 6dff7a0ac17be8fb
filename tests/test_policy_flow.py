"""Changes of mode while messages flow, over the real relay with real clients.

Only what needs a running conversation lives here; the rules themselves are in ``test_policy``.
"""

from __future__ import annotations

import pytest

from crypto_modes import wire
from tests.conftest import StartRelay
from tests.flows import flow
from tests.test_client import enter


def every(mode: str) -> dict[wire.Kind, str]:
    return dict.fromkeys(wire.KINDS, mode)


@pytest.mark.asyncio
@pytest.mark.attack(15)
@pytest.mark.parametrize("weak", ["tls", "at_rest"])
async def test_two_people_raise_alone_and_lower_together_while_messages_flow(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, weak: str
) -> None:
    relay = await start_relay(mode=weak)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        async with flow(relay, alice, bob, monkeypatch) as running:
            raised = await alice.propose("bob", every("e2ee"))
            assert raised.state == "in_force"
            await running.goes_on()
            proposed = await bob.propose("alice", every(weak))
            assert proposed.state == "prepared"
            await running.goes_on()
            assert (await alice.policy("bob")).modes["text"] == "e2ee"
            lowered = await alice.propose("bob", every(weak))
            assert lowered.state == "in_force"
            await running.goes_on()
        epochs = await running.check()
        assert [each.modes["text"] for each in epochs] == [weak, "e2ee", weak]
        modes = [message.mode for end in running.ends for message in end.heard]
        assert min(modes.count(weak), modes.count("e2ee")) > 20
