"""The settings of the vault: a small tree in a TOML file, with the relay's habits.

What may live here: every key, its bounds and what it is for; reading file and flags, and the rules
across keys. There is no environment: what a vault runs on is in one file that can be reviewed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from textwrap import fill
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from crypto_modes.errors import BadConfig, KeyRefused
from crypto_modes.transparency.note import BY_WITNESS, Verifier
from server.settings_text import literal
from server.settings_tree import Address, Port, Section

FILE_LIMIT = 1024 * 1024


class Listen(Section):
    """Where the staff's programs and the relay connect."""

    address: Address = Field(default="127.0.0.1", description="The IP address to listen on.")
    port: Port = Field(default=7490, description="0 takes a free port and logs it.")
    certificate: str = Field(
        default="", description="TLS certificate chain (PEM); needed on all but loopback."
    )
    key: str = Field(default="", description="The certificate's private key (PEM).")


class Relay(Section):
    """The relay's internal listener, from which the vault gets records."""

    address: str = Field(
        default="http://127.0.0.1:7480", description="http:// on loopback only, else https://."
    )
    authority: str = Field(
        default="", description="Who certifies it (PEM); left out: whom this system trusts."
    )
    token: str = Field(
        default="louver-data/vault.token",
        description="The token that relay and vault show each other. The relay makes the file in"
        " its data directory; on another machine this is a copy of it.",
    )
    seconds: float = Field(
        default=10.0, ge=0.1, le=120, description="How long the relay may take for an answer."
    )


class Keys(Section):
    """The secret halves. Old ones open what was closed for them: keep them as long as you need."""

    door: tuple[str, ...] = Field(
        default=(),
        description="Secret keys of the moderation door: files of `louverd moderation vault-key`.",
    )
    split: str = Field(
        default="",
        description="The public half of a door's key that was split: officers then hand in their"
        " shares (`louver mod share`), and the key is only in memory.",
    )
    hours: float = Field(
        default=12.0, gt=0, le=24 * 7, description="After which a key from shares is forgotten."
    )
    team: tuple[str, ...] = Field(
        default=(),
        description="Secret keys that reports are sealed to: files of `louverd moderation keygen`.",
    )
    team_split: str = Field(
        default="",
        description="The public half of a key of the team that was split: like `split`.",
    )


