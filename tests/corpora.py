"""Where material by others lies that tests read in place: the folder in `ROWSEAL_SHARED`, else `shared` beside the checkout."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["absent", "case_file", "case_module"]

_FOLDER = Path(os.environ.get("ROWSEAL_SHARED") or Path(__file__).resolve().parents[2] / "shared") / "cases"


def absent(name: str) -> str | None:
    """Why the file of this name cannot be read, or None where it can."""
    return None if (_FOLDER / name).is_file() else f"{name} is not there: set ROWSEAL_SHARED to the folder that holds cases/{name}"


def case_file(name: str) -> Any:
    """The JSON file of this name; an empty list where it is absent."""
    return [] if absent(name) else json.loads((_FOLDER / name).read_text(encoding="utf-8"))


def case_module(name: str) -> ModuleType:
    """The Python file of this name as a module."""
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), _FOLDER / name)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
