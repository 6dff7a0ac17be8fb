"""The story that docs/moderation.md tells in commands: each is one that the programs understand.

What the commands do is tested by ``test_mod_story`` and the rooms' own tests; no program runs here.
"""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

import client.cli
import server.cli

PAGE = Path(__file__).parent.parent / "docs" / "moderation.md"
PROGRAMS = {"./louver": client.cli.app, "./louverd": server.cli.app}
# Where a command ends: what the shell does with the rest is none of the program's.
_SHELL = frozenset("()|&;<>")


def _story() -> str:
    text = PAGE.read_text()
    told = text[text.index("\n## The whole story in commands\n") :]
    told = told[: told.index("\n## The vault\n")]
    return "\n".join(re.findall(r"```sh\n(.*?)```", told, re.DOTALL))


def _words(line: str) -> list[list[str]]:
    """Every command of one of the two programs in a line of shell, also inside ``$(…)``."""
    plain = line.replace("$(", " ( ").replace(" 2>", " >")
    parts = shlex.shlex(plain, posix=True, punctuation_chars=True)
    parts.whitespace_split = True
    found: list[list[str]] = []
    reading = False
    for word in parts:
        if word in PROGRAMS:
            found.append([word])
            reading = True
        elif set(word) <= _SHELL:
            reading = False
        elif reading:
            found[-1].append(word)
    return found


def _commands() -> list[tuple[str, ...]]:
    # What the shell would put in: a number where there is one, and any text elsewhere.
    shell = _story().replace("$number", "7").replace("$each", "each")
    return [tuple(each) for line in shell.splitlines() for each in _words(line)]


@functools.cache
def _program(name: str) -> Any:
    return typer.main.get_command(PROGRAMS[name])


def _understood(command: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of a command as its program parses them. Raises what it would refuse with."""
    program, *rest = command
    step = _program(program)
    context = step.make_context(program, rest)
    while hasattr(step, "resolve_command"):
        name, step, rest = step.resolve_command(context, [*context._protected_args, *context.args])
        context = step.make_context(name, rest, parent=context)
    return dict(context.params)


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_each_command_of_the_story_is_understood(command: tuple[str, ...]) -> None:
    assert _understood(command)


def test_the_story_is_whole() -> None:
    told = {command[1:3] for command in _commands()}
    verbs = ("queue", "take", "open", "case", "ask", "approve", "read", "act", "decide", "share")
    assert {("mod", each) for each in verbs} <= told
    for step in (("report", "send"), ("audit", "fetch"), ("audit", "verify"), ("vault", "split")):
        assert step in told
    assert len(_commands()) > 60


@pytest.mark.parametrize(
    "wrong",
    [
        ("./louver", "mod", "read"),
        ("./louver", "mod", "take", "first"),
        ("./louver", "mod", "share", "a", "b"),
        ("./louverd", "vault", "split", "key", "--share", "5"),
    ],
)
def test_a_command_that_is_wrong_is_noticed(wrong: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match=r"(?i)missing|integer|unexpected|no such|such option"):
        _understood(wrong)
