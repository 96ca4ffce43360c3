"""PostgreSQL's catalogs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from rowseal.catalog import FieldType, Storage
from rowseal.catalog.reflection.found import Column, Reflection, Relation, Undescribed, undescribed

__all__ = ["STORED", "describe", "engine", "reflect"]

STORED: Final[Mapping[FieldType, Mapping[str, Storage]]] = {
    FieldType.NUMBER: {"int2": Storage.INTEGER, "int4": Storage.INTEGER, "int8": Storage.INTEGER, "numeric": Storage.DECIMAL, "float8": Storage.FLOAT},
    FieldType.STRING: {
        "text": Storage.TEXT,
        "varchar": Storage.TEXT,
        "bpchar": Storage.TEXT,
        "uuid": Storage.UUID,
        "enum": Storage.ENUM,
    },
    FieldType.BOOLEAN: {"bool": Storage.BOOLEAN},
    FieldType.DATE: {"date": Storage.DATE},
    FieldType.DATE_TIME: {"timestamp": Storage.TIMESTAMP, "timestamptz": Storage.TIMESTAMPTZ},
}
_RELATIONS: Final = text(
    "SELECT c.oid, c.relname, c.relkind::text AS relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
)
# A domain is taken as its base type. `kind` is the type's name only where the type is PostgreSQL's own, or an enum, or citext.
_COLUMNS: Final = text("""
SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared, coalesce(l.collisdeterministic, false) AS deterministic,
       CASE WHEN l.collname <> 'default' THEN l.collnamespace::regnamespace::text || '.' || l.collname ELSE '' END AS collation,
       a.attgenerated = 'v' AS computed,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable,
       CASE WHEN b.typtype = 'e' THEN 'enum'
            WHEN b.typtype = 'b' AND (s.nspname = 'pg_catalog' OR b.typname = 'citext') THEN b.typname::text
            ELSE '' END AS kind
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
JOIN pg_catalog.pg_namespace s ON s.oid = b.typnamespace
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = :relation AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
""")
_TYPE: Final = text("""
SELECT pg_catalog.format_type(t.oid, NULL) AS declared, t.typcollation <> 0 AS collatable,
       CASE WHEN b.typtype = 'e' THEN 'enum'
            WHEN b.typtype = 'b' AND (s.nspname = 'pg_catalog' OR b.typname = 'citext') THEN b.typname::text
            ELSE '' END AS kind
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
JOIN pg_catalog.pg_namespace s ON s.oid = b.typnamespace
WHERE t.oid = :type
""")
_COLLATION: Final = (
    "SELECT l.collisdeterministic, CASE WHEN l.collname <> 'default' THEN l.collnamespace::regnamespace::text || '.' || l.collname ELSE '' END "
    "FROM pg_catalog.pg_collation l WHERE l.oid = pg_catalog.pg_collation_for((SELECT b.{column} FROM ({select}) AS b LIMIT 0))::regcollation"
)
_AS_IT_IS: Final = {"no_parameters": True}  # or a percent sign would be the driver's
_KINDS: Final = {"v": "view", "f": "foreign table"}  # a partitioned table and a materialized view read like a table


def engine(url: URL) -> Engine:
    """For reading catalogs."""
    return create_engine(url, poolclass=NullPool, use_native_hstore=False, connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 10})


def reflect(connection: Connection, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    """What the database says about the wanted (schema or None, table) pairs."""
    default = connection.execute(text("SELECT pg_catalog.current_schema()")).scalar()
    # Whatever the role is set to search, no type or operator of anybody else stands in for one that the next statements mean.
    connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
    relations = {}
    nearby: list[str] = []
    for schema in {str(schema or default) for schema, _ in wanted if schema or default}:
        known = {row.relname: row for row in connection.execute(_RELATIONS, {"schema": schema})}
        nearby += known
        for asked in wanted:
            found = known.get(asked[1])
            if found is None or (asked[0] or default) != schema:
                continue
            columns = [_column(row) for row in connection.execute(_COLUMNS, {"relation": found.oid})]
            relations[asked] = Relation(schema, asked[1], _KINDS.get(found.relkind, "table"), {column.name: column for column in columns})
    return Reflection(relations, nearby)


def _column(row: Any) -> Column:
    # INVARIANT: bytewise only where equality is provably so: char(n) ignores trailing blanks, a nondeterministic collation anything.
    bytewise = row.kind in {"text", "varchar"} and row.deterministic
    return Column(row.name, row.declared, row.kind, bytewise=bytewise, collation=row.collation, computed=row.computed, readable=row.readable)


def describe(connection: Connection, select: str) -> Mapping[str, Column]:
    """Under the settings that its queries will run with, so that every name means the same then."""
    for setting in ("TRANSACTION READ ONLY", "LOCAL search_path = pg_catalog, pg_temp", "LOCAL statement_timeout = '10s'", "LOCAL jit = off"):
        connection.exec_driver_sql(f"SET {setting}")
    try:
        result = connection.exec_driver_sql(f"SELECT * FROM ({select}) AS b LIMIT 0", execution_options=_AS_IT_IS)  # noqa: S608 -- admitted, and written by us
        described = [(str(each[0]), each[1]) for each in result.cursor.description]
        result.close()
        return {name: _described(connection, select, name, oid) for name, oid in described}
    except SQLAlchemyError as error:
        raise undescribed(error) from None


def _described(connection: Connection, select: str, name: str, oid: Any) -> Column:
    kind = connection.execute(_TYPE, {"type": oid}).one()
    if not kind.collatable:
        return Column(name, kind.declared, kind.kind)
    quoted = '"' + name.replace('"', '""') + '"'
    # The sub-query has the column's collation and, cut to no row, computes nothing.
    collation = _COLLATION.format(column=quoted, select=select)
    found = connection.exec_driver_sql(collation, execution_options=_AS_IT_IS).one_or_none()
    if found is None:
        raise Undescribed(f"gives a column `{name}` made of texts of two collations, which cannot be compared; make a view that says COLLATE")
    return Column(name, kind.declared, kind.kind, bytewise=kind.kind in {"text", "varchar"} and found[0], collation=found[1])
