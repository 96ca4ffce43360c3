"""The datasets of the file against the database and against each other: names, fields. The rules of each are in `rules`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from rowseal.catalog import Dataset, Field, FieldType, Storage
from rowseal.catalog.document import DatasetEntry, FieldEntry
from rowseal.catalog.names import RESERVED_PREFIXES, ascii_lower
from rowseal.catalog.reflection import Reflection, Relation, Unfitting, store
from rowseal.catalog.rules import Rules
from rowseal.catalog.text import Findings, Path, nearest

__all__ = ["check_ids", "check_names", "resolve", "table_of"]

# Only directives of fixed width that mean the same in every locale.
_FORMAT: Final = re.compile(r"(?:%[YmdHMSf]|[^%\x00-\x1f])+")
_FORMATS: Final = {Storage.TEXT_DATE: "%Y-%m-%d", Storage.TEXT_TIMESTAMP: "%Y-%m-%d %H:%M:%S"}
_NAME_BYTES: Final = 63  # PostgreSQL cuts longer identifiers, and two of them may then become one
Entries = Mapping[int, DatasetEntry]  # by their place in the file


def table_of(entry: DatasetEntry) -> tuple[str | None, str]:
    """`table:` or `schema.table:` as (schema or None, table)."""
    schema, dot, table = entry.table.rpartition(".")
    return (schema, table) if dot else (None, entry.table)


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
        schema, table = table_of(entry)
        if entry.table.count(".") > 1 or not table or schema == "":
            findings.add((*at, "table"), "must be `table` or `schema.table`; make a view for a table whose name has a dot")
        elif dialect == "sqlite" and (schema not in {None, "main"} or ascii_lower(table).startswith("sqlite_")):
            findings.add((*at, "table"), "must be a table of the file itself, not of an attached one and not one of SQLite's own")
        elif dialect == "postgres" and schema is not None and (schema.startswith("pg_") or schema == "information_schema"):
            findings.add((*at, "table"), "is a system table, which no dataset may be")
        if entry.public and entry.guards:
            findings.add((*at, "guards"), "contradicts `public: true`, which lets tokens without any filter read the dataset; remove one of the two")
        fields = [((*at, "fields", position), each) for position, each in enumerate(entry.fields)]
        _check_unique(fields, findings)
        for path, each in fields:
            _check_sql_name(each.sql_name or each.id, (*path, "sql_name"), findings)
            if any(each.name is not None and each.name in {other.id, other.name} for _, other in fields if other is not each):
                findings.add((*path, "name"), "is the id or name of another field, so nobody could tell which one a filter means; choose another name")


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


def resolve(entries: Entries, reflection: Reflection, dialect: str, findings: Findings, *, elsewhere: Mapping[str, str]) -> dict[str, Dataset]:
    """One connection's datasets by id. What cannot be resolved is left out and noted in `findings`.

    `elsewhere` has the connections of all other datasets, by id.
    """
    relations: dict[str, Relation] = {}
    datasets: dict[str, Dataset] = {}
    for number, entry in entries.items():
        path: Path = ("datasets", number)
        relation = reflection.relations.get(table_of(entry))
        if relation is None:
            findings.add((*path, "table"), f"is no table or view of the database{nearest(table_of(entry)[1], list(reflection.nearby))}")
        elif relation.kind == "virtual table":
            findings.add((*path, "table"), "is a virtual table, which reads tables of its own accord; name an ordinary table or a view")
        elif entry.id not in datasets:
            relations[entry.id] = relation
            fields = [_field(field, (*path, "fields", position), relation, dialect, findings) for position, field in enumerate(entry.fields)]
            computed = any(relation.columns[field.column].computed for field in fields if field is not None)
            datasets[entry.id] = Dataset(
                id=entry.id,
                name=entry.name or entry.id,
                sql_name=entry.sql_name or entry.id,
                schema=relation.schema,
                table=relation.name,
                relation="table with computed columns" if relation.kind == "table" and computed else relation.kind,
                public=entry.public,
                fields=tuple(field for field in fields if field is not None),
            )
            if not any(not field.hidden for field in entry.fields):
                findings.add((*path, "fields"), "are all hidden, so that no query could read anything; show one, or remove the dataset")
    _check_shared_tables(entries, relations, findings)
    _check_cycles(entries, findings)
    rules = Rules({entry.id: entry for entry in entries.values()}, datasets, dialect, findings, elsewhere)
    return {entry.id: rules.applied(entry, ("datasets", number)) for number, entry in entries.items() if entry.id in datasets}


def _field(entry: FieldEntry, path: Path, relation: Relation, dialect: str, findings: Findings) -> Field | None:
    written = entry.column or entry.id
    column = relation.columns.get(written)
    if column is None and dialect == "sqlite":
        column = next((each for each in relation.columns.values() if ascii_lower(each.name) == ascii_lower(written)), None)
    if column is None:
        findings.add((*path, "column"), f"`{written}` is no column of `{relation.name}`{nearest(written, list(relation.columns))}")
        return None
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


def _check_shared_tables(entries: Entries, relations: Mapping[str, Relation], findings: Findings) -> None:
    """Two datasets over one table let a bearer of both read whatever either permits: the file must say that this is meant."""
    first: dict[tuple[str, str], list[str]] = {}
    for number, entry in entries.items():
        if entry.id not in relations:
            continue
        earlier = first.setdefault((relations[entry.id].schema, relations[entry.id].name), [])
        if earlier and entry.same_table_as not in earlier:
            cure = f"if a bearer of both may read whatever either permits, write `same_table_as: {earlier[0]}`"
            findings.add(("datasets", number, "table"), f"is the table of dataset `{earlier[0]}` too; {cure}")
        elif not earlier and entry.same_table_as is not None:
            findings.add(("datasets", number, "same_table_as"), "names no earlier dataset of the same table; remove it, or correct it")
        earlier.append(entry.id)


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
