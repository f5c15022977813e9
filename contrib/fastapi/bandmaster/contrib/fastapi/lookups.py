"""Resources for handlers and dependencies, asked for by type."""

from __future__ import annotations

import re
import types
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, ForwardRef, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, overload

from fastapi.params import Depends
from starlette.requests import HTTPConnection

from bandmaster.kernel import BandmasterError, Named, Resources, Scoped

_T = TypeVar("_T")
Lifetime: TypeAlias = Literal["function", "request"]
"""Until when one lives that is made for a request: until the handler has returned, or the response has been sent."""


class MissingResourceError(BandmasterError):
    """A handler asks for a resource that nothing provides."""


@overload
def Resource(name: str | None = None, /, *, scope: Lifetime | None = None, use_cache: bool = True) -> Any: ...
@overload
def Resource(
    kind: type[_T], name: str | None = None, /, *, scope: Lifetime | None = None, use_cache: bool = True
) -> _T: ...
@overload
def Resource(
    kind: Any, name: str | None = None, /, *, scope: Lifetime | None = None, use_cache: bool = True
) -> Any: ...
def Resource(  # noqa: N802  # as FastAPI's Depends and Query
    kind: Any = None, name: str | None = None, /, *, scope: Lifetime | None = None, use_cache: bool = True
) -> Any:
    """The resource of a parameter's type, for FastAPI to hand over.

    Wherever FastAPI takes ``Depends()``::

        @app.get("/orders")
        async def orders(database: Annotated[Database, Resource()]) -> list[Order]: ...


        @app.get("/reports")
        async def reports(database: Annotated[Database, Resource("replica")]) -> list[Report]: ...

    ``Database | None`` asks for what may not be there. Beside the annotation, ``database = Resource(Database)`` and
    ``dependencies=[Resource(Database)]`` are possible.

    With a ``scope`` it is one of the request's own, from the component that provides ``Scoped[AsyncSession]``: closed
    when the response has been sent (``"request"``), or before (``"function"``), and told what the handler raised. All
    who ask in one request with the same scope share it, unless they say ``use_cache=False``.

    Raises:
        ValueError: the type says nothing about what is asked for, the name isn't plain, or there is no such scope.
    """
    if isinstance(kind, str):
        if name is not None:
            raise ValueError(f"Resource({kind!r}, {name!r}): expected a type before the name")
        kind, name = None, kind
    if name is not None:
        Named(name)  # which says what is wrong with it
    if scope not in (None, "function", "request"):
        raise ValueError(f"scope: expected 'function', 'request' or none, got {scope!r}")
    return Mark(dependency=kind, use_cache=use_cache, scope=scope, name=name)


def resource_key(kind: Any, name: str | None = None) -> Callable[..., Any]:
    """What stands for a resource in FastAPI's ``app.dependency_overrides``, whoever asks for it, and for how long.

    >>> app.dependency_overrides[resource_key(Database, "replica")] = lambda: FakeDatabase()  # doctest: +SKIP

    Raises:
        ValueError: the type says nothing about what is meant.
    """
    meant, name, _ = _asked_for(kind, name)
    return AnyLookup(meant, name)


@dataclass(frozen=True)
class Mark(Depends):
    """What `Resource` makes. FastAPI puts the annotated type where it has no dependency yet."""

    name: str | None = None

    def __post_init__(self) -> None:
        # Older versions have none.
        getattr(super(), "__post_init__", _nothing)()
        if self.dependency is not None and not isinstance(self.dependency, Lookup):
            kind, name, optional = _asked_for(self.dependency, self.name)
            lookup = ApplicationLookup if self.scope is None else ScopedLookup
            object.__setattr__(self, "dependency", lookup(kind, name, optional=optional))


def _nothing() -> None:
    """Nothing."""


# -- what is asked for -----------------------------------------------------------------------------------------------


def _asked_for(annotation: Any, name: str | None) -> tuple[Any, str | None, bool]:
    """The type and the name of what is asked for, and whether it may not be there."""
    optional = False
    kind = annotation
    while True:
        origin = get_origin(kind)
        if type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif origin is Annotated:
            kind, *marks = get_args(kind)
            names = [mark.name for mark in marks if isinstance(mark, Named)]
            name = name or (names[-1] if names else None)
        elif origin in _UNIONS and type(None) in get_args(kind):
            optional = True
            kind = _without_none(kind)
        else:
            break
    if (
        kind in (None, Any, object, type(None))
        or get_origin(kind) in _UNIONS
        or isinstance(kind, str | ForwardRef | TypeVar)
    ):
        raise ValueError(
            f"Resource(): the type {annotation!r} doesn't say what is asked for. Annotate the parameter with the type "
            "of one resource, as in Annotated[Database, Resource()], which must be known where the handler is defined"
        )
    return kind, name, optional


