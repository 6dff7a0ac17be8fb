"""``results.json``: its shape as structs, from which the shipped JSON Schema is generated.

What may live here: the structs, reading and writing, the schema. What may not: computing any
number. ``None`` always means *not measured*, never zero. Times are milliseconds unless the name
says otherwise, sizes bytes, rates per second.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec

from crypto_modes.contract import ADVERSARIES
from crypto_modes.errors import BadArgument

SCHEMA = "louver.compare/1"
FILE = "results.json"
SCHEMA_FILE = "results.schema.json"
PATHS = ("scan", "user_report", "legal_request", "insider")
StepName = Literal["first_contact", "first_answer", "chain", "turn", "pq_epoch"]
STEPS: tuple[StepName, ...] = typing.get_args(StepName)
RungName = Literal[
    "floor", "tls", "envelope", "ratchet", "post_quantum", "franking", "padding", "key_log", "rest"
]
RUNGS: tuple[RungName, ...] = typing.get_args(RungName)
FloorName = Literal["plain", "tls", "envelope", "key_service"]
FLOORS: tuple[FloorName, ...] = typing.get_args(FloorName)
_KEYS = {"moderation": PATHS, "exposure": ADVERSARIES, "steps": STEPS}


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part: a misspelt field is an error, not a silent nothing."""


