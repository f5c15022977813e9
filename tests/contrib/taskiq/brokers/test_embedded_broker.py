"""The broker in memory."""

import asyncio
import json
from collections import deque
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from taskiq import BrokerMessage
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq import EmbeddedBroker, Reason

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(clock):
    return EmbeddedBroker(clock)


def _message(text, **labels):
    data = json.dumps({"task_name": "shop:task", "task_id": text, "labels": labels}).encode()
    return BrokerMessage(task_id=text, task_name="shop:task", message=data, labels=labels)


def _text(delivery):
    return json.loads(delivery.data)["task_id"]


async def _take(broker, count=1):
    messages = broker.listen()
    async with asyncio.timeout(PATIENCE):
        taken = [await anext(messages) for _ in range(count)]
    await messages.aclose()
    return taken


async def _settle_all():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.requirement("TQ-1")
async def test_messages_come_in_the_order_of_sending(broker):
    """Messages are delivered in order, also to a listener that waits already."""
    taken = []

    async def listen():
        async for delivery in broker.listen():
            taken.append(_text(delivery))

    listening = asyncio.ensure_future(listen())
    for text in "abc":
        await broker.kick(_message(text))
    await _settle_all()
    await broker.kick(_message("d"))
    await _settle_all()
    listening.cancel()
    assert ["a", "b", "c", "d"] == taken


async def test_several_listeners_share_messages(broker):
    """Each message is delivered to one listener."""
    taken = []

    async def listen():
        async for delivery in broker.listen():
            taken.append(_text(delivery))
            await asyncio.sleep(0)

    listening = [asyncio.ensure_future(listen()) for _ in range(3)]
    for number in range(20):
        await broker.kick(_message(str(number)))
        await asyncio.sleep(0)
    await _settle_all()
    for each in listening:
        each.cancel()
    assert sorted(map(str, range(20))) == sorted(taken)


async def test_a_delayed_message_waits(broker, clock):
    """Delayed messages are delivered when due, the earliest first."""
    await broker.kick(_message("late", delay="20"))
    await broker.kick(_message("soon", delay="10"))
    await broker.kick(_message("as soon", delay=10.0))
    await broker.kick(_message("now", delay=0))
    assert 4 == broker.waiting
    clock.now += 10
    assert ["now", "soon", "as soon"] == [_text(each) for each in await _take(broker, 3)]
    clock.now += 9.9
    with anyio.move_on_after(0):
        raise AssertionError(await _take(broker))
    clock.now += 0.1
    assert ["late"] == [_text(each) for each in await _take(broker)]
    assert 0 == broker.waiting


async def test_a_waiting_listener_gets_a_delayed_message():
    """A waiting listener gets a delayed message when due by the real clock, not before."""
    broker = EmbeddedBroker()
    began = asyncio.get_running_loop().time()
    await broker.kick(_message("a", delay=0.05))
    assert ["a"] == [_text(each) for each in await _take(broker)]
    assert 0.05 <= asyncio.get_running_loop().time() - began + 0.001


async def test_an_earlier_message_wakes_a_listener_that_waits_for_a_later(broker):
    """A listener that waits for a delayed message gets an earlier one at once."""
    await broker.kick(_message("late", delay=1000))
    taking = asyncio.ensure_future(_take(broker))
    await _settle_all()
    await broker.kick(_message("now"))
    assert ["now"] == [_text(each) for each in await taking]


async def test_a_deduplication_key_is_sent_once(broker, clock):
    """A second message with a deduplication key is sent only after the key has expired."""
    for text, key, kept in (("a", "x", "10"), ("b", "x", "10"), ("c", "y", 5.0), ("d", "x", "10")):
        await broker.kick(_message(text, bm_once=key, bm_once_for=kept))
    assert ["a", "c"] == [_text(each) for each in await _take(broker, 2)]
    clock.now += 10
    await broker.kick(_message("e", bm_once="x", bm_once_for="10"))
    await broker.kick(_message("f", bm_once="z"))
    await broker.kick(_message("g", bm_once="z"))
    assert ["e", "f", "g"] == [_text(each) for each in await _take(broker, 3)]


async def test_a_released_message_is_the_next(broker):
    """A released message is delivered before all others, and the deliveries are counted."""
    await broker.kick(_message("a"))
    await broker.kick(_message("b"))
    (first,) = await _take(broker)
    assert (1, True) == (first.handle.deliveries, first.handle.begin(print))
    assert await first.handle.release()
    assert not await first.handle.release()
    again, second = await _take(broker, 2)
    assert (["a", "b"], 2) == ([_text(again), _text(second)], again.handle.deliveries)
    assert first.handle.id == again.handle.id


