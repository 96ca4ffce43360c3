"""One pytest process that asks about thousands of mutants: the tests are collected once, each mutant gets a forked child.

In the child the code of the one function that changed is put in place of the live one's, or the constant's new value wherever the old one
was imported; then the tests that reach the changed lines run, fastest first, until one fails. Nothing is written to the checkout.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import coverage
import pytest
from _pytest.runner import runtestprotocol

from mutation.mutants import Mutant

__all__ = ["Module", "Reached", "Verdict", "ask"]

SECONDS: Final = 60.0  # for one mutant
TESTS_SECONDS: Final = 8.0  # that the tests for one mutant may take in all, as measured; those that are left out are the slowest
MEMORY: Final = 6 << 30


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the product, and the mutants to ask about."""

    name: str
    path: Path
    mutants: tuple[Mutant, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: `caught` by which test and why, `survived`, or `untouched` where no test reaches it."""

    outcome: str
    test: str = ""
    why: str = ""
    asked: int = 0


@dataclass(slots=True)
class Reached:
    """Which tests reach which lines, and how long each takes."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)

    def renew(self, asked: set[str], other: Reached) -> None:
        """Forget what these tests reached before, and take what they reach now."""
        for known in self.lines.values():
            for tests in known.values():
                tests.difference_update(asked)
        for path, found in other.lines.items():
            for line, tests in found.items():
                self.lines.setdefault(path, {}).setdefault(line, set()).update(tests)
        self.seconds |= other.seconds
        self.failing = other.failing

    def by(self, path: Path, lines: Iterable[int]) -> set[str]:
        known = self.lines.get(str(path), {})
        return {test for line in lines for test in known.get(line, ())}


def ask(modules: Sequence[Module], tests: Sequence[str], source: Path, *, kept: Path | None, told: Callable[[Module, Mutant, Verdict], None]) -> int:
    """Ask the tests about every mutant. `kept`: where the map of tests to lines is kept from one run to the next. Returns pytest's exit code."""
    plugin = _Plugin(modules, source, kept, told)
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow and not server", "--timeout=0", *tests]
    return int(pytest.main(arguments, plugins=[plugin]))


class _Plugin:
    def __init__(self, modules: Sequence[Module], source: Path, kept: Path | None, told: Callable[[Module, Mutant, Verdict], None]) -> None:
        self.modules = modules
        self.source = source
        self.kept = kept
        self.told = told
        self.items: dict[str, pytest.Item] = {}
        self.reached = Reached()
        self.functions: Mapping[tuple[str, str, int], list[types.FunctionType]] = {}
        self.recent: list[str] = []  # what caught the last ones of this module: it often catches the next

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError("the tests cannot be collected")
        from hypothesis import settings  # noqa: PLC0415  not before pytest has seen it

        settings.register_profile("mutation", database=None, derandomize=True, deadline=None)
        settings.load_profile("mutation")
        self.items = {item.nodeid: item for item in session.items}
        self.reached = self._measured()
        if self.reached.failing:
            raise pytest.UsageError(f"these tests fail without any mutant: {', '.join(self.reached.failing)}")
        gc.collect()
        self.functions = _functions(self.source)
        gc.freeze()  # what is never looked at by the collector is never copied into a child
        for module in self.modules:
            self.recent = []
            for mutant in module.mutants:
                self.told(module, mutant, self._verdict(module, mutant))
        return True

    # Which tests reach what

    def _measured(self) -> Reached:
        """Tests are asked again what they reach where they, or anything that they reached, has changed since."""
        items = self.items
        now = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in (*self.source.rglob("*.py"), *Path("tests").rglob("*.py"))}
        before, reached = pickle.loads(self.kept.read_bytes()) if self.kept is not None and self.kept.exists() else ({}, Reached())
        changed = {path for path in now if now[path] != before.get(path)}
        moved = {test for path in changed for tests in reached.lines.get(path, {}).values() for test in tests}
        asked = {name for name in items if name not in reached.seconds or name in moved or str(items[name].path.relative_to(Path.cwd())) in changed}
        if not asked:
            return reached
        print(f"asking {len(asked)} of {len(items)} tests what they reach ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "reached"
            child = os.fork()
            if child == 0:
                _quiet()
                answer.write_bytes(pickle.dumps(_measure([item for name, item in items.items() if name in asked], self.source, self.kept)))
                os._exit(0)
            if os.waitpid(child, 0)[1] != 0:
                raise pytest.UsageError("the tests could not be measured")
            reached.renew(asked, pickle.loads(answer.read_bytes()))
        if self.kept is not None and not reached.failing:
            self.kept.parent.mkdir(exist_ok=True)
            self.kept.write_bytes(pickle.dumps((now, reached)))
        return reached

    def _verdict(self, module: Module, mutant: Mutant) -> Verdict:
        if mutant.owner is not None:
            chosen = self.reached.by(module.path, range(mutant.lines[0], mutant.lines[1] + 1))
            patch = _function_patch(module, mutant, self.functions)
        else:
            names = _dependents(module.path.read_text(), mutant.statement)
            chosen = {test for path, line in _readers(self.source, names) for test in self.reached.by(path, [line])}
            patch = _constant_patch(module, mutant, names)
        chosen &= self.items.keys()
        if patch is None:
            return Verdict("elsewhere")
        if not chosen:
            return Verdict("untouched")
        seconds = self.reached.seconds
        order = _affordable(sorted(chosen, key=lambda test: (test not in self.recent, seconds[test])), seconds)
        verdict = _in_child([self.items[test] for test in order], patch)
        if verdict.outcome == "caught" and verdict.test in self.items:
            self.recent = [verdict.test, *(test for test in self.recent if test != verdict.test)][:5]
        return verdict


def _affordable(order: list[str], seconds: Mapping[str, float]) -> list[str]:
    within = [taken <= TESTS_SECONDS for taken in accumulate(seconds[test] for test in order)]
    return order[: max(1, within.count(True))]


def _measure(items: list[pytest.Item], source: Path, kept: Path | None) -> Reached:
    reached = Reached()
    measured = coverage.Coverage(data_file=kept and str(kept.with_suffix(".coverage")), branch=True, include=[f"{source}/*"], config_file=False)
    measured.start()
    for item, following in zip(items, [*items[1:], None], strict=True):
        measured.switch_context(item.nodeid)
        started = time.monotonic()
        reports = runtestprotocol(item, log=False, nextitem=following)
        reached.seconds[item.nodeid] = time.monotonic() - started
        if any(report.failed for report in reports):
            reached.failing.append(item.nodeid)
    measured.stop()
    if kept is not None:
        kept.parent.mkdir(exist_ok=True)
        measured.save()
    data = measured.get_data()
    for path in data.measured_files():
        contexts = data.contexts_by_lineno(path)
        reached.lines[path] = {line: set(tests) - {""} for line, tests in contexts.items()}
    return reached


def _quiet() -> None:
    """In a child: no output."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _in_child(order: Sequence[pytest.Item], patch: Callable[[], None]) -> Verdict:
    reader, writer = os.pipe()
    folder = Path(tempfile.mkdtemp(prefix="rowseal-mutant-"))
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _quiet()
        order[0].config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
        try:  # INVARIANT: a child never returns from here
            os.write(writer, json.dumps(_answer(order, patch)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], SECONDS)
    said = os.read(reader, 65536) if ready else b""
    os.close(reader)
    if not said:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    if said:
        return Verdict(*json.loads(said))
    return Verdict("caught", "", "no answer in time" if not ready else "the process died")


def _answer(order: Sequence[pytest.Item], patch: Callable[[], None]) -> tuple[str, str, str, int]:
    try:
        patch()
        for index, (item, following) in enumerate(zip(order, [*order[1:], None], strict=True), 1):
            failed = [report for report in runtestprotocol(item, log=False, nextitem=following) if report.failed]
            if failed:
                return "caught", item.nodeid, _why(failed[0]), index
    except BaseException as error:  # noqa: BLE001  whatever a mutant does to the tests themselves
        return "caught", "", f"{type(error).__name__}: {error}"[:200], 0
    return "survived", "", "", len(order)


def _why(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message if crash is not None else str(report.longrepr)).splitlines()[0][:200]


# The changed part, in place of the live one


def _functions(source: Path) -> dict[tuple[str, str, int], list[types.FunctionType]]:
    """Every live function of the product, by file, qualified name and first line."""
    found: dict[tuple[str, str, int], list[types.FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, types.FunctionType) and each.__code__.co_filename.startswith(str(source)):
            code = each.__code__
            found[code.co_filename, code.co_qualname, code.co_firstlineno].append(each)
    return found


def _codes(code: types.CodeType) -> list[types.CodeType]:
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return [*inner, *(deeper for each in inner for deeper in _codes(each))]


def _function_patch(module: Module, mutant: Mutant, functions: Mapping[tuple[str, str, int], Any]) -> Callable[[], None] | None:
    named = [each for each in _codes(compile(module.path.read_text(), str(module.path), "exec")) if each.co_qualname == mutant.owner]
    changed = [each for each in _codes(compile(mutant.text, str(module.path), "exec")) if each.co_qualname == mutant.owner]
    pairs = [
        (function, new)
        for old, new in zip(named, changed, strict=True)
        if old.co_firstlineno <= mutant.line
        for function in functions.get((str(module.path), old.co_qualname, old.co_firstlineno), [])
    ]
    if not pairs or any(len(function.__code__.co_freevars) != len(new.co_freevars) for function, new in pairs):
        return None

    def patch() -> None:
        for function, new in pairs:
            function.__code__ = new

    return patch


def _dependents(source: str, statement: int) -> list[str]:
    """The names that a top-level statement gives a value, and those that are made of them."""
    names: list[str] = []
    for each in ast.parse(source).body:
        targets = each.targets if isinstance(each, ast.Assign) else [each.target] if isinstance(each, ast.AnnAssign) else []
        given = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        if each.lineno == statement or {node.id for node in ast.walk(each) if isinstance(node, ast.Name)} & set(names):
            names += given
    return names


def _readers(source: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    """Where in the product these names are read, inside of functions."""
    return [
        (path, node.lineno)
        for path in source.rglob("*.py")
        for function in ast.walk(_tree(path))
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if (isinstance(node, ast.Name) and node.id in names) or (isinstance(node, ast.Attribute) and node.attr in names)
    ]


_TREES: Final[dict[Path, ast.Module]] = {}


def _tree(path: Path) -> ast.Module:
    if path not in _TREES:
        _TREES[path] = ast.parse(path.read_text())
    return _TREES[path]


def _constant_patch(module: Module, mutant: Mutant, names: Sequence[str]) -> Callable[[], None] | None:
    if mutant.in_class or not names:
        return None
    live = sys.modules[module.name]
    statements = [
        each
        for each in ast.parse(mutant.text).body
        if isinstance(each, (ast.Assign, ast.AnnAssign)) and {node.id for node in ast.walk(each) if isinstance(node, ast.Name)} & set(names)
    ]

    def patch() -> None:
        space = dict(vars(live))
        exec(compile(ast.Module(statements, []), str(module.path), "exec", dont_inherit=True), space)  # our own source, changed
        for name in names:
            old, new = vars(live)[name], space[name]
            for other in [each for key, each in sys.modules.items() if key.startswith("rowseal")]:
                for known, value in list(vars(other).items()):
                    if known == name and value is old:
                        setattr(other, known, new)

    return patch
