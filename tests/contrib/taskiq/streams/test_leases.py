"""Leases: the holder of a message, the duration, and the next holder."""

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import anyio
import pytest
from tests.contrib.taskiq.streams.helpers import (
    STREAM,
    broker_of,
    listening,
    message,
    nothing,
    take,
    text_of,
    until,
    worker_process,
)
from tests.contrib.taskiq.timing import AT_ONCE, PATIENCE

from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason
from bandmaster.contrib.taskiq.errors import PoisonError
from bandmaster.contrib.taskiq.results.result_backends import MemoryResults
from bandmaster.contrib.taskiq.streams import lease_renewal

pytestmark = pytest.mark.anyio


async def _line(process) -> str:
    return await anyio.to_thread.run_sync(process.stdout.readline)


async def test_a_killed_worker(worker, redis_url) -> None:
    """A killed process's message is redelivered within 1.3 leases, though no other arrives."""
    lease = 1.5
    with anyio.fail_after(PATIENCE):
        async with worker(lease=lease) as broker:
            with worker_process(redis_url, "victim", lease=lease) as process:
                await broker.kick(message())
                assert await _line(process) == "took 1\n"
                async with listening(broker) as messages:
                    await nothing(messages, 1.5 * lease)
                process.kill()
                killed = time.monotonic()
                async with listening(broker) as messages:
                    delivery = await anext(messages)
            assert time.monotonic() - killed < 1.3 * lease + AT_ONCE
            assert delivery.handle.deliveries == 2
            assert delivery.handle.begin(lambda: None)
            assert await delivery.handle.dead_letter(Reason.INVALID, "seen")
            [letter] = await broker.dead_letters.page()
            assert [one.consumer for one in letter.history] == ["victim", broker.consumer]


async def test_a_message_that_kills(worker, redis_url) -> None:
    """A message that kills every worker becomes a dead letter with the history after the last delivery."""
    poisoned = []
    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.5, max_deliveries=2, slots=1) as broker:
            broker.with_result_backend(MemoryResults())
            broker.on_poison = poisoned.append
            await broker.kick(message("deadly"))
            with (
                worker_process(redis_url, "one", lease=0.5, what="die") as one,
                worker_process(redis_url, "two", lease=0.5, what="die") as two,
            ):
                assert {await _line(one), await _line(two)} == {"took 1\n", "took 2\n"}
            await broker.kick(message("harmless"))
            [busy] = await take(broker)
            async with listening(broker) as messages:
                reading = asyncio.ensure_future(anext(messages))
                # It has no slot free, and looks all the same.
                await until(broker.dead_letters.count)
                reading.cancel()
                await asyncio.wait({reading})
            [letter] = await broker.dead_letters.page()
            assert text_of(busy) == "harmless"
            # Whoever waits for it is told.
            result = await broker.result_backend.get_result("id of deadly")
            assert (result.is_err, type(result.error)) == (True, PoisonError)
    assert ["id of deadly"] == poisoned
    assert (letter.reason, letter.deliveries, letter.task, letter.task_id) == (
        Reason.POISON,
        2,
        "module:task",
        "id of deadly",
    )
    assert {one.consumer for one in letter.history} == {"one", "two"}
    assert letter.history[0].until < letter.history[1].until <= letter.died_at


async def test_suspects(worker, redis_url) -> None:
    """Messages at their last delivery are delivered one at a time, so that one that kills takes no other along."""
    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.5, max_deliveries=2) as broker:
            for number in range(3):
                await broker.kick(message(f"number {number}"))
            with worker_process(redis_url, "victim", lease=0.5, what="hold") as victim:
                for _ in range(3):
                    await _line(victim)
            for number in range(3):
                [delivery] = await take(broker)
                assert (text_of(delivery), delivery.handle.deliveries) == (f"number {number}", 2)
                async with listening(broker) as messages:
                    await nothing(messages, 0.8)
                await broker.kick(message("beside"))
                [beside] = await take(broker)
                assert text_of(beside) == "beside"
                await beside.handle.acknowledge()
                await delivery.handle.acknowledge()
            assert await broker.dead_letters.count() == 0


async def test_a_long_task(worker) -> None:
    """A task that takes several leases runs once, with another worker listening."""
    lost = []
    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.5) as broker, worker(lease=0.5) as other:
            await broker.kick(message())
            async with listening(broker) as messages, listening(other) as others:
                delivery = await anext(messages)
                assert delivery.handle.begin(lambda: lost.append(1))
                async with anyio.create_task_group() as group:
                    group.start_soon(nothing, messages, 2)
                    group.start_soon(nothing, others, 2)
            await delivery.handle.acknowledge()
            assert (await broker.depth()).held == 0
    assert lost == []


