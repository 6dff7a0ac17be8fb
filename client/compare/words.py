"""The wording of the comparison: numbers as people read them, and the fixed explanations.

What may live here: formatting and prose that page and terminal share. What may not: arithmetic
beyond rounding, HTML.
"""

from __future__ import annotations

from client.compare.results import (
    Access,
    Estimate,
    FloorName,
    Interval,
    Ladder,
    ModeResult,
    Results,
    RungName,
    StepName,
    Threshold,
    Way,
)

NOT_MEASURED = "not measured"
NOISY = "machine too noisy to tell"

_PROVEN = {
    "commitment": "Yes, by the sender's commitment and the relay's stamp.",
    "record": "By the relay's own record only.",
    "": "Yes.",
}
_STAFF: dict[Way, str] = {
    "scan": "scanning",
    "insider": "database",
    "legal_request": "order",
}
_LABELS = ("verified", "confirmed", "claim", "refused")
ADVERSARY = {
    "network_tap": ("Network tap", "every byte between the clients and the relay"),
    "database": ("Database files", "with write-ahead log and free pages"),
    "backup": ("Backup", "an online copy of the database"),
    "bus": ("Message bus", "what nodes tell each other"),
    "logs": ("Logs", "all that the relay prints, at level debug"),
    "relay_memory": ("Relay memory", "the running process"),
    "vault_without_grant": (
        "Vault without a grant",
        "its files and memory, and all it answers before two approve",
    ),
    "compelled_operator": ("Compelled operator", "every file, key and command of the relay"),
    "stolen_device_past": (
        "Stolen device, past",
        "recorded messages from before, tried with its keys and its token",
    ),
    "stolen_device_future": (
        "Stolen device, future",
        "messages to it until it has answered once",
    ),
    "stolen_device_healed": (
        "Stolen device, healed",
        "messages to it after both have answered twice",
    ),
}
SHORT = {
    "network_tap": "wire",
    "database": "disk",
    "backup": "backup",
    "logs": "logs",
    "relay_memory": "memory",
    "vault_without_grant": "vault",
    "compelled_operator": "operator",
}
DEVICE = {
    "stolen_device_past": "what came before",
    "stolen_device_future": "what came next",
    "stolen_device_healed": "what came after two answers",
}
STEP: dict[StepName, tuple[str, str]] = {
    "first_contact": (
        "First contact",
        "device list, its proof in the key log, prekeys, handshake, message",
    ),
    "first_answer": ("First answer", "the other side's first message"),
    "chain": ("Running chain", "each of 48 from the same side"),
    "turn": ("A turn", "each of three, in which each answers the other"),
    "pq_epoch": ("New PQ epoch", "each of the three turns that change it"),
}
RUNG: dict[RungName, tuple[str, str]] = {
    "floor": ("Without TLS", "frames, and tls's own verbs"),
    "tls": ("+ TLS", "records of two connections"),
    "envelope": ("+ envelope", "at_rest's record and padding, instead of what follows"),
    "ratchet": ("+ ratchet", "Double Ratchet, message key, AES-GCM, header"),
    "post_quantum": ("+ post-quantum", "its chains, and ML-KEM every 50 messages"),
    "franking": ("+ franking", "commitment made and checked, stamp"),
    "padding": ("+ padding", "put on, encrypted, taken off"),
    "key_log": ("+ key log", "its head in each message, held to one's own"),
    "rest": ("+ the rest of e2ee", "state kept in memory, counters, lists, larger frames"),
}
FLOOR: dict[FloorName, str] = {
    "plain": "tls without TLS",
    "tls": "tls",
    "envelope": "at_rest, its key in a file",
    "key_service": "at_rest, its key in a key service elsewhere",
}
FLOORS_TEXT = (
    "Saturated with messages sealed beforehand: the relay's own share, network and disk included."
)
LADDER_TEXT = (
    "CPU of both ends and the relay together for a message of 32 bytes, in turns of two, without "
    "network, disk and event loop. No mode without one of its ingredients exists, and none is made "
    "for a measurement: each ingredient's own functions ran by themselves, and the last row is "
    "what the whole mode took beyond them. A key service elsewhere is asked once for each data key:"
    " for one conversation, sender and week; that is not in here."
)
STEPS_TEXT = (
    "One message at a time between two users on an idle relay, so nothing queues. CPU is of the "
    "real client library, both users together, with TLS and their key stores in memory. "
    "Acknowledgements and receipts are included; clients send one for all that came within 0.1 s, "
    "so a long run shares them. A new epoch of the post-quantum ratchet is due after 50 messages "
    "or a day; in other modes these are turns as any."
)
READING = (
    (
        "Latency counts from the planned time of sending, not from when the generator got round to "
        "it: a relay that stalls cannot hide the messages that had to wait."
    ),
    "p50 is the middle message; p99 is the one that 99 of 100 beat.",
    (
        "A ratio's interval comes from this run's own rounds and seconds, drawn again 1,000 times; "
        "another run may fall outside of it. If it includes 1, this run could not tell the two "
        "apart."
    ),
    (
        "A message waits for the same cores as the generator. Where the generator's own lag (p99) "
        "was above half of the median latency in any round, a ratio of p99s is marked as too noisy "
        "to tell: it would be the machine's, not the mode's."
    ),
    (
        "Messages a second per relay core is the rate divided by the relay's CPU time, so a "
        "generator that shares the machine does not change it much; absolute times do depend on "
        "the machine. Compare ratios."
    ),
    (
        "“Recovered” means the text was really found in the bytes that adversary holds. A declared "
        "“cannot read” that was found, or the other way round, fails the whole run."
    ),
    (
        "Time to evidence is of all messages in one go: of the operator's command, its start "
        "included, or from the first report's sending over export to the team's verdict. It shows "
        "what an investigator waits for, not which mode is the faster."
    ),
)
ALWAYS = (
    "This measures access, not safety: a proven report does not say what to do about it.",
    (
        "In every mode the relay sees who writes to whom, when, from how many devices, and the "
        "size (padded, where the mode pads)."
    ),
    (
        "A report is proven to the moderation team of this relay only, which must ask the relay or "
        "hold its franking keys: nobody else can check it."
    ),
)
NOT_AUDITED = {
    "e2ee": (
        "Not audited: e2ee composes known parts in a way of its own, and nobody outside this "
        "project has examined it."
    ),
}
MISSING = (
    (
        "A bus between nodes: this relay is one process and has none to tap. A thief who not only "
        "reads but writes in the device's name. People: how long they take, and whether they "
        "should have approved."
    ),
    "Networks: everything ran on the loopback of one machine, without distance or loss.",
    "Attachments, groups and calls; several relays; databases other than SQLite.",
    (
        "A raw deflate stream without a header is only searched for in the first 64 KiB of each "
        "file; encryption under a key that an adversary might also hold is not undone, except by "
        "the compelled operator."
    ),
)


