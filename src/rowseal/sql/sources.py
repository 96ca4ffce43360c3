"""A SELECT of the operator -> the one text that stands in a guard where a table would. At the start only.

It is judged as a bearer's query is: the same closed world, every name resolved before the database sees it. But its tables are the
database's own, always written with their schema, and what `*` means is written out, so that a column added later is not handed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sqlglot import exp
from sqlglot.errors import SqlglotError

from rowseal.catalog import FieldType, FunctionRules, Limits, Source, Trusted
from rowseal.catalog.names import is_system
from rowseal.catalog.reflection import Column as Reflected
from rowseal.catalog.reflection import Relation
from rowseal.catalog.text import nearest
from rowseal.errors import QueryRefused, Refused
from rowseal.sql import NUMBER, TRUSTED
from rowseal.sql.admit import ParsedQuery, admit
from rowseal.sql.dialects import DIALECTS, Dialect
from rowseal.sql.names import Column, Columns, Names
from rowseal.sql.place import position
from rowseal.sql.resolve import resolve
from rowseal.sql.rewriting import arms, fold_aliases, name_computed, refer, rename, unqualify, without_brackets, write

__all__ = ["Join", "SourceRefused", "admit_source", "join_source", "tables_named", "write_source"]

Reference = tuple[str | None, str]  # (schema or None, table) as the SQL names it, folded

_NOTHING: Final[Mapping[str, Trusted]] = MappingProxyType({})
_TEMPLATE: Final = re.compile(r"\{\{[ \t]*trusted\.([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}")
_PREFIX: Final = "trusted_"
_INSIDE: Final = "names a value of the token inside of a text or comment, or as `:name`; write `{{ trusted.name }}` by itself, without quotes"
_MARKED: Final = re.compile(f"{TRUSTED}([A-Za-z0-9_]+){TRUSTED}")
_EXAMPLES: Final[Mapping[FieldType, bool | int | str]] = {FieldType.NUMBER: 1, FieldType.STRING: "", FieldType.BOOLEAN: True}

_LIMITS: Final = Limits()  # the bounds of a bearer's SQL are for bearers, and may be narrower


class SourceRefused(Exception):
    """The SELECT cannot be a dataset. The message says why and what to write; `line` and `column` count from 1 in the SQL, where known."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def admit_source(sql: str, dialect: str, functions: FunctionRules, trusted: Mapping[str, Trusted] = _NOTHING) -> ParsedQuery:
    """Accept one SELECT made of admitted parts. `trusted` are the token's values that it may name. Raises SourceRefused."""
    named = _templates(sql, trusted)
    bare = _TEMPLATE.sub(lambda each: f":{_PREFIX}{each[1]}".ljust(len(each[0])), sql)  # of one length, so that positions stay
    examples = {f"{_PREFIX}{name}": _EXAMPLES[trusted[name].field.type] for name in named}
    try:
        parsed = admit(bare, examples, DIALECTS[dialect], _LIMITS, functions)
    except Refused as refusal:
        raise _refused(refusal) from refusal
    if sorted(node.this.removeprefix(_PREFIX) for node in parsed.nodes if isinstance(node, exp.Placeholder)) != sorted(named):
        raise SourceRefused(_INSIDE)
    for limit in parsed.tree.find_all(exp.Limit, exp.Offset, exp.Fetch):
        if limit.find(exp.Placeholder):
            raise SourceRefused("takes from the token how many rows it has; write the number")
    if parsed.params.decisive:
        raise SourceRefused("takes a pattern from the token, whose cost nobody knows beforehand; compare with `=` instead")
    for join in parsed.tree.find_all(exp.Join):
        if join.args.get("method"):
            raise SourceRefused("joins by whatever columns happen to have one name; write ON or USING", **position(join))
    for query in _outermost(parsed.tree):
        if query.args.get("limit") is not None or query.args.get("offset") is not None:
            # One bearer's rows would push out another's.
            raise SourceRefused("cuts its rows before any filter applies; leave out LIMIT, OFFSET and FETCH", **position(query))
    return parsed


def tables_named(parsed: ParsedQuery) -> frozenset[Reference]:
    """What the SELECT names in FROM, its own CTEs included. Raises SourceRefused for a system table."""
    return frozenset(_reference(node, parsed.dialect) for node in parsed.nodes if isinstance(node, exp.Table))


def _templates(sql: str, trusted: Mapping[str, Trusted]) -> list[str]:
    """The names of the token's values in the SELECT, one for each time. Raises SourceRefused."""
    for found in re.finditer(r"\{\{", sql):
        template = _TEMPLATE.match(sql, found.start())
        if template is None:
            raise SourceRefused("has a `{{` that is no `{{ trusted.name }}`", *_place(sql, found.start()))
        if template[1] not in trusted:
            raise SourceRefused(
                f"names `{template[1]}`, which `parameters:` does not declare{nearest(template[1], list(trusted))}", *_place(sql, found.start())
            )
        if re.match(r"\s*\.", sql[template.end() :]) or re.search(r"(?:\.|\b(?:from|join))\s*$", sql[: found.start()], re.IGNORECASE):
            # Which table is read would be the token's to say, and neither the guard's text nor what the database testifies could be proven beforehand.
            cure = "write a dataset for each schema, and grant it by its id"
            raise SourceRefused(f"takes the name of a schema or table from the token, which is not supported; {cure}", *_place(sql, found.start()))
    named = _TEMPLATE.findall(sql)
    if unused := [name for name in trusted if name not in named]:
        raise SourceRefused(f"does not name `{{{{ trusted.{unused[0]} }}}}`, which `parameters:` declares; remove it there")
    return named


