"""What can be chosen about a queue, checked before anything is opened. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.streams.keys import ENDINGS, Keys

LONGEST_READ = 5.0
"""Seconds that a read waits on the server at most, so that timers are kept and a dead connection is noticed."""
_LONGEST_LEASE = 30 * 86400.0
_SHORTEST_SILENCE = 60.0
_SHORTEST_LOOK = 0.05
_TICK = 0.1
"""Seconds by which a server may end a read too late: it looks at its clock ten times a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedStreamOptions:
    """A queue, and how its workers share it. Durations are in seconds.

    On a cluster the keys of a queue must lie together: give ``prefix`` a hash tag, such as ``{tasks}:``.

    Raises:
        ValueError: values can't be; the text names all of them.
    """

    queue: str = "tasks"
    """The queue that is worked at, and sent to where a message has no label ``queue_name``."""
    prefix: str = "bandmaster:"
    """Stands before every key."""
    group: str = "workers"
    """The consumer group that all workers of the queue are in."""
    lease: float = 30.0
    """How long a silent worker keeps what it was given; it renews thrice in that time."""
    slots: int = 40
    """How many messages a worker holds at most, those that it runs included."""
    max_deliveries: int = 3
    """How often a message is given out before it counts as what ends its workers."""
    forget_after: float | None = None
    """How long a consumer that holds nothing must be silent to be removed; unset: ten leases, but a minute at least."""

    def __post_init__(self) -> None:
        wrong = [
            *(f"{name}: is blank" for name in ("queue", "group") if not getattr(self, name).strip()),
            *(f"{name}: must be at least 1" for name in ("slots", "max_deliveries") if getattr(self, name) < 1),
        ]
        if self.queue.endswith(ENDINGS):
            wrong.append(f"queue: {', '.join(ENDINGS)} end the names of other keys of a queue")
        if not 0.1 <= self.lease <= _LONGEST_LEASE:
            wrong.append(f"lease: must be within 0.1 and {_LONGEST_LEASE:g} seconds")
        if self.forget_after is not None and not (math.isfinite(self.forget_after) and self.forget_after > 0):
            wrong.append("forget_after: must be more than 0 seconds")
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def keys(self) -> Keys:
        """The keys of the queue."""
        return Keys.of(self.prefix, self.queue)

    @property
    def renewal(self) -> float:
        """Seconds between two renewals."""
        return self.lease / 3

    @property
    def look(self) -> float:
        """Seconds after which leases that have run out are looked for: within 1.3 leases they are somebody's again."""
        return max(_SHORTEST_LOOK, min(LONGEST_READ, self.lease / 4 - _TICK))

    @property
    def silence(self) -> float:
        """Seconds of silence after which a consumer that holds nothing is removed."""
        return max(_SHORTEST_SILENCE, 10 * self.lease) if self.forget_after is None else self.forget_after


def options_of(settings: TaskIQSettings) -> LeasedStreamOptions:
    """What the settings of the task queue say about its stream.

    Raises:
        ValueError: values can't be.
    """
    return LeasedStreamOptions(
        queue=settings.queue,
        prefix=settings.stream_prefix,
        group=settings.consumer_group,
        lease=settings.lease,
        slots=settings.concurrency + settings.prefetch,
        max_deliveries=settings.max_deliveries,
    )
