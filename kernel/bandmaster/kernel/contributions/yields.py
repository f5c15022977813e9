"""Find the yields of an async generator function, and those that certainly have another after them, in its source.

The analysis takes a point of the code as reached wherever that is uncertain. So a yield that can't be the last one of a
run is certain to be followed by another, unless an exception leaves the function: there are no false alarms.
"""

from __future__ import annotations

import ast
import dis
import linecache
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import TypeAlias

_Point: TypeAlias = "ast.Yield | None"
"""The yield that came last; None before the first one."""
_Points: TypeAlias = frozenset[_Point]

_NOTHING: _Points = frozenset()
# Instruction and argument of a yield in an async generator: Python 3.12 has made a function of the instruction of 3.11.
_YIELD = (dis.opmap["ASYNC_GEN_WRAP"], 0) if "ASYNC_GEN_WRAP" in dis.opmap else (dis.opmap["CALL_INTRINSIC_1"], 4)
_LOOP = dis.opmap["JUMP_BACKWARD"]
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_CONDITIONS = (ast.IfExp, ast.BoolOp, ast.Compare)
_HARMLESS = (ast.Pass, ast.Break, ast.Continue, ast.Global, ast.Nonlocal)


def find_second_yield(code: CodeType) -> tuple[int, int] | None:
    """The lines of the first and of the second yield, if every run of the function yields twice.

    None also means that the source can't be read, or that only a run can tell.
    """
    flow = _follow_function(code)
    if flow is None or not flow.firsts or not flow.firsts <= flow.followed:
        return None
    first = min(flow.firsts, key=_get_line)
    return first.lineno, _get_first_line(flow.followers[first])


def find_followed_yields(code: CodeType) -> Mapping[int, int]:
    """The lines of yields that are certain to be followed by another, each with the line of that one."""
    flow = _follow_function(code)
    if flow is None:
        return {}
    # Two yields may stand in one line.
    uncertain = {each.lineno for each in flow.followers.keys() - flow.followed}
    return {
        each.lineno: _get_first_line(flow.followers[each]) for each in flow.followed if each.lineno not in uncertain
    }


def find_value(code: CodeType) -> int | None:
    """The line of the first yield, or return, with a value other than None; None without one, or without a source."""
    function = _find_function(code)
    if function is None:
        return None
    lines = [
        node.lineno
        for node in _walk(function.body)
        if isinstance(node, ast.Yield | ast.Return)
        and not (node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None))
    ]
    return min(lines, default=None)


def _follow_function(code: CodeType) -> _Flow | None:
    if not _may_yield_again(code):
        return None  # the usual case, in which the source needn't be read
    function = _find_function(code)
    # A file that was changed since it was imported shows other code than that which runs.
    if function is None or {node.lineno for node in _list_yields(function.body)} != _find_lines(code):
        return None
    flow = _Flow()
    flow.last |= flow.run(function.body, frozenset([None]))
    return flow


def _may_yield_again(code: CodeType) -> bool:
    """Whether the bytecode has several yields, or one in a loop."""
    opcodes = code.co_code[::2]
    yields = [place * 2 for place, each in enumerate(zip(opcodes, code.co_code[1::2], strict=True)) if each == _YIELD]
    if len(yields) > 1 or _LOOP not in opcodes:
        return len(yields) > 1
    return any(
        each.argval < place < each.offset
        for each in dis.get_instructions(code)
        if each.opcode == _LOOP
        for place in yields
    )


def _find_lines(code: CodeType) -> set[int | None]:
    """The lines of the yields in the bytecode."""
    return {
        each.positions.lineno
        for each in dis.get_instructions(code)
        if (each.opcode, each.arg or 0) == _YIELD and each.positions is not None
    }


def _find_function(code: CodeType) -> ast.AsyncFunctionDef | None:
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first == code.co_firstlineno:
                return node
    return None


def _list_yields(nodes: Iterable[ast.AST]) -> Iterator[ast.Yield]:
    return (node for node in _walk(nodes) if isinstance(node, ast.Yield))


