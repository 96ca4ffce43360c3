"""Writes one random query, from choices: names that shadow, joins of every kind, sub-queries, windows, and expressions that fail in every clause.

A query is well-typed and its answer is determined: a LIMIT stands behind an ORDER BY over every column, and what depends on the order of
rows (`ROW_NUMBER`, frames of rows, `DISTINCT ON`) stands over one dataset and ends with its key.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar

from databases import Speech

__all__ = ["FAILING_PLACES", "LITERALS", "Choices", "Columns", "Writer"]

T = TypeVar("T")
Columns: TypeAlias = tuple[tuple[str, str], ...]  # names and types: number or text

NUMBERS: Final = (1, 2, 100, 107, 10, 500, 45, 999, 7, Decimal("888.75"))
TEXTS: Final = ("EU", "paid", "10", "x", "it's", "login", "50%", "a")
RISKY: Final = frozenset({"score", "weight", "code", "payload"})  # columns whose forbidden values fail most easily
# What the databases hold in forbidden rows: everything that a query may write out.
LITERALS: Final = (*NUMBERS, *TEXTS, 31337)
# Where an expression that can fail may stand; `Query.failing` says where one does.
FAILING_PLACES: Final = (
    "select", "where", "on", "group", "having", "order", "aggregate", "filter", "partition", "window", "case", "scalar", "lateral", "cte", "derived", "within",
)  # fmt: skip
_BLANK: Final = re.compile(r"\{(number|text|n|t|#|'|code|payload|=)\}")
_WANTED: Final = ("code", "payload")


@dataclass(frozen=True, slots=True)
class Source:
    """A relation in scope: how columns of it are addressed, their names and types, and a column that no two rows share."""

    alias: str
    columns: Columns
    key: str | None = None


def text_of(value: Any) -> str:
    """The value as a literal."""
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
            value = int(self._source.random() * bound) if self._source else 0
        self.made.append(value)
        return value


@dataclass(slots=True)
class Writer:
    """Writes one query. `depth` bounds nesting; `ctes` are the bearer's own names in scope, innermost last.

    A `calm` query holds nothing that is known to fail: the product may leave it unguarded, so whatever fails after all is found.
    """

    choices: Choices
    speech: Speech
    relations: dict[str, Columns]
    made: frozenset[str]  # of the relations, those that have no schema to be called with
    calm: bool
    failing_in: set[str] = field(default_factory=set)
    ctes: list[tuple[str, Columns]] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    numbered: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))
    inside: list[str] = field(default_factory=list)

    def chance(self, percent: int) -> bool:
        return self.choices.below(100) >= 100 - percent

    def number(self, least: int, most: int) -> int:
        return least + self.choices.below(most - least + 1)

    def one(self, choices: Sequence[T]) -> T:
        return choices[self.choices.below(len(choices))]

    def has(self, feature: str) -> bool:
        return feature in self.speech.features

    # Queries

    def query(self, depth: int, outer: Sequence[Source], signature: Sequence[str] | None = None, *, limited: bool = True) -> tuple[str, Columns]:
        """SQL and the columns that it gives; `signature` demands their types."""
        before = len(self.ctes)
        head = self.with_clause(depth - 1) if depth > 0 and self.chance(20) else ""
        kinds = tuple(signature or [self.one(("number", "text")) for _ in range(self.number(1, 3))])
        sql, columns, order = self.select(depth, outer, kinds)
        if depth > 0 and self.chance(15):
            order = []
            for _ in range(self.number(1, 2)):
                operation = self.one(("UNION ALL", "UNION", "EXCEPT", "INTERSECT", *(("EXCEPT ALL", "INTERSECT ALL") if self.has("except all") else ())))
                sql = f"{sql} {operation} {self.select(depth - 1, outer, kinds)[0]}"
        if limited and self.chance(30):
            directions = ["", " DESC", *((" NULLS FIRST", " DESC NULLS LAST") if self.has("nulls first") else ())]
            sql += " ORDER BY " + ", ".join([*order, *(str(position + 1) + self.one(directions) for position in range(len(kinds)))])
            if self.chance(70):
                sql += f" LIMIT {self.number(1, 5)}"
                if self.chance(30):
                    sql += f" OFFSET {self.number(0, 3)}"
        del self.ctes[before:]
        return head + sql, columns

    def with_clause(self, depth: int) -> str:
        parts, taken, recursive = [], set[str](), False
        self.inside.append("cte")
        for _ in range(self.number(1, 2)):
            name = self.one(
                [each for each in ("w", "v", "orders", "customers", '"Orders"', "ORDER_ITEMS") if self.speech.folded(self.quoted(each)) not in taken]
            )
            name = self.quoted(name)
            taken.add(self.speech.folded(name))
            if self.has("recursive") and self.chance(15):
                text, columns = self.recursive(name)
                recursive = True
            else:
                sql, columns = self.query(depth, ())
                names = ""
                if self.chance(20):
                    columns = tuple((f"n{position}", kind) for position, (_, kind) in enumerate(columns))
                    names = f"({', '.join(column for column, _ in columns)})"
                hint = self.one(("", "", "", "MATERIALIZED ", "NOT MATERIALIZED ")) if self.has("with hints") else ""
                text = f"{name}{names} AS {hint}({sql})"
            parts.append(text)
            self.ctes.append((self.speech.folded(name), columns))
        self.inside.pop()
        return f"WITH {'RECURSIVE ' * recursive}{', '.join(parts)} "

    def recursive(self, name: str) -> tuple[str, Columns]:
        """Rows that lead to rows: a dataset joined with what has been found so far. It ends: there are finitely many rows of columns, and few levels."""
        dataset, key, up = self.one((("employees", "id", "manager_id"), ("orders", "id", "parent_id"), ("customers", "id", "referrer_id")))
        columns = (("n0", "number"), ("n1", "number"))
        first, then = [Source("a", self.relations[dataset])], [Source("b", self.relations[dataset])]
        start = f" WHERE {self.predicate(0, first)}" if self.chance(50) else ""
        further = f" AND {self.predicate(0, then)}" if self.chance(40) else ""
        both = f"SELECT a.{key}, 0 FROM {self.speech.schema}.{dataset} AS a{start} UNION{' ALL' * self.chance(30)} "
        both += f"SELECT b.{key}, {name}.n1 + 1 FROM {self.speech.schema}.{dataset} AS b JOIN {name} ON b.{up} = {name}.n0 WHERE {name}.n1 < 3{further}"
        return f"{name}(n0, n1) AS ({both})", columns

    def select(self, depth: int, outer: Sequence[Source], kinds: Sequence[str]) -> tuple[str, Columns, list[str]]:
        """SQL, the columns, and what it may be ordered by beside them."""
        text, own = self.from_clause(depth, outer)
        hidden = {self.speech.folded(source.alias) for source in own}
        scope = [*own, *(source for source in outer if self.speech.folded(source.alias) not in hidden)]
        where = f" WHERE {self.predicate(depth, scope, 'where')}" if self.chance(60) else ""
        columns = tuple((f"c{next(self.numbered)}", kind) for kind in kinds)
        tail, distinct, order = "", "", list[str]()
        match self.one(("plain", "plain", "plain", "grouped", "aggregate", "window", "window", "sets", "first")):
            case "grouped":
                groups = [self.failing(own, kind, "group") if self.chance(15) else self.column(own, kind) for kind in kinds]
                keys = ["." in group and self.chance(50) for group in groups]
                items = [group if key else self.aggregate(own, kind) for group, key, kind in zip(groups, keys, kinds, strict=True)]
                chosen = [group for group, key in zip(groups, keys, strict=True) if key]
                tail = f" GROUP BY {', '.join(chosen)}" if chosen else ""
                if self.chance(40):
                    tail += f" HAVING {self.having(own, chosen)}"
            case "sets" if self.has("grouping sets"):
                groups = [self.column(own, kind, bare=False) for kind in kinds]
                items = [*groups]
                keyed = [group for group in groups if "." in group]
                if keyed:
                    sets = self.one(("ROLLUP ({})", "CUBE ({})", "GROUPING SETS (({}), ())"))
                    tail = " GROUP BY " + sets.format(", ".join(keyed))
                    if self.chance(50):
                        tail += f" HAVING {self.having(own, ())}"
            case "aggregate":
                items = [self.aggregate(own, kind) for kind in kinds]
                tail = f" HAVING {self.having(own, ())}" if self.chance(15) else ""
            case "window":
                named = self.has("named windows") and self.chance(25)
                items = [
                    self.window(own, name=named) if kind == "number" and self.chance(70) else self.expression(depth, scope, kind, "select") for kind in kinds
                ]
                if any(" OVER w9" in item for item in items):
                    tail = f" WINDOW w9 AS ({self.over(own)})"
            case "first" if self.has("distinct on") and len(own) == 1 and own[0].key:
                items = [self.expression(depth, scope, kind, "select") for kind in kinds]
                by = self.failing(own, "number", "order") if self.chance(20) else self.column(own, self.one(("number", "text")), bare=False)
                if "." in by:
                    distinct = f"DISTINCT ON ({by}) "
                    tail = f" ORDER BY {by}, {own[0].alias}.{own[0].key}"
                    listed = ", ".join(f"{item} AS {name}" for item, (name, _) in zip(items, columns, strict=True))
                    return f"SELECT * FROM (SELECT {distinct}{listed} FROM {text}{where}{tail}) AS f", columns, []
            case _:
                items = [self.expression(depth, scope, kind, "select") for kind in kinds]
                distinct = "DISTINCT " if self.chance(15) else ""
                if not distinct and self.chance(20):
                    order = [self.failing(own, self.one(("number", "text")), "order") + self.one(("", " DESC"))]
        listed = ", ".join(f"{item} AS {name}" for item, (name, _) in zip(items, columns, strict=True))
        return f"SELECT {distinct}{listed} FROM {text}{where}{tail}", columns, order if not tail else []

    # FROM

    def from_clause(self, depth: int, outer: Sequence[Source] = ()) -> tuple[str, list[Source]]:
        own: list[Source] = []
        text = self.source(depth, own, outer)
        for _ in range(self.one((0, 0, 0, 1, 1, 2))):
            kinds = ["JOIN", "LEFT JOIN", "CROSS JOIN", *(("RIGHT JOIN",) if self.has("right join") else ())]
            full = self.has("full join") or self.has("full join on anything")
            kind = self.one([*kinds, *(("FULL JOIN",) if full else ()), ",", *(("LATERAL",) if self.has("lateral") else ())])
            left = list(own)
            if kind == "LATERAL" and depth > 0:
                text += self.lateral(depth, own, outer)
                continue
            right = self.source(depth, own, outer)
            if kind in {"CROSS JOIN", ",", "LATERAL"}:
                # A comma binds less tightly than JOIN: what follows it could not refer to what stands before it.
                text += f" CROSS JOIN {right}"
                continue
            common = [name for name, _ in left[-1].columns if (name, "number") in own[-1].columns]
            if len(left) == 1 and common and self.chance(20):
                text += f" {kind} {right} USING ({self.one(common)})"
                continue
            same = self.one(("number", "number", "text"))
            condition = f"{self.column(left, same, bare=False)} = {self.column(own[-1:], same, bare=False)}"
            anything = self.has("full join on anything")
            if kind == "FULL JOIN" and condition.count(".") < 2 and not anything:
                kind = "LEFT JOIN"  # some join fully on columns of both sides only
            if kind != "FULL JOIN" or anything:
                if self.chance(15):
                    condition = f"{self.failing(left, same, 'on')} = {self.column(own[-1:], same, bare=False)}"
                elif self.chance(30):
                    condition += f" AND {self.predicate(max(depth - 1, 0), own, 'on')}"
            text += f" {kind} {right} ON {condition}"
        return text, own

    def lateral(self, depth: int, own: list[Source], outer: Sequence[Source]) -> str:
        """A query in FROM that sees what stands before it."""
        taken = {self.speech.folded(source.alias) for source in own}
        alias = self.one([each for each in ("a", "b", "c", "d", "orders") if self.speech.folded(each) not in taken])
        seen = [*own, *(source for source in outer if self.speech.folded(source.alias) not in taken)]
        self.inside.append("lateral")
        sql, columns = self.query(depth - 1, seen)
        self.inside.pop()
        own.append(Source(alias, columns))
        if self.chance(50):
            return f" LEFT JOIN LATERAL ({sql}) AS {alias} ON {self.predicate(0, own, 'on')}"
        return f" CROSS JOIN LATERAL ({sql}) AS {alias}"

    def source(self, depth: int, own: list[Source], _outer: Sequence[Source] = ()) -> str:
        taken = {self.speech.folded(source.alias) for source in own}
        name: str | None
        key = None
        choice = self.one(("table", "table", "table", "table", "cte", "derived", "values"))
        if choice == "derived" and depth > 0:
            inner: list[Source] = []
            self.inside.append("derived")
            if self.chance(15):
                sql, columns = f"SELECT * FROM {self.source(0, inner)}", inner[0].columns
            else:
                sql, columns = self.query(depth - 1, ())
            self.inside.pop()
            text, name = f"({sql})", None
        elif choice == "values" and self.speech.values:
            rows = ", ".join(f"({self.literal('number')}, {self.literal('text')})" for _ in range(self.number(1, 3)))
            text, name, columns = f"(VALUES {rows})", None, tuple(zip(self.speech.values, ("number", "text"), strict=True))
        elif choice == "cte" and self.ctes:
            folded, columns = self.one(self.ctes)
            name = self.quoted(f'"{folded}"') if folded != folded.lower() else folded
            # An inner CTE of the same name may hide this one.
            columns = next(each for known, each in reversed(self.ctes) if known == folded)
            text = name
        else:
            name = self.one((*self.relations, "events", "orders"))
            columns, key = self.relations[name], "id" if ("id", "number") in self.relations[name] else None
            hidden = [each for known, each in self.ctes if known == name]
            if hidden and self.chance(50):
                columns, key = hidden[-1], None
                text = name
            else:
                text = f"{self.speech.schema}.{name}" if name not in self.made and (hidden or self.chance(10)) else self.one(self.speech.spelled(name))
        aliases = [self.quoted(each) for each in ("a", "b", "c", "d", "orders", "customers", '"A b"') if self.speech.folded(self.quoted(each)) not in taken]
        if name is None or self.speech.folded(name) in taken or not self.chance(20):
            name = self.one(aliases)
            text += f" AS {name}"
            if self.has("alias columns") and choice != "values" and all(each[0] in "cn" and each[1:].isdigit() for each, _ in columns) and self.chance(10):
                columns = tuple((f"m{position}", kind) for position, (_, kind) in enumerate(columns))
                text += f"({', '.join(column for column, _ in columns)})"
                key = None
        own.append(Source(name, columns, key))
        return text

    def quoted(self, name: str) -> str:
        """The name as written for standard quotes, quoted as here."""
        return self.speech.quotes[0].format(name.strip('"')) if name.startswith('"') else name

    # Expressions

    def column(self, scope: Sequence[Source], kind: str, *, bare: bool = True) -> str:
        """A column of this type, without its source's name where that is plain and `bare`; a literal where no source has one."""
        found = [(source, name) for source in scope for name, type_ in source.columns if type_ == kind]
        if not found:
            return "0" if kind == "number" else "'none'"
        risky = [(source, name) for source, name in found if name in RISKY]
        source, name = self.one(risky if risky and self.chance(30) else found)
        plain = [each for each in scope for other, _ in each.columns if other == name] == [source]
        written = self.one(self.speech.spelled(name)) if self.chance(5) else name
        return written if bare and plain and self.chance(10) else f"{source.alias}.{written}"

    def literal(self, kind: str) -> str:
        return text_of(self.one(NUMBERS if kind == "number" else TEXTS))

    def parameter(self, kind: str) -> str:
        name = f"p{len(self.params)}"
        value = self.one(NUMBERS if kind == "number" else TEXTS)
        self.params[name] = float(value) if isinstance(value, Decimal) else value
        return f":{name}"

    def operand(self, kind: str) -> str:
        """What a column is compared with: a literal, one cast to a float, or a parameter."""
        if kind == "number" and self.chance(30 if self.calm else 10):
            return f"CAST({self.literal('number')} AS {self.speech.real})"
        return self.parameter(kind) if self.chance(10) else self.literal(kind)

    def expression(self, depth: int, scope: Sequence[Source], kind: str, place: str) -> str:
        match self.one(("column", "column", "column", "literal", "case", "function", "function", "scalar", "fails")):
            case "literal":
                return self.literal(kind)
            case "case" if not self.calm or self.has("calm case"):
                return f"CASE WHEN {self.predicate(0, scope, 'case')} THEN {self.arm(scope, kind)} ELSE {self.arm(scope, kind)} END"
            case "function":
                return self.template((self.speech.calm if self.calm else self.speech.ordinary)[kind], scope, kind)
            case "scalar" if depth > 0:
                return self.scalar(depth - 1, scope, kind)
            case "fails":
                return self.failing(scope, kind, place)
            case _:
                return self.column(scope, kind)

    def arm(self, scope: Sequence[Source], kind: str) -> str:
        return self.one((self.column(scope, kind), self.literal(kind), self.failing(scope, kind, "case")))

    def template(self, templates: Sequence[str], scope: Sequence[Source], kind: str, levels: int = 2) -> str:
        """One of the templates with its blanks filled in from `scope`; a column where none fits."""
        fitting = [each for each in templates if all(self.named(scope, name) for name in _WANTED if f"{{{name}}}" in each)]
        if not fitting:
            return self.column(scope, kind)
        filled: list[str] = []

        def fill(blank: re.Match[str]) -> str:
            filled.append(filled[0] if blank[1] == "=" else self.blank(blank[1], scope, levels))
            return filled[-1]

        return _BLANK.sub(fill, self.one(fitting))

    def blank(self, name: str, scope: Sequence[Source], levels: int) -> str:
        match name:
            case "number" | "text":
                return self.column(scope, name)
            case "n" | "t":
                kind = "number" if name == "n" else "text"
                if levels > 0 and self.chance(50):
                    return self.template((self.speech.calm if self.calm else self.speech.ordinary)[kind], scope, kind, levels - 1)
                return self.column(scope, kind) if self.chance(70) else self.literal(kind)
            case "#" | "'":
                return self.literal("number" if name == "#" else "text")
            case _:
                return self.one(self.named(scope, name))

    def scalar(self, depth: int, scope: Sequence[Source], kind: str) -> str:
        self.inside.append("scalar")
        text, own = self.from_clause(depth, scope)
        hidden = {self.speech.folded(source.alias) for source in own}
        visible = [*own, *(source for source in scope if self.speech.folded(source.alias) not in hidden)]
        where = f" WHERE {self.predicate(depth, visible)}" if self.chance(80) else ""
        item = self.aggregate(own, kind)
        self.inside.pop()
        return f"(SELECT {item} FROM {text}{where})"

    def failing(self, scope: Sequence[Source], kind: str, place: str) -> str:
        """An expression that fails on some value: of the planted ones, if on any."""
        if self.calm:
            return self.column(scope, kind)
        self.failing_in |= {place, *self.inside}
        return self.template(self.speech.failing[kind], scope, kind)

    def named(self, scope: Sequence[Source], name: str) -> list[str]:
        """The columns of this name: they hold what a failing expression wants, in permitted rows."""
        return [f"{source.alias}.{name}" for source in scope if (name, "text") in source.columns]

    def aggregate(self, own: Sequence[Source], kind: str) -> str:
        # Only columns of its own query: an aggregate over outer columns alone would belong to the outer query.
        if self.chance(8):
            text = f"{self.one(('MAX', 'MIN'))}({self.failing(own, kind, 'aggregate')})"
        else:
            text = self.template(self.speech.aggregates[kind], own, kind, 0)
        if self.has("filter") and re.fullmatch(r"(COUNT|SUM|MAX|MIN|AVG|TOTAL|STDDEV|STRING_AGG)\(.*\)", text) and self.chance(20):
            return f"{text} FILTER (WHERE {self.predicate(0, own, 'filter')})"
        return text

    def window(self, own: Sequence[Source], *, name: bool) -> str:
        """A window function. Without a key its order has ties, and only what counts peers alike is determined."""
        if len(own) == 1 and own[0].key and self.chance(50):
            key = f"{own[0].alias}.{own[0].key}"
            function = self.template(self.speech.ranks, own, "number", 0)
            order = self.failing(own, "number", "window") + ", " if self.chance(15) else ""
            frame = self.frame("ROWS") if function.startswith(("SUM", "FIRST_", "LAST_", "NTH_")) and self.chance(50) else ""
            return f"{function} OVER ({self.partition(own)} ORDER BY {order}{key}{frame})".replace("( ", "(")
        argument = self.failing(own, "number", "window") if self.chance(20) else self.column(own, "number")
        function = self.one(("RANK()", "DENSE_RANK()", f"SUM({self.column(own, 'number')})", "COUNT(*)", f"MAX({argument})"))
        if self.has("window filter") and function[0] in "SCM" and self.chance(10):
            function += f" FILTER (WHERE {self.predicate(0, own, 'filter')})"
        if name:
            return f"{function} OVER w9"
        frame = "" if function.startswith(("RANK", "DENSE")) or "FILTER" in function else self.one(("", "", self.frame("RANGE"), self.frame("GROUPS")))
        return f"{function} OVER ({self.over(own)}{frame})"

    def partition(self, own: Sequence[Source]) -> str:
        if not self.chance(60):
            return ""
        kind = self.one(("text", "number"))
        return f"PARTITION BY {self.failing(own, kind, 'partition') if self.chance(20) else self.column(own, kind)}"

    def over(self, own: Sequence[Source]) -> str:
        order = self.failing(own, "number", "window") if self.chance(15) else self.column(own, "number", bare=False)
        return f"{self.partition(own)} ORDER BY {order}".removeprefix(" ")

    def frame(self, kind: str) -> str:
        if not self.has("frames") or (kind == "GROUPS" and not self.has("frames of groups")):
            return ""
        near = "UNBOUNDED" if kind == "RANGE" else str(self.number(1, 2))
        return f" {kind} BETWEEN {near} PRECEDING AND {self.one(('CURRENT ROW', 'UNBOUNDED FOLLOWING'))}"

    def having(self, own: Sequence[Source], groups: Sequence[str]) -> str:
        if groups and self.chance(40):
            return f"{self.one(groups)} IS NOT NULL"
        if self.chance(20):
            return f"MAX({self.failing(own, 'number', 'having')}) {self.one(('>', '<='))} {self.literal('number')}"
        return f"{self.aggregate(own, 'number')} {self.one(('>', '<=', '<>'))} {self.operand('number')}"

    def predicate(self, depth: int, scope: Sequence[Source], place: str = "where") -> str:
        kind = self.one(("number", "text"))
        column = self.column(scope, kind)
        shapes = ("compare", "compare", "columns", "null", "in", "between", "like", "pattern", "not", "both", "both", "exists", "within", "each", "pair")
        match self.one((*shapes, "fails", "fails", "fails", "spelled")):
            case "columns":
                return f"{column} {self.one(('=', '<>', '<'))} {self.column(scope, kind)}"
            case "null":
                return f"{column} IS {self.one(('NULL', 'NOT NULL'))}"
            case "in":
                return f"{column} {self.one(('IN', 'NOT IN'))} ({self.literal(kind)}, {self.operand(kind)})"
            case "between":
                return f"{column} {self.one(('', 'NOT '))}BETWEEN {self.operand(kind)} AND {self.literal(kind)}"
            case "like":
                return f"{self.column(scope, 'text')} {self.one(('', 'NOT '))}LIKE {text_of(self.one(('%a%', 'EU', 'p%', '1_')))}"
            case "pattern":
                return f"{self.column(scope, 'text')} LIKE {self.column(scope, 'text')} || {text_of(self.one(('%', 'a%', '_')))}"
            case "spelled" if self.speech.patterns:
                return self.template(self.speech.patterns, scope, kind)
            case "not":
                return f"NOT ({column} {self.one(('=', '>='))} {self.literal(kind)})"
            case "both" if depth > 0:
                return f"({self.predicate(depth - 1, scope, place)} {self.one(('AND', 'OR'))} {self.predicate(depth - 1, scope, place)})"
            case "exists" if depth > 0:
                sql = self.within(depth, scope, ("number",))
                return f"{self.one(('EXISTS', 'NOT EXISTS'))} ({sql})"
            case "within" if depth > 0:
                sql = self.within(depth, scope, (kind,))
                return f"{column} {self.one(('IN', 'NOT IN'))} ({sql})"
            case "each" if depth > 0 and self.has("quantified"):
                sql = self.within(depth, scope, (kind,))
                return f"{column} {self.one(('=', '<>', '<', '>='))} {self.one(('ANY', 'ALL', 'SOME'))} ({sql})"
            case "pair" if depth > 0 and self.has("rows"):
                sql = self.within(depth, scope, ("number", "text"))
                return f"({self.column(scope, 'number')}, {self.column(scope, 'text')}) {self.one(('IN', 'NOT IN'))} ({sql})"
            case "fails":
                return f"{self.failing(scope, kind, place)} {self.one(('<', '=', '<>', '>='))} {self.literal(kind)}"
            case _:
                return f"{column} {self.one(('=', '<>', '<', '>', '<=', '>='))} {self.operand(kind)}"

    def within(self, depth: int, scope: Sequence[Source], kinds: Sequence[str]) -> str:
        self.inside.append("within")
        sql, _ = self.query(depth - 1, scope, kinds, limited=False)
        self.inside.pop()
        return sql