def number(value: float) -> str:
    """Three digits at a glance: 0.84, 3.1, 46, 12,300."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{round(value, -2 if abs(value) >= 10_000 else -1):,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{1 if abs(value) >= 10 else 2}f}"


def estimate(got: Estimate) -> str:
    """``870 (850–910)``, or the value alone."""
    if got.low is None or got.high is None:
        return number(got.value)
    return f"{number(got.value)} ({number(got.low)}–{number(got.high)})"


def interval(got: Interval) -> str:
    """``2.6 (2.4–2.9)``, or the value alone where the run gives no interval, or no answer."""
    if got.noisy:
        return f"{got.value:.3g}, {NOISY}"
    if got.low is None or got.high is None:
        return f"{got.value:.3g}"
    return f"{got.value:.3g} ({got.low:.3g}–{got.high:.3g})"


def share(part: float | None, of: int | None) -> str:
    """``12 of 12``; a dash where there is nothing to count. Few messages make no percentage."""
    return f"{round(part * of):,} of {of:,}" if part is not None and of else "–"


def labels(counts: dict[str, int]) -> str:
    """``9 verified, 1 claim``; a dash where there are none."""
    return ", ".join(f"{counts[name]} {name}" for name in _LABELS if counts.get(name)) or "–"


def threshold(got: Threshold) -> str:
    """What became of a threshold."""
    value = NOT_MEASURED if got.value is None else number(got.value)
    return f"{got.text}: {'crossed' if got.crossed else 'held'}, measured {value}"


def sentence(results: Results) -> str:
    """The one sentence that the measurement supports."""
    if results.problems:
        return "This run is not valid, and its numbers must not be used."
    modes = list(results.modes)
    last, base = modes[-1], modes[0]
    closed = [name for name, mode in results.modes.items() if not readers(mode)]
    if last == base:
        return f"A message in {base} takes {_ms(results, base)} at the median."
    got = results.ratios[f"{last}/{base}"]["latency_ms.p50"]
    if got.tells:
        within = f" ({got.low:.2g}–{got.high:.2g} within this run)"
        speed = f"A message in {last} took {got.value:.2g} times as long as in {base}{within}"
    else:
        speed = f"By latency this run could not tell {last} and {base} apart"
    times = f"{_ms(results, last)} against {_ms(results, base)} at the median"
    return f"{speed}, {times}; {_closed(closed, modes)}."


def _closed(closed: list[str], modes: list[str]) -> str:
    """Who kept everybody out."""
    if not closed:
        return "in every mode somebody on the relay's side could read"
    if len(closed) == len(modes):
        return "nobody who was measured could read in any of the modes"
    verb = "is the only mode in which" if len(closed) == 1 else "are the modes in which"
    return f"{' and '.join(closed)} {verb} nothing the operator holds could be read"


def _ms(results: Results, mode: str) -> str:
    return f"{number(results.modes[mode].latency_ms.p50)} ms"


def below(ladder: Ladder) -> dict[RungName, float]:
    """What a message costs below each rung: the envelope and the ratchet both stand on TLS."""
    at, found = 0.0, dict[RungName, float]()
    for rung, got in ladder.cpu_us.items():
        found[rung] = at
        at += 0.0 if rung == "envelope" else got.value
    return found


def readers(mode: ModeResult) -> list[str]:
    """The adversaries on the relay's side and on the wire who were measured to read."""
    return [who for who, got in mode.exposure.items() if got.recovered and who not in DEVICE]


