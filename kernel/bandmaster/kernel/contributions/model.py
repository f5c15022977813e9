"""What a part hands to the kernel: frozen descriptions, checked when they are made."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand, resolve_priority
from bandmaster.kernel.contributions.keys import Key, Named, check_name, is_pair, says_nothing

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

Scope: TypeAlias = Literal["http", "websocket"]
Budget: TypeAlias = "Mapping[str, int] | Callable[..., Mapping[str, int]]"
OnCrash: TypeAlias = Literal["stop", "degrade"]

SCOPES: frozenset[Scope] = frozenset(("http", "websocket"))
HOOKS = ("on_request", "on_response_start", "on_end", "on_error")

__all__ = [
    "COMMANDS_GROUP",
    "GROUPS",
    "HOOKS",
    "SCOPES",
    "Budget",
    "Contribution",
    "ErrorHandlerContribution",
    "LifespanContribution",
    "MiddlewareContribution",
    "Named",
    "OnCrash",
    "Provenance",
    "RouteContribution",
    "Scope",
    "check_budget",
    "group_of",
    "lifespan",
    "middleware",
]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who brought a part: an entry point of a distribution, or code that handed it over."""

    distribution: str | None = None
    version: str | None = None
    entry_point: str | None = None
    """The entry point's value, ``module:attribute``; for parts handed over in code, where the code stands."""

    def __str__(self) -> str:
        if self.distribution is None:
            return f"in code, {self.entry_point}" if self.entry_point else "in code"
        return f"{self.distribution} {self.version or '(no version)'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LifespanContribution:
    """How one component starts and stops, what it needs and what it provides.

    ``factory`` makes the async context manager that is entered to start the component and exited, always without an
    exception of somebody else's, to stop it; an async generator function with one ``yield`` is turned into one. Its
    signature declares what it needs.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    name: str
    factory: Callable[..., AbstractAsyncContextManager[Any]]
    band: LifespanBand = cast("LifespanBand", None)
    priority: int = cast("int", None)
    provides: tuple[Any, ...] = ()
    """Further types that the component's value is found under, beside its return annotation: one, or several."""
    requires: tuple[str, ...] = ()
    """Names of components that must be there, and started before this one."""
    after: tuple[str, ...] = ()
    """Names of components that this one starts after if they are there."""
    before: tuple[str, ...] = ()
    """Names of components that this one starts before if they are there."""
    roles: frozenset[str] | None = None
    """The roles of a process that it belongs to (``web``, ``worker``, ...); none means every role."""
    start_timeout: float | None = None
    """Seconds that a start may take; none means the kernel's setting."""
    stop_timeout: float | None = None
    """Seconds that a stop may take; none means the kernel's setting."""
    budget: Budget = field(default_factory=dict[str, int], hash=False)
    """What it may hold at most in one process, by resource: ``{"postgres": 15}``; or a function of its settings."""
    on_crash: OnCrash = "stop"
    """What follows if it dies while serving: the whole plan stops, or readiness is lost until the stop."""
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        band, priority = resolve_priority(LifespanBand, self.band, self.priority)
        _set(self, factory=_as_context_manager(self.factory, "factory"), band=band, priority=priority)
        _set(self, **{f: _names(getattr(self, f), f) for f in ("requires", "after", "before")})
        _set(self, roles=_roles(self.roles))
        for timeout in ("start_timeout", "stop_timeout"):
            _check_seconds(getattr(self, timeout), timeout)
        if not callable(self.budget):
            _set(self, budget=MappingProxyType(check_budget(self.budget)))
        if self.on_crash not in ("stop", "degrade"):
            raise ValueError(f"on_crash: expected 'stop' or 'degrade', got {self.on_crash!r}")
        _set(self, provides=_keys(self.provides))


