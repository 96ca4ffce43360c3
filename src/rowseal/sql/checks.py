"""The few things about a node that its class and arguments do not say: names, numbers, counts, and what keeps a harmless thing harmless.

`admit` walks the tree and asks here. Each check raises QueryRefused or returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeGuard

from sqlglot import exp

from rowseal.catalog.names import RESERVED_PREFIXES, ascii_lower
from rowseal.errors import QueryRefused
from rowseal.sql.admitted import TIME_UNITS
from rowseal.sql.cures import BESIDE, NAMED, ORDERED
from rowseal.sql.place import position
from rowseal.sql.sieve import CONTROL

__all__ = ["CHECKS", "MAX_GROUPING_SETS", "MAX_PADDED", "MAX_PATTERN", "MAX_REPLACED", "alternatives", "check_call", "check_distinct", "check_pattern"]

MAX_NAME: Final = 63  # bytes
MAX_PATTERN: Final = 1_000  # bytes; a pattern is matched in one step that no deadline interrupts
MAX_GROUPING_SETS: Final = 64  # each is one more way to group all rows; CUBE doubles with every column
MAX_PADDED: Final = 1_000  # characters
MAX_REPLACED: Final = 100  # bytes; a search, too, is one step

_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,100}(\.[0-9]{0,100})?([eE][+-]?[0-9]{1,3})?\Z|\.[0-9]{1,100}([eE][+-]?[0-9]{1,3})?\Z")
_COLLATIONS: Final = frozenset({"NOCASE", "BINARY", "RTRIM"})  # the three that are built into SQLite
# Nothing that is wider than two digits say. INVARIANT: there is one way to read each text, or a long one that does not fit takes years.
_FORMAT: Final = re.compile(r"([^%]|%%|%[-+ 0,]*([1-9][0-9]?)?(\.[0-9]{1,2})?[dsif])*+\Z")
_ORDERED_WITHIN: Final = (exp.GroupConcat, exp.ArrayAgg)
_TIMED: Final = (exp.Extract, exp.Interval, exp.DateDiff, exp.TimestampTrunc, exp.DateAdd, exp.DateSub, exp.TimestampDiff)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


def _identifier(node: exp.Expr) -> None:
    name = node.this
    if not isinstance(name, str) or not name:
        raise QueryRefused("construct_refused", "an empty name is not accepted", **position(node))
    if len(name) > MAX_NAME or len(name.encode(errors="replace")) > MAX_NAME:
        raise QueryRefused("construct_refused", f"a name is longer than {MAX_NAME} bytes, which PostgreSQL cuts", **position(node))
    if name.lower().startswith(RESERVED_PREFIXES):
        raise QueryRefused("name_reserved", **position(node))


def _select(node: exp.Expr) -> None:
    if not node.args.get("expressions"):
        raise QueryRefused("sql_syntax", "a SELECT names no column", hint="name columns behind SELECT, or write `*` for all", **position(node))
    if node.args.get("joins") and not node.args.get("from_"):
        raise QueryRefused("sql_syntax", "a JOIN stands without FROM", **position(node))


def _column(node: exp.Expr) -> None:
    if not isinstance(node.this, (exp.Identifier, exp.Star)):
        raise QueryRefused("construct_refused", **position(node))


def _literal(node: exp.Expr) -> None:
    text = node.this
    if node.args.get("is_string"):
        if CONTROL.search(text):
            raise QueryRefused("sql_character", "a string literal holds a control character", **position(node))
    elif not _NUMBER.match(text):
        raise QueryRefused("construct_refused", "a number of this form is not accepted", **position(node))


def _placeholder(node: exp.Expr) -> None:
    if not isinstance(node.this, str) or not _PARAMETER.match(node.this):
        raise QueryRefused("construct_refused", "a parameter of this form is not accepted", hint=NAMED, **position(node))


def _var(node: exp.Expr) -> None:
    if isinstance(node.parent, exp.Collate):
        return
    if str(node.this).upper() not in TIME_UNITS or not isinstance(node.parent, _TIMED):
        raise QueryRefused("construct_refused", "a word stands here that is not accepted", **position(node.parent or node))


def _interval(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Literal) and not (isinstance(node.this, exp.Placeholder) and node.args.get("unit") is not None):
        raise QueryRefused(
            "construct_refused",
            "INTERVAL takes a string",
            hint="write such as `INTERVAL '3 days'`, with a parameter `CAST(:span AS INTERVAL)`",
            **position(node),
        )


def _lateral(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Subquery):
        raise QueryRefused("construct_refused", "LATERAL is accepted only before a sub-query", hint=BESIDE, **position(node))


def _count_of_rows(node: exp.Expr) -> None:
    value = node.args.get("expression") or node.args.get("count")
    if isinstance(value, exp.Placeholder) or (isinstance(value, exp.Literal) and str(value.this).isdigit() and not value.args.get("is_string")):
        return
    raise QueryRefused(
        "construct_refused",
        "LIMIT, OFFSET and FETCH FIRST take a whole number or a parameter",
        hint="write the number, or leave the clause out for all rows: `SELECT amount FROM orders ORDER BY amount LIMIT 10 OFFSET 5`",
        **position(node),
    )


def _cte(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Query):
        raise QueryRefused(
            "construct_refused",
            "a CTE that is not a SELECT is not accepted",
            hint="a query only reads: `WITH o AS (SELECT amount FROM orders) SELECT amount FROM o`",
            **position(node),
        )


def _group(node: exp.Expr) -> None:
    # The same sub-query in the SELECT list would be another one here, with guards of its own.
    if node.find(exp.Query) is not None:
        raise QueryRefused("construct_refused", "a sub-query in GROUP BY is not accepted", hint="give it a name in a sub-query in FROM", **position(node))
    sets = 1
    for part in [each for value in node.args.values() if isinstance(value, list) for each in value]:
        sets *= _grouping_sets(part)
    if sets > MAX_GROUPING_SETS:
        raise QueryRefused(
            "sql_too_complex",
            f"GROUP BY asks for {sets} ways to group, and more than {MAX_GROUPING_SETS} are not accepted",
            hint="name the ones that you need in GROUPING SETS",
            **position(node),
        )


def _grouping_sets(part: exp.Expr) -> int:
    if isinstance(part, exp.Cube):
        return int(2 ** len(part.expressions))
    if isinstance(part, exp.Rollup):
        return len(part.expressions) + 1
    return sum(map(_grouping_sets, part.expressions)) if isinstance(part, exp.GroupingSets) else 1


def _frame(node: exp.Expr) -> None:
    # A negative or null offset raises, but only once there is a row.
    for side in (node.args.get("start"), node.args.get("end")):
        if isinstance(side, exp.Expr) and not (isinstance(side, exp.Literal) and str(side.this).isdigit() and not side.args.get("is_string")):
            raise QueryRefused(
                "construct_refused",
                "a window's frame takes whole numbers",
                hint="write such as `SUM(amount) OVER (ORDER BY placed_at ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)`",
                **position(node.parent or node),
            )


def _order(node: exp.Expr) -> None:
    if node.args.get("this") is not None and not isinstance(node.parent, _ORDERED_WITHIN):
        raise QueryRefused("construct_refused", "ORDER BY is accepted in STRING_AGG and ARRAY_AGG only, of all aggregates", hint=ORDERED, **position(node))


def _data_type(node: exp.Expr) -> None:
    # The parser keeps the lengths of VARCHAR(10) and the elements of TEXT[] in the same place.
    members = [each for each in node.expressions if isinstance(each, exp.DataType)]
    is_array = node.args.get("this") is exp.DType.ARRAY
    if is_array != bool(members) or is_array != bool(node.args.get("nested")) or any(each.args.get("this") is not exp.DType.TEXT for each in members):
        raise QueryRefused("construct_refused", "of arrays, only casts to TEXT[] are accepted", **position(node.parent or node))


def _collate(node: exp.Expr) -> None:
    name = node.expression
    if not isinstance(name, exp.Var) or str(name.this).upper() not in _COLLATIONS:
        raise QueryRefused("construct_refused", "this collation is not accepted", hint="write `region COLLATE NOCASE`, or BINARY, or RTRIM", **position(node))
    if not isinstance(node.this, (exp.Column, exp.Literal, exp.Placeholder, exp.Paren, exp.Func)):
        raise QueryRefused(
            "construct_refused", "COLLATE stands behind a column, a value or brackets", hint="put the expression into brackets", **position(node)
        )


def _replace(node: exp.Expr) -> None:
    # A longer replacement makes much out of little, and nested ones make very much.
    old, new = node.args.get("expression"), node.args.get("replacement")
    if not (_is_text(old) and _is_text(new) and MAX_REPLACED >= len(old.this.encode()) >= max(1, len(new.this.encode()))):
        raise QueryRefused(
            "function_refused",
            f"REPLACE takes two strings of at most {MAX_REPLACED} bytes, the second not longer than the first",
            hint="write such as `REPLACE(region, 'old', 'new')`",
            **position(node),
        )


def _pad(node: exp.Expr) -> None:
    length, fill = node.args.get("expression"), node.args.get("fill_pattern")
    if not (_is_whole(length) and int(length.this) <= MAX_PADDED and (fill is None or _is_text(fill))):
        raise QueryRefused(
            "function_refused",
            f"LPAD and RPAD take a length of at most {MAX_PADDED} and a string",
            hint="write such as `LPAD(region, 8, ' ')`",
            **position(node),
        )


def _format(node: exp.Expr) -> None:
    first = node.this if isinstance(node, exp.Format) else node.expressions[0] if node.expressions else None
    if not (_is_text(first) and _FORMAT.match(first.this)):
        raise QueryRefused(
            "function_refused",
            "printf takes a literal format of %d, %i, %s and %f, with at most two digits of width",
            hint="write such as `printf('%.2f', amount)`",
            **position(node),
        )


def check_distinct(node: exp.Expr) -> None:
    """SQLite's writer says IS NOT for IS DISTINCT FROM, which before NULL, TRUE and FALSE is read back as another node; IS before them is not."""
    other = node.args["expression"]
    if isinstance(node, exp.NullSafeEQ) and not isinstance(other, exp.Paren):
        return
    while isinstance(other, exp.Paren):
        other = other.this
    if isinstance(other, (exp.Null, exp.Boolean)):
        raise QueryRefused(
            "construct_refused",
            "IS DISTINCT FROM stands before NULL, TRUE or FALSE",
            hint="write `region IS NULL`, or `NOT region IS NULL`",
            **position(node),
        )


