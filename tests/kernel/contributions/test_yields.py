"""Tests of bandmaster.kernel.contributions.yields.

The generators below are only read. A line is counted from the ``async def``, which has the number 0.
"""

import re
from contextlib import suppress

import pytest

from bandmaster.kernel import LifespanBand, lifespan
from bandmaster.kernel.contributions.yields import find_followed_yields, find_second_yield, find_value


async def one_after_another(made):
    yield made
    yield made


async def in_a_manager(made):
    async with made as inner:
        yield inner
        yield inner


async def after_a_manager(made):
    with made as inner:
        yield inner
    yield made


async def in_finally(made):
    try:
        yield made
    finally:
        yield None


async def in_finally_after_a_call(made):
    try:
        made.open()
        yield made
    finally:
        yield None


async def beside_an_inner_function(made):
    async def inner():
        yield 1

    yield inner
    yield made


async def after_a_try(made):
    try:
        yield made
    except OSError:
        made.close()
    yield None


async def in_else(made):
    try:
        yield made
    except* OSError:
        yield 1
    else:
        yield 2


async def on_either_path(made):
    if made:
        yield 1
    else:
        yield 2
    yield 3


async def unless_it_fails(made):
    if made:
        raise ValueError
    yield 1
    for _ in made:
        made.close()
    yield 2


async def in_an_endless_loop(made):
    while True:
        yield made
        yield made


async def in_a_short_loop(made):
    while 1:
        yield made


async def one_line(made):
    yield made; yield made  # fmt: skip # noqa: E702


@pytest.mark.parametrize(
    ("function", "first", "second"),
    [
        (one_after_another, 1, 2),
        (in_a_manager, 2, 3),
        (after_a_manager, 2, 3),
        (in_finally, 2, 4),
        (in_finally_after_a_call, 3, 5),
        (beside_an_inner_function, 4, 5),
        (after_a_try, 2, 5),
        (in_else, 2, 6),
        (on_either_path, 2, 5),
        (unless_it_fails, 3, 6),
        (in_an_endless_loop, 2, 3),
        (in_a_short_loop, 2, 2),
        (one_line, 1, 1),
    ],
)
def test_two_yields_in_every_run(function, first, second):
    """A generator that yields twice in every run is refused by the decorator, with the lines of both yields."""
    start = function.__code__.co_firstlineno
    assert (start + first, start + second) == find_second_yield(function.__code__)
    message = (
        f"function: {function.__name__} yields in line {start + first}, and always again in line {start + second}. A "
        "component has started at its yield, and stops with the code after it: it must have one yield on each path "
        f"({__file__}:{start})"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        lifespan(band=LifespanBand.SERVICES)(function)


async def one(made):
    yield made


async def either(made):
    if made:
        yield 1
    else:
        yield 2


async def returns_early(made):
    if made:
        yield 1
        return
    yield 2


async def by_case(made):
    match made:
        case 1:
            yield 1
        case _:
            yield 2


async def when_it_fails(made):
    try:
        made.open()
        yield made
    except OSError:
        yield None


async def returns_when_it_fails(made):
    try:
        yield made
        made.close()
    except OSError:
        return
    yield None


async def leaves_a_manager(made):
    with suppress(OSError):
        yield made
        made.close()
        yield made


async def raises_after(made):
    yield made
    if made:
        raise ValueError
    yield made


async def maybe(made):
    yield made
    made and (yield 2)


async def in_an_expression(made):
    made = (yield 1) if made else (yield 2)


async def in_a_loop(made):
    for inner in made:
        yield inner


async def in_an_async_loop(made):
    async for inner in made:
        yield inner
        break
    else:
        yield None


async def beside_a_loop(made):
    for inner in made:
        inner.open()
    yield made
    while made.busy():
        await made


async def waits_for_ever(made):
    yield made
    while True:
        await made


async def leaves_the_loop(made):
    while made:
        made.step()
        yield made
        if made.last:
            break
        continue


async def leaves_by_finally(made):
    while True:
        try:
            yield made
            if made.last:
                break
        finally:
            yield 1
        yield 2


async def returns_by_finally(made):
    try:
        made.open()
        return
    except OSError:
        yield 1
    finally:
        yield 2


async def never_there(made):
    if False:
        yield 1
    yield made


async def of_an_inner_function(made):
    async def inner():
        yield 1
        yield 2

    yield inner


@pytest.mark.parametrize(
    "function",
    [
        one,
        either,
        returns_early,
        by_case,
        when_it_fails,
        returns_when_it_fails,
        leaves_a_manager,
        raises_after,
        maybe,
        in_an_expression,
        in_a_loop,
        in_an_async_loop,
        beside_a_loop,
        waits_for_ever,
        leaves_the_loop,
        leaves_by_finally,
        returns_by_finally,
        never_there,
        of_an_inner_function,
    ],
)
def test_a_generator_that_may_yield_once(function):
    """A generator with one yield on some path is accepted: only a run can tell the number of yields."""
    assert find_second_yield(function.__code__) is None
    lifespan(band=LifespanBand.SERVICES)(function)


async def forgets_else(made):
    if made:
        yield 1
    yield 2


def test_a_yield_that_is_always_followed_by_another():
    """Where only some paths have two yields, the first of the two is known by its line."""
    start = forgets_else.__code__.co_firstlineno
    assert {start + 2: start + 3} == find_followed_yields(forgets_else.__code__)
    assert {} == find_followed_yields(either.__code__) == find_followed_yields(one.__code__)


def test_two_yields_in_one_line():
    """A line with two yields doesn't show which of them a generator has reached."""
    assert {} == find_followed_yields(one_line.__code__)


@pytest.mark.parametrize("text", ["yield 1\n    yield 2", "yield 1\n    yield 2\n    (", ""])
def test_a_source_that_is_not_there(text, tmp_path):
    """Without a source, and with one that was changed since the import, nothing is certain."""
    path = tmp_path / "parts.py"
    source = "async def parts():\n    yield 1\n    await parts\n    yield 2\n"
    path.write_text(f"async def parts():\n    {text}\n")
    space = {}
    exec(compile(source, path, "exec"), space)
    assert find_second_yield(space["parts"].__code__) is None
    assert {} == find_followed_yields(space["parts"].__code__)


def test_a_function_of_another_line(tmp_path):
    """A function is found by name and line, and not by name alone."""
    path = tmp_path / "parts.py"
    source = "async def parts():\n    yield 1\n    yield 2\n"
    path.write_text(f"\n\n{source}")
    space = {}
    exec(compile(source, path, "exec"), space)
    assert find_second_yield(space["parts"].__code__) is None


async def bare(made):
    yield


async def says_none(made):
    yield None


async def later(made):
    if made:
        yield
    else:
        yield made


async def enters():
    return 5


@pytest.mark.parametrize(
    ("function", "line"),
    [(one, 1), (bare, None), (says_none, None), (later, 4), (enters, 1), (of_an_inner_function, 5)],
)
def test_the_line_with_a_value(function, line):
    """The first yield or return with a value is found; None is no value."""
    code = function.__code__
    assert (None if line is None else code.co_firstlineno + line) == find_value(code)


def test_the_value_of_a_function_without_a_source():
    """A function from run time has no source."""
    space = {}
    exec("async def parts():\n    yield 1\n", space)
    assert find_value(space["parts"].__code__) is None
