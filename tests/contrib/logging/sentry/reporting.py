"""Applications that report to a receiver."""

import io
import sys
from contextlib import contextmanager

from bandmaster.contrib.logging import LogSettings, SentrySettings, access_events, redactor
from bandmaster.contrib.logging import logging as log_component
from bandmaster.contrib.logging.sentry.component import SentryScopeLayer, sentry, sentry_task_scopes
from bandmaster.contrib.web import (
    AccessLogLayer,
    ProblemsLayer,
    RequestContextLayer,
    http_exception,
    transient_error,
    unhandled_error,
)
from bandmaster.kernel import Kernel, KernelSettings, create_app

LOG_PARTS = [redactor, log_component, access_events]
WEB_PARTS = [
    *[AccessLogLayer, RequestContextLayer, ProblemsLayer, SentryScopeLayer],
    *[http_exception, transient_error, unhandled_error],
]
SENTRY_PARTS = [sentry, sentry_task_scopes]


def make_overrides(receiver, *, take_over="always", log=None, **values):
    """Settings that report to a receiver."""
    return {
        SentrySettings: SentrySettings(dsn=receiver.dsn, **values),
        LogSettings: LogSettings(take_over=take_over, level="info", **(log or {})),
    }


def make_app(receiver, host, *parts, take_over="always", log=None, environment="test", **values):
    """An application that reports to a receiver."""
    return create_app(
        host,
        contributions=[*LOG_PARTS, *WEB_PARTS, *SENTRY_PARTS, *parts],
        discover=False,
        settings=KernelSettings(environment=environment),
        overrides=make_overrides(receiver, take_over=take_over, log=log, **values),
    )


def make_kernel(receiver, *parts, take_over="always", log=None, **values):
    """A kernel without an application that reports to a receiver."""
    return Kernel(
        contributions=[*LOG_PARTS, *SENTRY_PARTS, *parts],
        discover=False,
        overrides=make_overrides(receiver, take_over=take_over, log=log, **values),
    )


@contextmanager
def silenced():
    """Keep the lines of the log out of the test's output."""
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        yield sys.stderr
    finally:
        sys.stderr = before
