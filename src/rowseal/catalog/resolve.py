"""The datasets of the file against the database and against each other: names, fields. The rules of each are in `rules`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from rowseal.catalog import Dataset, Field, FieldType, Source, Storage
from rowseal.catalog.document import DatasetEntry, FieldEntry
from rowseal.catalog.names import RESERVED_PREFIXES, ascii_lower, is_system
from rowseal.catalog.reflection import Column, Unfitting, store
from rowseal.catalog.rules import Rules
from rowseal.catalog.text import Findings, Path

__all__ = ["Backing", "check_ids", "check_names", "resolve", "table_of"]

# Only directives of fixed width that mean the same in every locale.
_FORMAT: Final = re.compile(r"(?:%[YmdHMSf]|[^%\x00-\x1f])+")
_FORMATS: Final = {Storage.TEXT_DATE: "%Y-%m-%d", Storage.TEXT_TIMESTAMP: "%Y-%m-%d %H:%M:%S"}
_NAME_BYTES: Final = 63  # PostgreSQL cuts longer identifiers, and two of them may then become one
Entries = Mapping[int, DatasetEntry]  # by their place in the file
Table = tuple[str, str]  # schema and name


@dataclass(frozen=True, slots=True)
class Backing:
    """Where a dataset's rows come from, and the column behind each of its fields; None for one that was not found, and was noted."""

    kind: str
    schema: str
    table: str
    columns: tuple[Column | None, ...]
    source: Source | None = None


def table_of(written: str) -> tuple[str | None, str]:
    """`table` or `schema.table` as (schema or None, table)."""
    schema, dot, table = written.rpartition(".")
    return (schema, table) if dot else (None, written)


def check_ids(entries: Sequence[DatasetEntry], findings: Findings) -> None:
    """An id names one dataset in a token, whatever connection it is on."""
    ids: set[str] = set()
    for number, entry in enumerate(entries):
        if entry.id in ids:
            findings.add(("datasets", number, "id"), "is the id of an earlier entry too; choose another")
        ids.add(entry.id)


def check_names(entries: Entries, dialect: str, findings: Findings) -> None:
    """What names of one connection's datasets and their fields must be whatever the database holds: unique, not reserved, not a system table's."""
    _check_unique([(("datasets", number), each) for number, each in entries.items()], findings)
    for number, entry in entries.items():
        at: Path = ("datasets", number)
        _check_sql_name(entry.sql_name or entry.id, (*at, "sql_name"), findings)
        if (entry.table is None) == (entry.sql is None):
            findings.add(at, "must have exactly one of `table:` and `sql:`")
        elif entry.table is not None:
            _check_table(entry.table, (*at, "table"), dialect, findings)
        if entry.joins and entry.sql is not None:
            findings.add((*at, "joins"), "are for `table:`; write the join in the SELECT")
        for position, join in enumerate(entry.joins):
            _check_table(join.table, (*at, "joins", position, "table"), dialect, findings)
        if entry.public and entry.guards:
            findings.add((*at, "guards"), "contradicts `public: true`, which lets tokens without any filter read the dataset; remove one of the two")
        fields = [((*at, "fields", position), each) for position, each in enumerate(entry.fields)]
        _check_unique(fields, findings)
        called: dict[str | None, set[Path]] = {}
        for path, each in fields:
            for name in (each.id, each.name):
                called.setdefault(name, set()).add(path)
        for path, each in fields:
            _check_sql_name(each.sql_name or each.id, (*path, "sql_name"), findings)
            if each.name is not None and len(called[each.name]) > 1:
                findings.add((*path, "name"), "is the id or name of another field, so nobody could tell which one a filter means; choose another name")


def _check_table(written: str, path: Path, dialect: str, findings: Findings) -> None:
    schema, table = table_of(written)
    if written.count(".") > 1 or not table or schema == "":
        findings.add(path, "must be `table` or `schema.table`; make a view for a table whose name has a dot")
    elif dialect == "sqlite" and (schema not in {None, "main"} or ascii_lower(table).startswith("sqlite_")):
        findings.add(path, "must be a table of the file itself, not of an attached one and not one of SQLite's own")
    elif dialect != "sqlite" and is_system(schema, table, dialect):
        findings.add(path, "is a system table, which no dataset may be")


