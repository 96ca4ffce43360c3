"""Random queries over the world, biased to hurt: names that shadow, outer joins, correlated sub-queries, and expressions that fail.

Each query is well-typed and its answer is determined (a LIMIT stands behind an ORDER BY over every column, windows count peers), so
that whatever differs between two databases is a finding. Each is written from a list of numbers, its choices, in which 0 is always
the simplest: a failing query is made small by making its list small.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar

from databases import DIALECTS, Speech
from world import CONFIGURATION, TABLES, Bearer

__all__ = ["BEARERS", "LITERALS", "Choices", "Query", "shrunk", "write"]

T = TypeVar("T")
Columns: TypeAlias = tuple[tuple[str, str], ...]  # names and types: number or text

NUMBERS: Final = (1, 2, 100, 107, 10, 500, 45, 999, 7, Decimal("888.75"))
TEXTS: Final = ("EU", "paid", "10", "x", "it's", "login", "50%", "a")
RISKY: Final = frozenset({"score", "weight", "code", "payload"})  # columns whose forbidden values fail most easily
_BLANK: Final = re.compile(r"\{(number|text|#|'|code|payload)\}")
_WANTED: Final = ("code", "payload")
# What the databases hold in forbidden rows: everything that a query may write out.
LITERALS: Final = (*NUMBERS, *TEXTS)


def _tenant(number: int) -> list[list[dict[str, Any]]]:
    return [[{"field": "tenant_id", "op": "=", "value": number}]]


# A long list costs more than most expressions, so that PostgreSQL evaluates the bearer's first if it may.
_MANY_REGIONS: Final = [[{"field": "region", "op": "is_one_of", "value": ["EU", "DE", "FR", "IT", "ES", "NL", "BE", "AT"]}]]
_MANY_TENANTS: Final = [[{"field": "tenant_id", "op": "is_one_of", "value": [1, 11, 12, 13, 14, 15, 16, 17]}]]
_EVERYONE: Final = ("orders", "customers", "order_items", "products", "employees", "events")
BEARERS: Final[dict[str, Bearer]] = {
    "a tenant": Bearer(_EVERYONE, {name: _tenant(1) for name in ("orders", "customers", "employees", "events")}),
    "one of eight": Bearer(_EVERYONE, {"orders": _MANY_REGIONS, "customers": _MANY_REGIONS, "employees": _MANY_TENANTS, "events": _MANY_TENANTS}),
    "either of two": Bearer(
        _EVERYONE,
        {
            "orders": [
                [{"field": "tenant_id", "op": "=", "value": 2}],
                [{"field": "status", "op": "starts_with", "value": "op"}, {"field": "region", "op": "is_not_null"}],
            ],
            "customers": [[{"field": "name", "op": "contains_substring", "value": "n"}], [{"field": "tenant_id", "op": "is_one_of", "value": [1]}]],
            "employees": [[{"field": "salary", "op": "between", "value": [200, 450]}]],
            "events": [[{"field": "kind", "op": "!=", "value": "login"}], [{"field": "score", "op": ">", "value": 1}]],
            "order_items": [[{"field": "qty", "op": "<=", "value": 3}]],
            "products": [[{"field": "category", "op": "=", "value": "tools"}]],
        },
    ),
    "nobody": Bearer(_EVERYONE, {name: _tenant(-5) for name in ("orders", "customers", "employees", "events")}),
}

_KINDS: Final = {"integer": "number", "decimal": "number", "numeric": "number", "float": "number", "text": "text"}


@dataclass(frozen=True, slots=True)
class Source:
    """A relation in scope: how columns of it are addressed, and their names and types (number or text)."""

    alias: str
    columns: Columns


@dataclass(frozen=True, slots=True)
class Query:
    """One query. `fallible` says whether an expression of it can fail on some row, permitted or not."""

    sql: str
    fallible: bool
    params: Mapping[str, Any]


def _relations() -> dict[str, Columns]:
    by_name = {table.name: table for table in TABLES}
    found = {}
    for dataset in CONFIGURATION["datasets"]:
        if dataset["id"] in _EVERYONE:
            hidden = {entry["id"] for entry in dataset["fields"] if entry.get("hidden")}
            columns = [
                (column.name, _KINDS[column.kind]) for column in by_name[dataset["table"]].columns if column.kind in _KINDS and column.name not in hidden
            ]
            found[dataset["id"]] = tuple(columns)
    return found


RELATIONS: Final = _relations()


def _text(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


class Choices:
    """Numbers that decide what is written: those given, then drawn from `source`, or 0 where there is none. `made` records them."""

    def __init__(self, given: Sequence[int] = (), source: random.Random | None = None) -> None:
        self.made: list[int] = []
        self._given = given
        self._source = source

    def below(self, bound: int) -> int:
        """The next choice, from 0 to `bound` - 1."""
        if len(self.made) < len(self._given):
            value = min(self._given[len(self.made)], bound - 1)
        else:
            value = self._source.randrange(bound) if self._source else 0
        self.made.append(value)
        return value


@dataclass(slots=True)
class _Writer:
    """Writes one query. `depth` bounds nesting; `ctes` are the bearer's own names in scope, innermost last.

    A `calm` query holds nothing that is known to fail: the product may leave it unfenced, so whatever fails after all is found.
    """

    choices: Choices
    speech: Speech
    calm: bool
    fallible: bool = False
    ctes: list[tuple[str, Columns]] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    numbered: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def chance(self, percent: int) -> bool:
        return self.choices.below(100) >= 100 - percent

    def number(self, least: int, most: int) -> int:
        return least + self.choices.below(most - least + 1)

    def one(self, choices: Sequence[T]) -> T:
        return choices[self.choices.below(len(choices))]

    # Queries

    def query(self, depth: int, outer: Sequence[Source], signature: Sequence[str] | None = None, *, limited: bool = True) -> tuple[str, Columns]:
        """SQL and the columns that it gives; `signature` demands their types."""
        before = len(self.ctes)
        head = self.with_clause(depth - 1) if depth > 0 and self.chance(20) else ""
        kinds = tuple(signature or [self.one(("number", "text")) for _ in range(self.number(1, 3))])
        sql, columns = self.select(depth, outer, kinds)
        if depth > 0 and self.chance(15):
            operation = self.one(("UNION ALL", "UNION", "EXCEPT", "INTERSECT"))
            sql = f"{sql} {operation} {self.select(depth - 1, outer, kinds)[0]}"
        if limited and self.chance(30):
            sql += " ORDER BY " + ", ".join(str(position + 1) + self.one(("", " DESC")) for position in range(len(kinds)))
            if self.chance(70):
                sql += f" LIMIT {self.number(1, 5)}"
                if self.chance(30):
                    sql += f" OFFSET {self.number(0, 3)}"
        del self.ctes[before:]
        return head + sql, columns

    def with_clause(self, depth: int) -> str:
        parts, taken = [], set[str]()
        for _ in range(self.number(1, 2)):
            name = self.one([each for each in ("w", "v", "orders", "customers", '"Orders"', "ORDER_ITEMS") if self.speech.folded(each) not in taken])
            taken.add(self.speech.folded(name))
            sql, columns = self.query(depth, ())
            names = ""
            if self.chance(20):
                columns = tuple((f"n{position}", kind) for position, (_, kind) in enumerate(columns))
                names = f"({', '.join(column for column, _ in columns)})"
            hint = self.one(("", "", "", "MATERIALIZED ", "NOT MATERIALIZED "))
            parts.append((name, columns, f"{name}{names} AS {hint}({sql})"))
            self.ctes.append((self.speech.folded(name), columns))
        return f"WITH {', '.join(text for _, _, text in parts)} "

    def select(self, depth: int, outer: Sequence[Source], kinds: Sequence[str]) -> tuple[str, Columns]:
        text, own = self.from_clause(depth)
        hidden = {self.speech.folded(source.alias) for source in own}
        scope = [*own, *(source for source in outer if self.speech.folded(source.alias) not in hidden)]
        where = f" WHERE {self.predicate(depth, scope)}" if self.chance(60) else ""
        columns = tuple((f"c{next(self.numbered)}", kind) for kind in kinds)
        tail = ""
        distinct = ""
        match self.one(("plain", "plain", "plain", "grouped", "aggregate", "window")):
            case "grouped":
                groups = [self.failing(own, kind) if self.chance(10) else self.column(own, kind) for kind in kinds]
                keys = ["." in group and self.chance(50) for group in groups]
                items = [group if key else self.aggregate(own, kind) for group, key, kind in zip(groups, keys, kinds, strict=True)]
                chosen = [group for group, key in zip(groups, keys, strict=True) if key]
                tail = f" GROUP BY {', '.join(chosen)}" if chosen else ""
                if self.chance(40):
                    tail += f" HAVING {self.having(own, chosen)}"
            case "aggregate":
                items = [self.aggregate(own, kind) for kind in kinds]
            case "window":
                items = [self.window(own) if kind == "number" and self.chance(70) else self.expression(depth, scope, kind) for kind in kinds]
            case _:
                items = [self.expression(depth, scope, kind) for kind in kinds]
                distinct = "DISTINCT " if self.chance(15) else ""
        listed = ", ".join(f"{item} AS {name}" for item, (name, _) in zip(items, columns, strict=True))
        return f"SELECT {distinct}{listed} FROM {text}{where}{tail}", columns

    # FROM

    def from_clause(self, depth: int) -> tuple[str, list[Source]]:
        own: list[Source] = []
        text = self.source(depth, own)
        for _ in range(self.one((0, 0, 0, 1, 1, 2))):
            kind = self.one(("JOIN", "LEFT JOIN", "CROSS JOIN", "RIGHT JOIN", "FULL JOIN", ","))
            left = list(own)
            right = self.source(depth, own)
            if kind in {"CROSS JOIN", ","}:
                # A comma binds less tightly than JOIN: what follows it could not refer to what stands before it.
                text += f" CROSS JOIN {right}"
                continue
            common = [name for name, _ in left[-1].columns if (name, "number") in own[-1].columns]
            if len(left) == 1 and common and self.chance(20):
                text += f" {kind} {right} USING ({self.one(common)})"
                continue
            same = self.one(("number", "number", "text"))
            condition = f"{self.column(left, same, bare=False)} = {self.column(own[-1:], same, bare=False)}"
            anything = "full join on anything" in self.speech.features
            if kind == "FULL JOIN" and condition.count(".") < 2 and not anything:
                kind = "LEFT JOIN"  # some join fully on columns of both sides only
            if (kind != "FULL JOIN" or anything) and self.chance(30):
                condition += f" AND {self.predicate(max(depth - 1, 0), own)}"
            text += f" {kind} {right} ON {condition}"
        return text, own

    def source(self, depth: int, own: list[Source]) -> str:
        taken = {self.speech.folded(source.alias) for source in own}
        choice = self.one(("table", "table", "table", "cte", "derived"))
        if choice == "derived" and depth > 0:
            inner: list[Source] = []
            if self.chance(15):
                sql, columns = f"SELECT * FROM {self.source(0, inner)}", inner[0].columns
            else:
                sql, columns = self.query(depth - 1, ())
            text, name = f"({sql})", None
        elif choice == "cte" and self.ctes:
            folded, columns = self.one(self.ctes)
            name = f'"{folded}"' if folded != folded.lower() else folded
            # An inner CTE of the same name may hide this one.
            columns = next(each for known, each in reversed(self.ctes) if known == folded)
            text = name
        else:
            name = self.one((*RELATIONS, "events", "orders"))
            columns = RELATIONS[name]
            hidden = [each for known, each in self.ctes if known == name]
            if hidden and self.chance(50):
                columns = hidden[-1]
                text = name
            else:
                text = f"{self.speech.schema}.{name}" if hidden or self.chance(10) else self.one(self.speech.spelled(name))
        aliases = [each for each in ("a", "b", "c", "d", "orders", "customers", '"A b"') if self.speech.folded(each) not in taken]
        if name is None or self.speech.folded(name) in taken or not self.chance(20):
            name = self.one(aliases)
            text += f" AS {name}"
        own.append(Source(name, columns))
        return text

    # Expressions

    def column(self, scope: Sequence[Source], kind: str, *, bare: bool = True) -> str:
        """A column of this type, without its source's name where that is plain and `bare`; a literal where no source has one."""
        found = [(source, name) for source in scope for name, type_ in source.columns if type_ == kind]
        if not found:
            return "0" if kind == "number" else "'none'"
        risky = [(source, name) for source, name in found if name in RISKY]
        source, name = self.one(risky if risky and self.chance(30) else found)
        plain = [each for each in scope for other, _ in each.columns if other == name] == [source]
        return name if bare and plain and self.chance(10) else f"{source.alias}.{name}"

    def literal(self, kind: str) -> str:
        return _text(self.one(NUMBERS if kind == "number" else TEXTS))

    def operand(self, kind: str) -> str:
        """What a column is compared with: a literal, one cast to a float, or a parameter."""
        if kind == "number" and self.chance(30 if self.calm else 10):
            return f"CAST({self.literal('number')} AS {self.speech.real})"
        if self.chance(10):
            name = f"p{len(self.params)}"
            value = self.one(NUMBERS if kind == "number" else TEXTS)
            self.params[name] = float(value) if isinstance(value, Decimal) else value
            return f":{name}"
        return self.literal(kind)

    def expression(self, depth: int, scope: Sequence[Source], kind: str) -> str:
        match self.one(("column", "column", "column", "literal", "case", "function", "function", "scalar", "fails")):
            case "literal":
                return self.literal(kind)
            case "case" if not self.calm:
                return f"CASE WHEN {self.predicate(0, scope)} THEN {self.column(scope, kind)} ELSE {self.literal(kind)} END"
            case "function":
                return self.template((self.speech.calm if self.calm else self.speech.ordinary)[kind], scope, kind)
            case "scalar" if depth > 0:
                return self.scalar(depth - 1, scope, kind)
            case "fails":
                return self.failing(scope, kind)
            case _:
                return self.column(scope, kind)

    def template(self, templates: Sequence[str], scope: Sequence[Source], kind: str) -> str:
        """One of the templates with its blanks filled in from `scope`; a column where none fits."""
        fitting = [each for each in templates if all(self.named(scope, name) for name in _WANTED if f"{{{name}}}" in each)]
        return _BLANK.sub(lambda blank: self.blank(blank[1], scope), self.one(fitting)) if fitting else self.column(scope, kind)

    def blank(self, name: str, scope: Sequence[Source]) -> str:
        match name:
            case "number" | "text":
                return self.column(scope, name)
            case "#" | "'":
                return self.literal("number" if name == "#" else "text")
            case _:
                return self.one(self.named(scope, name))

    def scalar(self, depth: int, scope: Sequence[Source], kind: str) -> str:
        text, own = self.from_clause(depth)
        hidden = {self.speech.folded(source.alias) for source in own}
        visible = [*own, *(source for source in scope if self.speech.folded(source.alias) not in hidden)]
        where = f" WHERE {self.predicate(depth, visible)}" if self.chance(80) else ""
        return f"(SELECT {self.aggregate(own, kind)} FROM {text}{where})"

    def failing(self, scope: Sequence[Source], kind: str) -> str:
        """An expression that fails on some value: of the planted ones, if on any."""
        if self.calm:
            return self.column(scope, kind)
        self.fallible = True
        return self.template(self.speech.failing[kind], scope, kind)

    def named(self, scope: Sequence[Source], name: str) -> list[str]:
        """The columns of this name: they hold what a failing expression wants, in permitted rows."""
        return [f"{source.alias}.{name}" for source in scope if (name, "text") in source.columns]

    def aggregate(self, own: Sequence[Source], kind: str) -> str:
        # Only columns of its own query: an aggregate over outer columns alone would belong to the outer query.
        text = f"MAX({self.failing(own, kind)})" if self.chance(5) else self.template(self.speech.aggregates[kind], own, kind)
        return f"{text} FILTER (WHERE {self.predicate(0, own)})" if "filter" in self.speech.features and self.chance(20) else text

    def window(self, own: Sequence[Source]) -> str:
        partition = f"PARTITION BY {self.column(own, self.one(('text', 'number')))}" if self.chance(60) else ""
        order = f"ORDER BY {self.column(own, 'number')}"
        argument = self.failing(own, "number") if self.chance(20) else self.column(own, "number")
        function = self.one(("RANK()", "DENSE_RANK()", f"SUM({self.column(own, 'number')})", "COUNT(*)", f"MAX({argument})"))
        return f"{function} OVER ({partition} {order})".replace("( ", "(")

    def having(self, own: Sequence[Source], groups: Sequence[str]) -> str:
        if groups and self.chance(40):
            return f"{self.one(groups)} IS NOT NULL"
        return f"{self.aggregate(own, 'number')} {self.one(('>', '<=', '<>'))} {self.literal('number')}"

    def predicate(self, depth: int, scope: Sequence[Source]) -> str:
        kind = self.one(("number", "text"))
        column = self.column(scope, kind)
        shape = self.one(("compare", "compare", "columns", "null", "in", "between", "like", "pattern", "not", "both", "exists", "within", "fails", "fails"))
        match shape:
            case "columns":
                return f"{column} {self.one(('=', '<>', '<'))} {self.column(scope, kind)}"
            case "null":
                return f"{column} IS {self.one(('NULL', 'NOT NULL'))}"
            case "in":
                return f"{column} {self.one(('IN', 'NOT IN'))} ({self.literal(kind)}, {self.operand(kind)})"
            case "between":
                return f"{column} BETWEEN {self.operand(kind)} AND {self.literal(kind)}"
            case "like":
                return f"{self.column(scope, 'text')} LIKE {_text(self.one(('%a%', 'EU', 'p%', '1_')))}"
            case "pattern":
                if self.speech.patterns and self.chance(30):
                    return self.template(self.speech.patterns, scope, kind)
                return f"{self.column(scope, 'text')} LIKE {self.column(scope, 'text')} || {_text(self.one(('%', 'a%', '_')))}"
            case "not":
                return f"NOT ({column} {self.one(('=', '>='))} {self.literal(kind)})"
            case "both" if depth > 0:
                return f"({self.predicate(depth - 1, scope)} {self.one(('AND', 'OR'))} {self.predicate(depth - 1, scope)})"
            case "exists" if depth > 0:
                sql, _ = self.query(depth - 1, scope, ("number",), limited=False)
                return f"{self.one(('EXISTS', 'NOT EXISTS'))} ({sql})"
            case "within" if depth > 0:
                sql, _ = self.query(depth - 1, scope, (kind,), limited=False)
                return f"{column} {self.one(('IN', 'NOT IN'))} ({sql})"
            case "fails":
                return f"{self.failing(scope, kind)} {self.one(('<', '='))} {self.literal(kind)}"
            case _:
                return f"{column} {self.one(('=', '<>', '<', '>', '<=', '>='))} {self.operand(kind)}"


