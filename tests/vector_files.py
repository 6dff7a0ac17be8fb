"""Reading the vectors of ``tests/vectors``: hex to bytes, and the error that one expects."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from crypto_modes import errors

HERE = Path(__file__).parent / "vectors"


def vectors(name: str) -> list[Any]:
    """The vectors of ``name``.json as parameters of a test, each under its own name."""
    found = json.loads((HERE / f"{name}.json").read_text("utf-8"))["vectors"]
    return [pytest.param(vector, id=vector["name"]) for vector in found]


def raw(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """``fields`` with the named ones turned from hex to bytes, in lists as well."""

    def turned(value: Any) -> Any:
        return [turned(each) for each in value] if isinstance(value, list) else bytes.fromhex(value)

    return fields | {name: turned(fields[name]) for name in names}


def expected(vector: dict[str, Any]) -> AbstractContextManager[object]:
    """The block in which ``vector`` must succeed, or fail as it says."""
    if vector["expect"] == "ok":
        return nullcontext()
    return pytest.raises(getattr(errors, vector["expect"]))
