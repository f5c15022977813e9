"""The interface of idempotency: an action runs once for a key, in the process that asks first."""

from __future__ import annotations

import json
import math
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from bandmaster.contrib.taskiq.errors import BusyError
from bandmaster.kernel import PermanentError


class Once:
    """Whether the caller is the first for a key, and the first caller's result. True for the first caller."""

    def __init__(self, *, first: bool, result: Any = None) -> None:
        self.first = first
        self.result = result
        """The value that the first caller stored, or None."""
        self._text = "null"

    def __bool__(self) -> bool:
        return self.first

    def store(self, value: Any) -> None:
        """Store a value that JSON can express. Later callers get the value as ``result``.

        Raises:
            PermanentError: JSON can't express the value, or this caller isn't the first.
        """
        if not self.first:
            raise PermanentError("only the first caller for a key can store a result")
        try:
            self._text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PermanentError(f"store: JSON can't express this {type(value).__qualname__}: {error}") from error
        self.result = json.loads(self._text)

    @property
    def stored(self) -> str:
        """The stored value, as JSON."""
        return self._text


class Idempotency(Protocol):
    """Remembers by key which actions have been done."""

    def once(self, key: str, *, lease: float = 30.0, keep: float = 86400.0) -> AbstractAsyncContextManager[Once]:
        """Run an action once for a key.

        ::

            async with idempotency.once(f"charge:{order}") as first:
                if first:
                    first.store(await charge(order))
            return first.result

        When the block ends, the key is marked as done for ``keep`` seconds. When the block raises, the key is released.
        While the block runs its lease on the key is renewed; if the process dies, the key is free after ``lease``
        seconds. Enter and leave the block in the same task.

        The effect may still happen twice: a process may die between the effect and the mark, and a process that was
        suspended for longer than its lease may go on beside the next one. Where that must not happen, write the mark in
        the same database transaction as the effect.

        Raises:
            BusyError: another caller runs the action right now.
            ValueError: the key is empty, or the seconds aren't above 0.
        """
        ...


def check_arguments(key: str, lease: float, keep: float) -> None:
    """Check the arguments of `Idempotency.once`.

    Raises:
        ValueError: the key is empty, or the seconds aren't above 0.
    """
    if not key:
        raise ValueError("key: expected a text that names the action, got an empty one")
    for name, seconds in {"lease": lease, "keep": keep}.items():
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"{name}: expected seconds above 0, got {seconds}")


def make_busy_error(key: str, lease_left: float | None = None) -> BusyError:
    """The error for a caller while another holds the key; ``lease_left`` is how many seconds its lease is valid."""
    error = BusyError(f"another caller is running {key!r} right now; try again later")
    error.retry_after = lease_left
    return error
