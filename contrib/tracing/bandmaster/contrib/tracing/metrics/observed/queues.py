"""The metrics of the task queue: depth, age of the oldest message, dead letters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio
from opentelemetry.metrics import Meter, Observation

from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.kernel import BandmasterError, Resources, get_logger

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq import Depth

__all__ = ["QueueMetrics", "find_queue"]


def find_queue(resources: Resources, interval: float) -> QueueMetrics | None:
    """The metrics of the running application's queue; None without a queue, or if the broker doesn't tell."""
    if find_spec("bandmaster.contrib.taskiq") is None:
        return None
    from bandmaster.contrib.taskiq import HasDepth, TaskQueue

    queue = resources.get(TaskQueue)
    if queue is None or not isinstance(queue.broker, HasDepth):
        return None
    return QueueMetrics(queue.observers.queue, queue.broker.depth, interval)


class QueueMetrics:
    """Reads the depth of a queue again and again, and gives the last reading at each collection.

    A reading that fails leaves gaps, since a number that was right an hour ago tells nothing.
    """

    def __init__(self, queue: str, read: Callable[[], Awaitable[Depth]], interval: float) -> None:
        self._queue = queue
        self._read = read
        self._interval = interval
        self._depth: Depth | None = None
        self._told = False

    def register(self, meter: Meter) -> None:
        """Create the instruments."""
        catalogue.QUEUE_MESSAGES.observe(meter, self._observe_messages)
        catalogue.QUEUE_AGE.observe(meter, self._observe_age)

    async def run(self) -> None:
        """Read until the cancellation."""
        try:
            while True:
                await self.read()
                await anyio.sleep(self._interval)
        finally:
            self._depth = None

    async def read(self) -> None:
        """Read once."""
        try:
            self._depth = await self._read()
        except BandmasterError:
            self._depth = None  # the queue's own probe tells of a server that is away
        except Exception as error:  # noqa: BLE001  # a broker of another package
            self._depth = None
            if not self._told:
                self._told = True
                get_logger("bandmaster.metrics").warning(
                    "the queue's depth can't be read", queue=self._queue, error=type(error).__name__, exception=error
                )

    def _observe_messages(self) -> Iterator[Observation]:
        depth = self._depth
        if depth is not None:
            for state in ("waiting", "held", "delayed", "dead"):
                yield Observation(getattr(depth, state), {"queue": self._queue, "state": state})

    def _observe_age(self) -> Iterator[Observation]:
        depth = self._depth
        if depth is not None:
            yield Observation(depth.oldest, {"queue": self._queue})
