"""What the engine promises, one behaviour at a time; that no other breaks is for ``test_laws.py``."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from pydantic_settings import BaseSettings
from tests.kernel.harness.bench import play
from tests.kernel.harness.cases import Case, Part
from tests.kernel.harness.clock import Deadlock, Livelock, run

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.errors import CrashError, DeadlineExceeded, StartCancelled, StartError, StopError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.engine import Engine, Phase
from bandmaster.kernel.lifecycle.restart import Restart
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan

pytestmark = pytest.mark.requirement("FA-13", "XC-L2", "XC-L3", "FA-14", "XC-L4")


class Boom(Exception):
    """Something that goes wrong."""


class Recorder(list[Any]):
    """What happened; and the parts that tell it."""

    def part(
        self,
        name: str,
        *waits_for: str,
        start: Callable[[], Awaitable[object]] | float = 0,
        stop: Callable[[], Awaitable[object]] | float = 0,
        stage: int = 0,
        setup: Callable[[Context], object] | None = None,
        **fields: Any,
    ) -> LifespanContribution:
        """A component that tells when it starts and stops, and does so as it is told."""

        @asynccontextmanager
        async def component(context: Context) -> AsyncIterator[None]:
            if setup is not None:
                setup(context)
            await _do(start)
            self.append(f"+{name}")
            try:
                yield
            finally:
                self.append(f"-{name}")
                await _do(stop)

        return contribution(name, component, requires=waits_for, priority=stage, **fields)

    def held(self, name: str, *held: Callable[[], Any], **fields: Any) -> LifespanContribution:
        """A component that holds a context manager across its yield."""

        @asynccontextmanager
        async def component() -> AsyncIterator[None]:
            try:
                async with held[0]():
                    self.append(f"+{name}")
                    yield
            finally:
                self.append(f"-{name}")

        return contribution(name, component, **fields)

    @property
    def kinds(self) -> list[type]:
        return [type(item) for item in self]


class Hand:
    """The part of a kernel that these components use."""

    engine: Engine

    def supervise(self, *arguments: Any) -> None:
        self.engine.supervise(*arguments)

    def extend_timeout(self, component: str, seconds: float) -> None:
        self.engine.extend(component, seconds)


async def _do(what: Callable[[], Awaitable[object]] | float) -> None:
    await (anyio.sleep(what) if isinstance(what, (int, float)) else what())


def contribution(name: str, factory: Callable[..., Any], **fields: Any) -> LifespanContribution:
    return LifespanContribution(
        name=name, factory=factory, **{"band": LifespanBand.OBSERVABILITY, "priority": 0, **fields}
    )


def make(*parts: LifespanContribution, overrides: Any = None, **options: Any) -> Engine:
    """An engine for these parts, with ten seconds for each start and five for each stop."""
    hand = Hand()
    deadlines = Deadlines(start=10, stop=5, left_for_stops=1e6)
    plan = make_plan(parts, context=Context, deadlines=deadlines, overrides=overrides)
    hand.engine = Engine(plan, make_context=lambda name: Context(name, hand), **options)  # type: ignore[arg-type]
    return hand.engine


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


async def shielded(seconds: float) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)


@asynccontextmanager
async def group_that_fails(after: float, error: BaseException) -> AsyncIterator[None]:
    async def fail() -> None:
        await anyio.sleep(after)
        raise error

    async with anyio.create_task_group() as group:
        group.start_soon(fail)
        yield


def outcome(backend: str, engine: Engine, body: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint) -> Any:
    """What ``running`` raises around that body, if anything; and the time that it took."""
    found: list[Any] = [None, 0.0]

    async def main() -> None:
        try:
            async with engine.running():
                await body()
        except BaseException as error:
            found[0] = error
        found[1] = anyio.current_time()

    run(backend, main)
    return found[0]


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def told() -> Recorder:
    return Recorder()


# -- order, values ------------------------------------------------------------------------------------------------


def test_the_stop_is_the_reverse_of_the_start(backend: str, told: Recorder) -> None:
    """What is ordered starts in that order, stages after each other, and stops the other way round."""
    engine = make(told.part("c", stage=1), told.part("b", "a"), told.part("a"))
    assert outcome(backend, engine) is None
    assert told == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_what_nothing_orders_starts_at_once(backend: str, told: Recorder) -> None:
    """The start takes as long as its slowest path, not as long as all together."""
    engine = make(told.part("a", start=3), told.part("b", start=2), told.part("c", "b", start=2), emit=told.append)
    assert outcome(backend, engine) is None
    assert [event.took for event in told if isinstance(event, events.Ready)] == [4]


def test_a_plan_of_nothing(backend: str) -> None:
    """An empty plan is ready at once."""
    assert outcome(backend, make()) is None


class Database:
    pass


@dataclass
class Cache:
    database: Database | None
    size: int | None = 7


def test_components_get_what_they_ask_for(backend: str) -> None:
    """A value goes by its type to who needs it; an optional one that nobody provides is None, or the default."""

    @asynccontextmanager
    async def database() -> AsyncIterator[Database]:
        yield Database()

    @asynccontextmanager
    async def cache(
        database: Database, other: Deadlock | None, another: Livelock | None = None
    ) -> AsyncIterator[Cache]:
        assert (other, another) == (None, None)
        yield Cache(database)

    engine = make(contribution("cache", cache), contribution("database", database))
    found: list[Any] = []

    async def main() -> None:
        async with engine.running() as resources:
            found.extend([resources[Cache].database, resources[Database]])

    run(backend, main)
    assert found[0] is found[1]


class CacheSettings(BaseSettings):
    size: int = 3


def test_components_get_their_settings(backend: str, told: Recorder) -> None:
    """Settings are read when the plan is made, and handed over at the start."""

    @asynccontextmanager
    async def cache(settings: CacheSettings) -> AsyncIterator[None]:
        told.append(settings.size)
        yield

    assert outcome(backend, make(contribution("cache", cache))) is None
    assert told == [3]


def test_a_kernel_without_contexts_has_none_to_give(backend: str, told: Recorder) -> None:
    """Without ``make_context``, a component that wants its context gets nothing."""
    plan = make_plan([told.part("a")], context=Context)
    assert outcome(backend, Engine(plan)) is None


def test_an_override_takes_the_place_of_a_component(backend: str, told: Recorder) -> None:
    """What is overridden is handed out and its component isn't started."""

    @asynccontextmanager
    async def database() -> AsyncIterator[Database]:
        told.append("+database")
        yield Database()

    @asynccontextmanager
    async def user(database: Database) -> AsyncIterator[None]:
        told.append(database)
        yield

    fake = Database()
    assert (
        outcome(backend, make(contribution("d", database), contribution("u", user), overrides={Database: fake})) is None
    )
    assert told == [fake]


