"""DuckDB's catalogs, which SQLAlchemy's dialect for it cannot read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from rowseal.catalog import FieldType, Storage
from rowseal.catalog.duckdb_file import DRIVER
from rowseal.catalog.duckdb_plans import collations, failing, plan
from rowseal.catalog.names import ascii_lower
from rowseal.catalog.reflection.found import Column, Reflection, Relation, Undescribed, undescribed
from rowseal.catalog.values import DUCKDB_DIGITS

__all__ = ["STORED", "describe", "engine", "kind_of", "reflect"]

_WHOLE: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
STORED: Final[Mapping[FieldType, Mapping[str, Storage]]] = {
    FieldType.NUMBER: {
        **dict.fromkeys(_WHOLE, Storage.INTEGER),
        "HUGEINT": Storage.HUGE,
        "DECIMAL": Storage.DECIMAL,
        "DOUBLE": Storage.FLOAT,
    },
    FieldType.STRING: {"VARCHAR": Storage.TEXT, "UUID": Storage.UUID, "ENUM": Storage.ENUM},
    FieldType.BOOLEAN: {"BOOLEAN": Storage.BOOLEAN},
    FieldType.DATE: {"DATE": Storage.DATE},
    FieldType.DATE_TIME: {"TIMESTAMP": Storage.TIMESTAMP, "TIMESTAMP WITH TIME ZONE": Storage.TIMESTAMPTZ},
}
_RELATIONS: Final = text("""
SELECT schema_name, table_name AS name, 'table' AS kind FROM duckdb_tables() WHERE database_name = current_database() AND NOT internal AND NOT temporary
UNION ALL
SELECT schema_name, view_name, 'view' FROM duckdb_views() WHERE database_name = current_database() AND NOT internal AND NOT temporary
""")
_COLUMNS: Final = text("""
SELECT column_name AS name, data_type AS declared, is_generated AS computed
FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = :schema AND table_name = :table ORDER BY column_index
""")


def engine(url: URL) -> Engine:
    """For reading catalogs; the file is opened as for queries."""
    return create_engine(url.set(drivername=DRIVER), poolclass=NullPool)


def reflect(connection: Connection, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    """What the database says about the wanted (schema or None, table) pairs."""
    known = {(ascii_lower(row.schema_name), ascii_lower(row.name)): row for row in connection.execute(_RELATIONS)}
    relations = {}
    for schema, table in wanted:
        found = known.get((ascii_lower(schema or "main"), ascii_lower(table)))
        if found is None:
            continue
        rows = connection.execute(_COLUMNS, {"schema": found.schema_name, "table": found.name}).all()
        at = f"{_quoted(found.schema_name)}.{_quoted(found.name)}"
        collated = collations(plan(connection, f"SELECT * FROM {at}"))  # noqa: S608 -- quoted names of the catalog
        columns = {
            row.name: _column(row.name, str(row.declared), collated.get(row.name), fails=_failing(connection, _quoted(row.name), at), computed=True)
            if row.computed
            else _column(row.name, str(row.declared), collated.get(row.name))
            for row in rows
        }
        fails = _failing(connection, "*", at) if found.kind == "view" else ""
        relations[schema, table] = Relation(found.schema_name, found.name, found.kind, columns, fails)
    schemas = {ascii_lower(schema or "main") for schema, _ in wanted}
    return Reflection(relations, [row.name for (schema, _), row in known.items() if schema in schemas])


def describe(connection: Connection, select: str) -> Mapping[str, Column]:
    """The columns as DuckDB plans them. Nothing is run."""
    try:
        rows = connection.exec_driver_sql(f"DESCRIBE {select}").all()
        collated = collations(plan(connection, f"SELECT * FROM ({select})"))  # noqa: S608 -- written by us
        fails = _failing(connection, "*", f"({select})")
    except SQLAlchemyError as error:
        raise undescribed(error) from None
    if fails:
        raise Undescribed(fails)
    names = [str(row[0]) for row in rows]
    if len(set(names)) < len(names):
        raise Undescribed("has two columns of one name; write `AS name` behind one of them")
    return {str(row[0]): _column(str(row[0]), str(row[1]), collated.get(str(row[0]))) for row in rows}


def kind_of(declared: str) -> str:
    """The type's name by which `STORED` knows it; "" for a DECIMAL of more digits than can be compared with every other number."""
    name, bracket, inside = declared.partition("(")
    if declared.endswith("]"):
        return "LIST"
    if name == "DECIMAL" and bracket:
        width, scale = (int(part) for part in inside.rstrip(")").split(","))
        return name if width - scale <= DUCKDB_DIGITS[0] and scale <= DUCKDB_DIGITS[1] else ""
    return name


def _column(name: str, declared: str, collation: str | None, *, computed: bool = False, fails: str = "") -> Column:
    kind = kind_of(declared)
    # INVARIANT: what nobody could tell the collation of is not called bytewise
    return Column(name, declared, kind, bytewise=kind == "VARCHAR" and collation == "", collation=collation or "", computed=computed, fails=fails)


def _failing(connection: Connection, columns: str, relation: str) -> str:
    """Why these columns cannot be a dataset's, "" where nothing in them can fail."""
    step = plan(connection, f"SELECT {columns} FROM {relation}")  # noqa: S608 -- quoted names of the catalog, or a SELECT that we wrote
    what = "something that DuckDB does not tell" if step is None else failing(connection, step)
    return f"computes what may fail ({what}), and DuckDB computes it for rows too that a filter drops; write TRY_CAST for a cast, or TRY(...)" if what else ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
