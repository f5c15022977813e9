"""Tasks bound to the resources of running components."""

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Generic, TypeVar

import anyio
import pytest
from taskiq import Context, TaskiqDepends, TaskiqMessage, TaskiqState
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq import TaskIQSettings, task
from bandmaster.contrib.taskiq.worker.bound_tasks import bind_tasks
from bandmaster.kernel import Named, PlanError, Resources, Scoped
from bandmaster.kernel.contributions.keys import Key

pytestmark = pytest.mark.anyio
T = TypeVar("T")


class Database:
    def __init__(self, url):
        self.url = url


class Cache:
    """A class that TaskIQ could make itself."""


class Session:
    def __init__(self, url):
        self.url = url


class Repository(Generic[T]):
    def __init__(self, kind):
        self.kind = kind


MAIN, REPLICA, CACHE = Database("main"), Database("replica"), Cache()
ORDERS = Repository("orders")


class Sessions:
    """Scoped sessions that record when they are opened and closed."""

    def __init__(self, *names):
        self.facts = []
        self.names = names or ("session",)

    def scoped(self, name):
        @asynccontextmanager
        async def opened():
            self.facts.append(f"open {name}")
            try:
                yield Session(name)
            except BaseException as error:
                self.facts.append(f"{name} saw {type(error).__name__}")
                raise
            finally:
                self.facts.append(f"close {name}")

        return Scoped(opened)


def _resources(more=None):
    return Resources(
        {
            Key(Database): MAIN,
            Key(Database, "replica"): REPLICA,
            Key(Cache): CACHE,
            Key(Repository[str]): ORDERS,
            **(more or {}),
        }
    )


def _bind(function, resources=None, **settings):
    found = _resources() if resources is None else resources
    known = (Context, TaskiqState, TaskiqMessage)
    return bind_tasks([task(name="t")(function)], found, TaskIQSettings(**settings), run_types=known)["t"]


async def _run(bound, known=None, *args):
    async with bound.open_dependencies(known or {}) as given:
        result = bound.task.function(*args, **given)
        return await result if bound.is_async else result


@pytest.mark.requirement("worker")
async def test_resources_are_found_by_type():
    """A parameter gets a resource by type, marked by a default or an annotation."""

    async def function(
        one: int,
        database: Database = TaskiqDepends(),
        *,
        cache: Annotated[Cache, TaskiqDepends()],
        orders: Repository[str] = TaskiqDepends(),
        everything: Resources = TaskiqDepends(),
    ):
        return one, database, cache, orders, everything[Database, "replica"]

    assert (1, MAIN, CACHE, ORDERS, REPLICA) == await _run(_bind(function), {}, 1)


async def test_named_resources():
    """A name chooses among several resources of a type."""

    async def function(
        replica: Annotated[Database, Named("replica")] = TaskiqDepends(),
        database: Database = TaskiqDepends(),
        other: Annotated[Database, Named("replica"), TaskiqDepends()] = None,
        last: Annotated[Database, Named("main"), Named("replica")] = TaskiqDepends(),
    ):
        return database, replica, other, last

    assert (MAIN, REPLICA, REPLICA, REPLICA) == await _run(_bind(function))


async def test_a_task_without_dependencies():
    """A task without dependencies has no graph."""

    def function(one: int): ...

    bound = _bind(function)
    assert None is bound.graph
    async with bound.open_dependencies({}) as given:
        assert {} == given


@pytest.mark.parametrize("cached", [True, False])
async def test_a_resource_is_never_made_again(cached):
    """TaskIQ doesn't make a provided class, cached or not."""

    def part(cache: Cache = TaskiqDepends(), database: Database = TaskiqDepends(use_cache=cached)):
        return cache, database

    async def function(
        cache: Cache = TaskiqDepends(use_cache=cached), made: tuple = TaskiqDepends(part, use_cache=cached)
    ):
        return cache, *made

    assert (CACHE, CACHE, MAIN) == await _run(_bind(function))


async def test_sync_tasks_get_resources():
    """Sync tasks get shared and scoped resources."""

    def function(database: Database = TaskiqDepends(), session: Session = TaskiqDepends()):
        return database.url, session.url

    bound = _bind(function, _resources({Key(Scoped[Session]): Sessions().scoped("session")}))
    assert (False, ("main", "session")) == (bound.is_async, await _run(bound))


