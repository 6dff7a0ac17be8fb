"""Write docs/protocol.md and docs/asyncapi.json from the frames in crypto_modes/wire.

Only the turning of structs into pages lives here; the words about sessions are in
protocol.template.md, the words about frames in the structs' own docstrings.

    ./louver exec python docs/generate.py           write both
    ./louver exec python docs/generate.py --check   exit with 1 if they are out of date
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec.inspect import (
    BoolType,
    BytesType,
    DictType,
    Field,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    TupleType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from crypto_modes import errors, wire

DOCS = Path(__file__).parent
CLIENT: tuple[type, ...] = get_args(wire.ClientFrame)
SERVER: tuple[type, ...] = get_args(wire.ServerFrame)
PARTS = (
    wire.Copy,
    wire.Certificate,
    wire.DeviceList,
    wire.Prekey,
    wire.Bundle,
    wire.LogEntry,
    wire.Opening,
    wire.Told,
    wire.Limits,
)
REFERENCE = "#/components/{}/{}"
DEFAULTS = {"b''": "empty", "''": "empty", "()": "empty", "None": "absent", "True": "`true`"}


def struct_of(cls: type) -> StructType:
    """msgspec's description of a frame or a part."""
    info = type_info(cls)
    if not isinstance(info, StructType):
        raise TypeError(f"{cls} is not a struct")
    return info


def tag_of(cls: type) -> str:
    """The frame's ``type`` on the wire."""
    return str(struct_of(cls).tag)


def words_of(cls: type) -> str:
    """Its docstring."""
    return inspect.getdoc(cls) or ""


# Types in words


def sized(name: str, low: int | None, high: int | None, unit: str) -> str:
    """``bytes (16)``, ``string (1 to 32 characters)``, ``bytes (at most 64)`` or just the name."""
    if high is None:
        size = f"at least {low}" if low else ""
    elif low == high:
        size = f"{high}"
    else:
        size = f"{low} to {high:,}" if low else f"at most {high:,}"
    return f"{name} ({size} {unit})".replace(" )", ")") if size else name


def type_words(kind: Type) -> str:
    """One field type as a person would say it."""
    match kind:
        case IntType(ge=low, le=high):
            power = {2**32 - 1: "integer (below 2³²)", 2**53 - 1: "integer (below 2⁵³)"}
            return power.get(high or 0) or sized("integer", low, high, "")
        case FloatType():
            return "number"
        case BoolType():
            return "true or false"
        case BytesType(min_length=low, max_length=high):
            return sized("bytes", low, high, "")
        case StrType(min_length=low, max_length=high):
            return sized("string", low, high, "characters")
        case LiteralType(values=values):
            return "one of " + ", ".join(f"`{value}`" for value in values)
        case StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case UnionType(types=types):
            return " or ".join(type_words(each) for each in types)
        case NoneType():
            return "null"
    return collection_words(kind)


def collection_words(kind: Type) -> str:
    """Maps, arrays and tuples in words."""
    match kind:
        case DictType(key_type=key, value_type=value):
            return f"map from {type_words(key)} to {type_words(value)}"
        case TupleType(item_types=items):
            return f"array of {len(items)}: {type_words(items[0])} each"
        case VarTupleType(item_type=item, min_length=low, max_length=high):
            return sized(f"array of {type_words(item)}", low, high, "items")
        case ListType(item_type=item):
            return f"array of {type_words(item)}"
    raise TypeError(f"teach docs/generate.py to say {kind!r}")


# The page


def field_row(field: Field) -> str:
    """One row of a struct's table."""
    need = "yes" if field.required else DEFAULTS.get(repr(field.default), f"`{field.default}`")
    return f"| `{field.encode_name}` | {type_words(field.type)} | {need} |"


def struct_section(cls: type, title: str) -> str:
    """Heading, docstring and table of fields of one struct."""
    info = struct_of(cls)
    note = "\nOn the wire an array, in this order.\n" if info.array_like else ""
    rows = "\n".join(field_row(field) for field in info.fields)
    text = re.sub(r"``([^`]+)``", r"`\1`", words_of(cls))
    return (
        f"{title}\n\n{text}\n{note}\n| field | type | required, or else |\n|---|---|---|\n{rows}\n"
    )


def sections(frames: Iterable[type]) -> str:
    """One section a frame."""
    return "\n".join(struct_section(cls, f"### `{tag_of(cls)}`") for cls in frames)


def error_rows() -> str:
    """One row per wire code, with the sentence of the error class that carries it."""
    return "\n".join(
        f"| {code} | `{name}` | {'yes' if code in wire.TEMPORARY else 'no'} | {cause(code)} |"
        for code, name in wire.CODES.items()
    )


def cause(code: int) -> str:
    """The first sentence of the first error in the tree that a relay answers with ``code``."""
    kinds = (errors.RemoteError, errors.Unavailable)
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, kinds) and vars(cls).get("code") == code:
            return plain(words_of(cls).splitlines()[0].rstrip("."))
    return "The relay failed; its log has a line about it"


