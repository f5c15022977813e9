"""Tests of bandmaster.kernel.lifecycle.component_manager."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from tests.kernel.lifecycle.engines import Boom

from bandmaster.kernel import Kernel, LifespanBand, LifespanContribution, PermanentError, StartError, lifespan
from bandmaster.kernel.errors import StopError, YieldError
from bandmaster.kernel.lifecycle.component_manager import ComponentManager
from bandmaster.kernel.reports import report

SERVICES = LifespanBand.SERVICES


class Store: ...


def make(factory: Callable[..., Any], **fields: Any) -> ComponentManager:
    part = LifespanContribution(name="store", factory=factory, band=SERVICES, **fields)
    (component,) = Kernel(discover=False, contributions=[part]).plan.components
    return ComponentManager.make(component, {})


def run(factory: Callable[..., Any], crash: BaseException | None = None, **fields: Any) -> Any:
    """The value of a component that is started and stopped; ``crash`` is thrown in between."""

    async def enter() -> Any:
        async with make(factory, **fields) as value:
            if crash is not None:
                raise crash
            return value

    return anyio.run(enter)


def fault(factory: Callable[..., Any], **options: Any) -> str:
    """The text of a component's error, with the lines counted from the function in the source."""
    with pytest.raises(YieldError) as caught:
        run(factory, **options)
    written = factory
    while not hasattr(written, "__code__"):
        written = written.func
    start = getattr(written, "__wrapped__", written).__code__.co_firstlineno
    text = str(caught.value).replace(__file__, "parts.py")
    return re.sub(r"(?<=parts\.py:)\d+|(?<=line )\d+", lambda match: str(int(match[0]) - start), text)


FLAGS = [False]


async def returns() -> AsyncIterator[Store]:
    if not FLAGS[0]:
        return
    yield Store()


async def falls_through() -> AsyncIterator[Store]:
    for _ in FLAGS[1:]:
        yield Store()


WITHOUT = (
    "the function ended without a yield (parts.py:{}). Every path has to yield once, and the start ends there: add a "
    "bare yield to this path, or raise an exception to fail the start."
)


@pytest.mark.parametrize(("factory", "line"), [(returns, 2), (falls_through, 1)])
def test_a_path_without_a_yield(factory, line):
    """A generator that ends without a yield fails the start; the error has the last line of the generator."""
    assert WITHOUT.format(line) == fault(factory)


@pytest.mark.parametrize(
    "factory",
    [asynccontextmanager(returns), functools.partial(asynccontextmanager(returns)), functools.partial(returns)],
)
def test_a_generator_in_any_form(factory):
    """The line is found inside of ``asynccontextmanager`` and of partials."""
    assert WITHOUT.format(2) == fault(factory)


async def forgets_else() -> AsyncIterator[None]:
    if not FLAGS[0]:
        yield
    SEEN.append("between")
    yield


async def yields_later() -> AsyncIterator[None]:
    yield
    SEEN.append("between")
    if not FLAGS[0]:
        yield


SEEN: list[str] = []
SECOND = (
    "the function yields again (parts.py:{}), after the yield in line {}. A component has started at its yield, and "
    "stops with the code after it, so each path has one yield: remove one, or put them into branches that exclude each "
    "other (return after the first, or else)."
)


def test_two_yields_that_are_certain_at_the_first():
    """Where the first yield is certain to be followed by another, the start fails, and the component is left."""
    SEEN.clear()
    assert SECOND.format(4, 2) == fault(forgets_else)
    assert ["between"] == SEEN


def test_two_yields_that_only_the_stop_shows():
    """A second yield that depends on a condition fails the stop, with the lines of both."""
    assert SECOND.format(4, 1) == fault(yields_later)
    part = lifespan(band=SERVICES)(yields_later)

    async def start() -> None:
        async with Kernel(discover=False, contributions=[part]).running():
            pass

    with pytest.raises(StopError) as caught:
        anyio.run(start)
    assert [YieldError] == [type(error) for error in caught.value.exceptions]


