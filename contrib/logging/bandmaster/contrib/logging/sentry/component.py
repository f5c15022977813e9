"""The report of errors to Sentry as a component, and the scope of each request and task."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bandmaster.contrib.logging.log import Log
from bandmaster.contrib.logging.sentry.settings import SentrySettings, has_dsn
from bandmaster.kernel import Context, Exchange, LifespanBand, MiddlewareBand, Problem, Redactor, lifespan, middleware

_HAS_TASKIQ = find_spec("bandmaster.contrib.taskiq") is not None
_PRIORITY = LifespanBand.OBSERVABILITY.priorities[1]
"""The stage behind the log."""
_CLOSING = 1.0
"""Seconds for the end of the client, beyond those for the events that are left."""

if TYPE_CHECKING or _HAS_TASKIQ:
    from bandmaster.contrib.taskiq import TaskAttempt, TaskEvent, TaskObserver
else:

    class TaskObserver:
        """A type for which nothing asks, where bandmaster-taskiq isn't installed."""


def find_missing_extra(settings: SentrySettings) -> Iterator[Problem | str]:
    """The SDK that isn't installed."""
    if find_spec("sentry_sdk") is None:
        yield Problem(
            f"{settings.variable('dsn')} is set, but sentry-sdk isn't installed.",
            "Install the extra: pip install 'bandmaster-logging[sentry]'.",
        )


@lifespan(band=LifespanBand.OBSERVABILITY, priority=_PRIORITY, name="sentry", when=has_dsn, check=find_missing_extra)
async def sentry(
    settings: SentrySettings, log: Log | None, redactor: Redactor | None, context: Context
) -> AsyncIterator[None]:
    """Sends unexpected errors to Sentry, each once and without secrets."""
    # Imported here, since the extra may not be installed.
    from bandmaster.contrib.logging.sentry.client import activate, close_client, make_client
    from bandmaster.contrib.logging.sentry.kernel_events import report_failure
    from bandmaster.contrib.logging.sentry.log_events import LogReporter

    client = make_client(settings, context.settings, redactor)
    reporter = LogReporter(client, least=settings.level, least_breadcrumb=settings.breadcrumb_level)
    with activate(client), ExitStack() as stack:
        if log is not None and log.is_active:
            stack.enter_context(log.listening(reporter.report))
        else:
            stack.enter_context(_handling(reporter, redactor or Redactor()))
        context.listen(report_failure)
        yield
        context.extend_timeout(settings.flush_timeout + _CLOSING)
        await anyio.to_thread.run_sync(partial(close_client, client, settings.flush_timeout))


@contextmanager
def _handling(reporter: object, redactor: Redactor) -> Iterator[None]:
    """Report the records of the standard library's loggers, until the block ends."""
    from bandmaster.contrib.logging.sentry.log_events import LogReporter, RecordReporter

    assert isinstance(reporter, LogReporter)
    handler = RecordReporter(reporter, redactor)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@middleware(
    band=MiddlewareBand.OUTERMOST, priority=MiddlewareBand.OUTERMOST.priorities[1], name="sentry_scope", when=has_dsn
)
class SentryScopeLayer:
    """Gives every request and every WebSocket a scope, so that tags and breadcrumbs stay there."""

    def on_request(self, exchange: Exchange) -> None:
        """Open the scope."""
        import sentry_sdk

        scope = sentry_sdk.isolation_scope()
        scope.__enter__()
        exchange.data[_SCOPE] = scope

    def on_end(self, exchange: Exchange) -> None:
        """Close the scope."""
        scope: AbstractContextManager[object] | None = exchange.data.pop(_SCOPE, None)
        if scope is not None:
            scope.__exit__(None, None, None)


_SCOPE = "sentry_scope"


def reports_tasks(settings: SentrySettings) -> bool:
    """Whether errors are sent, and bandmaster-taskiq is installed."""
    return _HAS_TASKIQ and settings.is_enabled


class TaskScopes(TaskObserver):
    """Gives every attempt of a task a scope."""

    def observe_attempt(self, attempt: TaskAttempt) -> AbstractContextManager[object]:
        """The scope, with the task as tags."""
        return _open_task_scope(attempt.task, attempt.task_id)

    def on_task_event(self, event: TaskEvent) -> None:
        """Do nothing: the worker logs failures."""


@contextmanager
def _open_task_scope(task: str, task_id: str) -> Iterator[None]:
    import sentry_sdk

    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("task", task)
        scope.set_tag("task_id", task_id)
        yield


@lifespan(band=LifespanBand.OBSERVABILITY, priority=_PRIORITY, name="sentry_task_scopes", when=reports_tasks)
async def sentry_task_scopes() -> AsyncIterator[TaskObserver]:
    """Gives each attempt of a task a scope of Sentry's SDK."""
    yield TaskScopes()