def _check_unique(entries: Sequence[tuple[Path, DatasetEntry | FieldEntry]], findings: Findings) -> None:
    ids: set[str] = set()
    sql_names: dict[str, str] = {}
    for path, entry in entries:
        if entry.id in ids:
            findings.add((*path, "id"), "is the id of an earlier entry too; choose another")
        elif sql_names.setdefault(ascii_lower(entry.sql_name or entry.id), entry.id) != entry.id:
            findings.add((*path, "sql_name"), "is the name in SQL of an earlier entry too, where upper and lower case count as one; choose another")
        ids.add(entry.id)


def _check_sql_name(name: str, path: Path, findings: Findings) -> None:
    if ascii_lower(name).startswith(RESERVED_PREFIXES):
        findings.add(path, "begins with two underscores and g, u or ok, which rowseal uses itself; write another `sql_name:`")
    if len(name.encode()) > _NAME_BYTES:
        findings.add(path, f"is longer than {_NAME_BYTES} bytes, which databases cut; write a shorter `sql_name:`")


def resolve(entries: Entries, backings: Mapping[str, Backing], dialect: str, findings: Findings, *, elsewhere: Mapping[str, str]) -> dict[str, Dataset]:
    """One connection's datasets by id. What cannot be resolved is left out and noted in `findings`.

    `elsewhere` has the connections of all other datasets, by id.
    """
    datasets: dict[str, Dataset] = {}
    for number, entry in entries.items():
        path: Path = ("datasets", number)
        backing = backings.get(entry.id)
        if backing is not None and entry.id not in datasets:
            columns = zip(entry.fields, backing.columns, strict=True)
            fields = [_field(field, (*path, "fields", position), column, dialect, findings) for position, (field, column) in enumerate(columns)]
            datasets[entry.id] = Dataset(
                id=entry.id,
                name=entry.name or entry.id,
                sql_name=entry.sql_name or entry.id,
                schema=backing.schema,
                table=backing.table,
                relation=backing.kind,
                public=entry.public,
                fields=tuple(field for field in fields if field is not None),
                source=backing.source,
            )
            if not any(not field.hidden for field in entry.fields):
                findings.add((*path, "fields"), "are all hidden, so that no query could read anything; show one, or remove the dataset")
    _check_shared_tables(entries, datasets, findings)
    _check_cycles(entries, findings)
    rules = Rules({entry.id: entry for entry in entries.values()}, datasets, dialect, findings, elsewhere)
    return {entry.id: rules.applied(entry, ("datasets", number)) for number, entry in entries.items() if entry.id in datasets}


def _field(entry: FieldEntry, path: Path, column: Column | None, dialect: str, findings: Findings) -> Field | None:
    if column is None:
        return None  # noted where it was looked for
    try:
        storage = store(column, entry.type, dialect, entry.format)
    except Unfitting as problem:
        findings.add((*path, "type"), str(problem))
        return None
    if entry.exact and entry.type is not FieldType.NUMBER:
        findings.add((*path, "exact"), "is for numbers alone; remove it")
    if entry.timezone is not None:
        _check_timezone(entry, path, findings)
    if entry.format is not None and (storage not in _FORMATS or not _is_format(entry.format, entry.type)):
        cure = "remove it" if storage not in _FORMATS else "write %Y, %m, %d and, for a date_time, %H, %M, %S, %f, each once at most"
        findings.add((*path, "format"), f"is for dates stored as text; {cure}")
        return None
    return Field(
        id=entry.id,
        name=entry.name or entry.id,
        sql_name=entry.sql_name or entry.id,
        column=column.name,
        type=entry.type,
        storage=storage,
        hidden=entry.hidden,
        exact=entry.exact,
        timezone=entry.timezone or "UTC",
        format=entry.format or _FORMATS.get(storage),
        bytewise=storage is Storage.TEXT and column.bytewise,
        collation=column.collation,
    )


