"""What a `*` stands for, written out, so that it does not hold the column by which a guard hands on whether its conditions hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from rowseal.catalog import Dataset
from rowseal.sql.dialects import Dialect
from rowseal.sql.names import Column

__all__ = ["written_out"]


def written_out(columns: Sequence[tuple[str, Column]], guarded: Mapping[str, Dataset], dialect: Dialect) -> tuple[exp.Column, ...] | None:
    """The columns, given as pairs of alias ("" where USING merged two) and column; None where they cannot be named so that they are what they were.

    `guarded` are the datasets by their aliases in this FROM.
    """
    named = [column.name for _, column in columns]
    written = []
    for alias, column in columns:
        if alias.startswith(" ") or (not alias and named.count(column.name) > 1):
            return None
        name: str | None = column.name
        if dialect.columns_are_named_by_text:
            # The name is looked up folded, but the answer shows it as it was declared.
            name = next(
                (
                    found
                    for each in ([guarded[alias]] if alias in guarded else guarded.values() if not alias else ())
                    if (found := _declared(each, column, dialect))
                ),
                None,
            )
        if name is None:
            return None
        table = exp.Identifier(this=alias, quoted=True) if alias else None
        written.append(exp.Column(this=exp.Identifier(this=name, quoted=True), table=table))
    return tuple(written)


def _declared(dataset: Dataset, column: Column, dialect: Dialect) -> str | None:
    return next((field.sql_name for field in dataset.visible if dialect.fold(exp.Identifier(this=field.sql_name, quoted=True)) == column.name), None)
