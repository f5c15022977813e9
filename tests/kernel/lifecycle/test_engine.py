"""Tests of bandmaster.kernel.lifecycle.engine: single behaviours; ``test_laws.py`` tries every combination."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic_settings import BaseSettings
from tests.kernel.harness.cases import Case, Part
from tests.kernel.harness.clock import Deadlock, Livelock, run
from tests.kernel.harness.runner import run_case
from tests.kernel.lifecycle.engines import (
    Boom,
    Recorder,
    fail_after,
    fail_with,
    group_that_fails,
    make_contribution,
    make_engine,
    run_engine,
    sleep_shielded,
)

from bandmaster.kernel import events
from bandmaster.kernel.errors import CrashError, StartCancelled, StartError, StopError, YieldError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.engine import Engine
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.planning.make import make_plan


@pytest.mark.requirement("FA-13", "XC-L2", "XC-L3")
def test_the_stop_is_the_reverse_of_the_start(backend: str, record: Recorder) -> None:
    """Stages and edges order the starts; the stops come in the reverse order."""
    engine = make_engine(record.component("c", stage=1), record.component("b", "a"), record.component("a"))
    assert run_engine(backend, engine) is None
    assert record == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_components_without_order_start_at_once(backend: str, record: Recorder) -> None:
    """The start takes as long as the slowest path, not as long as all starts together."""
    engine = make_engine(
        record.component("a", start=3),
        record.component("b", start=2),
        record.component("c", "b", start=2),
        emit=record.append,
    )
    assert run_engine(backend, engine) is None
    assert [event.took for event in record if isinstance(event, events.Ready)] == [4]


def test_an_empty_plan(backend: str) -> None:
    """An empty plan is ready at once."""
    assert run_engine(backend, make_engine()) is None


class Database:
    pass


@dataclass
class Cache:
    database: Database | None
    size: int | None = 7


def test_components_get_the_values_that_they_need(backend: str) -> None:
    """A value goes by type to each component that needs one; a missing optional value is None, or the default."""

    @asynccontextmanager
    async def database() -> AsyncIterator[Database]:
        yield Database()

    @asynccontextmanager
    async def cache(
        database: Database, other: Deadlock | None, another: Livelock | None = None
    ) -> AsyncIterator[Cache]:
        assert (other, another) == (None, None)
        yield Cache(database)

    engine = make_engine(make_contribution("cache", cache), make_contribution("database", database))
    found: list[Any] = []

    async def main() -> None:
        async with engine.running() as resources:
            found.extend([resources[Cache].database, resources[Database]])

    run(backend, main)
    assert found[0] is found[1]


class CacheSettings(BaseSettings):
    size: int = 3


def test_components_get_their_settings(backend: str, record: Recorder) -> None:
    """Settings are read when the plan is made, and passed at the start."""

    @asynccontextmanager
    async def cache(settings: CacheSettings) -> AsyncIterator[None]:
        record.append(settings.size)
        yield

    assert run_engine(backend, make_engine(make_contribution("cache", cache))) is None
    assert record == [3]


def test_an_engine_without_contexts(backend: str, record: Recorder) -> None:
    """Without ``make_context``, a component that needs a context gets None."""
    plan = make_plan([record.component("a")], context=Context)
    assert run_engine(backend, Engine(plan)) is None


def test_an_override_takes_the_place_of_a_component(backend: str, record: Recorder) -> None:
    """An override is passed to every component that needs the type, and the overridden component isn't started."""

    @asynccontextmanager
    async def database() -> AsyncIterator[Database]:
        record.append("+database")
        yield Database()

    @asynccontextmanager
    async def user(database: Database) -> AsyncIterator[None]:
        record.append(database)
        yield

    fake = Database()
    assert (
        run_engine(
            backend,
            make_engine(make_contribution("d", database), make_contribution("u", user), overrides={Database: fake}),
        )
        is None
    )
    assert record == [fake]


def test_two_engines_in_one_process(backend: str, record: Recorder) -> None:
    """Two engines, one inside the other, don't affect each other."""
    first, second = (
        make_engine(record.component("a")),
        make_engine(record.component("a", stop=fail_with(Boom("second")))),
    )

    async def main() -> None:
        async with first.running():
            with pytest.raises(StopError):
                async with second.running():
                    pass
            assert first.phase is Phase.READY

    run(backend, main)
    assert record == ["+a", "+a", "-a", "-a"]
    assert (first.phase, second.phase) == (Phase.STOPPED, Phase.FAILED)


@pytest.mark.requirement("FA-14", "XC-L4")
def test_no_start_begins_after_a_failure(backend: str, record: Recorder) -> None:
    """After a failure no component is entered, not even one that could start in the same tick."""
    engine = make_engine(
        record.component("a", start=1),
        record.component("b", start=partial(fail_after, 1, Boom())),
        record.component("c", "a"),
    )
    assert isinstance(run_engine(backend, engine), StartError)
    assert set(record) <= {"+a", "-a"}


