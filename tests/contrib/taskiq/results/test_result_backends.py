"""Results and progress, in Redis and in memory alike."""

import math
import types
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from taskiq import Context, InMemoryBroker, TaskiqDepends, TaskiqResult
from taskiq.depends.progress_tracker import ProgressTracker, TaskProgress, TaskState
from taskiq.exceptions import ResultGetError
from taskiq.task import AsyncTaskiqTask
from tests.contrib.taskiq.results.helpers import catch_error, make_result
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.errors import ResultMissingError
from bandmaster.contrib.taskiq.results.result_backends import MemoryResults, RedisResults
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["redis", "memory"])
def results(request, client):
    if request.param == "memory":
        return MemoryResults(60)
    return RedisResults(client, f"{uuid4().hex}:", 60)


async def test_a_result_comes_back(results) -> None:
    """A stored result is read with its value, time and labels; before, none is ready."""
    with anyio.fail_after(PATIENCE):
        assert not await results.is_result_ready("t")
        await results.set_result("t", make_result({"a": [1, None, "ü"]}, queue="q", tries=3, rest=b"x", odd=math.inf))
        assert await results.is_result_ready("t")
        result = await results.get_result("t")
    assert {"a": [1, None, "ü"]} == result.return_value
    assert (False, 0.5, None) == (result.is_err, result.execution_time, result.error)
    assert {"queue": "q", "tries": 3, "rest": "b'x'", "odd": "inf"} == result.labels


async def test_a_missing_result(results) -> None:
    """A missing result raises an error with the possible reasons."""
    with pytest.raises(ResultMissingError, match=r"'t'.*isn't done yet.*60 s ago"):
        await results.get_result("t")


async def test_values_of_other_types(results) -> None:
    """Models, dataclasses, sets and times become values of JSON."""

    class Order(BaseModel):
        id: int

    @dataclass
    class Line:
        at: datetime

    await results.set_result("t", make_result([Order(id=1), Line(datetime(2024, 1, 1, tzinfo=UTC)), {7}, (1, 2)]))
    assert [{"id": 1}, {"at": "2024-01-01T00:00:00Z"}, [7], [1, 2]] == (await results.get_result("t")).return_value


def _circle():
    circle = []
    circle.append(circle)
    return circle


def _deep():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (object(), "object"),
        (math.nan, "float"),
        (b"\xff", "bytes"),
        ({"deep": [math.inf]}, "dict"),
        (types.SimpleNamespace(a=1), "types.SimpleNamespace"),
        (_circle(), "list"),
        (_deep(), "list"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_value_that_json_cannot_express(results, value, type_name) -> None:
    """Such a value is refused with the type and a hint, and nothing is stored."""
    with pytest.raises(PermanentError) as caught:
        await results.set_result("t", make_result(value))
    assert f"the task 't' returned a value of the type {type_name}, which JSON can't express" in str(caught.value)
    assert "return text, numbers" in str(caught.value)
    assert not await results.is_result_ready("t")
    with pytest.raises(PermanentError, match="progress with a meta of the type"):
        await results.set_progress("t", TaskProgress(state="S", meta=value))


@given(JSON, st.dictionaries(st.text(), st.text() | st.integers(), max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_redis_and_memory_agree(redis_url, value, labels) -> None:
    """Both backends return every stored value and label unchanged."""
    async with open_client(RedisSettings(url=redis_url), "results") as client:
        found = []
        for results in (RedisResults(client, "same:", 60), MemoryResults(60)):
            await results.set_result("t", make_result(value, ValueError("x", value), **labels))
            await results.set_progress("t", TaskProgress(state=TaskState.STARTED, meta=value))
            result, progress = await results.get_result("t"), await results.get_progress("t")
            found.append((result.model_dump(), repr(result.error), progress.model_dump()))
    assert found[0][1:] == found[1][1:]
    assert {**found[0][0], "error": None} == {**found[1][0], "error": None}
    assert (value, labels) == (found[0][0]["return_value"], found[0][0]["labels"])


async def test_every_key_expires(client) -> None:
    """The keys of results and progress in Redis expire."""
    prefix = f"{uuid4().hex}:"
    results = RedisResults(client, prefix, 0.9)
    await results.set_result("t", make_result(1))
    await results.set_progress("t", TaskProgress(state="half", meta=None))
    keys = [f"{prefix}progress:t".encode(), f"{prefix}result:t".encode()]
    assert keys == sorted([key async for key in client.scan_iter(f"{prefix}*")])
    assert all([0 < await client.pttl(key) <= 900 for key in keys])
    await client.pexpire(keys[0], 100)
    await results.set_progress("t", TaskProgress(state="half", meta=None))
    assert await client.pttl(keys[0]) > 100


async def test_results_in_memory_expire() -> None:
    """Results and progress in memory expire and take no memory any more."""
    clock = Clock()
    results = MemoryResults(10, clock=clock)
    await results.set_result("t", make_result(1))
    await results.set_progress("t", TaskProgress(state="a", meta=1))
    clock.now = 9
    assert await results.is_result_ready("t")
    await results.set_progress("t", TaskProgress(state="b", meta=2))
    clock.now = 10
    assert not await results.is_result_ready("t")
    assert 2 == (await results.get_progress("t")).meta
    clock.now = 19
    assert await results.get_progress("t") is None
    await results.set_result("u", make_result(1))
    assert ["u"] == list(results._stored["result"])


async def test_memory_is_bounded() -> None:
    """Above the limit the oldest results are removed; a rewritten one is the newest."""
    results = MemoryResults(10, most=2)
    for task in ("a", "b", "a", "c"):
        await results.set_result(task, make_result(task))
    assert [True, False, True] == [await results.is_result_ready(task) for task in "abc"]


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf])
def test_an_invalid_ttl(ttl) -> None:
    """A ttl that isn't above 0 is refused."""
    with pytest.raises(ValueError, match="ttl: expected seconds above 0"):
        MemoryResults(ttl)


async def test_the_client_stays_open(client) -> None:
    """The backend doesn't close the client, which its owner closes."""
    results = RedisResults(client, "x:", 60)
    await results.startup()
    await results.shutdown()
    assert await client.ping()


async def test_redis_is_away() -> None:
    """Without Redis the backend raises a transient error."""
    url = "redis://127.0.0.1:1/0"
    async with open_client(RedisSettings(url=url, retries=0, connect_timeout=1), "results") as client:
        with anyio.fail_after(PATIENCE), pytest.raises(TransientError):
            await RedisResults(client, "x:", 60).set_result("t", make_result(1))


async def test_no_variables_are_kept(client) -> None:
    """Neither variables nor tracebacks are stored."""

    def fail():
        secret = "hunter2"
        raise ValueError(len(secret))

    prefix = f"{uuid4().hex}:"
    await RedisResults(client, prefix, 60).set_result("t", make_result(error=catch_error(fail)))
    text = (await client.get(f"{prefix}result:t")).decode()
    assert "hunter2" not in text
    assert "File" not in text
    assert "traceback" not in text.lower()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "{}", '{"is_err": 1}', "[" * 100_000, b"\xff\xfe\xfd", b"\x80\x04K\x01."], ids=str
)
async def test_a_result_that_cannot_be_read(client, text) -> None:
    """The error names the task; a pickle isn't loaded."""
    results = RedisResults(client, f"{uuid4().hex}:", 60)
    await client.set(results._make_key("result", "t"), text)
    await client.set(results._make_key("progress", "t"), text)
    with pytest.raises(PermanentError, match="the result of the task 't' can't be read"):
        await results.get_result("t")
    with pytest.raises(PermanentError, match="the progress of the task 't' can't be read"):
        await results.get_progress("t")