def _decorated(kind):
    def sync(): ...
    async def asynchronous(): ...

    class Callable:
        async def __call__(self): ...

    class Plain:
        def __call__(self): ...

    def passes_on(function):
        return functools.wraps(function)(lambda: function())

    def makes_async(function):
        @functools.wraps(function)
        async def inner(): ...

        return inner

    return {
        "sync": sync,
        "async": asynchronous,
        "partial": functools.partial(asynchronous),
        "object": Callable(),
        "plain object": Plain(),
        "method": Callable().__call__,
        "passed on": passes_on(asynchronous),
        "made async": makes_async(sync),
        "sync all through": passes_on(sync),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sync", False),
        ("async", True),
        ("partial", True),
        ("object", True),
        ("plain object", False),
        ("method", True),
        ("passed on", True),
        ("made async", True),
        ("sync all through", False),
    ],
)
def test_async_functions_are_recognised(kind, expected):
    """A function is async if its wrapper or the wrapped function is."""
    assert expected is _bind(_decorated(kind)).is_async


def test_options_come_before_settings():
    """A task's own timeout and attempts take precedence over the settings."""
    resources = Resources()
    made = [task(name="a", timeout=1, attempts=2)(print), task(name="b")(repr)]
    bound = bind_tasks(made, resources, TaskIQSettings(timeout=9, attempts=7))
    assert {"a": (1.0, 2), "b": (9.0, 7)} == {
        name: (each.timeout, each.policy.attempts) for name, each in bound.items()
    }


async def test_a_scoped_resource_is_opened_once_per_run():
    """A scoped resource is opened once per run, and only if a task depends on it."""
    sessions = Sessions()
    resources = _resources({Key(Scoped[Session]): sessions.scoped("a"), Key(Scoped[int]): sessions.scoped("unused")})

    def part(session: Session = TaskiqDepends()):
        return session

    async def function(
        session: Session = TaskiqDepends(),
        same: Session = TaskiqDepends(part),
        anew: Session = TaskiqDepends(part, use_cache=False),
    ):
        sessions.facts.append("run")
        return {session, same, anew}

    bound = _bind(function, resources)
    first, second = await _run(bound), await _run(bound)
    assert (1, 1, 2) == (len(first), len(second), len(first | second))
    assert ["open a", "run", "close a"] * 2 == sessions.facts


async def test_scoped_resources_are_closed_in_reverse():
    """Scoped resources and TaskIQ's dependencies are closed in reverse order."""
    sessions = Sessions()
    resources = _resources(
        {Key(Scoped[Session]): sessions.scoped("a"), Key(Scoped[Session], "other"): sessions.scoped("b")}
    )

    async def part(session: Session = TaskiqDepends()):
        sessions.facts.append("open part")
        yield session
        sessions.facts.append("close part")

    async def function(
        made: Session = TaskiqDepends(part),
        other: Annotated[Session, Named("other")] = TaskiqDepends(),
        session: Session = TaskiqDepends(),
    ):
        return made is session, session.url, other.url

    assert (True, "a", "b") == await _run(_bind(function, resources))
    assert ["open a", "open b", "open part", "close part", "close b", "close a"] == sessions.facts


async def test_a_scoped_resource_sees_the_tasks_error():
    """A scoped resource sees the task's error, so that a transaction is rolled back."""
    sessions = Sessions()

    async def function(session: Session = TaskiqDepends()):
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await _run(_bind(function, _resources({Key(Scoped[Session]): sessions.scoped("a")})))
    assert ["open a", "a saw OSError", "close a"] == sessions.facts


async def test_opened_resources_are_closed_when_another_fails_to_open():
    """A resource that is open is closed when a later dependency fails."""
    sessions = Sessions()

    def broken():
        raise OSError("no disk")

    async def function(session: Session = TaskiqDepends(), other: int = TaskiqDepends(broken)): ...

    with pytest.raises(OSError, match="no disk"):
        await _run(_bind(function, _resources({Key(Scoped[Session]): sessions.scoped("a")})))
    assert ["open a", "a saw OSError", "close a"] == sessions.facts


async def test_a_task_may_open_a_scope_itself():
    """A task that depends on the scope can open several resources."""
    sessions = Sessions()

    async def function(scope: Scoped[Session] = TaskiqDepends()):
        for _ in range(2):
            async with scope.open():
                sessions.facts.append("run")

    await _run(_bind(function, _resources({Key(Scoped[Session]): sessions.scoped("a")})))
    assert ["open a", "run", "close a"] * 2 == sessions.facts


async def test_scoped_resources_take_precedence():
    """A scoped resource takes precedence over a shared one of the type, in any order."""
    scoped = {Key(Scoped[Session]): Sessions().scoped("of this task")}
    shared = {Key(Session): Session("of all")}

    async def function(session: Session = TaskiqDepends()):
        return session.url

    for order in ({**scoped, **shared}, {**shared, **scoped}):
        assert "of this task" == await _run(_bind(function, Resources(order)))


