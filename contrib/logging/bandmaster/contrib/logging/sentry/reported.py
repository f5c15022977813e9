"""Remember which exceptions Sentry has an event of, so that one error gives one event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from bandmaster.contrib.web import request_id

_MARK = "__bandmaster_sentry__"
_REMEMBERED = 600.0
"""Seconds for which an exception counts as reported. A program may raise the same object again, hours later."""


def note_reported(error: BaseException) -> None:
    """Note that there is an event of an exception."""
    with suppress(Exception):  # a class may have slots
        # Not setattr, which a frozen dataclass refuses.
        object.__setattr__(error, _MARK, (request_id(), time.monotonic()))


def was_reported(error: BaseException) -> bool:
    """Whether there is an event already: of the exception, of a cause, or of every exception of a group."""
    return any(_is_marked(each) for each in _list_causes(error)) or (
        isinstance(error, BaseExceptionGroup) and all(map(was_reported, error.exceptions))
    )


def _is_marked(error: BaseException) -> bool:
    mark = getattr(error, _MARK, None)
    if not isinstance(mark, tuple):
        return False
    request, when = mark
    # The server logs an error behind the context of the request. Within another request it is another error.
    return request_id() in (None, request) and time.monotonic() - when < _REMEMBERED


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """The exception with all causes, each once."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__
