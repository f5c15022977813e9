"""How messages reach a worker, through failures of the server."""

import random
from contextlib import suppress

import anyio
import pytest
from tests.contrib.redis.relays import relay
from tests.contrib.taskiq.streams.helpers import STREAM, listening, message, nothing, take, text_of, until
from tests.contrib.taskiq.timing import PATIENCE
from tests.logged import capture_logs

from bandmaster.kernel import TransientError

pytestmark = pytest.mark.anyio


async def test_slots(worker) -> None:
    """A worker holds as many messages as slots, and an acknowledgement makes room."""
    with anyio.fail_after(PATIENCE):
        async with worker(slots=3) as broker, worker() as sender, listening(broker) as messages:
            for number in range(5):
                await sender.kick(message(number))
            first, *_ = [await anext(messages) for _ in range(3)]
            await nothing(messages)
            depth = await sender.depth()
            assert (depth.waiting, depth.held) == (2, 3)
            async with listening(broker) as messages:
                await first.handle.acknowledge()
                assert text_of(await anext(messages)) == 3


async def test_acknowledged_messages_leave_the_stream(worker, raw) -> None:
    """An acknowledged message leaves nothing in Redis, except the key against sending twice."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker, raw() as client:
            for _ in range(3):
                await broker.kick(message())
            for delivery in await take(broker, 3):
                await delivery.ack()
            assert await client.xlen(STREAM) == 0
            assert (await client.xpending(STREAM, "workers"))["pending"] == 0
            # But for what keeps a message from being sent twice, for a minute.
            assert [key for key in await client.keys() if b":once:" not in key] == [STREAM.encode()]


async def test_one_listener(worker) -> None:
    """A second listener is refused until the first has ended."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker:
            await broker.kick(message())
            async with listening(broker) as messages:
                await anext(messages)
                with pytest.raises(RuntimeError, match="listens to this broker already"):
                    await anext(broker.listen())
            await broker.kick(message("next"))
            assert text_of((await take(broker))[0]) == "next"


async def test_messages_of_other_programs(worker, raw) -> None:
    """Entries of other programs are delivered, so that they become dead letters."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker, raw() as client, listening(broker) as messages:
            await client.xadd(STREAM, {"hello": "world"})
            await client.xadd(STREAM, {"hello": "world", "data": "x"})
            assert [(await anext(messages)).data for _ in range(2)] == [b"", b"x"]


async def _goes_on(broker, sender, messages, text) -> None:
    async def sent() -> bool:
        try:
            await sender.kick(message(text))
        except Exception:
            return False
        return True

    await until(sent)
    delivery = await anext(messages)
    assert text_of(delivery) == text
    assert delivery.handle.begin(lambda: None)
    await delivery.handle.acknowledge()


async def test_an_emptied_server(worker, raw) -> None:
    """After FLUSHALL the group is created again, and messages are delivered."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker, worker() as sender, raw() as client, listening(broker) as messages:
            await _goes_on(broker, sender, messages, "before")
            await nothing(messages, 0.1)
        async with worker() as broker, worker() as sender, raw() as client, listening(broker) as messages:
            await _goes_on(broker, sender, messages, "before")
            await client.flushall()
            await _goes_on(broker, sender, messages, "after")


async def test_a_group_that_was_removed(worker, raw) -> None:
    """Messages sent while the group was missing are delivered."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker, worker() as sender, raw() as client, listening(broker) as messages:
            await _goes_on(broker, sender, messages, "before")
            await client.xgroup_destroy(STREAM, "workers")
            await _goes_on(broker, sender, messages, "after")


@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart(own_server, worker, kill) -> None:
    """A restarted server is read again, and the outage is logged once."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        async with worker(url=url) as broker, worker(url=url) as sender, listening(broker) as messages:
            await _goes_on(broker, sender, messages, "before")
            own_server.stop(kill=kill)
            await anyio.sleep(0.5)
            own_server.start()
            await _goes_on(broker, sender, messages, "after")
    events = [entry["event"] for entry in logs if entry["event"].startswith("reading messages")]
    assert events == ["reading messages fails, and is retried until it succeeds", "reading messages succeeds again"]


