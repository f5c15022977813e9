"""The sender's request context and trace, written to a message's labels and restored where the task runs."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from bandmaster.contrib.taskiq.message_labels import CORRELATION_ID, REQUEST_ID, TENANT, TRACE, USER
from bandmaster.contrib.web import current_context, request_context


def make_context_labels() -> dict[str, str]:
    """Labels for a message sent now, with the request context."""
    labels: dict[str, str] = {}
    context = current_context()
    if context is not None:
        labels[REQUEST_ID] = context.request_id
        labels[CORRELATION_ID] = context.correlation_id
        if context.tenant is not None:
            labels[TENANT] = context.tenant
        if context.user is not None:
            labels[USER] = context.user
    return labels


def make_global_trace_fields() -> dict[str, str]:
    """The fields of the current trace, as OpenTelemetry's global propagator writes them; nothing without its API."""
    fields: dict[str, str] = {}
    if has_opentelemetry():
        from opentelemetry import propagate

        propagate.inject(fields)
    return fields


def make_trace_labels(fields: Mapping[str, str]) -> dict[str, str]:
    """The labels that send the fields of a trace."""
    return {f"{TRACE}{name}": value for name, value in fields.items()}


def read_trace_fields(labels: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a trace that a message's labels have."""
    return {name.removeprefix(TRACE): str(value) for name, value in labels.items() if name.startswith(TRACE)}


@contextmanager
def restore_context(labels: Mapping[str, Any], *, with_trace: bool = True) -> Iterator[None]:
    """Set the context that a message's labels describe, until the block ends.

    The trace is restored by OpenTelemetry's global propagator, unless an observer restores it.
    """
    with (
        request_context(
            _read_text(labels, REQUEST_ID),
            _read_text(labels, CORRELATION_ID),
            tenant=_read_text(labels, TENANT),
            user=_read_text(labels, USER),
        ),
        _restore_trace(labels) if with_trace else nullcontext(),
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
    fields = read_trace_fields(labels)
    if not fields or not has_opentelemetry():
        yield
        return
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract(fields))
    try:
        yield
    finally:
        context.detach(token)
