"""Reading Wycheproof's vectors (C2SP/wycheproof), which are not part of this repository.

They are looked for in the folder that ``LOUVER_WYCHEPROOF`` names, by default
``../shared/vectors/wycheproof`` beside this clone. Without them the tests fail, rather than look
as if they had passed; ``LOUVER_WYCHEPROOF=none`` says that this is on purpose.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DEFAULT = Path(__file__).parents[1].parent / "shared" / "vectors" / "wycheproof"


def wanted() -> bool:
    return os.environ.get("LOUVER_WYCHEPROOF") != "none"


def cases(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """``(group, case)`` for every case in the file ``name``."""
    folder = Path(os.environ.get("LOUVER_WYCHEPROOF") or _DEFAULT)
    if not (folder / name).is_file():
        raise AssertionError(
            f"Wycheproof's {name} is not in {folder}: get testvectors_v1 of C2SP/wycheproof and"
            " set LOUVER_WYCHEPROOF to its folder, or to 'none' to do without it on purpose"
        )
    for group in json.loads((folder / name).read_text("utf-8"))["testGroups"]:
        for case in group["tests"]:
            yield group, case
