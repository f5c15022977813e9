"""Messages of an outbox published as tasks."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from bandmaster.contrib.persistence import OutboxMessage, Publisher
from bandmaster.contrib.taskiq.message_labels import ONCE, ONCE_FOR
from bandmaster.contrib.taskiq.outbox import publisher
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.kernel import LifespanBand, PermanentError, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


class RecordingQueue:
    """Keeps the messages that are sent, or raises."""

    def __init__(self, failure=None):
        self.sent = []
        self.failure = failure

    async def send_message(self, name, args, kwargs, *, task_id=None, labels=None):
        if self.failure is not None:
            raise self.failure
        self.sent.append((name, args, kwargs, task_id, labels))


@asynccontextmanager
async def _publishing(queue):
    """The publisher that the contribution provides in a running kernel."""
    provided = []

    @lifespan(band=LifespanBand.SERVICES, name="relay")
    async def relay(publisher: Publisher):
        """Needs a publisher."""
        provided.append(publisher)
        yield

    async with run(contributions=[publisher, relay], overrides={TaskQueue: queue}):
        yield provided[0]


def _message(payload):
    return OutboxMessage("0" * 31 + "7", "shop:charge", payload, {}, datetime(2024, 1, 1, tzinfo=UTC), 1)


async def _sent(payload):
    queue = RecordingQueue()
    async with _publishing(queue) as publishing:
        await publishing.publish(_message(payload))
    return queue.sent


@pytest.mark.parametrize(
    ("payload", "args", "kwargs"),
    [
        ({"order": 7, "lines": [1]}, [], {"order": 7, "lines": [1]}),
        ({}, [], {}),
        ([7, {"a": 1}], [7, {"a": 1}], {}),
        ([], [], {}),
        ("text", ["text"], {}),
        (7, [7], {}),
        (None, [None], {}),
    ],
    ids=repr,
)
async def test_a_payload_becomes_arguments(payload, args, kwargs) -> None:
    """An object becomes keyword arguments, a list positional ones, any other payload the only argument."""
    ((name, *found, _, _),) = await _sent(payload)
    assert ("shop:charge", [args, kwargs]) == (name, found)


async def test_a_message_becomes_one_task() -> None:
    """The message's id is the task's id and the deduplication key."""
    ((*_, task_id, labels),) = await _sent({})
    assert "0" * 31 + "7" == task_id
    assert {ONCE: f"outbox-{task_id}", ONCE_FOR: "86400"} == labels


async def test_errors_of_the_queue_reach_the_relay() -> None:
    """The publisher raises the queue's error, so that the relay can set the message aside."""
    queue = RecordingQueue(PermanentError("no task is called 'shop:charge'"))
    async with _publishing(queue) as publishing:
        with pytest.raises(PermanentError, match="no task is called"):
            await publishing.publish(_message({}))


async def test_the_payload_is_not_changed() -> None:
    """A change to the sent arguments doesn't change the payload."""
    payload = {"order": 7}
    ((_, _, kwargs, *_),) = await _sent(payload)
    kwargs["more"] = 1
    assert {"order": 7} == payload


def test_the_publisher_starts_in_the_messaging_band() -> None:
    """The publisher starts before the services that use it."""
    assert LifespanBand.MESSAGING == publisher.band