async def test_taskiqs_own_dependencies_work():
    """Functions, classes and generators work as dependencies, and depend on resources."""
    facts = []

    def plain(database: Database = TaskiqDepends()):
        return database.url

    async def asynchronous(url: str = TaskiqDepends(plain)):
        return f"async {url}"

    def generator(replica: Annotated[Database, Named("replica")] = TaskiqDepends()) -> Iterator[str]:
        yield replica.url
        facts.append("generator closed")

    async def async_generator(url: str = TaskiqDepends(generator)) -> AsyncIterator[str]:
        yield f"async {url}"
        facts.append("async generator closed")

    class Service:
        def __init__(self, cache: Cache = TaskiqDepends(), url: str = TaskiqDepends(plain)):
            self.cache, self.url = cache, url

    class Multiplier:
        def __init__(self, factor=2):
            self.factor = factor

        def __call__(self, url: str = TaskiqDepends(plain)):
            return url * self.factor

    def sized(url: str = TaskiqDepends(plain), size=1):
        return url[:size]

    async def function(
        one: str = TaskiqDepends(asynchronous),
        two: str = TaskiqDepends(async_generator),
        service: Service = TaskiqDepends(),
        three: str = TaskiqDepends(Multiplier()),
        four: str = TaskiqDepends(sized, kwargs={"size": 2}),
    ):
        facts.append("run")
        return one, two, (service.cache, service.url), three, four

    assert ("async main", "async replica", (CACHE, "main"), "mainmain", "ma") == await _run(_bind(function))
    assert ["run", "async generator closed", "generator closed"] == facts


async def test_generators_see_the_tasks_error():
    """A generator sees the task's error, as TaskIQ documents."""
    facts = []

    async def part():
        try:
            yield 1
        except OSError as error:
            facts.append(str(error))
            raise

    async def function(one: int = TaskiqDepends(part)):
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await _run(_bind(function))
    assert ["no disk"] == facts


async def test_a_dependency_that_fails_to_close(logs):
    """A closing dependency's error fails a successful run, and is logged after a failed one; the others are closed."""
    facts = []

    async def first():
        try:
            yield 1
        except BaseException as error:
            facts.append(f"first saw {error}")
            raise
        else:
            facts.append("first ended")

    def second(one: int = TaskiqDepends(first)):
        try:
            yield 2
        finally:
            raise OSError("no commit")

    async def succeeds(two: int = TaskiqDepends(second)):
        return two

    async def fails(two: int = TaskiqDepends(second)):
        raise ValueError("no seat")

    with pytest.raises(OSError, match="no commit"):
        await _run(_bind(succeeds))
    with pytest.raises(ValueError, match="no seat"):
        await _run(_bind(fails))
    assert ["first saw no commit", "first saw no seat"] == facts
    told = {"event": "a dependency failed to close", "error": "OSError: no commit", "log_level": "warning"}
    assert [told] == logs


async def test_dependencies_close_before_their_own_dependencies():
    """Cached or not, a dependency closes before its own dependencies."""
    facts = []

    def ended(name):
        @asynccontextmanager
        async def held():
            try:
                yield name
            finally:
                facts.append(name)

        return held()

    async def inner():
        async with ended("inner"):
            yield "inner"

    @asynccontextmanager
    async def middle(it: str = TaskiqDepends(inner, use_cache=False)):
        async with ended("middle"):
            yield it

    async def outer(it: str = TaskiqDepends(middle, use_cache=False)):
        async with ended("outer"):
            yield it

    async def function(it: str = TaskiqDepends(outer), also: str = TaskiqDepends(inner)):
        facts.append("run")

    await _run(_bind(function))
    assert ["run", "outer", "middle", "inner", "inner"] == facts


async def test_a_cancellation_while_dependencies_close_is_raised():
    """A cancellation is raised, though the run had failed before."""

    async def part():
        try:
            yield 1
        finally:
            await anyio.sleep_forever()

    async def function(one: int = TaskiqDepends(part)):
        raise ValueError("no seat")

    running = asyncio.create_task(_run(_bind(function)))
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_values_of_a_run():
    """A run's own values, such as TaskIQ's context, are found by type."""

    def part(context: Context = TaskiqDepends()):
        return context

    async def function(
        context: Context = TaskiqDepends(),
        same: Context = TaskiqDepends(part),
        anew: Context = TaskiqDepends(part, use_cache=False),
    ):
        return [context, same, anew]

    assert ["this run's"] * 3 == await _run(_bind(function), {Context: "this run's"})


