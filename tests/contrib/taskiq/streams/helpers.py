"""Messages, and brokers that take them."""

import io
import json
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from taskiq import BrokerMessage

from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.streams import LeasedStreamBroker, LeasedStreamOptions
from bandmaster.kernel.testing import guarded_process

PREFIX = "streams-tests:"
STREAM = f"{PREFIX}tasks"


def broker_of(url, consumer=None, *, redis=None, **options):
    settings = TaskIQSettings(redis_url=url).redis.model_copy(update={"backoff_cap": 0.1, **(redis or {})})
    return LeasedStreamBroker(LeasedStreamOptions(**{"prefix": PREFIX, **options}), settings, consumer=consumer)


def message(text="hello", **labels):
    data = json.dumps({"args": [text], "labels": labels}).encode()
    return BrokerMessage(task_id=f"id of {text}", task_name="module:task", message=data, labels=labels)


def text_of(delivery):
    return json.loads(delivery.data)["args"][0]


@asynccontextmanager
async def listening(broker):
    """A generator of messages that is closed at the end."""
    messages = broker.listen()
    try:
        yield messages
    finally:
        await messages.aclose()


async def take(broker, count=1):
    """Messages, each begun."""
    async with listening(broker) as messages:
        taken = []
        for _ in range(count):
            taken.append(await anext(messages))
            assert taken[-1].hand.begin(lambda: None)
        return taken


async def nothing(messages, seconds=0.3):
    """Wait so long to see that nothing comes."""
    with anyio.move_on_after(seconds):
        raise AssertionError(f"there came {text_of(await anext(messages))}")


async def until(condition, seconds=5):
    """Wait until it is so."""
    with anyio.fail_after(seconds):
        while not (is_so := await condition()):
            await anyio.sleep(0.01)
        return is_so


_PROGRAM = """
import asyncio, os, signal, sys
from tests.contrib.taskiq.streams.helpers import broker_of

async def main(url, consumer, lease, what):
    broker = broker_of(url, consumer, lease=float(lease))
    await broker.startup()
    async for delivery in broker.listen():
        assert delivery.hand.begin(print)
        print("took", delivery.hand.deliveries, flush=True)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def worker_process(url, consumer, *, lease, what="hold"):
    """A process that takes messages and holds them, or dies of them."""
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", _PROGRAM, url, consumer, str(lease), what]
    with guarded_process(command, cwd=root, stdout=subprocess.PIPE, stderr=None) as process:
        process.stdout = io.TextIOWrapper(process.stdout)
        yield process
