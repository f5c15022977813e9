"""The age of the oldest message that a worker could have."""

import anyio
import pytest
from tests.contrib.taskiq.streams.helpers import STREAM, message, take

from bandmaster.contrib.taskiq import EmbeddedBroker, HasDepth

pytestmark = pytest.mark.anyio


async def test_an_empty_queue_has_no_age(worker) -> None:
    """Neither a queue that nobody has used nor one whose messages are all done has an oldest message."""
    async with worker() as broker:
        assert isinstance(broker, HasDepth)
        assert (await broker.depth()).oldest == 0
        await broker.kick(message())
        (delivery,) = await take(broker)
        await delivery.handle.acknowledge()
        assert (await broker.depth()).oldest == 0


async def test_an_unread_message_ages(worker, raw) -> None:
    """The age is that of the first message which no worker has read, by the server's clock."""
    async with worker() as broker, raw() as client:
        (seconds, microseconds) = await client.time()
        sent = seconds * 1000 + microseconds // 1000 - 90_000
        await client.xadd(STREAM, {"data": message("old").message}, id=f"{sent}-0")
        await broker.kick(message("new"))
        depth = await broker.depth()
        assert (depth.waiting, 90 <= depth.oldest < 150) == (2, True)


async def test_a_message_that_a_worker_holds_has_no_age(worker, raw) -> None:
    """A message whose task runs doesn't wait; the next one does."""
    async with worker() as broker, raw() as client:
        (seconds, _) = await client.time()
        await client.xadd(STREAM, {"data": message("old").message}, id=f"{(seconds - 1000) * 1000}-0")
        await client.xadd(STREAM, {"data": message("next").message}, id=f"{(seconds - 100) * 1000}-0")
        await take(broker)
        depth = await broker.depth()
        assert depth.held >= 1
        assert depth.oldest < 900


async def test_a_released_message_ages_on(worker, raw) -> None:
    """A message that a worker has given back waits for the time since it was sent."""
    async with worker() as broker, raw() as client:
        (seconds, _) = await client.time()
        await client.xadd(STREAM, {"data": message("old").message}, id=f"{(seconds - 60) * 1000}-0")
        (delivery,) = await take(broker)
        assert await delivery.handle.release()
        assert 59 <= (await broker.depth()).oldest < 120


async def test_a_delayed_message_waits_from_its_time_on(worker, raw) -> None:
    """Before its time a delayed message doesn't wait. Afterwards it does, also where no worker runs to move it."""
    async with worker() as broker, raw() as client:
        await broker.kick(message("later", delay=60))
        assert (await broker.depth()).oldest == 0
        ((member, due),) = await client.zrange(f"{STREAM}:delayed", 0, 0, withscores=True)
        await client.zadd(f"{STREAM}:delayed", {member: due - 90_000})
        assert 29 <= (await broker.depth()).oldest < 90


async def test_a_queue_in_memory() -> None:
    """The embedded broker tells the same numbers."""
    now = [100.0]
    broker = EmbeddedBroker(clock=lambda: now[0])
    await broker.kick(message("one"))
    await broker.kick(message("later", delay=30))
    now[0] += 20
    depth = await broker.depth()
    assert (1, 0, 1, 0, 20) == (depth.waiting, depth.held, depth.delayed, depth.dead, depth.oldest)
    now[0] += 20
    depth = await broker.depth()
    assert (2, 0, 40) == (depth.waiting, depth.delayed, depth.oldest)
    messages = broker.listen()
    await anext(messages)
    depth = await broker.depth()
    assert (1, 1, 10) == (depth.waiting, depth.held, depth.oldest)
    await messages.aclose()


async def test_the_age_of_many(worker) -> None:
    """The script reads a bounded part of a long queue."""
    async with worker() as broker:
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(broker.kick, message(str(number)))
        depth = await broker.depth()
        assert (200, True) == (depth.waiting, depth.oldest < 60)