async def test_a_blocked_loop(worker, redis_url) -> None:
    """A task that blocks the event loop for longer than a lease keeps the lease, and that of the next message."""
    ended = threading.Event()

    async def look_on() -> list[str]:
        broker = broker_of(redis_url, lease=0.5)
        await broker.startup()
        messages = broker.listen()
        reading = asyncio.ensure_future(anext(messages))
        while not ended.is_set():
            await asyncio.sleep(0.05)
        taken = [text_of(reading.result())] if reading.done() else []
        reading.cancel()
        await asyncio.wait({reading})
        await broker.shutdown()
        return taken

    with anyio.fail_after(PATIENCE), ThreadPoolExecutor() as pool:
        async with worker(lease=0.5) as broker:
            for number in range(2):
                await broker.kick(message(number))
            async with listening(broker) as messages:
                first, second = await anext(messages), await anext(messages)
                assert first.handle.begin(lambda: None)
                looking = pool.submit(asyncio.run, look_on())
                time.sleep(2)
                ended.set()
                assert await asyncio.wrap_future(looking) == []
                assert second.handle.begin(lambda: None)


async def test_a_delivery_while_the_loop_is_blocked(worker, redis_url) -> None:
    """A message delivered while a task blocked the event loop begins all the same."""

    async def send() -> None:
        sender = broker_of(redis_url)
        await sender.startup()
        await sender.kick(message())
        await sender.shutdown()

    with anyio.fail_after(PATIENCE), ThreadPoolExecutor() as pool:
        async with worker(lease=1) as broker, listening(broker) as messages:
            reading = asyncio.ensure_future(anext(messages))
            await anyio.sleep(0.2)
            sending = pool.submit(asyncio.run, send())
            time.sleep(1.5)
            sending.result()
            delivery = await reading
            assert delivery.handle.deliveries == 1
            assert delivery.handle.begin(lambda: None)
            await delivery.handle.acknowledge()
            assert (await broker.depth()).held == 0


@pytest.mark.parametrize("hours", [-5, 5])
async def test_clocks_that_disagree(worker, redis_url, monkeypatch, hours) -> None:
    """A worker whose clock is hours off neither takes nor loses messages, and keeps delays."""
    right = time.time
    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.5) as broker:
            monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)
            async with worker(lease=0.5) as other:
                await other.kick(message("a"))
                await other.kick(message("b", delay="0.3"))
                started = time.monotonic()
                one, two = await take(broker, 2)
                assert 0.25 < time.monotonic() - started < 0.3 + AT_ONCE
                async with listening(other) as messages:
                    await nothing(messages, 1)
                await one.handle.acknowledge()
                await two.handle.acknowledge()


async def test_a_lost_lease(worker, raw) -> None:
    """The holder of a lost lease is notified once, and can't begin, retry, dead-letter or release the message."""
    told = []
    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.5) as broker, raw() as client:
            await broker.kick(message("runs"))
            await broker.kick(message("waits"))
            async with listening(broker) as messages:
                runs, waits = await anext(messages), await anext(messages)
                assert runs.handle.begin(lambda: told.append(threading.current_thread()))
                await client.xclaim(STREAM, "workers", "thief", 0, [runs.handle.id, waits.handle.id])
                await until(lambda: _is(told))
                await client.xclaim(STREAM, "workers", "thief", 0, [runs.handle.id, waits.handle.id])
                assert told == [threading.main_thread()]
                assert not waits.handle.begin(lambda: told.append("never"))
                assert not await runs.handle.retry(b"", delay=0)
                assert not await runs.handle.dead_letter(Reason.PERMANENT, "")
                assert not await runs.handle.release()
            assert (await broker.depth()).held == 2
            await runs.handle.acknowledge()
            assert (await broker.depth()).held == 1
    assert len(told) == 1


async def _is(so):
    return so


async def test_no_task_begins_without_a_valid_lease(own_server, worker) -> None:
    """While the server is away for longer than a lease no task begins; afterwards the message comes again."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url, lease=0.5) as broker:
            await broker.kick(message())
            async with listening(broker) as messages:
                delivery = await anext(messages)
                own_server.stop()
                await anyio.sleep(0.7)
                assert not delivery.handle.begin(lambda: None)
                own_server.start()
                delivery = await anext(messages)
                assert delivery.handle.begin(lambda: None)
                await delivery.handle.acknowledge()
    assert delivery.handle.deliveries <= 2


async def test_fetched_messages_wait_through_an_outage(own_server, worker) -> None:
    """Fetched messages wait for the server for several leases, and the delivery isn't counted."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url, lease=0.5) as broker:
            for number in range(3):
                await broker.kick(message(number))
            async with listening(broker) as messages:
                await anext(messages)
                await until(lambda: _held(broker, 3))
                own_server.stop()
                await anyio.sleep(0.7)
                reading = asyncio.ensure_future(anext(messages))
                await anyio.sleep(0.5)
                assert not reading.done()
                own_server.start()
                for delivery in (await reading, await anext(messages)):
                    assert delivery.handle.deliveries == 1
                    assert delivery.handle.begin(lambda: None)
                    await delivery.handle.acknowledge()


