"""Message handles and dead letters for brokers of other packages."""

import asyncio
import json
from datetime import UTC, datetime

import anyio
import pytest
from taskiq import AckableMessage, AsyncBroker, BrokerMessage, TaskiqMessage
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq import DeadLetter, Reason, TaskIQSettings, TaskOptions, Worker
from bandmaster.contrib.taskiq.brokers.third_party_broker import ThirdPartyHandles
from bandmaster.contrib.taskiq.brokers.third_party_dead_letters import ThirdPartyDeadLetters
from bandmaster.contrib.taskiq.dead_letters.memory import MemoryDeadLetters
from bandmaster.contrib.taskiq.task_declarations.task import task
from bandmaster.contrib.taskiq.worker.bound_tasks import bind_tasks
from bandmaster.contrib.taskiq.worker.message_processor import RUN_TYPES
from bandmaster.contrib.taskiq.worker.retry_policy import make_policy
from bandmaster.kernel import Resources, TransientError

pytestmark = pytest.mark.anyio


class PlainBroker(AsyncBroker):
    """A queue in memory whose messages can't be acknowledged."""

    def __init__(self):
        super().__init__()
        self.queue = asyncio.Queue()
        self.sent = []

    async def kick(self, message):
        self.sent.append((asyncio.get_running_loop().time(), message))
        self.queue.put_nowait(message.message)

    async def listen(self):
        while True:
            yield await self.queue.get()


class AckingBroker(PlainBroker):
    """A queue in memory whose messages can be acknowledged."""

    def __init__(self):
        super().__init__()
        self.acknowledged = []

    async def listen(self):
        async for data in super().listen():

            def acknowledge(data=data):  # TaskIQ allows both kinds
                self.acknowledged.append(json.loads(data)["task_id"])

            yield AckableMessage(data=data, ack=acknowledge)


@pytest.fixture(params=[PlainBroker, AckingBroker])
async def broker(request):
    return request.param()


@pytest.fixture
async def acking():
    return AckingBroker()


class Working:
    """A worker that runs until the block ends."""

    def __init__(self, broker, *tasks, **settings):
        self.broker = broker
        self.kept = MemoryDeadLetters()
        self.letters = ThirdPartyDeadLetters(broker, self.kept)
        self.stopping = anyio.Event()
        settings = TaskIQSettings(jitter=0, **settings)
        self.worker = Worker(
            broker,
            bind_tasks(tasks, Resources(), settings, run_types=RUN_TYPES),
            make_handle=ThirdPartyHandles(broker, self.letters, self.stopping).make,
            fallback_policy=make_policy(TaskOptions(), settings),
        )

    async def __aenter__(self):
        self.bound = asyncio.timeout(PATIENCE)  # no test waits for ever
        await self.bound.__aenter__()
        self.running = asyncio.ensure_future(self.worker.run())
        return self

    async def __aexit__(self, *raised):
        self.stopping.set()
        await self.worker.stop()
        await self.running
        await self.bound.__aexit__(*raised)

    async def until(self, **expected):
        while any(getattr(self.worker.gauge, name) != number for name, number in expected.items()):
            await asyncio.sleep(0.002)


def _data(task_id="a", **labels):
    message = TaskiqMessage(task_id=task_id, task_name="work", labels=labels, args=[], kwargs={})
    return json.dumps(message.model_dump()).encode()


async def _send(broker, task_id="a", **labels):
    await broker.kick(BrokerMessage(task_id=task_id, task_name="work", message=_data(task_id, **labels), labels=labels))


def _failing(times, error=TransientError):
    runs = []

    @task(name="work")
    async def work():
        runs.append(asyncio.get_running_loop().time())
        if len(runs) <= times:
            raise error("not yet")

    return work, runs


async def _settled(runs):
    """Wait until the only run has ended and the retry is waiting."""
    while not runs:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_finished_message_is_acknowledged(acking):
    """A worker acknowledges a message when the task is done."""
    work, runs = _failing(0)
    async with Working(acking, work) as working:
        await _send(acking)
        await working.until(done=1, running=0)
    assert ["a"] == acking.acknowledged
    assert 1 == len(runs)


async def test_a_retry_waits_in_the_worker(broker):
    """The worker waits before sending a retry, which has the number of its attempt."""
    work, runs = _failing(2)
    async with Working(broker, work, backoff=0.05) as working:
        await _send(broker)
        await working.until(done=1, running=0)
    assert [True, True] == [later - earlier >= least for earlier, later, least in zip(runs, runs[1:], (0.05, 0.1))]
    attempts = [json.loads(message.message)["labels"].get("bm_attempt") for _, message in broker.sent]
    assert [None, "2", "3"] == attempts
    if isinstance(broker, AckingBroker):
        assert ["a", "a", "a"] == broker.acknowledged


