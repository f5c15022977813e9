"""Tests of starts that are tried again or degraded: single behaviours; ``test_laws.py`` tries every combination."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Annotated, Any

import anyio
import pytest
from tests.kernel.harness.clock import run
from tests.kernel.lifecycle.engines import (
    Boom,
    Recorder,
    fail_with,
    make_contribution,
    make_engine,
    run_engine,
    sleep_shielded,
)

from bandmaster.kernel import events
from bandmaster.kernel.contributions.keys import Named
from bandmaster.kernel.errors import (
    CrashError,
    DeadlineExceeded,
    DegradedError,
    PermanentError,
    StartCancelled,
    StartError,
    StopError,
)
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.engine import Engine
from bandmaster.kernel.lifecycle.failed_starts import BACKOFF, choose_delay
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.lifecycle.restart import Restart

STEADY = Restart(max_delay=2.0, jitter=0)


def make_steady_engine(*components: Any, **options: Any) -> Engine:
    """An engine with delays between the tries of a start of 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2 ... seconds."""
    return make_engine(*components, backoff=STEADY, **options)


def fail_times(times: int, error: Exception | type[Exception] = Boom) -> Callable[[], Awaitable[None]]:
    """Make an async function that raises an error in the first calls."""
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error

    return fail


def list_of(record: Recorder, kind: type[Any]) -> list[Any]:
    return [event for event in record if isinstance(event, kind)]


def test_a_start_that_fails_is_tried_again(backend: str, record: Recorder) -> None:
    """A component that comes up with the third try has started, and the others wait for it."""
    first = record.component("a", start=fail_times(2), on_start_failure="retry")
    assert run_engine(backend, make_steady_engine(first, record.component("b", "a"), emit=record.append)) is None
    assert [item for item in record if isinstance(item, str)] == ["+a", "+b", "-b", "-a"]
    told = list_of(record, events.ComponentStartRetrying)
    assert [(event.attempt, event.delay, type(event.error)) for event in told] == [(2, 0.1, Boom), (3, 0.2, Boom)]
    begun = [event for event in list_of(record, events.ComponentStarting) if event.component == "a"]
    assert [event.attempt for event in begun] == [1, 2, 3]
    assert list_of(record, events.ComponentStarted)[0].own == pytest.approx(0.3)
    assert not list_of(record, events.ComponentStartFailed)


def test_the_deadline_counts_for_all_tries_together(backend: str, record: Recorder) -> None:
    """No try begins after the deadline of the start; the last failure is raised, with the number of tries."""
    errors = [Boom(f"try {number}") for number in range(1, 20)]
    left = iter(errors)

    async def fail() -> None:
        await anyio.sleep(1)
        raise next(left)

    part = record.component("a", start=fail, on_start_failure="retry", start_timeout=5)
    error = run_engine(backend, make_steady_engine(part))
    assert isinstance(error, StartError)
    assert (error.tries, error.__cause__) == (4, errors[3])
    assert str(error) == "'a' (in code) failed to start after 4 tries: Boom: try 4"


def test_a_try_that_reaches_the_deadline_is_cancelled(backend: str, record: Recorder) -> None:
    """A try that hangs until the deadline ends the start, with the failure of the try before as the cause."""
    fail = fail_times(1, Boom("refused"))

    async def fail_then_hang() -> None:
        await fail()
        await anyio.sleep_forever()

    part = record.component("a", start=fail_then_hang, on_start_failure="retry")
    error = run_engine(backend, make_steady_engine(part))
    assert isinstance(error, StartError)
    assert isinstance(error.__cause__, DeadlineExceeded)
    assert "didn't start within 10 s, in 2 tries" in str(error)
    assert str(error.__cause__.__cause__) == "refused"


@pytest.mark.parametrize(
    "error", [PermanentError("no such user"), TypeError("a mistake"), ExceptionGroup("both", [Boom(), NameError("x")])]
)
def test_a_try_in_vain_is_not_repeated(backend: str, record: Recorder, error: Exception) -> None:
    """Errors that stay, by their own word or by a mistake in the code, end the start at once."""
    part = record.component("a", start=fail_with(error), on_start_failure="retry")
    raised = run_engine(backend, make_steady_engine(part))
    assert isinstance(raised, StartError)
    assert (raised.tries, raised.__cause__) == (1, error)


@pytest.mark.parametrize("policy", ["retry", "degrade"])
def test_the_end_of_the_process_is_no_failed_start(backend: str, record: Recorder, policy: Any) -> None:
    """SystemExit and KeyboardInterrupt end the run under every policy."""
    part = record.component("a", start=fail_with(SystemExit(3)), on_start_failure=policy)
    assert isinstance(run_engine(backend, make_steady_engine(part)), SystemExit)


@pytest.mark.parametrize("policy", ["retry", "degrade"])
def test_a_cancellation_by_other_code_is_no_failed_start(record: Recorder, policy: Any) -> None:
    """A component's task that other code cancels ends the run under every policy."""
    import asyncio

    part = record.component("a", start=fail_with(asyncio.CancelledError()), on_start_failure=policy)
    error = run_engine("asyncio", make_steady_engine(part))
    assert isinstance(error, StartError)
    assert "cancelled from outside" in str(error)


variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_each_try_is_a_new_context_manager(backend: str, record: Recorder) -> None:
    """A failed try is unwound before the next one, which sees none of its context variables."""
    fail = fail_times(2)

    @asynccontextmanager
    async def component() -> AsyncIterator[None]:
        record.append(f"+{variable.get()}")
        variable.set("used")
        try:
            await fail()
            yield
        finally:
            record.append("-")

    part = make_contribution("a", component, on_start_failure="retry")
    assert run_engine(backend, make_steady_engine(part)) is None
    assert record == ["+unset", "-"] * 3


def test_a_factory_that_fails_is_called_again(backend: str, record: Recorder) -> None:
    """The call of the factory is part of a try."""
    calls: list[int] = []

    def factory() -> AbstractAsyncContextManager[None]:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("not yet")
        return nullcontext()

    assert run_engine(backend, make_steady_engine(make_contribution("a", factory, on_start_failure="retry"))) is None
    assert len(calls) == 3


@pytest.mark.parametrize("after", [0.05, 3.5])
def test_a_neighbour_that_fails_ends_the_tries(backend: str, record: Recorder, after: float) -> None:
    """A failure of another component ends the delay before the next try at once."""

    async def fail() -> None:
        await anyio.sleep(after)
        raise Boom("the neighbour")

    trying = record.component("a", start=fail_times(100), on_start_failure="retry")
    engine = make_steady_engine(trying, record.component("b", start=fail), emit=record.append)
    error = run_engine(backend, engine)
    assert isinstance(error, StartError)
    assert (error.component, error.rollback_errors) == ("b", ())
    assert record[-1].at == pytest.approx(after)
    assert [event.component for event in list_of(record, events.ComponentStartCancelled)] == ["a"]


def test_a_requested_stop_ends_the_tries(backend: str, record: Recorder) -> None:
    """A stop that is requested during the delay before a try cancels the start."""
    engine = make_steady_engine(
        record.component("a", start=fail_times(100), on_start_failure="retry"), emit=record.append
    )

    async def main() -> None:
        async def stop() -> None:
            await anyio.sleep(5)
            engine.stop("asked")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            with pytest.raises(StartCancelled):
                async with engine.running():
                    raise AssertionError("it has started")

    run(backend, main)
    assert engine.phase is Phase.STOPPED
    assert record[-1].at == pytest.approx(5)


def test_services_of_a_failed_try_are_dropped(backend: str, record: Recorder) -> None:
    """A service that each try registers runs once, for the try that has started."""

    async def serve() -> None:
        record.append("service")
        await anyio.sleep_forever()

    def setup(context: Context) -> None:
        context.supervise(serve, name="service")

    part = record.component("a", start=fail_times(2), setup=setup, on_start_failure="retry")
    assert run_engine(backend, make_steady_engine(part), lambda: anyio.sleep(1)) is None
    assert record.count("service") == 1


def test_more_time_holds_for_the_tries_that_follow(backend: str, record: Recorder) -> None:
    """A start that asks for more time has that time for all tries."""
    part = record.component(
        "a",
        start=fail_times(8),
        setup=lambda context: context.extend_timeout(60),
        on_start_failure="retry",
    )
    engine = make_steady_engine(part, emit=record.append)
    assert run_engine(backend, engine) is None
    assert list_of(record, events.ComponentStarted)[0].own == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 2 + 2 + 2)


