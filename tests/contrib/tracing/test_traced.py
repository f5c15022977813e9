"""``@traced``: the kinds of functions, their spans, and whose provider they use."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bandmaster.contrib.tracing import current_provider, traced
from bandmaster.contrib.tracing.running_providers import make_context, register_provider


class Recorder:
    """The spans that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Spans of the only provider that runs."""
    made = Recorder()
    with register_provider(made.provider):
        yield made


def add(a: int, b: int = 2) -> int:
    """Add."""
    assert trace.get_current_span().is_recording()
    return a + b


async def add_async(a: int) -> int:
    await anyio.sleep(0)
    return a + 2


def count(n: int) -> Iterator[int]:
    yield from range(n)


async def count_async(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


class Till:
    """A class with methods."""

    @traced
    def open(self) -> str:
        return "open"

    @traced
    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    @traced
    def by_class(cls) -> str:
        return cls.__name__

    @traced
    async def close(self) -> str:
        return "closed"


KINDS = [
    (add, (False, False, False)),
    (add_async, (True, False, False)),
    (count, (False, True, False)),
    (count_async, (False, False, True)),
]


@pytest.mark.requirement("P-12")
@pytest.mark.parametrize(("function", "kinds"), KINDS, ids=lambda one: getattr(one, "__name__", ""))
def test_a_traced_function_is_of_the_same_kind(function: Any, kinds: Any) -> None:
    """Sync, async, generators and async generators stay what they are, with name, text and signature."""
    made = traced(function)
    found = (inspect.iscoroutinefunction(made), inspect.isgeneratorfunction(made), inspect.isasyncgenfunction(made))
    assert found == kinds
    assert (made.__name__, made.__doc__) == (function.__name__, function.__doc__)
    assert inspect.signature(made) == inspect.signature(function)


@pytest.mark.requirement("P-12")
@given(st.integers(), st.integers())
def test_a_traced_function_returns_the_same(a: int, b: int) -> None:
    """With tracing and without it, arguments and results are those of the function."""
    made = Recorder()
    plain = traced(lambda x, y=0: (x, y))
    assert plain(a, y=b) == (a, b)
    with register_provider(made.provider):
        assert plain(a, b) == (a, b)
    assert len(made.spans) == 1


def test_a_call_makes_a_span(recorder: Recorder) -> None:
    """The span has the name of the function, and is the current one inside of it."""
    assert traced(add)(1) == 3
    (span,) = recorder.spans
    assert (span.name, dict(span.attributes)) == ("add", {"code.function.name": f"{__name__}.add"})


def test_name_and_attributes_can_be_given(recorder: Recorder) -> None:
    """The decorator takes both by name."""
    assert traced(name="sum", attributes={"unit": "euro"})(add)(1, b=4) == 5
    (span,) = recorder.spans
    assert (span.name, span.attributes["unit"]) == ("sum", "euro")


async def _consume(iterator: AsyncIterator[int]) -> list[int]:
    return [number async for number in iterator]


@pytest.mark.anyio
async def test_async_functions_and_generators(recorder: Recorder) -> None:
    """The span of a generator lasts until its end."""
    assert await traced(add_async)(1) == 3
    assert list(traced(count)(3)) == [0, 1, 2]
    assert await _consume(traced(count_async)(3)) == [0, 1, 2]
    assert recorder.names == ["add_async", "count", "count_async"]


@pytest.mark.anyio
async def test_a_generator_that_waits_leaves_the_context_alone(recorder: Recorder) -> None:
    """Between two items the caller's span is the current one, and the spans inside are children of the generator's."""
    inner = traced(name="inner")(lambda: None)

    @traced
    def items() -> Iterator[int]:
        inner()
        yield 1
        inner()

    @traced
    async def async_items() -> AsyncIterator[int]:
        inner()
        yield 1
        inner()

    for _ in items():
        assert not trace.get_current_span().get_span_context().is_valid
    async for _ in async_items():
        assert not trace.get_current_span().get_span_context().is_valid
    by_id = {span.context.span_id: span.name for span in recorder.spans}
    parents = [by_id[span.parent.span_id].rpartition(".")[2] for span in recorder.spans if span.name == "inner"]
    assert parents == ["items", "items", "async_items", "async_items"]


@pytest.mark.anyio
async def test_generators_take_what_is_sent_and_thrown(recorder: Recorder) -> None:
    """send, throw, return values and close reach the generator."""

    @traced
    def talk() -> Any:
        try:
            got = yield "first"
        except KeyError:
            got = "thrown"
        yield got
        return "end"

    one = talk()
    assert (next(one), one.send("sent")) == ("first", "sent")
    with pytest.raises(StopIteration) as ended:
        next(one)
    assert ended.value.value == "end"
    two = talk()
    assert (next(two), two.throw(KeyError())) == ("first", "thrown")
    two.close()

    @traced
    async def talk_async() -> Any:
        try:
            got = yield "first"
        except KeyError:
            got = "thrown"
        yield got

    three = talk_async()
    assert (await three.__anext__(), await three.asend("sent")) == ("first", "sent")
    await three.aclose()
    four = talk_async()
    assert (await four.__anext__(), await four.athrow(KeyError())) == ("first", "thrown")
    await four.aclose()
    assert len(recorder.spans) == 4
    assert not [span for span in recorder.spans if span.events]


def test_methods_of_every_kind(recorder: Recorder) -> None:
    """Methods, static methods and class methods can be traced."""
    till = Till()
    assert (till.open(), till.static(), Till.static(), till.by_class()) == ("open", "static", "static", "Till")
    assert asyncio.run(till.close()) == "closed"
    assert recorder.names == ["Till.open", "Till.static", "Till.static", "Till.by_class", "Till.close"]


def test_partials_and_objects_can_be_traced(recorder: Recorder) -> None:
    """A partial of an async function is async."""
    made = traced(functools.partial(add_async, 1))
    assert inspect.iscoroutinefunction(made)
    assert asyncio.run(made()) == 3
    assert recorder.names == ["add_async"]


@pytest.mark.parametrize("wrong", [5, "name", Till])
def test_anything_else_is_refused(wrong: Any) -> None:
    """Classes and values can't be traced."""
    with pytest.raises(TypeError, match="traced: expected a function"):
        traced(wrong)


def test_an_exception_is_recorded_once_and_raised(recorder: Recorder) -> None:
    """The span has the exception, its type and the status ERROR."""

    @traced
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    (span,) = recorder.spans
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "ValueError: no")
    assert span.attributes["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.anyio
async def test_a_cancellation_is_no_failure(recorder: Recorder) -> None:
    """A cancelled call has the type of the cancellation, and no status ERROR."""

    @traced
    async def wait() -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await wait()
    (span,) = recorder.spans
    assert (span.status.status_code.name, span.events) == ("UNSET", ())


def test_nothing_happens_without_a_provider() -> None:
    """Where nobody makes spans, a call is the function's own."""
    assert current_provider() is None
    assert list(traced(count)(2)) == [0, 1]
    assert traced(lambda: trace.get_current_span().is_recording())() is False


@pytest.mark.requirement("P-11")
def test_two_applications_in_one_process_keep_apart() -> None:
    """Inside of a request the request's provider counts; outside, two of them are none."""
    from opentelemetry import context

    one, two = Recorder(), Recorder()
    made = traced(lambda: None)
    with register_provider(one.provider), register_provider(two.provider):
        made()
        token = context.attach(make_context(two.provider))
        made()
        context.detach(token)
    assert (len(one.spans), len(two.spans)) == (0, 1)