def test_two_kernels_live_side_by_side(backend: str, told: Recorder) -> None:
    """Two engines in one process, one inside the other, know nothing of each other."""
    first, second = make(told.part("a")), make(told.part("a", stop=raising(Boom("second"))))

    async def main() -> None:
        async with first.running():
            with pytest.raises(StopError):
                async with second.running():
                    pass
            assert first.phase is Phase.READY

    run(backend, main)
    assert told == ["+a", "+a", "-a", "-a"]
    assert (first.phase, second.phase) == (Phase.STOPPED, Phase.FAILED)


# -- starts that fail -----------------------------------------------------------------------------------------------


def test_a_start_error_has_its_cause_and_what_came_on_the_way_down(backend: str, told: Recorder) -> None:
    """The first failure is the cause; what the rollback met stands beside it, in order."""
    cause, second, third = Boom("cause"), Boom("second"), Boom("third")
    engine = make(
        told.part("a", stop=raising(third)),
        told.part("b", "a", stop=raising(second)),
        told.part("c", "b", start=raising(cause)),
    )
    error = outcome(backend, engine)
    assert isinstance(error, StartError)
    assert (error.component, error.__cause__, error.rollback_errors) == ("c", cause, (second, third))
    assert str(error) == "'c' (in code) failed to start: Boom: cause (and 2 more while rolling back)"
    assert (cause.__notes__, second.__notes__) == (["while starting 'c' (in code)"], ["while stopping 'b' (in code)"])


def test_a_start_timeout_still_stops_what_had_started(backend: str, told: Recorder) -> None:
    """The rollback has a clock of its own: a stop may take longer than what was left of the start."""
    engine = make(
        told.part("a", stop=4), told.part("b", "a", start=anyio.sleep_forever, start_timeout=1), emit=told.append
    )
    error = outcome(backend, engine)
    assert isinstance(error.__cause__, DeadlineExceeded)
    assert [event.own for event in told if isinstance(event, events.ComponentStopped)] == [4]


def test_a_start_timeout_says_who_still_waits_and_where(backend: str, told: Recorder) -> None:
    """The report names the laggard with its stack, and everybody else who hasn't started, with what they wait for."""
    engine = make(
        told.part("done"),
        told.part("slow", "done", start=anyio.sleep_forever, start_timeout=2),
        told.part("also", start=5),
        told.part("after", "slow", "done"),
        told.part("later", stage=1),
        emit=told.append,
    )
    error = outcome(backend, engine).__cause__
    assert (error.component, error.phase, error.seconds) == ("slow", "start", 2)
    lines = str(error).splitlines()
    assert lines[0] == "'slow' (in code) didn't start within 2 s; it stood at"
    assert "in component" in lines[1]
    assert lines[2].strip() == "await _do(start)"
    waiting = lines[lines.index("  still waiting:") + 1 :]
    assert waiting[0].startswith("  'also' is starting, at ")
    assert waiting[0].endswith(": await (anyio.sleep(what) if isinstance(what, (int, float)) else what())")
    assert waiting[1:] == ["  'after' waits for 'slow'", "  'later' waits for the stage before its own"]
    overdue = next(event for event in told if isinstance(event, events.ComponentOverdue))
    assert [f"  {line}" for line in overdue.waiting] == waiting