async def _held(broker, count):
    return (await broker.depth()).held == count


async def test_a_message_lost_before_its_delivery(worker, raw) -> None:
    """A fetched message that another worker has by now isn't delivered."""
    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.5) as broker, raw() as client:
            for number in range(3):
                await broker.kick(message(number))
            async with listening(broker) as messages:
                await anext(messages)
                await until(lambda: _held(broker, 3))
                second, third = [
                    one["message_id"] for one in await client.xpending_range(STREAM, "workers", "-", "+", 3)
                ][1:]
                await client.xclaim(STREAM, "workers", "thief", 0, [second])
                await client.xack(STREAM, "workers", third)
                await client.xdel(STREAM, third)
                await anyio.sleep(0.4)
                await client.xclaim(STREAM, "workers", "thief", 0, [second])
                await broker.kick(message("next"))
                assert text_of(await anext(messages)) == "next"


async def test_an_outage_within_a_lease(own_server, worker) -> None:
    """A message delivered before a short outage keeps the lease and begins afterwards."""
    url = own_server.url(1)
    told = []
    with anyio.fail_after(PATIENCE):
        async with worker(url=url, lease=2) as broker:
            await broker.kick(message())
            async with listening(broker) as messages:
                delivery = await anext(messages)
                own_server.restart(kill=True)
                assert delivery.handle.begin(lambda: told.append(1))
                await nothing(messages, 2.5)
                await delivery.handle.acknowledge()
            assert (await broker.depth()).held == 0
    assert told == []


async def test_a_dropped_delivery(worker) -> None:
    """A delivery that no code holds any more is redelivered when the lease expires."""
    with anyio.fail_after(PATIENCE):
        async with worker(lease=1.5, slots=1) as broker:
            await broker.kick(message())
            delivery = (await take(broker))[0]
            assert delivery.handle.deliveries == 1
            del delivery
            gc.collect()
            assert (await take(broker))[0].handle.deliveries == 2


async def test_no_leases(worker, raw) -> None:
    """Without leases nothing is renewed; the first lease opens the connection."""

    async def names() -> set[str]:
        return {one["name"] for one in await client.client_list()}

    async def renewing() -> bool:
        return "bandmaster-tasks-leases" in await names()

    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.5) as broker, raw() as client, listening(broker) as messages:
            await nothing(messages, 0.6)
            assert "bandmaster-tasks-read" not in await names()  # it has been cancelled
            async with listening(broker) as messages:
                reading = asyncio.ensure_future(anext(messages))
                await anyio.sleep(0.5)
                assert {"bandmaster-tasks", "bandmaster-tasks-read"} <= await names()
                assert not await renewing()
                await broker.kick(message())
                assert await reading
                await until(renewing)


async def test_an_idle_worker(worker, raw) -> None:
    """An idle worker with a long lease sends three commands a second at most."""

    async def commands() -> int:
        return (await client.info("stats"))["total_commands_processed"]

    async with worker(lease=30) as broker, raw() as client, listening(broker) as messages:
        reading = asyncio.ensure_future(anext(messages))
        await anyio.sleep(0.3)
        before, began = await commands(), time.monotonic()
        await anyio.sleep(1)
        assert await commands() - before <= 3 * (time.monotonic() - began) + 1
        reading.cancel()
        await asyncio.wait({reading})


async def test_consumers_that_are_gone(worker, raw) -> None:
    """Silent consumers are removed, except those that hold messages."""
    with anyio.fail_after(PATIENCE):
        async with worker("here", lease=30, forget_after=0.3) as broker, raw() as client:

            async def consumers() -> set[bytes]:
                return {one["name"] for one in await client.xinfo_consumers(STREAM, "workers")}

            async def are_removed() -> bool:
                return await consumers() - {b"here"} == {b"holds"}

            await broker.kick(message())
            await client.xreadgroup("workers", "holds", {STREAM: ">"})
            await client.xgroup_createconsumer(STREAM, "workers", "gone")
            await anyio.sleep(0.35)
            async with listening(broker) as messages:
                reading = asyncio.ensure_future(anext(messages))
                await until(are_removed)
                reading.cancel()
                await asyncio.wait({reading})
        assert await _pending(worker) == 1


async def _pending(worker) -> int:
    async with worker() as broker:
        return (await broker.depth()).held


async def test_the_renewal_ends_though_a_cancellation_is_lost(worker, monkeypatch) -> None:
    """The renewal's thread ends though its first cancellation is lost."""
    renewing = threading.Event()

    async def renew(*_):
        renewing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30)

    monkeypatch.setattr(lease_renewal, "renew", renew)
    with anyio.fail_after(PATIENCE):
        async with worker(lease=0.3) as broker:
            await broker.kick(message())
            await take(broker)
            assert await anyio.to_thread.run_sync(renewing.wait, 5)
            began = time.monotonic()
        assert time.monotonic() - began < AT_ONCE