def _all(node: exp.Expr) -> None:
    is_side = isinstance(node.parent, _COMPARISONS) and node.parent.expression is node
    if not is_side or len(node.expressions) != 1 or not isinstance(node.expressions[0], exp.Array):
        raise QueryRefused("construct_refused", "ALL takes an array or a sub-query, at the right of a comparison", **position(node))


def _format_of_time(node: exp.Expr) -> None:
    if not _is_text(node.args.get("format")):
        raise QueryRefused("construct_refused", "the format of a time is a string", hint="write such as `TO_DATE(region, 'YYYY-MM-DD')`", **position(node))


def _zone(node: exp.Expr) -> None:
    if node.args.get("zone") is not None and not _is_text(node.args["zone"]):
        raise QueryRefused(
            "construct_refused", "the time zone of DATE_TRUNC is a string", hint="write such as `DATE_TRUNC('day', placed_at, 'UTC')`", **position(node)
        )


def _is_text(node: object) -> TypeGuard[exp.Literal]:
    return isinstance(node, exp.Literal) and bool(node.args.get("is_string"))


def _is_whole(node: object) -> TypeGuard[exp.Literal]:
    return isinstance(node, exp.Literal) and not node.args.get("is_string") and str(node.this).isdigit()


def _array(node: exp.Expr) -> None:
    if any(isinstance(member, exp.Array) for member in node.expressions):
        raise QueryRefused("construct_refused", "an array of arrays is not accepted", hint="write one list: `ARRAY[1, 2, 3, 4]`", **position(node))


