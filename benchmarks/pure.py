"""`benchmarks.securing` on the pure Python parser, as JSON: `python -m benchmarks.pure ROUNDS`.

The parser's package holds each module twice, as source and compiled. A finder in front of Python's own takes the source.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

__all__ = ["main", "use_source"]


class _Source:
    """Finds `sqlglot` and everything below it as source only."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        del target
        if name.partition(".")[0] != "sqlglot" or path is None:
            return None  # the package itself is source in any case
        for folder in path:
            module = Path(folder) / name.rpartition(".")[2]
            for file in (module / "__init__", module):
                source = file.with_suffix(SOURCE_SUFFIXES[0])
                if source.is_file():
                    below = [str(module)] if file != module else None
                    return spec_from_file_location(name, source, loader=SourceFileLoader(name, str(source)), submodule_search_locations=below)
        return PathFinder.find_spec(name, path)


def use_source() -> None:
    """Let what is imported from now on find the parser as source only. Before anything has imported it."""
    sys.meta_path.insert(0, _Source)


def main() -> None:
    """Measure and print."""
    use_source()
    from benchmarks.securing import measured  # noqa: PLC0415 - only now, or the compiled form would be found

    compiled = sorted(name for name, module in sys.modules.items() if name.startswith("sqlglot") and not str(module.__file__).endswith(".py"))
    if compiled:
        sys.exit(f"these were found compiled: {', '.join(compiled)}")
    json.dump(measured(rounds=int(sys.argv[1])), sys.stdout)


if __name__ == "__main__":
    main()
