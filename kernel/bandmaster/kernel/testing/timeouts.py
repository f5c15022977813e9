"""A bounded wait, with an error that names the missing event."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio


@contextmanager
def fail_after(
    seconds: float | None, describe_missing: Callable[[], str], *, since: float | None = None
) -> Iterator[None]:
    """Bound a wait. The seconds count from now, or ``since`` a time of the event loop's clock; none waits for ever.

    Raises:
        TimeoutError: the time is over; the message begins with the description.
    """
    began = anyio.current_time() if since is None else since
    with anyio.CancelScope(deadline=math.inf if seconds is None else began + seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise TimeoutError(f"{describe_missing()} within {seconds:g} s")