def _check_timezone(entry: FieldEntry, path: Path, findings: Findings) -> None:
    if entry.type is not FieldType.DATE_TIME:
        findings.add((*path, "timezone"), "is for fields of `type: date_time` alone; remove it")
        return
    try:
        ZoneInfo(entry.timezone or "")
    except (LookupError, ValueError, OSError):
        findings.add((*path, "timezone"), "is no time zone of the IANA database on this machine; write such as `Europe/Berlin` or `UTC`")


def _is_format(text_format: str, type_: FieldType) -> bool:
    directives = re.findall("%(.)", text_format)
    allowed = "Ymd" if type_ is FieldType.DATE else "YmdHMSf"
    return _FORMAT.fullmatch(text_format) is not None and len(set(directives)) == len(directives) and set("Ymd") <= set(directives) <= set(allowed)


def _check_shared_tables(entries: Entries, datasets: Mapping[str, Dataset], findings: Findings) -> None:
    """Two datasets over one table let a bearer of both read whatever either permits: the file must say that this is meant.

    A table shared by two datasets that are tables is acknowledged by the later one, with `same_table_as`. A source reads past the filters of
    every dataset whose tables it reads, and says so itself, with `reads_past`; of two sources the later one does.
    """
    order = {each: position for position, each in enumerate(datasets)}
    plain: dict[Table, list[str]] = {}  # table -> the datasets that are this table, in the order of the file
    for each in datasets.values():
        for table in each.tables if each.source is None else ():
            plain.setdefault(table, []).append(each.id)
    sources: dict[Table, list[str]] = {}  # table -> the earlier sources that read it
    seen: set[str] = set()
    for number, entry in entries.items():
        dataset = datasets.get(entry.id)
        if dataset is None or entry.id in seen:
            continue
        seen.add(entry.id)
        path: Path = ("datasets", number)
        sharing = [each for table in dataset.tables for each in plain.get(table, ())]
        same = sharing[: sharing.index(entry.id)] if dataset.source is None else []
        if same and entry.same_table_as not in same:
            cure = f"if a bearer of both may read whatever either permits, write `same_table_as: {same[0]}`"
            findings.add((*path, "table"), f"is the table of dataset `{same[0]}` too; {cure}")
        elif not same and entry.same_table_as is not None:
            findings.add((*path, "same_table_as"), "names no earlier dataset of the same table; remove it, or correct it")
        if dataset.source is not None:
            reading = [each for table in dataset.tables for each in sources.get(table, ())]
            _check_reads_past(entry, path, [*sorted(set(sharing), key=order.__getitem__), *sorted(set(reading), key=order.__getitem__)], findings)
            for table in dataset.tables:
                sources.setdefault(table, []).append(entry.id)
        elif entry.reads_past:
            findings.add((*path, "reads_past"), "is for datasets with `sql:` or `joins:`; remove it")


def _check_reads_past(entry: DatasetEntry, path: Path, shared: Sequence[str], findings: Findings) -> None:
    missing = [each for each in shared if each not in entry.reads_past]
    if missing:
        cure = f"if a bearer of this dataset may read past the filters of those, write `reads_past: [{', '.join(shared)}]`"
        findings.add((*path, "sql" if entry.sql is not None else "joins"), f"reads tables of `{'`, `'.join(missing)}`; {cure}")
    for position, each in enumerate(entry.reads_past):
        if each not in shared:
            findings.add((*path, "reads_past", position), "names no dataset, or no earlier source, that shares a table with this one; remove it, or correct it")


def _check_cycles(entries: Entries, findings: Findings) -> None:
    parents = {entry.id: [each.through for each in entry.secure_filters if each.through is not None] for entry in entries.values()}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        if start == goal:
            return True
        fresh = [each for each in parents.get(start, ()) if each not in seen]
        seen.update(fresh)
        return any(reaches(each, goal, seen) for each in fresh)

    for number, entry in entries.items():
        for position, each in enumerate(entry.secure_filters):
            if each.through is not None and reaches(each.through, entry.id, set()):
                findings.add(("datasets", number, "secure_filters", position, "through"), "leads back to this dataset itself; break the circle")
