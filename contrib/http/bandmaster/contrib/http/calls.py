"""The calls in flight, each with its deadline, until the client is closed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import anyio
import httpx2

from bandmaster.contrib.http.errors import ClientLabel, HttpClosedError, HttpDeadlineError, describe_call

DEADLINE = "deadline"
"""The request extension for the seconds that a call may take; None for a call without a deadline."""
_ENDS_AT = "bandmaster.ends_at"
_SENDINGS = "bandmaster.sendings"


class Calls:
    """Limits calls to their deadlines, and ends those in flight when the client is closed."""

    __slots__ = ("_default", "_label", "_scopes", "closed")

    def __init__(self, label: ClientLabel, deadline: float | None) -> None:
        self._label = label
        self._default = deadline
        self._scopes: set[anyio.CancelScope] = set()
        self.closed = False

    def begin(self, request: httpx2.Request) -> None:
        """Set when the call must end. Redirects and repetitions of the request share that time.

        Raises:
            ValueError: the request's extension ``deadline`` isn't a number of seconds above 0 or None.
        """
        seconds = request.extensions.get(DEADLINE, self._default)
        if seconds is not None and (
            isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf
        ):
            raise ValueError(f"extensions: expected seconds above 0, or None, as {DEADLINE!r}, got {seconds!r}")
        ends_at = None if seconds is None else anyio.current_time() + seconds
        # A new mapping: the caller may use one for several requests.
        request.extensions = {**request.extensions, DEADLINE: seconds, _ENDS_AT: ends_at, _SENDINGS: count()}

    def count_sending(self, request: httpx2.Request) -> int:
        """How often a request of the call was sent before, by a repetition or a redirect."""
        sendings: Iterator[int] = request.extensions.get(_SENDINGS) or count()
        return next(sendings)

    def is_too_late(self, request: httpx2.Request, pause: float) -> bool:
        """Whether a pause would outlast the call."""
        ends_at = request.extensions.get(_ENDS_AT)
        return ends_at is not None and anyio.current_time() + pause >= ends_at

    @contextmanager
    def limit(self, request: httpx2.Request) -> Iterator[None]:
        """End the block when the call must end, or when the client is closed.

        Raises:
            HttpDeadlineError: the block took too long.
            HttpClosedError: the client was closed, before the block or during it.
        """
        self.check_open(request)
        ends_at = request.extensions.get(_ENDS_AT)
        scope = anyio.CancelScope(deadline=math.inf if ends_at is None else ends_at)
        self._scopes.add(scope)
        try:
            with scope:
                yield
        except httpx2.TransportError as error:
            if self.closed:  # the connection was closed before the scope was cancelled
                raise self._make_closed_error(request) from error
            raise
        finally:
            self._scopes.discard(scope)
        if scope.cancelled_caught:
            self.check_open(request)
            raise self._make_deadline_error(request)

    def check_open(self, request: httpx2.Request) -> None:
        """Raise once the client is closed.

        Raises:
            HttpClosedError: the client was closed.
        """
        if self.closed:
            raise self._make_closed_error(request)

    def find_cause(self, request: httpx2.Request, error: BaseException) -> BaseException:
        """The error of this package that a cancellation stands for; other errors, and the caller's own cancellation,
        unchanged.
        """
        if not isinstance(error, anyio.get_cancelled_exc_class()):
            return error
        if self.closed:
            return self._make_closed_error(request)
        return self._make_deadline_error(request) if self.is_too_late(request, 0) else error

    def close(self) -> None:
        """End all calls in flight, and refuse further ones."""
        self.closed = True
        for scope in tuple(self._scopes):
            scope.cancel()

    def _make_closed_error(self, request: httpx2.Request) -> HttpClosedError:
        return HttpClosedError(
            f"{describe_call(request)}: {self._label} was closed with the application; a component that uses the "
            "client must depend on httpx2.AsyncClient, so that it is stopped first"
        )

    def _make_deadline_error(self, request: httpx2.Request) -> HttpDeadlineError:
        seconds = request.extensions.get(DEADLINE)
        error = HttpDeadlineError(
            f"{describe_call(request)} by {self._label}: no complete answer within the deadline of {seconds:g} s, all "
            f"attempts included. Raise {self._label.deadline_variable}, or pass extensions={{{DEADLINE!r}: seconds}}"
        )
        error.request = request
        return error