def test_a_start_timeout_lists_only_so_many(backend: str, told: Recorder) -> None:
    """Of hundreds who wait, twenty are named."""
    others = [told.part(f"c{number}", "slow") for number in range(30)]
    error = outcome(backend, make(told.part("slow", start=anyio.sleep_forever), *others)).__cause__
    assert str(error).splitlines()[-1] == "  and 10 more"
    assert str(error).count("waits for 'slow'") == 20


def test_what_hadn_t_begun_never_begins(backend: str, told: Recorder) -> None:
    """After a failure nothing is entered, not even what was set free in the same tick."""
    engine = make(told.part("a", start=1), told.part("b", start=partial(_after, 1, Boom())), told.part("c", "a"))
    assert isinstance(outcome(backend, engine), StartError)
    assert set(told) <= {"+a", "-a"}


async def _after(seconds: float, error: BaseException) -> None:
    await anyio.sleep(seconds)
    raise error


def test_a_factory_that_raises_is_a_start_that_failed(backend: str) -> None:
    """The call that makes the context manager is a part of the start."""
    cause = Boom()

    def factory() -> AbstractAsyncContextManager[None]:
        raise cause

    assert outcome(backend, make(contribution("a", factory))).__cause__ is cause


def test_a_factory_that_makes_something_else(backend: str) -> None:
    """What is no async context manager fails as a start, with Python's own words."""
    error = outcome(backend, make(contribution("a", lambda: 3)))
    assert isinstance(error.__cause__, AttributeError)


def test_entering_needn_t_be_a_coroutine_function(backend: str, told: Recorder) -> None:
    """``__aenter__`` and ``__aexit__`` may return anything that can be awaited, and may raise at once."""

    class Manager:
        def __aenter__(self) -> Awaitable[None]:
            return anyio.sleep(1)

        def __aexit__(self, *exception: object) -> Awaitable[None]:
            raise Boom("at once")

    error = outcome(backend, make(contribution("a", Manager)))
    assert isinstance(error, StopError)
    assert str(error.exceptions[0]) == "at once"


def test_a_component_that_raises_a_cancellation_by_hand(told: Recorder) -> None:
    """Nobody had cancelled it, so it is a fault and not an end in peace."""
    by_hand = asyncio.CancelledError("by hand")
    error = outcome("asyncio", make(told.part("a", start=raising(by_hand))))
    assert isinstance(error, StartError)
    assert str(error.__cause__) == "its task was cancelled from outside the kernel"
    assert error.__cause__.__cause__ is by_hand


def test_a_stop_that_meets_a_cancelled_task(told: Recorder) -> None:
    """Waiting for somebody else's cancelled task is a fault, also where the start had won against its own cancellation."""

    async def meet() -> None:
        raise asyncio.CancelledError

    engine = make(told.part("a", start=partial(_after, 1, Boom())), told.part("b", start=1, stop=meet))
    (error,) = outcome("asyncio", engine).rollback_errors
    assert str(error) == "its task was cancelled from outside the kernel"


def test_one_exception_raised_by_two(backend: str, told: Recorder) -> None:
    """The same instance from two components is reported once, with a note of both."""
    same = Boom()
    engine = make(told.part("a", stop=raising(same)), told.part("b", "a", start=raising(same)))
    error = outcome(backend, engine)
    assert (error.__cause__, error.rollback_errors) == (same, ())
    assert len(same.__notes__) == 2


def test_an_exception_that_takes_no_notes(backend: str, told: Recorder) -> None:
    """Frozen exceptions are reported as they are."""

    @dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    cause = Frozen(3)
    assert outcome(backend, make(told.part("a", start=raising(cause)))).__cause__ is cause