async def test_cut_connections(own_server, worker) -> None:
    """Cut connections are opened again."""
    with anyio.fail_after(PATIENCE):
        async with relay(own_server.port) as relayed:
            url = f"redis://127.0.0.1:{relayed.port}/1"
            async with worker(url=url) as broker, worker(url=url) as sender, listening(broker) as messages:
                for round_ in range(3):
                    await _goes_on(broker, sender, messages, round_)
                    relayed.cut()


async def test_a_read_only_server(own_server, worker, raw) -> None:
    """A master that was a replica for a while is read again."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url) as broker, worker(url=url) as sender, raw(url) as client:
            async with listening(broker) as messages:
                await _goes_on(broker, sender, messages, "before")
                await client.execute_command("REPLICAOF", "127.0.0.1", "1")
                with pytest.raises(TransientError):
                    await sender.kick(message("meanwhile"))
                await anyio.sleep(0.3)
                await client.execute_command("REPLICAOF", "NO", "ONE")
                await _goes_on(broker, sender, messages, "after")


async def test_a_full_server(own_server, worker, raw) -> None:
    """Without memory messages are still delivered and acknowledged, delayed ones too."""
    url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        async with worker(url=url) as broker, raw(url) as client:
            await broker.kick(message("now"))
            await broker.kick(message("later", delay="0.2"))
            await client.config_set("maxmemory", 1)
            for delivery in await take(broker, 2):
                await delivery.handle.acknowledge()
            depth = await broker.depth()
            assert (depth.waiting, depth.held, depth.delayed) == (0, 0, 0)


async def test_a_lost_answer(worker, raw) -> None:
    """A message with a lost delivery is redelivered when the lease expires."""
    with anyio.fail_after(PATIENCE):
        async with worker("me", lease=0.5) as broker, raw() as client:
            await broker.kick(message())
            assert await client.xreadgroup("workers", "me", {STREAM: ">"})
            [delivery] = await take(broker)
            assert delivery.handle.deliveries == 2


async def test_cancelled_at_any_point(worker) -> None:
    """Every message is delivered in the end, wherever listening was cancelled."""
    chance = random.Random(7)
    done = set()
    cancelled = 0

    async def work(broker, until) -> None:
        async with listening(broker) as messages:
            async for delivery in messages:
                assert delivery.handle.begin(lambda: None)
                done.add(text_of(delivery))
                await delivery.handle.acknowledge()
                if len(done) >= until:
                    return

    with anyio.fail_after(PATIENCE):
        async with worker() as sender:
            for number in range(100):
                await sender.kick(message(number))
            async with worker(lease=0.5, slots=5) as broker:
                for _ in range(30):
                    if len(done) >= 60:
                        break  # a busy machine gets far in each round, and some messages must be left
                    with anyio.move_on_after(chance.uniform(0, 0.008)) as scope:
                        await work(broker, 60)
                    cancelled += scope.cancelled_caught
            assert cancelled
            assert len(done) < 100
            async with worker(lease=0.5) as other:
                await work(other, 100)


async def test_connections_that_are_cut_again_and_again(own_server, worker) -> None:
    """Two workers process all messages though their connections are cut again and again."""
    chance = random.Random(11)
    done = set()

    async def work(broker) -> None:
        async with listening(broker) as messages:
            async for delivery in messages:
                if delivery.handle.begin(lambda: None):
                    await anyio.sleep(chance.uniform(0, 0.02))
                    with suppress(TransientError):
                        await delivery.handle.acknowledge()
                        done.add(text_of(delivery))

    with anyio.fail_after(PATIENCE):
        async with relay(own_server.port) as relayed:
            url = f"redis://127.0.0.1:{relayed.port}/1"
            options = {"url": url, "lease": 1, "slots": 10, "max_deliveries": 100}
            async with worker(url=own_server.url(1)) as sender, worker(**options) as one, worker(**options) as two:
                async with anyio.create_task_group() as group:
                    group.start_soon(work, one)
                    group.start_soon(work, two)
                    for number in range(400):
                        await sender.kick(message(number))
                        if number % 40 == 0:
                            relayed.cut()
                            await anyio.sleep(0.05)
                    await until(lambda: _finished(sender, done, 400))
                    group.cancel_scope.cancel()


async def _finished(broker, done, count):
    depth = await broker.depth()
    return len(done) == count and (depth.waiting, depth.held, depth.dead) == (0, 0, 0)
