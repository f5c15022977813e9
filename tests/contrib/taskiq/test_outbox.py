"""Messages of an outbox as tasks."""

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
    """Remembers what is sent, or fails as it is told."""

    def __init__(self, failure=None):
        self.sent = []
        self.failure = failure

    async def send_message(self, name, args, kwargs, *, task_id=None, labels=None):
        if self.failure is not None:
            raise self.failure
        self.sent.append((name, args, kwargs, task_id, labels))


@asynccontextmanager
async def _publishing(queue):
    """What the contribution provides, in a kernel that runs."""
    provided = []

    @lifespan(band=LifespanBand.SERVICES, name="relay")
    async def relay(publisher: Publisher):
        """Whoever needs one."""
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
    """An object by name, a list by position, anything else as the only one."""
    ((name, *found, _, _),) = await _sent(payload)
    assert ("shop:charge", [args, kwargs]) == (name, found)


async def test_a_message_becomes_one_task() -> None:
    """However often it is handed on: by an id and a label that say which message it is."""
    ((*_, task_id, labels),) = await _sent({})
    assert "0" * 31 + "7" == task_id
    assert {ONCE: f"outbox-{task_id}", ONCE_FOR: "86400"} == labels


async def test_what_the_queue_refuses() -> None:
    """Is for the relay to know: it puts the message aside."""
    queue = RecordingQueue(PermanentError("no task is called 'shop:charge'"))
    async with _publishing(queue) as publishing:
        with pytest.raises(PermanentError, match="no task is called"):
            await publishing.publish(_message({}))


async def test_the_payload_stays_as_it_was() -> None:
    """Whatever is done to what was sent."""
    payload = {"order": 7}
    ((_, _, kwargs, *_),) = await _sent(payload)
    kwargs["more"] = 1
    assert {"order": 7} == payload


def test_it_is_messaging() -> None:
    """So that it is there before the services that hand messages on."""
    assert LifespanBand.MESSAGING == publisher.band
