"""How messages end, also while the server is away."""

import asyncio
import time

import anyio
import pytest
from tests.contrib.redis.relays import relay
from tests.contrib.taskiq.streams.helpers import STREAM, listening, message, nothing, take, text_of
from tests.contrib.taskiq.timing import AT_ONCE, PATIENCE

from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason
from bandmaster.kernel import TransientError

pytestmark = pytest.mark.anyio


async def test_many_messages_are_acknowledged_at_once(worker, raw) -> None:
    """Acknowledgements of one turn of the event loop are one command, and each caller waits for the answer."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker, raw() as client:
            for number in range(40):
                await broker.kick(message(number))
            deliveries = await take(broker, 40)
            await anyio.sleep(0.05)
            before = (await client.info("commandstats"))["cmdstat_xack"]["calls"] if await _acked(client) else 0
            await asyncio.gather(*(delivery.handle.acknowledge() for delivery in deliveries))
            assert (await client.info("commandstats"))["cmdstat_xack"]["calls"] - before == 1
            assert await client.xlen(STREAM) == 0


async def _acked(client) -> bool:
    return "cmdstat_xack" in await client.info("commandstats")


async def test_an_acknowledgement_survives_cut_connections(own_server, worker) -> None:
    """An acknowledgement is retried when its connection is cut."""
    with anyio.fail_after(PATIENCE):
        async with relay(own_server.port) as relayed:
            url = f"redis://127.0.0.1:{relayed.port}/1"
            async with worker(url=url, lease=2, redis={"retries": 0}) as broker:
                await broker.kick(message())
                [delivery] = await take(broker)
                relayed.cuts[b"XACK"] = relayed.cuts[b"EVALSHA"] = 2
                await delivery.handle.acknowledge()
                assert (await broker.depth()).held == 0


async def test_an_acknowledgement_survives_an_outage(own_server, worker) -> None:
    """An acknowledgement waits for a server that is away for less than a lease."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url, lease=3) as broker:
            await broker.kick(message())
            [delivery] = await take(broker)
            own_server.stop()
            telling = asyncio.ensure_future(delivery.handle.acknowledge())
            await anyio.sleep(0.3)
            assert not telling.done()
            own_server.start()
            await telling
            assert (await broker.depth()).held == 0


async def test_an_acknowledgement_fails_after_a_lease(own_server, worker) -> None:
    """After a lease without the server an acknowledgement fails, and the message is redelivered."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url, lease=0.5, slots=1) as broker:
            await broker.kick(message())
            [delivery] = await take(broker)
            own_server.stop()
            started = time.monotonic()
            with pytest.raises(TransientError):
                await delivery.handle.acknowledge()
            assert time.monotonic() - started < 0.5 + AT_ONCE
            own_server.start()
            assert (await take(broker))[0].handle.deliveries == 2


async def test_an_acknowledgement_survives_a_cancellation(worker) -> None:
    """A message is acknowledged though the caller is cancelled."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker:
            await broker.kick(message())
            [delivery] = await take(broker)
            with anyio.move_on_after(0):
                await delivery.handle.acknowledge()
            await anyio.sleep(0.1)
            assert (await broker.depth()).held == 0


@pytest.mark.parametrize("delay", [0, 0.4])
async def test_retry(worker, delay) -> None:
    """A retry is delivered as a new message after the delay, and the slot is free meanwhile."""
    with anyio.fail_after(PATIENCE):
        async with worker(slots=1) as broker:
            await broker.kick(message("first"))
            [delivery] = await take(broker)
            started = time.monotonic()
            assert await delivery.handle.retry(message("second").message, delay=delay)
            assert not await delivery.handle.retry(message("third").message, delay=0)
            await broker.kick(message("other"))
            came = {text_of(one): one for one in [await _done(broker) for _ in range(2)]}
            assert set(came) == {"second", "other"}
            assert came["second"].handle.deliveries == 1
            assert delay <= time.monotonic() - started < delay + AT_ONCE


async def _done(broker):
    [delivery] = await take(broker)
    await delivery.handle.acknowledge()
    return delivery


async def test_dead_letter(worker) -> None:
    """A message becomes a dead letter, with other data if given, and the slot is free."""
    with anyio.fail_after(PATIENCE):
        async with worker("me", slots=1) as broker:
            for data in (None, b"other"):
                await broker.kick(message("bad"))
                [delivery] = await take(broker)
                assert await delivery.handle.dead_letter(Reason.PERMANENT, "it won't do", data=data)
            plain, other = await broker.dead_letters.page()
            assert (await broker.depth()).held == 0
    assert (plain.data, other.data) == (message("bad").message, b"other")
    assert (plain.task, plain.task_id, plain.reason, plain.detail, plain.deliveries) == (
        "module:task",
        "id of bad",
        Reason.PERMANENT,
        "it won't do",
        1,
    )
    assert [one.consumer for one in plain.history] == ["me"]


async def test_dead_letter_on_a_full_server(own_server, worker, raw) -> None:
    """Without memory for the dead letter the message stays and is redelivered."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url, lease=0.5) as broker, raw(url) as client:
            await broker.kick(message())
            [delivery] = await take(broker)
            await client.config_set("maxmemory", 1)
            with pytest.raises(TransientError):
                await delivery.handle.dead_letter(Reason.PERMANENT, "")
            with pytest.raises(TransientError):
                await delivery.handle.retry(b"", delay=1)
            depth = await broker.depth()
            assert (depth.held, depth.delayed, depth.dead) == (1, 0, 0)
            await client.config_set("maxmemory", 0)
            assert (await take(broker))[0].handle.deliveries == 2


async def test_release(worker) -> None:
    """A released message goes to another worker at once, and the delivery isn't counted."""
    with anyio.fail_after(PATIENCE):
        async with worker("one", lease=30) as one, worker("two", lease=30) as two:
            for begun in (False, True):
                await one.kick(message())
                async with listening(one) as messages:
                    delivery = await anext(messages)
                    assert not begun or delivery.handle.begin(lambda: None)
                async with listening(two) as messages:
                    reading = asyncio.ensure_future(anext(messages))
                    await anyio.sleep(0.2)
                    assert await delivery.handle.release()
                    given = await reading
                assert given.handle.deliveries == 1
                await given.handle.acknowledge()


async def test_after_the_end(worker) -> None:
    """An ended message can't begin or be released."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker:
            await broker.kick(message())
            [delivery] = await take(broker)
            await delivery.handle.acknowledge()
            await delivery.handle.acknowledge()
            assert not delivery.handle.begin(lambda: None)
            assert not await delivery.handle.release()
            async with listening(broker) as messages:
                await nothing(messages)
