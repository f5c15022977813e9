"""The broker that needs no server."""

import asyncio
import json
from collections import deque
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from taskiq import BrokerMessage

from bandmaster.contrib.taskiq import DeadLetter, EmbeddedBroker, Reason
from bandmaster.contrib.taskiq.dead_letters.memory import MOST_LETTERS, MemoryDeadLetters

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 7, 1, tzinfo=UTC)


class Clock:
    """Seconds that the test tells."""

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
    async with asyncio.timeout(5):
        taken = [await anext(messages) for _ in range(count)]
    await messages.aclose()
    return taken


async def _settle_all():
    for _ in range(5):
        await asyncio.sleep(0)


# -- order and time --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TQ-1")
async def test_messages_come_in_the_order_of_sending(broker):
    """Also to a listener that waits already."""
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


async def test_several_listeners_share_them(broker):
    """Each message goes to one."""
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
    """Behind those that came before its time, and before those that came after; the earliest first."""
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


async def test_a_listener_that_waits_gets_a_delayed_message_in_time():
    """By the real clock."""
    broker = EmbeddedBroker()
    began = asyncio.get_running_loop().time()
    await broker.kick(_message("a", delay=0.05))
    assert ["a"] == [_text(each) for each in await _take(broker)]
    assert 0.05 <= asyncio.get_running_loop().time() - began + 0.001


async def test_an_earlier_message_wakes_a_listener_that_waits_for_a_later(broker):
    """It doesn't sleep through it."""
    await broker.kick(_message("late", delay=1000))
    taking = asyncio.ensure_future(_take(broker))
    await _settle_all()
    await broker.kick(_message("now"))
    assert ["now"] == [_text(each) for each in await taking]


async def test_a_message_of_its_kind_is_sent_once(broker, clock):
    """For as long as it says; then another may be."""
    for text, key, kept in (("a", "x", "10"), ("b", "x", "10"), ("c", "y", 5.0), ("d", "x", "10")):
        await broker.kick(_message(text, bm_once=key, bm_once_for=kept))
    assert ["a", "c"] == [_text(each) for each in await _take(broker, 2)]
    clock.now += 10
    await broker.kick(_message("e", bm_once="x", bm_once_for="10"))
    await broker.kick(_message("f", bm_once="z"))
    await broker.kick(_message("g", bm_once="z"))
    assert ["e", "f", "g"] == [_text(each) for each in await _take(broker, 3)]


# -- what becomes of them --------------------------------------------------------------------------------------------


async def test_what_is_given_back_is_the_next(broker):
    """Before all that wait, and counted as given out."""
    await broker.kick(_message("a"))
    await broker.kick(_message("b"))
    (first,) = await _take(broker)
    assert (1, True) == (first.handle.deliveries, first.handle.begin(print))
    assert await first.handle.release()
    assert not await first.handle.release()
    again, second = await _take(broker, 2)
    assert (["a", "b"], 2) == ([_text(again), _text(second)], again.handle.deliveries)
    assert first.handle.id == again.handle.id


async def test_what_is_done_is_gone(broker):
    """Whoever asks for more gets nothing."""
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


async def test_another_stands_in_its_place(broker, clock):
    """After its delay; with deliveries of its own."""
    await broker.kick(_message("a"))
    (taken,) = await _take(broker)
    assert await taken.handle.retry(_message("b").message, delay=5)
    assert 1 == broker.waiting
    clock.now += 5
    (other,) = await _take(broker)
    assert ("b", 1) == (_text(other), other.handle.deliveries)


async def test_a_message_is_buried(broker):
    """Whole, with the reason; other bytes stand in its place where they are given."""
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
async def test_a_letter_is_replayed_as_it_was_sent_first(broker):
    """Without the count of its attempts; once, however often it is named."""
    await broker.kick(_message("a", bm_attempt="3", bm_failures="[]", shop="x"))
    (taken,) = await _take(broker)
    await taken.handle.dead_letter(Reason.EXHAUSTED, "")
    (letter,) = await broker.dead_letters.page()
    assert [letter.id] == await broker.dead_letters.replay([letter.id, letter.id, "99"])
    assert [] == await broker.dead_letters.replay()
    (again,) = await _take(broker)
    assert ({"shop": "x"}, 1) == (json.loads(again.data)["labels"], again.handle.deliveries)


async def test_idle_is_when_nothing_waits_and_nothing_is_held(broker):
    """But for what is delayed."""
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
    """Whenever it happens."""
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


async def test_each_who_asks_gets_dependencies_of_ones_own(broker):
    """TaskIQ's receiver writes into them."""
    broker.add_dependency_context({"a": 1})
    broker.custom_dependency_context["b"] = 2
    broker.add_dependency_context({"c": 3})
    assert {"a": 1, "c": 3} == broker.custom_dependency_context
    broker.custom_dependency_context = {}
    assert {} == broker.custom_dependency_context


# -- dead letters ----------------------------------------------------------------------------------------------------


def _letter(text="a", died_at=NOW):
    return DeadLetter(
        id="",
        task="t",
        task_id=text,
        reason=Reason.POISON,
        detail="",
        deliveries=3,
        died_at=died_at,
        data=_message(text).message,
    )


async def test_letters_come_in_pages():
    """Oldest first."""
    letters = MemoryDeadLetters()
    ids = [await letters.add(_letter(str(number))) for number in range(5)]
    assert ids[:2] == [letter.id for letter in await letters.page(limit=2)]
    assert ids[2:4] == [letter.id for letter in await letters.page(after=ids[1], limit=2)]
    assert [] == await letters.page(after=ids[-1])
    assert ("3", 5) == ((await letters.get(ids[3])).task_id, await letters.count())
    assert None is await letters.get("99")


async def test_letters_are_forgotten():
    """By id, by age, or all."""
    letters = MemoryDeadLetters()
    ids = [await letters.add(_letter(died_at=NOW + timedelta(days=number))) for number in range(5)]
    assert 1 == await letters.purge([ids[0], ids[0], "99"])
    assert 2 == await letters.purge(before=NOW + timedelta(days=3))
    assert 0 == await letters.purge([ids[4]], before=NOW)
    assert ids[3:] == [letter.id for letter in await letters.page()]
    assert 2 == await letters.purge()
    assert 0 == await letters.count()


async def test_only_the_last_letters_are_kept():
    """Memory isn't endless; ids aren't used again."""
    letters = MemoryDeadLetters()
    for _ in range(MOST_LETTERS + 2):
        await letters.add(_letter())
    assert (MOST_LETTERS, "3") == (await letters.count(), (await letters.page(limit=1))[0].id)


async def test_letters_that_belong_to_no_broker_are_not_sent():
    """And not lost."""
    letters = MemoryDeadLetters()
    await letters.add(_letter())
    with pytest.raises(RuntimeError, match="MemoryDeadLetters was made without send"):
        await letters.replay()
    assert 1 == await letters.count()
