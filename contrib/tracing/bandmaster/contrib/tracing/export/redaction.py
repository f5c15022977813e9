"""Redact spans before their export: attributes, events, links, status texts and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status
from opentelemetry.util.types import AttributeValue

from bandmaster.kernel import REDACTED, Redactor

_HARMLESS = frozenset(
    (
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "network.protocol.name",
        "network.protocol.version",
        "server.port",
        "url.scheme",
        "error.type",
        "exception.type",
        "exception.escaped",
        "code.function.name",
        "code.file.path",
        "code.line.number",
    )
)
"""Attributes from the code of the application or from fixed sets, which can hold no secret."""
_QUERY = "url.query"


class SpanRedactor:
    """Redacts spans by the rules of the logs, in the thread that exports."""

    def __init__(self, redactor: Redactor) -> None:
        self._text = redactor.redact_text
        self._redact_whole = redactor.redact
        self._is_secret = lru_cache(maxsize=4096)(redactor.is_secret)

    def redact(self, span: ReadableSpan) -> ReadableSpan:
        """The span with every recognisable secret replaced; the same object if there is none."""
        attributes = self._redact_attributes(span.attributes)
        events = [self._redact_event(event) for event in span.events]
        links = [self._redact_link(link) for link in span.links]
        status = self._redact_status(span.status)
        name = self._text(span.name)
        if (
            attributes is span.attributes
            and status is span.status
            and name == span.name
            and all(new is old for new, old in zip(events, span.events, strict=True))
            and all(new is old for new, old in zip(links, span.links, strict=True))
        ):
            return span
        return ReadableSpan(
            name=name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=span.kind,
            status=status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def _redact_event(self, event: Event) -> Event:
        attributes = self._redact_attributes(event.attributes)
        name = self._text(event.name)
        if attributes is event.attributes and name == event.name:
            return event
        return Event(name, attributes, event.timestamp)

    def _redact_link(self, link: Link) -> Link:
        attributes = self._redact_attributes(link.attributes)
        return link if attributes is link.attributes else Link(link.context, attributes)

    def _redact_status(self, status: Status) -> Status:
        if not status.description:
            return status
        text = self._text(status.description)
        return status if text == status.description else Status(status.status_code, text)

    def _redact_attributes(self, attributes: Mapping[str, AttributeValue] | None) -> Any:
        if not attributes:
            return attributes
        changed: dict[str, AttributeValue] = {}
        for key, value in attributes.items():
            if key in _HARMLESS:
                continue
            if self._is_secret(key):
                changed[key] = REDACTED
                continue
            new = self._redact_query(value) if key == _QUERY else self._redact_value(value)
            if new is not value:
                changed[key] = new
        return {**attributes, **changed} if changed else attributes

    def _redact_query(self, value: Any) -> Any:
        # Each parameter by itself: in a text, what follows a secret may belong to it.
        text = "&".join(str(self._redact_whole(part)) for part in str(value).split("&"))
        return value if text == value else text

    def _redact_value(self, value: Any) -> Any:
        if isinstance(value, str):
            # An attribute may be a URL as a whole, whose password may hold anything.
            text = self._redact_whole(value)
            return value if text == value else text
        if isinstance(value, bytes):
            text = self._text(value.decode("utf-8", "backslashreplace"))
            return value if text.encode("utf-8", "backslashreplace") == value else text
        if isinstance(value, Mapping):
            new = self._redact_attributes(value)
            return value if new is value else new
        if isinstance(value, Sequence):
            items = [self._redact_value(one) for one in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return value
