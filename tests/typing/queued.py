"""The types of tasks and their results, checked by mypy and pyright and never run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type

from taskiq import TaskiqDepends, TaskiqResult, async_shared_broker

from bandmaster.contrib.taskiq import DeadLetter, Schedule, Task, TaskHandle, TaskQueue, task, tasks
from bandmaster.kernel import ValueContribution


class Database: ...


@task
async def plain(one: int, other: str = "") -> float:
    return one / len(other)


@task(attempts=3, timeout=60, retry_on=[OSError], schedule=Schedule(every=60), labels={"shop": "x"})
async def with_options(one: int) -> list[str]:
    return [str(one)]


@task(name="sync")
def sync(one: int) -> bytes:
    return bytes(one)


@task
async def nothing() -> None: ...


@task
async def with_resources(one: int, database: Database = TaskiqDepends()) -> str:
    return str(database)


@async_shared_broker.task
async def shared(to: str) -> int:
    return len(to)


async def check_calls() -> None:
    assert_type(await plain(1, other="a"), float)
    assert_type(await with_options(1), list[str])
    assert_type(sync(1), bytes)
    await plain("one")  # type: ignore[arg-type]
    sync()  # type: ignore[call-arg]


async def check_sent_tasks(queue: TaskQueue) -> None:
    assert_type(await queue.send(plain, 1), TaskHandle[float])
    assert_type(await queue.send(plain, 1, other="a"), TaskHandle[float])
    assert_type(await queue.send(with_options, one=1), TaskHandle[list[str]])
    assert_type(await queue.send(sync, 1), TaskHandle[bytes])
    assert_type(await queue.send(nothing), TaskHandle[None])
    assert_type(await queue.send(with_resources, 1), TaskHandle[str])
    assert_type(await queue.send(shared, "ann"), TaskHandle[int])
    waited = await (await queue.send(sync, 1)).wait_result()
    assert_type(waited, TaskiqResult[bytes])
    assert_type(waited.return_value, bytes)


async def check_options_of_using(queue: TaskQueue) -> None:
    later = plain.using(delay=5, at=datetime.now(UTC), task_id="a", once="b", queue="c", timeout=1, size=2)
    assert_type(await queue.send(later, 1), TaskHandle[float])
    assert_type(await queue.send(sync.using(delay=5), 1), TaskHandle[bytes])
    plain.using(delay="5")  # type: ignore[arg-type]
    plain.using(size=[2])  # type: ignore[arg-type]


async def check_tasks_sent_by_name(queue: TaskQueue) -> None:
    assert_type(await queue.send_message("plain", [1], {"other": "a"}), TaskHandle[Any])
    assert_type(queue.handle("id"), TaskHandle[Any])
    assert_type(await queue.dead_letters.page(limit=5), list[DeadLetter])


async def check_wrong_arguments(queue: TaskQueue) -> None:
    await queue.send(plain, "one")  # type: ignore[call-overload]
    await queue.send(plain)  # type: ignore[call-overload]
    await queue.send(plain, 1, otter="a")  # type: ignore[call-arg]
    await queue.send(sync, 1, 2)  # type: ignore[call-overload]
    await queue.send(shared, 7)  # type: ignore[call-overload]
    await queue.send(len, [1])  # type: ignore[call-overload]


assert_type(tasks("shop", plain, sync, shared), ValueContribution)
assert_type(task(name="other")(len).name, str)
tasks("shop", len)  # type: ignore[arg-type]
task(attempts="3")(len)  # type: ignore[call-overload]
task(retry_on=[KeyboardInterrupt])(len)  # type: ignore[list-item]


def any_task(one: Task[..., Any]) -> str:
    return one.name
