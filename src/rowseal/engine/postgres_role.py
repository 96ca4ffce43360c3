"""What PostgreSQL lets a role do beyond reading the tables of a catalog: what a server is not started with, and what is only said in the log.

A member counts as the role itself, also without INHERIT, because a statement can `set_config('role', ...)`.
Sources: https://www.postgresql.org/docs/current/predefined-roles.html, .../ddl-priv.html, .../functions-info.html#FUNCTIONS-INFO-ACCESS-TABLE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Connection, text

__all__ = ["notes", "problems"]

_SHOWN: Final = 3

_MINE: Final = """
WITH mine AS (
    SELECT r.* FROM pg_catalog.pg_roles AS r
    WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER') OR pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER')
)
"""
# Each with the sentence that it becomes.
_RIGHTS: Final = {
    "is a superuser, or a member of one": "bool_or(r.rolsuper)",
    "has BYPASSRLS, or is a member of a role that has": "bool_or(r.rolbypassrls)",
    "has CREATEROLE, or is a member of a role that has": "bool_or(r.rolcreaterole)",
    "has CREATEDB, or is a member of a role that has": "bool_or(r.rolcreatedb)",
    "has REPLICATION, which reads the whole server, or is a member of a role that has": "bool_or(r.rolreplication)",
    "is a member of a predefined role that reads or writes beyond its grants": """bool_or(r.rolname IN (
        'pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_monitor',
        'pg_read_all_stats', 'pg_stat_scan_tables', 'pg_signal_backend', 'pg_create_subscription', 'pg_checkpoint', 'pg_maintain'))""",
    "owns the database, or is a member of the role that does": """bool_or(EXISTS (
        SELECT FROM pg_database AS d WHERE d.datname = current_database() AND d.datdba = r.oid))""",
    "may CREATE in the database": "bool_or(has_database_privilege(r.oid, current_database(), 'CREATE'))",
    "owns a language": "bool_or(EXISTS (SELECT FROM pg_language AS l WHERE l.lanowner = r.oid))",
}
# A superuser may do all of it, which is said above.
_FILES: Final = text(
    _MINE
    + """
SELECT DISTINCT p.proname FROM pg_catalog.pg_proc AS p CROSS JOIN mine AS r
WHERE NOT r.rolsuper AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE') AND (
    p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname IN (
        'pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'lo_import', 'lo_export', 'pg_current_logfile', 'pg_reload_conf',
        'pg_rotate_logfile', 'pg_switch_wal', 'pg_create_restore_point', 'pg_promote', 'pg_ls_logdir', 'pg_ls_waldir', 'pg_ls_tmpdir')
    OR p.proname IN ('pg_file_write', 'pg_file_read', 'pg_file_unlink', 'pg_file_rename', 'pg_file_sync', 'pg_logdir_ls', 'dblink_connect_u'))
ORDER BY p.proname
"""
)
_PARAMETERS: Final = text(
    _MINE
    + """
SELECT DISTINCT a.parname FROM pg_catalog.pg_parameter_acl AS a CROSS JOIN mine AS r
WHERE NOT r.rolsuper AND pg_catalog.has_parameter_privilege(r.oid, a.parname, 'SET, ALTER SYSTEM') ORDER BY a.parname
"""
)
_OF_A_TABLE: Final = text(
    _MINE  # noqa: S608 -- nothing but what stands here
    + """
SELECT n.nspname, c.relname,
       EXISTS (SELECT FROM mine AS r WHERE r.oid = c.relowner) AS owned,
       EXISTS (SELECT FROM mine AS r WHERE pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE')) AS creates,
       EXISTS (SELECT FROM mine AS r WHERE pg_catalog.has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')
               OR pg_catalog.has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE, REFERENCES')) AS writes,
       c.relkind = 'v' AND NOT coalesce(pg_catalog.array_to_string(c.reloptions, ',') ~ 'security_invoker=(true|on|yes|1)', false) AND EXISTS (
           SELECT FROM pg_catalog.pg_rewrite AS w
           JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
                                         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
           JOIN pg_catalog.pg_class AS b ON b.oid = d.refobjid
           WHERE w.ev_class = c.oid AND b.relrowsecurity) AS past
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = :table
"""
)
_TEMPORARY: Final = text("SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP')")
_REACHING: Final = text("""
SELECT DISTINCT p.proname FROM pg_catalog.pg_proc AS p
WHERE pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AND pg_catalog.has_schema_privilege(p.pronamespace, 'USAGE')
  AND (p.proname IN ('dblink', 'dblink_connect', 'dblink_exec', 'dblink_send_query')
       OR p.prosecdef AND p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace)
ORDER BY p.proname
""")
_READABLE: Final = text("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
ORDER BY 1, 2
""")


def problems(connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]:
    """What the connection's role may do that nothing behind a query would stop for certain, one sentence each; see `Database.check_role`."""
    columns = ", ".join(expression for expression in _RIGHTS.values())
    found = connection.execute(text(f"{_MINE} SELECT {columns} FROM mine AS r")).one()  # noqa: S608 -- from the table above
    said = [reason for reason, holds in zip(_RIGHTS, found, strict=True) if holds]
    said += [f"may call `{name}`, which reaches the server's files or the server itself" for name in connection.execute(_FILES).scalars()]
    said += [f"may set the server's parameter `{name}`" for name in connection.execute(_PARAMETERS).scalars()]
    for row in _rows(connection, tables):
        if row.owned:
            said.append(f"owns `{row.nspname}.{row.relname}`, or is a member of the role that does")
        if row.creates:
            said.append(f"may CREATE in the schema `{row.nspname}`")
    return list(dict.fromkeys(said))


def notes(connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]:
    """What it may do beyond its work that a read-only transaction and the guards do stop, so that one wall less stands behind them."""
    tables = set(tables)
    said = ["may make temporary tables"] if connection.execute(_TEMPORARY).scalar() else []
    for row in _rows(connection, tables):
        if row.writes:
            said.append(f"may write to `{row.nspname}.{row.relname}`")
        if row.past:
            said.append(f"reads past row security in the view `{row.nspname}.{row.relname}`, which asks as its owner")
    said += [f"may call `{name}`, which acts as somebody else" for name in connection.execute(_REACHING).scalars().all()[:_SHOWN]]
    others = [f"`{schema}.{table}`" for schema, table in connection.execute(_READABLE) if (schema, table) not in tables]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        said.append(f"may read {', '.join(others[:_SHOWN])}{more}, which no dataset names")
    return said


def _rows(connection: Connection, tables: Iterable[tuple[str, str]]) -> Iterator[Any]:
    for schema, table in sorted(tables):
        yield from connection.execute(_OF_A_TABLE, {"schema": schema, "table": table})
