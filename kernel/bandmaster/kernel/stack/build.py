"""Build the request stack: the layers around an application, as one chain for each type of scope."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel.contributions.layer_classes import HOOKS, is_base_http
from bandmaster.kernel.contributions.model import MiddlewareContribution
from bandmaster.kernel.errors import StartError
from bandmaster.kernel.lifecycle.arguments import look_up, make_arguments
from bandmaster.kernel.stack.frame import Frame

if TYPE_CHECKING:
    from bandmaster.kernel.lifecycle.resources import Resources
    from bandmaster.kernel.planning.plan import Layer

_Kind: TypeAlias = Literal["http", "websocket"]
_KINDS: tuple[_Kind, ...] = ("http", "websocket")


@dataclass(frozen=True, slots=True)
class BoundLayer:
    """A layer with the live objects for the constructor."""

    contribution: MiddlewareContribution
    arguments: Mapping[str, object]
    """The constructor's keyword arguments, all but ``app``."""


@dataclass(frozen=True, slots=True)
class Stack:
    """An ASGI application: the layers around ``app``. Scopes other than requests, such as lifespan, skip the layers."""

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
    """Make one instance of every layer, and put the layers around ``app``; ``layers`` come outermost first.

    A layer that serves both types of scope has one instance, and so one state, in both chains. Neighbouring hook layers
    of a chain share one frame. A layer can switch itself off at no cost: in hook form by a constructor that sets the
    hooks to None, in ASGI form by a ``__new__`` that returns the given ``app``.

    Raises:
        StartError: a layer's constructor failed, or returned something that isn't a layer. The message names the layer
            and the distribution.
    """
    apps: dict[_Kind, ASGIApp] = dict.fromkeys(_KINDS, app)
    runs: dict[_Kind, list[object]] = {kind: [] for kind in _KINDS}
    for place, layer in reversed(list(enumerate(layers))):
        served: list[_Kind] = [kind for kind in _KINDS if kind in layer.contribution.scopes]
        if layer.contribution.form == "hooks":
            instance = _make_hook_layer(layer)
            for kind in served if instance is not None else ():
                runs[kind].insert(0, instance)
        else:
            fused = {
                kind: _fuse_hooks(runs[kind], apps[kind], kind, inner=_has_hooks(layers[:place], kind))
                for kind in served
            }
            inside = _join_chains(*fused.values())
            instance = _make_asgi_layer(layer, inside)
            # A layer that is switched off is left out, so that its neighbours in hook form still share one frame.
            if instance is not inside:
                apps |= dict.fromkeys(served, instance)
                runs |= {kind: [] for kind in served}
    return Stack(app, *(_fuse_hooks(runs[kind], apps[kind], kind, inner=False) for kind in _KINDS))


def bind(layer: Layer, resources: Resources, settings: Mapping[type, object]) -> BoundLayer:
    """Find the live objects for a layer's constructor: options, resources and settings.

    ``settings`` are the plan's. A need that nothing provides is None or an empty collection, unless the constructor has
    a default.
    """
    arguments = {**layer.contribution.options, **make_arguments(layer.needs, look_up(resources), settings)}
    return BoundLayer(layer.contribution, arguments)


class _ByType:
    """Chooses between the two chains inside an ASGI layer that serves both types of scope."""

    __slots__ = ("_http", "_websocket")

    def __init__(self, http: ASGIApp, websocket: ASGIApp) -> None:
        self._http = http
        self._websocket = websocket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._websocket if scope["type"] == "websocket" else self._http)(scope, receive, send)


def _make_hook_layer(layer: BoundLayer) -> object | None:
    instance = _call_constructor(layer)
    hooks = {name: getattr(instance, name) for name in HOOKS if getattr(instance, name, None) is not None}
    if not hooks and isinstance(instance, layer.contribution.layer):
        return None
    if not hooks:
        raise _make_fault(layer, instance, f"has none of {', '.join(HOOKS)}")
    for name, hook in hooks.items():
        if not callable(hook):
            raise _make_fault(layer, instance, f"has an {name} that can't be called")
        if inspect.iscoroutinefunction(hook):
            raise _make_fault(layer, instance, f"has an async {name}; hooks are plain functions")
    return instance


def _has_hooks(layers: Sequence[BoundLayer], kind: _Kind) -> bool:
    return any(layer.contribution.form == "hooks" and kind in layer.contribution.scopes for layer in layers)


def _fuse_hooks(run: Sequence[object], app: ASGIApp, kind: _Kind, *, inner: bool) -> ASGIApp:
    # The bound method, since calling an instance would look up __call__ for each request.
    return Frame(run, app, kind, inner=inner).__call__ if run else app


def _join_chains(first: ASGIApp, second: ASGIApp | None = None) -> ASGIApp:
    return first if second is None or second is first else _ByType(first, second)


def _make_asgi_layer(layer: BoundLayer, inner: ASGIApp) -> ASGIApp:
    instance = _call_constructor(layer, inner)
    if instance is inner:  # not made by the layer, and so not the layer's to answer for
        return inner
    if not callable(instance):
        raise _make_fault(layer, instance, "can't be called as an ASGI application")
    # The contribution checks the class, but a class may return an instance of another class.
    if is_base_http(type(instance)) and not layer.contribution.allow_base_http_middleware:
        raise _make_fault(layer, instance, "is a starlette BaseHTTPMiddleware, which isn't allowed here")
    return cast("ASGIApp", instance)


def _call_constructor(layer: BoundLayer, *app: ASGIApp) -> object:
    try:
        return layer.contribution.layer(*app, **layer.arguments)
    except Exception as error:
        message = f"layer {_describe(layer)} could not be made: {type(error).__name__}: {error}"
        raise StartError(message, component=layer.contribution.name) from error


def _make_fault(layer: BoundLayer, instance: object, fault: str) -> StartError:
    made = f"layer {_describe(layer)} made a {type(instance).__name__} that {fault}"
    return StartError(made, component=layer.contribution.name)


def _describe(layer: BoundLayer) -> str:
    contribution = layer.contribution
    return f"{contribution.name!r} ({contribution.band}, {contribution.provenance})"
