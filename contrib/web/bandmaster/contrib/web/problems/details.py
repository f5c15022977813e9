"""Problem details as RFC 9457 defines them, before they are rendered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

RESERVED_MEMBERS = frozenset(("type", "title", "status", "detail", "instance", "request_id", "trace_id", "errors"))
"""Member names with a fixed meaning, which extension members can't use."""

# The names of RFC 9110. Python 3.12 and earlier still have the older ones.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}

# RFC 3986, 3.5, without the slash, which separates the tokens of a JSON pointer.
_FRAGMENT_CHARACTERS = ":@!$&'()*+,;=~?"


def title_of(status: int) -> str:
    """The name of a status code in RFC 9110; ``Error`` for codes that have none."""
    try:
        return _TITLES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return "Error"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemDetails:
    """One error, in the form that clients receive. Every member is sent, so put no internals in.

    Raises:
        ValueError: the status is not between 400 and 599, or a member has a reserved name.
    """

    status: int
    type: str = "about:blank"
    """A URI that names the kind of problem; ``about:blank`` if the status alone describes the problem."""
    title: str = ""
    """The kind of problem in a few words; the name of the status if empty."""
    detail: str | None = None
    """The cause of this occurrence, and the action that the client can take."""
    instance: str | None = None
    """A URI of this occurrence; the path of the request if None."""
    errors: tuple[Mapping[str, Any], ...] = ()
    """The invalid parts of a request, each with its place; see `validation_errors`."""
    members: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """Extension members, which are specific to this kind of problem."""

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"status: expected the status of an error, 400 to 599, got {self.status!r}")
        taken = sorted(RESERVED_MEMBERS & self.members.keys())
        if taken:
            raise ValueError(f"members: {', '.join(taken)} mean something already; call them something else")
        object.__setattr__(self, "title", self.title or title_of(self.status))
        object.__setattr__(self, "errors", tuple(self.errors))
        object.__setattr__(self, "members", MappingProxyType(dict(self.members)))


def body_too_large(limit: int) -> ProblemDetails:
    """The problem (413) of a request with a body of more than ``limit`` bytes."""
    return ProblemDetails(status=413, detail=f"The body is too large: at most {limit} bytes are accepted here.")


def validation_errors(errors: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], ...]:
    """Convert pydantic's errors to the ``errors`` of a problem: the place and the message, never the input.

    A place in the body is a ``pointer`` (RFC 6901, in the fragment form that RFC 9457 uses). Any other place is a
    ``parameter`` with its location ``in``, named as in OpenAPI: ``query``, ``path``, ``header`` or ``cookie``.

    >>> validation_errors([{"loc": ("body", "items", 0, "a/b"), "msg": "Field required", "input": "a secret"}])
    ({'pointer': '#/items/0/a~1b', 'detail': 'Field required'},)
    >>> validation_errors([{"loc": ("query", "limit"), "msg": "Input should be a valid integer"}])
    ({'in': 'query', 'parameter': 'limit', 'detail': 'Input should be a valid integer'},)
    """
    return tuple(
        {**_render_place(tuple(error.get("loc", ()))), "detail": str(error.get("msg", ""))} for error in errors
    )


def _render_place(location: tuple[Any, ...]) -> dict[str, str]:
    root, *path = location or ("body",)
    if root in ("query", "path", "header", "cookie"):
        return {"in": root, "parameter": ".".join(map(str, path))}
    tokens = (str(token).replace("~", "~0").replace("/", "~1") for token in (path if root == "body" else location))
    return {
        "pointer": "#" + "".join(f"/{quote(token, safe=_FRAGMENT_CHARACTERS, errors='replace')}" for token in tokens)
    }