@dataclass(frozen=True, kw_only=True, slots=True)
class MiddlewareContribution:
    """One layer of the request stack.

    ``layer`` is a class in ASGI form (``__call__``, its constructor takes ``app``) or in hook form (some of
    ``on_request``, ``on_response_start``, ``on_end``, ``on_error``). Other constructor parameters are filled by type
    with resources and settings, or by name from ``options``.

    Raises:
        ValueError: a field is out of range, or the class has neither form or both; the message names it.
    """

    name: str
    layer: type[Any]
    band: MiddlewareBand = cast("MiddlewareBand", None)
    priority: int = cast("int", None)
    after: tuple[str, ...] = ()
    """Names of layers that stand further out, if they are there."""
    before: tuple[str, ...] = ()
    """Names of layers that stand further in, if they are there."""
    scopes: frozenset[Scope] = SCOPES
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """Constructor arguments by name, for layers whose arguments are plain values."""
    allow_base_http_middleware: bool = False
    """Let a ``starlette.middleware.base.BaseHTTPMiddleware`` pass, with all that it costs and breaks."""
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        band, priority = resolve_priority(MiddlewareBand, self.band, self.priority)
        _set(self, band=band, priority=priority)
        _set(self, **{f: _names(getattr(self, f), f) for f in ("after", "before")})
        scopes = frozenset(_names(self.scopes, "scopes"))
        if not scopes or not scopes <= SCOPES:
            raise ValueError(f"scopes: expected some of 'http' and 'websocket', got {sorted(scopes)}")
        if not isinstance(self.options, Mapping) or not all(isinstance(name, str) for name in self.options):
            raise ValueError(f"options: expected constructor arguments by name, got {self.options!r}")
        _set(self, scopes=scopes, options=MappingProxyType(dict(self.options)))
        _check_layer(self.layer, self.scopes, self.allow_base_http_middleware)

    @property
    def form(self) -> Literal["asgi", "hooks"]:
        """Which of the two forms the class has."""
        return "asgi" if _member(self.layer, "__call__") is not None else "hooks"


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteContribution:
    """Routes for the host application: Starlette routes, a router, or a function that makes them.

    The function may take the host as its one argument, and so bring routes that fit it. It is called whenever an
    application is composed, also when it plans only.
    """

    name: str
    routes: Sequence[BaseRoute] | Callable[[], Any] | Any = field(hash=False)
    prefix: str = ""
    """Path under which they stand: empty, or ``/like/this``."""
    tags: tuple[str, ...] = ()
    """OpenAPI tags, for hosts that have such a thing."""
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        prefix: object = self.prefix
        if not isinstance(prefix, str) or (prefix and (not prefix.startswith("/") or prefix.endswith("/"))):
            raise ValueError(f"prefix: expected text that starts with '/' and doesn't end with it, got {prefix!r}")
        _set(self, tags=_names(self.tags, "tags"))
        if isinstance(self.routes, (list, tuple)):
            _set(self, routes=tuple(self.routes))
        elif not callable(self.routes) and not hasattr(self.routes, "routes"):
            raise ValueError(f"routes: expected routes, a router or a function that makes them, got {self.routes!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorHandlerContribution:
    """An exception type, or an HTTP status, with the handler ``(request, exc) -> response`` that answers for it."""

    name: str
    exception: type[Exception] | int
    handler: Callable[[Any, Any], Any]
    description: str = ""
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        _check_callable(self.handler, "handler")
        is_type = isinstance(self.exception, type) and issubclass(self.exception, Exception)
        is_status = isinstance(self.exception, int) and 400 <= self.exception <= 599
        if not (is_type or is_status):
            raise ValueError(f"exception: expected an exception type or a status 400–599, got {self.exception!r}")


Contribution: TypeAlias = LifespanContribution | MiddlewareContribution | RouteContribution | ErrorHandlerContribution

GROUPS: Mapping[str, type[Any]] = {
    "bandmaster.lifespan": LifespanContribution,
    "bandmaster.middleware": MiddlewareContribution,
    "bandmaster.routes": RouteContribution,
    "bandmaster.error_handlers": ErrorHandlerContribution,
}
COMMANDS_GROUP = "bandmaster.commands"


def group_of(part: Contribution) -> str:
    """The entry point group to which a contribution belongs."""
    return next(group for group, kind in GROUPS.items() if isinstance(part, kind))


def lifespan(
    *,
    band: LifespanBand | None = None,
    priority: int | None = None,
    name: str | None = None,
    provides: Any = (),
    requires: Iterable[str] = (),
    after: Iterable[str] = (),
    before: Iterable[str] = (),
    roles: Iterable[str] | None = None,
    start_timeout: float | None = None,
    stop_timeout: float | None = None,
    budget: Budget | None = None,
    on_crash: OnCrash = "stop",
    description: str | None = None,
) -> Callable[
    [Callable[..., AsyncIterator[Any] | AsyncGenerator[Any, None] | AbstractAsyncContextManager[Any]]],
    LifespanContribution,
]:
    """Make a `LifespanContribution` of an async generator function with one ``yield``.

    A callable that returns an async context manager serves as well. Code after the ``yield`` always runs at the stop:
    a component never sees its neighbours' exceptions. Arguments are those of `LifespanContribution`.

    Raises:
        ValueError: an argument is out of range, or what is decorated is neither of the two.
    """

    def decorate(function: Callable[..., Any]) -> LifespanContribution:
        factory = _as_context_manager(function, "function")
        return LifespanContribution(
            name=_name_of(function) if name is None else name,
            factory=factory,
            band=cast("LifespanBand", band),
            priority=cast("int", priority),
            provides=provides,
            requires=cast("tuple[str, ...]", requires),
            after=cast("tuple[str, ...]", after),
            before=cast("tuple[str, ...]", before),
            roles=cast("frozenset[str] | None", roles),
            start_timeout=start_timeout,
            stop_timeout=stop_timeout,
            budget={} if budget is None else budget,
            on_crash=on_crash,
            description=_summary(function) if description is None else description,
            provenance=_where(function),
        )

    return decorate


def middleware(
    *,
    band: MiddlewareBand | None = None,
    priority: int | None = None,
    name: str | None = None,
    after: Iterable[str] = (),
    before: Iterable[str] = (),
    scopes: Iterable[Scope] = SCOPES,
    options: Mapping[str, Any] | None = None,
    allow_base_http_middleware: bool = False,
    description: str | None = None,
) -> Callable[[type[Any]], MiddlewareContribution]:
    """Make a `MiddlewareContribution` of a class. Arguments are those of `MiddlewareContribution`.

    Raises:
        ValueError: an argument is out of range, or the class has neither form of a layer or both.
    """

    def decorate(layer: type[Any]) -> MiddlewareContribution:
        if not isinstance(layer, type):
            raise ValueError(f"layer: expected a class, got {layer!r}")
        return MiddlewareContribution(
            name=layer.__name__ if name is None else name,
            layer=layer,
            band=cast("MiddlewareBand", band),
            priority=cast("int", priority),
            after=cast("tuple[str, ...]", after),
            before=cast("tuple[str, ...]", before),
            scopes=cast("frozenset[Scope]", scopes),
            options={} if options is None else options,
            allow_base_http_middleware=allow_base_http_middleware,
            description=_summary(layer) if description is None else description,
            provenance=_where(layer),
        )

    return decorate


def check_budget(budget: object) -> dict[str, int]:
    """The budget as a plain dict.

    Raises:
        ValueError: it isn't a mapping of names to whole numbers that aren't negative.
    """
    if not isinstance(budget, Mapping):
        raise ValueError(f"budget: expected a mapping like {{'postgres': 15}}, got {budget!r}")
    for key, amount in budget.items():
        if not isinstance(key, str) or isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
            raise ValueError(f"budget: expected names with numbers from 0 up, got {key!r}: {amount!r}")
    return dict(budget)


def _as_context_manager(function: Any, label: str) -> Callable[..., AbstractAsyncContextManager[Any]]:
    _check_callable(function, label)
    if isinstance(function, type):
        if not (hasattr(function, "__aenter__") and hasattr(function, "__aexit__")):
            raise ValueError(f"{label}: the class {_name_of(function)} has no __aenter__ and __aexit__")
        return function
    inner = _innermost(function)
    # What is called: a function, or the __call__ of an object.
    called = inner if inspect.isroutine(inner) else type(inner).__call__
    if inspect.isasyncgenfunction(called):
        return asynccontextmanager(function)
    if inspect.iscoroutinefunction(called) or inspect.isgeneratorfunction(called):
        raise ValueError(
            f"{label}: {_name_of(function)} must be an async generator function (async def with one yield) or return "
            "an async context manager"
        )
    return cast("Callable[..., AbstractAsyncContextManager[Any]]", function)


def _innermost(function: Any) -> Any:
    """The function inside partials, and inside what a class body makes of it."""
    while True:
        if isinstance(function, functools.partial | functools.partialmethod):
            function = function.func
        elif isinstance(function, staticmethod | classmethod):
            function = function.__func__
        else:
            return function


def _name_of(function: Any) -> str:
    inner = _innermost(function)
    return getattr(inner, "__name__", type(inner).__name__)


def _summary(documented: Any) -> str:
    documented = _innermost(documented)
    if isinstance(documented, type) and documented.__doc__ is None:
        return ""  # a base class' docstring is about the base class
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _where(defined: Any) -> Provenance:
    defined = _innermost(defined)
    name = getattr(defined, "__qualname__", _name_of(defined))
    module = getattr(defined, "__module__", None)
    return Provenance(entry_point=f"{module}:{name}" if module else name)


def _set(instance: object, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _check_callable(value: object, label: str) -> None:
    if not callable(value):
        raise ValueError(f"{label}: expected something callable, got {value!r}")


def _names(value: object, label: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Iterable):
        raise ValueError(f"{label}: expected names, got {value!r}")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str) or not name:
            raise ValueError(f"{label}: expected names, got {name!r}")
    return found


def _keys(value: Any) -> tuple[Key, ...]:
    several = isinstance(value, list | tuple) and not is_pair(value)
    try:
        keys = tuple(Key.of(part) for part in (value if several else (value,)))
        hash(keys)
    except (TypeError, ValueError) as error:
        raise ValueError(f"provides: expected types or pairs (type, name), got {value!r}") from error
    for key in keys:
        if says_nothing(key.type):
            raise ValueError(f"provides: expected types or pairs (type, name), got {key.type!r}")
    return keys


def _roles(value: Iterable[str] | str | None) -> frozenset[str] | None:
    if value is None:
        return None
    roles = frozenset(_names(value, "roles"))
    if not roles:
        raise ValueError("roles: an empty set would start nowhere; leave it out for every role")
    return roles


def _check_seconds(value: object, label: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{label}: expected seconds above 0, got {value!r}")


def _member(layer: type[Any], name: str) -> Any:
    # Looked up by hand: `getattr` would find what the metaclass has. None switches off what a base class has.
    return next((vars(base)[name] for base in layer.__mro__ if name in vars(base)), None)


def _check_layer(layer: type[Any], scopes: frozenset[Scope], base_http_allowed: bool) -> None:
    if not isinstance(layer, type):
        raise ValueError(f"layer: expected a class, got {layer!r}")
    if not base_http_allowed and is_base_http(layer):
        raise ValueError(
            f"layer: {layer.__name__} is a starlette BaseHTTPMiddleware: it runs the app in a task of its own, loses "
            "trailers and context variables, and costs as much as 700 plain layers. Write it in hook form or as pure "
            "ASGI, or pass allow_base_http_middleware=True"
        )
    if is_base_http(layer) and "websocket" in scopes:
        raise ValueError(
            f"scopes: {layer.__name__} is a starlette BaseHTTPMiddleware and serves only 'http'; pass scopes={{'http'}}"
        )
    hooks = {name: _innermost(member) for name in HOOKS if (member := _member(layer, name)) is not None}
    is_asgi = _member(layer, "__call__") is not None
    if is_asgi and hooks:
        raise ValueError(
            f"layer: {layer.__name__} has __call__ and {next(iter(hooks))}; a layer has one form, not both"
        )
    if not is_asgi and not hooks:
        raise ValueError(f"layer: {layer.__name__} has neither __call__ nor any of {', '.join(HOOKS)}")
    for name, hook in hooks.items():
        if inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook):
            raise ValueError(f"layer: {layer.__name__}.{name} is async; hooks are plain functions. Use the ASGI form")
        if inspect.isgeneratorfunction(hook) or not (callable(hook) or hasattr(hook, "__get__")):
            raise ValueError(f"layer: {layer.__name__}.{name} is no plain function: {hook!r}")


def is_base_http(layer: type[Any]) -> bool:
    """Whether a class is one of starlette's ``BaseHTTPMiddleware``."""
    # By name, so that starlette needn't be imported to describe a layer.
    return any(
        base.__module__ == "starlette.middleware.base" and base.__name__ == "BaseHTTPMiddleware"
        for base in layer.__mro__
    )
