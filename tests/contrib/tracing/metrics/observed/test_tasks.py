"""The metrics of tasks, from the events of a queue and from a queue that runs."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.contrib.tracing.metrics.served import make_app, scrape, value_of

from bandmaster.contrib.taskiq import (
    AttemptEnded,
    AttemptOutcome,
    AttemptStarted,
    MessageDied,
    Reason,
    SendingEnded,
    TaskAttempt,
    TaskQueue,
    TaskSending,
    UnknownTaskError,
    task,
    tasks,
)
from bandmaster.contrib.taskiq.component import task_worker, taskiq
from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.contrib.tracing.metrics.observed.tasks import TaskMetrics
from bandmaster.contrib.tracing.metrics.task_component import task_metrics
from bandmaster.kernel import PermanentError
from bandmaster.kernel.testing import free_port, run


class Measured:
    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.metrics = TaskMetrics(MeterProvider([self.reader], shutdown_on_exit=False), ["mail"])

    def points(self, metric):
        data = self.reader.get_metrics_data()
        found = [
            one
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric.name
        ]
        return [(point.attributes, point) for one in found for point in one.data.data_points]

    def end(self, name, outcome=AttemptOutcome.DONE, **more):
        attempt = TaskAttempt(name, "id", "tasks", 1, 1)
        self.metrics.on_task_event(AttemptStarted(attempt))
        self.metrics.on_task_event(AttemptEnded(attempt, outcome, 0.25, **more))


@pytest.fixture
def measured():
    return Measured()


def test_an_attempt(measured) -> None:
    """An attempt has its task and its outcome as labels, and its time as value."""
    measured.end("mail")
    ((attributes, point),) = measured.points(catalogue.TASK_DURATION)
    assert ({"task": "mail", "outcome": "done"}, 0.25) == (attributes, point.sum)
    assert [({"queue": "tasks"}, 0)] == [(found, one.value) for found, one in measured.points(catalogue.ACTIVE_TASKS)]


def test_a_failed_attempt_names_its_error(measured) -> None:
    """The type of the error is a label, with its module unless it is built in."""
    measured.end("mail", AttemptOutcome.RETRIED, error=OSError("no"))
    measured.end("mail", AttemptOutcome.DEAD, error=PermanentError("no"), reason=Reason.PERMANENT)
    found = {(one["outcome"], one["error.type"]) for one, _ in measured.points(catalogue.TASK_DURATION)}
    assert {("retried", "OSError"), ("dead", "bandmaster.kernel.errors.PermanentError")} == found


@pytest.mark.requirement("OBS-M3")
def test_names_that_nobody_has_declared_are_one_label(measured) -> None:
    """Whoever can write to the queue chooses names; they don't make series."""
    for number in range(1000):
        name = f"made-up-{number}"
        measured.end(name, AttemptOutcome.RETRIED, error=UnknownTaskError(name))
        measured.end(name, AttemptOutcome.RELEASED)
        measured.end(name, AttemptOutcome.LOST)
        measured.metrics.on_task_event(MessageDied(name, "id", "tasks", Reason.UNKNOWN))
    assert {"_OTHER"} == {one["task"] for one, _ in measured.points(catalogue.TASK_DURATION)}
    assert [({"task": "_OTHER", "reason": "unknown task"}, 1000)] == [
        (one, point.value) for one, point in measured.points(catalogue.TASK_DEATHS)
    ]


def test_a_task_that_has_run_is_known(measured) -> None:
    """Tasks of TaskIQ's own decorators are known when they have run."""
    measured.end("decorated")
    measured.end("decorated", AttemptOutcome.RELEASED)
    assert {"decorated"} == {one["task"] for one, _ in measured.points(catalogue.TASK_DURATION)}


def test_sendings(measured) -> None:
    """A message that the broker refused has the error as label."""
    for error in (None, OSError("away")):
        measured.metrics.on_task_event(SendingEnded(TaskSending("mail", "id", "tasks"), 0.1, error))
    found = [(one.get("error.type"), point.value) for one, point in measured.points(catalogue.SENT_TASKS)]
    assert [(None, 1), ("OSError", 1)] == found


@task
async def greet(name: str) -> str:
    return f"hello {name}"


@task
async def refuse() -> None:
    raise PermanentError("never")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_queue_in_memory() -> None:
    """Tasks of a running application are measured: outcomes, dead letters, depth."""
    port = free_port()
    parts = [tasks("greetings", greet, refuse), taskiq, task_worker, task_metrics]
    async with run(make_app(parts=parts, port=port, queue_interval=0.01)) as running:
        queue = running.resources[TaskQueue]
        for _ in range(3):
            await (await queue.send(greet, "you")).wait_result(timeout=20)
        await queue.send(refuse)
        await queue.broker.wait_idle()
        import anyio

        with anyio.fail_after(20):
            while True:
                samples = await anyio.to_thread.run_sync(scrape, port)
                dead = [one.value for one in samples if one.labels.get("state") == "dead"]
                if dead == [1]:
                    break
                await anyio.sleep(0.01)
    name = f"{__name__}:greet"
    assert 3 == value_of(samples, "bandmaster_task_duration_seconds_count", task=name, outcome="done")
    assert 3 == value_of(samples, "bandmaster_task_sent_total", task=name)
    assert 1 == value_of(samples, "bandmaster_task_dead_letters_total", reason="permanent error")
    assert 0 == value_of(samples, "bandmaster_queue_messages", state="waiting", queue="tasks")
    assert 0 == value_of(samples, "bandmaster_task_active", queue="tasks")
