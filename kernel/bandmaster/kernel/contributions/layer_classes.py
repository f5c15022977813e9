"""The two forms of a layer's class, and the check of a class for them."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal, Protocol, TypeAlias

from bandmaster.kernel.contributions.factories import unwrap
from bandmaster.kernel.contributions.places import find_place
from bandmaster.kernel.text import list_names, suggest

Scope: TypeAlias = Literal["http", "websocket"]


class _WithCall(Protocol):
    @property
    def __call__(self) -> Callable[..., Any]: ...


class _WithOnRequest(Protocol):
    @property
    def on_request(self) -> Callable[..., Any]: ...


class _WithOnResponseStart(Protocol):
    @property
    def on_response_start(self) -> Callable[..., Any]: ...


class _WithOnEnd(Protocol):
    @property
    def on_end(self) -> Callable[..., Any]: ...


class _WithOnError(Protocol):
    @property
    def on_error(self) -> Callable[..., Any]: ...


LayerClass: TypeAlias = (
    type[_WithCall] | type[_WithOnRequest] | type[_WithOnResponseStart] | type[_WithOnEnd] | type[_WithOnError]
)
"""A class in one of the two forms of a layer.

mypy ignores class decorators: a class under ``@middleware`` is still that class for mypy, not a
`MiddlewareContribution`. So ``contributions=[...]`` is typed as ``Contribution | LayerClass``. A class without the
decorator is refused at run time.
"""

_METHODS = (FunctionType, staticmethod, classmethod, functools.partialmethod)
_NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

SCOPES: frozenset[Scope] = frozenset(("http", "websocket"))
HOOKS = ("on_request", "on_response_start", "on_end", "on_error")


def find_form(layer: type[Any]) -> Literal["asgi", "hooks"]:
    """Which of the two forms a layer's class has."""
    return "asgi" if _find_member(layer, "__call__") is not None else "hooks"


def check_layer(layer: type[Any], scopes: frozenset[Scope], base_http_allowed: bool) -> None:
    """Refuse a class that has neither form of a layer, or both.

    Raises:
        ValueError: the class can't be a layer for these scopes.
    """
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
    hooks = {name: unwrap(member) for name in HOOKS if (member := _find_member(layer, name)) is not None}
    is_asgi = find_form(layer) == "asgi"
    if is_asgi and hooks:
        raise ValueError(
            f"layer: {layer.__name__} has __call__ and {next(iter(hooks))}; a layer has one form, not both"
        )
    if not is_asgi:
        _refuse_unknown_hooks(layer)
    if not is_asgi and not hooks:
        raise ValueError(f"layer: {layer.__name__} has neither __call__ nor any of {', '.join(HOOKS)}")
    for name, hook in hooks.items():
        if inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook):
            raise ValueError(f"layer: {layer.__name__}.{name} is async; hooks are plain functions. Use the ASGI form")
        if inspect.isgeneratorfunction(hook) or not (callable(hook) or hasattr(hook, "__get__")):
            raise ValueError(f"layer: {layer.__name__}.{name} is no plain function: {hook!r}")
        _check_parameters(layer, name)


def _refuse_unknown_hooks(layer: type[Any]) -> None:
    """Refuse a method that is named like a hook, and that nothing calls."""
    for name in dict.fromkeys(name for base in layer.__mro__ for name in vars(base)):
        hook = _NEW_WORD.sub("_", name).lower()
        member = _find_member(layer, name)
        if hook.startswith("on_") and name not in HOOKS and isinstance(member, _METHODS):
            raise ValueError(
                f"layer: {layer.__name__}.{name} is no hook, so nothing calls it ({find_place(member)})."
                f"{suggest(hook, HOOKS)} Hooks are {list_names(HOOKS)}; another method needs a name without on_"
            )


def _check_parameters(layer: type[Any], name: str) -> None:
    """Refuse a hook that can't take the arguments with which the kernel calls it."""
    member: Any = _find_member(layer, name)
    if not isinstance(member, _METHODS) or isinstance(member, functools.partialmethod):
        return  # the function is made only when it is asked for
    arguments = ["exchange", "error"] if name == "on_error" else ["exchange"]
    given = arguments if isinstance(member, staticmethod) else ["self", *arguments]
    try:
        signature = inspect.signature(_get_function(member), follow_wrapped=False)
    except ValueError:
        return  # compiled code may hide its signature
    try:
        signature.bind(*given)
    except TypeError as error:
        raise ValueError(
            f"layer: {layer.__name__}.{name} can't be called with {list_names(arguments)}: {error} "
            f"({find_place(member)})"
        ) from None


def _get_function(method: Any) -> Any:
    return getattr(method, "__func__", method)


def is_base_http(layer: type[Any]) -> bool:
    """Whether a class is one of starlette's ``BaseHTTPMiddleware``."""
    # By name, so that starlette needn't be imported to describe a layer.
    return any(
        base.__module__ == "starlette.middleware.base" and base.__name__ == "BaseHTTPMiddleware"
        for base in layer.__mro__
    )


def _find_member(layer: type[Any], name: str) -> Any:
    # Looked up by hand: `getattr` would find members of the metaclass. None switches off a member of a base class.
    return next((vars(base)[name] for base in layer.__mro__ if name in vars(base)), None)
