"""How many messages a queue has, and how long the oldest one has waited. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The numbers of messages in a queue."""

    waiting: int
    """Messages that no worker holds."""
    held: int
    """Messages that workers hold, whether their tasks run or not."""
    delayed: int
    dead: int
    oldest: float = 0.0
    """Seconds for which the oldest message has waited that a worker could have; 0 if there is none. A delayed message
    waits from the time at which it is due."""


@runtime_checkable
class HasDepth(Protocol):
    """A broker that tells how many messages its queue has."""

    async def depth(self) -> Depth:
        """The numbers of messages in the queue.

        Raises:
            TransientError: the server can't be reached.
            PermanentError: the server refuses.
        """
        ...
