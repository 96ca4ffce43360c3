"""The bearer's SQL as characters and words, before any parser sees it: two passes, both linear.

The parser's run time and stack would otherwise be an attacker's to choose. And a few spellings are refused here because the parser reads
them as something else than the database does, so that nobody could tell afterwards.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise, zip_longest
from typing import Final

from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from rowseal.catalog import Limits
from rowseal.errors import QueryRefused
from rowseal.sql.admitted import TIME_UNITS
from rowseal.sql.bounds import refuse_length, refuse_nesting
from rowseal.sql.cures import TYPES, first_word
from rowseal.sql.dialects import Dialect

__all__ = ["CONTROL", "words"]

MAX_KEPT: Final = 64  # characters of a date format, interval or JSON key
MAX_JUDGED: Final = 256  # of those: the parser reads each with a parser of its own

CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
# Before and after these a comma has something on one side only.
_OPENS: Final = frozenset({TokenType.SELECT, TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.COMMA})
_ENDS: Final = frozenset({TokenType.FROM, TokenType.WHERE, TokenType.GROUP_BY, TokenType.ORDER_BY, TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.COMMA})
_STRINGS: Final = frozenset({TokenType.STRING})
_SELECTS: Final = frozenset({TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN})
_FIRST: Final[Mapping[str, frozenset[TokenType]]] = {"duckdb": _SELECTS | {TokenType.FROM}}  # `FROM orders SELECT id`; the same nested is known to the parser
_NEVER: Final = frozenset({TokenType.PIPE_GT, TokenType.HINT, TokenType.COLON_EQ})

# Types as CAST may spell them; the parser knows more names, and takes some for another type than the database does.
_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "sqlite": frozenset({"INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "REAL", "FLOAT", "DOUBLE", "DOUBLE PRECISION", "TEXT", "VARCHAR", "CHAR"}),
    "postgres": frozenset(
        "INT INTEGER INT2 INT4 INT8 BIGINT SMALLINT DECIMAL NUMERIC REAL FLOAT FLOAT4 FLOAT8 TEXT VARCHAR CHAR BOOLEAN BOOL DATE TIME TIMESTAMP TIMESTAMPTZ "
        "INTERVAL UUID JSON JSONB".split()
    )
    | {"DOUBLE PRECISION", "CHARACTER VARYING"},
    "mariadb": frozenset("CHAR VARCHAR SIGNED UNSIGNED INT INTEGER DECIMAL DOUBLE DATE TIME DATETIME".split()),
    "duckdb": frozenset(
        "INT INTEGER INT2 INT4 INT8 TINYINT SMALLINT BIGINT DECIMAL NUMERIC REAL FLOAT FLOAT4 FLOAT8 DOUBLE TEXT VARCHAR STRING CHAR BOOLEAN BOOL DATE TIME "
        "TIMESTAMP TIMESTAMPTZ DATETIME INTERVAL UUID".split()
    )
    | {"DOUBLE PRECISION"},
}
# Functions that the parser takes for an operator or another function, with another type of answer.
_MISREAD: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {"mod": "write `amount % 3`"},
    "postgres": {"date_part": "write `EXTRACT(YEAR FROM placed_at)`"},
    "duckdb": {"date_part": "write `EXTRACT(YEAR FROM placed_at)`", "mod": "write `amount % 3`"},
    "mariadb": {
        "convert": "write `CAST(amount AS CHAR)`",
        "to_days": "write `DATEDIFF(placed_at, '2026-01-01')`",
        "char": "write the text out: `'a'`",
    },
}
_FORMATTED: Final[Mapping[str, frozenset[str]]] = {
    "postgres": frozenset({"to_char", "to_date", "to_timestamp"}),
    "mariadb": frozenset({"date_format", "str_to_date"}),
    "duckdb": frozenset({"strftime"}),
}
# What the parser writes back as something that means the same: checked one by one against the database (tests/test_mariadb.py).
_MARIADB_FORMAT: Final = re.compile(r"([^%]|%[YymcdeHhIiSsTpMbWaj])*+\Z")
_UNREAD: Final[Mapping[TokenType, str]] = {
    TokenType.DPIPE: "put texts together with `CONCAT(region, '!')`, and conditions with OR: to some settings of MariaDB this is the one, to others the other",
    TokenType.DAMP: "write AND",
    TokenType.DCOLON: "write `CAST(amount AS CHAR)`",
    TokenType.ARROW: "take the value apart where it is stored; MariaDB has no such operator",
    TokenType.DARROW: "take the value apart where it is stored; MariaDB has no such operator",
}
_EXECUTED: Final = re.compile(r"/\*M?!")
_ALWAYS_FORMATTED: Final = frozenset({"to_char", "date_format", "str_to_date", "strftime"})
_FORMATS: Final[Mapping[str, str]] = {
    "postgres": "use such as YYYY, MM, DD, HH24, MI and SS: `TO_CHAR(placed_at, 'YYYY-MM-DD HH24:MI:SS')`",
    "mariadb": "use such as %Y, %m, %d, %H, %i and %s: `DATE_FORMAT(placed_at, '%Y-%m-%d %H:%i:%s')`",
    "duckdb": "use such as %Y, %m, %d, %H, %M and %S: `STRFTIME(placed_at, '%Y-%m-%d %H:%M:%S')`",
}
_JUDGED: Final = frozenset({TokenType.INTERVAL, TokenType.ARROW, TokenType.DARROW})
_LOOKED_AT: Final = _JUDGED | {TokenType.L_PAREN, TokenType.R_PAREN, TokenType.DCOLON, TokenType.ALIAS}
_INDEX: Final = re.compile(r"[0-9]{1,9}\Z")
_WHOLE: Final = re.compile(r"-?[0-9]{1,9}\Z")
_JSON_LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")  # which the parser writes as a path for SQLite, and means the same


def words(sql: str, dialect: Dialect, limits: Limits) -> list[Token]:
    """The words of the SQL, if characters, nesting and spellings are such that the parser may see them. Raises QueryRefused."""
    if not isinstance(sql, str) or not sql.strip():
        raise QueryRefused("sql_empty")
    refuse_length(sql, limits)
    if found := CONTROL.search(sql):
        raise _character(sql, found.start())
    try:
        tokens: list[Token] = dialect.grammar.tokenize(sql)
    except (SqlglotError, RecursionError, ValueError) as error:
        raise QueryRefused("sql_syntax", "the SQL could not be split into words: a quote or comment is not closed") from error
    if all(token.token_type is TokenType.SEMICOLON for token in tokens):
        raise QueryRefused("sql_empty")
    # Anything else would be parsed as a raw command, and the parser's own log would hold the bearer's text.
    if tokens[0].token_type not in _FIRST.get(dialect.name, _SELECTS) or not _NEVER.isdisjoint([token.token_type for token in tokens]):
        raise QueryRefused(
            "sql_not_one_select",
            hint=first_word(tokens[0].text, dialect),
            line=tokens[0].line,
            column=1 + tokens[0].start - sql.rfind("\n", 0, tokens[0].start) - 1,
        )
    if not sql.isascii():
        _refuse_invisible(sql, tokens)
    refuse_nesting(tokens, dialect, limits)
    _refuse_glued(sql, tokens)
    _refuse_stray_commas(tokens)
    if dialect.name == "mariadb":
        _refuse_ambiguous(sql, tokens)
    _refuse_misread(tokens, dialect)
    if dialect.name == "duckdb":
        _mark_parameters(tokens)
    return tokens


def _mark_parameters(tokens: list[Token]) -> None:
    """The parser knows `:name` on DuckDB, but not where `name:` could stand, which gives what follows a name there."""
    for token, after in pairwise(tokens):
        if token.token_type is TokenType.COLON and after.start == token.end + 1 and after.token_type is not TokenType.NUMBER:
            token.token_type = TokenType.PARAMETER


def _refuse_glued(sql: str, tokens: list[Token]) -> None:
    """`1_000` is 1 under the name `_000` to the parser and a thousand to newer databases; `1e5x`, `0o7` and `1.a` are no better."""
    for token, after in zip_longest(tokens, tokens[1:]):
        if token.token_type is TokenType.NUMBER and "_" in sql[token.start : token.end + 1]:
            raise _misread("sql_syntax", "a number has an underscore in it", "write its digits alone", token)
        if token.token_type is TokenType.NUMBER and after is not None and after.start == token.end + 1:
            first = sql[after.start]
            if first.isalnum() or first in "_.$" or not first.isascii():
                raise _misread("sql_syntax", "a number is followed by a letter, underscore or point", "put a space after it, or write its digits alone", after)


def _refuse_ambiguous(sql: str, tokens: list[Token]) -> None:
    """What one setting of MariaDB reads otherwise than another, what it runs though it looks like a comment, and what the parser makes up for it."""
    start = 0
    for token, after in zip_longest(tokens, tokens[1:]):
        kind, first = token.token_type, sql[token.start]
        if (found := _EXECUTED.search(sql, start, token.start)) is not None or kind is TokenType.HINT:
            raise _character_at(sql, found.start() if found else token.start)
        start = token.end + 1
        if kind is TokenType.STRING and first == '"':
            cure = f"write a string in single quotes, `'{token.text}'`, and a name in backticks, `` `{token.text}` ``" if token.text.isalnum() else None
            raise _misread("sql_syntax", "double quotes stand around a name in some settings of MariaDB and around a string in others", cure, token)
        if kind in _UNREAD:
            raise _misread("construct_refused", f"`{sql[token.start : token.end + 1]}` is not accepted", _UNREAD[kind], token)
        if sql.startswith("!", token.start) and not sql.startswith("!=", token.start):
            raise _misread("construct_refused", "`!` is not accepted", "write NOT", token)
        if after is not None and kind is TokenType.STRING and after.token_type is TokenType.STRING:
            raise _misread("construct_refused", "two strings stand side by side", "put them together with `CONCAT('a', 'b')`", after)
        if after is not None and token.text.upper() == "NULLS" and after.text.upper() in ("FIRST", "LAST"):
            raise _misread(
                "construct_refused", "`NULLS FIRST` is not accepted", "order by that first: `SELECT amount FROM orders ORDER BY amount IS NULL, amount`", token
            )
    if (found := _EXECUTED.search(sql, start)) is not None:
        raise _character_at(sql, found.start())


def _character_at(sql: str, offset: int) -> QueryRefused:
    before = sql[:offset]
    line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
    return QueryRefused("construct_refused", "a comment that MariaDB runs is not accepted", hint="leave the comment out", line=line, column=column)


def _keeps_format(called: str, literal: str, dialect: Dialect) -> bool:
    if dialect.name == "mariadb":
        return len(literal) <= MAX_KEPT and _MARIADB_FORMAT.match(literal) is not None
    return _kept(f"{called.upper()}(x, ", literal, ")", dialect)


def _refuse_stray_commas(tokens: list[Token]) -> None:
    """The parser overlooks a comma with nothing beside it, and so would run what was mistyped."""
    for token, after in pairwise(tokens):
        if (token.token_type in _OPENS and after.token_type is TokenType.COMMA) or (token.token_type is TokenType.COMMA and after.token_type in _ENDS):
            raise _misread("sql_syntax", "a comma stands here with nothing beside it", "remove the comma", after if token.token_type in _OPENS else token)
    if tokens and tokens[-1].token_type is TokenType.COMMA:
        raise _misread("sql_syntax", "a comma stands here with nothing beside it", "remove the comma", tokens[-1])


def _refuse_invisible(sql: str, tokens: list[Token]) -> None:
    """Outside string literals no character may be a space, joiner or mark of direction to one parser and a letter to another."""
    start = 0
    for token in [*tokens, None]:
        if token is not None and token.token_type not in _STRINGS:
            continue
        end = token.start if token else len(sql)
        for offset in range(start, end):
            if ord(sql[offset]) > 127 and unicodedata.category(sql[offset])[0] in "CZ":
                raise _character(sql, offset)
        start = token.end + 1 if token else end
    if any(0xD800 <= ord(character) <= 0xDFFF for character in sql):
        raise QueryRefused("sql_character", "the SQL holds half of a surrogate pair")


def _character(sql: str, offset: int) -> QueryRefused:
    before = sql[:offset]
    return QueryRefused(
        "sql_character",
        f"the SQL holds the character U+{ord(sql[offset]):04X}",
        line=before.count("\n") + 1,
        column=offset - (before.rfind("\n") + 1) + 1,
    )


def _refuse_misread(tokens: list[Token], dialect: Dialect) -> None:
    """Spellings that the parser would turn into something else, looked at where they stand."""
    opened: list[str] = []  # for each open bracket the word before it
    judged = 0
    for index, token in enumerate(tokens):
        kind = token.token_type
        if kind not in _LOOKED_AT:
            continue
        judged += kind in _JUDGED or (kind is TokenType.R_PAREN and bool(opened) and opened[-1] in _FORMATTED.get(dialect.name, frozenset()))
        if judged > MAX_JUDGED:
            what = f"the SQL has more than {MAX_JUDGED} JSON keys, intervals and formats of dates"
            raise QueryRefused("sql_too_complex", what, line=token.line, column=token.col)
        if kind is TokenType.L_PAREN:
            opened.append(tokens[index - 1].text.lower() if index else "")
            if (cure := _MISREAD[dialect.name].get(opened[-1])) is not None:
                raise _misread("function_refused", f"the function `{opened[-1]}` is not accepted", cure, tokens[index - 1])
        elif kind is TokenType.R_PAREN:
            last, called = tokens[index - 1], opened.pop() if opened else ""
            # The parser turns the formats of these into others; what is no string here is refused where the tree is looked at.
            literal = last.token_type is TokenType.STRING
            if (
                called in _FORMATTED.get(dialect.name, ())
                and (literal or called in _ALWAYS_FORMATTED)
                and not (literal and _keeps_format(called, last.text, dialect))
            ):
                raise _misread("construct_refused", f"`{called}` takes a literal format of common parts", _FORMATS[dialect.name], last)
        elif index + 1 < len(tokens):
            _refuse_following(token, *tokens[index + 1 : index + 3], in_cast=bool(opened) and opened[-1] == "cast", dialect=dialect)


def _refuse_following(token: Token, following: Token, third: Token | None = None, *, in_cast: bool, dialect: Dialect) -> None:
    kind, literal = token.token_type, following.token_type is TokenType.STRING
    if kind is TokenType.DCOLON or (kind is TokenType.ALIAS and in_cast):
        if following.text.upper() not in _TYPES[dialect.name]:
            hint = TYPES[dialect.name].get(following.text.upper(), "use another name of the type, or another type")
            raise _misread("construct_refused", f"casts to `{following.text.lower()}` are not accepted", hint, following)
    elif kind is TokenType.INTERVAL and literal and dialect.name in _INTERVALS:
        unit = third is not None and third.text.upper() in TIME_UNITS
        if not (_WHOLE.match(following.text) if unit else _INTERVALS[dialect.name](following.text, dialect)):
            raise _misread("construct_refused", "an interval of this form is not accepted", "write such as `placed_at + INTERVAL '3 days'`", following)
    elif kind in (TokenType.ARROW, TokenType.DARROW):
        from_the_end = dialect.name == "postgres" and following.token_type is TokenType.DASH and third is not None
        if _INDEX.match((third if from_the_end and third is not None else following).text) and not literal:
            return
        label = literal and dialect.name == "sqlite" and _JSON_LABEL.match(following.text)
        if not (label or (literal and following.text and _kept("x -> ", following.text, "", dialect))):
            raise _misread("construct_refused", "a JSON key of this form is not accepted", "use a plain word or a number", following)


def _amount_and_unit(text: str, _: Dialect) -> bool:
    """`3 days`, which the parser takes apart as the database does."""
    amount, _space, unit = text.partition(" ")
    return _WHOLE.match(amount) is not None and unit.upper() in TIME_UNITS


# The databases that know intervals -> whether a literal one without a unit behind it is read as it is by the database.
_INTERVALS: Final[Mapping[str, Callable[[str, Dialect], bool]]] = {
    "postgres": lambda text, dialect: _kept("INTERVAL ", text.upper(), "", dialect),
    "mariadb": lambda text, _: _WHOLE.match(text) is not None,
    "duckdb": _amount_and_unit,
}


def _misread(code: str, detail: str, cure: str | None, token: Token) -> QueryRefused:
    return QueryRefused(code, detail, hint=cure, line=token.line, column=token.col - (token.end - token.start))


def _kept(before: str, literal: str, after: str, dialect: Dialect) -> bool:
    """Whether the parser writes a literal in this place back as it read it, so that it means what it meant."""
    return len(literal) <= MAX_KEPT and _written_back(before, literal, after, dialect)


@lru_cache(maxsize=1024)
def _written_back(before: str, literal: str, after: str, dialect: Dialect) -> bool:
    quoted = "'" + literal.replace("'", "''") + "'"
    try:
        tree = dialect.grammar.parse(f"SELECT {before}{quoted}{after}")[0]
        return tree is not None and quoted in dialect.grammar.generate(tree, unsupported_level=ErrorLevel.RAISE)
    except (SqlglotError, ValueError, TypeError, AttributeError, RecursionError):
        return False
