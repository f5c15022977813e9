"""How a stopping worker releases its messages."""

import asyncio
import signal
import time

import anyio
import pytest
from tests.contrib.taskiq.streams.helpers import STREAM, broker_of, listening, message, take, text_of, until
from tests.contrib.taskiq.timing import AT_ONCE, PATIENCE

pytestmark = pytest.mark.anyio


async def test_a_backlog(worker) -> None:
    """Unstarted messages go to a waiting worker at once, and their deliveries aren't counted."""
    with anyio.fail_after(PATIENCE):
        async with worker(lease=30) as broker, worker(lease=30) as other:
            for number in range(5):
                await broker.kick(message(number))
            async with listening(broker) as messages:
                assert (await anext(messages)).handle.begin(lambda: None)
                given = [await anext(messages) for _ in range(2)]
                async with listening(other) as others:
                    reading = asyncio.ensure_future(anext(others))
                    await anyio.sleep(0.3)
                    started = time.monotonic()
                    assert await broker.release_unstarted() == 4
                    deliveries = [await reading, *[await anext(others) for _ in range(3)]]
                    assert time.monotonic() - started < AT_ONCE
                with pytest.raises(StopAsyncIteration):
                    await anext(messages)
            assert [text_of(delivery) for delivery in deliveries] == [1, 2, 3, 4]
            assert {delivery.handle.deliveries for delivery in deliveries} == {1}
            assert not any(delivery.handle.begin(lambda: None) for delivery in given)


async def test_a_release_to_several_workers(worker) -> None:
    """Released messages go to several workers at once."""
    with anyio.fail_after(PATIENCE):
        async with worker(lease=30) as broker, worker(lease=30, slots=3) as one, worker(lease=30, slots=3) as two:
            for number in range(6):
                await broker.kick(message(number))
            came = []

            async def work(other) -> None:
                async with listening(other) as messages:
                    for _ in range(3):
                        came.append(await anext(messages))

            async with listening(broker) as messages:
                await anext(messages)
                async with anyio.create_task_group() as group:
                    group.start_soon(work, one)
                    group.start_soon(work, two)
                    await anyio.sleep(0.3)
                    assert await broker.release_unstarted() == 6
                    with anyio.fail_after(AT_ONCE):
                        await until(lambda: _is(len(came) == 6))
            assert sorted(map(text_of, came)) == list(range(6))


async def _is(so):
    return so


async def test_a_release_of_many_messages(worker, raw) -> None:
    """More messages than one script handles are released, and begun ones can be acknowledged."""
    count = 1200
    with anyio.fail_after(PATIENCE):
        async with worker(lease=30, slots=2000) as broker, raw() as client:
            async with client.pipeline(transaction=False) as pipe:
                for number in range(count):
                    pipe.xadd(STREAM, {"data": message(number).message})
                await pipe.execute()
            async with listening(broker) as messages:
                begun = [await anext(messages) for _ in range(2)]
                assert all(delivery.handle.begin(lambda: None) for delivery in begun)
                await until(lambda: _all_held(broker, count))
                started = time.monotonic()
                assert await broker.release_unstarted() == count - 2
                assert time.monotonic() - started < AT_ONCE
            depth = await broker.depth()
            assert (depth.waiting, depth.held) == (count - 2, 2)
            for delivery in begun:
                await delivery.handle.acknowledge()
            assert (await broker.depth()).held == 0


async def _all_held(broker, count):
    return (await broker.depth()).held == count


async def test_nothing_is_delivered_after_a_release(worker) -> None:
    """A message sent right after a release isn't delivered to the worker that stopped."""
    with anyio.fail_after(PATIENCE):
        async with worker(lease=30) as broker:
            for _ in range(10):
                async with listening(broker) as messages:
                    reading = asyncio.ensure_future(anext(messages))
                    await anyio.sleep(0.02)
                    await broker.release_unstarted()
                    await broker.kick(message())
                    await asyncio.wait({reading})
                    assert isinstance(reading.exception(), StopAsyncIteration)
                depth = await broker.depth()
                assert (depth.waiting, depth.held) == (1, 0)
                [delivery] = await take(broker)
                await delivery.handle.acknowledge()