def test_an_exception_that_can_t_say_what_it_is(backend: str, told: Recorder) -> None:
    """One whose ``__str__`` raises is still the cause."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("mute")

    error = outcome(backend, make(told.part("a", start=raising(Mute()))))
    assert str(error) == "'a' (in code) failed to start: Mute: (it can't even say what)"


def test_an_exception_without_words(backend: str, told: Recorder) -> None:
    """Its type says what there is to say."""
    assert str(outcome(backend, make(told.part("a", start=raising(Boom()))))).endswith("failed to start: Boom")


@pytest.mark.parametrize("fatal", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_means_the_process_is_raised_again(backend: str, told: Recorder, fatal: BaseException) -> None:
    """KeyboardInterrupt and SystemExit in a start: roll back, then the very same."""
    assert outcome(backend, make(told.part("a"), told.part("b", "a", start=raising(fatal)))) is fatal
    assert told == ["+a", "-a"]


def test_what_means_the_process_and_errors_beside_it(backend: str, told: Recorder) -> None:
    """With further errors it comes first in a group that no ``except Exception`` catches."""
    fatal, other = SystemExit(3), Boom()
    error = outcome(backend, make(told.part("a", stop=raising(other)), told.part("b", "a", start=raising(fatal))))
    assert not isinstance(error, Exception)
    assert error.exceptions == (fatal, other)


def test_what_means_the_process_on_the_way_down(backend: str, told: Recorder) -> None:
    """A KeyboardInterrupt while rolling back isn't hidden in the start's error."""
    fatal, cause = KeyboardInterrupt(), Boom()
    error = outcome(backend, make(told.part("a", stop=raising(fatal)), told.part("b", "a", start=raising(cause))))
    assert error.exceptions[1] is fatal
    assert (type(error.exceptions[0]), error.exceptions[0].__cause__) == (StartError, cause)


def test_a_group_with_what_means_the_process(backend: str, told: Recorder) -> None:
    """A KeyboardInterrupt in a group counts as one."""
    group = BaseExceptionGroup("both", [KeyboardInterrupt(), Boom()])
    assert outcome(backend, make(told.part("a", start=raising(group)))) is group


# -- asked to stop ----------------------------------------------------------------------------------------------------


def test_stop_cancels_a_start(backend: str, told: Recorder) -> None:
    """Asked to stop while starting, the engine rolls back and says that it was asked."""
    engine = make(told.part("a"), told.part("b", "a", start=lambda: _stop(engine)), told.part("c", "b"))
    error = outcome(backend, engine)
    assert (type(error), str(error)) == (StartCancelled, "asked to stop before everything had started: enough")
    assert told == ["+a", "-a"]
    assert engine.phase is Phase.STOPPED


async def _stop(engine: Engine) -> None:
    engine.stop("enough")
    engine.stop("more than enough")
    await anyio.sleep_forever()


def test_stop_before_the_start(backend: str, told: Recorder) -> None:
    """Asked to stop before it has begun, it starts nothing."""
    engine = make(told.part("a"))
    engine.stop("early")
    assert isinstance(outcome(backend, engine), StartCancelled)
    assert told == []


def test_stop_from_a_callback_of_the_loop(told: Recorder) -> None:
    """A signal handler of the event loop runs in no task, and may ask for a stop."""
    engine = make(told.part("a", start=anyio.sleep_forever))

    async def main() -> None:
        asyncio.get_running_loop().call_later(3, engine.stop, "signal")
        with pytest.raises(StartCancelled):
            async with engine.running():
                pass

    run("asyncio", main)


def test_stop_while_serving_is_up_to_the_body(backend: str, told: Recorder) -> None:
    """The body goes on until it ends by itself."""
    engine = make(told.part("a"))

    async def body() -> None:
        engine.stop("please")
        await anyio.sleep(1)
        told.append("body")

    assert outcome(backend, engine, body) is None
    assert told == ["+a", "body", "-a"]


def test_a_cancel_that_nothing_went_wrong_with(backend: str, told: Recorder) -> None:
    """An outer cancel becomes an ordered stop with all its time, and then goes on outwards."""
    engine = make(told.part("a", stop=3), told.part("b", "a", stop=1))

    async def main() -> None:
        with anyio.move_on_after(2) as scope:
            async with engine.running():
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() == 6

    run(backend, main)
    assert told == ["+a", "+b", "-b", "-a"]


def test_a_cancel_hides_no_error(backend: str, told: Recorder) -> None:
    """What fails while a cancelled run is stopped is raised, to the very last step."""
    engine = make(told.part("a", stop=raising(Boom("late"))))

    async def main() -> None:
        with anyio.move_on_after(2), pytest.raises(StopError, match="'a' failed to stop"):
            async with engine.running():
                await anyio.sleep_forever()
        assert engine.phase is Phase.FAILED

    run(backend, main)


def test_an_interrupt_while_stopping_joins_the_body_s_error(told: Recorder) -> None:
    """Ctrl-C during a stop, after the body has failed: both are raised."""
    cause = Boom("body")

    @trio.lowlevel.enable_ki_protection  # so that the event loop hands it to the main task
    def press_ctrl_c() -> None:
        signal.raise_signal(signal.SIGINT)

    async def interrupt() -> None:
        press_ctrl_c()
        await anyio.sleep(2)
        told.append("stopped all the same")

    error = outcome("trio", make(told.part("a", stop=interrupt)), raising(cause))
    assert [type(each) for each in error.exceptions] == [Boom, KeyboardInterrupt]
    assert told[-1] == "stopped all the same"


def test_a_task_that_is_cancelled_before_its_first_step(told: Recorder) -> None:
    """Nothing in it can see that; the run ends all the same, and says so."""
    engine = make(told.part("a"), told.part("b", "a"))

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
    assert told == ["+a", "-a"]


# -- stops that fail --------------------------------------------------------------------------------------------------


def test_a_stop_goes_on_past_failures(backend: str, told: Recorder) -> None:
    """Every stop runs; the group holds all errors in their order, the body's own first."""
    body, first, second = Boom("body"), Boom("first"), Boom("second")
    engine = make(told.part("a", stop=raising(second)), told.part("b", "a", stop=raising(first)))
    error = outcome(backend, engine, raising(body))
    assert isinstance(error, StopError)
    assert error.exceptions == (body, first, second)
    assert error.message == "'b' and 'a' failed to stop"
    assert isinstance(error.split(Boom)[0], StopError)


