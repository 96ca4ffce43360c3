"""Each refusal names the cure and, done word for word, the cure works.

`TOKENS`, `ACCESS` and `QUERIES` are read as a table: the code, what the hint says, how one gets there, and each part of the hint with what
somebody does who follows it. The hint is compared as a whole, so whoever changes its words follows them here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cures import Refusal, check
from place import Place
from rowseal import errors
from seeds.refused_access import ACCESS
from seeds.refused_queries import QUERIES
from seeds.refused_tokens import TOKENS

REFUSALS = (*TOKENS, *ACCESS, *QUERIES)
NOBODY_MEETS = {
    **dict.fromkeys(("admin_refused", "key_refused", "key_missing", "key_taken"), "whoever bears a token; operators do: tests/test_key_upload.py"),
    "keys_unavailable": "whoever publishes the keys is down: tests/test_key_sources.py",
    "our_bug": "a promise of rowseal's own did not hold",
    "query_cancelled": "whoever asked has gone, and reads no answer",
}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Place]]:
    """Gives a fresh place as often as it is called."""
    places: list[Place] = []

    def fresh() -> Place:
        folder = tmp_path / str(len(places))
        folder.mkdir()
        places.append(Place(folder))
        return places[-1]

    yield fresh
    for each in places:
        each.close()


@pytest.mark.parametrize("refusal", REFUSALS, ids=[f"{each.code}: {each.hint[:40]}" for each in REFUSALS])
def test_its_cure_works(refusal: Refusal, make: Callable[[], Place]) -> None:
    check(refusal, make)


def test_no_code_is_missing() -> None:
    """Whoever adds a code says here what its cure is, and shows that it works."""
    assert {each.code for each in REFUSALS} | NOBODY_MEETS.keys() == errors.CODES.keys()
    assert not {each.code for each in REFUSALS} & NOBODY_MEETS.keys()
    general = {(each.code, each.hint) for each in REFUSALS}
    assert [code for code, meaning in errors.CODES.items() if code not in NOBODY_MEETS and (code, meaning.hint) not in general] == []


def test_no_hint_about_a_token_or_a_dataset_is_missing() -> None:
    """Hints that a place in the source gives instead of the code's own: each that is written out stands in the table."""
    shown = {each.hint for each in REFUSALS}
    source = Path(errors.__file__).parent
    written = {
        word.value.value
        for file in (*source.glob("*.py"), *(source / "grants").glob("*.py"))
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in {"TokenRefused", "AccessRefused"}
        for word in call.keywords
        if word.arg == "hint" and isinstance(word.value, ast.Constant)
    }
    assert len(written) > 3
    assert written - shown == set()


@pytest.mark.parametrize(
    ("hint", "cures", "why"),
    [
        ("another hint", {"another hint": Place.token}, "token_missing"),
        ("sign a token, or pray", {"sign a token": Place.token}, "no cure follows"),
        ("sign a token", {"sign a token": lambda place: place.gate().verify("")}, "led to .'token_missing"),
        ("sign a token", {"sign two tokens": Place.token}, "does not say 'sign two tokens'"),
    ],
    ids=["another hint", "a part that nobody tries", "a cure that fails", "other words"],
)
def test_the_check_can_fail(make: Callable[[], Place], hint: str, cures: dict[str, Callable[[Place], object]], why: str) -> None:
    said = "sign a token, or pray" if "pray" in hint else "sign a token"

    def provoke(place: Place) -> None:
        raise errors.TokenRefused("token_missing", hint=said)

    with pytest.raises(AssertionError, match=why):
        check(Refusal("token_missing", hint, provoke, cures), make)
