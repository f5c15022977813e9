"""The interface of the leased broker that TaskIQ uses."""

import asyncio
from dataclasses import replace
from typing import Annotated

import anyio
import pytest
from taskiq import AckableMessage, AsyncTaskiqDecoratedTask, Context, TaskiqDepends, TaskiqEvents, TaskiqMiddleware
from taskiq.receiver import Receiver
from tests.contrib.taskiq.streams.helpers import broker_of, listening, message, take
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.redis import RedisClosedError
from bandmaster.contrib.taskiq import Depth
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio


async def count_messages(broker):
    """The depth without the age of the oldest message, which differs from run to run."""
    return replace(await broker.depth(), oldest=0.0)


class Watching(TaskiqMiddleware):
    """Records the steps of a broker's life."""

    def __init__(self):
        self.seen = []

    def startup(self):
        self.seen.append("startup")

    def shutdown(self):
        self.seen.append("shutdown")


async def test_start_and_shutdown(redis_url) -> None:
    """Handlers and middlewares run once, however often start and shutdown are called."""
    broker, watching = broker_of(redis_url), Watching()
    broker.add_middlewares(watching)
    broker.add_event_handler(TaskiqEvents.CLIENT_STARTUP, lambda _: watching.seen.append("event"))
    await broker.shutdown()
    for _ in range(2):
        await broker.startup()
    for _ in range(2):
        await broker.shutdown()
    assert watching.seen == ["event", "startup", "shutdown"]


async def test_a_broker_that_is_not_started(redis_url) -> None:
    """Methods that need the server raise before the start and after the shutdown."""
    broker = broker_of(redis_url)
    for call in (lambda: broker.kick(message()), lambda: anext(broker.listen()), broker.depth, broker.ping):
        with pytest.raises(RuntimeError, match="startup"):
            await call()
    with pytest.raises(RuntimeError, match="startup"):
        _ = broker.dead_letters
    await broker.startup()
    await broker.shutdown()
    with pytest.raises(RedisClosedError):
        await broker.kick(message())


async def test_a_start_that_fails(redis_url) -> None:
    """A failed start leaves nothing open, and another may succeed."""
    broker, fails = broker_of(redis_url), [True]

    async def handler(_) -> None:
        if fails:
            fails.clear()
            raise ValueError("not yet")

    broker.add_event_handler(TaskiqEvents.CLIENT_STARTUP, handler)
    with pytest.raises(ValueError, match="not yet"):
        await broker.startup()
    await broker.startup()
    await broker.kick(message())
    await broker.shutdown()


@pytest.mark.parametrize("consumer", ["", " ", "released"])
async def test_invalid_consumer_names(redis_url, consumer) -> None:
    """Blank and reserved consumer names are refused."""
    with pytest.raises(ValueError, match="consumer"):
        broker_of(redis_url, consumer)


async def test_ping(own_server, worker) -> None:
    """A ping fails soon with a transient error while the server is away."""
    with anyio.fail_after(PATIENCE):
        async with worker(url=own_server.url(1)) as broker:
            await broker.ping()
            own_server.stop()
            with pytest.raises(TransientError):
                await broker.ping()
            own_server.start()
            await broker.ping()


async def test_a_wrong_password(own_server, worker) -> None:
    """A wrong password fails the start with a permanent error."""
    with pytest.raises(PermanentError):
        async with worker(url=f"redis://nobody:wrong@127.0.0.1:{own_server.port}/1"):
            pass


async def test_depth(worker) -> None:
    """Each message is counted once, and wakeups aren't."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker:
            assert await count_messages(broker) == Depth(waiting=0, held=0, delayed=0, dead=0)
            for number in range(5):
                await broker.kick(message(number))
            await broker.kick(message(delay="9"))
            assert await count_messages(broker) == Depth(waiting=5, held=0, delayed=1, dead=0)
            async with listening(broker) as messages:
                first = await anext(messages)
                await anext(messages)
                assert first.handle.begin(lambda: None)
                await broker.release_unstarted()
            assert await count_messages(broker) == Depth(waiting=4, held=1, delayed=1, dead=0)


async def test_a_copy_of_the_context(redis_url) -> None:
    """A receiver's change of the dependency context isn't seen by the next reader."""
    broker = broker_of(redis_url)
    broker.add_dependency_context({int: 1})
    context = broker.custom_dependency_context
    context[str] = "mine"
    assert broker.custom_dependency_context == {int: 1}
    broker.custom_dependency_context = context
    broker.add_dependency_context({int: 2})
    context[str] = "another's"
    assert broker.custom_dependency_context == {int: 2, str: "mine"}


async def test_a_stock_receiver(worker) -> None:
    """TaskIQ's own receiver runs tasks with a context each, and acknowledges all."""
    seen = {}
    with anyio.fail_after(PATIENCE):
        async with worker(slots=100) as broker:

            @broker.task("whoami")
            async def whoami(number: int, context: Annotated[Context, TaskiqDepends()]) -> None:
                await asyncio.sleep(0.01)
                seen[number] = context.message.args[0]

            assert isinstance(whoami, AsyncTaskiqDecoratedTask)
            for number in range(200):
                await whoami.kiq(number)
            receiver = Receiver(broker, max_async_tasks=50, max_prefetch=50, run_startup=False)
            finish = asyncio.Event()
            running = asyncio.ensure_future(receiver.listen(finish))
            while len(seen) < 200:
                await asyncio.sleep(0.01)
            finish.set()
            await running
            assert seen == {number: number for number in range(200)}
            depth = await broker.depth()
            assert (depth.waiting, depth.held) == (0, 0)


async def test_a_delivery_is_ackable(worker) -> None:
    """A delivery can be acknowledged as TaskIQ's messages are."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker:
            await broker.kick(message())
            [delivery] = await take(broker)
            assert isinstance(delivery, Delivery)
            assert isinstance(delivery, AckableMessage)
            assert delivery.data == message().message
            await delivery.ack()
            assert (await broker.depth()).held == 0
