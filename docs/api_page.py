"""docs/reference/api.md: what may be imported, from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from types import FunctionType
from typing import Any, Final

import rowseal
from rowseal import Access, DashboardAccess, Gate, GateMiddleware, Presented, Result, Rewrite, SecuredQuery, Signer, access_of, app, errors
from rowseal.claims import KeyFacts
from rowseal.engine import seal, to_arrow, to_csv, to_json, to_ndjson
from rowseal.gate import VisibleDataset
from rowseal.gate.streams import AsyncStream, Stream
from rowseal.grants import Grant
from rowseal.http import answers
from rowseal.keys import KeyRefused
from rowseal.signing import SigningRefused

__all__ = ["ENTRIES", "lines"]

_WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One section: what it is about, from where it is imported, and where one comes from that no caller makes."""

    thing: Any
    module: str
    made_by: str = ""
    internal: tuple[str, ...] = ()  # methods that only rowseal itself calls

    @property
    def name(self) -> str:
        """As it is written in code."""
        return str(self.thing.__name__)

    @property
    def members(self) -> dict[str, Any]:
        """Its own public methods and properties, in the order of the source."""
        kinds = (property, classmethod, staticmethod, FunctionType)
        found = vars(self.thing) if isinstance(self.thing, type) else {}
        return {name: each for name, each in found.items() if isinstance(each, kinds) and not name.startswith("_") and name not in self.internal}


ENTRIES: Final = {
    "The request, top to bottom": (
        Entry(Gate, "rowseal", "`Gate.from_yaml`"),
        Entry(Access, "rowseal", "`Gate.verify`"),
        Entry(SecuredQuery, "rowseal", "`Access.secure`", ("take_ticket",)),
        Entry(Result, "rowseal", "`Access.execute`"),
        Entry(Stream, "rowseal.gate.streams", "`Access.stream`", ("running",)),
        Entry(AsyncStream, "rowseal.gate.streams", "`Access.astream`"),
        Entry(Grant, "rowseal.grants", "`Access.grant`"),
        Entry(KeyFacts, "rowseal.claims", "`Grant.key`"),
        Entry(Presented, "rowseal"),
        Entry(VisibleDataset, "rowseal.gate", "`Access.datasets`"),
    ),
    "In an ASGI app": (
        Entry(GateMiddleware, "rowseal"),
        Entry(access_of, "rowseal"),
        Entry(Rewrite, "rowseal", "", ("read", "body")),
        Entry(answers.answer, "rowseal.http.answers"),
        Entry(to_json, "rowseal.engine"),
        Entry(to_ndjson, "rowseal.engine"),
        Entry(to_csv, "rowseal.engine"),
        Entry(to_arrow, "rowseal.engine"),
        Entry(seal, "rowseal.engine"),
        Entry(app.create_app, "rowseal.app"),
    ),
    "Where tokens are signed, and dashboards are kept": (
        Entry(Signer, "rowseal"),
        Entry(SigningRefused, "rowseal.signing"),
        Entry(KeyRefused, "rowseal.keys"),
        Entry(DashboardAccess, "rowseal", "`Gate.verify_dashboard`"),
    ),
    "When the configuration is wrong": (Entry(errors.Misconfigured, "rowseal.errors"), Entry(errors.Problem, "rowseal.errors")),
}
_REFUSALS: Final = tuple(
    thing for name, thing in vars(errors).items() if name in errors.__all__ and isinstance(thing, type) and issubclass(thing, errors.Refused)
)
_LINKS: Final = {
    **{entry.name: f"#{entry.name.lower()}" for entries in ENTRIES.values() for entry in entries},
    **{thing.__name__: "#refusals" for thing in _REFUSALS},
    "CODES": "errors.md",
    "Explanation": "http.md#explanation",
    "TYPES": "http.md#column",
}
# names of types that a caller would have to look up
_SPELLED: Final = {"AnyEngine": "Engine | AsyncEngine", "Clock": "Callable[[], float]"}


def lines() -> Iterator[str]:
    """The page. Raises SystemExit where a public name is not on it."""
    unsaid = {name for name in rowseal.__all__ if name != "errors"} - _LINKS.keys()
    if unsaid:
        raise SystemExit(f"docs/api_page.py does not show {sorted(unsaid)}")
    yield "# Python\n"
    yield "<!-- Written by docs/generate.py from signatures and docstrings. Change those, then run `make docs`. -->\n"
    yield (
        "What may be imported. Everything else is internal and may change.\n"
        "All of it is typed. Whatever is refused is an exception of [`rowseal.errors`](#refusals).\n"
    )
    for heading, entries in ENTRIES.items():
        yield f"- [{heading}](#{_anchor(heading)}): {', '.join(_link(entry.name) for entry in entries)}"
    yield f"- [Refusals](#refusals): {', '.join(f'`{thing.__name__}`' for thing in _REFUSALS)}"
    for heading, entries in ENTRIES.items():
        yield f"\n## {heading}"
        for entry in entries:
            yield from _section(entry)
    yield "\n## Refusals\n"
    yield "All derive from `rowseal.errors.Refused`, so `except errors.Refused` meets every one.\n"
    yield f"{_markdown(_doc(errors.Refused).partition(chr(10) * 2)[2], 'Refused')}\n"
    yield "| `rowseal.errors` | |\n|---|---|"
    yield from (f"| `{thing.__name__}` | {_doc(thing)} |" for thing in _REFUSALS if thing is not errors.Refused)