async def test_a_retried_message_is_held_until_the_next_is_sent(acking):
    """A message isn't acknowledged before the retry is sent: the process may die meanwhile."""
    work, runs = _failing(1)
    async with Working(acking, work, backoff=3600, longest_backoff=3600):
        await _send(acking)
        await _settled(runs)
        assert ([], 1) == (acking.acknowledged, len(acking.sent))


@pytest.mark.parametrize(("kind", "sent"), [(AckingBroker, 1), (PlainBroker, 2)])
async def test_a_stop_does_not_wait_for_retries(kind, sent):
    """At a stop a waiting retry is left to the broker's redelivery, or sent at once without acknowledgements."""
    broker = kind()
    work, runs = _failing(1)
    async with Working(broker, work, backoff=3600, longest_backoff=3600):
        await _send(broker)
        await _settled(runs)
    assert sent == len(broker.sent)
    assert [] == getattr(broker, "acknowledged", [])


async def test_a_stop_releases_running_tasks(broker):
    """The message of a cancelled task stays unacknowledged, or is sent again."""

    @task(name="work")
    async def work():
        await asyncio.sleep(3600)

    async with Working(broker, work) as working:
        await _send(broker)
        await working.until(running=1)
        while not broker.queue.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
    assert 1 == working.worker.gauge.lost
    if isinstance(broker, AckingBroker):
        assert ([], 1) == (broker.acknowledged, len(broker.sent))
    else:
        assert [_data(), _data()] == [message.message for _, message in broker.sent]


@pytest.mark.requirement("CF-28")
async def test_dead_letters_are_stored_and_replayed(broker):
    """The broker sends a replayed letter as a first attempt."""
    work, _ = _failing(1, ValueError)
    async with Working(broker, work) as working:
        await _send(broker, shop="x")
        await working.until(dead=1, running=0)
        (letter,) = await working.letters.page()
        assert (Reason.PERMANENT, "ValueError: not yet", "work", "a", 1) == (
            letter.reason,
            letter.detail,
            letter.task,
            letter.task_id,
            letter.deliveries,
        )
        assert (letter, 1) == (await working.letters.get(letter.id), await working.letters.count())
        assert [letter.id] == await working.letters.replay()
        await working.until(done=1, running=0)
    assert 0 == await working.letters.count()
    assert {"shop": "x"} == json.loads(broker.sent[-1][1].message)["labels"]
    assert {"shop": "x"} == broker.sent[-1][1].labels


async def test_an_unreadable_message_is_stored_unchanged(acking):
    """An unreadable message becomes a dead letter that can't be replayed."""
    async with Working(acking) as working:
        await acking.queue.put(b'{"task_id": "7"}')
        await working.until(dead=1, running=0)
        (letter,) = await working.letters.page()
        assert (Reason.UNREADABLE, b'{"task_id": "7"}') == (letter.reason, letter.data)
        assert [] == await working.letters.replay()
        assert 1 == await working.letters.count()
    assert ["7"] == acking.acknowledged


async def test_several_letters_are_replayed(broker):
    """The named letters are replayed once each, or all letters, over several pages."""
    kept = MemoryDeadLetters()
    letters = ThirdPartyDeadLetters(broker, kept)
    ids = []
    for number in range(205):
        letter = DeadLetter(
            id="",
            task="work",
            task_id=str(number),
            reason=Reason.POISON,
            detail="",
            deliveries=1,
            died_at=datetime.now(UTC),
            data=_data(str(number)),
        )
        ids.append(await letters.add(letter))
    assert ids[1:3] == await letters.replay([ids[1], ids[2], ids[1], "999"])
    assert 1 == await letters.purge([ids[0]])
    assert ids[3:] == await letters.replay()
    assert [str(number) for number in range(1, 205)] == [message.task_id for _, message in broker.sent]


async def test_a_letter_that_the_broker_refuses_stays(broker):
    """The broker's error is raised, and the letter isn't lost."""
    kept = MemoryDeadLetters()
    letters = ThirdPartyDeadLetters(broker, kept)
    work, _ = _failing(9, ValueError)
    async with Working(broker, work) as working:
        await _send(broker)
        await working.until(dead=1, running=0)
        await letters.add((await working.letters.page())[0])

    async def kick(message):
        raise ConnectionError("gone")

    broker.kick = kick
    with pytest.raises(ConnectionError):
        await letters.replay()
    assert 1 == await letters.count()


async def test_a_handle_knows_the_messages_id(broker):
    """A handle reports TaskIQ's id and one delivery, and may be acknowledged in vain."""
    handles = ThirdPartyHandles(broker, MemoryDeadLetters(), anyio.Event())
    handle = handles.make(_data("a"), _data("a"))
    assert ("a", 1, True) == (handle.id, handle.deliveries, handle.begin(print))
    await handle.acknowledge()  # nothing to acknowledge
