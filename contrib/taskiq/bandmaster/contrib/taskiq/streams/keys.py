"""The keys of a queue. Pure."""

from __future__ import annotations

from typing import NamedTuple

_DELAYED, _DEAD, _HISTORY, _ONCE = ":delayed", ":dead", ":history", ":once:"
ENDINGS = (_DELAYED, _DEAD, _HISTORY)
"""What no queue's name may end in."""


class Keys(NamedTuple):
    """The keys of one queue, in the order in which every script has them."""

    stream: str
    """Messages that may be taken, and those that somebody has."""
    delayed: str
    """Messages that mayn't be taken yet, by the time from which they may; a sorted set."""
    dead: str
    """Dead letters; a stream."""
    history: str
    """Who has had a message before, by its id; a hash. Its field ``nudge`` is the id of the last nudge."""

    @classmethod
    def of(cls, prefix: str, queue: str) -> Keys:
        """Those of a queue.

        Raises:
            ValueError: a queue of that name would share a key with another.
        """
        if queue.endswith(ENDINGS):
            raise ValueError(f"queue {queue!r}: {', '.join(ENDINGS)} end the names of other keys of a queue")
        stream = prefix + queue
        return cls(stream, stream + _DELAYED, stream + _DEAD, stream + _HISTORY)

    def once(self, text: str) -> str:
        """Where it stands that a message that there is to be one of has been sent."""
        return f"{self.stream}{_ONCE}{text}"
