"""How much SQL the parser is given. Its run time and its stack are for whoever writes the SQL to choose, unless somebody counts first.

`refuse_length` counts before the SQL is split into words, `refuse_nesting` before the words are parsed. Both are linear. What each bound
is for, and what happens without it: docs/decisions/0015-hostile-sql-is-cheap.md; tests/hostile.py looks for what is missing here.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot.tokenizer_core import Token, TokenType

from rowseal.catalog import Limits
from rowseal.errors import QueryRefused
from rowseal.sql.dialects import Dialect

__all__ = [
    "CLOSE",
    "MAX_JOINS",
    "MAX_KEYWORD_RUN",
    "MAX_NESTING",
    "MAX_OPEN_JOINS",
    "MAX_SUBSCRIPTS",
    "MAX_TYPED_NESTING",
    "OPEN",
    "PIECES",
    "WORDS",
    "refuse_length",
    "refuse_nesting",
]

MAX_NESTING: Final = 48  # brackets and CASE ... END
MAX_TYPED_NESTING: Final = 6  # `type(`, ARRAY[ and the like: the parser tries each twice, so its time doubles a level
MAX_KEYWORD_RUN: Final = 24  # NOT NOT NOT ..., - - - ...: each is one more level of recursion
MAX_SUBSCRIPTS: Final = 16  # a[1][1][1] ...: the parser goes through all of them again at each
MAX_JOINS: Final = 64
MAX_OPEN_JOINS: Final = 6  # joins that wait for their ON: the parser reads what follows each of them twice, so its time doubles with every one
WORDS: Final = 2  # for each part of the tree that `limits.nodes` allows
PIECES: Final = 4  # likewise, of words and signs in literals and comments too

# Any word or sign, wherever it stands. INVARIANT: what the tokenizer makes one word of, or none, is at least one piece; so it never has much more to do.
_PIECE: Final = re.compile(r"\w+|[^\w\s]")
OPEN: Final = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
CLOSE: Final = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})
_WORDS: Final = frozenset({TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER, TokenType.COMMA, TokenType.STAR, TokenType.DOT})
_BREAKS_RUN: Final = _WORDS | OPEN | CLOSE
_JOINS: Final = frozenset({TokenType.JOIN, TokenType.STRAIGHT_JOIN})
_WAIT_FOR_NOTHING: Final = frozenset({TokenType.CROSS, TokenType.NATURAL})
_ENDS_JOIN: Final = frozenset({TokenType.ON, TokenType.USING})


def refuse_length(sql: str, limits: Limits) -> None:
    """Raises QueryRefused for a text that is too long, or of so many pieces that splitting it would keep everybody waiting."""
    if len(sql) > limits.sql_bytes or (not sql.isascii() and len(sql.encode("utf-8", "surrogatepass")) > limits.sql_bytes):
        raise QueryRefused("sql_too_complex", f"the SQL is longer than {limits.sql_bytes} bytes")
    most = limits.nodes * PIECES
    if len(sql) > most and len(_PIECE.findall(sql)) > most:
        raise QueryRefused("sql_too_complex", f"the SQL has more than {most} words and signs", hint="give long texts and lists as parameters")


def refuse_nesting(tokens: list[Token], dialect: Dialect, limits: Limits) -> None:
    """Raises QueryRefused where the parser would recurse too deep, or try too often."""
    if len(tokens) > limits.nodes * WORDS:
        raise QueryRefused("sql_too_complex", f"the SQL has more than {limits.nodes * WORDS} words")
    type_tokens = dialect.grammar.parser_class.TYPE_TOKENS
    typed_opens: list[bool] = []
    waiting = [0]  # joins without their ON, by level of brackets
    typed = cases = run = joins = subscripts = 0
    alone = False  # whether the join that is being named takes no ON
    previous: TokenType | None = None
    for token in tokens:
        kind = token.token_type
        if kind in _WORDS:
            run, previous = 0, kind
            continue
        if kind in OPEN:
            is_typed = previous in type_tokens or kind is not TokenType.L_PAREN
            typed_opens.append(is_typed)
            typed += is_typed
            waiting.append(0)
            subscripts += kind is TokenType.L_BRACKET and previous is TokenType.R_BRACKET
        elif kind in CLOSE and typed_opens:
            typed -= typed_opens.pop()
            waiting.pop()
        elif kind is TokenType.CASE:
            cases += 1
        elif kind is TokenType.END:
            cases -= 1
        elif kind in _JOINS:
            joins += 1
            waiting[-1] += not alone
            alone = False
            if sum(waiting) > MAX_OPEN_JOINS:
                raise QueryRefused(
                    "sql_too_complex",
                    f"more than {MAX_OPEN_JOINS} joins wait for their ON",
                    hint="write each ON behind its join, and CROSS JOIN where there is none",
                    line=token.line,
                    column=token.col,
                )
        elif kind in _WAIT_FOR_NOTHING:
            alone = previous is not TokenType.ALIAS
        elif kind in _ENDS_JOIN:
            waiting[-1] -= waiting[-1] > 0
        elif kind is TokenType.SELECT:
            waiting[-1] = 0
        run = 0 if kind in _BREAKS_RUN else run + 1
        previous = kind
        if (
            run > MAX_KEYWORD_RUN
            or len(typed_opens) + max(cases, 0) > MAX_NESTING
            or typed > MAX_TYPED_NESTING
            or joins > MAX_JOINS
            or subscripts > MAX_SUBSCRIPTS
        ):
            raise QueryRefused("sql_too_complex", "the SQL nests too deeply", line=token.line, column=token.col)