class Log(Section):
    """What the vault tells its operator, as JSON or text lines; no names, no message."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is told."
    )
    format: Literal["json", "text"] = Field(
        default="json", description="For programs or for people."
    )


class WitnessAt(Section):
    """One witness of the access log, which somebody else runs."""

    key: str = Field(description="Its public key, as `louverd witness --show` prints it.")
    address: str = Field(description="https://host:port (http:// on loopback only).")
    authority: str = Field(default="", description="Who certifies it (PEM); else the system's.")


class Settings(Section):
    """Everything that can be set."""

    data: Path = Field(
        default=Path("louver-vault"),
        description="The directory of the access log, its signing key and what must not be forgot.",
    )
    staff: str = Field(
        default="",
        description="Whom the vault knows; left out: `staff.json` in the data directory."
        " `louverd vault staff` writes it; a change holds at once.",
    )
    notice_days: int = Field(
        default=30,
        ge=0,
        le=400,
        description="After how many days two people may find out that what they wrote was opened.",
    )
    witnesses: tuple[WitnessAt, ...] = Field(
        default=(),
        max_length=8,
        description="Who else signs that the access log only grows; each is a table [[witnesses]]"
        " of key, address and, where needed, authority.",
    )
    witness_quorum: int = Field(
        default=0,
        ge=0,
        le=8,
        description="How many of them must have signed before anything is opened or decided. With"
        " 0 nothing waits for them; with more, the log takes nothing while fewer answer.",
    )
    listen: Listen = Listen()
    relay: Relay = Relay()
    keys: Keys = Keys()
    log: Log = Log()

    @property
    def staff_file(self) -> Path:
        """Where the list of the staff is."""
        return Path(self.staff) if self.staff else self.data / "staff.json"


def load(file: Path | None, flags: Sequence[str] = (), *, checked: bool = True) -> Settings:
    """The settings in force; ``flags`` are texts ``section.key=value``, before the file. With
    ``checked`` false they need not be enough to run a vault on.

    Raises ``BadConfig``, one line per problem.
    """
    tree = _read(file) if file is not None else {}
    for flag in flags:
        _lay(tree, flag)
    try:
        settings = Settings(**tree)
    except ValidationError as error:
        raise BadConfig("\n".join(map(_sentence, error.errors()))) from None
    if checked and (found := list(_problems(settings))):
        raise BadConfig("\n".join(found))
    return settings


def example() -> str:
    """A file with every key, its meaning and its default."""
    lines = [
        "# Louver vault: settings. Every key is here at its default. `--set listen.port=7491`",
        "# comes before this file. Paths are from where the vault is started.",
    ]
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            lines += ["", f"# {type(field.default).__doc__}", f"[{name}]"]
            for leaf, inner in type(field.default).model_fields.items():
                lines += _example(leaf, inner.description, inner.default)
        else:
            lines += _example(name, field.description, field.default)
    return "\n".join(lines) + "\n"


def _example(name: str, description: str | None, value: Any) -> list[str]:
    text = fill(description or "", 92, initial_indent="# ", subsequent_indent="# ")
    return ["", text, f"# {name} = {literal(value)}"]


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise BadConfig(f"{file} is over 1 MiB: this is no settings file")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise BadConfig(
            f"cannot read {file}: {error.strerror}; `louverd vault init` makes a settings file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadConfig(f"{file} is not TOML: {error}") from None


def _lay(tree: dict[str, Any], flag: str) -> None:
    """Lay ``flag`` over ``tree``; a list is given with commas."""
    key, equals, value = flag.partition("=")
    *section, leaf = key.strip().split(".")
    if not equals or not leaf or len(section) > 1:
        raise BadConfig(f"--set takes key=value, for example listen.port=7491, not {flag!r}")
    place = tree.setdefault(section[0], {}) if section else tree
    if not isinstance(place, dict):
        raise BadConfig(f"--set: {section[0]} is given both as a value and as a section")
    place[leaf] = value.split(",") if key in ("keys.door", "keys.team") else value


def _sentence(details: Any) -> str:
    key = ".".join(str(part) for part in details["loc"][:2])
    if details["type"] == "extra_forbidden":
        return f"unknown key {key}; `louverd vault init` writes a file with all there are"
    # repr keeps a newline in a value from forging a second line.
    return f"{key}: {details['msg'].lower()}, not {details['input']!r:.60}"


def _problems(settings: Settings) -> Iterator[str]:
    yield from _witness_problems(settings)
    listen, keys = settings.listen, settings.keys
    if bool(listen.certificate) != bool(listen.key):
        yield "listen.certificate: a certificate needs its key and a key its certificate"
    if not listen.certificate and not _is_loopback(listen.address):
        yield (
            f"listen.certificate: is missing, and {listen.address} can be reached from other"
            " machines: plaintext would cross the network in the clear"
        )
    parts = urlsplit(settings.relay.address)
    plain = parts.scheme == "http" and _is_loopback(parts.hostname or "")
    if (parts.scheme != "https" and not plain) or parts.path not in ("", "/"):
        yield "relay.address: must be https://host:port (http:// on loopback only)"
    if not (keys.door or keys.split or keys.team or keys.team_split):
        yield (
            "keys.door: is missing, with keys.split and keys.team: a vault without a key opens"
            " nothing; `louverd moderation vault-key` makes one"
        )


def _witness_problems(settings: Settings) -> Iterator[str]:
    names = set()
    for number, each in enumerate(settings.witnesses):
        try:
            found = Verifier.decode(each.key)
            if found.kind != BY_WITNESS:
                yield f"witnesses.{number}: this is the key of a log, not of a witness"
            names.add(found)
        except KeyRefused as error:
            yield f"witnesses.{number}: {error}"
        parts = urlsplit(each.address)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and _is_loopback(parts.hostname or "")
        ):
            yield f"witnesses.{number}: address must be https:// (http:// on loopback only)"
    if settings.witness_quorum > len(names):
        yield "witness_quorum: is more than there are different witnesses, so nothing could be read"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
