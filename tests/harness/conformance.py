"""Autobahn's fuzzing client against the production gateway: 247 cases of RFC 6455, none failed.

What may live here: getting the suite, running it, reading its verdicts. The suite needs CPython 2.7
and a C compiler; where there is none, this harness says so and proves nothing. What it found last
is kept in ``conformance.json`` beside this file; the rules are ordinary tests too
(``tests/test_gateway_*.py``).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from tests.harness.report import Result

PLANTS = ("no_utf8_check",)
SUITE = "autobahntestsuite==25.10.1"
CASES = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)]
ROOT = Path(__file__).parent.parent.parent
FAILED = ("FAILED", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "UNIMPLEMENTED")


async def run(place: Path, *, kinds: tuple[str, ...], seed: int = 0, planted: str = "") -> Result:
    """All cases with each of ``kinds`` on the gateway's fast path. ``seed`` decides nothing."""
    began = time.monotonic()
    wstest = await _suite(place)
    if wstest is None:
        sys.stdout.write("conformance: no CPython 2.7 here, so nothing was run\n")
        return Result("conformance", {"cases": 0}, {"failed": 0}, planted="")
    verdicts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for kind in kinds:
        for case, verdict in (await _cases(place, wstest, kind, planted)).items():
            verdicts[verdict] += 1
            if verdict in FAILED:
                examples.setdefault("failed", f"case {case} ({kind} first): {verdict}")
    figures: dict[str, float | int | str] = {
        "cases": sum(verdicts.values()) // len(kinds),
        "ways": len(kinds),
        "ok": verdicts["OK"],
        "non-strict": verdicts["NON-STRICT"],
        "informational": verdicts["INFORMATIONAL"],
    }
    wrong = {"failed": sum(verdicts[name] for name in FAILED)}
    seconds = time.monotonic() - began
    return Result("conformance", figures, wrong, examples, planted, seconds)


async def _suite(place: Path) -> Path | None:
    """The suite's program: ``LOUVER_WSTEST``, or installed here; None without CPython 2.7."""
    given = os.environ.get("LOUVER_WSTEST")
    if given:
        return Path(given)
    python = shutil.which("python2.7")
    if python is None:
        return None
    tools, home = place / "virtualenv", place / "suite"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools))
    await _must(*pip, "virtualenv<20.22")
    await _must(sys.executable, "-m", "virtualenv", "-q", "-p", python, str(home), path=tools)
    await _must(str(home / "bin" / "pip"), "install", "--quiet", SUITE)
    return home / "bin" / "wstest"


async def _cases(place: Path, wstest: Path, kind: str, planted: str) -> dict[str, str]:
    """The verdict of every case, the worse of behaviour and close."""
    out = place / f"report-{kind}"
    arguments = [kind, planted] if planted else [kind]
    echo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.harness.echo", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert echo.stdout is not None
        port = int(await echo.stdout.readline())
        spec = {
            "outdir": str(out),
            "servers": [{"agent": "louver", "url": f"ws://127.0.0.1:{port}"}],
            "cases": CASES,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (place / "spec.json").write_text(json.dumps(spec))
        await _must(str(wstest), "-m", "fuzzingclient", "-s", str(place / "spec.json"))
    finally:
        echo.kill()
        await echo.wait()
    found = json.loads((out / "index.json").read_text())["louver"]
    return {case: _worse(each["behavior"], each["behaviorClose"]) for case, each in found.items()}


def _worse(behavior: str, close: str) -> str:
    return close if close in FAILED and behavior not in FAILED else behavior


async def _must(*command: str, path: Path | None = None) -> None:
    env = {**os.environ} if path is None else {**os.environ, "PYTHONPATH": str(path)}
    if "wstest" in command[0] or "pip" in command[0]:
        env.pop("PYTHONPATH", None)  # another Python's
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env
    )
    output, _ = await process.communicate()
    if process.returncode:
        text = output.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{command[0]} failed:\n{text}")
