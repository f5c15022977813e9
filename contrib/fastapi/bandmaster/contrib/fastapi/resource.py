"""Resources in FastAPI handlers, by type: ``Annotated[DatabaseManager, Resource()]``."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ForwardRef, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from starlette.requests import HTTPConnection

from bandmaster.contrib.fastapi.frameworks import TypedDepends
from bandmaster.kernel import BandmasterError, DegradedError, Named, Resources, Scoped

Scope = Literal["function", "request"]


class MissingResourceError(BandmasterError, LookupError):
    """A handler asks for a resource that no running component provides."""


def Resource(  # noqa: N802  # named like FastAPI's Depends and Query
    kind: Any = None, name: str | None = None, /, *, scope: Scope | None = None
) -> Any:
    """Inject a resource into a handler or a dependency: by type, and by ``name`` if there are several of the type.

    Write the marker beside the type, ``Annotated[DatabaseManager, Resource()]``, or as a default value. Without a
    parameter the marker takes the type itself: ``dependencies=[Resource(DatabaseManager)]``. A parameter of type
    ``T | None`` is None if nothing provides ``T``.

    With a ``scope`` the resource is one that a component provides as `bandmaster.kernel.Scoped`: made anew for each
    request, and shared by all functions that ask for the resource in this request. The resource is closed before the
    response is sent (``"function"``) or after (``"request"``), and receives the exception if the handler raises one.

    Raises:
        ValueError: the type can't be the type of a resource, or an argument is out of range.
        MissingResourceError: nothing provides the resource; raised when a request comes.
        DegradedError: the component for that type is degraded; raised when a request comes.
    """
    if isinstance(kind, str):
        if name is not None:
            raise ValueError(f"Resource({kind!r}, {name!r}): expected a type before the name")
        kind, name = None, kind
    if name is not None:
        Named(name)  # raises if the name is malformed
    if scope not in (None, "function", "request"):
        raise ValueError(f"scope: expected 'function', 'request' or none, got {scope!r}")
    return ResourceMark(kind, scope=scope, name=name)


def dependency(kind: Any, name: str | None = None, *, scope: Scope | None = None) -> Callable[..., Any]:
    """The function behind ``Annotated[kind, Resource(name, scope=scope)]``, for FastAPI's ``dependency_overrides``.

    ```python
    app.dependency_overrides[dependency(DatabaseManager)] = lambda: fake
    ```

    Raises:
        ValueError: the type can't be the type of a resource.
    """
    kind, name, optional = _parse_annotation(kind, name)
    if scope is None:
        return _make_application_dependency(kind, name, optional)
    return _make_scoped_dependency(kind, name, optional, scope)


class ResourceQuery(NamedTuple):
    """The resource that a function of `dependency` looks up."""

    kind: Any
    name: str | None
    optional: bool
    scope: Scope | None

    @property
    def key(self) -> tuple[Any, str | None]:
        """The type and the name under which a component must provide the resource."""
        scoped: Any = Scoped
        return (self.kind if self.scope is None else scoped[self.kind]), self.name


def find_query(function: Any) -> ResourceQuery | None:
    """The query of a function of `dependency`; None for other functions."""
    return getattr(function, _QUERY, None)


@dataclass(frozen=True)
class ResourceMark(TypedDepends):
    """The marker that `Resource` returns."""

    name: str | None = field(default=None, kw_only=True)

    def make_dependency(self, annotation: Any) -> Callable[..., Any]:
        """The function that looks up the resource."""
        if find_query(annotation) is not None:
            function: Callable[..., Any] = annotation
            return function
        return dependency(annotation, self.name, scope=self.scope)


_QUERY = "_bandmaster_resource_query"


# Cached, since FastAPI compares dependencies by identity, to share them in a request and to find overrides.
@cache
def _make_application_dependency(kind: Any, name: str | None, optional: bool) -> Callable[..., Any]:
    async def resource(connection: HTTPConnection) -> Any:
        resources = _find_resources(connection)
        if optional:
            return resources.get((kind, name))  # type: ignore[arg-type]
        try:
            return resources[kind, name]  # type: ignore[index]
        except DegradedError:
            raise
        except KeyError as error:
            raise _build_missing_error(resources, query, error) from None

    query = ResourceQuery(kind, name, optional, None)
    setattr(resource, _QUERY, query)
    return resource


@cache
def _make_scoped_dependency(kind: Any, name: str | None, optional: bool, scope: Scope) -> Callable[..., Any]:
    async def resource(connection: HTTPConnection) -> AsyncGenerator[Any, None]:
        resources = _find_resources(connection)
        try:
            scoped: Scoped[Any] = resources[query.key]  # type: ignore[index]
        except KeyError as error:
            if not optional and isinstance(error, DegradedError):
                raise
            if not optional:
                raise _build_missing_error(resources, query, error) from None
            yield None
            return
        async with scoped.open() as value:
            yield value

    query = ResourceQuery(kind, name, optional, scope)
    setattr(resource, _QUERY, query)
    return resource


def _find_resources(connection: HTTPConnection) -> Resources:
    resources: Resources | None = connection.scope.get("state", {}).get("resources")
    if resources is None:
        raise MissingResourceError(
            "this app isn't served by a bandmaster application: wrap it, app = create_app(FastAPI()), and serve that"
        )
    return resources


def _build_missing_error(resources: Resources, query: ResourceQuery, error: KeyError) -> MissingResourceError:
    return MissingResourceError(f"{error.args[0]}; {suggest_fix(query, resources)}")


def suggest_fix(query: ResourceQuery, provided: Any) -> str:
    """The change that would provide a missing resource, in view of those that are provided."""
    if query.scope is None and query._replace(scope="request").key in provided:
        return "it is provided anew for each request: ask for it with Resource(scope='request')"
    if query.scope is not None and query._replace(scope=None).key in provided:
        return "it is provided once for the whole application: ask for it with Resource(), without a scope"
    return "contribute a component that does, install one, or pass overrides={type: value}"


def _parse_annotation(annotation: Any, name: str | None) -> tuple[Any, str | None, bool]:
    """The type and the name in an annotation, and whether the resource may be missing."""
    kind, optional = annotation, False
    if type(kind).__name__ == "TypeAliasType":
        kind = kind.__value__
    if get_origin(kind) is Annotated:
        kind, *marks = get_args(kind)
        names = [mark.name for mark in marks if isinstance(mark, Named)]
        name = name or (names[-1] if names else None)
    if get_origin(kind) in (Union, types.UnionType):
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
