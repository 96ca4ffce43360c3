"""`table:`, `sql:` and `joins:` of datasets.yaml -> where the rows of each dataset come from, and the column behind each of its fields.

Beside `configuration` rather than in the catalog, because a dataset that is a SELECT is read with the tools of the SQL side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import URL

from rowseal.catalog import Field, FieldType, FunctionRules, Storage, Trusted
from rowseal.catalog.document import DatasetEntry, JoinEntry
from rowseal.catalog.names import COLUMN_FOLDS
from rowseal.catalog.reflection import Column, Reflection, Relation, Undescribed, describe
from rowseal.catalog.resolve import Backing, table_of
from rowseal.catalog.text import Findings, Path, nearest
from rowseal.sql.admit import ParsedQuery
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.guards import example
from rowseal.sql.sources import Join, SourceRefused, admit_source, join_source, tables_named, write_source

__all__ = ["Backings"]

MAX_JOINS: Final = 16
_STORED: Final = {"number": Storage.DECIMAL, "string": Storage.TEXT, "boolean": Storage.BOOLEAN}


def _trusted(entry: DatasetEntry, dialect: str) -> Mapping[str, Trusted]:
    """The values of the token that the SELECT may name."""
    collation = "utf8mb4_nopad_bin" if dialect == "mariadb" else ""  # so that a value is bound as it is, to be compared as the SELECT says
    return {
        name: Trusted(
            each.claim or ("parameters", name), Field(name, name, name, name, FieldType(each.type), _STORED[each.type], bytewise=True, collation=collation)
        )
        for name, each in entry.parameters.items()
    }


class Backings:
    """The backings of the datasets of one connection. Made before the database is asked, `found` once it has answered."""

    def __init__(self, entries: Mapping[int, DatasetEntry], dialect: str, functions: FunctionRules, findings: Findings) -> None:
        """`entries` by their place in the file. What is wrong whatever the database holds is noted here."""
        self._entries: list[tuple[Path, DatasetEntry]] = [(("datasets", number), entry) for number, entry in entries.items()]
        self._dialect = dialect
        self._findings = findings
        self._parsed: dict[str, ParsedQuery] = {}
        self.wanted: dict[tuple[str | None, str], None] = {}  # tables to reflect
        for path, entry in self._entries:
            if entry.sql is not None:
                self._admit(entry, path, entry.sql, functions)
            elif entry.table is not None:
                if entry.parameters:
                    findings.add((*path, "parameters"), "are for `sql:`; remove them, or write a secure filter with `value: {claim: ...}`", at_key=True)
                self.wanted |= dict.fromkeys(table_of(each) for each in (entry.table, *(join.table for join in entry.joins)))

    def _admit(self, entry: DatasetEntry, path: Path, sql: str, functions: FunctionRules) -> None:
        try:
            parsed = admit_source(sql, self._dialect, functions, _trusted(entry, self._dialect))
            self.wanted |= dict.fromkeys(sorted(tables_named(parsed), key=str))
        except SourceRefused as refused:
            self._findings.inside((*path, "sql"), refused.line, refused.column, str(refused))
        else:
            self._parsed[entry.id] = parsed

    def found(self, reflection: Reflection, url: URL) -> dict[str, Backing]:
        """By dataset id; what has none is noted. Asks the database what the columns of each SELECT are. Raises Unreachable."""
        backings: dict[str, Backing] = {}
        for path, entry in self._entries:
            backing = self._selected(entry, path, reflection, url) if entry.sql is not None else self._stored(entry, path, reflection)
            if backing is not None:
                backings.setdefault(entry.id, backing)
        return backings

    def _selected(self, entry: DatasetEntry, path: Path, reflection: Reflection, url: URL) -> Backing | None:
        parsed = self._parsed.pop(entry.id, None)
        if parsed is None:
            return None
        at = (*path, "sql")
        try:
            source = write_source(parsed, reflection.relations, _trusted(entry, self._dialect))
        except SourceRefused as refused:
            self._findings.inside(at, refused.line, refused.column, str(refused))
            return None
        try:
            described = describe(url, self._dialect, example(source, DIALECTS[self._dialect]))
        except Undescribed as problem:
            self._findings.add(at, str(problem))
            return None
        for position, field in enumerate(entry.fields):
            if field.table is not None:
                self._findings.add((*path, "fields", position, "table"), "is for datasets with `joins:`; what the SELECT gives has column names alone")
        columns = [self._column(field.column or field.id, described, "sql", (*path, "fields", position)) for position, field in enumerate(entry.fields)]
        return Backing("source", "", "", tuple(columns), source)

    def _stored(self, entry: DatasetEntry, path: Path, reflection: Reflection) -> Backing | None:
        relation = self._relation(entry.table or "", reflection, (*path, "table"))
        if entry.joins:
            return self._joined(entry, path, relation, reflection)
        if relation is None:
            return None
        for position, field in enumerate(entry.fields):
            if field.table not in {None, relation.name}:
                self._findings.add((*path, "fields", position, "table"), "names another table than the dataset's; add it under `joins:`, or remove this")
        columns = [
            self._column(field.column or field.id, relation.columns, relation.name, (*path, "fields", position)) for position, field in enumerate(entry.fields)
        ]
        computed = relation.kind == "table" and any(column.computed for column in columns if column is not None)
        return Backing("table with computed columns" if computed else relation.kind, relation.schema, relation.name, tuple(columns))

    def _relation(self, table: str, reflection: Reflection, path: Path) -> Relation | None:
        relation = reflection.relations.get(table_of(table))
        if relation is None:
            self._findings.add(path, f"is no table or view of the database{nearest(table_of(table)[1], list(reflection.nearby))}")
        elif relation.kind == "virtual table":
            self._findings.add(path, "is a virtual table, which reads tables of its own accord; name an ordinary table or a view")
            return None
        elif relation.kind == "view" and relation.fails:
            self._findings.add(path, relation.fails)
        return relation

    def _column(self, written: str, columns: Mapping[str, Column], of: str, path: Path) -> Column | None:
        column = columns.get(written)
        if column is None:
            folded = COLUMN_FOLDS[self._dialect]
            column = next((each for each in columns.values() if folded(each.name) == folded(written)), None)
        if column is None:
            self._findings.add((*path, "column"), f"`{written}` is no column of `{of}`{nearest(written, list(columns))}")
        return column

    def _joined(self, entry: DatasetEntry, path: Path, first: Relation | None, reflection: Reflection) -> Backing | None:
        """The dataset's table and those joined to it, as one SELECT with a column for each field."""
        if len(entry.joins) > MAX_JOINS:
            self._findings.add((*path, "joins"), f"are more than {MAX_JOINS}; make a view")
            return None
        names = [table_of(entry.table or "")[1]]
        joins: list[Join | None] = [None if first is None else Join(first)]
        for number, each in enumerate(entry.joins):
            at = (*path, "joins", number)
            called = each.as_ or table_of(each.table)[1]
            relation = self._relation(each.table, reflection, (*at, "table"))
            joins.append(None if relation is None else self._join(each, relation, at, dict(zip(names, joins, strict=True))))
            if self._known(called, names) is not None:
                self._findings.add((*at, "as" if each.as_ else "table"), "is the name of an earlier table of this dataset; write `as:` with another name")
            names.append(called)
        tables = [join for join in joins if join is not None]
        if len(tables) < len(joins):
            return None
        columns: list[Column | None] = []
        selected: list[tuple[int, Column]] = []
        for position, field in enumerate(entry.fields):
            at = (*path, "fields", position)
            table = 0 if field.table is None else self._known(field.table, names)
            if table is None:
                self._findings.add((*at, "table"), f"names no table of this dataset; it has `{'`, `'.join(names)}`")
            column = None if table is None else self._column(field.column or field.id, tables[table].relation.columns, names[table], at)
            if table is not None and column is not None:
                selected.append((table, column))
                column = replace(column, name=f"c{len(selected)}")
            columns.append(column)
        if not selected:
            return None
        try:
            source = join_source(tables, selected, self._dialect)
        except SourceRefused as refused:
            self._findings.add((*path, "joins"), str(refused))
            return None
        return Backing("source", "", "", tuple(columns), source)

    def _join(self, entry: JoinEntry, relation: Relation, path: Path, earlier: Mapping[str, Join | None]) -> Join | None:
        start = next(iter(earlier)) if entry.from_ is None else entry.from_
        index = self._known(start, list(earlier))
        if index is None:
            self._findings.add((*path, "from"), f"names no earlier table of this dataset; these come before: `{'`, `'.join(earlier)}`")
            return None
        left = list(earlier.values())[index]
        if left is None:
            return None
        pairs: list[tuple[int, Column, Column]] = []
        for theirs, own in entry.on.items():
            at = (*path, "on", theirs)
            there = self._column(theirs, left.relation.columns, start, at)
            here = self._column(own, relation.columns, relation.name, at)
            if there is not None and here is not None:
                for each in filter(None, (there.fails, here.fails)):
                    self._findings.add(at, each)
                pairs.append((index, there, here))
        return Join(relation, entry.type == "left", tuple(pairs)) if len(pairs) == len(entry.on) else None

    def _known(self, name: str, names: Sequence[str]) -> int | None:
        folded = COLUMN_FOLDS[self._dialect]
        return next((index for index, each in enumerate(names) if folded(each) == folded(name)), None)