def test_one_failed_stop_is_a_group_too(backend: str, told: Recorder) -> None:
    """A `StopError` is always a group, however many errors there are."""
    cause = Boom()
    assert outcome(backend, make(told.part("a", stop=raising(cause)))).exceptions == (cause,)


def test_what_means_the_process_in_a_stop(backend: str, told: Recorder) -> None:
    """SystemExit in a stop is raised as it is; beside others, in a group that no ``except Exception`` catches."""
    fatal, other = SystemExit(1), Boom()
    assert outcome(backend, make(told.part("a", stop=raising(fatal)))) is fatal
    error = outcome(backend, make(told.part("a", stop=raising(fatal)), told.part("b", "a", stop=raising(other))))
    assert (isinstance(error, Exception), error.exceptions) == (False, (other, fatal))


def test_the_body_s_own_error_comes_out_as_it_is(backend: str, told: Recorder) -> None:
    """Where nothing else went wrong, nothing is wrapped."""
    cause = Boom()
    assert outcome(backend, make(told.part("a")), raising(cause)) is cause


def test_a_component_never_sees_a_neighbour_s_exception(backend: str, told: Recorder) -> None:
    """What follows a bare ``yield`` runs, whoever else has failed."""

    @asynccontextmanager
    async def bare() -> AsyncIterator[None]:
        yield
        told.append("after the yield")

    outcome(backend, make(contribution("a", bare), told.part("b", "a", start=raising(Boom()))))
    outcome(backend, make(contribution("a", bare)), raising(Boom()))
    assert told == ["after the yield"] * 2


def test_a_hanging_stop_is_cut_off_and_named(backend: str, told: Recorder) -> None:
    """At its deadline a stop is cancelled; the report says where it stood."""
    engine = make(told.part("a"), told.part("b", "a", stop=anyio.sleep_forever, stop_timeout=2))
    (error,) = outcome(backend, engine).exceptions
    assert (error.component, error.phase, error.seconds) == ("b", "stop", 2)
    assert "await _do(stop)" in error.where
    assert told == ["+a", "+b", "-b", "-a"]


def test_undoing_half_a_start_is_a_stop(backend: str, told: Recorder) -> None:
    """A cancelled start that hangs in its clean-up has the stop's deadline, from when the rollback began."""

    async def stubborn() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await shielded(6)

    engine = make(told.part("a", start=stubborn), told.part("b", start=partial(_after, 1, Boom())))
    (error,) = outcome(backend, engine).rollback_errors
    assert (error.component, error.phase, error.seconds) == ("a", "stop", 5)
    assert str(error).startswith("'a' (in code) didn't clean up after its cancelled start within 5 s")


def test_what_was_set_free_and_never_began_has_no_deadline(backend: str, told: Recorder) -> None:
    """A fault in the tick in which a component was set free leaves it out of everything, also of the clock."""
    engine = make(
        told.part("a", start=1),
        told.part("b", start=partial(_after, 1, Boom())),
        told.part("c", "a", stop_timeout=1),
        told.part("d", stop=4),
    )
    for _ in range(4):
        assert outcome(backend, engine).rollback_errors == ()
        break


# -- what ignores its cancellation ------------------------------------------------------------------------------------


def test_what_ignores_its_cancellation_is_given_up_by_name(backend: str, told: Recorder) -> None:
    """What it depends on no longer waits for it; the run can't end before it does."""
    engine = make(told.part("a"), told.part("b", "a", stop=partial(shielded, 20)), emit=told.append, abandon_after=2)
    error = outcome(backend, engine)
    assert [each.component for each in error.exceptions] == ["b"]
    times = {type(item): item.at for item in told if isinstance(item, events.Event)}
    assert times[events.ComponentAbandoned] == times[events.OnlyAbandonedLeft] - 0 == 7
    assert [item.at for item in told if isinstance(item, events.ComponentStopping)] == [0, 7]
    assert times[events.KernelStopped] == 20
    left = next(item for item in told if isinstance(item, events.OnlyAbandonedLeft))
    assert left.components == ("b",)


