"""The locks under deploy/: exact, hashed, naming no place, and enough for pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def pins(name: str) -> dict[str, str]:
    """Requirement line by name and marker, with its hashes, of a lock under deploy/."""
    text = (ROOT / "deploy" / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.partition(" --hash")[0].strip(): line for line in lines}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_is_exact_and_hashed(name: str) -> None:
    for pin, line in pins(name).items():
        assert re.match(r"[a-z0-9-]+==[\w.+!-]+( ;|$)", pin), pin
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", line), pin


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_name_no_place(name: str) -> None:
    text = (ROOT / "deploy" / name).read_text()
    assert not re.findall(r"\w+://|--index|--find-links|@ |/tmp|/home", text)


def test_the_development_lock_is_a_superset() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements.lock", ["jwt", "moderation", "report", "scanners", "traces", "try-out"]),
        (
            "requirements-dev.lock",
            ["jwt", "moderation", "report", "scanners", "traces", "try-out", "dev"],
        ),
    ],
)
def test_locks_satisfy_the_project(name: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(text for extra in extras for text in optional[extra])]
    locked: dict[str, list[str]] = {}
    for pin in pins(name):
        package, _, version = pin.partition(" ;")[0].partition("==")
        locked.setdefault(package, []).append(version)
    for requirement in map(Requirement, wanted):
        if requirement.name != "louver":
            versions = locked.get(canonicalize_name(requirement.name), [])
            assert versions, requirement
            assert all(requirement.specifier.contains(version) for version in versions)
