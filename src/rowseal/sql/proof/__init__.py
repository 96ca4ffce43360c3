"""Proves the text of one guard: that it reads what its dataset declares, hands on the declared fields, and drops every row that the policy
does not permit. Shares no code with whoever wrote the guard. A disagreement is a bug of ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlglot import exp
from sqlglot.errors import SqlglotError

from rowseal.catalog import Source
from rowseal.errors import OurBug
from rowseal.filters import Operator
from rowseal.policy import AllOf, AnyOf, Condition, Predicate, Rows, Shaped, Through
from rowseal.sql import BIND, NUMBER, OK, TRUSTED, Form
from rowseal.sql.proof.duckdb import DUCKDB
from rowseal.sql.proof.failing import fail
from rowseal.sql.proof.mariadb import MARIADB
from rowseal.sql.proof.postgres import POSTGRES
from rowseal.sql.proof.reading import Reading
from rowseal.sql.proof.sqlite import SQLITE
from rowseal.sql.quiet import QUIET

__all__ = ["BOUND", "READINGS", "Proven", "fail", "forget", "parsed", "prove_guard"]

READINGS: Final[Mapping[str, Reading]] = {"sqlite": SQLITE, "postgres": POSTGRES, "mariadb": MARIADB, "duckdb": DUCKDB}
BOUND: Final = re.compile(f"{BIND}([A-Za-z_][A-Za-z0-9_]*){BIND}")

_VALUE: Final = re.compile(r"[:$]v0")
_LISTS: Final = frozenset({Operator.IS_ONE_OF, Operator.IS_NOT_ONE_OF})


@dataclass(frozen=True, slots=True)
class Proven:
    """What is known of a guard's text. `reads` are the tables that it reads, and those that each CTE inside of it may read, by what follows
    the guard's name.
    """

    reads: Mapping[str, frozenset[tuple[str, str]]]


def forget() -> None:
    """Let every proof go, and with them the datasets that they were made for."""
    prove_guard.cache_clear()


@lru_cache(maxsize=4096)
def prove_guard(text: str, dialect: str, shaped: Shaped, form: Form) -> Proven:
    """Prove the guard's text, and that it has this form. What may raise of its own accord, a view or a SELECT of the operator, must be fenced.

    INVARIANT: the text fixes everything but the number and the bound values.
    """
    rows, reading = shaped.take(), READINGS[dialect]
    statement = parsed(f"WITH {text.replace(NUMBER, '1')} SELECT 1", dialect)
    with_ = statement.args.get("with_")
    if with_ is None or len(with_.expressions) != 1 or with_.args.get("recursive"):
        fail("a guard is not one CTE")
    cte = with_.expressions[0]
    body = cte.this
    if cte.args["alias"].args.get("columns") or cte.alias != "__g1" or type(body) is not exp.Select:
        fail("a guard is not a plain SELECT under its own name")
    reader = _GuardReader(reading, text)
    reader.relation(body.args.get("from_"), rows, "b")
    fences = [part for part, asked in (("limit", reading.fence_limit), ("offset", reading.fenced_by_offset)) if asked and form == "fenced"]
    if any(value not in (None, [], False) for name, value in body.args.items() if name not in ("expressions", "from_", "where", *fences)):
        fail("a guard holds more than columns, a table and conditions")
    if "limit" in fences and _limit(body) != reading.fence_limit:
        fail("a guard is fenced by another LIMIT than the one that lets all rows through")
    if "offset" in fences and body.args.get("offset") != exp.Offset(expression=exp.Literal.number(0)):
        fail("a guard is fenced by another OFFSET than the one that lets all rows through")
    where = body.args.get("where")
    items = list(body.expressions)
    if form == "case":
        _prove_ok(items.pop(), where, reading)
    handed_on = [(item.this.table, item.this.name, item.alias) for item in items if type(item) is exp.Alias and type(item.this) is exp.Column]
    if handed_on != [("b", field.column, field.sql_name) for field in rows.dataset.fields if not field.hidden] or len(handed_on) != len(items):
        fail("a guard hands on other columns than the visible ones")
    reader.all_of(list(_conjuncts(where.this)) if where is not None else [], rows.predicate, "b")
    if reader.binds != len(rows.values):
        fail("a guard binds another number of values than the policy has")
    if form != "fenced" and not reader.plain:  # parents count too
        fail("a guard whose own columns may raise is not fenced")
    _prove_letters(text, rows, reading, form)
    if any(not name.args.get("quoted") for name in _names(body, reader.sources)) or any(node.comments for node in body.walk()):
        fail("a name in a guard stands without quotes, or a comment in it")
    return Proven({name: frozenset(tables) for name, tables in reader.reads.items()})


def _limit(body: exp.Select) -> str:
    limit = body.args.get("limit")
    plain = type(limit) is exp.Limit and type(limit.expression) is exp.Literal and not limit.expression.args.get("is_string")
    return str(limit.expression.this) if limit is not None and plain else ""


def _prove_ok(item: exp.Expr, where: exp.Expr | None, reading: Reading) -> None:
    """The last column says whether all conditions hold, and never NULL: the conditions word for word, with the same binds."""
    held = item.this if type(item) is exp.Alias and item.alias == f"{OK}1" else exp.Null()
    truth = held.args.get("expression")
    if type(held) is not exp.Is or type(held.this) is not exp.Paren or type(truth) is not exp.Boolean or truth.this is not True or where is None:
        fail("a guard does not hand on whether its conditions hold")
    if _written(held.this.this, reading) != _written(where.this, reading):
        fail("a guard hands on whether other conditions hold than its own")


def _prove_letters(text: str, rows: Rows, reading: Reading, form: Form) -> None:
    """The guard begins and ends as it must, to the letter: also what a parser reads and forgets, such as a fence."""
    opened, closed = reading.fence if form == "fenced" else reading.plain
    columns = ", ".join(f"b.{reading.quoted(field.column)} AS {reading.quoted(field.sql_name)}" for field in rows.dataset.fields if not field.hidden)
    head, from_ = f"{reading.quoted(f'__g{NUMBER}')} AS {opened}SELECT {columns}", f" FROM {_relation(rows, reading)} AS b"  # a pattern
    if form == "case":
        ok = re.escape(f" IS TRUE AS {reading.quoted(f'{OK}{NUMBER}')}") + from_ + " WHERE "
        letters = rf"{re.escape(head)}, \((?P<conditions>.+)\){ok}(?P=conditions)"
    else:
        letters = re.escape(head) + from_ + "( WHERE .+)?"
    if not re.fullmatch(letters + re.escape(closed), text, re.DOTALL):
        fail("a guard is not written to the letter, or not fenced as it must be")


def _relation(rows: Rows, reading: Reading) -> str:
    dataset = rows.dataset
    return re.escape(f"{reading.quoted(dataset.schema)}.{reading.quoted(dataset.table)}") if dataset.source is None else _letters(dataset.source, 0)


def _letters(source: Source, first: int) -> str:
    """A pattern of the operator's SELECT to the letter, with binds from this number on in the places of the token's values, in a CAST or without.

    Which CAST, the tree tells.
    """
    text, *pieces = source.text.split(TRUSTED)
    binds = (f"{BIND}g{NUMBER}_{number}{BIND}" for number in range(first, first + len(pieces)))
    written = (f"(?:{bind}|CAST\\({bind} AS [^{BIND}'\"]+?\\)){re.escape(piece)}" for bind, piece in zip(binds, pieces, strict=True))
    return f"\\({re.escape(text)}{''.join(written)}\\)"


def _selected(rows: Rows, source: Source, reading: Reading, first: int) -> str:
    """The operator's SELECT with the binds of the token's values in their places, from this number on."""
    text, *pieces = source.text.split(TRUSTED)
    if not len(pieces) == len(rows.trusted) == len(source.trusted):
        fail("a source has another number of values than the policy")
    for number, (each, condition, piece) in enumerate(zip(source.trusted, rows.trusted, pieces, strict=True), first):
        form = next(iter(reading.forms(condition)))
        if condition.field is not each.field or condition.op is not Operator.EQ or not re.match("c[ A-Z]* = ", form):
            fail("a value of a source is not compared as such")
        text += _VALUE.sub(f"{BIND}g{NUMBER}_{number}{BIND}", form.partition(" = ")[2]) + piece
    return text


def _names(body: exp.Select, sources: Collection[int]) -> Iterator[exp.Identifier]:
    """Every name that the database looks up, but for the aliases that we gave, the one column of JSON_EACH, and what stands in a source."""
    for node in body.walk(prune=lambda each: id(each) in sources):
        if id(node) in sources or not isinstance(node, (exp.Table, exp.Column)) or not isinstance(node.this, exp.Identifier):
            continue
        if node.this.this != "value":
            yield node.this
        if isinstance(node.args.get("db"), exp.Identifier):
            yield node.args["db"]


class _GuardReader:
    """Reads conditions side by side with the policy that they must say."""

    def __init__(self, reading: Reading, text: str) -> None:
        self.reading = reading
        self.text = text
        self.binds = 0
        self.parents = 0
        self.plain = True  # nothing is read but tables whose columns cannot raise
        self.sources: set[int] = set()
        self.reads: dict[str, set[tuple[str, str]]] = {"": set()}

    def relation(self, from_: exp.Expr | None, rows: Rows, alias: str) -> None:
        dataset, node = rows.dataset, from_.this if from_ is not None else exp.Null()
        self.plain = self.plain and dataset.relation == "table"
        if dataset.source is not None:
            self.source(node, rows, dataset.source, alias)
            return
        alone = type(node) is exp.Table and all(value in (None, [], False) for name, value in node.args.items() if name not in ("this", "db", "alias"))
        if not alone or (node.text("db"), node.name, node.alias) != (dataset.schema, dataset.table, alias):
            fail("a guard reads another table than its dataset's")
        self.reads[""].add((dataset.schema, dataset.table))

    def source(self, node: exp.Expr, rows: Rows, source: Source, alias: str) -> None:
        """The operator's SELECT, word for word; and that it reads the tables that the catalog says, whoever wrote that down."""
        text, letters = _selected(rows, source, self.reading, self.binds), _letters(source, self.binds)
        self.binds += len(source.trusted)
        bare = type(node) is exp.Subquery and all(value in (None, [], False) for name, value in node.args.items() if name not in ("this", "alias"))
        if not bare or node.alias != alias or node.args["alias"].args.get("columns") or not re.search(f"FROM {letters} AS {alias}", self.text):
            fail("a guard reads something else than its dataset's source")
        if _written(node.this, self.reading) != _written(_parsed(text.replace(NUMBER, "1"), self.reading), self.reading):
            fail("a guard reads something else than its dataset's source")
        own = {f"__g1_{number}" for number in range(1, source.ctes + 1)}
        read: set[tuple[str, str]] = set()
        for inner in node.walk():
            if isinstance(inner, exp.CTE) and inner.alias not in own:
                fail("a CTE of a source has a name of its own choice")
            if isinstance(inner, exp.Table) and (type(inner.this) is not exp.Identifier or inner.args.get("catalog")):
                fail("a source reads something that is no table")
            if isinstance(inner, exp.Table) and (inner.text("db") or inner.name not in own):
                read.add((inner.text("db"), inner.name))
        if read != source.tables or len([inner for inner in node.walk() if isinstance(inner, exp.CTE)]) != source.ctes:
            fail("a source reads other tables than the catalog says")
        self.sources.add(id(node))
        for name in ("", *(f"_{number}" for number in range(1, source.ctes + 1))):
            self.reads.setdefault(name, set()).update(source.tables)

    def all_of(self, conjuncts: list[exp.Expr], predicate: AllOf, alias: str) -> None:
        remaining = iter(conjuncts)
        for part in _flat(predicate):
            self.part(remaining, part, alias)
        if next(remaining, None) is not None:
            fail("a guard has conditions that the policy lacks")

    def part(self, remaining: Iterator[exp.Expr], part: Predicate, alias: str) -> None:
        if isinstance(part, Condition):
            self.condition(remaining, part, alias)
            return
        node = next(remaining, None)
        if isinstance(part, AnyOf) and type(node) is exp.Paren:
            branches = list(_disjuncts(node.this))
            if len(branches) != len(part.parts):
                fail("a guard has another number of alternatives than the policy")
            for branch, inner in zip(branches, part.parts, strict=True):
                if type(branch) is not exp.Paren:
                    fail("an alternative of a guard stands without brackets")
                self.all_of(list(_conjuncts(branch.this)), inner if isinstance(inner, AllOf) else AllOf((inner,)), alias)
        elif isinstance(part, Through) and type(node) is exp.Exists and type(node.this) is exp.Select:
            self.through(node.this, part, alias)
        else:
            fail("a condition of the policy is missing from its guard")

    def through(self, query: exp.Select, part: Through, alias: str) -> None:
        if any(value not in (None, [], False) for name, value in query.args.items() if name not in ("expressions", "from_", "where")):
            fail("a parent's sub-query holds more than a table and conditions")
        self.parents += 1
        parent = f"p{self.parents}"
        self.relation(query.args.get("from_"), part.parent, parent)
        where = query.args.get("where")
        conjuncts = list(_conjuncts(where.this)) if where is not None else []
        for own, theirs in part.on:
            columns = {(parent, theirs.column): "p", (alias, own.column): "c"}
            for form in self.reading.same(own, theirs):
                node = conjuncts.pop(0) if conjuncts else exp.Null()
                if _spelled_with(node, columns, {}, self.reading) != _canonical(form, self.reading):
                    fail("a parent is joined by other fields than configured")
        self.all_of(conjuncts, part.parent.predicate, parent)

    def condition(self, remaining: Iterator[exp.Expr], condition: Condition, alias: str) -> None:
        """The next conjuncts are, word for word, what the operator looks like on this column with the next binds."""
        # INVARIANT: where one cast stands for all values of a condition, they are of one type: 6.5 as a whole number would be 7.
        if self.reading.one_type and len({type(value) for value in condition.values}) > 1:
            fail("the values of a condition are of several types")
        count = 1 if condition.op in _LISTS else len(condition.values)
        names = {f"g1_{self.binds + index}": f"v{index}" for index in range(count)}
        self.binds += count
        for form in self.reading.forms(condition):
            node = next(remaining, None)
            if node is None or _spelled_with(node, {(alias, condition.field.column): "c"}, names, self.reading) != _canonical(form, self.reading):
                fail("a condition of a guard is not what the policy says")


