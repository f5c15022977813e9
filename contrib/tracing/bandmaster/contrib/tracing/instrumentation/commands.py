"""Spans of Redis commands, by the stable conventions for databases. Keys and values aren't part of them."""

from __future__ import annotations

import re

from opentelemetry.trace import Span, SpanKind, TracerProvider
from opentelemetry.util.types import AttributeValue

from bandmaster.contrib.redis import CommandObserver, RedisCommand, ReportCommandEnd
from bandmaster.contrib.tracing.instrumentation.spans import SCOPE, end_span

_CODE = re.compile(r"[A-Z][A-Z0-9]{2,30}(?= )")
"""The code with which the text of a server's error begins, such as ``WRONGTYPE``."""


class CommandTracer(CommandObserver):
    """Makes one span for each command, and one for each pipeline."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(SCOPE)

    def observe_command(self, command: RedisCommand) -> ReportCommandEnd:
        """Begin the span of a command or a pipeline."""
        name = name_operation(command)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT)
        if span.is_recording():
            span.set_attributes(describe_command(command, name))
        return lambda error: _end(span, error)


def name_operation(command: RedisCommand) -> str:
    """The name of the operation: of a pipeline, its kind, and its command if all are the same.

    The convention for Redis (database spans) has ``MULTI SET`` for a transaction of nothing but ``SET``.
    """
    if len(command.names) > 1 or command.name not in command.names:
        alike = set(command.names)
        return f"{command.name} {alike.pop()}" if len(alike) == 1 else command.name
    return command.name


def describe_command(command: RedisCommand, name: str) -> dict[str, AttributeValue]:
    """The attributes of a command."""
    place = command.place
    attributes: dict[str, AttributeValue] = {
        "db.system.name": "redis",
        "db.namespace": str(place.database),
        "db.operation.name": name,
        "server.address": place.host,
        "bandmaster.redis.client": place.client,
    }
    if place.port is not None:
        attributes["server.port"] = place.port
    if len(command.names) > 1:
        attributes["db.operation.batch.size"] = len(command.names)
    return attributes


def _end(span: Span, error: BaseException | None) -> None:
    code = None
    if error is not None and (found := _CODE.match(str(error))):
        code = found[0]
        span.set_attribute("db.response.status_code", code)
    end_span(span, error, code)
