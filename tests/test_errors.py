"""Every way to say no is known, documented in one table, and used."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rowseal import errors

SOURCE = Path(errors.__file__).parent
CLASSES = {
    401: {errors.TokenRefused, errors.AdminRefused},
    403: {errors.AccessRefused},
    400: {errors.QueryRefused, errors.AdminRefused},
    404: {errors.QueryRefused, errors.AdminRefused},
    405: {errors.QueryRefused},
    409: {errors.AdminRefused},
    406: {errors.QueryRefused},
    413: {errors.BudgetExceeded},
    429: {errors.BudgetExceeded},
    502: {errors.EngineFailed},
    503: {errors.TokenRefused},
    504: {errors.TimedOut},
    499: {errors.Cancelled},
    500: {errors.OurBug, errors.Unsecured},
}


def _raised() -> set[tuple[str, str]]:
    """(class, code) of every refusal that the source makes with a literal code."""
    found = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors.__all__ and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and isinstance(code.value, str) and node.func.id not in {"OurBug", "Code", "Problem"}:
                    found.add((node.func.id, code.value))
    return found


def test_every_refusal_has_a_known_code_of_its_class() -> None:
    wrong = [(name, code) for name, code in _raised() if getattr(errors, name) not in CLASSES[errors.CODES[code].status]]
    assert wrong == []


def test_every_code_is_used() -> None:
    """A code that nothing raises is a promise to nobody."""
    text = "\n".join(file.read_text() for file in SOURCE.rglob("*.py") if file.name != "errors.py")
    unused = [code for code in errors.CODES if f'"{code}"' not in text and code != "our_bug"]
    assert unused == []


@pytest.mark.parametrize("code", errors.CODES)
def test_messages_follow_the_house_style(code: str) -> None:
    """Lower case, one sentence, no full stop; a cure for everyone."""
    meaning = errors.CODES[code]
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", code)
    for text in (meaning.means, meaning.hint):
        assert text
        assert not text.endswith(".")
        assert "\n" not in text
        assert text[0].islower() or text.split()[0].isupper()


def test_a_refusal_carries_what_an_answer_needs() -> None:
    refusal = errors.QueryRefused("sql_syntax", line=3, column=7)
    assert (refusal.code, refusal.status, refusal.line, refusal.column) == ("sql_syntax", 400, 3, 7)
    assert refusal.detail == errors.CODES["sql_syntax"].means
    assert refusal.hint


def test_our_bug_keeps_its_reason_to_itself() -> None:
    bug = errors.OurBug("the table payroll was read")
    assert "payroll" not in f"{bug} {bug.detail} {bug.hint}"
    assert bug.internal == "the table payroll was read"


def test_a_misconfiguration_lists_every_problem_with_its_place() -> None:
    problems = [errors.Problem("datasets.yaml", 3, 5, "datasets.0.table", "no such table"), errors.Problem("datasets.yaml", 9, 1, "", "empty")]
    failure = errors.Misconfigured(problems)
    assert failure.problems == tuple(problems)
    assert str(failure) == "datasets.yaml:3:5: datasets.0.table: no such table\ndatasets.yaml:9:1: empty"
