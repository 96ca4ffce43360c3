"""Source of a module -> its mutants: the same text with one small part changed.

Left alone, because no behaviour hangs on it: annotations, docstrings, decorators, `__all__`, `strict=` of a zip over what is equally long, and
the words of messages (the code of a refusal is changed, what it says is not).
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Mutant", "mutants"]

_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COUNTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_SWAPPED: Final = {"any": "all", "all": "any", "min": "max", "max": "min"}
_SPEAKS: Final = re.compile(r"(\w*(Refused|Malformed|Inapplicable|OurBug|Error|Failed|Exceeded|TimedOut|Misconfigured)|fail)$")
_CODE: Final = re.compile(r"[a-z]+(_[a-z]+)+")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `lines` are those of the part that changes, first and last; `owner` is the outermost function around it, None outside of any.

    `statement` is the first line of the top-level statement around it.
    """

    line: int
    lines: tuple[int, int]
    before: str
    after: str
    text: str
    owner: str | None
    in_class: bool
    statement: int

    @property
    def name(self) -> str:
        """What the table of explained ones calls it: the same wherever in the file it stands."""
        return f"{self.before} -> {self.after}"


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module that is another program than the module, in order."""
    found: dict[str, Mutant] = {}
    for mutant in _Walk(source).all():
        if mutant.text not in found and _compiles(mutant.text):
            found[mutant.text] = mutant
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class _Walk:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in source.encode().split(b"\n"):
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.raw = source.encode()

    def all(self) -> Iterator[Mutant]:
        for statement in self.tree.body:
            yield from self.visit(statement, _Place(statement.lineno))

    # Text

    def span(self, node: Any) -> tuple[int, int]:
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def change(self, node: Any, place: _Place, after: str, *, wrap: bool = True, shown: str | None = None) -> Iterator[Mutant]:
        """The module with this node written otherwise, on as many lines as it had."""
        first, last = self.span(node)
        before = self.raw[first:last]
        if isinstance(node, ast.expr) and not _same(before.decode(), node):
            return  # an expression in an f-string, whose place the parser does not know
        lines = b"\n" * before.count(b"\n")
        new = b"(" + after.encode() + lines + b")" if wrap else after.encode() + lines
        text = (self.raw[:first] + new + self.raw[last:]).decode()
        yield Mutant(
            node.lineno, (node.lineno, node.end_lineno), " ".join(before.decode().split()), shown or after, text, place.owner, place.in_class, place.statement
        )

    def rewritten(self, node: Any, place: _Place, edit: Callable[[Any], None]) -> Iterator[Mutant]:
        changed = copy.deepcopy(node)
        edit(changed)
        try:
            after = ast.unparse(changed)
        except ValueError:
            return
        yield from self.change(node, place, after)

    # Nodes

    def visit(self, node: ast.AST, place: _Place) -> Iterator[Mutant]:
        name = type(node).__name__
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)) or _is_left_alone(node) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            return
        yield from getattr(self, f"of_{name}", self.nothing)(node, place)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from self.inside_definition(node, place)
            return
        for field, value in ast.iter_fields(node):
            if field in {"annotation", "returns", "type_comment"}:
                continue
            spoken = place.spoken or (isinstance(node, ast.Call) and field in {"args", "keywords"} and bool(_SPEAKS.search(_called(node))))
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.visit(child, place.inside(spoken=spoken))

    def nothing(self, _: ast.AST, __: _Place) -> Iterator[Mutant]:
        return iter(())

    def inside_definition(self, node: Any, place: _Place) -> Iterator[Mutant]:
        if isinstance(node, ast.ClassDef):
            inner = _Place(place.statement, None, in_class=True, path=(*place.path, node.name))
            for statement in node.body:
                yield from self.visit(statement, inner)
            return
        name = getattr(node, "name", "<lambda>")
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                yield from self.visit(default, place)
        inner = place if isinstance(node, ast.Lambda) else _Place(place.statement, place.owner or ".".join((*place.path, name)), in_class=False)
        for statement in node.body if isinstance(node.body, list) else [node.body]:
            yield from self.visit(statement, inner)

    def of_Compare(self, node: ast.Compare, place: _Place) -> Iterator[Mutant]:  # noqa: N802  as ast.NodeVisitor has it
        for index, operator in enumerate(node.ops):

            def swap(changed: ast.Compare, index: int = index, operator: ast.cmpop = operator) -> None:
                changed.ops[index] = _COMPARED[type(operator)]()

            yield from self.rewritten(node, place, swap)
            if isinstance(operator, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)):

                def turn(changed: ast.Compare, index: int = index, operator: ast.cmpop = operator) -> None:
                    changed.ops[index] = ast.GtE() if isinstance(operator, (ast.Lt, ast.LtE)) else ast.LtE()

                yield from self.rewritten(node, place, turn)

    def of_BoolOp(self, node: ast.BoolOp, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        def other(changed: ast.BoolOp) -> None:
            changed.op = ast.Or() if isinstance(changed.op, ast.And) else ast.And()

        yield from self.rewritten(node, place, other)
        for index in range(len(node.values)):
            rest = [value for position, value in enumerate(node.values) if position != index]
            yield from self.change(node, place, ast.unparse(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)))

    def of_UnaryOp(self, node: ast.UnaryOp, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if isinstance(node.op, (ast.Not, ast.USub)):
            yield from self.change(node, place, ast.unparse(node.operand))

    def of_BinOp(self, node: ast.BinOp, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if not place.spoken and type(node.op) in _COUNTED:

            def swap(changed: ast.BinOp) -> None:
                changed.op = _COUNTED[type(changed.op)]()

            yield from self.rewritten(node, place, swap)

    def of_Constant(self, node: ast.Constant, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        value = node.value
        if isinstance(value, bool):
            yield from self.change(node, place, str(not value))
        elif isinstance(value, int):
            yield from self.change(node, place, str(value + 1))
        elif isinstance(value, str) and (not place.spoken or _CODE.fullmatch(value)):
            yield from self.change(node, place, repr(f"XX{value}XX"))

    def of_JoinedStr(self, node: ast.JoinedStr, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if not place.spoken:

            def put(changed: ast.JoinedStr) -> None:
                changed.values.insert(0, ast.Constant("XX"))

            yield from self.rewritten(node, place, put)

    def of_Call(self, node: ast.Call, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        name = _called(node)
        if isinstance(node.func, ast.Name) and name in _SWAPPED:
            yield from self.change(node.func, place, _SWAPPED[name])
        for index, keyword in enumerate(node.keywords):
            if place.spoken or keyword.arg is None or keyword.arg in {"strict", "hint", "line", "column"} or _SPEAKS.search(name):
                continue

            def drop(changed: ast.Call, index: int = index) -> None:
                del changed.keywords[index]

            yield from self.rewritten(node, place, drop)

    def of_Return(self, node: ast.Return, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield from self.change(node.value, place, "None")

    def of_Raise(self, node: ast.Raise, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if node.exc is not None:
            yield from self.change(node, place, "pass", wrap=False)

    def of_Expr(self, node: ast.Expr, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if isinstance(node.value, (ast.Call, ast.Await, ast.Yield, ast.YieldFrom)) and place.owner:
            yield from self.change(node, place, "pass", wrap=False)

    def of_AugAssign(self, node: ast.AugAssign, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        yield from self.change(node, place, "pass", wrap=False)

    def of_Continue(self, node: ast.Continue, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        yield from self.change(node, place, "break", wrap=False)

    def of_Break(self, node: ast.Break, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        yield from self.change(node, place, "continue", wrap=False)

    def of_If(self, node: ast.If | ast.While | ast.IfExp, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if not isinstance(node.test, (ast.Compare, ast.UnaryOp, ast.Constant)):
            yield from self.change(node.test, place, f"not ({ast.unparse(node.test)})")

    of_While = of_IfExp = of_If  # noqa: N815

    def of_comprehension(self, node: ast.comprehension, place: _Place) -> Iterator[Mutant]:
        for test in node.ifs:
            yield from self.change(test, place, "True")

    def of_match_case(self, node: ast.match_case, place: _Place) -> Iterator[Mutant]:
        if node.guard is not None:
            yield from self.change(node.guard, place, "False")
            yield from self.change(node.guard, place, "True")
        elif not isinstance(node.pattern, ast.MatchAs) or node.pattern.pattern is not None:
            first, last = self.span(node.pattern)
            yield from self.change(node.pattern, place, f"{self.raw[first:last].decode()} if False".replace("\n", " "), wrap=False)

    def of_Tuple(self, node: Any, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        """Tables lose one entry at a time."""
        if place.owner or place.spoken or isinstance(node.ctx if hasattr(node, "ctx") else ast.Load(), ast.Store):
            return
        for index, entry in enumerate(node.elts):

            def drop(changed: Any, index: int = index) -> None:
                del changed.elts[index]

            for mutant in self.rewritten(node, place, drop) if len(node.elts) > 1 else ():
                yield Mutant(entry.lineno, mutant.lines, ast.unparse(entry), "left out", mutant.text, mutant.owner, mutant.in_class, mutant.statement)

    of_List = of_Set = of_Tuple  # noqa: N815

    def of_Dict(self, node: ast.Dict, place: _Place) -> Iterator[Mutant]:  # noqa: N802
        if place.owner:
            return
        for index, value in enumerate(node.values):

            def drop(changed: ast.Dict, index: int = index) -> None:
                del changed.keys[index], changed.values[index]

            key = node.keys[index]
            entry = f"{ast.unparse(key)}: {ast.unparse(value)}" if key is not None else f"**{ast.unparse(value)}"
            for mutant in self.rewritten(node, place, drop):
                yield Mutant(value.lineno, mutant.lines, entry, "left out", mutant.text, mutant.owner, mutant.in_class, mutant.statement)


@dataclass(frozen=True, slots=True)
class _Place:
    statement: int
    owner: str | None = None
    in_class: bool = False
    spoken: bool = False
    path: tuple[str, ...] = ()

    def inside(self, *, spoken: bool) -> _Place:
        return _Place(self.statement, self.owner, self.in_class, spoken, self.path) if spoken != self.spoken else self


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _same(segment: str, node: ast.expr) -> bool:
    try:
        return ast.dump(ast.parse(f"({segment})", mode="eval").body) == ast.dump(node)
    except SyntaxError:
        return False


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in {"__all__", "__slots__"} for target in node.targets)
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias"
    return False