class Summary(_Part, frozen=True, kw_only=True):
    """A distribution of ``count`` samples."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float


class Interval(_Part, frozen=True, kw_only=True):
    """A ratio with its 95 % interval; no bounds where one measurement cannot give them.

    ``noisy``: the machine was so busy that this ratio must not be read as a mode's effect.
    """

    value: float
    low: float | None = None
    high: float | None = None
    noisy: bool = False

    @property
    def tells(self) -> bool:
        """Whether the two could be told apart."""
        if self.noisy or self.low is None or self.high is None:
            return False
        return not self.low <= 1 <= self.high


class Lag(_Part, frozen=True, kw_only=True):
    """How late the generator sent, and the bound beyond which a round is invalid."""

    p50: float
    p99: float
    max: float
    bound: float


class Span(_Part, frozen=True, kw_only=True):
    """Two quantiles of a time."""

    p50: float
    p99: float


class Round(_Part, frozen=True, kw_only=True):
    """One mode in one attempt at one round, in the ``order`` in which it ran.

    A round that was void in any mode was repeated in all of them; ``kept`` says which attempt all
    other numbers come from. ``latency_ms`` is of this attempt, so that anybody can see what a
    repeat changed. ``generator_cpu`` is how many cores the load processes used.
    """

    mode: str
    round: int
    attempt: int
    order: int
    offered_per_s: float
    achieved_per_s: float
    lag_ms: Lag
    latency_ms: Span
    generator_cpu: float
    valid: bool
    kept: bool


class Throughput(_Part, frozen=True, kw_only=True):
    """Saturation: durable messages, with ``connections`` senders of ``window`` in flight each.

    ``per_core_second`` is messages per second of relay CPU; ``relay_cores`` and
    ``generator_cores`` tell which side was the bottleneck.
    """

    messages_per_second: float
    per_core_second: float
    relay_cores: float
    generator_cores: float
    relay_cpu_us_per_message: float
    connections: int
    window: int
    frame_bytes: float


class Estimate(_Part, frozen=True, kw_only=True):
    """A median with its 95 % interval; no bounds where there were too few to draw again."""

    value: float
    low: float | None = None
    high: float | None = None


class Step(_Part, frozen=True, kw_only=True):
    """One message at one place of a conversation, on an idle relay: ``pairs`` of users were timed,
    with ``messages`` each. CPU and bytes are of both users together, what follows a message (its
    acknowledgement and receipt) included; latency is from handing over to opened.
    """

    pairs: int
    messages: int
    client_cpu_us: Estimate
    latency_ms: Estimate
    wire_bytes: float


class Ladder(_Part, frozen=True, kw_only=True):
    """CPU microseconds that each ingredient adds to a message, both ends and the relay together:
    medians over ``rounds`` of ``messages``, without network and disk. ``relay_cpu_us`` is what a
    saturated relay takes, disk and network included, and ``key_calls`` how often it asked a key
    service elsewhere, a message; they are of ``--full`` alone."""

    rounds: int
    messages: int
    cpu_us: dict[RungName, Estimate]
    relay_cpu_us: dict[FloorName, Estimate] = {}
    key_calls: float | None = None


Way = Literal["scan", "user_report", "legal_request", "insider"]


class Access(_Part, frozen=True, kw_only=True):
    """One path of the moderation drill. ``measured`` False: the other fields are None.

    ``readable`` and ``verifiable`` are fractions of the labelled messages;
    ``forged_by`` counts the submitted forgeries by what was altered in them. ``over_collection``
    is bytes disclosed per byte needed. ``basis`` is what proves a report: the
    relay's own ``record``, or the sender's ``commitment`` with the relay's stamp. ``labels`` counts
    the verdicts on reported messages (verified, confirmed, claim, refused), ``labels_alone`` those
    of a team that has the franking keys and cannot ask the relay. ``approvals`` by others were
    needed for each reading, ``logged`` is the share of the readings that the access log has, and
    ``refused`` counts tries with too few approvals, all of which the vault refused and logged.
    """

    measured: bool
    labelled: int | None = None
    readable: float | None = None
    verifiable: float | None = None
    basis: Literal["", "record", "commitment"] = ""
    time_to_evidence_ms: Span | None = None
    over_collection: float | None = None
    forged_submitted: int | None = None
    forged_accepted: int | None = None
    forged_by: dict[str, int] = {}
    labels: dict[str, int] = {}
    labels_alone: dict[str, int] = {}
    approvals: int | None = None
    logged: float | None = None
    refused: int | None = None
    note: str = ""


class Exposure(_Part, frozen=True, kw_only=True):
    """What one adversary's real artefacts gave away: canaries planted and recovered.

    ``declared`` is the mode's own table; ``ok`` is whether the measurement agrees with it.
    ``forms`` counts the encodings in which canaries were found. ``applicable`` False: there is
    nothing of this kind to probe. ``kept`` are canaries that a stolen device itself still shows in
    its history; they are not among the recovered.
    """

    declared: bool
    measured: bool
    applicable: bool = True
    planted: int | None = None
    recovered: int | None = None
    searched_bytes: int | None = None
    kept: int | None = None
    ok: bool | None = None
    forms: dict[str, int] = {}
    note: str = ""


class ModeResult(_Part, frozen=True, kw_only=True):
    """Everything measured of one mode."""

    words: str
    latency_ms: Summary
    accepted_ms: Summary
    first_message_ms: Summary
    first_message_wire_bytes: float
    throughput: Throughput
    server_cpu_us_per_message: float
    client_cpu_us_per_message: float
    wire_bytes_per_message: float
    stored_bytes_per_message: float
    relay_memory_bytes: int
    tls: str
    delivered: int
    lost: int
    duplicated: int
    reordered: int
    altered: int
    moderation: dict[Way, Access]
    exposure: dict[str, Exposure]
    steps: dict[StepName, Step] = {}


class Machine(_Part, frozen=True, kw_only=True):
    """Where it ran; a version is "absent" where something is not installed."""

    cpu: str
    cores: int
    memory: int
    kernel: str
    python: str
    openssl: str
    sqlite: str
    hdrhistogram: str
    loop: str


class TraceInfo(_Part, frozen=True, kw_only=True):
    """The traffic; ``sha256`` is of the trace file, which every mode got."""

    name: str
    sha256: str
    messages: int
    users: int
    conversations: int
    labelled: int
    canaries: int


class Threshold(_Part, frozen=True, kw_only=True):
    """A ``--threshold`` and what became of it."""

    text: str
    value: float | None
    crossed: bool


class Results(_Part, frozen=True, kw_only=True):
    """The whole file. ``problems`` are sentences; any of them makes the exit code non-zero."""

    schema: Literal["louver.compare/1"]
    created: str
    version: str
    argv: list[str]
    seed: int
    seconds: float
    machine: Machine
    trace: TraceInfo
    rounds: list[Round]
    modes: dict[str, ModeResult]
    ratios: dict[str, dict[str, Interval]]
    ladder: Ladder | None = None
    thresholds: list[Threshold] = []
    problems: list[str] = []


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``Results``, as shipped in ``results.schema.json``."""
    schema = msgspec.json.schema(Results)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:louver:schema:{SCHEMA}",
        "title": "The results of louver compare",
    }
    return {**head, **schema}