# The few things about a node that its class and arguments do not say.
CHECKS: Final[Mapping[type[exp.Expr], Callable[[exp.Expr], None]]] = {
    exp.Select: _select,
    exp.Identifier: _identifier,
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Placeholder: _placeholder,
    exp.Var: _var,
    exp.Interval: _interval,
    exp.Lateral: _lateral,
    exp.Limit: _count_of_rows,
    exp.Offset: _count_of_rows,
    exp.Fetch: _count_of_rows,
    exp.CTE: _cte,
    exp.Array: _array,
    exp.WindowSpec: _frame,
    exp.Group: _group,
    exp.Order: _order,
    exp.DataType: _data_type,
    exp.Collate: _collate,
}
_CALLS: Final[Mapping[type[exp.Expr] | str, Callable[[exp.Expr], None]]] = {
    "all": _all,
    "printf": _format,
    exp.Format: _format,
    exp.Replace: _replace,
    exp.Pad: _pad,
    exp.StrToTime: _format_of_time,
    exp.StrToDate: _format_of_time,
    exp.TimestampTrunc: _zone,
}


def check_call(node: exp.Func) -> None:
    """As CHECKS, for the functions that are admitted in certain forms only."""
    key = ascii_lower(str(node.this)) if type(node) is exp.Anonymous else type(node)
    if (check := _CALLS.get(key)) is not None:
        check(node)