async def yields_after_a_crash() -> AsyncIterator[None]:
    try:
        yield
    except Boom:
        yield


def test_two_yields_after_a_crash():
    """A yield in the handler of the component's own exception is a second one."""
    assert SECOND.format(4, 2) == fault(yields_after_a_crash, crash=Boom())


async def wrong() -> AsyncIterator[Store]:
    try:
        yield 3  # type: ignore[misc]
        SEEN.append("stopped")
    finally:
        SEEN.append("closed")


def test_a_value_of_another_type():
    """A value of another type than the annotation declares fails the start with the line, and is stopped in order."""
    SEEN.clear()
    assert (
        "the function yields an int (parts.py:2), but is declared to provide a Store. Yield one, or correct the return "
        "annotation: -> AsyncIterator[int]."
    ) == fault(wrong)
    assert ["stopped", "closed"] == SEEN


async def nothing() -> AsyncIterator[Store]:
    yield  # type: ignore[misc]


def test_a_bare_yield_where_a_type_is_declared():
    """None isn't of the declared type."""
    assert (
        "the function yields None (parts.py:1), but is declared to provide a Store. Yield one, or correct the return "
        "annotation: -> AsyncIterator[None]."
    ) == fault(nothing)


async def gives() -> AsyncIterator[None]:
    yield Store()  # type: ignore[misc]


async def annotated() -> AsyncIterator[None]:
    yield 3  # type: ignore[misc]


class Gives:
    async def __aenter__(self) -> None:
        return Store()  # type: ignore[return-value]

    async def __aexit__(self, *exception: object) -> None: ...


def test_a_value_where_none_is_declared():
    """A value that nobody can get, because the annotation declares None, fails the start with the line."""
    assert (
        "the function yields a Store (parts.py:1), but is declared to provide nothing. Leave out the value, or correct "
        "the return annotation: -> AsyncIterator[Store]."
    ) == fault(gives)
    with pytest.raises(YieldError, match=r"nothing\. .* the return annotation of __aenter__: -> Store\.$"):
        run(Gives)
    assert 3 == run(annotated, provides=int)


async def undeclared() -> AsyncIterator[Any]:
    yield 3


def test_a_value_of_another_type_than_provides():
    """The types of ``provides=`` are compared as well."""
    assert (
        "the function yields an int (parts.py:1), but is declared to provide a Store. Yield one, or correct provides=."
    ) == fault(undeclared, provides=Store)
    assert 3 == run(undeclared) == run(undeclared, provides=int)


class Opens:
    async def __aenter__(self) -> Store:
        return self  # type: ignore[return-value]

    async def __aexit__(self, *exception: object) -> None: ...


def test_a_class_that_enters_another_type():
    """A context manager that isn't a generator is named by the place of the class, and its annotation by the method."""
    with pytest.raises(
        YieldError, match=r"^the function yields an Opens \(.*test_component_manager\.py:\d+\), but is "
    ) as caught:
        run(Opens)
    assert str(caught.value).endswith("Yield one, or correct the return annotation of __aenter__: -> Opens.")


async def fails_to_stop() -> AsyncIterator[Store]:
    yield 3  # type: ignore[misc]
    raise Boom("no luck")


def test_a_fault_whose_stop_fails():
    """The fault is the cause, and the failure of the stop is a note on the fault."""
    with pytest.raises(YieldError) as caught:
        run(fails_to_stop)
    assert ["and then its stop failed: Boom: no luck"] == caught.value.__notes__


async def coroutine() -> int:
    raise AssertionError


@pytest.mark.parametrize(
    ("factory", "made"),
    [(lambda: 3, "an int"), (lambda: coroutine(), "a coroutine"), (lambda: returns(), "an async_generator")],
)
def test_a_factory_without_a_context_manager(factory, made):
    """A factory that returns anything but a context manager is told with its place."""
    with pytest.raises(YieldError) as caught:
        make(factory)
    line = factory.__code__.co_firstlineno
    assert (
        f"the function returned {made}, which is no async context manager ({__file__}:{line}). Write async def with "
        "one yield, or return an async context manager."
    ) == str(caught.value)


