"""Proves the text of one guard: that it reads what its dataset declares, hands on the declared fields, and drops every row that the policy
does not permit. Shares no code with whoever wrote the guard. A disagreement is a bug of ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Final, NoReturn

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar
from sqlglot.errors import SqlglotError

from rowseal.catalog import Field, Source
from rowseal.errors import OurBug
from rowseal.filters import Operator
from rowseal.policy import AllOf, AnyOf, Condition, Predicate, Rows, Shaped, Through
from rowseal.sql import BIND, NUMBER

__all__ = ["BOUND", "GRAMMARS", "fail", "forget", "parsed", "prove_guard"]

GRAMMARS: Final = {name: Grammar.get_or_raise(name) for name in ("sqlite", "postgres")}
BOUND: Final = re.compile(f"{BIND}([A-Za-z_][A-Za-z0-9_]*){BIND}")

_LISTS: Final = frozenset({Operator.IS_ONE_OF, Operator.IS_NOT_ONE_OF})
# What each operator must look like once read back. c is the column, x the column compared by its bytes, t as text by its bytes;
# v0 and v1 are the binds, k the type they are cast to. Written out here a second time on purpose: this table shares nothing with
# the one that writes guards, and each line can be read against docs/reference/operators.md.
_COMPARED: Final[Mapping[Operator, str]] = {
    Operator.EQ: "=",
    Operator.NE: "<>",
    Operator.GT: ">",
    Operator.GE: ">=",
    Operator.LT: "<",
    Operator.LE: "<=",
}
_NULL: Final[Mapping[Operator, tuple[str, ...]]] = {Operator.IS_NULL: ("c IS NULL",), Operator.IS_NOT_NULL: ("NOT c IS NULL",)}
_FORMS: Final[Mapping[str, Mapping[Operator, tuple[str, ...]]]] = {
    "sqlite": {
        **_NULL,
        **{op: (f"{{x}} {sign} :v0",) for op, sign in _COMPARED.items()},
        Operator.BETWEEN: ("{x} >= :v0", "{x} <= :v1"),
        Operator.IS_ONE_OF: ("{x} IN (SELECT value FROM JSON_EACH(:v0))",),
        Operator.IS_NOT_ONE_OF: ("NOT {x} IN (SELECT value FROM JSON_EACH(:v0))",),
        Operator.STARTS_WITH: ("INSTR(c, :v0) = 1",),
        Operator.ENDS_WITH: ("SUBSTRING(CAST(c AS BLOB), -LENGTH(CAST(:v0 AS BLOB))) = CAST(:v0 AS BLOB)",),
        Operator.CONTAINS: ("INSTR(c, :v0) > 0",),
        Operator.NOT_CONTAINS: ("INSTR(c, :v0) = 0",),
    },
    "postgres": {
        **_NULL,
        **{op: (f"{{x}} {sign} CAST(:v0 AS {{k}})",) for op, sign in _COMPARED.items()},
        Operator.BETWEEN: ("{x} >= CAST(:v0 AS {k})", "{x} <= CAST(:v1 AS {k})"),
        Operator.IS_ONE_OF: ("{x} = ANY(CAST(:v0 AS {k}[]))",),
        Operator.IS_NOT_ONE_OF: ("{x} <> ALL(CAST(:v0 AS {k}[]))",),
        Operator.STARTS_WITH: ("STARTS_WITH({t}, CAST(:v0 AS TEXT))",),
        Operator.ENDS_WITH: ("RIGHT({t}, LENGTH(CAST(:v0 AS TEXT))) = CAST(:v0 AS TEXT)",),
        Operator.CONTAINS: ("STRPOS({t}, CAST(:v0 AS TEXT)) > 0",),
        Operator.NOT_CONTAINS: ("STRPOS({t}, CAST(:v0 AS TEXT)) = 0",),
    },
}
# Where text is compared by bytes, a first equality by the column's own collation may stand beside it, for the sake of an index.
_WITH_TWIN: Final = {"sqlite": frozenset({Operator.EQ}), "postgres": frozenset({Operator.EQ, Operator.IS_ONE_OF})}
# SQLite: what a value must be beside the condition itself, unless the condition is an equality, which says it.
_TYPED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("integer", "decimal", "float"), ("TYPEOF(c) IN ('integer', 'real')",)),
    "boolean": ("TYPEOF(c) = 'integer'", "c IN (0, 1)"),
    **dict.fromkeys(("text", "enum", "text_date", "text_timestamp"), ("TYPEOF(c) = 'text'",)),
}
_TEXTUAL: Final = {"%Y": "[0-9][0-9][0-9][0-9]", "%f": "[0-9]" * 6, "*": "[*]", "?": "[?]", "[": "[[]", "'": "''"}  # other parts have two digits
_AS_TEXT: Final = 'CAST(c AS TEXT) COLLATE "C"'
_BOUND_AS: Final[Mapping[str, str]] = {
    "bool": "BOOLEAN",
    "int": "BIGINT",
    "Decimal": "DECIMAL",
    "float": "DOUBLE PRECISION",
    "str": "TEXT",
    "date": "DATE",
    "UUID": "UUID",
}


def fail(reason: str) -> NoReturn:
    """The proof does not hold."""
    raise OurBug(f"witness: {reason}")


def forget() -> None:
    """Let every proof go, and with them the datasets that they were made for."""
    prove_guard.cache_clear()


@lru_cache(maxsize=4096)
def prove_guard(text: str, dialect: str, shaped: Shaped, *, fenced: bool) -> Mapping[str, frozenset[tuple[str, str]]]:
    """Prove the guard's text; returns the tables that it reads, and those that each CTE inside of it may read, by what follows the guard's name.

    INVARIANT: the text fixes everything but the number and the bound values.
    """
    rows = shaped.take()
    statement = parsed(f"WITH {text.replace(NUMBER, '1')} SELECT 1", dialect)
    with_ = statement.args.get("with_")
    if with_ is None or len(with_.expressions) != 1 or with_.args.get("recursive"):
        fail("a guard is not one CTE")
    cte = with_.expressions[0]
    body = cte.this
    if cte.args["alias"].args.get("columns") or cte.alias != "__g1" or type(body) is not exp.Select:
        fail("a guard is not a plain SELECT under its own name")
    if any(value not in (None, [], False) for name, value in body.args.items() if name not in ("expressions", "from_", "where")):
        fail("a guard holds more than columns, a table and conditions")
    fence = "MATERIALIZED" if cte.args["materialized"] else "NOT MATERIALIZED"
    columns = ", ".join(f"b.{_quoted(field.column)} AS {_quoted(field.sql_name)}" for field in rows.dataset.fields if not field.hidden)
    head = f'"__g{NUMBER}" AS {fence} (SELECT {columns} FROM {_relation(rows)} AS b'
    if not re.fullmatch(re.escape(head) + r"( WHERE .+)?\)", text, re.DOTALL):
        fail("a guard is not written to the letter")
    reader = _GuardReader(dialect, text)
    reader.relation(body.args.get("from_"), rows, "b")
    handed_on = [(item.this.table, item.this.name, item.alias) for item in body.expressions if type(item) is exp.Alias and type(item.this) is exp.Column]
    if handed_on != [("b", field.column, field.sql_name) for field in rows.dataset.fields if not field.hidden] or len(handed_on) != len(body.expressions):
        fail("a guard hands on other columns than the visible ones")
    where = body.args.get("where")
    reader.all_of(list(_conjuncts(where.this)) if where is not None else [], rows.predicate, "b")
    if reader.binds != len(rows.values):
        fail("a guard binds another number of values than the policy has")
    if cte.args.get("materialized") is not (fenced or not reader.plain):
        fail("a guard is not fenced as it must be")
    if any(not name.args.get("quoted") for name in _names(body, reader.sources)) or any(node.comments for node in body.walk()):
        fail("a name in a guard stands without quotes, or a comment in it")
    return {name: frozenset(tables) for name, tables in reader.reads.items()}


def _relation(rows: Rows) -> str:
    dataset = rows.dataset
    return f"{_quoted(dataset.schema)}.{_quoted(dataset.table)}" if dataset.source is None else f"({dataset.source.text})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _names(body: exp.Select, sources: Collection[int]) -> Iterator[exp.Identifier]:
    """Every name that the database looks up, but for the aliases that we gave, the one column of JSON_EACH, and what stands in a source."""
    for node in body.walk(prune=lambda each: id(each) in sources):
        if id(node) in sources or not isinstance(node, (exp.Table, exp.Column)) or not isinstance(node.this, exp.Identifier):
            continue
        if node.this.this != "value":
            yield node.this


class _GuardReader:
    """Reads conditions side by side with the policy that they must say."""

    def __init__(self, dialect: str, text: str) -> None:
        self.dialect = dialect
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
            self.source(node, dataset.source, alias)
            return
        alone = type(node) is exp.Table and all(value in (None, [], False) for name, value in node.args.items() if name not in ("this", "db", "alias"))
        if not alone or (node.text("db"), node.name, node.alias) != (dataset.schema, dataset.table, alias):
            fail("a guard reads another table than its dataset's")
        self.reads[""].add((dataset.schema, dataset.table))

    def source(self, node: exp.Expr, source: Source, alias: str) -> None:
        """The operator's SELECT, word for word; and that it reads the tables that the catalog says, whoever wrote that down."""
        bare = type(node) is exp.Subquery and all(value in (None, [], False) for name, value in node.args.items() if name not in ("this", "alias"))
        if not bare or node.alias != alias or node.args["alias"].args.get("columns") or f"FROM ({source.text}) AS {alias}" not in self.text:
            fail("a guard reads something else than its dataset's source")
        if _written(node.this, self.dialect) != _written(parsed(source.text.replace(NUMBER, "1"), self.dialect), self.dialect):
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
            node = conjuncts.pop(0) if conjuncts else exp.Null()
            columns = {(parent, theirs.column): "p", (alias, own.column): "c"}
            if _spelled_with(node, columns, {}, self.dialect) != _canonical(_same(own, theirs, self.dialect), self.dialect):
                fail("a parent is joined by other fields than configured")
        self.all_of(conjuncts, part.parent.predicate, parent)

    def condition(self, remaining: Iterator[exp.Expr], condition: Condition, alias: str) -> None:
        """The next conjuncts are, word for word, what the operator looks like on this column with the next binds."""
        # INVARIANT: on PostgreSQL one cast stands for all values of a condition, so they are of one type: 6.5 as a whole number would be 7.
        if self.dialect == "postgres" and len({type(value) for value in condition.values}) > 1:
            fail("the values of a condition are of several types")
        count = 1 if condition.op in _LISTS else len(condition.values)
        names = {f"g1_{self.binds + index}": f"v{index}" for index in range(count)}
        self.binds += count
        for form in _forms(condition, self.dialect):
            node = next(remaining, None)
            if node is None or _spelled_with(node, {(alias, condition.field.column): "c"}, names, self.dialect) != _canonical(form, self.dialect):
                fail("a condition of a guard is not what the policy says")


