"""Contributions: frozen descriptions of parts, checked when they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast

from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand, resolve_priority
from bandmaster.kernel.contributions.checks import (
    check_budget,
    check_callable,
    check_decorates,
    check_names,
    check_provides,
    check_roles,
    check_seconds,
    check_when,
)
from bandmaster.kernel.contributions.factories import as_context_manager
from bandmaster.kernel.contributions.instances import may_be
from bandmaster.kernel.contributions.keys import Key, check_name, type_name
from bandmaster.kernel.contributions.layer_classes import SCOPES, Scope, check_layer, find_form
from bandmaster.kernel.contributions.local_names import resolve_local_names
from bandmaster.kernel.contributions.renaming import rename_factory, rename_function
from bandmaster.kernel.errors import Problem

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings
    from starlette.routing import BaseRoute

Budget: TypeAlias = Mapping[str, int] | Callable[..., Mapping[str, int]]
OnCrash: TypeAlias = Literal["stop", "degrade"]
OnStartFailure: TypeAlias = Literal["stop", "retry", "degrade"]
When: TypeAlias = Callable[..., bool]
"""A function of settings types that says, while the plan is made, whether a part is in the plan."""
Facts: TypeAlias = Callable[..., Iterable[str]]
"""A function of settings types that yields lines for the plan."""
StartCheck: TypeAlias = Callable[..., Iterable[Problem | str]]
"""A function that judges before the start: yields a problem for each fault, and a text for each warning."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a part: an entry point of a distribution, or a place in the code."""

    distribution: str | None = None
    version: str | None = None
    entry_point: str | None = None
    """The entry point's value, ``module:attribute``; for a part from code, the place where the part is defined."""

    def __str__(self) -> str:
        if self.distribution is None:
            return f"in code, {self.entry_point}" if self.entry_point else "in code"
        return f"{self.distribution} {self.version or '(no version)'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LifespanContribution:
    """One component: how it starts and stops, its needs, and the types that it provides.

    ``factory`` makes an async context manager. The kernel enters the manager to start the component, and exits the
    manager to stop the component, never with another component's exception. An async generator function with one
    ``yield`` becomes such a factory. The parameters of the factory declare the needs.

    Raises:
        ValueError: a field is out of range; the message names the field.
    """

    name: str
    """The name in the plan, in logs and in ``BANDMASTER_DISABLE``; under `lifespan` the function's, unless given."""
    factory: Callable[..., AbstractAsyncContextManager[Any]]
    band: LifespanBand = cast("LifespanBand", None)
    """The band in which the component starts; unless given, the band of the priority."""
    priority: int = cast("int", None)
    """The place within the bands, a number that the band contains; unless given, the middle of the band."""
    provides: tuple[Any, ...] = ()
    """One or several types that the component provides, in addition to the return annotation."""
    decorates: Any = None
    """The type, as ``Annotated[T, Named(...)]`` for one of several, that another part provides and that this component
    takes by a parameter: everybody else gets what this component provides. The return annotation may repeat it."""
    requires: tuple[str, ...] = ()
    """Names of components that have to be in the plan, and start before this one."""
    after: tuple[str, ...] = ()
    """Names of components that this one starts after, if they are in the plan."""
    before: tuple[str, ...] = ()
    """Names of components that this one starts before, if they are in the plan."""
    roles: frozenset[str] | None = None
    """The roles of processes that start the part (``web``, ``worker``, ...); None means every role."""
    start_timeout: float | None = None
    """Seconds that a start may take; None means the kernel's setting."""
    stop_timeout: float | None = None
    """Seconds that a stop may take; None means the kernel's setting."""
    budget: Budget = field(default_factory=dict[str, int], hash=False)
    """The most that the component may hold in one process, ``{"postgres": 15}``, or a function of the settings."""
    check: StartCheck | None = field(default=None, hash=False)
    """A function that finds what the start would refuse, without opening anything.

    The function yields a `Problem` for what must be refused, and a text for a warning. Its parameters are settings
    types that the factory asks for, `KernelSettings`, `Plan` and `EventLoop`, by type. ``bandmaster check`` reports the
    findings, and every start begins with them: nothing is started after a problem.
    """
    facts: Facts | None = field(default=None, hash=False)
    """A function of the component's settings that yields what the plan prints about the component, such as an address
    that operators register elsewhere. The parameters are settings types that the factory asks for."""
    on_crash: OnCrash = "stop"
    """The reaction to a failure while serving: ``stop`` the whole plan, or ``degrade`` readiness until the stop."""
    on_start_failure: OnStartFailure = "stop"
    """The reaction to a failed start: ``stop`` rolls the start back, ``retry`` tries again until the deadline of the
    start, ``degrade`` serves without the component. ``BANDMASTER_ON_START_FAILURE`` overrides this field."""
    when: When | None = None
    """A function of settings types, called while planning: the part is left out if the answer is False."""
    description: str = ""
    """One line about the component, for programs that read the plan; under `lifespan` the first line of the docstring,
    unless given."""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        band, priority = resolve_priority(LifespanBand, self.band, self.priority)
        _set(self, factory=as_context_manager(self.factory, "factory"), band=band, priority=priority)
        resolve_local_names(self.factory)
        _set(self, **{f: check_names(getattr(self, f), f) for f in ("requires", "after", "before")})
        _set(self, roles=check_roles(self.roles))
        for timeout in ("start_timeout", "stop_timeout"):
            check_seconds(getattr(self, timeout), timeout)
        if callable(self.budget):
            resolve_local_names(self.budget)
        else:
            _set(self, budget=MappingProxyType(check_budget(self.budget)))
        if self.check is not None:
            check_callable(self.check, "check")
            resolve_local_names(self.check)
        if self.facts is not None:
            check_callable(self.facts, "facts")
            resolve_local_names(self.facts)
        if self.on_crash not in ("stop", "degrade"):
            raise ValueError(f"on_crash: expected 'stop' or 'degrade', got {self.on_crash!r}")
        if self.on_start_failure not in ("stop", "retry", "degrade"):
            raise ValueError(f"on_start_failure: expected 'stop', 'retry' or 'degrade', got {self.on_start_failure!r}")
        _set(self, provides=check_provides(self.provides), decorates=check_decorates(self.decorates))
        _check_condition(self.when)

    def named(
        self, name: str, *, settings: type[BaseSettings] | None = None, description: str | None = None
    ) -> LifespanContribution:
        """A second component like this one, under another name. Its types are provided as ``Named(name)``.

        ``settings`` is a subclass of the settings type that the component reads. The second component reads the
        subclass, and so variables of its own::

            kind = named_settings(DatabaseSettings, "replica", about="the replica")
            replica = database.named("replica", settings=kind)  # provides Annotated[DatabaseManager, Named("replica")]

        Raises:
            ValueError: the name can't be one, the component takes no settings of that kind, or it decorates a type:
                then ``dataclasses.replace(part, name=..., decorates=...)`` makes a second one.
            SignatureError: the factory's signature can't be read.
        """
        check_name(name, "name")
        if self.decorates is not None:
            raise ValueError(
                f"named: {self.name!r} decorates {self.decorates}, and provides no type of its own to be named; make a "
                f"second one by dataclasses.replace(part, name={name!r}, decorates=...)"
            )
        return replace(
            self,
            name=name,
            factory=rename_factory(self.factory, name, settings),
            provides=tuple(Key(key.type, name) for key in self.provides),
            budget=rename_function(self.budget, settings),
            when=rename_function(self.when, settings),
            check=rename_function(self.check, settings),
            facts=rename_function(self.facts, settings),
            description=self.description if description is None else description,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueContribution:
    """A ready object, provided under its types and known when the plan is made. Nothing starts or stops.

    Values are for parts that describe something, such as the place of their migrations, and for objects without a
    lifetime.

    Raises:
        ValueError: a field is out of range, or the object isn't of a type in ``provides``; the message names the field.
    """

    name: str
    value: Any = field(hash=False)
    provides: tuple[Any, ...] = ()
    """One or several types that the object is provided as; the class of the object unless given."""
    roles: frozenset[str] | None = None
    """The roles of processes that start the part (``web``, ``worker``, ...); None means every role."""
    when: When | None = None
    """A function of settings types, called while planning: the part is left out if the answer is False."""
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        _check_condition(self.when)
        if isinstance(self.value, Contribution):
            raise ValueError(f"value: expected an object to provide, got a {type(self.value).__name__}")
        given: Any = self.provides
        _set(self, provides=check_provides(type(self.value) if given in ((), []) else given))
        for key in self.provides:
            _check_instance(self.value, key)
        _set(self, roles=check_roles(self.roles))


@dataclass(frozen=True, kw_only=True, slots=True)
class MiddlewareContribution:
    """One layer of the request stack.

    ``layer`` is a class in ASGI form (``__call__``, its constructor takes ``app``) or in hook form (some of
    ``on_request``, ``on_response_start``, ``on_end``, ``on_error``). The kernel fills other constructor parameters by
    type with resources and settings, or by name from ``options``.

    Raises:
        ValueError: a field is out of range, or the class has neither form or both; the message names the field.
    """

    name: str
    layer: type[Any]
    band: MiddlewareBand = cast("MiddlewareBand", None)
    priority: int = cast("int", None)
    after: tuple[str, ...] = ()
    """Names of layers that this one stands inside of, if they are in the plan."""
    before: tuple[str, ...] = ()
    """Names of layers that this one stands outside of, if they are in the plan."""
    scopes: frozenset[Scope] = SCOPES
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """Constructor arguments by name, for layers whose arguments are plain values."""
    allow_base_http_middleware: bool = False
    """Accept a ``starlette.middleware.base.BaseHTTPMiddleware``, in spite of the costs and faults."""
    compares_paths: bool = False
    """Whether the layer protects paths, so that it must see the one that routes match: the application is refused where
    a mounted app replaces the ``root_path`` after the layers."""
    when: When | None = None
    """A function of settings types, called while planning: the part is left out if the answer is False."""
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        _check_condition(self.when)
        band, priority = resolve_priority(MiddlewareBand, self.band, self.priority)
        _set(self, band=band, priority=priority)
        _set(self, **{f: check_names(getattr(self, f), f) for f in ("after", "before")})
        scopes = frozenset(check_names(self.scopes, "scopes"))
        if not scopes or not scopes <= SCOPES:
            raise ValueError(f"scopes: expected some of 'http' and 'websocket', got {sorted(scopes)}")
        if not isinstance(self.options, Mapping) or not all(isinstance(name, str) for name in self.options):
            raise ValueError(f"options: expected constructor arguments by name, got {self.options!r}")
        _set(self, scopes=scopes, options=MappingProxyType(dict(self.options)))
        check_layer(self.layer, self.scopes, self.allow_base_http_middleware)
        resolve_local_names(self.layer)

    @property
    def form(self) -> Literal["asgi", "hooks"]:
        """The form of the class."""
        return find_form(self.layer)


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteContribution:
    """Routes for the host application: Starlette routes, a router, or a function that makes them.

    The function may take the host as its one argument, to make routes that fit the host. Each composition of an
    application calls the function, also for a command that only plans.
    """

    name: str
    routes: Sequence[BaseRoute] | Callable[[], Any] | Any = field(hash=False)
    prefix: str = ""
    """Path in front of the routes: empty, or ``/like/this``."""
    tags: tuple[str, ...] = ()
    """OpenAPI tags, for hosts that document their routes."""
    when: When | None = None
    """A function of settings types, called while planning: the part is left out if the answer is False."""
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        _check_condition(self.when)
        prefix: object = self.prefix
        if not isinstance(prefix, str) or (prefix and (not prefix.startswith("/") or prefix.endswith("/"))):
            raise ValueError(f"prefix: expected text that starts with '/' and doesn't end with it, got {prefix!r}")
        _set(self, tags=check_names(self.tags, "tags"))
        if isinstance(self.routes, (list, tuple)):
            _set(self, routes=tuple(self.routes))
        elif not callable(self.routes) and not hasattr(self.routes, "routes"):
            raise ValueError(f"routes: expected routes, a router or a function that makes them, got {self.routes!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorHandlerContribution:
    """The handler ``(request, exc) -> response`` for an exception type or an HTTP status."""

    name: str
    exception: type[Exception] | int
    handler: Callable[[Any, Any], Any]
    when: When | None = None
    """A function of settings types, called while planning: the part is left out if the answer is False."""
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        _check_condition(self.when)
        check_callable(self.handler, "handler")
        is_type = isinstance(self.exception, type) and issubclass(self.exception, Exception)
        is_status = isinstance(self.exception, int) and 400 <= self.exception <= 599
        if not (is_type or is_status):
            raise ValueError(f"exception: expected an exception type or a status 400–599, got {self.exception!r}")

    @property
    def answers_for(self) -> type[Exception] | int:
        """The exception, but ``Exception`` for status 500: frameworks have one place for both."""
        return Exception if self.exception == 500 else self.exception


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckContribution:
    """A function that judges a whole application, such as what the handlers of its host ask for.

    ``bandmaster check`` calls the function with the `Application`. The function yields a `Problem` for each fault, and
    a text for each warning. The checks of all installed distributions are called, also where the application takes no
    installed parts: a check is a part of the tool more than of the application.
    """

    name: str
    check: Callable[[Any], Iterable[Problem | str]]
    description: str = ""
    provenance: Provenance = Provenance()
    when: ClassVar[None] = None
    """A check has no condition."""

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        check_callable(self.check, "check")


Contribution: TypeAlias = (
    LifespanContribution
    | ValueContribution
    | MiddlewareContribution
    | RouteContribution
    | ErrorHandlerContribution
    | CheckContribution
)

GROUPS: Mapping[str, type[Any]] = {
    "bandmaster.lifespan": LifespanContribution,
    "bandmaster.values": ValueContribution,
    "bandmaster.middleware": MiddlewareContribution,
    "bandmaster.routes": RouteContribution,
    "bandmaster.error_handlers": ErrorHandlerContribution,
    "bandmaster.checks": CheckContribution,
}
COMMANDS_GROUP = "bandmaster.commands"


def _check_condition(when: When | None) -> None:
    check_when(when)
    if when is not None:
        resolve_local_names(when)


def group_of(part: Contribution) -> str:
    """The entry point group to which a contribution belongs."""
    return next(group for group, kind in GROUPS.items() if isinstance(part, kind))


def as_route_contribution(loaded: object) -> object:
    """A contribution of the routes, if an entry point names a router or a list of routes; other objects unchanged.

    A router is an object with ``routes``, such as Starlette's ``Router`` and FastAPI's ``APIRouter``. The contribution
    gets its name from the entry point.
    """
    if isinstance(loaded, RouteContribution | type):
        return loaded
    is_list = isinstance(loaded, list | tuple) and bool(loaded) and all(map(_is_route, loaded))
    if not is_list and not isinstance(getattr(loaded, "routes", None), Sequence):
        return loaded
    return RouteContribution(name="routes", routes=loaded)


def _is_route(value: object) -> bool:
    # By name, so that starlette needn't be imported to describe routes.
    names = {(base.__module__, base.__name__) for base in type(value).__mro__}
    return ("starlette.routing", "BaseRoute") in names


def _check_instance(value: object, key: Key) -> None:
    if not may_be(value, key.type):
        raise ValueError(f"provides: the value has the type {type_name(type(value))}, not {type_name(key.type)}")


def _set(instance: object, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(instance, name, value)