def write(choices: Choices, dialect: str) -> Query:
    """The query that these choices make, in this dialect, ready to be asked as written."""
    writer = _Writer(choices, DIALECTS[dialect].speech, calm=choices.below(2) == 1)
    sql, _ = writer.query(2, ())
    return Query(sql, writer.fallible, writer.params)


def shrunk(choices: Sequence[int], still: Callable[[Sequence[int]], Sequence[int] | None], *, tries: int = 2000) -> Sequence[int]:
    """The smallest list of choices found for which `still` gives a list (the choices really used) and not None."""
    best = list(choices)

    def better(candidate: list[int]) -> bool:
        nonlocal best, tries
        tries -= 1
        found = still(candidate) if tries > 0 else None
        if found is None or (len(found), list(found)) >= (len(best), best):
            return False
        best = list(found)
        return True

    before: list[int] | None = None
    while best != before and tries > 0:
        before = best
        for size in (64, 32, 16, 8, 4, 2, 1):
            start = 0
            while start < len(best):
                # Without the block, or with the simplest choices in its place; a start that helped is tried again.
                rest = best[start + size :]
                gone, plain = [*best[:start], *rest], [*best[:start], *[0] * len(best[start : start + size]), *rest]
                if not better(gone) and not better(plain):
                    start += max(1, size // 4)
        for position in range(len(before)):
            for less in (1, 2, 4):
                while (
                    position < len(best) and best[position] >= less and better([*best[:position], best[position] // less - (less == 1), *best[position + 1 :]])
                ):
                    pass
    return best