def test_what_enters_after_it_was_given_up_still_has_a_deadline(backend: str, told: Recorder) -> None:
    """A start that comes back late is exited, and its stop is timed like any other."""
    engine = make(told.part("a", start=partial(shielded, 20), stop=anyio.sleep_forever), emit=told.append)
    error = outcome(backend, engine)
    assert [each.phase for each in (error.__cause__, *error.rollback_errors)] == ["start", "stop"]
    assert [item.at for item in told if isinstance(item, events.KernelStopped)] == [25]


def test_extending_a_deadline(backend: str, told: Recorder) -> None:
    """A start or stop that makes progress earns time; one that is late already, or serves, earns nothing."""
    contexts: list[Context] = []

    async def slow() -> None:
        for _ in range(4):
            await anyio.sleep(4)
            contexts[0].extend_timeout(5)

    engine = make(told.part("a", start=slow, stop=slow, setup=contexts.append, start_timeout=5, stop_timeout=5))

    async def body() -> None:
        contexts[0].extend_timeout(1)
        await anyio.sleep(100)

    assert outcome(backend, engine, body) is None


# -- crashes ----------------------------------------------------------------------------------------------------------


def test_a_crash_ends_the_body_and_stops_the_rest_in_order(backend: str, told: Recorder) -> None:
    """The body is cancelled in the same tick; the dead one is exited after all that depend on it."""
    cause = Boom()
    engine = make(told.held("a", partial(group_that_fails, 2, cause)), told.part("b", "a", stop=1), emit=told.append)

    async def body() -> None:
        try:
            await anyio.sleep(100)
        finally:
            told.append(anyio.current_time())

    error = outcome(backend, engine, body)
    assert isinstance(error, CrashError)
    assert error.component == "a"
    assert error.__cause__.exceptions == (cause,)
    assert str(error) == f"'a' (in code) died while serving: ExceptionGroup: {error.__cause__}"
    assert [item for item in told if not isinstance(item, events.Event)] == ["+a", "+b", 2, "-b", "-a"]


def test_nothing_is_stopped_under_the_body(backend: str, told: Recorder) -> None:
    """While a cancelled body cleans up, everything that it may need is still there."""
    engine = make(told.held("a", partial(group_that_fails, 2, Boom())), told.part("b"))

    async def body() -> None:
        try:
            await anyio.sleep(100)
        finally:
            await shielded(3)
            told.append("body")

    assert isinstance(outcome(backend, engine, body), CrashError)
    assert told[2] == "body"


def test_a_crash_while_another_starts(backend: str, told: Recorder) -> None:
    """The crash is reported, not the cancellation of what was starting."""
    cause = Boom()
    engine = make(told.held("a", partial(group_that_fails, 2, cause)), told.part("b", start=9))
    error = outcome(backend, engine)
    assert (type(error), error.component, error.stop_errors) == (CrashError, "a", ())


def test_what_fails_after_a_crash_stands_beside_it(backend: str, told: Recorder) -> None:
    """The crash is the cause, whatever else goes wrong while the rest is stopped."""
    second = Boom("second")
    engine = make(
        told.held("a", partial(group_that_fails, 2, Boom("first"))), told.part("b", "a", stop=raising(second))
    )
    error = outcome(backend, engine, anyio.sleep_forever)
    assert error.stop_errors == (second,)
    assert str(error).endswith("(and 1 more while stopping)")


def test_two_crashes_in_one_tick(backend: str, told: Recorder) -> None:
    """Both are reported, the first that was noticed as the cause."""
    engine = make(*[told.held(name, partial(group_that_fails, 2, Boom(name))) for name in ("a", "b")])
    error = outcome(backend, engine, anyio.sleep_forever)
    causes = [str(each.exceptions[0]) for each in (error.__cause__, *error.stop_errors)]
    assert sorted(causes) == ["a", "b"]
    assert error.component == causes[0]


def test_a_component_that_ends_by_itself(backend: str, told: Recorder) -> None:
    """A scope of its own that runs out is a crash without an error."""
    error = outcome(backend, make(told.held("a", lambda: _Timed(anyio.move_on_after(2)))), anyio.sleep_forever)
    assert str(error) == "'a' (in code) died while serving: it ended by itself"
    assert error.__cause__ is None


class _Timed:
    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    async def __aenter__(self) -> None:
        self._scope.__enter__()

    async def __aexit__(self, *exception: object) -> bool | None:
        return self._scope.__exit__(*exception)


def test_a_component_that_may_only_degrade(backend: str, told: Recorder) -> None:
    """The body goes on, the engine remembers, and the crash is reported at the end."""
    engine = make(told.held("a", partial(group_that_fails, 2, Boom()), on_crash="degrade"))

    async def body() -> None:
        await anyio.sleep(5)
        told.append(engine.degraded_by)

    assert isinstance(outcome(backend, engine, body), CrashError)
    assert told == ["+a", {"a"}, "-a"]


