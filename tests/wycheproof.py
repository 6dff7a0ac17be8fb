"""Reading Wycheproof's vectors (C2SP/wycheproof), which are not part of this repository.

They are looked for in the folder that ``LOUVER_WYCHEPROOF`` names. Where it is not set they are
looked for in ``../shared/vectors/wycheproof`` beside this clone; a clone without that folder skips
the tests that need it, and says so. Where it is set, as ``.ci/run`` does, vectors that are missing
are a failure: no setting makes these tests pass without them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DEFAULT = Path(__file__).parents[1].parent / "shared" / "vectors" / "wycheproof"

_DIRECTIONS = (
    "get the folder testvectors_v1 of C2SP/wycheproof and run the tests again with its path in"
    " LOUVER_WYCHEPROOF"
)


def folder(default: Path = DEFAULT) -> Path:
    """Where the vectors should be. Skips the test that asks where nobody said that they exist."""
    named = os.environ.get("LOUVER_WYCHEPROOF")
    if named is not None:
        return Path(named)
    if not default.is_dir():
        pytest.skip(f"not held to Wycheproof, whose vectors are not here: {_DIRECTIONS}")
    return default


def cases(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """``(group, case)`` for every case in the file ``name``."""
    path = folder() / name
    if not path.is_file():
        raise AssertionError(f"Wycheproof's {name} is not in {path.parent}: {_DIRECTIONS}")
    for group in json.loads(path.read_text("utf-8"))["testGroups"]:
        for case in group["tests"]:
            yield group, case
