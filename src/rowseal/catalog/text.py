"""YAML 1.2's core schema, read strictly, with the position of every value, and the list of what is wrong.

YAML 1.1 turns `on` and `yes` into booleans, `1:30` into ninety and dates into objects; nothing here does (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from rowseal.errors import Misconfigured, Problem

__all__ = ["Findings", "Path", "among", "nearest", "parse"]

Path: TypeAlias = tuple[str | int, ...]


class Findings:
    """The problems of one file, and where each of its values stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: dict[Problem, None] = {}  # in the order in which they were found, each once
        self.paths: set[Path] = set()
        self.keys: dict[Path, yaml.Mark] = {}
        self.values: dict[Path, yaml.Mark] = {}

    def add(self, path: Path, message: str, *, at_key: bool = False) -> None:
        """Note a problem with the value at `path` (with its key, if `at_key`); a value that is not there is pointed to by what should hold it."""
        self.paths.add(path)
        mark = self.keys.get(path) if at_key else None
        place = path
        while mark is None and (place in self.values or place):
            mark, place = self.values.get(place), place[:-1]
        self.at(mark or self.values.get(()), path, message)

    def inside(self, path: Path, line: int | None, column: int | None, message: str) -> None:
        """Note a problem with a place in the text at `path`, counted from 1 there: in the file where that can be told, else in words."""
        mark = self.values.get(path)
        if mark is None or line is None or column is None:
            self.add(path, message)
            return
        exact = _within(mark, line, column)
        if exact is None:
            self.add(path, f"{message} (line {line}, column {column} of the text)")
            return
        self.paths.add(path)
        self.problems[Problem(self.file, *exact, _written(path), message)] = None

    def at(self, mark: yaml.Mark | None, path: Path, message: str) -> None:
        """Note a problem at a mark of the text (the file's beginning if None)."""
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        self.problems[Problem(self.file, line, column, _written(path), message)] = None

    def line(self, path: Path) -> int:
        """The line, from 1, of the value at `path`."""
        return self.values[path].line + 1

    def stop(self) -> None:
        """Raise Misconfigured with every problem so far, in the order of the file; return if there is none."""
        if self.problems:
            raise Misconfigured(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))


