"""The options of a leased stream: the queue and its workers' shares. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.streams.keys import RESERVED_ENDINGS, Keys

LONGEST_READ = 5.0
"""The most seconds of a blocking read, so that timers are kept and a dead connection is noticed."""
_LONGEST_LEASE = 30 * 86400.0
_SHORTEST_SILENCE = 60.0
_SHORTEST_RECLAIM_INTERVAL = 0.05
_SERVER_TICK = 0.1
"""Seconds by which a blocking read may end too late: servers check timeouts ten times a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedStreamOptions:
    """A queue and its workers' shares. Durations are in seconds.

    On a cluster all keys of a queue must be in one slot: give ``prefix`` a hash tag, such as ``{tasks}:``.

    Raises:
        ValueError: values are invalid; the text names all of them.
    """

    queue: str = "tasks"
    """The queue that workers consume, and to which messages without the label ``queue_name`` are sent."""
    prefix: str = "bandmaster:"
    """The prefix of every key."""
    group: str = "workers"
    """The consumer group of all workers of the queue."""
    lease: float = 30.0
    """How long a message stays with a worker that doesn't renew the lease. A worker renews three times in that time."""
    slots: int = 40
    """The most messages that a worker holds, including those whose tasks run."""
    max_deliveries: int = 3
    """How often a message is delivered. A message that has killed so many workers becomes a dead letter."""
    forget_after: float | None = None
    """Seconds of silence after which a consumer without messages is removed; unset: ten leases, at least a minute."""

    def __post_init__(self) -> None:
        problems = [
            *(f"{name}: is blank" for name in ("queue", "group") if not getattr(self, name).strip()),
            *(f"{name}: must be at least 1" for name in ("slots", "max_deliveries") if getattr(self, name) < 1),
        ]
        if self.queue.endswith(RESERVED_ENDINGS):
            problems.append(f"queue: {', '.join(RESERVED_ENDINGS)} end the names of other keys of a queue")
        if not 0.1 <= self.lease <= _LONGEST_LEASE:
            problems.append(f"lease: must be within 0.1 and {_LONGEST_LEASE:g} seconds")
        if self.forget_after is not None and not (math.isfinite(self.forget_after) and self.forget_after > 0):
            problems.append("forget_after: must be more than 0 seconds")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def keys(self) -> Keys:
        """The keys of the queue."""
        return Keys.of(self.prefix, self.queue)

    @property
    def renewal_interval(self) -> float:
        """Seconds between two renewals."""
        return self.lease / 3

    @property
    def reclaim_interval(self) -> float:
        """Seconds between two searches for expired leases: a message is redelivered within 1.3 leases."""
        return max(_SHORTEST_RECLAIM_INTERVAL, min(LONGEST_READ, self.lease / 4 - _SERVER_TICK))

    @property
    def silence(self) -> float:
        """Seconds of silence after which a consumer without messages is removed."""
        return max(_SHORTEST_SILENCE, 10 * self.lease) if self.forget_after is None else self.forget_after


def options_of(settings: TaskIQSettings) -> LeasedStreamOptions:
    """The options of the stream that the settings of the task queue describe.

    Raises:
        ValueError: values are invalid.
    """
    return LeasedStreamOptions(
        queue=settings.queue,
        prefix=settings.stream_prefix,
        group=settings.consumer_group,
        lease=settings.lease,
        slots=settings.concurrency + settings.prefetch,
        max_deliveries=settings.max_deliveries,
    )
