"""The settings of a relay: file < environment < flags, checked as a whole, before anything runs.

What may live here: reading the sources, the rules across keys, what may change by a reload.
The keys are in ``settings_tree``, the wording in ``settings_text``. Importing this costs
200 ms of pydantic, so the command line does it only inside commands.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from crypto_modes.errors import BadConfig
from crypto_modes.registry import BUILTIN
from server.settings_text import assignment, example, flat, origin_of, schema, wrong
from server.settings_tree import ENV_DELIMITER, ENV_PREFIX, KINDS, Settings

__all__ = [
    "MODES",
    "Settings",
    "example",
    "flat",
    "load",
    "origins",
    "problems",
    "reloadable_changes",
    "schema",
]

# Those that come with Louver; a relay hands in what is installed.
MODES = tuple(mode.name for mode in BUILTIN)
DEFAULT = "default"
FILE_LIMIT = 1024 * 1024
# Where something may change while connections are open; a prefix ends in a dot.
RELOADABLE = ("mode", "modes.", "limits.", "features.", "log.level", "listen.origins", "scanning.")
# Variables that begin like ours but belong to our programs rather than to the tree: which file is
# read, and what `louver` takes in the same shell.
OTHER_VARIABLES = frozenset(
    {
        "LOUVER_CONFIG",
        "LOUVER_JWT",
        "LOUVER_LOG_KEY",
        "LOUVER_MOD_CODE",
        "LOUVER_MOD_ID_TOKEN",
        "LOUVER_MOD_INVITE",
        "LOUVER_MOD_PASSWORD",
        "LOUVER_MOD_SHARE",
        "LOUVER_PASSPHRASE",
        "LOUVER_PASSWORD",
        "LOUVER_RECOVERY_KEY",
    }
)

Tree = dict[str, Any]


def load(
    file: Path | None = None,
    flags: Sequence[str] = (),
    modes: Collection[str] = MODES,
    *,
    checked: bool = True,
) -> Settings:
    """The settings in force. ``flags`` are texts ``key=value``; ``modes`` are the names that are
    registered. With ``checked`` false the rules across keys are left to ``problems``.

    Raises:
        BadConfig: one line per problem, each with its key, its source and what to write.
    """
    merged: Tree = {}
    came_from: dict[str, str] = {}
    for tree, name in (_from_file(file), _from_environment(), _from_flags(flags)):
        _merge(merged, tree, came_from, name)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise BadConfig("\n".join(wrong(error, came_from))) from None
    settings._origins = came_from  # noqa: SLF001 - the private field exists for this line
    if checked and (found := problems(settings, modes)):
        raise BadConfig("\n".join(found))
    return settings


def origins(settings: Settings) -> dict[str, str]:
    """Where the value of every dotted key came from: ``default``, the file's name,
    ``environment NAME`` or ``flag --set``.
    """
    found = settings._origins  # noqa: SLF001 - see load
    return {key: origin_of(key, found) for key in flat(settings)}


def reloadable_changes(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Every dotted key that differs, with its old and new value, if all may change by reload.

    Raises:
        BadConfig: a key differs that needs a restart; the caller keeps the old settings.
    """
    before, after = flat(old), flat(new)
    changes = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    refused = [key for key in changes if not _may_change(key)]
    if refused:
        raise BadConfig(
            f"nothing was reloaded: {', '.join(refused)} needs a restart; restart the relay, or"
            " undo the change and reload again"
        )
    return changes


def _may_change(key: str) -> bool:
    return any(key == name or (name[-1] == "." and key.startswith(name)) for name in RELOADABLE)


# Sources