def test_a_factory_that_raises(backend: str) -> None:
    """The call that makes the context manager is a part of the start."""
    cause = Boom()

    def factory() -> AbstractAsyncContextManager[None]:
        raise cause

    assert run_engine(backend, make_engine(make_contribution("a", factory))).__cause__ is cause


def test_a_factory_without_a_context_manager(backend: str) -> None:
    """A value that is no async context manager fails the start."""
    error = run_engine(backend, make_engine(make_contribution("a", lambda: 3)))
    assert isinstance(error.__cause__, YieldError)


def test_a_context_manager_without_coroutine_functions(backend: str, record: Recorder) -> None:
    """``__aenter__`` and ``__aexit__`` may return any awaitable, and may raise at once."""

    class Manager:
        def __aenter__(self) -> Awaitable[None]:
            return anyio.sleep(1)

        def __aexit__(self, *exception: object) -> Awaitable[None]:
            raise Boom("at once")

    error = run_engine(backend, make_engine(make_contribution("a", Manager)))
    assert isinstance(error, StopError)
    assert str(error.exceptions[0]) == "at once"


def test_a_component_that_raises_a_cancellation_by_hand(record: Recorder) -> None:
    """A cancellation that the kernel didn't cause is a failure, and no orderly end."""
    by_hand = asyncio.CancelledError("by hand")
    error = run_engine("asyncio", make_engine(record.component("a", start=fail_with(by_hand))))
    assert isinstance(error, StartError)
    assert str(error.__cause__) == "its task was cancelled from outside the kernel"
    assert error.__cause__.__cause__ is by_hand


def test_a_stop_that_meets_a_cancelled_task(record: Recorder) -> None:
    """Awaiting a task that other code has cancelled fails a stop, also after a start that outran its cancellation."""

    async def meet() -> None:
        raise asyncio.CancelledError

    engine = make_engine(
        record.component("a", start=partial(fail_after, 1, Boom())), record.component("b", start=1, stop=meet)
    )
    (error,) = run_engine("asyncio", engine).rollback_errors
    assert str(error) == "its task was cancelled from outside the kernel"


@pytest.mark.requirement("FA-14", "XC-L4")
def test_stop_cancels_a_start(backend: str, record: Recorder) -> None:
    """A stop that is requested while starting rolls back, and the exception gives the reason."""
    engine = make_engine(
        record.component("a"), record.component("b", "a", start=lambda: _stop(engine)), record.component("c", "b")
    )
    error = run_engine(backend, engine)
    assert (type(error), str(error)) == (StartCancelled, "asked to stop before everything had started: enough")
    assert record == ["+a", "-a"]
    assert engine.phase is Phase.STOPPED


async def _stop(engine: Engine) -> None:
    engine.stop("enough")
    engine.stop("more than enough")
    await anyio.sleep_forever()


def test_stop_before_the_start(backend: str, record: Recorder) -> None:
    """A stop that is requested before the start starts no component."""
    engine = make_engine(record.component("a"))
    engine.stop("early")
    assert isinstance(run_engine(backend, engine), StartCancelled)
    assert record == []


def test_stop_from_a_callback_of_the_loop(record: Recorder) -> None:
    """A signal handler of the event loop runs in no task, and may request a stop."""
    engine = make_engine(record.component("a", start=anyio.sleep_forever))

    async def main() -> None:
        asyncio.get_running_loop().call_later(3, engine.stop, "signal")
        with pytest.raises(StartCancelled):
            async with engine.running():
                pass

    run("asyncio", main)


def test_stop_while_serving_is_up_to_the_body(backend: str, record: Recorder) -> None:
    """A stop doesn't end the body, which goes on to the end."""
    engine = make_engine(record.component("a"))

    async def body() -> None:
        engine.stop("please")
        await anyio.sleep(1)
        record.append("body")

    assert run_engine(backend, engine, body) is None
    assert record == ["+a", "body", "-a"]


def test_a_cancellation_becomes_an_orderly_stop(backend: str, record: Recorder) -> None:
    """A cancellation of the caller leaves every stop its time, and then goes on outwards."""
    engine = make_engine(record.component("a", stop=3), record.component("b", "a", stop=1))

    async def main() -> None:
        with anyio.move_on_after(2) as scope:
            async with engine.running():
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() == 6

    run(backend, main)
    assert record == ["+a", "+b", "-b", "-a"]