def shipped_schema() -> dict[str, Any]:
    """The schema file beside this module."""
    text = files("client.compare").joinpath(SCHEMA_FILE).read_bytes()
    return msgspec.json.decode(text, type=dict[str, Any])


def encode(results: Results) -> bytes:
    """Pretty JSON, validated by decoding it again through the structs."""
    raw = msgspec.json.encode(results)
    msgspec.json.decode(raw, type=Results)
    return msgspec.json.format(raw, indent=2) + b"\n"


def read(directory: Path) -> Results:
    """The results in ``directory``.

    Raises:
        BadArgument: there are none, or they do not follow the schema.
    """
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as error:
        raise BadArgument(f"no results in {directory}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadArgument(f"{path} does not follow {SCHEMA}: {error}") from None


def measures(part: Any = None) -> Iterator[str]:
    """The dotted paths of all numbers that a mode can have."""
    for field in msgspec.structs.fields(part or ModeResult):
        kind = _bare(field.type)
        steps = [field.name]
        if typing.get_origin(kind) is dict:
            steps = [f"{field.name}.{key}" for key in _KEYS.get(field.name, ())]
            kind = typing.get_args(kind)[1]
        for step in steps:
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from (f"{step}.{rest}" for rest in measures(kind))
            elif kind in (int, float):
                yield step


def check_path(path: str) -> None:
    """Raise ``BadArgument`` where no mode can have a number at this dotted path."""
    known = list(measures())
    if path in known:
        return
    below = [name for name in known if path and name.startswith(f"{path}.")]
    close = below[:3] or get_close_matches(path, known, n=3, cutoff=0.5)
    asked = f"did you mean {' or '.join(close)}? " if close else ""
    raise BadArgument(f"no measure {path!r}; {asked}There are: {_grouped(known)}")


def _grouped(paths: Iterable[str]) -> str:
    """Dotted paths in short: last steps that share a beginning together, keys as one."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        *before, last = path.split(".")
        if before and before[0] in _KEYS:
            before[1] = "|".join(_KEYS[before[0]])
        ends = groups.setdefault(".".join(before), [])
        ends += [last] if last not in ends else []
    return ", ".join(f"{before}.{'|'.join(ends)}".lstrip(".") for before, ends in groups.items())


def _bare(kind: Any) -> Any:
    """The type without its ``| None``."""
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    return options[0] if type(None) in typing.get_args(kind) and len(options) == 1 else kind


def lookup(results: Results, path: str) -> float | None:
    """The number at a dotted path below ``modes``, such as ``e2ee.latency_ms.p99``.

    Raises:
        BadArgument: nothing, or no number, is there.
    """
    here: Any = msgspec.to_builtins(results.modes)
    for step in path.split("."):
        if here is None:
            return None  # a group that was not measured
        if not isinstance(here, dict) or step not in here:
            known = ", ".join(here) if isinstance(here, dict) else "nothing below a number"
            raise BadArgument(f"no {step!r} in {path!r}; there is: {known}")
        here = here[step]
    if here is not None and not isinstance(here, int | float):
        raise BadArgument(f"{path!r} names a group; it holds: {', '.join(here)}")
    return here
