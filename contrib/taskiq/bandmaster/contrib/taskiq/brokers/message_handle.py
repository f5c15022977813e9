"""What a broker gives to a worker: a message, and what may become of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from pydantic import ConfigDict
from taskiq import AckableMessage


class Reason(StrEnum):
    """Why a message became a dead letter."""

    UNREADABLE = "unreadable"
    """It isn't a message of TaskIQ's."""
    UNKNOWN = "unknown task"
    """No task of that name is registered where it was to run."""
    INVALID = "invalid arguments"
    """Its arguments aren't what the task takes."""
    PERMANENT = "permanent error"
    """The task failed in a way that another attempt doesn't help."""
    EXHAUSTED = "attempts exhausted"
    """It failed as often as it may."""
    POISON = "deliveries exceeded"
    """It was given out as often as it may, and nobody came to its end: it may be what ends its workers."""


class Hand(Protocol):
    """What can be done about a message that this process has been given.

    A message ends in one of `done`, `again`, `bury` and `give_back`. Where none is called, or the call fails, it is
    given out again once its lease is over: that is what makes nothing be lost.
    """

    @property
    def id(self) -> str:
        """The broker's name for the message."""
        ...

    @property
    def deliveries(self) -> int:
        """How often it has been given out, this time included."""
        ...

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """Say that the task begins now; False if the message is somebody else's by now, or nobody can be sure, and it
        mustn't be run.

        ``on_lost`` is called in the event loop, once, if it becomes somebody else's while it runs.
        """
        ...

    async def done(self) -> None:
        """It has been done. Also right where the lease was lost meanwhile: done is done.

        Raises:
            TransientError: the broker couldn't be told, within its patience.
            PermanentError: the broker refuses.
        """
        ...

    async def again(self, data: bytes, *, delay: float) -> bool:
        """Put ``data`` in its place, to be given out after ``delay`` seconds at the earliest. In one step: at any
        time there is one of the two. False if it was no longer this process's to put off; then nothing has happened.

        Raises:
            TransientError: the broker couldn't be told.
            PermanentError: the broker refuses.
        """
        ...

    async def bury(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """Make it a dead letter, in one step; ``data`` stands in its place where given. False as for `again`.

        Raises:
            TransientError: the broker couldn't be told.
            PermanentError: the broker refuses.
        """
        ...

    async def give_back(self) -> bool:
        """Let somebody else have it at once; while the giver itself still takes messages, that may be the giver. The
        delivery doesn't count: whoever gives back hasn't been ended by it. False as for `again`.

        Raises:
            TransientError: the broker couldn't be told; it is given out once its lease is over.
            PermanentError: the broker refuses.
        """
        ...


class Delivery(AckableMessage):
    """A message as brokers of this package give it: TaskIQ's own, with a `Hand` on it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    hand: Any
    """A `Hand`."""

    @classmethod
    def of(cls, data: bytes, hand: Hand) -> Delivery:
        """The message with these bytes; not validated, for it is made for every one."""
        return cls.model_construct(data=data, ack=hand.done, hand=hand)
