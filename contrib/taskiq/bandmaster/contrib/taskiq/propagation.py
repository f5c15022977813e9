"""The sender's request context and trace, written to a message's labels and restored where the task runs."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bandmaster.contrib.taskiq.message_labels import CORRELATION_ID, REQUEST_ID, TENANT, TRACE, USER
from bandmaster.contrib.web import current_context, request_context


def make_context_labels() -> dict[str, str]:
    """Labels for a message sent now: the request context, and the trace if OpenTelemetry is installed."""
    labels: dict[str, str] = {}
    context = current_context()
    if context is not None:
        labels[REQUEST_ID] = context.request_id
        labels[CORRELATION_ID] = context.correlation_id
        if context.tenant is not None:
            labels[TENANT] = context.tenant
        if context.user is not None:
            labels[USER] = context.user
    if has_opentelemetry():
        from opentelemetry import propagate

        fields: dict[str, str] = {}
        propagate.inject(fields)
        labels |= {f"{TRACE}{name}": value for name, value in fields.items()}
    return labels


@contextmanager
def restore_context(labels: Mapping[str, Any]) -> Iterator[None]:
    """Set the context that a message's labels describe, until the block ends."""
    with (
        request_context(
            _read_text(labels, REQUEST_ID),
            _read_text(labels, CORRELATION_ID),
            tenant=_read_text(labels, TENANT),
            user=_read_text(labels, USER),
        ),
        _restore_trace(labels),
    ):
        yield


@functools.cache
def has_opentelemetry() -> bool:
    """Whether the API of OpenTelemetry is installed, by the application or a tracing library."""
    try:
        return importlib.util.find_spec("opentelemetry.propagate") is not None
    except ModuleNotFoundError:
        return False


def _read_text(labels: Mapping[str, Any], name: str) -> str | None:
    label = labels.get(name)
    return label if isinstance(label, str) else None  # other programs may have set the label


@contextmanager
def _restore_trace(labels: Mapping[str, Any]) -> Iterator[None]:
    fields = {name.removeprefix(TRACE): str(value) for name, value in labels.items() if name.startswith(TRACE)}
    if not fields or not has_opentelemetry():
        yield
        return
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract(fields))
    try:
        yield
    finally:
        context.detach(token)
