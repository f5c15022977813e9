"""The declaration of a task."""

import functools
from datetime import UTC, datetime, timedelta

import pytest
from taskiq import InMemoryBroker, async_shared_broker

from bandmaster.contrib.taskiq import Schedule, Task, TaskOptions, task
from bandmaster.contrib.taskiq.task_declarations.task import convert_task

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@task
def add(one: int, other: int = 1) -> int:
    return one + other


def _made(name="other", **options):
    return task(name=name, **options)(lambda: None)


def test_a_task_is_still_the_function():
    """A call of a task runs the function."""
    assert (3, 2) == (add(1, 2), add(1))


def test_the_name_is_module_and_function():
    """A task's name is its function's module and name."""
    assert f"{__name__}:add" == add.name
    assert f"<Task {add.name}>" == repr(add)


def test_the_name_of_a_decorated_function_is_its_own():
    """A decorated function has its own name, not its decorator's."""

    def loud(function):
        @functools.wraps(function)
        def louder(*args):
            return function(*args)

        return louder

    assert add.name == task(loud(add.function)).name


@pytest.mark.parametrize("function", [lambda: None, functools.partial(print, 1)])
def test_a_function_without_a_name_needs_one(function):
    """A lambda or a partial needs a given name."""
    with pytest.raises(ValueError, match=r"name: a worker can't find .* by its own name"):
        task(function)
    assert "given" == task(name="given")(function).name


def test_options_are_kept():
    """All options reach the task."""
    schedule = Schedule(every=5)
    made = task(
        name="report",
        attempts=2,
        backoff=1,
        longest_backoff=10,
        jitter=0,
        timeout=1.5,
        retry_on=[OSError],
        schedule=schedule,
        labels={"shop": 7},
    )(print)
    expected = TaskOptions(
        attempts=2,
        backoff=1,
        longest_backoff=10,
        jitter=0,
        timeout=1.5,
        retry_on=(OSError,),
        schedules=(schedule,),
    )
    assert (expected, {"shop": 7}) == (made.options, dict(made.labels))
    assert (OSError,) == _made(retry_on=OSError).options.retry_on
    assert (schedule, schedule) == _made(schedule=[schedule, schedule]).options.schedules


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("attempts", 0),
        ("attempts", True),
        ("attempts", 1.5),
        ("attempts", "3"),
        ("backoff", -1),
        ("backoff", "1"),
        ("backoff", float("nan")),
        ("longest_backoff", float("inf")),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", True),
        ("jitter", 1.1),
        ("jitter", -0.1),
        ("jitter", "half"),
        ("retry_on", [KeyboardInterrupt]),
        ("retry_on", "OSError"),
        ("retry_on", [OSError("made")]),
        ("schedule", "30 4 * * *"),
        ("schedule", [Schedule(every=1), None]),
        ("schedule", 5),
        ("name", "two words"),
        ("name", ""),
        ("name", 7),
        ("name", "größe"),
        ("labels", {"list": [1]}),
        ("labels", {"bm_tenant": "other"}),
        ("labels", {7: "seven"}),
        ("labels", ["a"]),
    ],
)
def test_wrong_values_are_refused_by_name(argument, value):
    """Each wrong value is refused with the name of its argument."""
    with pytest.raises(ValueError, match=f"^{argument}: "):
        task(**{"name": "wrong", argument: value})(print)


@pytest.mark.parametrize("value", [7, "text", add])
def test_only_functions_are_tasks(value):
    """Other values, and tasks, are refused."""
    with pytest.raises(ValueError, match="function: expected a function"):
        task(name="wrong")(value)


def test_a_typo_is_a_type_error():
    """An unknown option raises Python's own TypeError."""
    with pytest.raises(TypeError, match="attemps"):
        task(attemps=3)(print)


def test_using_makes_another_task():
    """``using`` returns a task with other options and doesn't change the original."""
    made = add.using(delay=2, task_id="a", once="b", once_for=60, queue="q", timeout=3, shop="x")
    assert {
        "delay": 2.0,
        "bm_once": "b",
        "bm_once_for": 60.0,
        "queue_name": "q",
        "timeout": 3.0,
        "shop": "x",
    } == made.make_labels(NOW)
    assert ("a", add.name, add.function) == (made.task_id, made.name, made.function)
    assert ({}, None) == (add.make_labels(NOW), add.task_id)


def test_using_can_be_chained():
    """A second ``using`` keeps the options of the first."""
    made = add.using(task_id="a", at=NOW + timedelta(seconds=5), shop="x").using(timeout=1)
    assert {"shop": "x", "timeout": 1.0, "delay": 5.0} == made.make_labels(NOW)
    assert "a" == made.task_id


def test_a_time_becomes_a_delay_when_it_is_sent():
    """A time becomes the delay until then, 0 for a time in the past."""
    made = add.using(at=NOW + timedelta(minutes=1))
    assert [60.0, 0.0] == [made.make_labels(now)["delay"] for now in (NOW, NOW + timedelta(hours=1))]


def test_of_delay_and_time_the_last_counts():
    """Of a delay and a time the later call wins."""
    late = NOW + timedelta(hours=1)
    assert 5.0 == add.using(at=late).using(delay=5).make_labels(NOW)["delay"]
    assert 3600.0 == add.using(delay=5).using(at=late).make_labels(NOW)["delay"]


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("at", {"at": NOW, "delay": 1}),
        ("at", {"at": datetime(2026, 7, 1)}),  # noqa: DTZ001
        ("at", {"at": "tomorrow"}),
        ("delay", {"delay": -1}),
        ("delay", {"delay": "1"}),
        ("delay", {"delay": float("inf")}),
        ("once", {"once": ""}),
        ("once", {"once": 7}),
        ("once_for", {"once": "a", "once_for": 0}),
        ("queue", {"queue": "two words"}),
        ("timeout", {"timeout": 0}),
        ("task_id", {"task_id": 7}),
        ("task_id", {"task_id": ""}),
        ("labels", {"bm_user": "other"}),
        ("labels", {"thing": object()}),
    ],
)
def test_wrong_options_of_using_are_refused_by_name(argument, options):
    """Each wrong option of ``using`` is refused by name."""
    with pytest.raises(ValueError, match=f"^{argument}: "):
        add.using(**options)


def test_tasks_of_taskiqs_decorators(registry):
    """The labels timeout and attempts of a task of TaskIQ's become options."""

    @async_shared_broker.task(task_name="mail", timeout=3, attempts="2", shop="x", schedule=[{"cron": "* * * * *"}])
    async def mail(to: str) -> None: ...

    made = convert_task(mail)
    assert ("mail", TaskOptions(timeout=3.0, attempts=2)) == (made.name, made.options)
    # A list is for TaskIQ's own scheduler, and no label.
    assert {"timeout": 3, "attempts": "2", "shop": "x"} == dict(made.labels)
    assert mail.original_func is made.function


@pytest.mark.parametrize(("label", "value"), [("timeout", "soon"), ("timeout", -1), ("attempts", 0), ("attempts", "x")])
def test_wrong_labels_of_taskiqs_tasks_are_refused_by_name(registry, label, value):
    """The error names the task and the label."""
    made = InMemoryBroker().task(task_name="mail", **{label: value})(_plain)
    with pytest.raises(ValueError, match=f"task 'mail': {label}: .*{value}"):
        convert_task(made)


def _plain(): ...


def test_tasks_are_compared_by_identity():
    """Two equal tasks are different keys."""
    assert 2 == len({Task(print, "a"), Task(print, "a")})
