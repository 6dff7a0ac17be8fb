"""The shape of the code: the rules of the architecture as tables, and what checks them.

The tables come first and are meant to be read; below them is one small function per rule, each
from sources to violations. Nothing here imports the code it judges: it reads syntax trees, so a
violation is found even in a branch that never runs. `tests/test_shape.py` applies the rules to
the project, and to planted violations.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# A name in these tables is a module or package and covers what lies below it.

ROOMS = ("bootstrap", "client", "crypto_modes", "server")

# Who may import what of the project. The longest matching name decides.
IMPORTS_ONLY: dict[str, tuple[str, ...]] = {
    "bootstrap": ("bootstrap",),
    "client": ("client", "crypto_modes"),
    "crypto_modes": ("crypto_modes",),
    "crypto_modes.encoding": ("crypto_modes.errors",),
    "crypto_modes.errors": (),
    "crypto_modes.primitives": ("crypto_modes.errors",),
    "crypto_modes.wire": ("crypto_modes.errors", "crypto_modes.wire"),
    "server": ("crypto_modes", "server"),
    # back ends know their Protocol and nothing of the relay
    "server.access_log": ("crypto_modes", "server.access_log", "server.problems",
                          "server.secrets_file",
                          "server.store.sqlite.faults", "server.store.sqlite.files"),
    "server.bus": ("crypto_modes", "server.bus"),
    "server.keyrings": ("crypto_modes", "server.keyrings", "server.secrets_file", "server.store"),
    "server.store": ("crypto_modes", "server.store"),
    # bytes on one side, meaning on the other, `link` between them
    "server.gateway": ("crypto_modes", "server.gateway", "server.limits", "server.link",
                       "server.outbox", "server.wheel"),
    "server.link": ("crypto_modes",),
    # staff's use cases know the relay by a Protocol, and the log by another
    "server.moderation": ("crypto_modes", "server.access_log", "server.limits",
                          "server.moderation", "server.secrets_file", "server.store"),
    "server.moderation.api": ("crypto_modes", "server.moderation", "server.problems"),
    "server.moderation.vault_client": ("crypto_modes", "server.access_log", "server.calls"),
    # for whoever runs it, who is somebody else: nothing of a relay or a vault
    "server.witness": ("crypto_modes", "server.secrets_file"),
    "server.outbox": ("crypto_modes", "server.link"),
    # a process of its own: it has no store, and knows the relay by what it answers
    "server.vault": ("crypto_modes", "server.access_log", "server.calls", "server.certs",
                     "server.hosting", "server.logs", "server.problems", "server.secrets_file",
                     "server.settings_text", "server.settings_tree", "server.vault"),
}  # fmt: skip

# Who may be imported by whom: app → gateway → session → relay → {store, bus, modes}.
IMPORTED_ONLY_BY: dict[str, tuple[str, ...]] = {
    "client.cli": ("client.__main__", "client.cli"),
    "client.compare": ("client.cli", "client.compare"),
    "client.slash": ("client.terminal",),
    "client.terminal": ("client.cli", "client.slash"),
    "server.app": ("server.__main__", "server.cli"),
    "server.bus.memory": ("server.app",),
    "server.cli": ("server.__main__", "server.cli"),
    "server.gateway": ("server.app", "server.gateway", "server.listening", "server.watch"),
    "server.http": ("server.app",),
    # the relay may close the moderation door, and only the vault may open it
    "crypto_modes.vault": ("server.vault",),
    "server.keyrings.file": ("server.keyrings", "server.platform_keys"),
    "server.keyrings.kms": ("server.platform_keys",),
    "server.keyrings.passphrase": ("server.platform_keys",),
    "server.keyrings.transit": ("server.platform_keys",),
    "server.outbox": ("server.gateway",),
    "server.chain_check": ("server.cli",),
    "server.reveal": ("server.cli",),
    "server.team": ("server.cli",),
    "server.moderation.api": ("server.moderating", "server.moderation.api"),
    "server.moderation.sqlite": ("server.chain_check", "server.moderating"),
    "server.store.sqlite": ("server.app", "server.chain_check", "server.moderating",
                            "server.moderation.sqlite", "server.reveal", "server.store.sqlite",
                            "server.team"),
    # how a database's file is opened and what its errors mean, whose ever it is
    "server.store.sqlite.faults": ("server.access_log.disk", "server.store.sqlite"),
    "server.store.sqlite.files": ("server.access_log.disk", "server.moderation.sqlite",
                                  "server.store.sqlite"),
    "server.vault": ("server.cli",),
}  # fmt: skip

# Where a third-party package may be imported. One that is not listed may be imported nowhere.
HOMES: dict[str, tuple[str, ...]] = {
    "ahocorasick_rs": ("crypto_modes.scanning",),
    "aiobotocore": ("server.keyrings.kms",),
    "apsw": ("client.keystore", "server.access_log.disk", "server.moderation.sqlite",
             "server.store.sqlite"),
    "argon2": ("client.unlocking", "server.accounts", "server.keyrings.passphrase"),
    "botocore": ("server.keyrings.kms",),
    "chitchat_dataset": ("client.compare",),
    "cryptography": ("crypto_modes.primitives", "server.certs"),
    "fastapi": ("server.moderation.api",),
    "hdrh": ("client.compare",),
    "hvac": ("server.keyrings.transit",),
    "jinja2": ("client.compare",),
    "jwt": ("server.accounts", "server.jwks"),
    "markupsafe": ("client.compare",),
    "matplotlib": ("client.compare",),
    "msgspec": ("client", "crypto_modes", "server"),
    "nacl": ("crypto_modes.primitives",),
    "numpy": ("client.compare", "server.pictures"),
    "PIL": ("server.pictures",),
    "prometheus_client": ("server.observe",),
    "pydantic": ("server.config", "server.moderation.api", "server.settings_text",
                 "server.settings_tree", "server.vault.settings"),
    "pydantic_core": ("server.config", "server.settings_text", "server.settings_tree"),
    "pydantic_settings": ("server.config", "server.settings_text", "server.settings_tree"),
    "pyotp": ("client.compare.office", "server.moderation.second_factor"),
    "redis": ("server.bus.redis",),
    "rich": ("client",),
    "segno": ("client",),
    "starlette": ("server.cli.witness",
        "server.access_log.routes",
        "server.http",
        "server.key_routes",
        "server.moderating",
        "server.moderation.api",
        "server.problems",
        "server.vault",
        "server.vault_records",
    ),
    "structlog": ("server.logs",),
    "typer": ("client.cli", "client.compare.cli", "server.cli"),
    "uvicorn": ("server.hosting",),
    "uvloop": ("client.cli", "client.compare", "server.app", "server.cli"),
    "websockets": ("client.connection", "server.gateway"),
}  # fmt: skip

# `crypto_modes` has no I/O, no clock, and no randomness that is not passed in.
PURE = "crypto_modes"
IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "concurrent",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    }
)
IMPURE_CALLS = frozenset({"__import__", "breakpoint", "input", "open", "print"})
# Reading a clock; `tools.now()`, a clock that was passed in, is fine.
CLOCKS = frozenset({("date", "today"), ("datetime", "now"), ("datetime", "utcnow")})
# Without arguments, this is how crypto libraries draw keys from the system.
DRAWS = "generate"

# Randomness for other things than secrets; everywhere else `random` is refused.
RANDOM_ALLOWED = {
    "client.backoff": "jitter keeps clients apart, it keeps no secret",
    "client.compare": "a trace must be the same again from its seed",
}
# uuid4 promises uniqueness, not secrecy; ids and secrets here are bytes of os.urandom.
NEVER_CALLED = frozenset({"uuid1", "uuid4"})

# Comparing these with == tells by its duration how much was right: use hmac.compare_digest.
SECRET_WORDS = frozenset(
    {
        "commit",
        "commitment",
        "mac",
        "password",
        "pepper",
        "secret",
        "signature",
        "stamp",
        "tag",
        "token",
    }
)


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, its module name and its text."""

    path: str
    module: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Every imported module with its line; ``from a import b`` counts as ``a.b``."""
        found: list[tuple[int, str]] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = self.module.split(".")
        if not self.path.endswith("__init__.py"):
            above = above[:-1]
        above = above[: len(above) - node.level + 1]
        return ".".join([*above, *([node.module] if node.module else [])])


Violations = Iterator[str]
Rule = Callable[[Source], Violations]


def covers(name: str, module: str) -> bool:
    """Whether ``module`` is ``name`` or lies below it."""
    return module == name or module.startswith(f"{name}.")


def within(names: Iterable[str], module: str) -> bool:
    return any(covers(name, module) for name in names)


def longest(table: Mapping[str, tuple[str, ...]], module: str) -> str | None:
    return max((name for name in table if covers(name, module)), key=len, default=None)


def arrows(source: Source) -> Violations:
    """Imports inside the project that the two arrow tables do not allow."""
    rule = longest(IMPORTS_ONLY, source.module)
    for line, target in source.imports:
        if not within(ROOMS, target):
            continue
        if rule and not within(IMPORTS_ONLY[rule], target):
            yield f"{source.path}:{line}: {rule} may not import {target}"
        guarded = longest(IMPORTED_ONLY_BY, target)
        if (
            guarded
            and not covers(guarded, source.module)
            and not within(IMPORTED_ONLY_BY[guarded], source.module)
        ):
            yield f"{source.path}:{line}: {guarded} may not be imported by {source.module}"


def confinement(source: Source) -> Violations:
    """Third-party packages outside their home."""
    for line, target in source.imports:
        package = target.partition(".")[0]
        if package in sys.stdlib_module_names or package in ROOMS:
            continue
        if not within(HOMES.get(package, ()), source.module):
            yield f"{source.path}:{line}: {package} may not be imported in {source.module}"


def purity(source: Source) -> Violations:
    """I/O, clocks and own randomness in the pure room."""
    if not covers(PURE, source.module):
        return
    for line, target in source.imports:
        if target.partition(".")[0] in IMPURE_MODULES:
            yield f"{source.path}:{line}: {PURE} is pure and may not import {target}"
    for call in _calls(source):
        if _is_impure(call):
            name = _last_name(call.func)
            yield f"{source.path}:{call.lineno}: {PURE} is pure and may not call {name}()"


def randomness(source: Source) -> Violations:
    """Sources of randomness that must not make secrets."""
    for line, target in source.imports:
        if covers("random", target) and not within(RANDOM_ALLOWED, source.module):
            yield f"{source.path}:{line}: secrets come from os.urandom or secrets, not random"
    for call in _calls(source):
        if _last_name(call.func) in NEVER_CALLED:
            yield f"{source.path}:{call.lineno}: ids and secrets come from os.urandom, not uuid"


def comparisons(source: Source) -> Violations:
    """Secrets compared with == or !=; against a constant (such as an empty one) is fine."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        if not all(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
            continue
        if any(isinstance(side, ast.Constant) or _is_shouted(side) for side in sides):
            continue
        for name in map(_last_name, sides):
            if SECRET_WORDS.intersection(name.lower().split("_")):
                yield f"{source.path}:{node.lineno}: compare {name} with hmac.compare_digest"


