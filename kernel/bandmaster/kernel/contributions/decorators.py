"""Make contributions of functions, classes and objects: `lifespan`, `middleware` and `value`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Never, cast

from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.factories import (
    as_context_manager,
    check_return,
    read_name,
    read_path,
    read_summary,
    unwrap,
)
from bandmaster.kernel.contributions.layer_classes import SCOPES, Scope
from bandmaster.kernel.contributions.model import (
    Budget,
    LifespanContribution,
    MiddlewareContribution,
    OnCrash,
    OnStartFailure,
    Provenance,
    ValueContribution,
)


def lifespan(
    *misplaced: Never,
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
    on_start_failure: OnStartFailure = "stop",
    description: str | None = None,
) -> Callable[
    [Callable[..., AsyncIterator[Any] | AsyncGenerator[Any, None] | AbstractAsyncContextManager[Any]]],
    LifespanContribution,
]:
    """Make a `LifespanContribution` of an async generator function with one ``yield``.

    A callable that returns an async context manager serves as well. Code after the ``yield`` always runs at the stop:
    a component never sees its neighbours' exceptions. Arguments are those of `LifespanContribution`.

    Raises:
        ValueError: an argument is out of range, the function is neither of the two, or the decorator's parentheses are
            missing.
    """
    _refuse_bare_use("lifespan", misplaced)

    def decorate(function: Callable[..., Any]) -> LifespanContribution:
        try:
            factory = as_context_manager(function, "function")
            check_return(function, "function")
        except ValueError as error:
            raise ValueError(f"{error} ({_find_place(function)})") from None
        return LifespanContribution(
            name=read_name(function) if name is None else name,
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
            on_start_failure=on_start_failure,
            description=read_summary(function) if description is None else description,
            provenance=Provenance(entry_point=read_path(function)),
        )

    return decorate


def middleware(
    *misplaced: Never,
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
        ValueError: an argument is out of range, the class has neither form of a layer or both, or the decorator's
            parentheses are missing.
    """
    _refuse_bare_use("middleware", misplaced)

    def decorate(layer: type[Any]) -> MiddlewareContribution:
        if not isinstance(layer, type):
            raise ValueError(f"layer: expected a class, got {layer!r} ({_find_place(layer)})")
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
            description=read_summary(layer) if description is None else description,
            provenance=Provenance(entry_point=read_path(layer)),
        )

    return decorate


def value(
    obj: object,
    *,
    name: str,
    provides: Any = (),
    roles: Iterable[str] | None = None,
    description: str | None = None,
) -> ValueContribution:
    """Make a `ValueContribution` of a ready object. Arguments are those of `ValueContribution`.

    >>> from fractions import Fraction
    >>> value(Fraction(1, 5), name="vat").provides
    (Key(type=<class 'fractions.Fraction'>, name=None),)

    Raises:
        ValueError: an argument is out of range, or the object hasn't the type in ``provides``.
    """
    # An object's own attributes may be computed, and those of a proxy may fail.
    defined = obj if isinstance(obj, type) or inspect.isroutine(obj) else type(obj)
    return ValueContribution(
        name=name,
        value=obj,
        provides=provides,
        roles=cast("frozenset[str] | None", roles),
        description="" if description is None else description,
        provenance=Provenance(entry_point=read_path(defined)),
    )


def _refuse_bare_use(decorator: str, misplaced: tuple[Any, ...]) -> None:
    """Refuse a decorator without parentheses: Python then calls the decorator with the function."""
    for defined in misplaced:
        raise ValueError(
            f"{decorator}: write the parentheses: @{decorator}(band=...) for {read_name(defined)!r} "
            f"({_find_place(defined)})"
        )


def _find_place(defined: Any) -> str:
    """File and line of a function; for anything else, those of the decorator."""
    code = getattr(unwrap(defined), "__code__", None)
    if code:
        return f"{code.co_filename}:{code.co_firstlineno}"
    frame = inspect.currentframe()
    while frame and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "unknown file"