def _spelled_with(node: exp.Expr, columns: Mapping[tuple[str, str], str], binds: Mapping[str, str], dialect: str) -> str:
    """The condition with its columns and binds under the names of the forms; others keep theirs and so fit no form."""
    root = exp.Paren(this=node.copy())
    for inner in list(root.find_all(exp.Column, exp.Placeholder)):
        if isinstance(inner, exp.Placeholder):
            inner.replace(exp.Placeholder(this=binds.get(inner.name, "another")))
        elif isinstance(inner, exp.Column) and (inner.table, inner.name) in columns:
            inner.replace(exp.Column(this=exp.Identifier(this=columns[inner.table, inner.name])))
    return _written(root.this, dialect)


def _same(own: Field, theirs: Field, dialect: str) -> str:
    """What it looks like that a parent (p) and a child (c) are the same."""
    texts = {own.storage.value, theirs.storage.value} & {"text", "enum", "text_date", "text_timestamp"}
    if dialect == "sqlite":
        return "p COLLATE BINARY = c" if texts else "p = c"
    plain = all(field.bytewise and not field.collation for field in (own, theirs))
    return "p = c" if plain or own.storage != "text" else 'CAST(p AS TEXT) COLLATE "C" = CAST(c AS TEXT) COLLATE "C"'