def _place(sql: str, offset: int) -> tuple[int, int]:
    return sql.count("\n", 0, offset) + 1, offset - sql.rfind("\n", 0, offset)


def write_source(parsed: ParsedQuery, relations: Mapping[Reference, Relation], trusted: Mapping[str, Trusted] = _NOTHING) -> Source:
    """The SELECT over tables of the database, written once. The parsed tree is consumed. Raises SourceRefused."""
    dialect = parsed.dialect
    tables = _Physical(relations, dialect)
    try:
        tree = without_brackets(parsed.tree)
        names = resolve(tree, tables, dialect)
    except Refused as refusal:
        raise _refused(refusal) from refusal
    _check_answer(tree, names)
    _write_out_stars(names)
    name_computed(tree, names, dialect)
    unqualify(names)
    for node, relation in tables.found:
        refer(node, relation.name, relation.schema)
    for number, cte in enumerate(names.ctes, 1):
        rename(cte, f"__g{NUMBER}_{number}", dialect)
    for value in [node for node in parsed.nodes if isinstance(node, exp.Placeholder)]:
        value.replace(exp.Var(this=f"{TRUSTED}{value.this.removeprefix(_PREFIX)}{TRUSTED}"))
    read = frozenset((relation.schema, relation.name) for _, relation in tables.found)
    if dialect.aliases_have_case:
        fold_aliases(parsed.nodes, dialect)
    return _written_once(tree, dialect, read, len(names.ctes), trusted)


@dataclass(frozen=True, slots=True)
class Join:
    """One table of a joined dataset. `on` pairs (index of an earlier table, its column, this table's column); the first table has none."""

    relation: Relation
    outer: bool = False
    on: tuple[tuple[int, Reflected, Reflected], ...] = ()


def join_source(tables: Sequence[Join], columns: Sequence[tuple[int, Reflected]], dialect: str) -> Source:
    """The tables joined from left to right, with these columns (index of the table, column) called `c1`, `c2`, ... Raises SourceRefused."""
    spoken = DIALECTS[dialect]
    quote = spoken.quote
    selected = ", ".join(f"t{table}.{quote(column.name)} AS {quote(f'c{number}')}" for number, (table, column) in enumerate(columns, 1))
    text = f"SELECT {selected}"
    for number, join in enumerate(tables):
        kind = " FROM" if not number else " LEFT JOIN" if join.outer else " INNER JOIN"
        text += f"{kind} {quote(join.relation.schema)}.{quote(join.relation.name)} AS t{number}"
        if number:
            text += " ON " + " AND ".join(
                _equal(f"t{earlier}.{quote(theirs.name)}", theirs, f"t{number}.{quote(own.name)}", own, dialect) for earlier, theirs, own in join.on
            )
    tree = spoken.grammar.parse(text)[0]
    if not isinstance(tree, exp.Query):
        raise SourceRefused("cannot be written as one SELECT; write it as `sql:`")
    return _written_once(tree, spoken, frozenset((join.relation.schema, join.relation.name) for join in tables), 0)


# What can be compared without a cast that rounds or raises; texts by their bytes, whatever their collations.
_ALIKE: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "sqlite": (frozenset({"INTEGER", "NUMERIC"}), frozenset({"TEXT"})),
    "postgres": (
        frozenset({"int2", "int4", "int8", "numeric"}),
        frozenset({"text", "varchar", "bpchar"}),
        *(frozenset({kind}) for kind in ("uuid", "bool", "date", "timestamp", "timestamptz")),
    ),
    "mariadb": (
        frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal"}),
        frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}),
        *(frozenset({kind}) for kind in ("boolean", "date", "datetime", "timestamp")),
    ),
    "duckdb": (
        frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "DECIMAL"}),
        *(frozenset({kind}) for kind in ("HUGEINT", "VARCHAR", "UUID", "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")),
    ),
}
_TEXTS: Final = frozenset({"TEXT", "text", "varchar", "bpchar", "char", "tinytext", "mediumtext", "longtext", "VARCHAR"})


def _equal(left: str, theirs: Reflected, right: str, own: Reflected, dialect: str) -> str:
    if not any({theirs.kind, own.kind} <= family for family in _ALIKE[dialect]):
        raise SourceRefused(
            f"joins `{theirs.name}` of type `{theirs.declared or 'none'}` with `{own.name}` of type `{own.declared or 'none'}`, which may round or fail; "
            "write the join in `sql:` with a CAST"
        )
    if own.kind not in _TEXTS:
        return f"{left} = {right}"
    if dialect == "sqlite":
        return f"{left} COLLATE BINARY = {right}"
    if dialect == "mariadb":
        exact = " = ".join(f"CAST({each} AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_nopad_bin" for each in (left, right))
        return f"{left} = {right} AND {exact}" if own.collation == theirs.collation else exact
    if dialect == "duckdb":
        return f"{left} COLLATE C = {right} COLLATE C"
    if own.bytewise and theirs.bytewise and not own.collation and not theirs.collation:
        return f"{left} = {right}"
    return f'CAST({left} AS TEXT) COLLATE "C" = CAST({right} AS TEXT) COLLATE "C"'