def sizes(source: Source) -> Violations:
    """Files and functions over the ceilings."""
    lines = source.text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{source.path}: {lines} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield (
                    f"{source.path}:{node.lineno}: {node.name} has {length} lines, "
                    f"at most {MAX_FUNCTION_LINES}"
                )


def docstrings(source: Source) -> Violations:
    """Files whose first lines do not say what may live there."""
    if not ast.get_docstring(source.tree):
        yield f"{source.path}: the first lines must say what may live here"


# Rules for the code that is installed, and rules for every Python file.
CODE_RULES: tuple[Rule, ...] = (arrows, confinement, purity, randomness, comparisons)
FILE_RULES: tuple[Rule, ...] = (sizes, docstrings)


def _is_impure(call: ast.Call) -> bool:
    match call.func:
        case ast.Name(id=name):
            return name in IMPURE_CALLS
        case ast.Attribute(value=owner, attr=name):
            drawn = name == DRAWS and not (call.args or call.keywords)
            return drawn or (_last_name(owner), name) in CLOCKS
    return False


def _calls(source: Source) -> Iterator[ast.Call]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))


def _last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c``, ``a.c()`` and ``c[0]``; else an empty string."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.Await(value=inner):
            return _last_name(inner)
    return ""


def _is_shouted(node: ast.expr) -> bool:
    """A constant by its name: NO_DIGEST, CLOSES.TOKEN."""
    return _last_name(node).isupper()
