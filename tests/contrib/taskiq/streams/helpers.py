"""Messages and brokers for the tests of streams."""

import io
import json
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from taskiq import BrokerMessage
from tests.contrib.taskiq.timing import PATIENCE

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
    """Close a broker's generator at the end of the block."""
    messages = broker.listen()
    try:
        yield messages
    finally:
        await messages.aclose()


async def take(broker, count=1):
    """Receive messages and begin each."""
    async with listening(broker) as messages:
        taken = []
        for _ in range(count):
            taken.append(await anext(messages))
            assert taken[-1].handle.begin(lambda: None)
        return taken


async def nothing(messages, seconds=0.3):
    """Fail if a message arrives within so many seconds."""
    with anyio.move_on_after(seconds):
        raise AssertionError(f"there came {text_of(await anext(messages))}")


async def until(condition, seconds=PATIENCE):
    """Wait until the condition holds."""
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
        assert delivery.handle.begin(print)
        print("took", delivery.handle.deliveries, flush=True)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def worker_process(url, consumer, *, lease, what="hold"):
    """A process that receives messages and holds them, or is killed by them."""
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", _PROGRAM, url, consumer, str(lease), what]
    with guarded_process(command, cwd=root, stdout=subprocess.PIPE, stderr=None) as process:
        process.stdout = io.TextIOWrapper(process.stdout)
        yield process
