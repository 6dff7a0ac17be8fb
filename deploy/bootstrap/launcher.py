"""What `./louver` and `./louverd` do: make the private environment ready, then become the command.

The commands live here; how the environment is made is in environment.py. Words go to stderr,
so that `./louver compare --json` prints nothing but its JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bootstrap.environment import DEV, TRY_OUT, Environment, Extent
from bootstrap.pip_run import InstallFailed
from bootstrap.progress import Progress

# Unset for everything we start: they would let another installation shadow the locked packages.
FOREIGN = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")

EXEC_USAGE = "usage: ./louver exec COMMAND [ARGUMENT …], for instance: ./louver exec ruff check ."

Command = Callable[[Environment, list[str]], list[str]]


def suite(environment: Environment, arguments: list[str]) -> list[str]:
    """All tests; benchmarks are run alone and by hand. Half of the time tests wait for processes
    and for each other's answers, so three workers are what two processors can do; who has nothing
    left takes over from the others.
    """
    python = str(environment.python)
    workers = ["-n", "3", "--dist", "worksteal"]
    return [python, "-m", "pytest", *workers, "--ignore=tests/benchmarks", *arguments]


def tool(environment: Environment, arguments: list[str]) -> list[str]:
    """Any command of the private environment, for those who work on Louver."""
    name, *rest = arguments
    return [*environment.script(name), *rest]


# The launcher's own commands; every other one belongs to the installed program.
OWN: dict[str, tuple[Extent, Command]] = {"test": (DEV, suite), "exec": (DEV, tool)}


def plan(program: str, arguments: list[str]) -> tuple[Extent, Command, list[str]]:
    """What has to be installed, what to run, and with which arguments."""
    own = OWN.get(arguments[0]) if program == "louver" and arguments else None
    if own:
        return *own, arguments[1:]
    return TRY_OUT, tool, [program, *arguments]


def main(here: str, invoked_as: str, arguments: list[str]) -> int:
    """Run a command in the private environment; does not return where it can become it."""
    program = "louverd" if invoked_as.startswith("louverd") else "louver"
    if program == "louver" and arguments == ["exec"]:
        _say(EXEC_USAGE)
        return 2
    extent, command, rest = plan(program, arguments)
    environment = Environment(Path(here))
    try:
        environment.ensure(extent, Progress(sys.stderr))
    except InstallFailed as error:
        _say(f"\nlouver: {error}")
        return 2
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _say(f"\nlouver: cannot make the private environment: {what}")
        return 2
    except KeyboardInterrupt:
        _say("\nlouver: interrupted; the same command starts over.")
        return 130
    if extent is DEV:
        os.chdir(here)
    return become(command(environment, rest), variables(environment))


def variables(environment: Environment) -> dict[str, str]:
    """What a command finds in its environment: the user's variables, but no other Python's.

    matplotlib would keep a cache in the user's home; nothing outside the checkout is written.
    """
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    if os.access(environment.folder, os.W_OK):  # not where the checkout is somebody else's
        kept.setdefault("MPLCONFIGDIR", str(environment.folder / "matplotlib"))
    return kept


def become(command: list[str], variables: dict[str, str]) -> int:
    """Replace this process by ``command``, so that signals and exit codes are the command's."""
    if os.name == "nt":  # exec would detach from the console there
        return subprocess.call(command, env=variables)
    try:
        os.execve(command[0], command, variables)
    except OSError as error:
        _say(f"louver: cannot run {command[0]}: {error.strerror}")
        return 127


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