@asynccontextmanager
async def never_yields() -> AsyncIterator[None]:
    if FLAGS[0]:
        yield


async def uses_one_that_never_yields() -> AsyncIterator[None]:
    async with never_yields():
        yield


async def uses_one_that_yields_again() -> AsyncIterator[None]:
    async with asynccontextmanager(yields_later)():
        yield


class Raises:
    async def __aenter__(self) -> None:
        if not FLAGS[0]:
            raise RuntimeError("generator didn't yield")

    async def __aexit__(self, *exception: object) -> None:
        raise RuntimeError("generator didn't stop")


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (uses_one_that_never_yields, "generator didn't yield"),
        (uses_one_that_yields_again, "generator didn't stop"),
        (Raises, "generator didn't yield"),
    ],
)
def test_a_generator_inside_of_a_component(factory, expected):
    """An error about another generator, which the component uses, is left unchanged."""
    with pytest.raises(RuntimeError, match=f"^{expected}$"):
        run(factory)


async def takes_none_before() -> AsyncIterator[None]:
    next(iter(()))
    yield


async def takes_none_after() -> AsyncIterator[None]:
    yield
    next(iter(()))


async def ends_another() -> AsyncIterator[None]:
    raise StopAsyncIteration
    yield


@pytest.mark.parametrize("factory", [takes_none_before, takes_none_after, ends_another])
def test_a_component_that_raises_stop_iteration(factory):
    """An iterator that is empty is no missing or second yield: Python's error, and the cause of it, are left."""
    with pytest.raises(RuntimeError, match=r"^async generator raised Stop(Async)?Iteration$") as caught:
        run(factory)
    assert isinstance(caught.value.__cause__, StopIteration | StopAsyncIteration)


def test_a_failing_start_and_stop():
    """The component's own exceptions pass, and a suppressed one is suppressed."""

    @asynccontextmanager
    async def fails() -> AsyncIterator[None]:
        raise RuntimeError("own")
        yield

    @asynccontextmanager
    async def suppresses() -> AsyncIterator[None]:
        with suppress(Boom):
            yield

    with pytest.raises(RuntimeError, match=r"^own$"):
        run(fails)
    assert run(suppresses, crash=Boom()) is None
    with pytest.raises(Boom):
        run(undeclared, crash=Boom())


def test_the_error_reaches_the_caller():
    """The start fails with a permanent error: to try again changes nothing."""
    part = lifespan(band=SERVICES)(returns)

    async def start() -> None:
        async with Kernel(discover=False, contributions=[part]).running():
            raise AssertionError

    with pytest.raises(StartError, match="failed to start: YieldError: the function ended without a yield") as caught:
        anyio.run(start)
    assert isinstance(caught.value.__cause__, PermanentError)


@pytest.mark.parametrize("factory", [returns, forgets_else, yields_later, wrong])
def test_the_report_names_the_line_of_the_component(factory):
    """The report of such an error is a sentence with the component's own line."""
    with pytest.raises(YieldError) as caught:
        run(factory)
    lines, first = inspect.getsourcelines(factory)
    [line] = re.findall(rf"\({re.escape(__file__)}:(\d+)\)", report(caught.value))
    assert first <= int(line) < first + len(lines)
    assert "Traceback" not in report(caught.value)


def test_an_async_manager_of_any_kind(record):
    """Managers that aren't generators are entered and exited as they are."""

    class Plain(AbstractAsyncContextManager[Any]):
        async def __aenter__(self) -> int:
            record.append("+")
            return 5

        async def __aexit__(self, *exception: object) -> None:
            record.append("-")

    assert 5 == run(Plain)
    assert ["+", "-"] == record
