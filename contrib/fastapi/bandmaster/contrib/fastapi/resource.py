"""Resources in FastAPI handlers, by type: ``Annotated[DatabaseManager, Resource()]``."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from fastapi.params import Depends
from starlette.requests import HTTPConnection

from bandmaster.kernel import BandmasterError, Resources, Scoped

Scope = Literal["function", "request"]


class MissingResourceError(BandmasterError, LookupError):
    """A handler asks for what no running component provides."""


def Resource(name: str | None = None, *, scope: Scope | None = None) -> Any:  # noqa: N802  # it reads as FastAPI's own
    """What a component provides, for a handler or a dependency: by its type, and by ``name`` where there are several.

    Written beside the type, ``Annotated[DatabaseManager, Resource()]``, or as a default value. ``T | None`` is none where
    nothing provides it. With a ``scope`` it is one of what a component provides as `bandmaster.kernel.Scoped`, anew for
    each request and the same for all that asks for it there. It is closed before the response is sent (``"function"``) or
    after (``"request"``), and sees the exception, if the handler raises one.

    Raises:
        MissingResourceError: nothing provides it; when a request comes.
    """
    return _Resource(scope=scope, name=name)


def dependency(kind: Any, name: str | None = None, *, scope: Scope | None = None) -> Callable[..., Any]:
    """The function behind ``Annotated[kind, Resource(name, scope=scope)]``, for FastAPI's ``dependency_overrides``.

    ```python
    app.dependency_overrides[dependency(DatabaseManager)] = lambda: fake
    ```
    """
    return _application_wide(kind, name) if scope is None else _scoped(kind, name, scope)


@dataclass(frozen=True)
class _Resource(Depends):
    """A dependency whose function is known as soon as FastAPI tells the type."""

    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        # FastAPI puts the annotated type here, which it would call.
        kind = self.dependency
        if kind is not None and not getattr(kind, _MARK, False):
            object.__setattr__(self, "dependency", dependency(kind, self.name, scope=self.scope))
        super().__post_init__()


_MARK = "_bandmaster_resource"


# One function for each, since FastAPI tells dependencies apart by identity: to share them within a request, to override.
@cache
def _application_wide(kind: Any, name: str | None) -> Callable[..., Any]:
    wanted, optional = _required(kind)

    async def resource(connection: HTTPConnection) -> Any:
        resources = _resources(connection)
        try:
            return resources[wanted, name]  # type: ignore[index]
        except KeyError as error:
            if optional:
                return None
            raise _missing(resources, wanted, name, error) from None

    setattr(resource, _MARK, True)
    return resource


@cache
def _scoped(kind: Any, name: str | None, scope: Scope) -> Callable[..., Any]:  # a dependency for each
    wanted, optional = _required(kind)
    key = Scoped[wanted]  # type: ignore[valid-type]

    async def resource(connection: HTTPConnection) -> AsyncGenerator[Any, None]:
        resources = _resources(connection)
        try:
            made: Scoped[Any] = resources[key, name]  # type: ignore[index]
        except KeyError as error:
            if not optional:
                raise MissingResourceError(_words(error)) from None
            yield None
            return
        async with made.open() as opened:
            yield opened

    setattr(resource, _MARK, True)
    return resource


def _resources(connection: HTTPConnection) -> Resources:
    resources: Resources | None = connection.scope.get("state", {}).get("resources")
    if resources is None:
        raise MissingResourceError(
            "this app isn't served by a bandmaster application: wrap it, app = create_app(FastAPI()), and serve that"
        )
    return resources


def _missing(resources: Resources, wanted: Any, name: str | None, error: KeyError) -> MissingResourceError:
    if (Scoped[wanted], name) in resources:
        return MissingResourceError(
            f"{_words(error)}; it is provided anew for each request: ask for it with Resource(scope='request')"
        )
    return MissingResourceError(f"{_words(error)}; contribute a component that does, or pass overrides={{type: value}}")


def _words(error: KeyError) -> str:
    return str(error.args[0])


def _required(kind: Any) -> tuple[Any, bool]:
    """The type without ``None``, and whether that was there."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    others = [part for part in get_args(kind) if part is not type(None)]
    if len(others) != 1:
        raise ValueError(f"Resource: expected one type, or one and None, got {kind}")
    return others[0], True
