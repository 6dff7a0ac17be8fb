"""Run the vendored pip inside the private environment; turn its output into words.

Only this file knows pip. The wheel beside it is the published one, checked against its digest
before every use, so neither ensurepip nor an installed pip is needed (decision 0007). Where
packages come from is the user's pip configuration and environment, untouched; only settings
that say *where to install to* are overruled, because the answer is always the environment.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from bootstrap.progress import Progress

WHEEL = Path(__file__).parent / "pip-26.3-py3-none-any.whl"
DIGEST = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"

ELSEWHERE = ("PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_USER", "PYTHONHOME", "PYTHONPATH")
COMMON = ("--disable-pip-version-check", "--no-input", "--no-color")
# Building from source would fetch build tools that no lock pins: ready-made packages only.
LOCKED = ("--require-hashes", "--only-binary=:all:", "--no-deps")
# The project itself: linked, not copied, by the locked hatchling, without any index.
EDITABLE = ("--no-index", "--no-deps", "--no-build-isolation", "--editable")

# The first that fits pip's output explains a failure.
CAUSES = {
    r"DO NOT MATCH THE HASHES": (
        "a package that arrived is not the one that was locked, and was not installed. If you "
        "use a mirror or a proxy, it may alter packages; otherwise please report this."
    ),
    r"No space left on device": "the disk is full; about 400 MB are needed.",
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
    r"|Failed to establish a new connection|\(from versions: none\)": (
        "the package index cannot be reached, or offers nothing.\n"
        "Check the network, or pip's proxy and index settings, and run the same command again.\n"
        "Once made, Louver works offline. With a folder of wheels: PIP_NO_INDEX=1 "
        "PIP_FIND_LINKS=FOLDER and the same command."
    ),
    r"No matching distribution found": (
        "a locked package is not offered ready-made for this Python and machine. Python 3.11, "
        "3.12 or 3.13 on Linux, macOS or Windows should do; an index of your own may lack it."
    ),
}
UNEXPLAINED = "pip could not install the locked packages."


class InstallFailed(Exception):
    """The environment could not be filled; the message is for the user."""


def install(python: Path, root: Path, lock: Path, progress: Progress) -> None:
    """Install ``lock`` and then the project at ``root`` into the environment of ``python``.

    Raises:
        InstallFailed: with a sentence for the user.
    """
    install_locked(python, lock, progress)
    progress.note("linking Louver itself")
    _run(python, [*EDITABLE, str(root)], lambda line: None)


def install_locked(python: Path, lock: Path, progress: Progress) -> None:
    """Install what ``lock`` pins, each file checked against its digest there."""
    check(WHEEL)
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE)
    progress.expect(len(set(pins)))
    _run(python, [*LOCKED, "--requirement", str(lock)], lambda line: _tell(line, progress))


def check(wheel: Path) -> None:
    """Refuse a pip that is not the reviewed one."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != DIGEST:
        raise InstallFailed(f"{wheel.name} is damaged or was changed; check the file out again.")


def _run(python: Path, arguments: list[str], hear: Callable[[str], None]) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    # -I: nothing from the current folder or the user's site may be imported.
    command = [str(python), "-I", str(WHEEL / "pip"), *COMMON, "install", "--no-user", *arguments]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            hear(line)
    if process.returncode:
        raise InstallFailed(explain(lines))


def _tell(line: str, progress: Progress) -> None:
    word, _, rest = line.strip().partition(" ")
    if word == "Collecting":
        progress.step(re.split(r"[=<>~! ]", rest)[0])
    elif line.startswith("Installing collected packages"):
        progress.note("unpacking")
    elif "Retrying (" in line:
        progress.note("the package index does not answer yet; trying again")


def explain(lines: list[str]) -> str:
    """A sentence for why pip failed, and its own last words below."""
    output = "\n".join(lines)
    fitting = (sentence for pattern, sentence in CAUSES.items() if re.search(pattern, output))
    sentence = next(fitting, UNEXPLAINED)
    said = [line for line in lines if line.strip() and not line.startswith("WARNING")]
    errors = [line for line in said if line.startswith("ERROR")] or said[-20:]
    return "\n".join([sentence, *(f"  pip: {line[:200]}" for line in errors)])
