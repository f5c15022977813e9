"""The law of bandmaster.kernel.contributions.yields, tried on generated generators: there are no false alarms."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType
from typing import Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from bandmaster.kernel.contributions.yields import find_followed_yields, find_second_yield

Block = list[str]
NAME = "<generated>"


class Own(Exception):
    """An exception that generated code raises and handles."""


class Spent(Exception):
    """The end of a run that goes on for too long."""


def indent(block: Block) -> Block:
    return [f"    {line}" for line in block]


def _join(blocks: list[Block]) -> Block:
    return [line for block in blocks for line in block]


@st.composite
def compounds(draw: st.DrawFn, inner: st.SearchStrategy[Block], *, in_loop: bool) -> Block:
    def body() -> Block:
        return indent(draw(inner))

    def last() -> Block:
        # Without `continue`, which would swallow the exception that ends the run.
        return indent(draw(blocks()))

    kind = draw(
        st.sampled_from(["if", "else", "while", "endless", "for", "except", "finally", "both", "with", "match"])
    )
    match kind:
        case "if":
            return ["if choose():", *body()]
        case "else":
            return ["if choose():", *body(), "else:", *body()]
        case "while" | "endless":
            loop = indent(draw(blocks(in_loop=True)))
            return ["while choose():" if kind == "while" else "while True:", "    choose()", *loop]
        case "for":
            return ["for _ in repeat():", *indent(draw(blocks(in_loop=True))), "else:", *body()]
        case "except":
            return ["try:", *body(), "except Own:", *body(), "else:", *body()]
        case "finally":
            return ["try:", *body(), "finally:", *last()]
        case "both":
            return ["try:", *body(), "except Own:", *body(), "finally:", *last()]
        case "with":
            return ["with suppress(Own):", *body()]
        case _:
            return ["match choose():", "    case True:", *indent(body()), "    case _:", *indent(body())]


def blocks(*, in_loop: bool = False) -> st.SearchStrategy[Block]:
    simple = ["yield", "yield", "yield 1", "value = yield choose()", "choose()", "fail()", "choose() and (yield)"]
    simple += ["return", "raise Own", *(["break", "continue"] if in_loop else [])]
    statement = st.sampled_from(simple).map(lambda line: [line])

    def extend(inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
        several = st.lists(inner, min_size=1, max_size=3).map(_join)
        return several | compounds(several, in_loop=in_loop)

    return st.recursive(statement, extend, max_leaves=8)


def compile_generator(block: Block, decisions: Iterator[bool]) -> Any:
    source = "\n".join(["async def generated():", *indent(block), ""])

    def choose() -> bool:
        try:
            return next(decisions)
        except StopIteration:
            raise Spent from None

    def repeat() -> Iterator[int]:
        while choose():
            yield 1

    def fail() -> None:
        if choose():
            raise Own

    space: dict[str, Any] = {"choose": choose, "repeat": repeat, "fail": fail, "Own": Own, "suppress": suppress}
    try:
        exec(compile(source, NAME, "exec"), space)
    except SyntaxError as error:
        # Python allows twenty nested blocks, and a hundred levels of indentation.
        assert "too many" in str(error)
        reject()
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    return space["generated"]


def advance(generator: Any) -> int | None:
    """The line of the next yield; None if the generator has ended."""
    try:
        generator.asend(None).send(None)
    except StopIteration:
        return int(generator.ag_frame.f_lineno)
    except StopAsyncIteration:
        return None
    raise AssertionError("a generator without an await can't wait")


def run(function: Any) -> tuple[int | None, bool]:
    """The line of the first yield, and whether the generator ends after that, as a component has to."""
    generator = function()
    try:
        first = advance(generator)
        return first, first is not None and advance(generator) is None
    except (Own, Spent):
        return None, False
    finally:
        while generator.ag_frame is not None:
            # aclose() gives up at a yield in `finally`, and Python then warns of the generator.
            with suppress(StopIteration, StopAsyncIteration, Own, Spent):
                generator.athrow(Spent()).send(None)


@settings(max_examples=200, deadline=None)
@given(blocks(), st.lists(st.booleans(), max_size=12))
def test_no_generator_that_may_yield_once_is_refused(block, decisions):
    """A run that yields once and ends shows that its yield isn't certain to be followed by another."""
    try:
        function = compile_generator(block, iter(decisions))
        assume(inspect.isasyncgenfunction(function))
        code: CodeType = function.__code__
        first, ends = run(function)
        if ends:
            assert find_second_yield(code) is None
            assert first not in find_followed_yields(code)
    finally:
        linecache.cache.pop(NAME, None)


@pytest.mark.parametrize(
    ("block", "expected"), [(["yield", "yield"], True), (["yield", "choose() and (yield)"], False)]
)
def test_generated_generators_are_judged(block, expected):
    """The source of a generated generator is found: the law isn't kept because nothing is."""
    try:
        assert expected is (find_second_yield(compile_generator(block, iter(())).__code__) is not None)
    finally:
        linecache.cache.pop(NAME, None)
