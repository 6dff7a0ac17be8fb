"""Settings in words: dotted keys, the wording of what is wrong, the example file, the schema.

Pure text lives here: nothing is read from disk or environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from server.settings_tree import ENV_DELIMITER, ENV_PREFIX, Section, Settings

# What `config init` fills in, so that its file runs after `louverd certs dev --dir certs`.
TRY_OUT = {"listen.certificate": "certs/relay.pem", "listen.key": "certs/relay.key"}

# pydantic's words for a wrong type speak of parsing; these speak to an operator.
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "tuple": "a list",
    "model": "a section of keys",
}

_HEAD = """\
# Louver relay: settings.
#
# Every key is here; the ones that start with "#" stand at their default. A value comes from
# this file, unless the environment has it (LOUVER_LISTEN__PORT=7000), unless a flag has it
# (--set listen.port=7000). `louverd config check` reads it, `louverd config show --origins`
# tells where each value came from. After a change of mode, modes, limits, features, scanning,
# log.level or listen.origins, and of what the certificate's files hold, SIGHUP is enough;
# everything else needs a restart.
"""


def flat(settings: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted key, in the order of the tree."""
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Section):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def fields() -> dict[str, FieldInfo]:
    """Every key that exists, dotted, with its description and default."""
    found: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            inner = type(field.default).model_fields
            found |= {f"{name}.{leaf}": inner[leaf] for leaf in inner}
        else:
            found[name] = field
    return found


def literal(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def assignment(key: str, value: Any, origin: str) -> str:
    """How to write ``value`` in the place where ``origin`` says that ``key`` was set."""
    plain = ",".join(value) if isinstance(value, tuple) else literal(value).strip('"')
    if origin.startswith("environment"):
        return f"{ENV_PREFIX}{key.replace('.', ENV_DELIMITER).upper()}={plain}"
    if origin.startswith("flag"):
        return f"--set {key}={plain}"
    section, _, leaf = key.rpartition(".")
    return f"{leaf} = {literal(value)}" + (f" under [{section}]" if section else "")


def wrong(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    """One sentence per wrong value: where it came from, what is wrong, what to write."""
    by_key: dict[str, list[ErrorDetails]] = {}
    for details in error.errors():
        by_key.setdefault(_key(details), []).append(details)
    return [_sentence(key, complaints, origins) for key, complaints in by_key.items()]


def _key(details: ErrorDetails) -> str:
    """The dotted key of a complaint, without the list indexes and union arms after it."""
    names = [str(part) for part in details["loc"]]
    return names[0] if names[0] in fields() else ".".join(names[:2])


def _sentence(key: str, complaints: list[ErrorDetails], origins: Mapping[str, str]) -> str:
    origin = origin_of(key, origins)
    if complaints[0]["type"] == "extra_forbidden":
        return f"{origin}: unknown key {key}{_meant(key)}"
    said = " or ".join(map(_complaint, complaints))
    known = fields().get(key)
    cure = f"; for example {assignment(key, known.default, origin)}" if known else ""
    # repr keeps a newline in a value from forging a second line.
    return f"{origin}: {key} must be {said}, not {complaints[0]['input']!r:.60}{cure}"


def _complaint(details: ErrorDetails) -> str:
    """What a value must be, in words that fit behind "must be"."""
    if details["type"] == "string_pattern_mismatch":
        return "a lower-case name"
    kind = details["type"].partition("_")[0]
    if kind in _TYPES and details["type"].endswith(("_type", "_parsing", "_from_float")):
        return _TYPES[kind]
    text = details["msg"].removeprefix("Value error, must be ")
    return text.removeprefix("Input should be ").replace("String should have", "text with")


def origin_of(key: str, origins: Mapping[str, str]) -> str:
    """Where ``key``, or the whole section it is in, was set."""
    for name, origin in origins.items():
        if name == key or name.startswith(f"{key}.") or key.startswith(f"{name}."):
            return origin
    return "default"


def _meant(key: str) -> str:
    section, _, leaf = key.rpartition(".")
    siblings = [name.rpartition(".")[2] for name in fields() if name.rpartition(".")[0] == section]
    sections = [] if section else [n for n in Settings.model_fields if n not in fields()]
    near = get_close_matches(leaf, siblings + sections, 1)
    if near:
        return f"; did you mean {section}.{near[0]}?" if section else f"; did you mean {near[0]}?"
    elsewhere = [name for name in fields() if name.rpartition(".")[2] == leaf]
    if elsewhere:
        return f"; did you mean {' or '.join(elsewhere)}?"
    return f"; known here: {', '.join(siblings + sections)}"


def schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    tree = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **tree}


def example() -> str:
    """A file with every key, its meaning and its default, that runs as a try-out."""
    return "\n".join([_HEAD, *_lines()])


def _lines() -> Iterator[str]:
    section = ""
    for key, field in fields().items():
        here, _, leaf = key.rpartition(".")
        if here != section:
            section = here
            yield f"\n# {_about(section)}\n[{section}]\n"
        value = TRY_OUT.get(key, field.default)
        mark = "" if key in TRY_OUT else "# "
        text = fill(field.description or "", 92, initial_indent="# ", subsequent_indent="# ")
        yield f"{text}\n{mark}{leaf} = {literal(value)}\n"


def _about(section: str) -> str:
    return (type(Settings.model_fields[section].default).__doc__ or "").strip()
