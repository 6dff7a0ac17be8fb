"""One use of each instrument on one fresh relay: a latency round, a saturation, an exposure pass.

What may live here: the order of steps of each. What may not: what is done in a step (each has its
own file) or how often and for whom (``campaign``).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from client import Chat, Jwt, Keystore, Message, connect
from client.compare import (
    court,
    desk,
    drill,
    ladder,
    machine,
    office,
    probes,
    proc,
    reporting,
    saturate,
    steps,
    theft,
    ungranted,
)
from client.compare.canary import ACCOUNT, HOME, ORIGIN, SERVER_NAME, Canaries
from client.compare.fleet import Fleet, Round, fleet
from client.compare.lab import Lab, LabFailure, Relay, environment
from client.compare.plan import Plan
from client.compare.results import Access, Exposure
from client.compare.tap import Tap, tap
from client.compare.ungranted import Ungranted
from client.verifying import Platform
from crypto_modes import policy
from crypto_modes.reports import fingerprint

SATURATION_SECONDS = 120.0


@dataclass
class Exposed:
    """What the exposure pass of one mode found."""

    round: Round
    wire_bytes: float
    first_wire_bytes: float
    stored_bytes: float
    memory_bytes: int
    tls: str
    exposure: dict[str, Exposure]
    insider: Access
    user_report: Access
    scan: Access
    legal_request: Access
    notes: list[str] = field(default_factory=list)


async def latency(lab: Lab, relay: Relay, plan: Plan) -> Round:
    """The trace through real clients."""
    async with fleet(lab, relay, plan.trace) as load:
        await load.connect()
        await load.introduce()
        return await load.finish(await load.play(plan.size.warmup))


async def saturation(
    lab: Lab, relay: Relay, plan: Plan, *, plain: bool = False
) -> saturate.Outcome:
    """Frames sealed beforehand, as many as the relay takes; ``plain``: without TLS.

    Raises ``LabFailure``.
    """
    size = plan.size
    contents = sorted(len(row.content) for row in plan.trace.rows)
    names = [(f"s{i}-from", f"s{i}-to") for i in range(size.pairs)]
    token = lab.issuer.token
    job = saturate.Job(
        relay.port,
        relay.pid,
        "" if plain else str(lab.certificates),
        tuple(((a, token(a)), (b, token(b))) for a, b in names),
        size.window,
        contents[len(contents) // 2],
        size.slices,
        size.slice_seconds,
    )
    order = relay.home / "saturate.json"
    await asyncio.to_thread(order.write_bytes, msgspec.json.encode(job))
    raw = await _run("client.compare.saturate", order)
    outcome = msgspec.json.decode(raw, type=saturate.Outcome)
    if not outcome.sent == outcome.accepted == outcome.delivered:
        raise LabFailure(
            f"saturation: {outcome.sent} sent, {outcome.accepted} accepted, "
            f"{outcome.delivered} delivered"
        )
    return outcome


async def conversations(lab: Lab, plan: Plan) -> list[steps.Taken]:
    """The same conversations in every mode, message by message. Raises ``LabFailure``."""
    names = [f"c{number:02d}" for number in range(2 + plan.size.acquaintances)]
    users = tuple((name, lab.issuer.token(name)) for name in names)
    async with contextlib.AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(lab.relay(mode, f"steps-{mode}")) for mode in plan.modes
        ]
        places = {relay.mode: steps.Place(relay.port, users) for relay in relays}
        order = lab.directory / "steps.json"
        order.touch(mode=0o600)  # it holds tokens
        job = steps.Job(str(lab.certificates), places)
        await asyncio.to_thread(order.write_bytes, msgspec.json.encode(job))
        raw = await _run("client.compare.steps", order)
    return msgspec.json.decode(raw, type=list[steps.Taken])


async def prices(lab: Lab, plan: Plan) -> ladder.Taken:
    """What each ingredient of the modes costs by itself. Raises ``LabFailure``."""
    order = lab.directory / "ladder.json"
    job = ladder.Job(str(lab.certificates), plan.size.ladder)
    await asyncio.to_thread(order.write_bytes, msgspec.json.encode(job))
    return msgspec.json.decode(await _run("client.compare.ladder", order), type=ladder.Taken)


async def exposure(lab: Lab, plan: Plan, mode: str, declared: dict[str, bool]) -> Exposed:
    """The trace again, under the eyes of every adversary; then the drill on what it left."""
    canaries = Canaries(str(plan.seed))
    numbers = (canaries.number(text) for text in plan.trace.canaries.values())
    planted = [number for number in numbers if number is not None]
    async with contextlib.AsyncExitStack() as stack:
        watched = drill.phrases(plan.trace)
        relay = await stack.enter_async_context(
            lab.relay(mode, f"exposed-{mode}", level="debug", watched=watched)
        )
        wire = await stack.enter_async_context(tap(relay.port))
        looking = probes.Probes(relay, canaries)
        tls = await asyncio.to_thread(machine.negotiated, relay.port, lab.certificates)
        await _plant(stack, lab, relay, wire, canaries)
        load = await stack.enter_async_context(
            fleet(lab, relay, plan.trace, port=wire.port, keep_labelled=True)
        )
        found = await _watched(plan, load, relay, wire, looking)
        found.tls = tls
        await asyncio.to_thread(looking.look_at_backup)
        await _reported(plan, lab, relay, load, found)
        outside = await _court(plan, lab, relay, load, found, canaries)
        revealed = await _inside(plan, relay, found)
        loot = await theft.suffer(partial(_enter, lab, relay), relay.home, canaries)
    # The relay has stopped: its files are final, and so are the log and the recording.
    await asyncio.to_thread(_look_at_rest, looking, wire, revealed)
    others = theft.exposure(loot, declared)
    others[ungranted.WHO] = outside.exposure(declared[ungranted.WHO], planted)
    found.exposure = looking.exposure(declared, planted, others)
    return found


async def _plant(
    stack: contextlib.AsyncExitStack, lab: Lab, relay: Relay, wire: Tap, canaries: Canaries
) -> None:
    """Every probe's control."""
    await probes.say_server_name(wire.port, canaries.make(SERVER_NAME))
    await probes.knock_from(relay.port, lab.trust(), canaries.make(ORIGIN))
    name = canaries.make(ACCOUNT)
    await stack.enter_async_context(_enter(lab, relay, name, Keystore.in_memory()))


