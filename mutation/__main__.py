"""`python -m mutation [MODULE ...]`: how many small changes of a module the tests notice."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

from mutation.explained import EXPLAINED
from mutation.mutants import Mutant, mutants
from mutation.runner import Module, Verdict, ask

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "rowseal"
# What decides. `sql/cures.py` is left out: it only finds words for refusals.
CORE: Final = ("filters", "tokens", "strict", "claims", "policy", "grants", "catalog/values", "sql")
# Tests that start programs or servers of their own, which no change made in this process reaches, or that are about words and pages.
ELSEWHERE: Final = frozenset(
    "test_cli test_cli_fuzz test_serve test_app test_docs test_guides test_tutorial test_sample_engine test_sample_transparent test_mount test_stall "
    "test_servers test_init test_lint test_reload test_seal test_modes test_http_holes test_middleware test_rewrite test_sabotage test_tampering".split()
)
# Tests of whole requests, which take minutes together and seldom notice what the others do not: asked with `--all`.
WHOLE: Final = frozenset(
    "test_cases test_holes test_catalog test_engine test_random test_layouts test_dashboard test_connections test_gate test_attack_corpus test_peers_corpus "
    "test_each_refusal_names_its_cure test_each_problem_names_its_cure test_keys_in_every_form test_how_tokens_travel test_what_filters_mean "
    "test_who_may_read_what test_random_filters test_tpch test_testimony test_json_schema test_explain test_signing test_remembered_queries "
    "test_remembered_tokens".split()
)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mutation", description="Change every small part of a module, one at a time, and see whether a test fails.")
    parser.add_argument("module", nargs="*", help="like tokens, or sql/witness; a folder means all in it (default: the whole security core)")
    parser.add_argument("--sample", type=int, help="ask about so many of each module's mutants only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--line", type=int, help="ask about the mutants of one line only")
    parser.add_argument("--all", action="store_true", help="ask the tests of whole requests too: many times longer")
    options = parser.parse_args()
    left_out = ELSEWHERE if options.all else ELSEWHERE | WHOLE
    chosen = [_module(path, options.sample, options.seed, options.line) for path in _paths(options.module or CORE)]
    tests = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if path.stem not in left_out)
    verdicts: dict[str, list[tuple[Mutant, Verdict]]] = defaultdict(list)
    stale = {name: dict(entries) for name, entries in EXPLAINED.items()}
    started = time.monotonic()

    def told(module: Module, mutant: Mutant, verdict: Verdict) -> None:
        reason = stale.get(module.name, {}).pop(mutant.name, None) or EXPLAINED.get(module.name, {}).get(mutant.name)
        if reason is not None and verdict.outcome != "caught":
            verdict = Verdict("explained")
        verdicts[module.name].append((mutant, verdict))
        if verdict.outcome in {"survived", "untouched"}:
            print(f"  {module.path.relative_to(ROOT)}:{mutant.line}: {verdict.outcome} ({verdict.asked} tests): {mutant.name}", flush=True)

    code = ask(chosen, tests, SOURCE, kept=ROOT / ".mutation" / "reached", told=told)
    if code:
        return code
    print(f"\n{'module':28} {'mutants':>8} {'not asked':>10} {'explained':>10} {'caught':>8} {'survived':>9} {'score':>7}")
    whole: Counter[str] = Counter()
    for name, found in verdicts.items():
        count = Counter(verdict.outcome for _, verdict in found)
        whole += count
        print(_row(name, count))
    print(_row("all", whole))
    print(f"{time.monotonic() - started:.0f} seconds")
    gone = [f"{module}: {name}" for module, names in stale.items() for name in names if module in verdicts and not (options.sample or options.line)]
    for each in gone:
        print(f"explained, and there is no such mutant: {each}", file=sys.stderr)
    return 1 if gone else 0


def _row(name: str, count: Counter[str]) -> str:
    judged = count.total() - count["explained"] - count["elsewhere"]
    columns = f"{count.total():8} {count['elsewhere']:10} {count['explained']:10} {count['caught']:8} {judged - count['caught']:9}"
    return f"{name:28} {columns} {100 * count['caught'] / max(judged, 1):6.1f}%"


def _paths(names: list[str] | tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        folder = SOURCE / name
        found += sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{name}.py"]
    return [path for path in found if path.stem != "cures"]


def _module(path: Path, sample: int | None, seed: int, line: int | None) -> Module:
    found = [mutant for mutant in mutants(path.read_text()) if line in (None, mutant.line)]
    if sample is not None and sample < len(found):
        found = sorted(random.Random(seed).sample(found, sample), key=lambda mutant: mutant.line)
    name = ".".join(["rowseal", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
    return Module(name, path, tuple(found))


if __name__ == "__main__":
    sys.exit(main())