def _spelled_with(node: exp.Expr, columns: Mapping[tuple[str, str], str], binds: Mapping[str, str], reading: Reading) -> str:
    """The condition with its columns and binds under the names of the forms; others keep theirs and so fit no form."""
    root = exp.Paren(this=node.copy())
    for inner in list(root.find_all(exp.Column, exp.Placeholder)):
        if isinstance(inner, exp.Placeholder):
            inner.replace(exp.Placeholder(this=binds.get(inner.name, "another")))
        elif isinstance(inner, exp.Column) and (inner.table, inner.name) in columns:
            inner.replace(exp.Column(this=exp.Identifier(this=columns[inner.table, inner.name])))
    return _written(root.this, reading)


@lru_cache(maxsize=1024)
def _canonical(form: str, reading: Reading) -> str:
    """A form as this parser reads and writes it."""
    return _written(_parsed(f"SELECT 1 WHERE {form}", reading).args["where"].this, reading)


def _written(node: exp.Expr, reading: Reading) -> str:
    return reading.grammar.generate(node, comments=False)


def _flat(predicate: AllOf) -> Iterator[Predicate]:
    for part in predicate.parts:
        if isinstance(part, AllOf):
            yield from _flat(part)
        else:
            yield part


def _conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    if type(node) is exp.And:
        yield from _conjuncts(node.this)
        yield from _conjuncts(node.expression)
    else:
        yield node


def _disjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    if type(node) is exp.Or:
        yield from _disjuncts(node.this)
        yield from _disjuncts(node.expression)
    else:
        yield node


def parsed(text: str, dialect: str) -> exp.Query:
    """A text of ours, with its binds still marked, read back as one query."""
    return _parsed(text, READINGS[dialect])


def _parsed(text: str, reading: Reading) -> exp.Query:
    try:
        with QUIET:
            statements = reading.grammar.parse(BOUND.sub(reading.mark_of_bind, text))
    except SqlglotError as error:  # and no RecursionError: it says that the text nests too deep for here, which is nobody's mistake
        raise OurBug("witness: the text cannot be read back") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        fail("the text is not one query")
    return statements[0]