def test_a_host_that_somebody_else_cancels(told: Recorder) -> None:
    """A native ``cancel()`` of a component's task is its crash, and its exit sees it."""
    engine = make(told.part("a"))

    async def main() -> None:
        with pytest.raises(CrashError, match="cancelled from outside the kernel"):
            async with engine.running():
                next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a").cancel()
                await anyio.sleep_forever()

    run("asyncio", main)
    assert told == ["+a", "-a"]


def test_a_listener_that_raises_is_a_fault_and_no_deadlock(backend: str, told: Recorder) -> None:
    """Nothing escapes from one component's task into the others."""
    cause = Boom()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.ComponentStarting) and event.component == "b":
            raise cause

    error = outcome(backend, make(told.part("a"), told.part("b", "a"), emit=listen))
    assert error.__cause__ is cause
    assert told == ["+a", "-a"]


# -- background services ----------------------------------------------------------------------------------------------


def supervised(service: Callable[[], Awaitable[object]], **restart: Any) -> Callable[[Context], None]:
    def setup(context: Context) -> None:
        context.supervise(service, name="service", restart=Restart(**{"jitter": 0, **restart}))

    return setup


def test_a_service_runs_while_its_component_does(backend: str, told: Recorder) -> None:
    """It begins once the component has started, sees its variables, and is over before the component stops."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def service() -> None:
        told.append(variable.get())
        try:
            await anyio.sleep_forever()
        finally:
            await shielded(1)
            told.append("served")

    def setup(context: Context) -> None:
        variable.set("a's own")
        supervised(service)(context)

    assert outcome(backend, make(told.part("a", setup=setup)), partial(anyio.sleep, 1)) is None
    assert told == ["+a", "a's own", "served", "-a"]


def test_a_service_is_restarted_with_backoff_until_it_is_given_up(backend: str, told: Recorder) -> None:
    """Each pause is twice the one before; one restart too many and the plan stops, with the last error as the cause."""
    errors: list[Boom] = []

    async def service() -> None:
        told.append(anyio.current_time())
        errors.append(Boom(str(len(errors))))
        raise errors[-1]

    engine = make(told.part("a", setup=supervised(service, intensity=3, initial_delay=1)))
    error = outcome(backend, engine, anyio.sleep_forever)
    assert told == ["+a", 0, 1, 3, 7, "-a"]
    assert error.__cause__ is errors[-1]
    assert errors[-1].__notes__ == ["in the background service 'service'", "while serving 'a' (in code)"]


def test_a_service_that_may_only_degrade(backend: str, told: Recorder) -> None:
    """Given up, it costs the readiness and not the body."""
    engine = make(told.part("a", setup=supervised(raising(Boom()), intensity=0, when_exhausted="degrade")))

    async def body() -> None:
        await anyio.sleep(5)
        told.append(engine.degraded_by)

    assert isinstance(outcome(backend, engine, body), CrashError)
    assert told == ["+a", {"a"}, "-a"]


def test_a_service_that_has_done_its_work(backend: str, told: Recorder) -> None:
    """One that returns is over, unless it is meant to run always."""
    once = make(told.part("a", setup=supervised(anyio.lowlevel.checkpoint)), emit=told.append)
    assert outcome(backend, once, partial(anyio.sleep, 5)) is None
    assert events.ServiceEnded in told.kinds
    always = make(told.part("a", setup=supervised(anyio.lowlevel.checkpoint, when="always", intensity=1)))
    assert str(outcome(backend, always, anyio.sleep_forever)).endswith("it ended by itself")


def test_a_service_that_may_fail(backend: str, told: Recorder) -> None:
    """``never`` tells of the failure and goes on without; a SystemExit means the process all the same."""
    cause, fatal = Boom(), SystemExit(2)
    engine = make(told.part("a", setup=supervised(raising(cause), when="never")), emit=told.append)
    assert outcome(backend, engine, partial(anyio.sleep, 5)) is None
    assert [item.error for item in told if isinstance(item, events.ServiceEnded)] == [cause]
    engine = make(told.part("a", setup=supervised(raising(fatal), when="never", when_exhausted="degrade")))
    assert outcome(backend, engine, anyio.sleep_forever) is fatal


def test_a_service_that_fails_in_its_clean_up(backend: str, told: Recorder) -> None:
    """What it raises while it is ended is a failure of the stop, and doesn't keep the component from its exit."""
    cause = Boom()

    async def service() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise cause

    engine = make(told.part("a", setup=supervised(service)))
    assert outcome(backend, engine, partial(anyio.sleep, 1)).exceptions == (cause,)
    assert told == ["+a", "-a"]


def test_a_service_that_ignores_its_cancellation(backend: str, told: Recorder) -> None:
    """At the stop's deadline the component gets its exit all the same, and is given up if the service goes on."""

    async def service() -> None:
        await shielded(30)

    engine = make(told.part("a"), told.part("b", "a", setup=supervised(service)), emit=told.append)
    error = outcome(backend, engine, partial(anyio.sleep, 1))
    assert [each.component for each in error.exceptions] == ["b"]
    abandoned = next(item for item in told if isinstance(item, events.ComponentAbandoned))
    assert (abandoned.component, abandoned.at) == ("b", 8)
    assert [item.at for item in told if isinstance(item, events.KernelStopped)] == [30]


