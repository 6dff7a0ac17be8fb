"""Every decoder, fuzzed by coverage with ``atheris``; by hand, since it is in no lock.

    python -m tests.harness.by_coverage [DECODER …] [--seconds N] [--keep FOLDER]

Needs ``pip install atheris==3.0.0`` beside the development environment. Each decoder (all of
``tests/decoders.py``, if none is named; or the planted fault) has a process of its own, since
``atheris`` ends it, and prints one line of JSON: how often it was run and what was found. The
exit code is 1 if anything was. What was learned goes on from run to run with ``--keep``.

Nothing may live here but the way in and out of ``atheris``. That it instruments what is imported
from its hook on is why the decoders are imported inside functions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

MEASURED = ["client", "crypto_modes", "server"]
PLANT = "careless_decoder"
_DULL = ("INFO:", "#")  # what is told of a run that went well
_LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1")
_RUNS = re.compile(r"stat::number_of_executed_units: +(\d+)")
_EDGES = re.compile(r"\bcov: (\d+)")


def slug(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def sow(folder: Path, seeds: tuple[bytes, ...]) -> None:
    """Write what the decoder understands: a coverage of Python sees nothing inside ``msgspec``."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / sha256(seed).hexdigest()).write_bytes(seed)


def hand_over(name: str, place: Path, seconds: int) -> None:
    """Let ``atheris`` have one decoder; it ends the process."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=MEASURED):
        table = importlib.import_module("tests.decoders")
    decoder = table.careless() if name == PLANT else table.decoders()[name]
    corpus = place / slug(name)
    sow(corpus, decoder.seeds)

    def one(data: bytes) -> None:
        error = table.outcome(decoder, data)
        if error is not None:
            raise error

    found = f"-artifact_prefix={place}/{slug(name)}-"
    atheris.Setup(
        [sys.argv[0], *_LIMITS, f"-max_total_time={seconds}", found, str(corpus)],
        one,
        enable_python_coverage=True,
    )
    atheris.Fuzz()


def figures(name: str, code: int, said: str, place: Path) -> dict[str, Any]:
    """The line of one decoder, from what libFuzzer said at its end."""
    counted, edges = _RUNS.search(said), _EDGES.findall(said)
    inputs = [path.read_bytes()[:200].hex() for path in sorted(place.glob(f"{slug(name)}-*"))]
    wrong = code != 0 or counted is None
    line: dict[str, Any] = {
        "decoder": name,
        "runs": int(counted.group(1)) if counted else 0,
        "edges": int(edges[-1]) if edges else 0,
        "ok": not wrong,
    }
    told = "\n".join(each for each in said.splitlines() if not each.startswith(_DULL))
    return {**line, "inputs": inputs, "said": told[-3000:]} if wrong else line


def examine(name: str, place: Path, seconds: int) -> dict[str, Any]:
    """Fuzz one decoder in a process of its own."""
    command = [sys.executable, "-m", "tests.harness.by_coverage", "--inside", name]
    command += ["--keep", str(place), "--seconds", str(seconds)]
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    return figures(name, ran.returncode, ran.stdout, place)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.by_coverage")
    parser.add_argument("names", nargs="*", metavar="DECODER")
    parser.add_argument("--seconds", type=int, default=60, help="for each")
    parser.add_argument("--keep", type=Path, help="a folder for what is learned and found")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.inside:
        hand_over(given.names[0], given.keep, given.seconds)
    known = importlib.import_module("tests.decoders").decoders()
    if unknown := set(given.names) - {*known, PLANT}:
        parser.error(f"no such decoder: {', '.join(sorted(unknown))}; there are {list(known)}")
    ok = True
    with tempfile.TemporaryDirectory(prefix="by-coverage-") as fleeting:
        place = (given.keep or Path(fleeting)).absolute()
        for name in given.names or known:
            found = examine(name, place, given.seconds)
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
            ok &= found["ok"]
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