def _enter(lab: Lab, relay: Relay, name: str, store: Keystore) -> AbstractAsyncContextManager[Chat]:
    credentials = Jwt(lab.issuer.token(name))
    return connect(relay.url, name=name, credentials=credentials, keystore=store, ssl=lab.trust())


async def _watched(
    plan: Plan, load: Fleet, relay: Relay, wire: Tap, looking: probes.Probes
) -> Exposed:
    """Play the trace; look at memory and files while the relay runs; count bytes."""
    await load.connect()
    before = wire.bytes
    await load.introduce()
    introduced, stored = wire.bytes, probes.stored_bytes(relay.data)
    done = asyncio.Event()
    watching = asyncio.create_task(_keep_looking(looking, done))
    try:
        round_ = await load.finish(await load.play(plan.size.warmup))
    finally:
        done.set()
        await watching  # a look is never cut short: the next one would share its searcher
    sent = len(plan.trace.rows)
    wired = (wire.bytes - introduced) / sent
    kept = (probes.stored_bytes(relay.data) - stored - probes.reported_bytes(relay.data)) / sent
    used = proc.memory_bytes(relay.pid)
    await asyncio.to_thread(looking.look_at_memory)
    await asyncio.to_thread(looking.look_at_files)
    first = (introduced - before) / len(plan.trace.pairs)
    nothing = Access(measured=False)
    unknown = (nothing, nothing, nothing, nothing)
    return Exposed(round_, wired, first, kept, used, "", {}, *unknown)


