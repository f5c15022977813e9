"""Make contributions of functions, classes and objects: `lifespan`, `middleware` and `value`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Never, cast

from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.factories import (
    as_context_manager,
    check_return,
    read_name,
    read_path,
    read_summary,
)
from bandmaster.kernel.contributions.layer_classes import SCOPES, Scope
from bandmaster.kernel.contributions.model import (
    Budget,
    Contribution,
    Facts,
    LifespanContribution,
    MiddlewareContribution,
    OnCrash,
    OnStartFailure,
    Provenance,
    StartCheck,
    ValueContribution,
    When,
)
from bandmaster.kernel.contributions.places import find_definition
from bandmaster.kernel.tracebacks import find_caller


def lifespan(
    *misplaced: Never,
    band: LifespanBand | None = None,
    priority: int | None = None,
    name: str | None = None,
    provides: Any = (),
    decorates: Any = None,
    requires: Iterable[str] = (),
    after: Iterable[str] = (),
    before: Iterable[str] = (),
    roles: Iterable[str] | None = None,
    start_timeout: float | None = None,
    stop_timeout: float | None = None,
    budget: Budget | None = None,
    check: StartCheck | None = None,
    facts: Facts | None = None,
    on_crash: OnCrash = "stop",
    on_start_failure: OnStartFailure = "stop",
    when: When | None = None,
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
    _refuse_arguments("lifespan", "LifespanBand.SERVICES", misplaced)

    def decorate(function: Callable[..., Any]) -> LifespanContribution:
        with _adding_place(function):
            _refuse_contribution(function)
            factory = as_context_manager(function, "function")
            check_return(function, "function")
            return LifespanContribution(
                name=read_name(function) if name is None else name,
                factory=factory,
                band=cast("LifespanBand", band),
                priority=cast("int", priority),
                provides=provides,
                decorates=decorates,
                requires=cast("tuple[str, ...]", requires),
                after=cast("tuple[str, ...]", after),
                before=cast("tuple[str, ...]", before),
                roles=cast("frozenset[str] | None", roles),
                start_timeout=start_timeout,
                stop_timeout=stop_timeout,
                budget={} if budget is None else budget,
                check=check,
                facts=facts,
                on_crash=on_crash,
                on_start_failure=on_start_failure,
                when=when,
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
    compares_paths: bool = False,
    when: When | None = None,
    description: str | None = None,
) -> Callable[[type[Any]], MiddlewareContribution]:
    """Make a `MiddlewareContribution` of a class. Arguments are those of `MiddlewareContribution`.

    Raises:
        ValueError: an argument is out of range, the class has neither form of a layer or both, or the decorator's
            parentheses are missing.
    """
    _refuse_arguments("middleware", "MiddlewareBand.POLICY", misplaced)

    def decorate(layer: type[Any]) -> MiddlewareContribution:
        with _adding_place(layer):
            _refuse_contribution(layer)
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
                compares_paths=compares_paths,
                when=when,
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
    when: When | None = None,
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
    with _adding_place():
        return ValueContribution(
            name=name,
            value=obj,
            provides=provides,
            roles=cast("frozenset[str] | None", roles),
            when=when,
            description="" if description is None else description,
            provenance=Provenance(entry_point=read_path(defined)),
        )


def _refuse_arguments(decorator: str, band: str, misplaced: tuple[Any, ...]) -> None:
    """Refuse a decorator without parentheses, which Python calls with the function, and arguments without a name."""
    for given in misplaced:
        if inspect.isroutine(given) or isinstance(given, type):
            raise ValueError(
                f"{decorator}: write the parentheses: @{decorator}(band=...) for {read_name(given)!r} "
                f"({find_definition(given)})"
            )
        raise ValueError(
            f"{decorator}: arguments are given by name, as in @{decorator}(band={band}), got {given!r} "
            f"({find_caller()})"
        )


def _refuse_contribution(defined: Any) -> None:
    if isinstance(defined, Contribution):
        raise ValueError(f"{defined.name!r} is decorated twice: it is a {type(defined).__name__} already")


@contextmanager
def _adding_place(defined: Any = None) -> Generator[None, None, None]:
    """Add file and line to an error: those of the definition, or of the call into the kernel."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} ({find_definition(defined)})") from None
