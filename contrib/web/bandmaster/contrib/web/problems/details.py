"""Problems as RFC 9457 describes them: what they say, and as which bytes. No I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from html import escape
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

PROBLEM_JSON = "application/problem+json"

TRACE_ID = "trace_id"
"""Where an exchange's ``data`` has the id of the trace, if something traces."""

RESERVED = frozenset(("type", "title", "status", "detail", "instance", "request_id", "trace_id", "errors"))
"""Members that extensions can't be called, for they mean something already."""

# What RFC 9110 calls them now; Python 3.12 and earlier have older names.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
_DEEPEST = 8
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"


def title_of(status: int) -> str:
    """What RFC 9110 calls a status."""
    try:
        return _TITLES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return "Error"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemDetails:
    """One problem, for the client to see. It goes out as it is: never put in what only the service should know.

    Raises:
        ValueError: the status isn't one of an error, or a member has a name that means something else.
    """

    status: int
    type: str = "about:blank"
    """A URI that names the kind of problem; ``about:blank`` means that the status says it all."""
    title: str = ""
    """What kind of problem it is, in words; without one, what the status is called."""
    detail: str | None = None
    """What is wrong this time, and what to do."""
    instance: str | None = None
    """A URI of this occurrence; without one, the path of the request."""
    errors: tuple[Mapping[str, Any], ...] = ()
    """What is wrong with a request, each with its place; see `validation_errors`."""
    members: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """Whatever else belongs to this kind of problem."""

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"status: expected the status of an error, 400 to 599, got {self.status!r}")
        taken = sorted(RESERVED & self.members.keys())
        if taken:
            raise ValueError(f"members: {', '.join(taken)} mean something already; call them something else")
        object.__setattr__(self, "title", self.title or title_of(self.status))
        object.__setattr__(self, "errors", tuple(self.errors))
        object.__setattr__(self, "members", MappingProxyType(dict(self.members)))


def body_too_large(limit: int) -> ProblemDetails:
    """The problem that a request has whose body is larger than so many bytes."""
    return ProblemDetails(status=413, detail=f"The body is too large: at most {limit} bytes are accepted here.")


def as_members(
    problem: ProblemDetails, *, path: str, request_id: str | None = None, trace_id: str | None = None
) -> dict[str, Any]:
    """All members of a problem in a request, in the order in which people read them, as plain JSON values."""
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
    told = {name: value for name, value in members.items() if value is not None}
    return {name: plain(value) for name, value in {**told, **problem.members}.items()}


def as_json(members: Mapping[str, Any]) -> bytes:
    """Members of `as_members` as JSON, in ASCII."""
    return json.dumps(members).encode("ascii")


def as_html(members: Mapping[str, Any]) -> bytes:
    """Members of `as_members` as a page."""
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


def rendered(
    problem: ProblemDetails, *, path: str, accept: str, request_id: str | None, trace_id: str | None
) -> tuple[bytes, str]:
    """What a client gets that accepts such types, and of which type it is."""
    members = as_members(problem, path=path, request_id=request_id, trace_id=trace_id)
    return (as_html(members), "text/html") if prefers_html(accept) else (as_json(members), PROBLEM_JSON)


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON can have it, whatever it is: there must be no error in answering an error."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Its subclasses may call themselves something else.
        return int(value)
    if isinstance(value, str):
        # Half of a surrogate pair is no text.
        return str.__str__(value).encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else float.__repr__(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(plain(name, _DEEPEST)): plain(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each, depth + 1) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    try:
        return plain(str(value))
    except Exception:  # noqa: BLE001  # somebody else's __str__
        return type(value).__name__


def prefers_html(accept: str) -> bool:
    """Whether a client clearly wants a page rather than JSON: it names HTML, and ranks it above (RFC 9110, 12.5.1)."""
    html = _rank(accept, ("text/html", "application/xhtml+xml"))
    json_ = max(
        _rank(accept, ("application/problem+json", "application/json")), _rank(accept, ("application/*", "*/*"))
    )
    return html > 0 and html > json_


def _rank(accept: str, types: Iterable[str]) -> float:
    highest = 0.0
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name in types:
            highest = max(highest, _quality(parameters))
    return highest


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0


def validation_errors(errors: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], ...]:
    """What pydantic says is wrong with a request, for a problem's ``errors``: the place and the words, never the input.

    A place in the body is a ``pointer`` (RFC 6901, as a fragment, which is how RFC 9457 writes it). Any other is a
    ``parameter`` with where it stands ``in``, as OpenAPI calls it: ``query``, ``path``, ``header`` or ``cookie``.

    >>> validation_errors([{"loc": ("body", "items", 0, "a/b"), "msg": "Field required", "input": "a secret"}])
    ({'pointer': '#/items/0/a~1b', 'detail': 'Field required'},)
    >>> validation_errors([{"loc": ("query", "limit"), "msg": "Input should be a valid integer"}])
    ({'in': 'query', 'parameter': 'limit', 'detail': 'Input should be a valid integer'},)
    """
    return tuple({**_place(tuple(error.get("loc", ()))), "detail": str(error.get("msg", ""))} for error in errors)


def _place(location: tuple[Any, ...]) -> dict[str, str]:
    where, *path = location or ("body",)
    if where in ("query", "path", "header", "cookie"):
        return {"in": where, "parameter": ".".join(map(str, path))}
    tokens = (str(token).replace("~", "~0").replace("/", "~1") for token in (path if where == "body" else location))
    return {"pointer": "#" + "".join(f"/{quote(token, safe=_FRAGMENT, errors='replace')}" for token in tokens)}


# RFC 3986, 3.5, without the slash.
_FRAGMENT = ":@!$&'()*+,;=~?"
