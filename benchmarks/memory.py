"""How much memory is left behind by many different queries: `python -m benchmarks.memory NUMBER` prints one line of JSON."""

from __future__ import annotations

import gc
import json
import resource
import sys
from pathlib import Path

from benchmarks.securing import securer

__all__ = ["main"]

WARM = 5_000
_QUERY = "SELECT o_orderkey AS key_{n}, o_totalprice FROM orders WHERE o_orderkey = {n} AND o_orderstatus <> 'x{n}'"


def main() -> None:
    """Secure that many texts, no two alike, and say what the process held before and after."""
    number = int(sys.argv[1])
    secured = securer("postgres")
    for n in range(WARM):
        secured(_QUERY.format(n=n), None)
    before = _held()
    for n in range(WARM, WARM + number):
        secured(_QUERY.format(n=n), None)
    after = _held()
    bytes_, blocks = (later - earlier for earlier, later in zip(before, after, strict=True))
    json.dump({"queries": number, "before_mb": before[0] / 1e6, "after_mb": after[0] / 1e6, "bytes": bytes_ / number, "blocks": blocks / number}, sys.stdout)


def _held() -> tuple[int, int]:
    """Resident bytes, and blocks that Python has allocated."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        resident = int(statm.read_text().split()[1]) * resource.getpagesize()
    else:  # the largest so far: what grows is seen, what was given back is not
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1_024)
    return resident, sys.getallocatedblocks()


if __name__ == "__main__":
    main()