async def test_waiting_for_a_result(results) -> None:
    """TaskIQ's handle waits for another process and converts the result."""

    class Order(BaseModel):
        id: int

    handle = AsyncTaskiqTask("t", results, return_type=Order)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:

            async def work():
                await anyio.sleep(0.05)
                await results.set_result("t", make_result(Order(id=7)))

            group.start_soon(work)
            result = await handle.wait_result(check_interval=0.01)
    assert Order(id=7) == result.return_value
    with pytest.raises(ResultGetError) as caught:
        await AsyncTaskiqTask("u", results).get_result()
    assert isinstance(caught.value.__cause__, ResultMissingError)


async def test_progress(results) -> None:
    """Reported progress is read by the sender, None before the first report; a report without meta keeps it."""
    broker = InMemoryBroker(await_inplace=True).with_result_backend(results)
    seen = []

    @broker.task
    async def work(tracker: ProgressTracker[dict] = TaskiqDepends(), context: Context = TaskiqDepends()) -> int:
        assert await tracker.get_progress() is None
        await tracker.set_progress(TaskState.STARTED, {"done": 1})
        await tracker.set_progress("halfway")
        seen.append(await tracker.get_progress())
        await tracker.set_progress(TaskState.SUCCESS)
        return 3

    with anyio.fail_after(PATIENCE):
        await broker.startup()
        sent = await work.kiq()
        progress = await sent.get_progress()
        assert 3 == (await sent.wait_result()).return_value
        await broker.shutdown()
    assert ("halfway", {"done": 1}) == (seen[0].state, seen[0].meta)
    assert progress.state is TaskState.SUCCESS
    assert {"done": 1} == progress.meta


async def test_a_task_that_fails(results) -> None:
    """A failed task's error is raised where the result is read."""
    broker = InMemoryBroker(await_inplace=True).with_result_backend(results)

    @broker.task
    async def work() -> None:
        raise ZeroDivisionError("by hand")

    with anyio.fail_after(PATIENCE):
        result = await (await work.kiq()).wait_result()
    assert result.is_err
    with pytest.raises(ZeroDivisionError, match="by hand"):
        result.raise_for_error()
    broker.executor.shutdown()


async def test_results_can_be_disabled(redis_url) -> None:
    """With ``keep=False`` only progress is stored."""
    async with open_client(RedisSettings(url=redis_url), "results") as client:
        for backend in (RedisResults(client, "none:", 60, keep=False), MemoryResults(keep=False)):
            result = TaskiqResult(is_err=False, return_value=1, execution_time=0)
            await backend.set_result("a", result)
            assert not await backend.is_result_ready("a")
            await backend.set_progress("a", TaskProgress(state="STARTED", meta=1))
            assert 1 == (await backend.get_progress("a")).meta


async def test_an_error_comes_back(results) -> None:
    """An error is decoded with its class, arguments and cause, and can be raised."""

    def fail():
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer", 3, {1: 2}, object) from error

    await results.set_result("t", make_result(error=catch_error(fail)))
    result = await results.get_result("t")
    with pytest.raises(ValueError) as caught:
        result.raise_for_error()
    assert ("outer", 3, {"1": 2}, "<class 'object'>") == caught.value.args
    assert KeyError is type(caught.value.__cause__)
    assert ("inner",) == caught.value.__cause__.args
    assert caught.value.__suppress_context__