async def test_a_user_with_few_rights(own_server, worker, raw) -> None:
    """A user who may not unblock a read can release all the same."""
    with anyio.fail_after(PATIENCE):
        async with raw(own_server.url(1)) as client:
            await client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "&*", "+@all", "-client")
            url = f"redis://few:pw@127.0.0.1:{own_server.port}/1"
            async with worker(url=url, redis={"client_name": ""}) as broker, listening(broker) as messages:
                await broker.kick(message(1))
                assert (await anext(messages)).handle.begin(lambda: None)
                reading = asyncio.ensure_future(anext(messages))
                await anyio.sleep(0.1)
                assert await broker.release_unstarted() == 0
                await asyncio.wait({reading})
                assert isinstance(reading.exception(), StopAsyncIteration)


async def test_a_release_on_a_full_server(own_server, worker, raw) -> None:
    """A release needs no memory."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url, lease=30) as broker, raw(url) as client, worker(url=url, lease=30) as other:
            await broker.kick(message(1))
            async with listening(broker) as messages:
                await anext(messages)
                await client.config_set("maxmemory", 1)
                assert await broker.release_unstarted() == 1
            assert len(await take(other)) == 1


async def test_shutdown(worker, redis_url, raw) -> None:
    """A shutdown releases all messages, counts the delivery of begun ones, and notifies their holders."""
    lost = []
    broker = broker_of(redis_url, "leaver", lease=30)
    with anyio.fail_after(PATIENCE):
        async with raw() as client:
            await broker.startup()
            for number in range(3):
                await broker.kick(message(number))
            async with listening(broker) as messages:
                delivery = await anext(messages)
                assert delivery.handle.begin(lambda: lost.append(1))
                await broker.shutdown()
            await broker.shutdown()
            await anyio.sleep(0)
            assert lost == [1]
            assert "leaver" not in {one["name"].decode() for one in await client.xinfo_consumers(STREAM, "workers")}
            await until(lambda: _has_no_connections(client))  # the server closes its ends a moment later
        async with worker(lease=30) as other:
            started = time.monotonic()
            assert [one.handle.deliveries for one in await take(other, 3)] == [2, 1, 1]
            assert time.monotonic() - started < AT_ONCE


async def _has_no_connections(client):
    return all(not one["name"].startswith("bandmaster-tasks") for one in await client.client_list())


async def test_a_shutdown_waits_for_acknowledgements(worker, redis_url) -> None:
    """Pending acknowledgements are sent before the messages are released."""
    broker = broker_of(redis_url)
    with anyio.fail_after(PATIENCE):
        await broker.startup()
        await broker.kick(message())
        [delivery] = await take(broker)
        telling = asyncio.ensure_future(delivery.handle.acknowledge())
        await asyncio.sleep(0)
        await broker.shutdown()
        await telling
        async with worker() as other:
            depth = await other.depth()
            assert (depth.waiting, depth.held) == (0, 0)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_shutdown_without_a_server(own_server, by) -> None:
    """A shutdown ends within seconds though the server is gone or hangs, and notifies running tasks."""
    lost = []
    broker = broker_of(own_server.url(1))
    with anyio.fail_after(PATIENCE):
        await broker.startup()
        await broker.kick(message())
        async with listening(broker) as messages:
            assert (await anext(messages)).handle.begin(lambda: lost.append(1))
            own_server.process.send_signal(by)
            try:
                started = time.monotonic()
                await broker.shutdown()
                assert time.monotonic() - started < 5 + AT_ONCE
            finally:
                own_server.process.send_signal(signal.SIGCONT)
    await anyio.sleep(0)
    assert lost == [1]


async def test_a_start_after_a_shutdown(worker, redis_url) -> None:
    """A broker can be started again after the shutdown."""
    broker = broker_of(redis_url)
    with anyio.fail_after(PATIENCE):
        for _ in range(2):
            await broker.startup()
            await broker.startup()
            await broker.kick(message())
            for delivery in await take(broker):
                await delivery.handle.acknowledge()
            await broker.shutdown()
