"""`python -m mutation.once SOURCE TEST ...`: the tests on that source, until one fails; says which and why, as one line of JSON.

A test fails for its own reason when what it asserts does not hold, or when the product refuses what it should not. A source that cannot be
imported, a name that is not there or a call that does not fit is no proof of anything: the test then is `broken`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

__all__: list[str] = []
_BREAKS = (ImportError, SyntaxError, NameError, AttributeError, TypeError, KeyError)


class _First:
    """Remembers the first failure."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"outcome": "survived"}
        self.ran = 0

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.found = {"outcome": "broken", "test": report.nodeid, "why": str(report.longrepr)[-200:]}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        self.ran += call.when == "call"
        if report.failed and self.found["outcome"] == "survived" and call.excinfo is not None:
            own = call.when == "call" and not isinstance(call.excinfo.value, _BREAKS)
            why = f"{call.excinfo.typename}: {str(call.excinfo.value).splitlines()[0] if str(call.excinfo.value) else ''}"
            self.found = {"outcome": "caught" if own else "broken", "test": item.nodeid, "why": why[:200]}
        return report


def main(source: str, tests: list[str]) -> int:
    """Run, and say what came of it."""
    found = importlib.util.find_spec("rowseal")
    if found is None or not Path(str(found.origin)).is_relative_to(source):
        print(json.dumps({"outcome": "broken", "why": f"the tests would run on {found and found.origin}"}))
        return 1
    first = _First()
    arguments = ["-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not server", "-o", "addopts=-q --import-mode=importlib"]
    pytest.main([*arguments, *tests], plugins=[first])
    if not first.ran and first.found["outcome"] == "survived":
        first.found = {"outcome": "broken", "why": "no test ran"}
    print(json.dumps(first.found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