def _walk(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of a function, in their order, without those of functions and classes inside."""
    for node in nodes:
        if not isinstance(node, _SCOPES):
            yield node
            yield from _walk(ast.iter_child_nodes(node))


def _get_line(node: ast.Yield) -> int:
    return node.lineno


def _get_first_line(yields: Iterable[ast.Yield]) -> int:
    return min(map(_get_line, yields))


@dataclass(slots=True)
class _Loop:
    """The points at which a loop is left, or begun again."""

    left: set[_Point] = field(default_factory=set)
    repeated: set[_Point] = field(default_factory=set)


class _Flow:
    """Follows statements, with the yields that may have come last."""

    def __init__(self) -> None:
        self.firsts: set[ast.Yield] = set()
        """Yields that may be the first one of a run."""
        self.last: set[_Point] = set()
        """Yields that may be the last one of a run."""
        self.followers: dict[ast.Yield, set[ast.Yield]] = {}
        """Yields that may come next, by yield."""
        self._raised: list[set[_Point]] = []
        """The points at which an exception may be raised, for each block around that may handle the exception."""
        self._loops: list[_Loop] = []
        self._failing = False
        """Whether an exception is on its way out of the function."""

    @property
    def followed(self) -> set[ast.Yield]:
        """Yields that can't be the last one of a run. An endless loop after a yield isn't another yield."""
        return {each for each, after in self.followers.items() if after and each not in self.last}

    def run(self, statements: Iterable[ast.stmt], points: _Points) -> _Points:
        """The points after a block."""
        for statement in statements:
            if not points:
                break  # never reached
            if not _is_harmless(statement):
                self._note_exception(points)
            points = self._follow(statement, points)
        return points

    def _follow(self, statement: ast.stmt, points: _Points) -> _Points:
        match statement:
            case ast.Return() | ast.Raise():
                self.last |= self._evaluate(statement, points)
                return _NOTHING
            case ast.Break():
                self._loops[-1].left |= points
                return _NOTHING
            case ast.Continue():
                self._loops[-1].repeated |= points
                return _NOTHING
            case ast.If():
                points = self._evaluate(statement.test, points)
                return self.run(statement.body, points) | self.run(statement.orelse, points)
            case ast.While():
                is_endless = isinstance(statement.test, ast.Constant) and bool(statement.test.value)
                return self._follow_loop(statement, statement.test, points, is_endless=is_endless)
            case ast.For() | ast.AsyncFor():
                points = self._evaluate(statement.iter, points)
                return self._follow_loop(statement, statement.target, points)
            case ast.With() | ast.AsyncWith():
                for item in statement.items:
                    points = self._evaluate(item.context_expr, points)
                # A context manager may suppress exceptions.
                body, raised = self._run_guarded(statement.body, points)
                return body | raised
            case ast.Try() | ast.TryStar():
                return self._follow_try(statement, points)
            case ast.Match():
                points = self._evaluate(statement.subject, points)
                return points.union(*(self.run(case.body, points) for case in statement.cases))
            case _:
                return self._evaluate(statement, points)

    def _follow_loop(
        self,
        statement: ast.While | ast.For | ast.AsyncFor,
        header: ast.expr,
        points: _Points,
        *,
        is_endless: bool = False,
    ) -> _Points:
        loop = _Loop()
        entered = _NOTHING
        while not points <= entered:
            entered |= points
            self._loops.append(loop)
            end = self.run(statement.body, self._evaluate(header, entered))
            self._loops.pop()
            points = end | loop.repeated
        after = _NOTHING if is_endless else self._evaluate(header, entered)
        return self.run(statement.orelse, after) | loop.left

    def _follow_try(self, statement: ast.Try | ast.TryStar, points: _Points) -> _Points:
        unhandled: set[_Point] = set()
        self._raised.append(unhandled)
        body, raised = self._run_guarded(statement.body, points)
        after = self.run(statement.orelse, body).union(*(self.run(each.body, raised) for each in statement.handlers))
        self._raised.pop()
        if not statement.finalbody:
            return after
        if any(isinstance(node, ast.Return | ast.Break | ast.Continue) for node in ast.walk(statement)):
            # These go through the block as well, and go on elsewhere: its yields may be the first or the last of a run.
            passed = set(_list_yields(statement.finalbody))
            self.firsts |= passed
            self.last |= passed
        was_failing, self._failing = self._failing, True
        self._note_exception(self.run(statement.finalbody, frozenset(unhandled)))
        self._failing = was_failing
        return self.run(statement.finalbody, after)

    def _run_guarded(self, statements: Iterable[ast.stmt], points: _Points) -> tuple[_Points, _Points]:
        """The points after a block, and those at which an exception may have been raised."""
        raised: set[_Point] = set()
        self._raised.append(raised)
        end = self.run(statements, points)
        self._raised.pop()
        return end, frozenset(raised)

    def _evaluate(self, node: ast.AST, points: _Points) -> _Points:
        """The points after the yields of an expression."""
        yields = list(_list_yields([node]))
        is_certain = len(yields) == 1 and not any(isinstance(each, _CONDITIONS) for each in ast.walk(node))
        for each in yields:
            self._yield(each, points)
            points = frozenset([each]) if is_certain else points | {each}
            if not _is_harmless(node):
                self._note_exception(points)
        return points

    def _yield(self, node: ast.Yield, points: _Points) -> None:
        self.followers.setdefault(node, set())
        for before in points:
            if before is not None:
                self.followers.setdefault(before, set()).add(node)
            elif not self._failing:
                self.firsts.add(node)

    def _note_exception(self, points: _Points) -> None:
        for raised in self._raised:
            raised |= points


def _is_harmless(node: ast.AST) -> bool:
    """Whether a statement can't raise: nothing but a name or a constant is yielded."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield):
        return isinstance(node.value.value, ast.Name | ast.Constant | None)
    return isinstance(node, (*_HARMLESS, ast.Try))