def check_pattern(node: exp.Expr, params: Mapping[str, Any]) -> None:
    """A pattern of LIKE, ILIKE or GLOB: short where it is written down, and never one that ends in its escape character.

    Such a pattern is an error that PostgreSQL may also meet while it plans, on values from its statistics.
    """
    escape = "\\"
    if isinstance(node.parent, exp.Escape):
        literal = node.parent.expression
        if not (_is_text(literal) and len(literal.this) == 1):
            raise QueryRefused("construct_refused", "ESCAPE takes one character", hint="write such as `region LIKE '10!%' ESCAPE '!'`", **position(node))
        escape = str(literal.this)
    for pattern in alternatives(node.args["expression"]):
        parts = [_constant_text(part, params) for part in _parts(pattern)]
        if sum(len(part.encode(errors="replace")) for part in parts if part is not None) > MAX_PATTERN:
            raise QueryRefused("sql_too_complex", f"a pattern is longer than {MAX_PATTERN} bytes", **position(node))
        last = parts[-1]
        listed = pattern is not node.args["expression"]  # of an array, the planner may know the values even where they come from a sub-query
        if None in parts and (listed or not isinstance(pattern, exp.Column)) and (not last or (type(node) is not exp.Glob and last.endswith(escape))):
            raise QueryRefused(
                "construct_refused",
                "a pattern is a string, a parameter, a column, or such with a string at its end",
                hint="write such as `note LIKE region || '%'`",
                **position(node),
            )
        if None not in parts and type(node) is not exp.Glob:
            text = "".join(part for part in parts if part is not None)
            if (len(text) - len(text.rstrip(escape))) % 2:
                raise QueryRefused(
                    "construct_refused",
                    "a pattern must not end with its escape character",
                    hint="double it, or name another: `region LIKE '10!%' ESCAPE '!'`",
                    **position(node),
                )


def alternatives(pattern: exp.Expr) -> Iterator[exp.Expr]:
    """The one pattern, or those of `ANY (ARRAY[..])`."""
    inner = pattern.this if isinstance(pattern, exp.Any) else pattern
    while isinstance(pattern, exp.Any) and isinstance(inner, exp.Paren):
        inner = inner.this
    if isinstance(pattern, exp.Any) and isinstance(inner, exp.Array):
        yield from inner.expressions
    else:
        yield pattern


def _parts(node: exp.Expr) -> list[exp.Expr]:
    """What `||` puts together, from left to right."""
    if isinstance(node, exp.Paren):
        return _parts(node.this)
    return _parts(node.this) + _parts(node.expression) if isinstance(node, exp.DPipe) else [node]


def _constant_text(node: exp.Expr, params: Mapping[str, Any]) -> str | None:
    """The text of a string or parameter; None where a row has a part in it."""
    if isinstance(node, exp.Literal):
        return str(node.this)
    if isinstance(node, exp.Placeholder):
        value = params[node.this]
        return value if isinstance(value, str) else ""
    return None