def who_can_read(mode: ModeResult) -> str:
    """The measured sentence: where canaries were found and where not."""
    seen = [SHORT.get(who, who) for who in readers(mode)]
    kept = [
        SHORT.get(who, who)
        for who, got in mode.exposure.items()
        if got.measured and not got.recovered and who not in DEVICE
    ]
    parts = []
    if seen:
        parts.append(f"read from {', '.join(seen)}")
    if kept:
        parts.append(f"not from {', '.join(kept)}")
    parts += _with_device(mode)
    return "; ".join(parts) or NOT_MEASURED


def _with_device(mode: ModeResult) -> list[str]:
    """What a thief of one device read, in one part of a sentence; nothing where not measured."""
    tried = {
        name: bool(mode.exposure[who].recovered)
        for who, name in DEVICE.items()
        if who in mode.exposure and mode.exposure[who].measured
    }
    if not tried:
        return []
    read = [name for name, could in tried.items() if could]
    closed = [name for name, could in tried.items() if not could]
    if not read or not closed:
        return [f"with a stolen device {'everything' if read else 'nothing'}"]
    # What the device shows by itself was not opened by its keys, and yet the thief reads it.
    shown = any(mode.exposure[who].kept for who in DEVICE if who in mode.exposure)
    apart = " (its own history apart)" if shown else ""
    return [f"with a stolen device {' and '.join(read)}, but not {' or '.join(closed)}{apart}"]


def staff(mode: ModeResult) -> str:
    """What the staff of the platform get, path by path, in one line."""
    told = []
    for path, name in _STAFF.items():
        got = mode.moderation[path]
        if got.measured and got.readable is not None:
            told.append(f"{name} {got.readable:.0%}{_trace(got)}")
    return "; ".join(told) or NOT_MEASURED


def _trace(got: Access) -> str:
    if got.logged is None or not got.readable:
        return ""
    kept = "all in the log" if got.logged == 1 else "none in the log"
    return f" ({got.approvals} approvals, {kept})" if got.approvals else f" ({kept})"


def proof(access: Access) -> tuple[str, str]:
    """Whether a user's report can be proven, and how forgeries fared."""
    if not access.measured or access.verifiable is None:
        return NOT_MEASURED, access.note
    if access.verifiable == 1:
        proven = _PROVEN[access.basis]
    else:
        proven = f"{share(access.verifiable, access.labelled)} genuine reports"
    if not access.forged_submitted:
        return proven, access.note
    accepted = f"{access.forged_accepted} of {access.forged_submitted} forgeries accepted"
    # A mode is tried only with what it checks, so that refusing means something.
    return proven, f"Measured: {accepted} (altered {', '.join(access.forged_by)})."


def cautions(results: Results) -> list[str]:
    """What this run's numbers must not be read without."""
    told = _repeats(results)
    if len({one.round for one in results.rounds}) == 1:
        short = "short " if "--quick" in results.argv else ""
        told.append(f"One {short}round of each mode: a first look, no more than that.")
    noisy = [pair for pair, got in results.ratios.items() if any(one.noisy for one in got.values())]
    if noisy:
        worst = max(one.lag_ms.p99 for one in results.rounds if one.kept)
        told.append(
            f"The machine was too busy (generator's lag p99 up to {number(worst)} ms) to tell the "
            f"p99 of {', '.join(noisy)} apart."
        )
    return told


def limits(results: Results) -> list[str]:
    """What holds for every run."""
    return [*(NOT_AUDITED[mode] for mode in results.modes if mode in NOT_AUDITED), *ALWAYS]


def missing(results: Results) -> list[str]:
    """What was not measured, or not written."""
    told = list(MISSING)
    if results.machine.hdrhistogram == "absent":
        told.append(
            "Histogram logs (.hlog): hdrhistogram is not installed here (it has no wheel for Linux "
            "on ARM). samples.csv.gz holds the same latencies, each of them."
        )
    return told


def _repeats(results: Results) -> list[str]:
    """Each round that was played twice, and why."""
    return [
        f"Round {one.round + 1} was repeated in every mode: at first {one.mode} was void "
        f"(generator's lag p99 {number(one.lag_ms.p99)} ms, {one.achieved_per_s:.0f} of "
        f"{one.offered_per_s:.0f} messages a second acknowledged). The repetition counts."
        for one in results.rounds
        if not one.kept and not one.valid
    ]
