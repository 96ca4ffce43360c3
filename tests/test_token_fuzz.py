"""The fuzzer of tokens, for a moment; `make atheris SECONDS=600` is the long run."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The marker of the requirement in pyproject.toml: where it holds, the fuzzer has to be there.
PRESENT = sys.platform == "linux" and platform.machine() == "x86_64" and sys.implementation.name == "cpython" and sys.version_info < (3, 15)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not PRESENT, reason="atheris has no wheel for this machine")
def test_no_token_of_the_fuzzer_is_anything_but_refused_or_filtered_by_its_claims() -> None:
    assert find_spec("atheris") is not None
    ran = subprocess.run([sys.executable, "-m", "tests.token_fuzz", "3"], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    executed = next(int(line.split()[-1]) for line in ran.stderr.splitlines() if "number_of_executed_units" in line)
    assert executed > 100


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not PRESENT, reason="atheris has no wheel for this machine")
def test_the_fuzzer_notices_a_token_that_opens_too_much() -> None:
    """It fails where a claim that is not there restricts nothing: one line of the policy, changed in the memory of its process."""
    changed = """
import tests.token_fuzz as f
f.Policy._claimed = lambda self, dataset: tuple(each.filter for each in self.grant.claimed.get(dataset.id, ()) if each.filter)
f.main(20)
"""
    ran = subprocess.run([sys.executable, "-c", changed], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert ran.returncode != 0, ran.stderr[-2000:]
    assert "AssertionError" in ran.stderr + ran.stdout
