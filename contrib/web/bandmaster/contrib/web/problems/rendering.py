"""Render problem details as JSON or as an HTML page. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, time
from html import escape
from typing import Any
from urllib.parse import quote

from bandmaster.contrib.web.problems.details import ProblemDetails

PROBLEM_JSON = "application/problem+json"

_MAX_DEPTH = 8
"""Levels of nested members that are rendered; deeper ones become ``...``."""
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"


def render_problem(
    problem: ProblemDetails, *, path: str, accept: str, request_id: str | None, trace_id: str | None
) -> tuple[bytes, str]:
    """Render a problem for a client with this Accept header: the body and its media type."""
    members = collect_members(problem, path=path, request_id=request_id, trace_id=trace_id)
    return (render_html(members), "text/html") if prefers_html(accept) else (render_json(members), PROBLEM_JSON)


def collect_members(
    problem: ProblemDetails, *, path: str, request_id: str | None = None, trace_id: str | None = None
) -> dict[str, Any]:
    """Collect the members of a problem as plain JSON values: first the standard ones, then the extensions."""
    members: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": problem.instance or quote(path, safe=_PATH_CHARACTERS, errors="replace"),
        "request_id": request_id,
        "trace_id": trace_id,
        "errors": list(problem.errors) or None,
    }
    known = {name: value for name, value in members.items() if value is not None}
    return {name: to_json_value(value) for name, value in {**known, **problem.members}.items()}


def render_json(members: Mapping[str, Any]) -> bytes:
    """Render the result of `collect_members` as JSON, in ASCII."""
    return json.dumps(members).encode("ascii")


def render_html(members: Mapping[str, Any]) -> bytes:
    """Render the result of `collect_members` as an HTML page."""
    rows = "".join(
        f"<dt>{escape(name)}<dd>{escape(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in members.items()
        if name not in ("title", "status", "detail")
    )
    heading = escape(f"{members['status']} {members['title']}")
    text = escape(str(members.get("detail", "")))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f"<h1>{heading}</h1><p>{text}</p><dl>{rows}</dl></html>\n"
    )
    return page.encode("utf-8", "replace")


def to_json_value(value: Any, depth: int = 0) -> Any:
    """Convert any value to one that JSON can represent.

    This never raises: a failure while an error is answered would hide that error.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # json.dumps would use the repr of a subclass, which may be no number.
        return int(value)
    if isinstance(value, str):
        # A lone surrogate can't be encoded as UTF-8.
        return str.__str__(value).encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else float.__repr__(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if depth >= _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(to_json_value(name, _MAX_DEPTH)): to_json_value(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json_value(each, depth + 1) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return to_json_value(render_text(value, type(value).__name__))


def render_text(value: object, fallback: str = "") -> str:
    """The ``str()`` of an object, or the fallback if its ``__str__`` raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # a __str__ of another package may raise anything
        return fallback


def prefers_html(accept: str) -> bool:
    """Whether an Accept header names HTML and ranks it above JSON (RFC 9110, 12.5.1)."""
    html = _find_quality(accept, ("text/html", "application/xhtml+xml"))
    json_ = max(
        _find_quality(accept, ("application/problem+json", "application/json")),
        _find_quality(accept, ("application/*", "*/*")),
    )
    return html > 0 and html > json_


def _find_quality(accept: str, types: Iterable[str]) -> float:
    highest = 0.0
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name in types:
            highest = max(highest, _parse_quality(parameters))
    return highest


def _parse_quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0
