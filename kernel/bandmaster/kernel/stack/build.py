"""The layers composed around an application, as one chain for each type of scope."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel.contributions.layer_classes import HOOKS, is_base_http
from bandmaster.kernel.contributions.model import MiddlewareContribution
from bandmaster.kernel.errors import StartError
from bandmaster.kernel.stack.frame import Frame

_Kind: TypeAlias = Literal["http", "websocket"]
_KINDS: tuple[_Kind, ...] = ("http", "websocket")


@dataclass(frozen=True, slots=True)
class BoundLayer:
    """A layer with the live objects that its constructor takes."""

    contribution: MiddlewareContribution
    arguments: Mapping[str, object]
    """The constructor's keyword arguments, all but ``app``."""


@dataclass(frozen=True, slots=True)
class Stack:
    """An ASGI application: the layers around ``app``. Lifespan, and whatever is no request, goes past the layers."""

    app: ASGIApp
    http: ASGIApp
    """The chain for HTTP requests, for callers that already know the type of scope."""
    websocket: ASGIApp
    """The chain for WebSockets."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket or one lifespan."""
        kind = scope["type"]
        if kind == "http":
            await self.http(scope, receive, send)
        elif kind == "websocket":
            await self.websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build(layers: Sequence[BoundLayer], app: ASGIApp) -> Stack:
    """Make every layer, once, and put them around ``app``; ``layers`` come outermost first.

    A layer has one instance, and so one state, also where it serves both types of scope. Hook layers that are
    neighbours in a chain share one frame there. A layer that its settings switch off costs nothing: one in hook form
    whose constructor sets its hooks to None, one in ASGI form whose ``__new__`` returns the ``app`` it was given.

    Raises:
        StartError: a layer's constructor failed, or made something that is no layer; the message names the layer and
            where it comes from.
    """
    apps: dict[_Kind, ASGIApp] = dict.fromkeys(_KINDS, app)
    runs: dict[_Kind, list[object]] = {kind: [] for kind in _KINDS}
    for place, layer in reversed(list(enumerate(layers))):
        served: list[_Kind] = [kind for kind in _KINDS if kind in layer.contribution.scopes]
        if layer.contribution.form == "hooks":
            instance = _hooks(layer)
            for kind in served if instance is not None else ():
                runs[kind].insert(0, instance)
        else:
            for kind in served:
                apps[kind] = _fused(runs[kind], apps[kind], kind, inner=_has_hooks(layers[:place], kind))
                runs[kind] = []
            apps |= dict.fromkeys(served, _asgi(layer, _joined(*(apps[kind] for kind in served))))
    return Stack(app, *(_fused(runs[kind], apps[kind], kind, inner=False) for kind in _KINDS))


class _ByType:
    """What an ASGI layer that serves both types of scope has inside it, where the two chains differ there."""

    __slots__ = ("_http", "_websocket")

    def __init__(self, http: ASGIApp, websocket: ASGIApp) -> None:
        self._http = http
        self._websocket = websocket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._websocket if scope["type"] == "websocket" else self._http)(scope, receive, send)


def _hooks(layer: BoundLayer) -> object | None:
    instance = _made(layer)
    hooks = {name: getattr(instance, name) for name in HOOKS if getattr(instance, name, None) is not None}
    if not hooks and isinstance(instance, layer.contribution.layer):
        return None
    if not hooks:
        raise _no_layer(layer, instance, f"has none of {', '.join(HOOKS)}")
    for name, hook in hooks.items():
        if not callable(hook):
            raise _no_layer(layer, instance, f"has an {name} that can't be called")
        if inspect.iscoroutinefunction(hook):
            raise _no_layer(layer, instance, f"has an async {name}; hooks are plain functions")
    return instance


def _has_hooks(layers: Sequence[BoundLayer], kind: _Kind) -> bool:
    return any(layer.contribution.form == "hooks" and kind in layer.contribution.scopes for layer in layers)


def _fused(run: Sequence[object], app: ASGIApp, kind: _Kind, *, inner: bool) -> ASGIApp:
    # The bound method, since calling an instance looks it up each time.
    return Frame(run, app, kind, inner=inner).__call__ if run else app


def _joined(first: ASGIApp, second: ASGIApp | None = None) -> ASGIApp:
    return first if second is None or second is first else _ByType(first, second)


def _asgi(layer: BoundLayer, inner: ASGIApp) -> ASGIApp:
    instance = _made(layer, inner)
    if not callable(instance):
        raise _no_layer(layer, instance, "can't be called as an ASGI application")
    # A class may hand over an instance of some other one.
    if is_base_http(type(instance)) and not layer.contribution.allow_base_http_middleware:
        raise _no_layer(layer, instance, "is a starlette BaseHTTPMiddleware, which isn't allowed here")
    return cast("ASGIApp", instance)


def _made(layer: BoundLayer, *app: ASGIApp) -> object:
    try:
        return layer.contribution.layer(*app, **layer.arguments)
    except Exception as error:
        message = f"layer {_named(layer)} could not be made: {type(error).__name__}: {error}"
        raise StartError(message, component=layer.contribution.name) from error


def _no_layer(layer: BoundLayer, instance: object, fault: str) -> StartError:
    made = f"layer {_named(layer)} made a {type(instance).__name__} that {fault}"
    return StartError(made, component=layer.contribution.name)


def _named(layer: BoundLayer) -> str:
    contribution = layer.contribution
    return f"{contribution.name!r} ({contribution.band}, {contribution.provenance})"