class Cache: ...


class Shop:
    def __init__(self, cache: Cache | None) -> None:
        self.cache = cache


class Sessions: ...


def make_cache(start: Callable[[], Awaitable[object]], **fields: Any) -> Any:
    @asynccontextmanager
    async def cache() -> AsyncIterator[Cache]:
        await start()
        yield Cache()

    return make_contribution("cache", cache, **{"on_start_failure": "degrade", **fields})


@asynccontextmanager
async def open_shop(cache: Cache | None) -> AsyncIterator[Shop]:
    yield Shop(cache)


@asynccontextmanager
async def open_sessions(cache: Cache) -> AsyncIterator[Sessions]:
    yield Sessions()


def run_and_look(backend: str, engine: Engine) -> Any:
    """Run an engine to the end, and return its resources."""
    found: list[Any] = []

    async def main() -> None:
        async with engine.running() as resources:
            found.append(resources)

    run(backend, main)
    return found[0]


def test_the_run_goes_on_without_a_degraded_component(backend: str, record: Recorder) -> None:
    """Who allows None gets None, the failure is told, and the run ends well."""
    engine = make_engine(
        make_cache(fail_with(Boom("the cache is away"))), make_contribution("shop", open_shop), emit=record.append
    )
    resources = run_and_look(backend, engine)
    assert resources[Shop].cache is None
    (event,) = list_of(record, events.ComponentDegraded)
    assert (event.component, str(event.error)) == ("cache", "the cache is away")
    assert event.error.__notes__ == ["while starting 'cache' (in code)"]
    assert engine.phase is Phase.STOPPED
    assert not list_of(record, events.ComponentStartFailed)


def test_a_degraded_value_says_why_it_is_missing(backend: str) -> None:
    """The error names the component and the failure; `get` returns the default."""
    resources = run_and_look(backend, make_engine(make_cache(fail_with(Boom("the cache is away")))))
    for key in (Cache, (Cache, None), Annotated[Cache, "other"]):
        with pytest.raises(DegradedError) as caught:
            resources[key]
        assert caught.value.component == "cache"
        assert str(caught.value) == (
            "no component provides Cache: 'cache' would, but is degraded since its start failed: "
            "Boom: the cache is away"
        )
    assert resources.get(Cache) is None
    assert resources.get(Cache, 1) == 1
    assert Cache not in resources
    with pytest.raises(KeyError) as other:
        resources[Annotated[Cache, Named("other")]]
    assert not isinstance(other.value, DegradedError)


def test_a_component_that_cannot_do_without_is_degraded_as_well(backend: str, record: Recorder) -> None:
    """A degradable component isn't entered without a required value."""
    engine = make_engine(
        make_cache(fail_with(Boom())),
        make_contribution("sessions", open_sessions, on_start_failure="degrade"),
        emit=record.append,
    )
    with pytest.raises(DegradedError, match=r"'sessions' .* can't do without 'cache', which is degraded"):
        run_and_look(backend, engine)[Sessions]
    assert [event.component for event in list_of(record, events.ComponentDegraded)] == ["cache", "sessions"]
    assert "sessions" not in [event.component for event in list_of(record, events.ComponentStarting)]


def test_a_start_that_is_too_late_is_degraded(backend: str, record: Recorder) -> None:
    """A start that reaches the deadline is cancelled and unwound before the others start without the component."""
    unwound: list[float] = []

    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await sleep_shielded(1)
            unwound.append(anyio.current_time())

    engine = make_engine(make_cache(hang), make_contribution("shop", open_shop), emit=record.append)
    assert run_and_look(backend, engine)[Shop].cache is None
    (event,) = list_of(record, events.ComponentDegraded)
    assert isinstance(event.error, DeadlineExceeded)
    assert (event.own, event.at) == (pytest.approx(11), unwound[0])


def test_the_error_of_a_cancelled_start_is_told_with_its_lateness(backend: str, record: Recorder) -> None:
    """An error that a start raises when the deadline cancels the start is the cause of the failure."""
    error = Boom("while unwinding")

    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            raise error from None

    run_and_look(backend, make_engine(make_cache(hang), emit=record.append))
    (event,) = list_of(record, events.ComponentDegraded)
    assert (type(event.error), event.error.__cause__) == (DeadlineExceeded, error)