def _from_file(file: Path | None) -> tuple[Tree, Callable[[str], str]]:
    if file is None:
        return {}, str
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise BadConfig(f"{file} is over 1 MiB: this is no settings file")
        return tomllib.loads(content.decode()), lambda key: str(file)
    except OSError as error:
        raise BadConfig(
            f"cannot read {file}: {error.strerror}; `louverd config init` makes a settings file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadConfig(f"{file} is not TOML: {error}") from None


def _from_environment() -> tuple[Tree, Callable[[str], str]]:
    _refuse_misspelt_variables(os.environ)
    try:
        tree = EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise BadConfig(
            f"environment: {error}; set single keys, for example LOUVER_LISTEN__PORT=7000"
        ) from None
    return tree, lambda key: f"environment {_variable(key)}"


def _variable(key: str) -> str:
    return ENV_PREFIX + key.replace(".", ENV_DELIMITER).upper()


def _refuse_misspelt_variables(environ: Mapping[str, str]) -> None:
    """A misspelt section or top key is not ours to the environment source, so it would be
    ignored in silence; LOUVER_ variables of other programs (the client's) are let through.
    """
    known = [_variable(name) for name in Settings.model_fields]
    for name in environ:
        top = name.upper().partition(ENV_DELIMITER)[0] if ENV_DELIMITER in name else name.upper()
        if not top.startswith(ENV_PREFIX) or top in known or top in OTHER_VARIABLES:
            continue
        near = get_close_matches(top, [*known, *OTHER_VARIABLES], 1, 0.8)
        if near or ENV_DELIMITER in name:
            meant = near[0] if near else ", ".join(known)
            raise BadConfig(f"environment: unknown variable {name}; did you mean {meant}?")


def _from_flags(flags: Sequence[str]) -> tuple[Tree, Callable[[str], str]]:
    tree: Tree = {}
    for flag in flags:
        key, equals, value = flag.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names) or len(names) > 2:
            raise BadConfig(f"--set takes key=value, for example listen.port=7000, not {flag!r}")
        target = tree
        for name in names[:-1]:
            inner = target.setdefault(name, {})
            if not isinstance(inner, dict):
                raise BadConfig(f"--set: {name} is given both as a value and as a section")
            target = inner
        target[names[-1]] = value.strip()
    return tree, lambda key: "flag --set"


def _merge(
    into: Tree, tree: Tree, came_from: dict[str, str], name: Callable[[str], str], prefix: str = ""
) -> None:
    """Lay ``tree`` over ``into``, noting for each leaf who set it last."""
    for key, value in tree.items():
        dotted = prefix + key
        if isinstance(value, dict) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, came_from, name, f"{dotted}.")
        else:
            into[key] = value
            came_from[dotted] = name(dotted)


