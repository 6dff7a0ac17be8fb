"""Mutation testing of `crypto_modes`: each small change of a module must be noticed by its tests.

    python -m tests.mutants [MODULE …] [--show] [--workers N]

Run by hand, from the top of the repository; needs `mutmut` 3.8 beside the development environment.
For each module (all, if none is named) a copy of the tree is made in a temporary folder, `mutmut`
runs there, and one line of JSON is printed: how many mutants were killed, survived, ran out of
time or were reached by no test, the share that was killed, and the names of the others. With
``--show`` what those changed goes to the standard error. Exits with 1 if a share is below 90 %.

Nothing but the table of what tests a module may live here. What was found is in
`docs/mutation.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PACKAGE = "crypto_modes"
LEAST = 0.9

# What a module is tested by: files of tests without a relay or a socket, so that a mutant takes
# less than a second. A mutant runs those of their tests that reach its function.
TESTS: dict[str, str] = {
    "padding": "padding",
    "encoding": "encoding",
    "franking": "franking reports verdicts",
    "keys": "primitives reports",
    "keyring": "keyring",
    "contract": "contract mode_contract at_rest tls",
    "registry": "contract mode_contract",
    "errors": "wire contract e2ee_sessions at_rest pins",
    "primitives": "primitives",
    "policy": "policy withdrawing",
    "pins": "pins",
    "tls": "tls mode_contract",
    "at_rest": "at_rest at_rest_files mode_contract",
    "content": "content",
    "attachments": "attachments",
    "backup": "backup",
    "reports": "reports verdicts",
    "verdicts": "verdicts reports",
    "transparency/tree": "transparency_tree transparency_key_log",
    "transparency/note": "transparency_note",
    "transparency/key_log": "transparency_key_log",
    "transparency/tiles": "transparency_tiles",
    "transparency/access_log": "transparency_access_log",
    "transparency/witnessing": "transparency_witnessing",
    "grants": "grants",
    "disclosure": "disclosure",
    "holds": "holds",
    "scanning": "scanners",
    "shamir": "shamir",
    "scope": "scope vault_heads",
    "door": "door",
    "vault": "door",
    "wire/codec": "wire",
    "wire/codes": "wire",
    "e2ee/__init__": "contract e2ee_client",
    "e2ee/body": "e2ee_body",
    "e2ee/header": "e2ee_ratchet e2ee_session",
    "e2ee/ratchet": "e2ee_ratchet e2ee_session e2ee_sessions e2ee_halves",
    "e2ee/pq_ratchet": "e2ee_pq_ratchet e2ee_session e2ee_sessions e2ee_halves",
    "e2ee/pqxdh": "e2ee_pqxdh",
    "e2ee/session": "e2ee_session e2ee_sessions e2ee_pq_ratchet",
    "e2ee/sessions": "e2ee_sessions e2ee_keeping",
    "e2ee/handshakes": "e2ee_client e2ee_sending e2ee_identity e2ee_keys e2ee_sessions",
    "e2ee/devices": "e2ee_devices",
    "e2ee/identity": "e2ee_identity e2ee_keys e2ee_client e2ee_peers e2ee_linking",
    "e2ee/peers": "e2ee_peers e2ee_keys e2ee_client",
    "e2ee/sending": "e2ee_sending e2ee_client e2ee_halves e2ee_echo",
    "e2ee/receiving": "e2ee_receiving e2ee_client e2ee_halves e2ee_echo e2ee_keys e2ee_sessions"
    " e2ee_own_devices",
    "e2ee/memory": "e2ee_keeping e2ee_client e2ee_echo e2ee_keys",
    "e2ee/client": "e2ee_client e2ee_identity e2ee_keys e2ee_peers",
    "e2ee/server": "e2ee_server",
    "e2ee/handover": "e2ee_linking e2ee_linker",
    "e2ee/linking": "e2ee_linking",
    "e2ee/linker": "e2ee_linker e2ee_linking e2ee_peers",
}
TREE = ("client", "crypto_modes", "server", "tests", "pyproject.toml")

# Not mutated: the words of a refusal (that it is raised, and as what, is behaviour) and casts,
# which do nothing. The time limit ends loops that a mutant made endless, as the project's own
# would later; it is many times what the slowest of these tests takes.
CONFIG = """
[tool.mutmut]
source_paths = ["crypto_modes"]
only_mutate = ["crypto_modes/{module}.py"]
also_copy = ["client", "server"]
do_not_mutate_patterns = ['raise [\\w.]+\\((f?"|$)', '\\b_refuse\\("', '= cast\\(']
pytest_add_cli_args = ["-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--timeout=15"]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
"""

# What mutmut writes for a mutant that some test noticed; see its `stats.py`.
KILLED = {1, 3}
NAMES = {0: "survived", 5: "no tests", 33: "no tests", None: "not run"}


def outcome(code: int | None) -> str:
    """``killed``, ``survived``, ``no tests`` or ``not run``; ``timeout`` for any other end."""
    return "killed" if code in KILLED else NAMES.get(code, "timeout")


def prepare(folder: Path, module: str) -> None:
    """A copy of the tree in ``folder``, set up for one module."""
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    tests = [f"tests/test_{name}.py" for name in TESTS[module].split()]
    with (folder / "pyproject.toml").open("a") as config:
        config.write(CONFIG.format(module=module, tests=json.dumps(tests)))


def mutmut(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Else the tests would import the project that was not changed.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["mutmut", *arguments]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)


def figures(module: str, codes: dict[str, int | None]) -> dict[str, Any]:
    """The line of one module, from mutmut's exit code for each mutant."""
    outcomes = {name: outcome(code) for name, code in codes.items()}
    counts = Counter(outcomes.values())
    left = sorted(name for name, became in outcomes.items() if became != "killed")
    rate = counts["killed"] / len(codes) if codes else 1.0
    return {"module": module, "mutants": len(codes), **counts, "rate": round(rate, 3), "left": left}


def examine(module: str, workers: int, show: bool) -> dict[str, Any]:
    """Make and run the mutants of one module. Raises ``SystemExit`` if its tests fail without."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        prepare(folder, module)
        ran = mutmut(folder, "run", "--max-children", str(workers))
        made = folder / "mutants" / PACKAGE / f"{module}.py.meta"
        if ran.returncode or not made.exists():
            sys.exit(f"mutmut did not run on {module}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        found = figures(module, json.loads(made.read_text())["exit_code_by_key"])
        for mutant in found["left"] if show and found.get("survived") else ():
            sys.stderr.write(mutmut(folder, "show", mutant).stdout)
        return found


def every(modules: list[str], workers: int, show: bool) -> Iterator[dict[str, Any]]:
    for module in modules:
        yield examine(module, workers, show)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--show", action="store_true", help="what the mutants left over change")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    if unknown := set(chosen.modules) - set(TESTS):
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}")
    enough = True
    for found in every(chosen.modules or list(TESTS), chosen.workers, chosen.show):
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        enough &= found["rate"] >= LEAST
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
