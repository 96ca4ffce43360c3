"""node, for what is written in JavaScript. Where it is absent the test is skipped with the reason, or fails if `ROWSEAL_REQUIRE` demands it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PACKAGE", "ROOT", "run"]

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "signers" / "js"


def run(script: str | Path, given: object, *, environment: Mapping[str, str] | None = None, seconds: float = 60) -> Any:
    """What `tests/js/<script>` (or the file at a path) prints as JSON, given the JSON of `given` on its standard input."""
    node = shutil.which("node")
    if node is None:
        if {"all", "node"} & set(os.environ.get("ROWSEAL_REQUIRE", "").replace(",", " ").split()):
            pytest.fail("ROWSEAL_REQUIRE demands node, and it is not on the PATH", pytrace=False)
        pytest.skip("node is not on the PATH: install Node.js 18 or newer")
    command = [node, str(ROOT / "tests" / "js" / script)]
    ran = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, timeout=seconds, check=False, env={**os.environ, **(environment or {})}
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
