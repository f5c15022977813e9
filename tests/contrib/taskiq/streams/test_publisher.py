"""Sending: the stored messages, and the time of their delivery."""

import threading
import time

import anyio
import pytest
from tests.contrib.redis.relays import relay
from tests.contrib.taskiq.streams.helpers import PREFIX, STREAM, listening, message, nothing, text_of
from tests.contrib.taskiq.timing import AT_ONCE, PATIENCE

from bandmaster.kernel import TransientError

pytestmark = pytest.mark.anyio


async def test_a_message_before_any_worker(worker, raw) -> None:
    """A message is stored though neither group nor worker exists, with the task's name and id."""
    async with worker() as sender, raw() as client:
        await client.flushdb()
        await sender.kick(message("early"))
        [(_, fields)] = await client.xrange(STREAM)
        assert fields == {b"data": message("early").message, b"task": b"module:task", b"task_id": b"id of early"}
    with anyio.fail_after(PATIENCE):
        async with worker() as broker, listening(broker) as messages:
            assert text_of(await anext(messages)) == "early"


async def test_another_queue(worker) -> None:
    """The label queue_name sends a message to another queue."""
    with anyio.fail_after(PATIENCE):
        async with worker() as here, worker(queue="other") as there:
            await here.kick(message("over there", queue_name="other"))
            async with listening(there) as messages:
                assert text_of(await anext(messages)) == "over there"
            assert (await here.depth()).waiting == 0


@pytest.mark.parametrize("lease", [1, 30])
async def test_a_delay(worker, lease) -> None:
    """A delayed message is delivered when due, also to a worker that waited before."""
    with anyio.fail_after(PATIENCE):
        async with worker(lease=lease) as broker, worker() as sender, listening(broker) as messages:
            await nothing(messages, 0.2)
            async with listening(broker) as messages:
                started = time.monotonic()
                await sender.kick(message("later", delay="0.6"))
                await sender.kick(message("sooner", delay=0.3))
                assert (await sender.depth()).delayed == 2
                came = [(text_of(await anext(messages)), time.monotonic() - started) for _ in range(2)]
    assert [text for text, _ in came] == ["sooner", "later"]
    assert 0.3 <= came[0][1] < 0.3 + AT_ONCE
    assert 0.6 <= came[1][1] < 0.6 + AT_ONCE


async def test_equal_delayed_messages(worker) -> None:
    """Two equal delayed messages are two messages."""
    async with worker() as sender:
        await sender.kick(message("same", delay="60"))
        await sender.kick(message("same", delay="60"))
        assert (await sender.depth()).delayed == 2


@pytest.mark.parametrize("delay", ["0", "60"])
async def test_once(worker, delay) -> None:
    """Of concurrent messages with one deduplication key one is sent, delayed or not."""
    async with worker() as one, worker() as other:
        async with anyio.create_task_group() as group:
            for broker in (one, other) * 10:
                group.start_soon(broker.kick, message("tick", delay=delay, bm_once="tick-1", bm_once_for="60"))
        await one.kick(message("tock", delay=delay, bm_once="tick-2", bm_once_for="60"))
        depth = await one.depth()
        assert depth.waiting + depth.delayed == 2


async def test_once_for_a_time(worker) -> None:
    """An expired deduplication key can be sent again."""
    async with worker() as broker:
        for _ in range(2):
            await broker.kick(message("tick", bm_once="tick", bm_once_for="0.1"))
        assert (await broker.depth()).waiting == 1
        await anyio.sleep(0.15)
        await broker.kick(message("tick", bm_once="tick", bm_once_for="0.1"))
        assert (await broker.depth()).waiting == 2


@pytest.mark.parametrize(
    "labels", [{"delay": "soon"}, {"delay": "nan"}, {"bm_once": "x", "bm_once_for": "0"}, {"queue_name": "tasks:dead"}]
)
async def test_invalid_labels(worker, labels) -> None:
    """Invalid labels are refused by name, and nothing is sent."""
    async with worker() as broker:
        with pytest.raises(ValueError, match=next(reversed(labels)).removesuffix("_name")):
            await broker.kick(message(**labels))
        assert (await broker.depth()).waiting == 0


@pytest.mark.parametrize("labels", [{}, {"delay": "60"}, {"bm_once": "x"}, {"bm_once": "x", "delay": "60"}])
async def test_a_full_server(own_server, worker, raw, labels) -> None:
    """Without memory sending raises a transient error and leaves nothing of the message."""
    async with worker(url=own_server.url(1)) as broker, raw(own_server.url(1)) as client:
        await client.config_set("maxmemory", 1)
        with pytest.raises(TransientError):
            await broker.kick(message(**labels))
        depth = await broker.depth()
        assert (depth.waiting, depth.delayed) == (0, 0)
        await client.config_set("maxmemory", 0)
        await broker.kick(message(**labels))
        depth = await broker.depth()
        assert depth.waiting + depth.delayed == 1


async def test_nothing_is_trimmed(worker) -> None:
    """500 unread messages stay in the stream."""
    async with worker() as broker:
        for _ in range(10):
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(broker.kick, message())
        assert (await broker.depth()).waiting == 500


async def test_a_sender_alone(worker, raw) -> None:
    """A broker that only sends has no thread and no reading connection, and leaves one wakeup at most."""
    before = set(threading.enumerate())
    async with worker("sender") as broker, raw() as client:
        for seconds in range(9, 0, -1):
            await broker.kick(message(delay=seconds))
        assert await client.xlen(STREAM) == 1
        assert (await broker.depth()).waiting == 0
        assert {one["name"] for one in await client.client_list()} <= {"bandmaster-tasks", ""}
        assert set(threading.enumerate()) == before
        assert await client.exists(f"{PREFIX}tasks:delayed")


async def test_a_lost_answer(worker, own_server) -> None:
    """A message that the client sends again after a lost answer is stored once."""
    with anyio.fail_after(PATIENCE):
        async with relay(own_server.port) as relayed:
            async with worker(url=f"redis://127.0.0.1:{relayed.port}/1") as broker:
                await broker.kick(message("first"))
                relayed.swallows[b"second"] = 2
                await broker.kick(message("second"))
                assert relayed.saw(b"second") >= 3
                assert (await broker.depth()).waiting == 2
                await broker.kick(message("second"))
                assert (await broker.depth()).waiting == 3