async def test_concurrent_runs_share_no_values():
    """Interleaved runs keep their values and scoped resources apart."""
    sessions, wrong = Sessions(), []

    async def part(context: Context = TaskiqDepends()):
        await asyncio.sleep(0)
        yield context

    async def function(
        number: int, before: Session = TaskiqDepends(), made=TaskiqDepends(part), context: Context = TaskiqDepends()
    ):
        seen.append(before)
        await asyncio.sleep(0)
        wrong.extend([number] if {made, context} != {number} else [])

    seen = []
    bound = _bind(function, _resources({Key(Scoped[Session]): sessions.scoped("a")}))
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(_run(bound, {Context: number}, number) for number in range(50)))
    assert ([], 50) == (wrong, len(set(seen)))


def test_all_missing_dependencies_are_reported_at_once():
    """The report names each task and parameter, and the names that are provided."""

    def part(session: Session = TaskiqDepends(use_cache=False)):
        return session

    @task(name="one")
    async def one(
        database: Annotated[Database, Named("primary")] = TaskiqDepends(),
        cache: Annotated[Cache, Named("other")] = TaskiqDepends(),
    ): ...

    @task(name="two")
    async def two(made: Session = TaskiqDepends(part), text: "Repository[int]" = TaskiqDepends()): ...

    @task(name="three")
    async def three(thing: Session): ...

    with pytest.raises(PlanError) as caught:
        bind_tasks([one, two, three], _resources(), TaskIQSettings())
    problems = [problem.message for problem in caught.value.problems]
    assert ["one", "one", "two", "two", "three"] == [problem.subject for problem in caught.value.problems]
    assert (
        "task 'one': 'database' asks for a Database named 'primary', which nothing provides; there is one named "
        "'replica': Annotated[..., Named(...)]."
    ) == problems[0]
    assert "task 'one': 'cache' asks for a Cache named 'other', which nothing provides." == problems[1]
    assert any(
        "'session' asks for a Session, which nothing provides, and which can't be made without 'url'; install or "
        "contribute what provides it" in problem
        for problem in problems
    )
    assert any("'text' asks for a " in problem and "without 'kind'" in problem for problem in problems)
    assert "'thing' is a Session, which no message can contain" in problems[4]


def test_a_named_resource_is_no_unnamed_one():
    """TaskIQ doesn't make an unnamed instance where only named ones are provided."""

    async def function(cache: Cache = TaskiqDepends()): ...

    with pytest.raises(PlanError, match=r"asks for a Cache, which nothing provides; there is one named 'a', 'b'"):
        _bind(function, Resources({Key(Cache, "b"): CACHE, Key(Cache, "a"): CACHE}))


async def test_taskiq_makes_classes_that_nothing_provides():
    """TaskIQ makes a class if every argument has a default or is a dependency."""

    class Settings:
        def __init__(self, *args, size=3, cache: Annotated[Cache, TaskiqDepends()], **kwargs):
            self.size = size

    async def function(settings: Settings = TaskiqDepends(), own: Cache = TaskiqDepends()):
        return settings.size, type(own)

    assert (3, Cache) == await _run(_bind(function, Resources()))


@pytest.mark.parametrize("hint", [int | None, "Nowhere", "broken("])
@pytest.mark.filterwarnings("ignore:Cannot resolve type hints:RuntimeWarning")
def test_an_unreadable_signature_is_reported(hint):
    """The report names the task."""

    async def function(one=TaskiqDepends()): ...

    function.__annotations__["one"] = hint
    with pytest.raises(PlanError, match="task 't': "):
        _bind(function)


def test_a_class_without_a_readable_constructor():
    """Such a class is left to TaskIQ."""

    class Odd:
        __signature__ = "nothing of the kind"

    async def function(odd: Odd = TaskiqDepends()): ...

    assert None is not _bind(function).graph


async def test_collections():
    """A task gets every resource of a type, also where there is none; one of several has to be named."""

    async def function(
        caches: Sequence[Cache] = TaskiqDepends(),
        *,
        by_name: Annotated[Mapping[str, Cache], TaskiqDepends()],
        nothing: Sequence[Context] = TaskiqDepends(),
    ):
        return caches, by_name, nothing

    several = Resources(
        members={Cache: [("a", CACHE), ("b", MAIN)]}, several={Key(Cache): ("a", "b")}, values={Key(Cache, "a"): CACHE}
    )
    assert ((CACHE, MAIN), {"a": CACHE, "b": MAIN}, ()) == await _run(_bind(function, several))

    async def one(cache: Cache = TaskiqDepends()): ...

    with pytest.raises(PlanError) as caught:
        _bind(one, several)
    assert (
        "task 't': 'cache' asks for a Cache, which 'a' and 'b' provide; ask for all by Sequence[Cache], or for one by "
        "its name."
    ) == str(caught.value.problems[0])
