"""A filter's value meets a field: either it becomes a typed, bindable value, or the filter does not apply. Nothing is coerced, nothing is rounded.

Used for the token's filters at every policy, and for the configuration's own when it is loaded, so that both mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from rowseal.catalog import Bound, Field, FieldType, Storage
from rowseal.filters import Filter, Operator, Scalar

__all__ = ["DUCKDB_DIGITS", "LIST_OPERATORS", "NULL_OPERATORS", "Condition", "Inapplicable", "operators", "sorts", "typed"]

LIST_OPERATORS: Final = frozenset({Operator.IS_ONE_OF, Operator.IS_NOT_ONE_OF})
NULL_OPERATORS: Final = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})
_EQUALITY: Final = LIST_OPERATORS | NULL_OPERATORS | {Operator.EQ, Operator.NE}
_ORDER: Final = frozenset({Operator.GT, Operator.GE, Operator.LT, Operator.LE, Operator.BETWEEN})
_SUBSTRING: Final = frozenset({Operator.STARTS_WITH, Operator.ENDS_WITH, Operator.CONTAINS, Operator.NOT_CONTAINS})
_BY_TYPE: Final[Mapping[FieldType, frozenset[Operator]]] = {
    FieldType.NUMBER: _EQUALITY | _ORDER,
    FieldType.STRING: _EQUALITY | _SUBSTRING,  # no order: it would be the collation's, which differs between databases
    FieldType.BOOLEAN: _EQUALITY,
    FieldType.DATE: _EQUALITY | _ORDER,
    FieldType.DATE_TIME: _EQUALITY | _ORDER,
}

# In front of the point and behind it. Any two numbers of fields on DuckDB, and a whole number of 64 bits, meet in DECIMAL(38, 18) without a loss.
DUCKDB_DIGITS: Final = (20, 18)
_INT64: Final = 2**63
_INT128: Final = 2**127
# Far beyond any column, far below what makes Python or a database work hard: 1E+999999999 is thirteen bytes of token.
_DIGITS: Final = 1_000
_HUGE: Final = 10**_DIGITS
_WHOLE_DIGITS, _FRACTION_DIGITS = 35, 30  # of MariaDB's DECIMAL(65, 30)
_ALL_DIGITS: Final = Context(prec=2 * _DIGITS)
_WIDE: Final = Context(prec=2 * _DIGITS + 2)
_DECIMAL_TEXT: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")
_DATE_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# RFC 3339 with an obligatory offset. At most six digits of fraction: Python would silently drop more.
_MOMENT_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})")
_PARTS: Final = (("%H", "hour"), ("%M", "minute"), ("%S", "second"), ("%f", "microsecond"))
_UNSENDABLE: Final = re.compile("[\\x00\\ud800-\\udfff]")
_UUID_TEXT: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Inapplicable(ValueError):
    """The filter does not fit the field. The message says why in general words; it holds no value and no name."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter, resolved: the field it tests and values typed for that field's storage.

    `values` is empty for `is_null` / `is_not_null`, has two members for `between`, one or more for the list operators, else one.
    On PostgreSQL and DuckDB several values share one Python type: the guard casts every bind of a condition to the type of the first value,
    and a fraction cast to a whole number would be rounded, up to one that the token does not permit.
    """

    field: Field
    op: Operator
    values: tuple[Bound, ...] = dataclass_field(repr=False)


def operators(field: Field) -> frozenset[Operator]:
    """The operators that fit a field. `array_contains` fits none: no field type is an array yet."""
    if field.storage is Storage.UUID:
        return _EQUALITY
    if field.format is not None and not sorts(field.format):
        return _EQUALITY
    return _BY_TYPE[field.type]


def sorts(text_format: str) -> bool:
    """Whether texts of this strftime format sort as the moments they name: from the year down, each part of fixed width."""
    return "Y m d H M S f".startswith(" ".join(re.findall("%(.)", text_format)))


def typed(condition: Filter, field: Field, dialect: str) -> Condition:
    """The filter as a condition on the field, its values in the form the database stores.

    `dialect` is our name of the database. Raises Inapplicable; never anything else, whatever the filter holds.
    """
    op, value = condition.op, condition.value
    if op not in operators(field):
        raise Inapplicable("a filter uses an operator that does not fit its field's type")
    if op in NULL_OPERATORS:
        if value is not None:
            raise Inapplicable("a filter gives a value to an operator that takes none")
        return Condition(field, op, ())
    several = op in LIST_OPERATORS or op is Operator.BETWEEN
    if several != isinstance(value, tuple) or value is None:
        raise Inapplicable("a filter gives one value where its operator takes several, or several where it takes one")
    raw = value if isinstance(value, tuple) else (value,)
    if not raw or (op is Operator.BETWEEN and len(raw) != 2):
        raise Inapplicable("a filter has the wrong number of values for its operator")
    if op in _SUBSTRING and raw == ("",):
        raise Inapplicable("a filter tests for an empty piece of text, which every text holds")
    convert = _NUMBERS[dialect] if field.type is FieldType.NUMBER else _OTHERS[field.storage]
    try:
        values = tuple([convert(each, field) for each in raw])
    except Inapplicable:
        raise
    except (ArithmeticError, ValueError) as error:  # a calendar without such a day, a moment outside the years 1 to 9999
        raise Inapplicable("a filter has a value that its field's type does not know") from error
    if dialect != "sqlite" and any(type(each) is Decimal for each in values):
        values = tuple([Decimal(each) if isinstance(each, int) else each for each in values])
    return Condition(field, op, values)


def _number(value: Scalar, field: Field) -> int | Decimal:
    if field.exact and isinstance(value, str):
        if len(value) > _DIGITS or not _DECIMAL_TEXT.fullmatch(value) or value == "-0":
            raise Inapplicable("a filter has a text that is not a number in its canonical form")
        value = Decimal(value)
    if type(value) is int:  # by identity: True is an int too
        if not -_HUGE < value < _HUGE:
            raise Inapplicable("a filter has a number beyond what can be compared exactly")
        return value
    if not isinstance(value, Decimal):
        raise Inapplicable("a filter has a value of another type than its field, which is a number")
    if not value.is_finite() or (value and abs(value.adjusted()) > _DIGITS) or len(value.as_tuple().digits) > _DIGITS:
        raise Inapplicable("a filter has a number beyond what can be compared exactly")
    return int(value) if value == value.to_integral_value() else value


def _double(value: int | Decimal) -> float:
    nearest = float(value)
    # INVARIANT: the double, written in full, is the number that was signed. 0.1 passes, 0.10000000000000000001 does not.
    if Decimal(repr(nearest)) != value:
        raise Inapplicable("a filter has a number that its column cannot hold exactly")
    return nearest


def _sqlite_number(value: Scalar, field: Field) -> Bound:
    number = _number(value, field)
    if field.storage is Storage.FLOAT or isinstance(number, Decimal):
        return _double(number)
    if not -_INT64 <= number < _INT64:
        raise Inapplicable("a filter has a number beyond what its column can hold")
    return number


def _postgres_number(value: Scalar, field: Field) -> Bound:
    number = _number(value, field)
    if field.storage is Storage.FLOAT:
        return _double(number)
    return number if isinstance(number, Decimal) or -_INT64 <= number < _INT64 else Decimal(number)


def _duckdb_number(value: Scalar, field: Field) -> Bound:
    number = _number(value, field)
    if field.storage is Storage.FLOAT:
        return _double(number)
    if field.storage is Storage.HUGE:
        if isinstance(number, Decimal) or not -_INT128 <= number < _INT128:
            raise Inapplicable("a filter has a number that its column cannot hold exactly")
        return number
    if isinstance(number, int) and -_INT64 <= number < _INT64:
        return number
    # INVARIANT: DECIMAL(38, 18) holds it, and whatever it is compared with: see `kind_of` there
    exact = Decimal(number)
    _, _, exponent = exact.normalize(_WIDE).as_tuple()
    if abs(exact) >= 10 ** DUCKDB_DIGITS[0] or not isinstance(exponent, int) or -exponent > DUCKDB_DIGITS[1]:
        raise Inapplicable("a filter has a number beyond what can be compared exactly")
    return exact


def _text(value: Scalar, _: Field) -> str:
    if not isinstance(value, str):
        raise Inapplicable("a filter has a value of another type than its field, which is a string")
    # NUL cuts text short in libpq, and half a surrogate pair cannot be sent at all.
    if _UNSENDABLE.search(value):
        raise Inapplicable("a filter has a text with a character that no database can hold")
    return value


def _uuid(value: Scalar, _: Field) -> UUID:
    if not isinstance(value, str) or not _UUID_TEXT.fullmatch(value):
        raise Inapplicable("a filter has a value of another type than its field, which is a UUID written with hyphens")
    return UUID(value)


def _boolean(value: Scalar, _: Field) -> bool:
    if not isinstance(value, bool):
        raise Inapplicable("a filter has a value of another type than its field, which is a boolean")
    return value


def _date(value: Scalar, _: Field) -> date:
    if not isinstance(value, str) or not _DATE_TEXT.fullmatch(value):
        raise Inapplicable("a filter has a value of another type than its field, which is a date written YYYY-MM-DD")
    return date.fromisoformat(value)


def _moment(value: Scalar, _: Field) -> datetime:
    if not isinstance(value, str) or not _MOMENT_TEXT.fullmatch(value):
        raise Inapplicable("a filter has a value of another type than its field, which is a moment written in ISO 8601 with an offset")
    return datetime.fromisoformat(value).astimezone(UTC)


def _local(value: Scalar, field: Field) -> datetime:
    local = _moment(value, field).astimezone(ZoneInfo(field.timezone))
    # When clocks are set back one reading names two moments; nobody can tell which of them a row without a zone means.
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        raise Inapplicable("a filter has a moment that its column, which knows no offset, cannot tell from another one")
    return local.replace(tzinfo=None, fold=0)


def _formatted(moment: date | datetime, field: Field) -> str:
    if field.format is None:
        raise Inapplicable("a filter meets a field whose text has no known format")
    unsaid = (part for directive, part in _PARTS if directive not in field.format)
    # Years below 1000 are left out: not every platform writes them with four digits, and then they do not sort.
    if moment.year < 1000 or any(getattr(moment, part, 0) for part in unsaid):
        raise Inapplicable("a filter has a moment finer than, or outside of, what its column's text can say")
    return moment.strftime(field.format)


def _mariadb_number(value: Scalar, field: Field) -> Bound:
    number = _number(value, field)
    if field.storage is Storage.FLOAT:
        return _double(number)
    if type(number) is int and -_INT64 <= number < _INT64:
        return number
    exact = Decimal(number)
    # INVARIANT: what does not fit into the 35 digits before the point and the 30 behind it would be cut, and then equal another number.
    if exact and (exact.adjusted() >= _WHOLE_DIGITS or _places(exact) > _FRACTION_DIGITS):
        raise Inapplicable("a filter has a number beyond what its column can hold")
    return exact


def _places(number: Decimal) -> int:
    exponent = number.normalize(_ALL_DIGITS).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else _DIGITS


_NUMBERS: Final[Mapping[str, Callable[[Scalar, Field], Bound]]] = {
    "sqlite": _sqlite_number,
    "postgres": _postgres_number,
    "mariadb": _mariadb_number,
    "duckdb": _duckdb_number,
}
_OTHERS: Final[Mapping[Storage, Callable[[Scalar, Field], Bound]]] = {
    Storage.TEXT: _text,
    Storage.ENUM: _text,
    Storage.UUID: _uuid,
    Storage.BOOLEAN: _boolean,
    Storage.DATE: _date,
    Storage.TIMESTAMP: _local,
    Storage.TIMESTAMPTZ: _moment,
    Storage.TEXT_DATE: lambda value, field: _formatted(_date(value, field), field),
    Storage.TEXT_TIMESTAMP: lambda value, field: _formatted(_local(value, field), field),
}