async def _keep_looking(looking: probes.Probes, done: asyncio.Event) -> None:
    """Memory while messages flow: in some modes plaintext lives there only for moments."""
    while not done.is_set():
        await asyncio.to_thread(looking.look_at_memory)


async def _reported(plan: Plan, lab: Lab, relay: Relay, load: Fleet, found: Exposed) -> None:
    """The paths of the drill that go by reports: users' and the relay's own scanning."""
    messages, labelled = _labelled(plan, found)
    begun = time.monotonic()
    await load.report(fingerprint(lab.team.public))
    files, scanned = desk.by_scanner(await desk.fetch(relay))
    token = relay.data / "admin.token"
    asking = Platform(confirm=f"http://127.0.0.1:{relay.internal}", token=token)
    alone = Platform(franking_keys=relay.data / "franking")

    def judge(some: Sequence[Path], platform: Platform) -> list[desk.Judged]:
        return desk.judge(some, lab.team.secret, platform)

    def judge_forged() -> dict[str, list[desk.Judged]]:
        honest = [one for each in genuine if each.report for one in reporting.single(each.report)]
        made = reporting.forgeries(honest, plan.size.forgeries, plan.seed)
        at = relay.home
        return {
            what: judge(desk.lay(at / f"forged-{what}", some, lab.team), asking)
            for what, some in made.items()
        }

    genuine = await asyncio.to_thread(judge, files, asking)
    offline = await asyncio.to_thread(judge, files, alone)
    forged = await asyncio.to_thread(judge_forged)
    found.user_report = drill.user_report(messages, genuine, offline, forged, begun, labelled)
    hits = await asyncio.to_thread(judge, scanned, asking)
    found.scan = drill.scan(messages, hits, labelled)


async def _court(
    plan: Plan, lab: Lab, relay: Relay, load: Fleet, found: Exposed, canaries: Canaries
) -> Ungranted:
    """A legal request, and before it all that the vault gives without one."""
    messages, labelled = _labelled(plan, found)
    pairs = dict.fromkeys(plan.trace.rows[row].pair for row in plan.trace.canaries)
    accounts = {user: bytes.fromhex(account) for user, account in load.accounts.items()}
    asked = [policy.conversation_id(accounts[a], accounts[b]) for a, b in pairs]
    async with office.staffed(relay, lab.team, f"vault-{canaries.make(HOME)}") as staff:
        outside = Ungranted(staff, canaries)
        await asyncio.to_thread(outside.ask, asked)
        answered = await asyncio.to_thread(court.answer, staff, messages)
        outside.granted(answered.answers, answered.texts.values())
        await asyncio.to_thread(outside.look)
    found.legal_request = drill.legal_request(messages, answered, labelled)
    return outside


async def _inside(plan: Plan, relay: Relay, found: Exposed) -> bytes:
    """Somebody inside, with the databases alone; gives everything the operator could print."""
    stolen, _ = await drill.reveal(await asyncio.to_thread(drill.thief, relay))
    found.insider = drill.insider(plan.trace, found.round.logs, stolen)
    _, revealed = await drill.reveal(relay.config)
    return revealed


def _labelled(plan: Plan, found: Exposed) -> tuple[list[Message], int]:
    """The labelled messages that arrived, and how many there are."""
    messages = [message for log in found.round.logs for message in log.kept]
    return messages, sum(bool(row.label) for row in plan.trace.rows)


def _look_at_rest(looking: probes.Probes, wire: Tap, revealed: bytes) -> None:
    looking.look_at_files()
    looking.look_at_log()
    looking.look_at_tap(wire)
    looking.look_as_operator(revealed)


async def _run(module: str, order: Path) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(order)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    try:
        async with asyncio.timeout(SATURATION_SECONDS):
            output, complaint = await process.communicate()
    except BaseException:
        # Interrupted or too slow: a load process must not go on without its parent.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    if process.returncode:
        tail = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise LabFailure(f"{module} failed: {' '.join(tail) or 'without a word'}")
    return output
