"""The keys of a queue in Redis. Pure."""

from __future__ import annotations

from typing import NamedTuple

_DELAYED, _DEAD, _HISTORY, _ONCE = ":delayed", ":dead", ":history", ":once:"
RESERVED_ENDINGS = (_DELAYED, _DEAD, _HISTORY)
"""A queue's name can't end in one of these."""


class Keys(NamedTuple):
    """The keys of one queue, in the order in which every script gets them."""

    stream: str
    """Messages that wait or are leased; a stream."""
    delayed: str
    """Messages that aren't due yet, by the time when they are; a sorted set."""
    dead: str
    """Dead letters; a stream."""
    history: str
    """The earlier consumers of each message, by id; a hash. The field ``wakeup`` is the id of the last wakeup entry."""

    @classmethod
    def of(cls, prefix: str, queue: str) -> Keys:
        """The keys of a queue.

        Raises:
            ValueError: a queue of that name would share a key with another.
        """
        if queue.endswith(RESERVED_ENDINGS):
            raise ValueError(f"queue {queue!r}: {', '.join(RESERVED_ENDINGS)} end the names of other keys of a queue")
        stream = prefix + queue
        return cls(stream, stream + _DELAYED, stream + _DEAD, stream + _HISTORY)

    def make_once_key(self, text: str) -> str:
        """The key that marks a deduplication key as sent."""
        return f"{self.stream}{_ONCE}{text}"
