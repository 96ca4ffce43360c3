"""SQL that is meant to cost: `python -m tests.hostile 60 [--dialect sqlite] [--seed 7] [--pure]`, also `make hostile SECONDS=60`.

`FAMILIES` are texts that grow: n brackets, n joins, n casts. Nothing here knows what a query means; random patterns are put together from
the words that the parser of a dialect knows, repeated and nested. Whatever the text is, to refuse it or to secure it may take as
long as `MOST` times an ordinary query, in CPU time of this machine in this minute, and no longer.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

if __name__ == "__main__":  # the modules of the tests import each other by their own names, as pytest has it
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    if "--pure" in sys.argv:
        from benchmarks.pure import use_source

        use_source()

from policies import policy, secured
from rowseal.catalog import Limits
from rowseal.errors import OurBug, Refused
from rowseal.policy import Policy
from rowseal.sql.dialects import DIALECTS

__all__ = ["FAMILIES", "MOST", "ORDINARY", "Cost", "Dearest", "Ruler", "families", "patterns", "search", "sizes"]

Text = Callable[[int], str]

MOST: Final = 600  # times `ORDINARY`, whatever the text
ORDINARY: Final = (
    "SELECT region, COUNT(*) AS n, SUM(amount) AS total FROM orders WHERE amount > 5 AND region <> 'EU' GROUP BY region ORDER BY total DESC LIMIT 10"
)
_FROM: Final = "SELECT o.id FROM orders AS o"


def _nested(before: str, after: str, core: str = "1") -> Text:
    return lambda n: f"SELECT {before * n}{core}{after * n}"


def _repeated(part: str, start: str = "SELECT 1", end: str = "") -> Text:
    return lambda n: f"{start}{part * n}{end}"


def _listed(part: str, start: str, end: str = "", separator: str = ", ") -> Text:
    return lambda n: f"{start}{separator.join(part.replace('#', str(i)) for i in range(n))}{end}"


def _chained_ctes(body: str) -> Text:
    return lambda n: (
        "WITH c0 AS (SELECT id, region AS x FROM orders)"
        + "".join(f", c{i} AS ({body.replace('#', f'c{i - 1}')})" for i in range(1, n + 1))
        + f" SELECT x FROM c{n}"
    )


# fmt: off
_BRACKETS: Final = [
    *((f"{name}(", ")") for name in (
        "", "DECIMAL", "VARCHAR", "ENUM", "STRUCT", "ROW", "MAP", "NULLABLE", "INT", "DATE", "TIMESTAMP", "INTERVAL", "TUPLE", "OBJECT", "LIST", "ARRAY",
        "ABS", "f", "COALESCE", "CAST", "IF", "UNNEST", "NOT ", "EXISTS ", "IN ", "SELECT ", "VALUES ", "FILTER ", "OVER ", "JSON_OBJECT", "TRIM",
        "EXTRACT", "POSITION", "SUBSTRING", "CONVERT", "GROUPING SETS ", "CUBE ", "LATERAL ", "ANY ", "a.b.c", "DISTINCT ", "INTERVAL '1' DAY + ",
    )),
    ("(SELECT ", ")"), ("(SELECT * FROM ", ") AS x"), ("EXISTS(SELECT 1 WHERE ", ")"), ("(VALUES ", ")"), ("COALESCE(1, ", ")"), ("x IN (", ")"),
    ("x IN (SELECT ", ")"), ("ARRAY[", "]"), ("LIST[", "]"), ("[", "]"), ("a[", "]"), ("{", "}"), ("{'a': ", "}"), ("MAP {'a': ", "}"), ("ARRAY<", ">"),
    ("STRUCT<a ", ">"), ("CASE WHEN ", " THEN 1 END"), ("CASE 1 WHEN 1 THEN ", " END"), ("CASE ", ""), ("BEGIN ", " END"), ("CAST(", " AS INT)"),
    ("TRY_CAST(", " AS DECIMAL(1, 2))"), ("(1, ", ")"), ("((", "))"), ("(", ""), ("", ")"), ("[", ""), ("{", ""), ("ABS(", ""), ("DECIMAL(", ""),
    ("STRUCT(", ""), ("(SELECT * FROM ", ""), ("WITH x AS (SELECT ", ") SELECT 1"), ("TABLE(", ")"), ("x -> ", ""), ("(x) -> ", ""), ("LAMBDA x : ", ""),
    ("/*", "*/"), ("$a$", "$a$"), ("'", ""), ('"', ""), ("`", ""), ("E'\\'", ""),
]
_PREFIXES: Final = [
    "- ", "+ ", "~ ", "NOT ", "@ ", "!! ", "|/ ", "-", "DISTINCT ", "ALL ", "PRIOR ", "BINARY ", "DATE ", "INTERVAL ", "INT ", "EXISTS ", "COLLATE ", "x.",
    "SELECT ", "ROW ", "ARRAY ", "LATERAL ", "ONLY ", "VALUES ", "CASE ", "$", "$$ ", "''", "'a' ", "E'a' ", "/* */ ", "-- a\n", "\n", "a AS ", "?", ":a ",
    "@a ",
]
_SUFFIXES: Final = [
    " + 1", " || 'a'", "::int", "::text::int", " COLLATE x", ".a", " -> 'a'", " ->> 'a'", " -> 1", " #> 'a'", " @> 'a'", " ? 'a'", "[1]", "[1:2]",
    "[a]", "(1)", "()",
    " IS NULL", " ISNULL", " NOTNULL", " IS NOT TRUE", " AND 1", " OR 1", " XOR 1", " = 1", " <> ALL (SELECT 1)", " IN (1)", " NOT IN (1)", " IN (SELECT 1)",
    " BETWEEN 1 AND 2", " LIKE 'a'", " LIKE 'a' ESCAPE 'b'", " RLIKE 'a'", " SIMILAR TO 'a'", " ~* 'a'", " GLOB 'a'", " AT TIME ZONE 'x'", " ESCAPE 'a'",
    " OVER ()", " OVER (PARTITION BY 1)", " FILTER (WHERE 1 = 1)", " WITHIN GROUP (ORDER BY 1)", " IGNORE NULLS", " 'a'", " INTERVAL '1 day'",
    " + INTERVAL '1 day'",
    " IS DISTINCT FROM 1", " OVERLAPS 1", " DIV 1", " % 1", " ** 1", " ^ 1", " << 1", " & 1", " | 1", "!", "?", ":a", ":a:b", ":=1", ";", ",",
    ", 1", ", *", ", 1 AS a",
    ", o.*", " UNION SELECT 1", " UNION ALL SELECT 1", " INTERSECT SELECT 1", " EXCEPT ALL SELECT 1", " UNION (SELECT 1)",
    " OPERATOR(pg_catalog.+) 1", " FROM a",
    " WHERE 1", " GROUP BY 1", " HAVING 1", " ORDER BY 1", " LIMIT 1", " OFFSET 1", " FETCH FIRST 1 ROWS ONLY", " FOR UPDATE", " WINDOW w AS ()",
    " QUALIFY 1",
    " JOIN a", " NATURAL JOIN a", ", LATERAL (SELECT 1)", " |> WHERE 1", " /* a */", " -- a\n", " PIVOT (SUM(1) FOR a IN (1))", " TABLESAMPLE (1)",
]
_GROWING: Final[dict[str, Text]] = {
    "joins": lambda n: _FROM + "".join(f" JOIN orders AS o{i} ON o{i}.id = o.id" for i in range(n)),
    "joins using": lambda n: _FROM + "".join(f" JOIN orders AS o{i} USING (id)" for i in range(n)),
    "natural joins": lambda n: _FROM + "".join(f" NATURAL JOIN orders AS o{i}" for i in range(n)),
    "joins without ON": _repeated(" JOIN orders", _FROM),
    "joins that wait for theirs": lambda n: _FROM + "".join(f" JOIN orders AS o{i}" for i in range(n)) + " ON 1 = 1" * n,
    "joins of brackets without ON": lambda n: _FROM + " JOIN (SELECT DISTINCT ON (id) id FROM orders" * n + ") AS x" * n,
    "cross joins": lambda n: _FROM + "".join(f" CROSS JOIN orders AS o{i}" for i in range(n)),
    "natural outer joins": _repeated(" NATURAL LEFT JOIN orders", _FROM),
    "joins behind a name": _repeated(" JOIN orders AS natural", _FROM),
    "outer joins without ON": _repeated(" CROSS JOIN orders LEFT JOIN orders", _FROM),
    "comma joins": lambda n: _FROM + "".join(f", orders AS o{i}" for i in range(n)),
    "laterals": lambda n: _FROM + "".join(f" CROSS JOIN LATERAL (SELECT o.id) AS l{i}" for i in range(n)),
    "IN list of numbers": _listed("#", f"{_FROM} WHERE id IN (", ")"),
    "IN list of texts": _listed("'#'", f"{_FROM} WHERE region IN (", ")"),
    "IN list of columns": _listed("id", f"{_FROM} WHERE id IN (", ")"),
    "columns": _listed("id", "SELECT ", " FROM orders"),
    "qualified columns": _listed("o.id", "SELECT ", " FROM orders AS o"),
    "aliases": _listed("id AS a#", "SELECT ", " FROM orders"),
    "stars": _listed("*", "SELECT ", " FROM orders"),
    "calls": _listed("ABS(id)", "SELECT ", " FROM orders"),
    "casts": _listed("CAST(id AS TEXT)", "SELECT ", " FROM orders"),
    "cases": _listed("CASE WHEN id = 1 THEN 1 ELSE 2 END", "SELECT ", " FROM orders"),
    "arms of one case": _repeated("WHEN id = 1 THEN 1 ", "SELECT CASE ", "END FROM orders"),
    "windows": _listed("SUM(id) OVER (PARTITION BY region ORDER BY id)", "SELECT ", " FROM orders"),
    "named windows": _listed("w# AS (PARTITION BY id)", "SELECT 1 FROM orders WINDOW "),
    "scalar sub-queries": _listed("(SELECT id FROM orders LIMIT 1)", "SELECT "),
    "parameters": _listed(":a#", "SELECT "),
    "arguments": _listed("1", "SELECT COALESCE(", ")"),
    "JSON keys": _listed("region -> 'k#'", "SELECT ", " FROM orders"),
    "formats": _listed("to_char(placed_at, '#')", "SELECT ", " FROM orders"),
    "intervals": _listed("INTERVAL '# days'", "SELECT ", separator=" + "),
    "ORDER BY": _listed("id", f"{_FROM} ORDER BY "),
    "GROUP BY": _listed("id", "SELECT 1 FROM orders GROUP BY "),
    "GROUPING SETS": _listed("(id)", "SELECT 1 FROM orders GROUP BY GROUPING SETS (", ")"),
    "CUBE": _listed("id", "SELECT 1 FROM orders GROUP BY CUBE (", ")"),
    "VALUES": _listed("(#)", "SELECT * FROM (VALUES ", ") AS v"),
    "conditions with AND": _listed("id = #", f"{_FROM} WHERE ", separator=" AND "),
    "conditions with OR": _listed("(id = # AND amount = 2)", f"{_FROM} WHERE ", separator=" OR "),
    "BETWEEN": _listed("id BETWEEN 1 AND #", f"{_FROM} WHERE ", separator=" AND "),
    "LIKE": _listed("region LIKE 'a%'", f"{_FROM} WHERE ", separator=" OR "),
    "long patterns": lambda n: f"{_FROM} WHERE region LIKE '{'%a' * n}'",
    "UNION over a table": _repeated(" UNION ALL SELECT id FROM orders", "SELECT id FROM orders"),
    "unused CTEs": _listed("c# AS (SELECT 1 AS a)", "WITH ", " SELECT 1"),
    "CTEs in a chain": _chained_ctes("SELECT id, x FROM #"),
    "CTEs that double a text": _chained_ctes("SELECT id, x || x AS x FROM #"),
    "CTEs read twice": _chained_ctes("SELECT a.id, a.x FROM # AS a, # AS b"),
    "CTEs with stars": _chained_ctes("SELECT * FROM #"),
    "CTEs with two stars": _chained_ctes("SELECT a.*, b.* FROM # AS a CROSS JOIN # AS b"),
    "CTEs inside each other": lambda n: "WITH x AS (" * n + "SELECT id FROM orders" + ") SELECT id FROM x" * n,
    "sub-queries in FROM": lambda n: f"SELECT * FROM {'(SELECT * FROM ' * n}orders{') AS x' * n}",
    "sub-queries in IN": lambda n: _FROM + " WHERE id IN (SELECT id FROM orders" * n + ")" * n,
    "a long text": lambda n: f"SELECT '{'a' * 16 * n}'",
    "a long text of quotes": lambda n: f"SELECT '{chr(39) * 2 * n}'",
    "a long name": lambda n: f"SELECT {'a' * 16 * n}",
    "a long number": lambda n: f"SELECT {'1' * 16 * n}",
    "a long quoted name": lambda n: f'SELECT "{chr(34) * 2 * n}"',
    "numbers with letters": _repeated("1a", "SELECT "),
    "dollars": lambda n: "SELECT " + " ".join(f"$a{i}$" for i in range(n)),
    "comments between columns": _repeated("id /* a */, ", "SELECT ", "1 FROM orders"),
    "a long comment": lambda n: f"SELECT 1 /*{'a ' * 8 * n}*/",
    "spaces": _repeated(" " * 16, "SELECT"),
    "characters beyond ASCII": _repeated("é", "SELECT '", "'"),
}
FAMILIES: Final[dict[str, Text]] = {
    **{f"nested {before} {after}": _nested(before, after) for before, after in _BRACKETS},
    **{f"before: {part!r}": _repeated(part, "SELECT ", "1") for part in _PREFIXES},
    **{f"behind: {part!r}": _repeated(part) for part in _SUFFIXES},
    **_GROWING,
}
# fmt: on


def sizes(text: Text, longest: int) -> Iterator[tuple[int, str]]:
    """The text, larger and larger until it is longer than may be sent: by small steps first, so that what is exponential shows before it takes hours."""
    n = 2
    while len(grown := text(n)) <= longest:
        yield n, grown
        n += 3 if n < 32 else n


class Cost(NamedTuple):
    """What became of one text: CPU milliseconds, and "ok" or the code of its refusal."""

    milliseconds: float
    code: str


@dataclass(slots=True)
class Dearest:
    """The texts that took longest, of those that were accepted and of those that were not."""

    accepted: tuple[float, str] = (0.0, "")
    refused: tuple[float, str] = (0.0, "")

    def note(self, name: str, cost: Cost, ruler: Ruler) -> None:
        told = cost.milliseconds / ruler.most * MOST, f"{cost.milliseconds:.0f} ms for {name} ({cost.code})"
        if cost.code == "ok":
            self.accepted = max(self.accepted, told)
        else:
            self.refused = max(self.refused, told)

    def __str__(self) -> str:
        return "; ".join(
            f"the dearest {what} took {times:.0f} ordinary queries, {told}" for what, (times, told) in (("accepted", self.accepted), ("refused", self.refused))
        )


@dataclass(slots=True)
class Ruler:
    """Measures texts of one dialect against `ORDINARY`, measured at the same time."""

    dialect: str
    limits: Limits
    _policy: Policy
    _ordinary: float

    @classmethod
    def of(cls, dialect: str) -> Ruler:
        given = policy(dialect)
        ruler = cls(dialect, given.catalog.limits, given, 0.0)
        ruler.calibrate()
        return ruler

    def calibrate(self) -> None:
        """Measure the ordinary query again: a machine is not always as fast."""
        self._ordinary = statistics.median(self._once(ORDINARY).milliseconds for _ in range(25))

    @property
    def most(self) -> float:
        """Milliseconds that no text may exceed."""
        return MOST * self._ordinary

    def cost(self, sql: str) -> Cost:
        """Of one text. One that is too dear is measured again, three times, beside the ordinary one: what is asserted must not be an accident."""
        first = self._once(sql)
        if first.milliseconds <= self.most:
            return first
        self.calibrate()
        return min(self._once(sql) for _ in range(3)) if first.milliseconds <= 4 * self.most else first

    def _once(self, sql: str) -> Cost:
        # The collector of cycles goes through everything that the process holds, whatever the text is: it has a test of its own.
        collects = gc.isenabled()
        gc.disable()
        began = time.thread_time()
        try:
            secured(sql, self._policy)
            code = "ok"
        except OurBug as bug:
            code = f"our_bug: {bug.internal}"
        except Refused as refusal:
            code = refusal.code
        except RecursionError:
            code = "sql_too_complex"  # as `Access` says it
        spent = (time.thread_time() - began) * 1_000
        if collects:
            gc.enable()
        return Cost(spent, code)


def patterns(dialect: str, source: random.Random) -> Iterator[tuple[str, Text]]:
    """Texts that nobody thought of: a few of the parser's own words, repeated before, behind and around a core."""
    grammar = DIALECTS[dialect].grammar
    known = sorted({word for word in grammar.tokenizer_class.KEYWORDS if word.isprintable() and "{" not in word} | set(grammar.parser_class.FUNCTIONS))
    common = "( ) [ ] { } , . : ; :: - + * / % || -> ->> = < > 1 2 1.5 'a' '1 day' a b o.id orders AS IN ON BY FROM SELECT CASE WHEN THEN END WITH".split()
    closing = {"(": ")", "[": "]", "{": "}", "CASE": "END", "<": ">", "BEGIN": "END"}

    def part(longest: int) -> list[str]:
        return [source.choice(common if source.random() < 0.6 else known) for _ in range(source.randint(0, longest))]

    for _ in itertools.count():
        before, after = part(4), part(3)
        if source.random() < 0.7:
            after += [closing[word] for word in reversed(before) if word in closing]
        start, core, end = (
            source.choice(["SELECT", "SELECT 1", "SELECT * FROM", "SELECT 1 FROM orders WHERE", "SELECT 1 FROM orders", "WITH"]),
            part(1) or ["1"],
            part(2),
        )
        if not before and not after:
            continue

        def text(n: int, pieces: tuple[list[str], ...] = (before, core, after, end), start: str = start) -> str:
            first, middle, last, rest = pieces
            return " ".join([start, *first * n, *middle, *last * n, *rest])

        yield text(1), text


