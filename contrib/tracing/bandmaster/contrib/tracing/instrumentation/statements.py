"""Spans of database statements, by the stable conventions for databases, from SQLAlchemy's events."""

from __future__ import annotations

import posixpath
import threading
from typing import Any
from weakref import WeakSet

from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from bandmaster.contrib.persistence import EngineObserver
from bandmaster.contrib.tracing.instrumentation.spans import SCOPE, end_span
from bandmaster.contrib.tracing.instrumentation.sql_text import describe_statement

_SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}
"""The names of the conventions where they differ from SQLAlchemy's."""
_INTERNAL = "bandmaster_internal"
"""The execution option of statements that aren't the application's own, such as the one that begins a transaction."""
_SPAN = "bandmaster_span"
"""The attribute of SQLAlchemy's execution context with the span of the statement that runs."""


class StatementTracer(EngineObserver):
    """Makes one span for each statement of each observed engine."""

    def __init__(self, provider: TracerProvider, *, with_text: bool = True, longest_text: int = 2000) -> None:
        self._tracer = provider.get_tracer(SCOPE)
        self._longest_text = longest_text if with_text else 0
        self._known: WeakSet[Engine] = WeakSet()
        self._lock = threading.Lock()

    def observe_engine(self, engine: Engine, database: str) -> None:
        """Trace the statements of an engine. An engine that is given twice is traced once."""
        with self._lock:
            if engine in self._known:
                return
            self._known.add(engine)
        spans = _EngineSpans(self._tracer, describe_engine(engine, database), self._longest_text)
        event.listen(engine, "before_cursor_execute", spans.begin)
        event.listen(engine, "after_cursor_execute", spans.end)
        event.listen(engine, "handle_error", spans.fail)


def describe_engine(engine: Engine, database: str) -> dict[str, AttributeValue]:
    """The attributes that all statements of an engine share. The URL's user and password aren't among them."""
    url = engine.url
    system = url.get_backend_name()
    attributes: dict[str, AttributeValue] = {
        "db.system.name": _SYSTEMS.get(system, system),
        "bandmaster.database": database,
    }
    if url.database:
        # The folder of a file says where the application is installed.
        attributes["db.namespace"] = posixpath.basename(url.database) if system == "sqlite" else url.database
    if url.host:
        attributes["server.address"] = url.host
    if url.port:
        attributes["server.port"] = url.port
    return attributes


class _EngineSpans:
    """Listens to one engine. SQLAlchemy's execution context holds the span while the statement runs."""

    def __init__(self, tracer: Tracer, attributes: dict[str, AttributeValue], longest_text: int) -> None:
        self._tracer = tracer
        self._attributes = attributes
        self._longest_text = longest_text

    def begin(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        """Begin the span of a statement."""
        if context is None or context.execution_options.get(_INTERNAL):
            return
        described = describe_statement(statement)
        span = self._tracer.start_span(described.summary or "SQL", kind=SpanKind.CLIENT)
        setattr(context, _SPAN, span)
        if not span.is_recording():
            return
        span.set_attributes(self._attributes)
        span.set_attribute("db.operation.name", described.operation)
        span.set_attribute("db.query.summary", described.summary)
        if len(described.tables) == 1:
            span.set_attribute("db.collection.name", described.tables[0])
        if self._longest_text:
            span.set_attribute("db.query.text", described.text[: self._longest_text])
        if many and len(parameters) > 1:
            span.set_attribute("db.operation.batch.size", len(parameters))

    def end(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        """End the span of a statement that has run. Rows are fetched later, without spans."""
        if (span := _take_span(context)) is not None:
            span.end()

    def fail(self, failure: ExceptionContext) -> None:
        """End the span of a statement that has failed. The text of the error may quote values, and is left out."""
        span = _take_span(failure.execution_context)
        if span is None:
            return
        error = failure.original_exception
        code = find_code(error)
        if code is not None:
            span.set_attribute("db.response.status_code", code)
        end_span(span, error, code)


def find_code(error: BaseException | None) -> str | None:
    """The code of a database's error: PostgreSQL's SQLSTATE, or the name of SQLite's code."""
    while error is not None:
        for name in ("sqlstate", "pgcode", "sqlite_errorname"):
            code = getattr(error, name, None)
            if isinstance(code, str):
                return code
        error = error.__cause__  # SQLAlchemy wraps asyncpg's exception, which has the code
    return None


def _take_span(context: Any) -> Span | None:
    span: Span | None = getattr(context, _SPAN, None)
    if span is not None:
        delattr(context, _SPAN)
    return span