def _forms(condition: Condition, dialect: str) -> Iterator[str]:
    field, texts = condition.field, ("text", "text_date", "text_timestamp")
    if dialect == "sqlite":
        exact = "c COLLATE BINARY" if field.storage in (*texts, "enum") else "c"
    else:
        exact = _AS_TEXT if field.storage == "enum" or (field.storage == "text" and not field.bytewise) else "c"
    kind = ""
    if condition.values:
        kind = _BOUND_AS.get(type(condition.values[0]).__name__, "TIMESTAMPTZ" if field.storage == "timestamptz" else "TIMESTAMP")
    if dialect == "sqlite" and condition.op not in (Operator.EQ, Operator.IS_ONE_OF, *_NULL):
        yield from _TYPED[field.storage.value]
        if field.format is not None:
            yield "c GLOB '" + "".join(_TEXTUAL.get(part) or ("[0-9][0-9]" if part[0] == "%" else part) for part in re.findall("%.|[^%]", field.format)) + "'"
    if condition.op in _WITH_TWIN[dialect] and exact != "c" and field.storage != "enum":
        yield from (form.format(x="c", k=kind) for form in _FORMS[dialect][condition.op])
    yield from (form.format(x=exact, t=_AS_TEXT, k=kind) for form in _FORMS[dialect][condition.op])


@lru_cache(maxsize=1024)
def _canonical(form: str, dialect: str) -> str:
    """A form as this parser reads and writes it."""
    return _written(parsed(f"SELECT 1 WHERE {form}", dialect).args["where"].this, dialect)


def _written(node: exp.Expr, dialect: str) -> str:
    return GRAMMARS[dialect].generate(node, comments=False)


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
    try:
        statements = GRAMMARS[dialect].parse(BOUND.sub(r":\1", text))
    except (SqlglotError, RecursionError) as error:
        raise OurBug("witness: the text cannot be read back") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        fail("the text is not one query")
    return statements[0]
