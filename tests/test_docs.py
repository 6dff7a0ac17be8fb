"""The documentation says what the code does: generated pages, declared visibility, live links."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

import client.cli
import server.cli
from bootstrap import launcher
from crypto_modes import wire
from crypto_modes.contract import ADVERSARIES
from crypto_modes.registry import BUILTIN

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# what is generated


def test_the_generated_pages_are_up_to_date(generate: ModuleType) -> None:
    assert generate.differences() == []


def test_a_changed_page_is_noticed(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stale = {tmp_path / path.name: text for path, text in generate.outputs().items()}
    for path, text in stale.items():
        path.write_text(text.replace("hello", "goodbye"))
    monkeypatch.setattr(generate, "outputs", lambda: stale)
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_the_protocol_page_has_every_frame_field_and_code(generate: ModuleType) -> None:
    page = (DOCS / "protocol.md").read_text()
    for cls in (*generate.CLIENT, *generate.SERVER):
        assert f"### `{generate.tag_of(cls)}`\n" in page
        assert all(f"| `{field}` |" in page for field in cls.__struct_fields__)
    for code, name in {**wire.CODES, **wire.CLOSES}.items():
        assert f"| {code} | `{name}` |" in page
    assert "{{" not in page


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())
    found = set(references(document))
    assert len(found) > 60
    for reference in found:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_request_says_how_it_is_answered(generate: ModuleType) -> None:
    asking = [cls for cls in generate.CLIENT if "ref" in cls.__struct_fields__]
    assert [cls.__name__ for cls in asking if len(generate.answers(cls)) != 1] == []


# who can read


def table_with(header: str, text: str) -> list[list[str]]:
    """The rows of the Markdown table whose first header cell is ``header``, header included."""
    lines = iter(text.splitlines())
    first = next(line for line in lines if line.startswith(f"| {header} |"))
    rows = [first]
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(line)
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def test_the_threat_model_declares_what_the_code_declares() -> None:
    header, _, *rows = table_with("adversary", (DOCS / "threat-model.md").read_text())
    assert [row[0] for row in rows] == list(ADVERSARIES)
    assert set(header[2:]) == {mode.name for mode in BUILTIN}
    for mode in BUILTIN:
        column = header.index(mode.name)
        written = {row[0]: row[column] == "yes" for row in rows}
        assert {row[column] for row in rows} <= {"yes", "no"}
        assert written == dict(mode.visibility), mode.name


@pytest.mark.parametrize("page", ["README.md", "docs/threat-model.md"])
def test_the_modes_are_said_in_their_own_words(page: str) -> None:
    _, _, *rows = table_with("mode", (ROOT / page).read_text())
    written = {row[0]: row[1] for row in rows}
    assert written == {mode.name: mode.words for mode in BUILTIN}


# commands


def shown_commands() -> list[tuple[str, tuple[str, ...]]]:
    """Each `./louver …` and `./louverd …` in the pages' shell blocks, as program and words, but
    for the launcher's own commands."""
    found = set()
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in re.split(r"\n|&&", block):
                words = shlex.split(line, comments=True)
                program, *rest = [*words, "", ""][:2]
                if program.startswith("./louver") and rest[0] not in launcher.OWN:
                    found.add((program[2:], tuple(words[1:])))
    return sorted(found)


GROUPS = {
    *(
        "attachments",
        "audit",
        "backup",
        "certs",
        "config",
        "devices",
        "keys",
        "moderation",
        "modes",
    ),
    *("mod", "policy", "report", "reports", "staff", "sunset", "vault"),
}
INNER_GROUPS = {("mod", "case"), ("mod", "hold"), ("mod", "staff"), ("vault", "staff")}


@functools.cache
def help_of(program: str, path: tuple[str, ...]) -> str:
    module = {"louver": "client.cli", "louverd": "server.cli"}[program]
    command = [sys.executable, "-c", f"from {module} import main; main()", *path, "--help"]
    plain = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    return done.stdout


def cut_short(command: Any) -> Iterator[str]:
    """Commands whose line in the list of commands does not fit 80 columns."""
    inner: dict[str, Any] = getattr(command, "commands", {})
    room = 78 - 6 - max(map(len, inner), default=0)
    for name, each in inner.items():
        if each.get_short_help_str(room).endswith("..."):
            yield name
        yield from cut_short(each)


@pytest.mark.parametrize("program", [client.cli.app, server.cli.app], ids=["louver", "louverd"])
def test_no_line_of_a_list_of_commands_is_cut_short(program: typer.Typer) -> None:
    assert list(cut_short(typer.main.get_command(program))) == []


@pytest.mark.parametrize(("program", "words"), shown_commands())
def test_shown_commands_exist(program: str, words: tuple[str, ...]) -> None:
    depth = 1 + (words[0] in GROUPS) + (words[:2] in INNER_GROUPS)
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert options <= set(re.findall(r"--?[\w-]+", help_of(program, words[:depth])))


# pages


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]
            assert anchor in slugs, link


def test_decisions_are_numbered_complete_and_listed() -> None:
    records = sorted(DECISIONS.glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    index = (DECISIONS / "README.md").read_text()
    for record in records:
        headings = re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Evidence", "Consequences"], record.name
        assert f"({record.name})" in index


def test_the_readme_shows_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "./louver compare" in readme
    assert "./louver test" in readme
