"""`python -m mutation.sabotage [NAME ...]`: makes every sabotage of `sabotages.py` on a copy of the source, and asks its tests."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mutation.sabotages import SABOTAGES, Sabotage

__all__ = ["Outcome", "problems", "run"]

ROOT: Final = Path(__file__).resolve().parent.parent
SECONDS: Final = 180  # for the tests of one sabotage


@dataclass(frozen=True, slots=True)
class Outcome:
    """`caught` by the test, for the reason `why`; `survived`; or `broken`, where a test failed that had no chance to notice anything."""

    verdict: str
    test: str
    why: str
    seconds: float


def problems(sabotage: Sabotage) -> list[str]:
    """What is wrong with an entry of the table: the line it is about, or the tests that it names."""
    source = (ROOT / "src" / "rowseal" / sabotage.file).read_text()
    count = [line.strip() for line in source.splitlines()].count(sabotage.line)
    found = [] if count == 1 else [f"the line stands {count} times in {sabotage.file}: {sabotage.line}"]
    for test in sabotage.tests:
        file, *_, name = test.split("::")
        path = ROOT / "tests" / file
        if not path.exists() or f"def {name}(" not in path.read_text():
            found.append(f"there is no test {test}")
    return found if sabotage.tests else [*found, "it names no test"]


def sabotaged(source: str, sabotage: Sabotage) -> str:
    """The text of the file with the one line changed."""
    lines = source.splitlines(keepends=True)
    (index,) = (number for number, line in enumerate(lines) if line.strip() == sabotage.line)
    indentation = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
    lines[index] = f"{indentation}{sabotage.sabotaged}\n"
    return "".join(lines)


def run(sabotage: Sabotage | None, tests: tuple[str, ...], *, seconds: int = SECONDS) -> Outcome:
    """The tests on a copy of the source, sabotaged or as it is. The checkout is only read."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rowseal-sabotage-") as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        if sabotage is not None:
            path = copy / "rowseal" / sabotage.file
            path.write_text(sabotaged(path.read_text(), sabotage))
        command = [sys.executable, "-m", "mutation.once", str(copy), *(f"tests/{test}" for test in tests)]
        environment = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTEST_XDIST_WORKER", None)
        try:
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return Outcome("broken", "", f"no answer in {seconds} seconds", time.monotonic() - started)
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = {"outcome": "broken", "why": (done.stderr.splitlines() or ["nothing was said"])[-1]}
    return Outcome(said["outcome"], said.get("test", ""), said.get("why", ""), time.monotonic() - started)


def main(*, told: Callable[[str], None] = print) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mutation.sabotage", description="Sabotage the security core, one line at a time, and see whether a test fails."
    )
    parser.add_argument("name", nargs="*", help="of the sabotages, or part of one (default: all)")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = [each for each in SABOTAGES if not options.name or any(part in each.name for part in options.name)]
    wrong = [f"{each.name}: {problem}" for each in chosen for problem in problems(each)]
    for each in wrong:
        told(each)
    if wrong:
        return 2
    tests = tuple(sorted({test for each in chosen for test in each.tests}))
    untouched = run(None, tests, seconds=10 * SECONDS)
    if untouched.verdict != "survived":
        told(f"without any sabotage a test fails: {untouched.test} {untouched.why}")
        return 2
    started = time.monotonic()
    verdicts: Counter[str] = Counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        for each, outcome in zip(chosen, pool.map(lambda each: run(each, each.tests), chosen), strict=True):
            verdicts[outcome.verdict] += 1
            told(f"{outcome.verdict:8} {outcome.seconds:5.1f} s  {each.name}")
            told(f"                    {outcome.test.removeprefix('tests/')}: {outcome.why}" if outcome.test else f"                    {outcome.why}")
    told(f"{verdicts['caught']} of {len(chosen)} caught in {time.monotonic() - started:.0f} seconds")
    return 0 if verdicts["caught"] == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
