"""How many files the relay may open: asked for at the start, and said where it is too few."""

from __future__ import annotations

import resource

import pytest

from server.gateway import GatewaySettings, descriptors
from tests.gateway_rig import running


class System:
    """In place of the system's calls, so that the limits of this process stay as they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.limits = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.limits)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, kind: int, limits: tuple[int, int]) -> None:
        assert kind == resource.RLIMIT_NOFILE
        if self.limits[1] == 4242:
            raise PermissionError
        self.limits = limits


NEED = 1000 + 256
INFINITY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "becomes"),
    [
        (100, 5000, NEED),
        (100, INFINITY, NEED),
        (100, NEED, NEED),
        (NEED, 5000, NEED),
        (4000, 5000, 4000),
        (INFINITY, INFINITY, INFINITY),
    ],
)
def test_the_soft_limit_becomes_what_is_needed_and_never_less(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, becomes: int
) -> None:
    system = System(monkeypatch, soft, hard)
    assert descriptors.allow(1000) == ""
    assert system.limits == (becomes, hard)


def test_a_hard_limit_that_is_too_low_is_reached_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, 100, 800)
    advice = descriptors.allow(1000)
    assert system.limits == (800, 800)
    assert "may open 800 files, too few for 1000 connections" in advice
    assert "limits.connections to at most 544" in advice


def test_a_sandbox_that_forbids_raising_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, 300, 4242)
    assert "may open 300 files" in descriptors.allow(1000)
    assert system.limits == (300, 4242)


def test_without_such_limits_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "resource", None)
    assert descriptors.allow(10**9) == ""


@pytest.mark.asyncio
async def test_the_gateway_asks_at_its_start_and_at_a_reload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = System(monkeypatch, 100, 3000)
    async with running(connections=1000) as rig:
        assert system.limits[0] > 1000
        assert rig.notes.advice == []
        rig.gateway.reload(GatewaySettings(connections=50_000))
        assert system.limits == (3000, 3000)
        (advice,) = rig.notes.advice
        assert "limits.connections" in advice
