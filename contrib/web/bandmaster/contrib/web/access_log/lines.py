"""Render access records as lines of JSON or text. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Final

from bandmaster.contrib.web.access_log.records import AccessRecord

LINE_LIMIT: Final = 4096
"""Bytes of a line, its newline included; all texts of a longer line are cut.

Linux writes no more to a pipe in one piece (``PIPE_BUF``), and longer lines of several processes would mix."""

_RARE_FIELDS = AccessRecord._fields[AccessRecord._fields.index("correlation_id") : -1]
"""The fields that most records don't have, without the bound ones."""
_RARE_DEFAULTS = [AccessRecord._field_defaults[name] for name in _RARE_FIELDS]
_NAMED_START = AccessRecord._fields.index("bytes_sent")
_NAMED_FIELDS = AccessRecord._fields[_NAMED_START:-1]
"""The fields that a line of text has as ``name=value``, before the bound ones."""
_COMPACT = (",", ":")
_LEAST_BOUND = 8
"""Characters of a text below which a line that is too long loses the bound fields altogether."""
_quote = encode_basestring_ascii


def json_line(record: AccessRecord) -> str:
    """Render a record as one JSON object (RFC 8259) with a newline: ASCII only, at most `LINE_LIMIT` bytes.

    Unknown fields are left out. Times are in the format of RFC 3339, in UTC; durations are in seconds.
    """
    line = _render_json(record)
    # "\\ud" begins the escape of a surrogate. Pairs are valid, but strict parsers refuse a lone one.
    if len(line) > LINE_LIMIT or "\\ud" in line:
        return _render_shortened(_render_json, record)
    return line


def text_line(record: AccessRecord) -> str:
    """Render a record as one line of text with a newline: printable ASCII only, at most `LINE_LIMIT` bytes.

    The line has the time, level, event, method, path, status and duration, then ``name=value`` for all other fields.
    Spaces, backslashes, control characters and all beyond ASCII are escaped in values, as Python escapes them, so that
    no value can look like another field.
    """
    line = _render_text(record)
    return line if len(line) <= LINE_LIMIT else _render_shortened(_render_text, record)


def _render_json(record: AccessRecord) -> str:
    # Rendered by hand, in half the time of json.dumps, which has to find out the type of every value.
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
        bound,
    ) = record
    if client is None or http_version is None or request_id is None:
        more = _render_members(("client", "http_version", "request_id"), (client, http_version, request_id))
    else:
        more = f',"client":{_quote(client)},"http_version":{_quote(http_version)},"request_id":{_quote(request_id)}'
    if rare != _RARE_DEFAULTS:
        more += _render_members(_RARE_FIELDS, rare)
    if bound:
        more += f",{json.dumps(record.renamed_bound(), separators=_COMPACT)[1:-1]}"
    time += 0.0005
    second = int(time)
    return (
        f'{{"time":"{_format_second(second)}.{_MILLISECONDS[int((time - second) * 1000)]}Z",'
        f'"level":"{level}","event":"{event}",'
        f'"method":{_quote(method)},"path":{_quote(path)}{"" if route is None else _render_route(route)}'
        f'{"" if status is None else _render_status(status)},"duration":{duration:.6f},'
        f'"bytes_sent":{bytes_sent},"bytes_received":{bytes_received}{more}}}\n'
    )


def _render_members(names: Iterable[str], values: Iterable[object]) -> str:
    return "".join(
        [
            f',"{name}":{_quote(value) if isinstance(value, str) else "true" if value is True else repr(value)}'
            for name, value in zip(names, values, strict=True)
            if value is not None and value is not False
        ]
    )


def _render_text(record: AccessRecord) -> str:
    time = record.time + 0.0005
    second = int(time)
    more = "" if record.route is None else f" route={_escape_text(record.route)}"
    for name, value in zip(_NAMED_FIELDS, record[_NAMED_START:-1], strict=True):
        if value is not None and value is not False:
            more = f"{more} {name}={_render_value(value)}"
    for name, value in record.renamed_bound().items():
        more = f"{more} {_escape_text(name)}={_render_value(value)}"
    return (
        f"{_format_second(second)}.{_MILLISECONDS[int((time - second) * 1000)]}Z {record.level:7} {record.event} "
        f"{_escape_text(record.method)} {_escape_text(record.path)} {'-' if record.status is None else record.status} "
        f"{record.duration:.6f}s{more}\n"
    )


def _render_value(value: object) -> str:
    if isinstance(value, str):
        return _escape_text(value)
    if isinstance(value, dict | list):
        return _escape_text(json.dumps(value, separators=_COMPACT))
    return "yes" if value is True else repr(value)


def _escape_text(text: str) -> str:
    if _UNAMBIGUOUS(text):
        return text
    return text.encode("unicode_escape").decode("ascii").replace(" ", "\\x20") or '""'


_UNAMBIGUOUS = re.compile(r"[!-\[\]-~]+").fullmatch
_MILLISECONDS = tuple(f"{millisecond:03}" for millisecond in range(1000))


@lru_cache(maxsize=8)
def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)
def _render_route(template: str) -> str:
    return f',"route":{_quote(template)}'


@lru_cache(maxsize=600)
def _render_status(status: int) -> str:
    return f',"status":{status:d}'


def _render_shortened(render: Callable[[AccessRecord], str], record: AccessRecord) -> str:
    """Render a record with its texts shortened until the line fits, and without lone surrogates."""
    limit = LINE_LIMIT
    while True:
        shortened = AccessRecord._make(
            [_shorten_text(value, limit) if isinstance(value, str) else value for value in record]
        )
        line = render(shortened._replace(bound=_shorten_bound(record, limit)))
        if len(line) <= LINE_LIMIT:
            return line
        limit //= 2


def _shorten_bound(record: AccessRecord, limit: int) -> dict[str, object] | None:
    if not record.bound or limit < _LEAST_BOUND:
        return None
    return {_shorten_text(name, limit): _shorten_value(value, limit) for name, value in record.bound.items()}


def _shorten_value(value: object, limit: int) -> object:
    if isinstance(value, dict | list):
        text = json.dumps(value, separators=_COMPACT)
        return value if len(text) <= limit and "\\ud" not in text else _shorten_text(text, limit)
    return _shorten_text(value, limit) if isinstance(value, str) else value


def _shorten_text(text: str, limit: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= limit else f"{text[:limit]}..."
