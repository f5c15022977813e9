"""The checks of the task queue's components, which find problems before a start connects to Redis."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.redis import RedisSettings, same_database
from bandmaster.contrib.taskiq.schedules.declared_schedules import DeclaredSchedules
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.task_declarations.task_group import collect_tasks
from bandmaster.contrib.taskiq.worker.bound_tasks import bind_tasks
from bandmaster.contrib.taskiq.worker.message_processor import RUN_TYPES
from bandmaster.kernel import (
    EventLoop,
    ImportFailure,
    KernelSettings,
    Plan,
    PlanError,
    Problem,
    Resources,
    import_object,
)


def find_queue_problems(
    settings: TaskIQSettings, kernel: KernelSettings, plan: Plan, event_loop: EventLoop
) -> Iterator[Problem | str]:
    """The problems of the queue: the event loop, the broker, tasks of one name, and a queue in memory in production."""
    if event_loop is EventLoop.TRIO:
        yield Problem("TaskIQ runs on asyncio only.", "Set BANDMASTER_SERVER_LOOP to asyncio or uvloop.")
    if settings.broker is not None:
        yield from _find_broker_problems(settings.broker)
    try:
        tasks = collect_tasks(plan)
    except PlanError as error:
        yield from error.problems
        return
    if settings.is_embedded and tasks:
        yield from kernel.refuse_in_production(
            "TASKIQ_REDIS_URL isn't set, so tasks wait in memory, and are lost with the process",
            "Set TASKIQ_REDIS_URL, or TASKIQ_BROKER.",
        )
    if settings.redis_url is not None:
        yield from _find_shared_databases(settings, plan)


def find_worker_problems(settings: TaskIQSettings, plan: Plan) -> Iterator[Problem | str]:
    """The problems of the worker: a queue out of reach, and tasks that ask for types that nothing provides."""
    if plan.role == "worker" and settings.is_embedded:
        yield _describe_embedded("worker")
    if plan.role == "web" and not settings.is_embedded:
        return  # the tasks run in other processes with another plan, which provides the types
    provided = Resources(dict.fromkeys([*plan.provided, *plan.overrides]), several=plan.providers.several)
    try:
        bind_tasks(collect_tasks(plan).values(), provided, settings, run_types=RUN_TYPES)
    except PlanError as error:
        yield from error.problems


def find_scheduler_problems(settings: TaskIQSettings, plan: Plan) -> Iterator[Problem | str]:
    """The problems of the scheduler: a queue that it can't reach, and schedules that a task has twice."""
    if plan.role == "scheduler" and settings.is_embedded:
        yield _describe_embedded("scheduler")
    try:
        DeclaredSchedules({name: task.options.schedules for name, task in collect_tasks(plan).items()})
    except PlanError:
        pass  # the queue reports it
    except ValueError as error:
        yield Problem(f"{error}.", "Remove one of the two.")


def _describe_embedded(role: str) -> Problem:
    return Problem(
        f"a {role} of its own needs a queue that processes share.",
        "Set TASKIQ_REDIS_URL, or TASKIQ_BROKER; without, tasks run in the process that sends them, and are scheduled "
        "there.",
        role_unavailable=True,
    )


def _find_broker_problems(path: str) -> Iterator[Problem]:
    module, _, name = path.partition(":")
    hint = "Name a function that takes the settings and returns the broker, as module:function."
    try:
        made = import_object(module, name)
    except (ImportFailure, ValueError) as error:
        reason = error.__cause__ or error
        yield Problem(f"TASKIQ_BROKER is {path!r}, which can't be imported: {type(reason).__name__}: {reason}.", hint)
        return
    if not callable(made):
        yield Problem(f"TASKIQ_BROKER is {path!r}, which is a {type(made).__name__} and no function.", hint)


def _find_shared_databases(settings: TaskIQSettings, plan: Plan) -> Iterator[str]:
    """A warning for each cache that uses the queue's database: the cache may evict messages."""
    for read in plan.settings.values():
        if isinstance(read, RedisSettings) and same_database(settings.redis.url, read.url):
            yield (
                f"TASKIQ_REDIS_URL and {read.variable('url')} name the same Redis database ({settings.redis.address}): "
                "evicting or flushing one removes keys of the other; give each a database of its own"
            )