def _section(entry: Entry) -> Iterator[str]:
    yield f"\n### `{entry.name}`\n"
    failure = isinstance(entry.thing, type) and issubclass(entry.thing, Exception)
    call = "" if entry.made_by or failure else f"\n\n{_signature(entry.name, entry.thing)}"
    yield f"```python\nfrom {entry.module} import {entry.name}{call}\n```\n"
    if entry.made_by:
        yield f"You get one from {entry.made_by}.\n"
    yield _markdown(_doc(entry.thing), entry.name)
    made = getattr(entry.thing, "__init__", None)
    if call and inspect.isfunction(made) and made.__doc__:
        yield f"\n{_markdown(inspect.cleandoc(made.__doc__), entry.name)}"
    if entry.made_by:
        yield from _attributes(entry.thing)
    for name, found in entry.members.items():
        yield from _member(entry, name, found)


def _attributes(thing: type) -> Iterator[str]:
    if is_dataclass(thing):
        found = {each.name: each.type for each in fields(thing)}
    else:
        found = dict(thing.__annotations__) if issubclass(thing, tuple) else {}
    public = {name: kind for name, kind in found.items() if not name.startswith("_")}
    if public:
        yield "\n| attribute | |\n|---|---|"
        yield from (f"| `{name}` | `{_plain(kind).replace('|', chr(92) + '|')}` |" for name, kind in public.items())


def _member(entry: Entry, name: str, found: Any) -> Iterator[str]:
    if isinstance(found, property):
        returned = _plain(inspect.signature(found.fget).return_annotation) if found.fget else ""
        yield f"\n```python\n{_variable(entry.name)}.{name}: {returned}\n```\n"
        yield _markdown(_doc(found), entry.name)
        return
    function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    before = "await " if inspect.iscoroutinefunction(function) else ""
    place = f"{entry.name}.{name}" if isinstance(found, classmethod) else f"{_variable(entry.name)}.{name}"
    yield f"\n```python\n{before}{_signature(place, function)}\n```\n"
    yield _markdown(_doc(function), entry.name)


def _variable(name: str) -> str:
    return {"SecuredQuery": "query", "DashboardAccess": "dashboard"}.get(name, name.lower())


def _doc(thing: Any) -> str:
    text = inspect.getdoc(thing)
    if not text:
        raise SystemExit(f"{thing!r} is public and has no docstring")
    return text


def _signature(name: str, thing: Any) -> str:
    """The call, on one line where it is short, without `self`."""
    signature = inspect.signature(thing)
    given = [each for each in signature.parameters.values() if each.name not in {"self", "cls"}]
    parts, starred = [], False
    for each in given:
        if each.kind is each.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        parts.append(_parameter(each))
    returned = signature.return_annotation
    arrow = "" if returned in {inspect.Signature.empty, None, "None"} else f" -> {_plain(returned)}"
    short = f"{name}({', '.join(parts)}){arrow}"
    if len(short) <= _WIDTH:
        return short
    inside = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{inside}){arrow}"


def _parameter(each: inspect.Parameter) -> str:
    hint = f": {_plain(each.annotation)}" if each.annotation is not inspect.Parameter.empty else ""
    if each.default is inspect.Parameter.empty:
        return f"{each.name}{hint}"
    default = f"{each.default.__module__}.{each.default.__name__}" if callable(each.default) else _plain(repr(each.default))
    return f"{each.name}{hint} = {default}"


def _plain(annotation: Any) -> str:
    """As it stands in the source; a class of typing's own making is called by its last name."""
    if not isinstance(annotation, str):
        annotation = getattr(annotation, "__forward_arg__", None) or getattr(annotation, "__name__", str(annotation))
    return re.sub(r"\w+", lambda word: _SPELLED.get(word[0], word[0]), annotation.replace("'", '"'))


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _markdown(text: str, here: str) -> str:
    """A docstring as Markdown: names, codes and pages become links."""
    blocks = [block if block.startswith("    ") else _linked(block, here) for block in text.split("\n\n")]
    return "\n\n".join(f"```python\n{inspect.cleandoc(block)}\n```" if block.startswith("    ") else block for block in blocks)


def _linked(block: str, here: str) -> str:
    """Codes, public names and pages of a paragraph as links; other code stays as it is."""
    return re.sub(r"`[^`]+`|\(?docs/[\w./-]+\.md\)?|\b[A-Z]\w+\b", lambda found: _word(found[0], here), block)


def _word(word: str, here: str) -> str:
    bare = word.strip("`")
    if bare in errors.CODES:
        return f"[{word}](errors.md#{bare})"
    if "docs/" in word and not word.startswith("`"):
        page = word.strip("()").removeprefix("docs/")
        target = page.removeprefix("reference/") if page.startswith("reference/") else f"../{page}"
        link = f"[{page.rpartition('/')[2].removesuffix('.md').replace('-', ' ')}]({target})"
        return f"({link})" if word.startswith("(") else link
    return _link(bare) if bare in _LINKS and bare != here else word


def _link(name: str) -> str:
    return f"[`{name}`]({_LINKS[name]})"