def test_a_start_that_completes_too_late_is_exited(backend: str, record: Recorder) -> None:
    """A component that starts in spite of a cancellation is exited at once, and no service of it runs."""

    async def ignore_cancellation() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(11)

    async def serve() -> None:
        record.append("service")

    late = record.component(
        "a",
        start=ignore_cancellation,
        setup=lambda context: context.supervise(serve, name="service"),
        on_start_failure="degrade",
    )
    after = record.component("b", after=("a",))
    assert run_engine(backend, make_engine(late, after), lambda: anyio.sleep(1)) is None
    assert record == ["+a", "-a", "+b", "-b"]


def test_a_late_component_whose_exit_fails_ends_the_run(backend: str, record: Recorder) -> None:
    """The application doesn't serve without a component that can't be undone."""

    async def ignore_cancellation() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(11)

    late = record.component("a", start=ignore_cancellation, stop=fail_with(Boom()), on_start_failure="degrade")
    assert isinstance(run_engine(backend, make_engine(late)), StopError)


def test_a_start_that_ignores_its_cancellation_ends_the_run(backend: str, record: Recorder) -> None:
    """A component with a start that goes on past the deadline can't be degraded, since the start isn't undone."""

    async def ignore_cancellation() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(30)

    engine = make_engine(
        record.component("a", start=ignore_cancellation, on_start_failure="degrade"),
        record.component("b", after=("a",)),
        emit=record.append,
    )
    error = run_engine(backend, engine)
    assert isinstance(error, StartError)
    assert isinstance(error.__cause__, DeadlineExceeded)
    assert not list_of(record, events.ComponentDegraded)
    assert [item for item in record if isinstance(item, str)] == ["+a", "-a"]


def test_a_degraded_component_keeps_its_place_in_the_order(backend: str, record: Recorder) -> None:
    """The components before a degraded one outlive those after it, though no edge is left between them."""
    engine = make_engine(
        record.component("a", stage=0),
        record.component("b", stage=1, start=fail_with(Boom()), on_start_failure="degrade"),
        record.component("c", stage=2, stop=3),
    )
    assert run_engine(backend, engine) is None
    assert record == ["+a", "+c", "-c", "-a"]


def test_a_degraded_component_supervises_nothing(backend: str, record: Recorder) -> None:
    """A context that is kept past the failed start refuses further services."""
    kept: list[Context] = []
    engine = make_engine(record.component("a", start=fail_with(Boom()), setup=kept.append, on_start_failure="degrade"))

    async def body() -> None:
        with pytest.raises(ValueError, match="service: component 'a' is degraded, too late for 'sleep' to begin"):
            kept[0].supervise(anyio.sleep_forever, name="sleep")
        kept[0].extend_timeout(5)

    assert run_engine(backend, engine, body) is None


def test_a_crash_beside_a_degraded_component(backend: str, record: Recorder) -> None:
    """A component that dies while serving ends the run, as without the degraded one."""

    @asynccontextmanager
    async def dying() -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_with(Boom()))
            yield

    engine = make_engine(make_cache(fail_with(Boom())), make_contribution("b", dying))
    assert isinstance(run_engine(backend, engine, anyio.sleep_forever), CrashError)


def test_a_degraded_failure_is_not_kept(backend: str) -> None:
    """The run keeps the text of the failure; the exception, with the frames of its traceback, is freed."""
    gc.collect()
    gc.disable()
    try:
        seen: list[int] = []

        class Kept(Exception):
            def __del__(self) -> None:
                seen.append(1)

        def make() -> Engine:
            async def fail() -> None:
                raise Kept

            return make_engine(make_cache(fail))

        engine = make()

        async def main() -> None:
            async with engine.running():
                assert seen

        run(backend, main)
    finally:
        gc.enable()


def test_the_delays_between_tries() -> None:
    """Delays grow up to two seconds, with a random share on top; none is chosen that reaches the deadline."""
    delays = [choose_delay(Boom(), attempt, left=60, backoff=BACKOFF) for attempt in range(1, 9)]
    for delay, expected in zip(delays, [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0], strict=True):
        assert delay is not None
        assert expected <= delay <= expected * 1.1
    assert choose_delay(Boom(), 9, left=2.0, backoff=STEADY) is None
    assert choose_delay(Boom(), 9, left=2.01, backoff=STEADY) == 2.0