# Rules across keys


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with ``key`` beside the others; ``cure`` is a value that would be right."""

    key: str
    text: str
    cure: Any = None


def problems(settings: Settings, modes: Collection[str] = MODES) -> list[str]:
    """What is wrong across keys and on disk, one sentence each; empty when the relay may start."""
    found = [problem for rule in _RULES for problem in rule(settings)]
    found += _modes_exist(settings, modes)
    came_from = origins(settings)
    return [_told(problem, came_from[problem.key]) for problem in found]


def _told(problem: Problem, origin: str) -> str:
    text = f"{origin}: {problem.key} {problem.text}"
    if problem.cure is None:
        return text
    return f"{text}; for example {assignment(problem.key, problem.cure, origin)}"


def _modes_exist(settings: Settings, modes: Collection[str]) -> Iterator[Problem]:
    for key in ("mode", *(f"modes.{kind}" for kind in KINDS)):
        value = flat(settings)[key]
        if value and value not in modes:
            near = get_close_matches(value, modes, 1) or list(modes)
            yield Problem(key, f"names no mode: {value!r} is none of {', '.join(modes)}", near[0])


def _tls_or_said_otherwise(settings: Settings) -> Iterator[Problem]:
    listen = settings.listen
    if listen.insecure:
        if listen.certificate or listen.key:
            yield Problem("listen.insecure", "contradicts listen.certificate; keep one of the two")
        if listen.insecure is True and not _is_loopback(listen.address):
            yield Problem(
                "listen.insecure",
                f"is true, but {listen.address} can be reached from other machines; use TLS, or"
                " say that something in front of the relay does",
                "anywhere",
            )
    elif not listen.certificate and not listen.key:
        yield Problem(
            "listen.certificate",
            "is missing; `louverd certs dev --dir certs` makes one for trying out; "
            "listen.insecure = true does without on a loopback address",
            "certs/relay.pem",
        )


def _certificate_with_key(settings: Settings) -> Iterator[Problem]:
    listen = settings.listen
    pair = {"listen.certificate": listen.certificate, "listen.key": listen.key}
    if sum(map(bool, pair.values())) == 1:
        missing = next(key for key, value in pair.items() if not value)
        yield Problem(missing, "is missing: a certificate needs its key and a key its certificate")
    yield from (_unreadable(key, value) for key, value in pair.items() if _is_unreadable(value))


def _accounts(settings: Settings) -> Iterator[Problem]:
    accounts = settings.accounts
    if not accounts.jwks:
        if accounts.registration == "external":
            yield Problem(
                "accounts.jwks", 'is missing, and accounts.registration = "external" needs it'
            )
        if accounts.issuer or accounts.audience:
            key = "accounts.issuer" if accounts.issuer else "accounts.audience"
            yield Problem(key, "means nothing without accounts.jwks")
    elif "://" in accounts.jwks:
        if not accounts.jwks.startswith("https://"):
            yield Problem("accounts.jwks", "must be a file or an https:// address")
    elif _is_unreadable(accounts.jwks):
        yield _unreadable("accounts.jwks", accounts.jwks)


def _keys(settings: Settings) -> Iterator[Problem]:
    keys = settings.keys
    needed = {"transit": ("name", "address", "token"), "kms": ("name", "region")}
    for name in needed.get(keys.provider, ()):
        if not getattr(keys, name):
            yield Problem(
                f"keys.{name}", f'is missing, and keys.provider = "{keys.provider}" needs it'
            )
    # What a service unwraps would be readable on the way, and so would its token.
    yield from _private("keys.address", keys.address)


def _moderation(settings: Settings) -> Iterator[Problem]:
    vault, authority = settings.moderation.vault, settings.moderation.vault_authority
    yield from _private("moderation.vault", vault)
    if authority and not vault.startswith("https://"):
        yield Problem("moderation.vault_authority", "means nothing without an https:// vault")
    elif _is_unreadable(authority):
        yield _unreadable("moderation.vault_authority", authority)


def _staff(settings: Settings) -> Iterator[Problem]:
    moderation = settings.moderation
    for name in ("jwks", "webhook"):
        if getattr(moderation, name) and not moderation.vault:
            yield Problem(f"moderation.{name}", "means nothing without moderation.vault")
    for name in ("issuer", "audience"):
        # Else any token of that provider, for whatever program, would log in.
        if moderation.jwks and not getattr(moderation, name):
            yield Problem(f"moderation.{name}", "is missing, and moderation.jwks needs it")
    if "://" in moderation.jwks:
        if not moderation.jwks.startswith("https://"):
            yield Problem("moderation.jwks", "must be a file or an https:// address")
    elif _is_unreadable(moderation.jwks):
        yield _unreadable("moderation.jwks", moderation.jwks)
    yield from _private("moderation.webhook", moderation.webhook)
    if _is_unreadable(moderation.webhook_key):
        yield _unreadable("moderation.webhook_key", moderation.webhook_key)
    if len(moderation.webhook_types) != 2:
        yield Problem("moderation.webhook_types", "names two types: of users and of reports")


def _private(key: str, address: str) -> Iterator[Problem]:
    parts = urlsplit(address)
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_own(parts.hostname or ""))
    if address and not safe:
        yield Problem(key, "must be an https:// address (http:// on loopback only)")


def _limits_fit_together(settings: Settings) -> Iterator[Problem]:
    limits = settings.limits
    if limits.before_hello > limits.frame:
        yield Problem("limits.before_hello", f"is over limits.frame ({limits.frame})", limits.frame)
    if limits.outbox_bytes < 2 * limits.frame:
        yield Problem(
            "limits.outbox_bytes",
            f"holds not even two frames of limits.frame ({limits.frame})",
            16 * limits.frame,
        )


def _listeners_apart(settings: Settings) -> Iterator[Problem]:
    listen, internal = settings.listen, settings.internal
    if listen.port == internal.port != 0:
        yield Problem("internal.port", f"is also listen.port ({listen.port})", listen.port + 1)


_RULES: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    _tls_or_said_otherwise,
    _certificate_with_key,
    _accounts,
    _keys,
    _moderation,
    _staff,
    _limits_fit_together,
    _listeners_apart,
)


def _is_loopback(address: str) -> bool:
    return address == "localhost" or ip_address(address).is_loopback


def _is_own(host: str) -> bool:
    try:
        return _is_loopback(host)
    except ValueError:
        return False


def _is_unreadable(path: str) -> bool:
    return bool(path) and not (Path(path).is_file() and os.access(path, os.R_OK))


def _unreadable(key: str, path: str) -> Problem:
    return Problem(key, f"names {path!r}, which is no file that this user may read")
