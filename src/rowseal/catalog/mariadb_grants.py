"""What a MariaDB role may do, by its own rights and those of the roles that it may take on.

Sources: https://mariadb.com/kb/en/show-grants/, https://mariadb.com/kb/en/grant/ (patterns in the names of databases).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

__all__ = ["UNKNOWN", "Grant", "grants"]

UNKNOWN: Final = "a right that is none of those known here"

_GRANT: Final = re.compile(r"GRANT (?P<rights>.+?) ON (?P<what>.+?) TO ", re.DOTALL)
_OF_A_ROLE: Final = re.compile(r"GRANT `(?:[^`]|``)+` TO |SET DEFAULT ROLE ")
_COLUMNS: Final = re.compile(r"\s*\([^)]*\)")
_TABLE: Final = re.compile(r"(?:TABLE )?(?:\*|`(?P<schema>(?:[^`]|``)*)`)\.(?:\*|`(?P<table>(?:[^`]|``)*)`)", re.DOTALL)
_PATTERN: Final = re.compile(r"\\(?P<escaped>[%_\\])|(?P<any>%)|(?P<one>_)|(?P<plain>.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Grant:
    """One GRANT as the server writes it.

    `rights` in capitals and without columns, none where a role is granted; `on` as written, empty where there is none; `grantable` with GRANT OPTION.
    """

    rights: frozenset[str]
    on: str
    grantable: bool

    def covers(self, schema: str, table: str) -> bool:
        """Whether it says something of this table. INVARIANT: what cannot be read does."""
        found = _TABLE.fullmatch(self.on)
        if found is None:
            return True
        if found["schema"] is None:
            return True
        name = found["schema"].replace("``", "`")
        if found["table"] is not None:
            return (name, found["table"].replace("``", "`")) == (schema, table)
        return re.fullmatch("".join(map(_spelled, _PATTERN.finditer(name))), schema, re.DOTALL) is not None


def _spelled(part: re.Match[str]) -> str:
    return ".*" if part["any"] else "." if part["one"] else re.escape(part["escaped"] or part["plain"])


def grants(connection: Connection) -> Iterator[Grant]:
    """Of the connection's role, of everybody (PUBLIC), and of every role that it may take on, whether it has or not."""
    was = connection.exec_driver_sql("SELECT CURRENT_ROLE()").scalar()
    applicable = connection.exec_driver_sql("SELECT grantee, role_name FROM information_schema.applicable_roles").all()
    names = {role for _, role in applicable}
    written = _said(connection)
    try:
        # a role shows its rights, and those of the roles within it, only to who has taken it on
        for role in dict.fromkeys(role for grantee, role in applicable if grantee not in names):
            _take_on(connection, role)
            written += _said(connection)
    finally:
        _take_on(connection, was)
    for grant in dict.fromkeys(written):
        found = _GRANT.match(grant)
        if found:
            rights = frozenset(right.strip().upper() for right in _COLUMNS.sub("", found["rights"]).split(","))
        else:
            rights = frozenset() if _OF_A_ROLE.match(grant) else frozenset({UNKNOWN})  # a role's own are among the others
        yield Grant(rights, found["what"] if found else "", grant.rstrip().endswith("WITH GRANT OPTION"))


def _said(connection: Connection) -> list[str]:
    return [str(each) for each in connection.exec_driver_sql("SHOW GRANTS").scalars()]


def _take_on(connection: Connection, role: str | None) -> None:
    quoted = "NONE" if role is None else "`" + role.replace("`", "``").replace("%", "%%") + "`"
    connection.exec_driver_sql(f"SET ROLE {quoted}")
