"""Resources in FastAPI handlers, by type: ``Annotated[DatabaseManager, Resource()]``."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ForwardRef, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from fastapi.params import Depends
from starlette.requests import HTTPConnection

from bandmaster.kernel import BandmasterError, Named, Resources, Scoped

Scope = Literal["function", "request"]


class MissingResourceError(BandmasterError, LookupError):
    """A handler asks for what no running component provides."""


def Resource(  # noqa: N802  # it reads as FastAPI's own
    kind: Any = None, name: str | None = None, /, *, scope: Scope | None = None
) -> Any:
    """What a component provides, for a handler or a dependency: by its type, and by ``name`` where there are several.

    Written beside the type, ``Annotated[DatabaseManager, Resource()]``, or as a default value. Where there is no
    parameter it takes the type itself: ``dependencies=[Resource(DatabaseManager)]``. ``T | None`` is none where nothing
    provides it. With a ``scope`` it is one of what a component provides as `bandmaster.kernel.Scoped`, anew for each
    request and the same for all that asks for it there. It is closed before the response is sent (``"function"``) or
    after (``"request"``), and sees the exception, if the handler raises one.

    Raises:
        ValueError: the type isn't one of something that a component could provide, or an argument is out of range.
        MissingResourceError: nothing provides it; when a request comes.
    """
    if isinstance(kind, str):
        if name is not None:
            raise ValueError(f"Resource({kind!r}, {name!r}): expected a type before the name")
        kind, name = None, kind
    if name is not None:
        Named(name)  # which says what names are like
    if scope not in (None, "function", "request"):
        raise ValueError(f"scope: expected 'function', 'request' or none, got {scope!r}")
    return ResourceMark(kind, scope=scope, name=name)


def dependency(kind: Any, name: str | None = None, *, scope: Scope | None = None) -> Callable[..., Any]:
    """The function behind ``Annotated[kind, Resource(name, scope=scope)]``, for FastAPI's ``dependency_overrides``.

    ```python
    app.dependency_overrides[dependency(DatabaseManager)] = lambda: fake
    ```
    """
    kind, name, optional = _asked_for(kind, name)
    return _application_wide(kind, name, optional) if scope is None else _scoped(kind, name, optional, scope)


class Asked(NamedTuple):
    """What a function of `dependency` looks for."""

    kind: Any
    name: str | None
    optional: bool
    scope: Scope | None

    @property
    def address(self) -> tuple[Any, str | None]:
        """Under which it has to be provided."""
        scoped: Any = Scoped
        return (self.kind if self.scope is None else scoped[self.kind]), self.name


def asked_by(function: Any) -> Asked | None:
    """What a function looks for, if it is one of `dependency`."""
    return getattr(function, _MARK, None)


@dataclass(frozen=True)
class ResourceMark(Depends):
    """A dependency whose function is known as soon as FastAPI tells the type."""

    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        # FastAPI puts the annotated type here, which it would call.
        kind = self.dependency
        if kind is not None and asked_by(kind) is None:
            object.__setattr__(self, "dependency", dependency(kind, self.name, scope=self.scope))
        checked: Callable[[], None] | None = getattr(super(), "__post_init__", None)
        if checked is not None:  # older versions have none
            checked()


_MARK = "_bandmaster_asked"


# One function for each, since FastAPI tells dependencies apart by identity: to share them within a request, to override.
@cache
def _application_wide(wanted: Any, name: str | None, optional: bool) -> Callable[..., Any]:
    async def resource(connection: HTTPConnection) -> Any:
        resources = _resources(connection)
        if optional:
            return resources.get((wanted, name))  # type: ignore[arg-type]
        try:
            return resources[wanted, name]  # type: ignore[index]
        except KeyError as error:
            raise _missing(resources, wanted, name, error) from None

    setattr(resource, _MARK, Asked(wanted, name, optional, None))
    return resource


@cache
def _scoped(wanted: Any, name: str | None, optional: bool, scope: Scope) -> Callable[..., Any]:
    key = Asked(wanted, name, optional, scope).address

    async def resource(connection: HTTPConnection) -> AsyncGenerator[Any, None]:
        resources = _resources(connection)
        try:
            made: Scoped[Any] = resources[key]  # type: ignore[index]
        except KeyError as error:
            if not optional:
                raise _missing(resources, wanted, name, error, scope) from None
            yield None
            return
        async with made.open() as opened:
            yield opened

    setattr(resource, _MARK, Asked(wanted, name, optional, scope))
    return resource


def _resources(connection: HTTPConnection) -> Resources:
    resources: Resources | None = connection.scope.get("state", {}).get("resources")
    if resources is None:
        raise MissingResourceError(
            "this app isn't served by a bandmaster application: wrap it, app = create_app(FastAPI()), and serve that"
        )
    return resources


def _missing(
    resources: Resources, wanted: Any, name: str | None, error: KeyError, scope: Scope | None = None
) -> MissingResourceError:
    return MissingResourceError(f"{error.args[0]}; {advice(Asked(wanted, name, False, scope), resources)}")


def advice(asked: Asked, there: Any) -> str:
    """What to do about something that isn't there, in view of what is."""
    if asked.scope is None and asked._replace(scope="request").address in there:
        return "it is provided anew for each request: ask for it with Resource(scope='request')"
    if asked.scope is not None and asked._replace(scope=None).address in there:
        return "it is provided once for the whole application: ask for it with Resource(), without a scope"
    return "contribute a component that does, install one, or pass overrides={type: value}"


def _asked_for(annotation: Any, name: str | None) -> tuple[Any, str | None, bool]:
    """The type and the name that an annotation means, and whether it may be none."""
    kind, optional = annotation, False
    if type(kind).__name__ == "TypeAliasType":
        kind = kind.__value__
    if get_origin(kind) is Annotated:
        kind, *marks = get_args(kind)
        names = [mark.name for mark in marks if isinstance(mark, Named)]
        name = name or (names[-1] if names else None)
    if get_origin(kind) in _UNIONS:
        others = [part for part in get_args(kind) if part is not type(None)]
        if len(others) != 1:
            raise ValueError(f"Resource: expected one type, or one and None, got {annotation}")
        kind, optional = others[0], True
    if any(kind is wide for wide in (Any, object, None, type(None))) or isinstance(kind, str | ForwardRef | TypeVar):
        raise ValueError(
            f"Resource: {annotation!r} doesn't say what is asked for; expected the type of what a component provides, "
            "imported at run time and written without quotes of its own"
        )
    return kind, name, optional


_UNIONS = (Union, types.UnionType)