def test_a_task_that_is_cancelled_before_its_first_step(record: Recorder) -> None:
    """A task that never ran can't record a cancellation; the run ends all the same, with an error."""
    engine = make_engine(record.component("a"), record.component("b", "a"))

    async def main() -> None:
        async with engine.running():
            pass

    async def watch() -> None:
        running = asyncio.ensure_future(main())
        while not (found := [task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: b"]):
            await asyncio.sleep(0)
        found[0].get_coro().cr_frame.f_locals["self"].coro.close()
        found[0].cancel()
        with pytest.raises(RuntimeError, match="cancelled from outside the kernel"):
            await running

    run("asyncio", watch)
    assert record == ["+a", "-a"]


def test_a_component_never_sees_the_exception_of_another(backend: str, record: Recorder) -> None:
    """The code after a bare ``yield`` runs, also when another component or the body has failed."""

    @asynccontextmanager
    async def bare() -> AsyncIterator[None]:
        yield
        record.append("after the yield")

    run_engine(backend, make_engine(make_contribution("a", bare), record.component("b", "a", start=fail_with(Boom()))))
    run_engine(backend, make_engine(make_contribution("a", bare)), fail_with(Boom()))
    assert record == ["after the yield"] * 2


def test_a_crash_ends_the_body_and_stops_the_rest_in_order(backend: str, record: Recorder) -> None:
    """The body is cancelled in the same tick; the crashed component is exited after all that depend on it."""
    cause = Boom()
    engine = make_engine(
        record.component_holding("a", partial(group_that_fails, 2, cause)),
        record.component("b", "a", stop=1),
        emit=record.append,
    )

    async def body() -> None:
        try:
            await anyio.sleep(100)
        finally:
            record.append(anyio.current_time())

    error = run_engine(backend, engine, body)
    assert isinstance(error, CrashError)
    assert error.component == "a"
    assert error.__cause__.exceptions == (cause,)
    assert str(error) == f"'a' (in code) died while serving: ExceptionGroup: {error.__cause__}"
    assert [item for item in record if not isinstance(item, events.Event)] == ["+a", "+b", 2, "-b", "-a"]


def test_no_component_stops_under_the_body(backend: str, record: Recorder) -> None:
    """While a cancelled body cleans up, every component that it may need still runs."""
    engine = make_engine(record.component_holding("a", partial(group_that_fails, 2, Boom())), record.component("b"))

    async def body() -> None:
        try:
            await anyio.sleep(100)
        finally:
            await sleep_shielded(3)
            record.append("body")

    assert isinstance(run_engine(backend, engine, body), CrashError)
    assert record[2] == "body"


def test_a_crash_that_only_degrades(backend: str, record: Recorder) -> None:
    """The body goes on, the engine names the component, and the crash is reported at the end."""
    engine = make_engine(record.component_holding("a", partial(group_that_fails, 2, Boom()), on_crash="degrade"))

    async def body() -> None:
        await anyio.sleep(5)
        record.append(engine.degraded_by)

    assert isinstance(run_engine(backend, engine, body), CrashError)
    assert record == ["+a", {"a"}, "-a"]


def test_a_component_task_that_other_code_cancels(record: Recorder) -> None:
    """A native ``cancel()`` of a component's task is a crash, and the component's exit sees it."""
    engine = make_engine(record.component("a"))

    async def main() -> None:
        with pytest.raises(CrashError, match="cancelled from outside the kernel"):
            async with engine.running():
                next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a").cancel()
                await anyio.sleep_forever()

    run("asyncio", main)
    assert record == ["+a", "-a"]


def test_a_listener_that_raises(backend: str, record: Recorder) -> None:
    """An exception of a listener fails the component of the event, and no other."""
    cause = Boom()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.ComponentStarting) and event.component == "b":
            raise cause

    error = run_engine(backend, make_engine(record.component("a"), record.component("b", "a"), emit=listen))
    assert error.__cause__ is cause
    assert record == ["+a", "-a"]


@pytest.mark.law("I9")
def test_cycles_leak_nothing(backend: str) -> None:
    """A hundred starts and stops of twenty components leave as many objects as there were."""
    parts = tuple(Part(name, stage=place // 5, shape="group") for place, name in enumerate("abcdefghijklmnopqrst"))
    case = Case(parts, "returns", backend=backend)

    def cycle(times: int) -> int:
        for _ in range(times):
            assert run_case(case).raised is None
        gc.collect()
        return len(gc.get_objects())

    before = cycle(10)
    assert cycle(100) <= before + 20


def test_two_thousand_components(backend: str) -> None:
    """A large plan starts and stops like a small one."""

    @asynccontextmanager
    async def component() -> AsyncIterator[None]:
        yield

    parts = [
        make_contribution(
            f"c{number}", component, requires=tuple({f"c{number // 2}", f"c{number // 3}"} if number else ())
        )
        for number in range(1, 2001)
    ]
    parts.append(make_contribution("c0", component))
    assert run_engine(backend, make_engine(*parts)) is None