async def test_an_acknowledged_message_is_gone(broker):
    """Further actions on an acknowledged message do nothing."""
    await broker.kick(_message("a"))
    (taken,) = await _take(broker)
    await taken.handle.acknowledge()
    await taken.ack()  # TaskIQ's name for it; a second time does no harm
    assert [False, False, False] == [
        await taken.handle.release(),
        await taken.handle.retry(b"{}", delay=0),
        await taken.handle.dead_letter(Reason.PERMANENT, "x"),
    ]
    assert (0, 0) == (broker.waiting, await broker.dead_letters.count())


async def test_a_retry_replaces_the_message(broker, clock):
    """A retry is delivered after the delay, with deliveries counted anew."""
    await broker.kick(_message("a"))
    (taken,) = await _take(broker)
    assert await taken.handle.retry(_message("b").message, delay=5)
    assert 1 == broker.waiting
    clock.now += 5
    (other,) = await _take(broker)
    assert ("b", 1) == (_text(other), other.handle.deliveries)


async def test_a_message_becomes_a_dead_letter(broker):
    """A dead letter has the reason and the message, or the bytes given instead."""
    for text, data in (("a", None), ("b", _message("b, changed").message), ("c", b"\xff nothing")):
        await broker.kick(_message(text))
        (taken,) = await _take(broker)
        assert await taken.handle.dead_letter(Reason.PERMANENT, "broken", data=data)
    letters = await broker.dead_letters.page()
    assert ["a", "b, changed", ""] == [letter.task_id for letter in letters]
    assert ["shop:task", "shop:task", ""] == [letter.task for letter in letters]
    first = letters[0]
    assert (Reason.PERMANENT, "broken", 1, _message("a").message) == (
        first.reason,
        first.detail,
        first.deliveries,
        first.data,
    )
    assert timedelta(0) <= datetime.now(UTC) - first.died_at < timedelta(minutes=1)


@pytest.mark.requirement("CF-28")
async def test_a_replayed_letter_is_a_new_message(broker):
    """A replayed letter is sent once, without its attempts, however often the id is given."""
    await broker.kick(_message("a", bm_attempt="3", bm_failures="[]", shop="x"))
    (taken,) = await _take(broker)
    await taken.handle.dead_letter(Reason.EXHAUSTED, "")
    (letter,) = await broker.dead_letters.page()
    assert [letter.id] == await broker.dead_letters.replay([letter.id, letter.id, "99"])
    assert [] == await broker.dead_letters.replay()
    (again,) = await _take(broker)
    assert ({"shop": "x"}, 1) == (json.loads(again.data)["labels"], again.handle.deliveries)


async def test_the_broker_is_idle_when_no_message_waits_or_is_held(broker):
    """Delayed messages don't count."""
    await broker.wait_idle()
    await broker.kick(_message("later", delay=1000))
    await broker.wait_idle()
    await broker.kick(_message("a"))
    waiting = asyncio.ensure_future(broker.wait_idle())
    (taken,) = await _take(broker)
    await _settle_all()
    assert not waiting.done()
    await taken.handle.retry(_message("b").message, delay=0)
    await _settle_all()
    assert not waiting.done()
    (taken,) = await _take(broker)
    await taken.handle.acknowledge()
    await waiting
    await broker.ping()


async def test_a_listener_that_is_cancelled_loses_nothing(broker):
    """A listener may be cancelled at any moment without losing a message."""
    taken = deque()
    for number in range(60):
        messages = broker.listen()
        listening = asyncio.ensure_future(anext(messages))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        await broker.kick(_message(str(number)))
        for _ in range(number % 3):
            await asyncio.sleep(0)
        listening.cancel()
        await asyncio.wait({listening})
        if not listening.cancelled():
            taken.append(_text(listening.result()))
        await messages.aclose()
    taken += [_text(each) for each in await _take(broker, broker.waiting)] if broker.waiting else []
    assert list(map(str, range(60))) == sorted(taken, key=int)


async def test_each_reader_gets_a_copy_of_the_dependencies(broker):
    """TaskIQ's receiver, which writes into the dependencies, changes a copy."""
    broker.add_dependency_context({"a": 1})
    broker.custom_dependency_context["b"] = 2
    broker.add_dependency_context({"c": 3})
    assert {"a": 1, "c": 3} == broker.custom_dependency_context
    broker.custom_dependency_context = {}
    assert {} == broker.custom_dependency_context
