"""MariaDB's catalogs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from rowseal.catalog import FieldType, Storage
from rowseal.catalog.reflection.found import Column, Reflection, Relation, Unreachable, undescribed

__all__ = ["STORED", "connect_arguments", "describe", "engine", "reflect", "refuse_untested"]

_TEXTS: Final = dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), Storage.TEXT)
# "boolean" is TINYINT(1), which MariaDB makes of BOOLEAN, and which may hold other numbers.
STORED: Final[Mapping[FieldType, Mapping[str, Storage]]] = {
    FieldType.NUMBER: {
        **dict.fromkeys(("boolean", "tinyint", "smallint", "mediumint", "int", "bigint", "year"), Storage.INTEGER),
        "decimal": Storage.DECIMAL,
        "double": Storage.FLOAT,
    },
    FieldType.STRING: {**_TEXTS, "enum": Storage.ENUM},
    FieldType.BOOLEAN: {"boolean": Storage.BOOLEAN},
    FieldType.DATE: {"date": Storage.DATE},
    FieldType.DATE_TIME: {"datetime": Storage.TIMESTAMP, "timestamp": Storage.TIMESTAMPTZ},
}
_TESTED: Final = (10, 11)
_RELATIONS: Final = text("SELECT table_name AS name, table_type AS kind FROM information_schema.tables WHERE table_schema = :schema")
_COLUMNS: Final = text("""
SELECT column_name AS name, column_type AS declared, data_type AS type, COALESCE(collation_name, '') AS collation,
       generation_expression IS NOT NULL AND extra NOT LIKE '%STORED%' AS computed, privileges LIKE '%select%' AS readable
FROM information_schema.columns WHERE table_schema = :schema AND table_name = :table ORDER BY ordinal_position
""")
_KINDS: Final = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view", "SYSTEM VIEW": "view"}


def connect_arguments(url: URL) -> dict[str, Any]:
    """What every connection is made with, whatever the URL says."""
    arguments: dict[str, Any] = {"charset": "utf8mb4", "local_infile": False, "autocommit": False}
    return arguments if "connect_timeout" in url.query else {**arguments, "connect_timeout": 10}


def engine(url: URL) -> Engine:
    """For reading catalogs."""
    return create_engine(url, poolclass=NullPool, connect_args=connect_arguments(url))


def refuse_untested(version: str) -> None:
    """Raises Unreachable for what is not MariaDB, or older than what is tested."""
    numbers = version.removeprefix("5.5.5-").split("-")[0].split(".")  # replication once needed a number that begins with 5
    if "mariadb" not in version.lower() or tuple(int(each) if each.isdigit() else 0 for each in numbers[:2]) < _TESTED:
        raise Unreachable(f"is no MariaDB of version {_TESTED[0]}.{_TESTED[1]} or newer, the only ones that are tested")


def reflect(connection: Connection, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    """What the database says about the wanted (schema or None, table) pairs. A schema is what MariaDB calls a database."""
    refuse_untested(str(connection.execute(text("SELECT VERSION()")).scalar()))
    default = connection.execute(text("SELECT DATABASE()")).scalar()
    relations = {}
    nearby: list[str] = []
    for schema in {str(schema or default) for schema, _ in wanted if schema or default}:
        known = {row.name: row for row in connection.execute(_RELATIONS, {"schema": schema})}
        nearby += known
        for asked in wanted:
            found = known.get(asked[1])
            if found is None or (asked[0] or default) != schema or found.kind not in _KINDS:
                continue
            columns = [_column(row) for row in connection.execute(_COLUMNS, {"schema": schema, "table": asked[1]})]
            relations[asked] = Relation(schema, asked[1], _KINDS[found.kind], {column.name: column for column in columns})
    return Reflection(relations, nearby)


def _column(row: Any) -> Column:
    declared = _text(row.declared)
    kind = "boolean" if declared.startswith("tinyint(1)") else _text(row.type)
    # INVARIANT: bytewise only where the collation compares characters and neither folds nor pads.
    return Column(
        _text(row.name),
        declared,
        kind,
        bytewise=row.collation == "utf8mb4_nopad_bin",
        collation=row.collation,
        computed=bool(row.computed),
        readable=bool(row.readable),
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# The type of an answer's column by its number in the protocol (https://mariadb.com/kb/en/result-set-packets/#field-types).
_TYPES: Final[Mapping[int, str]] = {
    1: "tinyint",
    2: "smallint",
    3: "int",
    5: "double",
    7: "timestamp",
    8: "bigint",
    9: "mediumint",
    10: "date",
    12: "datetime",
    13: "year",
    4: "float",
    246: "decimal",
    252: "longtext",
    253: "varchar",
    254: "char",
}
_BINARY: Final = 63  # the number of the collation of bytes


def describe(connection: Connection, select: str) -> Mapping[str, Column]:
    """The columns as the protocol tells them: type, length and collation. Cut to no row, nothing is computed."""
    try:
        result = connection.exec_driver_sql(f"SELECT * FROM ({select}) AS b LIMIT 0", execution_options={"no_parameters": True})  # noqa: S608 -- admitted, and written by us
        fields = list(result.cursor._result.fields)  # the driver has no other word for bytes
        result.close()
    except SQLAlchemyError as error:
        raise undescribed(error) from None
    described = {}
    for field in fields:
        kind = _TYPES.get(field.type_code, "")
        if kind in _TEXTS and field.charsetnr == _BINARY:
            kind = ""
        if kind == "tinyint" and field.length == 1:
            kind = "boolean"
        # the protocol tells how texts are sent, and no collation: the column's own may be any that utf8mb4 can be compared with
        described[field.name] = Column(field.name, kind, kind, collation="utf8mb4" if kind in _TEXTS else "")
    return described
