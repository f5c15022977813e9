"""Who asks, under which ids: taken along with a task, and put back where it runs."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bandmaster.contrib.taskiq import message_labels as labels
from bandmaster.contrib.web import current_context, request_context


def carried() -> dict[str, str]:
    """Labels for a message that is sent here: the request context, and the trace where OpenTelemetry is installed."""
    found: dict[str, str] = {}
    context = current_context()
    if context is not None:
        found[labels.REQUEST_ID] = context.request_id
        found[labels.CORRELATION_ID] = context.correlation_id
        if context.tenant is not None:
            found[labels.TENANT] = context.tenant
        if context.user is not None:
            found[labels.USER] = context.user
    if has_opentelemetry():
        from opentelemetry import propagate

        fields: dict[str, str] = {}
        propagate.inject(fields)
        found |= {f"{labels.TRACE}{name}": value for name, value in fields.items()}
    return found


@contextmanager
def restored(found: Mapping[str, Any]) -> Iterator[None]:
    """Run a task in the context that its message brought, and leave nothing of it behind."""
    with (
        request_context(
            _text(found.get(labels.REQUEST_ID)),
            _text(found.get(labels.CORRELATION_ID)),
            tenant=_text(found.get(labels.TENANT)),
            user=_text(found.get(labels.USER)),
        ),
        _traced(found),
    ):
        yield


@functools.cache
def has_opentelemetry() -> bool:
    """Whether there is a trace to take along: the API is installed, by the application or a tracing library."""
    try:
        return importlib.util.find_spec("opentelemetry.propagate") is not None
    except ModuleNotFoundError:
        return False


def _text(label: Any) -> str | None:
    return label if isinstance(label, str) else None  # others than this package may have set it


@contextmanager
def _traced(found: Mapping[str, Any]) -> Iterator[None]:
    fields = {
        name.removeprefix(labels.TRACE): str(value) for name, value in found.items() if name.startswith(labels.TRACE)
    }
    if not fields or not has_opentelemetry():
        yield
        return
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract(fields))
    try:
        yield
    finally:
        context.detach(token)