def _refused(refusal: Refused) -> SourceRefused:
    """A refusal in the operator's terms: what a bearer is told speaks of tokens and parameters."""
    about, _, verdict = refusal.code.partition("_")
    if (about, verdict) == ("parameter", "unused"):
        return SourceRefused(_INSIDE)
    if about == "parameter":
        return SourceRefused("takes no parameters but `{{ trusted.name }}`, declared under `parameters:`", refusal.line, refusal.column)
    said = "a column stands here that no table of its FROM has, or more than one" if about == "column" else refusal.detail
    return SourceRefused(f"is not accepted: {said}" + (f"; {refusal.hint}" if verdict == "refused" else ""), refusal.line, refusal.column)


def _outermost(tree: exp.Expr) -> Iterator[exp.Expr]:
    yield tree
    if isinstance(tree, exp.SetOperation):
        yield from _outermost(tree.this)
        yield from _outermost(tree.expression)
    elif isinstance(tree, exp.Subquery):
        yield from _outermost(tree.this)


def _reference(node: exp.Table, dialect: Dialect) -> Reference:
    schema = None if node.args.get("db") is None else dialect.fold(node.args["db"])
    table = dialect.fold(node.this)
    if is_system(schema, table, dialect.name):
        raise SourceRefused("reads a system table, which no dataset may", **position(node))
    return schema, table


class _Physical:
    """The database's own tables and views."""

    def __init__(self, relations: Mapping[Reference, Relation], dialect: Dialect) -> None:
        self.relations = relations
        self.dialect = dialect
        self.found: list[tuple[exp.Table, Relation]] = []

    def columns(self, node: exp.Table) -> Columns:
        relation = self.relations.get(_reference(node, self.dialect))
        if relation is None:
            raise SourceRefused(f"reads `{node.name}`, which is no table or view of the database", **position(node))
        if relation.kind == "virtual table":
            raise SourceRefused(f"reads `{node.name}`, a virtual table, which reads tables of its own accord", **position(node))
        self.found.append((node, relation))
        readable = (column for column in relation.columns.values() if column.readable)
        return tuple(Column(self.dialect.fold(exp.Identifier(this=column.name, quoted=True)), None, column.bytewise, column.collation) for column in readable)

    def meant(self, node: exp.Table) -> object:
        return self.relations.get(_reference(node, self.dialect))


def _check_answer(tree: exp.Query, names: Names) -> None:
    """Every column of the answer has a name, and no two have the same."""
    first = arms(tree)[0]
    for select, item, _ in names.unnamed:
        if select is first:
            raise SourceRefused("computes a column without a name; write `AS name` behind it", **position(item))
    seen: set[str] = set()
    for column in names.outputs[id(tree)]:
        if column.name in seen:
            raise SourceRefused(f"has two columns called `{column.name}`; write `AS name` behind one of them", **position(first))
        seen.add(column.name)


def _write_out_stars(names: Names) -> None:
    for select, star, columns in names.stars:
        if any(alias.startswith(" ") for alias, _ in columns):
            raise SourceRefused("has a `*` over a sub-query without a name; write `AS name` behind the sub-query", **position(star))
        written = [
            exp.Column(this=exp.Identifier(this=column.name, quoted=True), table=exp.Identifier(this=alias, quoted=True) if alias else None)
            for alias, column in columns
        ]
        select.set("expressions", [each for item in select.expressions for each in (written if item is star else [item])])


def _written_once(tree: exp.Query, dialect: Dialect, tables: frozenset[tuple[str, str]], ctes: int, trusted: Mapping[str, Trusted] = _NOTHING) -> Source:
    """The text. INVARIANT: it reads back as itself, so that what was checked is what runs; a value of the token stands where a value may."""
    try:
        text = write(tree, dialect)
        numbered = _MARKED.sub("NULL", text).replace(NUMBER, "1")
        again = dialect.grammar.parse(numbered)
        words = [token.text for token in dialect.grammar.tokenize(_MARKED.sub(f" {_PREFIX} ", text).replace(NUMBER, "1"))]
        if len(again) == 1 and again[0] is not None and write(again[0], dialect) == numbered and words.count(_PREFIX) == len(_MARKED.findall(text)):
            return Source(_MARKED.sub(TRUSTED, text), tables, ctes, tuple(trusted[name] for name in _MARKED.findall(text)))
    except (SqlglotError, QueryRefused, RecursionError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise SourceRefused("cannot be written in this database's dialect; write it more plainly, or make a view") from error
    raise SourceRefused("does not read back as it was written; write it more plainly (a CTE without a list of columns), or make a view")
