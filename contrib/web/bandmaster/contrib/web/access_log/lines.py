"""The access log's records, and their lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, Final, Literal, NamedTuple

PATH_LIMIT: Final = 1024
"""Characters of a path that are logged; of a longer one the rest is left out, and ``...`` stands for it."""

LINE_LIMIT: Final = 4096
"""Bytes that a line has at most, its newline included: what Linux writes to a pipe in one piece (``PIPE_BUF``), so that
the lines of several processes don't mix. Where a line would be longer, all its texts are cut."""


class AccessRecord(NamedTuple):
    """What there is to say about one request, or one WebSocket connection, when it is over."""

    event: Literal["request", "websocket"]
    level: Literal["info", "warning"]
    """``warning`` for a status from 500 up, an exception (unless it says that the client has gone), a cancellation, a
    response that was cut off, and what was slow; these are never sampled away. Else ``info``, also for a client that
    left."""
    time: float
    """When the last byte was handed to the server, or what there was of an end, in seconds of Unix time."""
    method: str
    path: str
    """As the client sent it, percent-encoded and without the query string, which may hold secrets; see
    `PATH_LIMIT`."""
    route: str | None = None
    """The template of the route that it took, such as ``/items/{id}``, prefixes included."""
    status: int | None = None
    """The response's status; 500 where an application failed or ended without any response, as servers answer then; 101
    for a WebSocket that was accepted. None if nobody was there to answer, or it was cancelled before."""
    duration: float = 0.0
    """Seconds until the last byte was handed to the server, background work not included."""
    bytes_sent: int = 0
    """Bytes of body; of a WebSocket's messages, their lengths. Files that the server sends by path don't count."""
    bytes_received: int = 0
    """The same of what the application has read."""
    client: str | None = None
    """The client's address, as far as server and proxy tell."""
    http_version: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    """Where it is another one than the request's own id."""
    tenant: str | None = None
    user: str | None = None
    error: str | None = None
    """The type of what the application raised, by name; also if an error was answered for it."""
    slow: bool = False
    """Whether it took as long as the setting says; never so for WebSockets and for bodies without a known length."""
    disconnected: bool = False
    """Whether the client left: before the response was complete, or by closing the WebSocket first."""
    incomplete: bool = False
    """Whether the response broke off though the client was there."""
    close_code: int | None = None
    """The code that a WebSocket was closed with, by whichever side."""
    messages_sent: int | None = None
    """Messages sent over a WebSocket."""
    messages_received: int | None = None
    """Messages received over a WebSocket."""
    sample_rate: float | None = None
    """The share of such requests that is logged, where it isn't all: each stands for ``1 / sample_rate``."""

    def fields(self) -> dict[str, Any]:
        """What is known and worth saying, by name; all but event, level and time."""
        return {
            name: value
            for name, value in zip(_FIELDS, self[_COMMON:], strict=True)
            if value is not None and value is not False
        }


_COMMON = 3
_FIELDS = AccessRecord._fields[_COMMON:]
_RARE = _FIELDS[_FIELDS.index("correlation_id") :]
_NOTHING_RARE = [AccessRecord._field_defaults[name] for name in _RARE]
_FIRST_IN_TEXT = AccessRecord._fields.index("bytes_sent")
_IN_TEXT = AccessRecord._fields[_FIRST_IN_TEXT:]
_quoted = encode_basestring_ascii


def json_line(record: AccessRecord) -> str:
    """One JSON object (RFC 8259) on one line, with its newline: ASCII alone, at most `LINE_LIMIT` long.

    What isn't known is left out. Times are RFC 3339, in UTC; durations are seconds.
    """
    line = _json(record)
    # Escapes of surrogates: pairs are as well as can be, but a lone one is refused by strict parsers.
    if len(line) > LINE_LIMIT or "\\ud" in line:
        return _tamed(_json, record)
    return line


def text_line(record: AccessRecord) -> str:
    """One line for people, with its newline: printable ASCII alone, at most `LINE_LIMIT` long.

    Time, level, event, method, path, status and duration, then ``name=value`` for all else; whatever could be taken for
    something else is escaped as in Python, a space as well.
    """
    line = _text(record)
    return line if len(line) <= LINE_LIMIT else _tamed(_text, record)


def _json(record: AccessRecord) -> str:
    # Put together by hand: half of what json.dumps takes goes into finding out what it is given.
    (
        event,
        level,
        time,
        method,
        path,
        route,
        status,
        duration,
        bytes_sent,
        bytes_received,
        client,
        http_version,
        request_id,
        *rare,
    ) = record
    if client is None or http_version is None or request_id is None:
        more = _members(("client", "http_version", "request_id"), (client, http_version, request_id))
    else:
        more = f',"client":{_quoted(client)},"http_version":{_quoted(http_version)},"request_id":{_quoted(request_id)}'
    if rare != _NOTHING_RARE:
        more += _members(_RARE, rare)
    time += 0.0005
    second = int(time)
    return (
        f'{{"time":"{_utc(second)}.{_MILLISECONDS[int((time - second) * 1000)]}Z","level":"{level}","event":"{event}",'
        f'"method":{_quoted(method)},"path":{_quoted(path)}{"" if route is None else _route(route)}'
        f'{"" if status is None else _status(status)},"duration":{duration:.6f},'
        f'"bytes_sent":{bytes_sent},"bytes_received":{bytes_received}{more}}}\n'
    )


def _members(names: Iterable[str], values: Iterable[object]) -> str:
    return "".join(
        [
            f',"{name}":{_quoted(value) if isinstance(value, str) else "true" if value is True else repr(value)}'
            for name, value in zip(names, values, strict=True)
            if value is not None and value is not False
        ]
    )


def _text(record: AccessRecord) -> str:
    time = record.time + 0.0005
    second = int(time)
    more = "" if record.route is None else f" route={_plain(record.route)}"
    for name, value in zip(_IN_TEXT, record[_FIRST_IN_TEXT:], strict=True):
        if value is not None and value is not False:
            more = f"{more} {name}={_value(value)}"
    return (
        f"{_utc(second)}.{_MILLISECONDS[int((time - second) * 1000)]}Z {record.level:7} {record.event} "
        f"{_plain(record.method)} {_plain(record.path)} {'-' if record.status is None else record.status} "
        f"{record.duration:.6f}s{more}\n"
    )


def _value(value: object) -> str:
    if isinstance(value, str):
        return _plain(value)
    return "yes" if value is True else repr(value)


def _plain(text: str) -> str:
    if _UNMISTAKABLE(text):
        return text
    return text.encode("unicode_escape").decode("ascii").replace(" ", "\\x20") or '""'


_UNMISTAKABLE = re.compile(r"[!-\[\]-~]+").fullmatch
_MILLISECONDS = tuple(f"{millisecond:03}" for millisecond in range(1000))


@lru_cache(maxsize=8)
def _utc(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)
def _route(template: str) -> str:
    return f',"route":{_quoted(template)}'


@lru_cache(maxsize=600)
def _status(status: int) -> str:
    return f',"status":{status:d}'


def _tamed(line_of: Callable[[AccessRecord], str], record: AccessRecord) -> str:
    """The line with its texts cut as far as it takes, and without lone surrogates."""
    limit = LINE_LIMIT
    while True:
        line = line_of(
            AccessRecord._make([_cut(value, limit) if isinstance(value, str) else value for value in record])
        )
        if len(line) <= LINE_LIMIT:
            return line
        limit //= 2


def _cut(text: str, limit: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= limit else f"{text[:limit]}..."