def _written(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _within(mark: yaml.Mark, line: int, column: int) -> tuple[int, int] | None:
    """Where a place in a YAML scalar stands in the file, for the two forms in which each line of one is a line of the other."""
    lines = (mark.buffer or "")[mark.pointer :].splitlines()
    if lines and re.fullmatch(r"\|[-+]?\s*", lines[0]):
        indent = next((len(each) - len(each.lstrip(" ")) for each in lines[1:] if each.strip()), 0)
        return mark.line + 1 + line, indent + column
    if lines and line == 1 and lines[0][:1] not in ("'", '"', ">", "|", "&", "!") and "${" not in lines[0]:
        return mark.line + 1, mark.column + column
    return None


_SHOWN: Final = 10


def nearest(written: str, known: Sequence[str]) -> str:
    """`; did you mean ...?` for a misspelt name, or nothing."""
    folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(written.casefold(), list(folded), n=1, cutoff=0.7)
    return f"; did you mean `{folded[found[0]]}`?" if found else ""


def among(known: Sequence[str]) -> str:
    """`; there are ...`: the first few names that there are, for one that resembles none of them."""
    shown = ", ".join(f"`{each}`" for each in list(known)[:_SHOWN])
    return f"; there {'is' if len(known) == 1 else 'are'} {shown}{', ...' if len(known) > _SHOWN else ''}" if known else "; there is none"


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's parser with the core schema's way of telling scalars apart, and no construction of objects at all."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own, untyped protocol

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = {
    f"{_TAG}null": r"~|null|Null|NULL|",
    f"{_TAG}bool": r"true|True|TRUE|false|False|FALSE",
    f"{_TAG}int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    f"{_TAG}float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
for _tag, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), None)

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-)([^}]*))?\}|\$\{")
_NUMBER_LENGTH: Final = 1_000


MAX_VALUES: Final = 200_000  # once every alias is written out


class _TooManyValues(Exception):
    pass


class _Builder:
    """YAML nodes -> plain Python values, with the position of each. What cannot be read becomes a problem and None."""

    def __init__(self, findings: Findings, environ: Mapping[str, str]) -> None:
        self._findings = findings
        self._environ = environ
        self._open: set[int] = set()
        self._built = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._built += 1
        if self._built > MAX_VALUES:
            raise _TooManyValues
        self._findings.values[path] = node.start_mark
        if id(node) in self._open:
            self._findings.add(path, "is an alias of something that holds it; write it out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return [self.build(each, (*path, number)) for number, each in enumerate(node.value)]
            if isinstance(node, yaml.ScalarNode):
                return self._scalar(node, path)
            self._findings.add(path, "has a YAML tag, which is not accepted; write the plain value")
            return None
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                self._findings.at(key.start_mark, path, "has a key that is not text; put it in quotes")
                continue
            inner = (*path, key.value)
            if key.value in built:
                self._findings.at(key.start_mark, inner, f"stands twice (first in line {self._findings.keys[inner].line + 1}); keep one")
                continue
            self._findings.keys[inner] = key.start_mark
            built[key.value] = self.build(value, inner)
        return built

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> str | bool | int | Decimal | None:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return self._expand(text, path)
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if len(text) <= _NUMBER_LENGTH:
                if re.match(r"[-+]?0[0-9]", text):
                    self._findings.add(path, "is a number with a leading zero; put text in quotes, or drop the zero")
                    return None
                return int(text, 0)
            case "float" if len(text) <= _NUMBER_LENGTH and not re.search("inf|nan", text, re.IGNORECASE):
                return Decimal(text)
            case "int" | "float":
                self._findings.add(path, "is not a finite number of reasonable length; put text in quotes")
                return None
        self._findings.add(path, "has a YAML tag, which is not accepted; write the plain value, an operator such as `!=` in quotes")
        return None

    def _expand(self, text: str, path: Path) -> str | None:
        missing = False

        def value(found: re.Match[str]) -> str:
            nonlocal missing
            if found[0] == "$${":
                return "${"
            if found[1] is None:
                self._findings.add(path, "has a `${` that begins no variable; write ${NAME}, ${NAME:-default}, or $${ for the characters themselves")
            elif self._environ.get(found[1]):
                return self._environ[found[1]]
            elif found[2]:
                return found[3]
            else:
                self._findings.add(path, f"needs the environment variable `{found[1]}`, which is not set or empty; set it, or write ${{{found[1]}:-default}}")
            missing = True
            return ""

        expanded = _VARIABLE.sub(value, text)
        return None if missing else expanded


def parse(text: str, findings: Findings, environ: Mapping[str, str]) -> Any:
    """The one document of `text` as plain values, `${NAME}` and `${NAME:-default}` filled in from `environ`.

    Marks and problems go to `findings`; a value that cannot be read is reported and stands as None. Raises Misconfigured where nothing can.
    """
    try:
        root = _Loader(text).get_single_node()
        if root is not None:
            return _Builder(findings, environ).build(root, ())
        findings.at(None, (), "is empty; see docs/reference/datasets-yaml.md for what to write")
    except yaml.MarkedYAMLError as error:
        # The names of aliases and tags are left out: they may be the beginning of a secret that wanted quotes.
        problem = re.sub(r"(alias|anchor|tag|handle|directive)(.*?) [\"'].*[\"']", r"\1\2", str(error.problem))
        findings.at(error.problem_mark or error.context_mark, (), f"is not a YAML document: {problem}; text with special characters wants quotes")
    except ReaderError as error:
        findings.at(None, (), f"holds a character that YAML does not allow, at position {error.position}")
    except _TooManyValues:
        findings.at(None, (), f"holds more than {MAX_VALUES} values once its aliases are written out")
    except RecursionError:
        findings.at(None, (), "nests too deeply")
    findings.stop()
    return None