def test_the_services_of_a_crashed_component_are_ended_too(backend: str, told: Recorder) -> None:
    """Its own cancelled scope doesn't cut its exit off."""

    @asynccontextmanager
    async def component(context: Context) -> AsyncIterator[None]:
        supervised(anyio.sleep_forever)(context)
        try:
            async with group_that_fails(2, Boom()):
                yield
        finally:
            told.append("exited")

    error = outcome(backend, make(contribution("a", component)), anyio.sleep_forever)
    assert isinstance(error.__cause__, ExceptionGroup)
    assert told == ["exited"]


def test_a_service_of_a_component_that_entered_late(backend: str, told: Recorder) -> None:
    """One that never ran isn't waited for."""

    async def late() -> None:
        with anyio.move_on_after(20):
            try:
                await anyio.sleep(5)
            except anyio.get_cancelled_exc_class():
                told.append("ignored")

    engine = make(
        told.part("a", start=late, setup=supervised(anyio.sleep_forever)),
        told.part("b", start=partial(_after, 1, Boom())),
    )
    assert outcome(backend, engine).rollback_errors == ()
    assert told == ["ignored", "+a", "-a"]


def test_a_service_that_is_supervised_while_serving(backend: str, told: Recorder) -> None:
    """It begins at once; the same name twice, or one that comes too late, is refused."""
    contexts: list[Context] = []

    async def service() -> None:
        told.append("service")
        await anyio.sleep_forever()

    async def late() -> None:
        with pytest.raises(ValueError, match=r"^service: .* is stopping, too late for 'other'"):
            contexts[0].supervise(service, name="other")

    async def body() -> None:
        contexts[0].supervise(service)
        with pytest.raises(ValueError, match=r"^name: component 'a' has a service 'service' already"):
            contexts[0].supervise(service)
        await anyio.sleep(1)

    assert outcome(backend, make(told.part("a", setup=contexts.append, stop=late)), body) is None
    assert told == ["+a", "service", "-a"]


def test_a_service_that_begins_as_its_component_stops(backend: str, told: Recorder) -> None:
    """One that is asked for in the body's last step never runs, and isn't waited for."""
    contexts: list[Context] = []

    async def service() -> None:
        await anyio.sleep_forever()

    async def body() -> None:
        contexts[0].supervise(service)

    assert outcome(backend, make(told.part("a", setup=contexts.append)), body) is None


def test_a_service_whose_pause_somebody_cancels(told: Recorder) -> None:
    """A native ``cancel()`` between two runs gives the service up, and is told."""
    engine = make(told.part("a", setup=supervised(raising(Boom()), initial_delay=5)))

    async def main() -> None:
        with pytest.raises(CrashError, match="cancelled from outside the kernel"):
            async with engine.running():
                await anyio.sleep(1)
                next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a/service").cancel()
                await anyio.sleep_forever()

    run("asyncio", main)


def test_a_service_that_somebody_cancels_just_as_it_is_ended(told: Recorder) -> None:
    """Both at once are no fault."""

    def listen(event: events.Event) -> None:
        if isinstance(event, events.ComponentStopping):
            next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a/service").cancel()

    setup = supervised(raising(Boom()), initial_delay=5)
    assert outcome("asyncio", make(told.part("a", setup=setup), emit=listen), partial(anyio.sleep, 1)) is None


def test_a_service_that_somebody_cancels_is_restarted(told: Recorder) -> None:
    """A native ``cancel()`` of a running service is a failure like any other."""
    runs: list[int] = []

    async def service() -> None:
        runs.append(len(runs))
        await anyio.sleep_forever()

    async def main() -> None:
        async with make(told.part("a", setup=supervised(service))).running():
            await anyio.sleep(1)
            next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a/service").cancel()
            await anyio.sleep(1)

    run("asyncio", main)
    assert runs == [0, 1]


# -- size ---------------------------------------------------------------------------------------------------------------


@pytest.mark.law("I9")
def test_cycles_leak_nothing(backend: str) -> None:
    """A hundred starts and stops of twenty components leave as many objects as there were."""
    parts = tuple(Part(name, stage=place // 5, shape="group") for place, name in enumerate("abcdefghijklmnopqrst"))
    case = Case(parts, "returns", backend=backend)

    def cycle(times: int) -> int:
        for _ in range(times):
            assert play(case).raised is None
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
        contribution(f"c{number}", component, requires=tuple({f"c{number // 2}", f"c{number // 3}"} if number else ()))
        for number in range(1, 2001)
    ]
    parts.append(contribution("c0", component))
    assert outcome(backend, make(*parts)) is None