def families(ruler: Ruler, *, tell: Callable[[str], object] = print) -> list[str]:
    """Every family, as large as it may be sent. Returns the ones that cost too much, and tells the dearest."""
    found, dearest = [], Dearest()
    for at, (name, text) in enumerate(FAMILIES.items()):
        if at % 40 == 0:
            ruler.calibrate()
            gc.collect()
        for n, sql in sizes(text, ruler.limits.sql_bytes):
            cost = ruler.cost(sql)
            dearest.note(f"{name!r} x {n}", cost, ruler)
            if cost.milliseconds > ruler.most or cost.code.startswith("our_bug"):
                found.append(f"{ruler.dialect}: {name!r} x {n} took {cost.milliseconds:.0f} ms, and {ruler.most:.0f} is the most: {cost.code}")
                tell(found[-1])
                break
    tell(f"{ruler.dialect}: {len(FAMILIES)} families. {dearest}")
    return found


def search(ruler: Ruler, seconds: float, source: random.Random, *, tell: Callable[[str], object] = print) -> list[str]:
    """Random patterns until the time is up. Returns the ones that cost too much, and tells the dearest."""
    until, found, seen, dearest = time.monotonic() + seconds, [], 0, Dearest()
    for name, text in patterns(ruler.dialect, source):
        if time.monotonic() >= until:
            break
        if seen % 200 == 0:
            ruler.calibrate()
            gc.collect()
        seen += 1
        for n, sql in sizes(text, ruler.limits.sql_bytes):
            cost = ruler.cost(sql)
            dearest.note(f"{name!r} x {n}", cost, ruler)
            if cost.milliseconds > ruler.most or cost.code.startswith("our_bug"):
                found.append(f"{ruler.dialect}: {name!r} x {n} took {cost.milliseconds:.0f} ms, and {ruler.most:.0f} is the most: {cost.code}")
                tell(found[-1])
                break
    tell(f"{ruler.dialect}: {seen} patterns. {dearest}")
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description="Look for SQL that costs more than it may.")
    parser.add_argument("seconds", type=float, nargs="?", default=60, help="for each dialect (60)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), action="append", help="one only; all unless given")
    parser.add_argument("--pure", action="store_true", help="with the parser in pure Python")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}")
    found = []
    for dialect in options.dialect or DIALECTS:
        ruler = Ruler.of(dialect)
        found += families(ruler)
        found += search(ruler, options.seconds, random.Random(f"{seed} {dialect}"))
    print(f"{len(found)} findings" if found else "no finding")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