_UNIONS = (Union, types.UnionType)


def _without_none(union: Any) -> Any:
    return Union[tuple(part for part in get_args(union) if part is not type(None))]  # noqa: UP007  # of a tuple


def text_of(kind: Any) -> str:
    """A type as people write it, without its module: ``Repository[User]``."""
    return _MODULE.sub(
        "", getattr(kind, "__qualname__", "") if isinstance(kind, type) and not get_args(kind) else str(kind)
    )


_MODULE = re.compile(r"(?:[\w<>]+\.)+(?=\w)")


class Lookup:
    """Finds one resource. FastAPI takes it for a dependency, and two that are equal for the same one."""

    __slots__ = ("_hash", "address", "kind", "name", "optional")

    variant: str
    """Tells those apart that find different things under one type and name."""

    def __init__(self, kind: Any, name: str | None = None, *, optional: bool = False) -> None:
        self.kind = kind
        self.name = name
        self.optional = optional
        self.address: Any = (self.provided(kind), name)
        """Under which `Resources` has what is looked for."""
        # FastAPI asks for it several times in each request.
        self._hash = hash((kind, name))

    @staticmethod
    def provided(kind: Any) -> Any:
        """The type that a component provides where a handler asks for ``kind``."""
        return kind

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lookup):
            return NotImplemented
        return (
            self.kind == other.kind
            and self.name == other.name
            and (
                "any" in (self.variant, other.variant)
                or (self.variant, self.optional) == (other.variant, other.optional)
            )
        )

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return text_of(self.kind) if self.name is None else f"{text_of(self.kind)} named {self.name!r}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self}>"

    def found(self, connection: HTTPConnection) -> Any:
        """What is there; none if it is optional and nothing is.

        Raises:
            MissingResourceError: it isn't there.
        """
        try:
            resources: Resources = connection.scope["state"]["resources"]
            return resources.get(self.address) if self.optional else resources[self.address]
        except KeyError as error:
            raise MissingResourceError(self._missing(connection, str(error.args[0]))) from None

    def _missing(self, connection: HTTPConnection, said: str) -> str:
        place = connection.scope.get("path", "")
        state = connection.scope.get("state") or {}
        if "resources" not in state:
            return (
                f"{place} needs {self}, but the app isn't run by bandmaster, which would have put resources into the "
                "request's state. Serve create_app(app), in tests as well"
            )
        return f"{place} needs {self}: {said}. {self.advice(state['resources'])}"

    def advice(self, there: Any) -> str:
        """What to do about it not being among what is there."""
        other = self.elsewhere
        if other is not None and other.address in there:
            return other.instead
        key = text_of(self.address[0])
        key = key if self.name is None else f"({key}, {self.name!r})"
        return f"Contribute a component that provides it, install one, or pass overrides={{{key}: ...}}"

    @property
    def elsewhere(self) -> Lookup | None:
        """Who would find the same type with the other lifetime."""
        return None

    @property
    def instead(self) -> str:
        """What to write to have this one."""
        return ""


class ApplicationLookup(Lookup):
    """Finds what lives as long as the application."""

    __slots__ = ()
    variant = "application's"

    async def __call__(self, connection: HTTPConnection) -> Any:
        """Hand it over."""
        return self.found(connection)

    @property
    def elsewhere(self) -> Lookup | None:
        """One of the request's own."""
        return ScopedLookup(self.kind, self.name)

    @property
    def instead(self) -> str:
        """What to write to have this one."""
        return "There is one for the whole application: leave the scope out, as in Annotated[..., Resource()]"


class ScopedLookup(Lookup):
    """Finds who makes one for each request, and has one made."""

    __slots__ = ()
    variant = "request's"

    def __str__(self) -> str:
        return f"{super().__str__()} for each request"

    async def __call__(self, connection: HTTPConnection) -> AsyncGenerator[Any, None]:
        """Have one made, hand it over, and have it closed; whoever makes it sees what was raised meanwhile."""
        scoped = self.found(connection)
        if scoped is None:
            yield None
            return
        async with scoped.open() as one:
            yield one

    @staticmethod
    def provided(kind: Any) -> Any:
        """Who makes one."""
        return Scoped[kind]

    @property
    def elsewhere(self) -> Lookup | None:
        """One of the whole application."""
        return ApplicationLookup(self.kind, self.name)

    @property
    def instead(self) -> str:
        """What to write to have this one."""
        return 'There is one for each request: write Resource(scope="request"), or "function" to have it closed earlier'


class AnyLookup(ApplicationLookup):
    """Equal to whatever finds something under a type and name."""

    __slots__ = ()
    variant = "any"
