"""``@traced``: a span around each call of a function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from bandmaster.contrib.tracing.error_names import describe_error, name_error
from bandmaster.contrib.tracing.running_providers import current_provider

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def traced(function: _F, /) -> _F: ...
@overload
def traced(
    *, name: str | None = None, attributes: Mapping[str, AttributeValue] | None = None
) -> Callable[[_F], _F]: ...
def traced(
    function: Any = None, /, *, name: str | None = None, attributes: Mapping[str, AttributeValue] | None = None
) -> Any:
    """Make a span around each call of a function, an async function, a generator or an async generator.

    The result is of the same kind as the function, and has its name, signature and annotations::

        @traced
        async def price(order: Order) -> Money: ...


        @traced(name="import prices", attributes={"source": "erp"})
        def import_prices(path: Path) -> int: ...

    The span of a generator lasts until the generator ends, and is the current span only while its code runs. An
    exception is recorded, and marks the span as failed; arguments and results aren't recorded. Without tracing, a call
    is passed through.

    A span belongs to the application whose request or task calls the function; outside of one, to the application that
    runs in this process; see `current_provider`.

    Raises:
        TypeError: this is no function.
    """
    if function is None:
        return lambda decorated: _decorate(decorated, name, attributes)
    return _decorate(function, name, attributes)


def _decorate(function: Any, name: str | None, attributes: Mapping[str, AttributeValue] | None) -> Any:
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_decorate(function.__func__, name, attributes))
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"traced: expected a function, got {function!r}")
    spans = _Spans(function, name, attributes)
    inner = _unwrap_partials(function)
    if inspect.isasyncgenfunction(inner):
        return _wrap_async_generator(function, spans)
    if inspect.isgeneratorfunction(inner):
        return _wrap_generator(function, spans)
    if inspect.iscoroutinefunction(inner):
        return _wrap_async(function, spans)
    return _wrap_sync(function, spans)


class _Spans:
    """Makes the spans of one function."""

    def __init__(self, function: Any, name: str | None, attributes: Mapping[str, AttributeValue] | None) -> None:
        inner = _unwrap_partials(function)
        qualified = getattr(inner, "__qualname__", type(inner).__qualname__)
        self._module = getattr(inner, "__module__", None) or "__main__"
        self._name = name or qualified
        self._attributes = {"code.function.name": f"{self._module}.{qualified}", **(attributes or {})}

    def start(self) -> Span | None:
        """A span, or None where nothing makes spans."""
        provider = current_provider()
        if provider is None:
            return None
        return provider.get_tracer(self._module).start_span(self._name, attributes=self._attributes)


@contextmanager
def _ending(span: Span) -> Iterator[None]:
    """Record an exception of the block, and end the span."""
    try:
        yield
    except BaseException as error:
        _record(span, error)
        raise
    finally:
        span.end()


def _record(span: Span, error: BaseException) -> None:
    if not span.is_recording() or isinstance(error, GeneratorExit):
        return
    span.set_attribute("error.type", name_error(error))
    if isinstance(error, Exception):
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, describe_error(error)))


@contextmanager
def _current(span: Span) -> Iterator[None]:
    token = context_api.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context_api.detach(token)


def _wrap_sync(function: Any, spans: _Spans) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        span = spans.start()
        if span is None:
            return function(*args, **kwargs)
        with _ending(span), _current(span):
            return function(*args, **kwargs)

    return call


def _wrap_async(function: Any, spans: _Spans) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        span = spans.start()
        if span is None:
            return await function(*args, **kwargs)
        with _ending(span), _current(span):
            return await function(*args, **kwargs)

    return call


def _wrap_generator(function: Any, spans: _Spans) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = spans.start()
        if span is None:
            return (yield from function(*args, **kwargs))
        with _ending(span):
            generator = function(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, generator)
            # The context is that of the caller between two steps, so each step sets it anew.
            while True:
                try:
                    with _current(span):
                        item = step()
                except StopIteration as end:
                    return end.value
                try:
                    step = functools.partial(generator.send, (yield item))
                except GeneratorExit:
                    with _current(span):
                        generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # thrown in by the caller: the generator decides
                    step = functools.partial(generator.throw, error)

    return call


def _wrap_async_generator(function: Any, spans: _Spans) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = spans.start() or NonRecordingSpan(trace.get_current_span().get_span_context())
        with _ending(span):
            generator = function(*args, **kwargs)
            step: Callable[[], Any] = generator.__anext__
            while True:
                try:
                    with _current(span):
                        item = await step()
                except StopAsyncIteration:
                    return
                try:
                    step = functools.partial(generator.asend, (yield item))
                except GeneratorExit:
                    with _current(span):
                        await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  # likewise
                    step = functools.partial(generator.athrow, error)

    return call


def _unwrap_partials(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(type(function), "__call__", None)  # noqa: B004  # an object with an async __call__ is async
    if not inspect.isroutine(function) and call is not None and inspect.isroutine(call):
        return call
    return function