def plain(text: str) -> str:
    """Docstring quotes as Markdown's."""
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def close_rows() -> str:
    """One row per close code."""
    return "\n".join(
        f"| {code} | `{name}` | {'reconnect' if code < 4500 else 'stop'} |"
        for code, name in wire.CLOSES.items()
    )


def page() -> str:
    """docs/protocol.md."""
    text = (DOCS / "protocol.template.md").read_text(encoding="utf-8")
    values = {
        "frame_limit": f"{wire.FRAME_LIMIT // 1024} KiB",
        "frame_limit_before_hello": f"{wire.FRAME_LIMIT_BEFORE_HELLO // 1024} KiB",
        "content_limit": f"{wire.CONTENT_LIMIT // 1024} KiB",
        "subprotocols": " and ".join(f"`{name}`" for name in wire.CODECS),
        "client_frames": sections(CLIENT),
        "server_frames": sections(SERVER),
        "parts": "\n".join(struct_section(cls, f"### {cls.__name__}") for cls in PARTS),
        "errors": error_rows(),
        "closes": close_rows(),
    }
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    return text


# AsyncAPI


def message(cls: type) -> dict[str, Any]:
    """A frame as an AsyncAPI message."""
    return {
        "name": tag_of(cls),
        "title": cls.__name__,
        "summary": plain(words_of(cls).splitlines()[0]),
        "payload": {"$ref": REFERENCE.format("schemas", cls.__name__)},
    }


def channel_messages(frames: Iterable[type]) -> list[dict[str, str]]:
    """References to frames, as operations want them."""
    return [{"$ref": f"#/channels/relay/messages/{cls.__name__}"} for cls in frames]


def answers(cls: type) -> list[type]:
    """The frames that a docstring names after "Answered with"."""
    named = re.findall(r"Answered with ``(\w+)``", words_of(cls))
    return [frame for frame in SERVER if tag_of(frame) in named]


def operations() -> dict[str, Any]:
    """What the relay receives, with its answer, and what it sends unasked."""
    found: dict[str, Any] = {}
    channel = {"$ref": "#/channels/relay"}
    for cls in CLIENT:
        operation = {"action": "receive", "channel": channel, "messages": channel_messages([cls])}
        if replies := answers(cls):
            replies = [*replies, wire.Error]
            operation["reply"] = {"channel": channel, "messages": channel_messages(replies)}
        found[f"receive{cls.__name__}"] = operation
    answered = {reply for cls in CLIENT for reply in answers(cls)}
    for cls in SERVER:
        if cls not in answered or "unasked" in words_of(cls):
            found[f"send{cls.__name__}"] = {
                "action": "send",
                "channel": channel,
                "messages": channel_messages([cls]),
            }
    return found


def tidy(schema: Any) -> Any:
    """Docstrings without their indentation, patterns as ECMAScript knows them."""
    match schema:
        case dict():
            tidied = {key: tidy(value) for key, value in schema.items()}
            if isinstance(tidied.get("description"), str):
                tidied["description"] = inspect.cleandoc(tidied["description"])
            if isinstance(tidied.get("pattern"), str):
                tidied["pattern"] = tidied["pattern"].replace(r"\Z", "$")
            return tidied
        case list() | tuple():
            return [tidy(item) for item in schema]
    return schema


def asyncapi() -> str:
    """docs/asyncapi.json."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = (*CLIENT, *SERVER)
    _, schemas = msgspec.json.schema_components(
        everything, ref_template="#/components/schemas/{name}"
    )
    messages = {cls.__name__: message(cls) for cls in everything}
    document = {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Louver relay",
            "version": project["version"],
            "description": project["description"],
            "license": {"name": project["license"]},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "localhost:7443", "protocol": "wss"}},
        "channels": {
            "relay": {
                "address": "/",
                "description": "One WebSocket; subprotocol " + " or ".join(wire.CODECS) + ".",
                "messages": {
                    name: {"$ref": REFERENCE.format("messages", name)} for name in messages
                },
            }
        },
        "operations": operations(),
        "components": {"messages": messages, "schemas": tidy(schemas)},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


# The command


def outputs() -> dict[Path, str]:
    """What each generated file must contain."""
    return {DOCS / "protocol.md": page(), DOCS / "asyncapi.json": asyncapi()}


def differences() -> list[str]:
    """The lines in which the files differ from what they must contain."""
    lines: list[str] = []
    for path, text in outputs().items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        lines += difflib.unified_diff(old.splitlines(), text.splitlines(), path.name, "generated")
    return lines


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare."""
    if arguments == ["--check"]:
        found = differences()
        if found:
            sys.stdout.write("\n".join([*found, "run ./louver exec python docs/generate.py", ""]))
        return 1 if found else 0
    for path, text in outputs().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
