"""Tests of bandmaster.kernel.stack.build."""

import gc

import pytest
from pydantic_settings import BaseSettings
from tests.asgi_cases import CASES, Rig, Server, background_work, contexts_apart, http_scope, websocket_scope

from bandmaster.kernel.contributions.bands import MiddlewareBand
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import MiddlewareContribution, Provenance
from bandmaster.kernel.errors import StartError
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.stack.build import BoundLayer, bind, build
from bandmaster.kernel.stack.exchange import current_exchange
from bandmaster.kernel.stack.frame import Frame
from bandmaster.kernel.stack.headers import HeaderBlock

pytestmark = pytest.mark.anyio


def bound(layer, *, name=None, arguments=None, **fields):
    fields = {"band": MiddlewareBand.CONTEXT, **fields}
    return BoundLayer(MiddlewareContribution(name=name or layer.__name__, layer=layer, **fields), arguments or {})


class Passing:
    """An ASGI layer that does nothing."""

    made: list["Passing"] = []

    def __init__(self, app):
        self.app = app
        self.made.append(self)

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


class Copying(Passing):
    """An ASGI layer that gives the application a scope and functions of its own."""

    async def __call__(self, scope, receive, send):
        async def receiving():
            return await receive()

        async def sending(message):
            await send(message)

        await self.app({**scope, "copied": True}, receiving, sending)


class Request:
    def on_request(self, exchange):
        exchange.data["request"] = exchange.header(b"host")


class Start:
    def on_response_start(self, exchange):
        exchange.set_header(b"x-request", b"1")
        exchange.default_headers(HeaderBlock([(b"x-frame-options", b"DENY")]))
        exchange.vary(b"origin")


class End:
    def on_end(self, exchange):
        exchange.data["status"] = exchange.status


class Watch:
    def on_error(self, exchange, error):
        exchange.data["error"] = str(error)


class Answer:
    def on_error(self, exchange, error):
        if not exchange.started:
            exchange.respond(500, [(b"content-type", b"text/plain")], b"oops")
        elif exchange.socket is not None:
            exchange.close(1011)


class BodyLimit:
    def on_request(self, exchange):
        exchange.limit_body(1000)
        exchange.limit_message(1000)


class Everything(Request, Start, End, Watch):
    pass


STACKS = {
    "on_request": [Request],
    "on_response_start": [Start],
    "on_end": [End],
    "on_error": [Watch],
    "answering": [Answer],
    "everything": [Everything],
    "limits": [BodyLimit],
    "nine hooks": [Request, Start, End, Watch, Answer, Everything, BodyLimit, Everything, Start],
    "hook, asgi, hook": [Everything, Passing, Everything],
    "hook, copying, hook": [Everything, Copying, Everything, Answer],
    "asgi, hook, asgi": [Passing, Everything, Copying],
    "asgi only": [Passing, Copying, Passing],
    "none": [],
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("layers", STACKS.values(), ids=list(STACKS))
@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
async def test_asgi_case(case, layers):
    """WebSockets, streams, background work, disconnects, exceptions and contexts pass through every stack unchanged."""
    stack = [bound(layer, name=f"{layer.__name__}-{place}") for place, layer in enumerate(layers)]
    hooks = any(layer.contribution.form == "hooks" for layer in stack)
    await case(Rig(lambda app: build(stack, app), hooks=hooks))


@pytest.mark.parametrize("case", [background_work, contexts_apart])
@pytest.mark.requirement("FA-16", "P-14")
async def test_contexts(case):
    """Each request has a separate context until the end, also where ASGI layers split the hooks."""
    layers = [bound(Request), bound(Copying), bound(End), bound(Passing), bound(Everything)]
    await case(Rig(lambda app: build(layers, app)))


async def nothing(scope, receive, send):
    """An application that sends nothing."""


def frame(chain):
    """The frame of a chain, which holds the frame's bound method."""
    return chain.__self__ if isinstance(getattr(chain, "__self__", None), Frame) else None


def test_no_layers():
    """A stack without layers is the application itself."""
    stack = build([], nothing)
    assert (stack.app, stack.http, stack.websocket) == (nothing, nothing, nothing)


def test_neighbours_share_a_frame():
    """Neighbouring hook layers share one frame, in order, and have one instance for both chains."""
    stack = build([bound(Request), bound(Start), bound(End)], nothing)
    http, websocket = frame(stack.http), frame(stack.websocket)
    assert [type(layer) for layer in http.layers] == [Request, Start, End]
    assert http is not websocket
    assert all(one is other for one, other in zip(http.layers, websocket.layers, strict=True))


def test_asgi_layer_splits_the_run():
    """A layer in ASGI form separates two frames."""
    stack = build([bound(Request), bound(Passing), bound(Start)], nothing)
    assert [type(layer) for layer in frame(stack.http).layers] == [Request]


def test_scopes():
    """A chain has only the layers for one type of scope, and neighbours are those within the chain."""
    layers = [
        bound(Request, scopes={"http"}),
        bound(Passing, scopes={"websocket"}),
        bound(Start),
        bound(End, scopes={"websocket"}),
    ]
    stack = build(layers, nothing)
    assert [type(layer) for layer in frame(stack.http).layers] == [Request, Start]
    assert type(stack.websocket) is Passing
    assert [type(layer) for layer in frame(stack.websocket.app).layers] == [Start, End]


@pytest.mark.parametrize("inside", [[], [Request], [Passing]], ids=["app", "hooks", "asgi"])
async def test_one_instance_for_both_chains(inside):
    """An ASGI layer has one instance, also where the inner layers differ by type of scope."""
    Passing.made.clear()
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], current_exchange() is not None))

    stack = build([bound(Passing), *(bound(layer, name="inner") for layer in inside)], app)
    assert stack.http is stack.websocket
    assert len(Passing.made) == 1 + inside.count(Passing)
    for scope in (http_scope(), websocket_scope()):
        await stack(scope, None, None)
    assert seen == [("http", inside == [Request]), ("websocket", inside == [Request])]


def test_instances_are_made_inside_out():
    """An ASGI layer gets the finished inner application."""
    Passing.made.clear()
    build([bound(Copying), bound(Passing)], nothing)
    assert [type(layer) for layer in Passing.made] == [Passing, Copying]
    assert Passing.made[1].app is Passing.made[0]
    assert Passing.made[0].app is nothing


def test_arguments():
    """Constructors get arguments by keyword; an ASGI layer gets the application first, under any parameter name."""

    class Named:
        def __init__(self, inner, *, size):
            self.got = (inner, size)

        async def __call__(self, scope, receive, send): ...

    class Hooked(Start):
        def __init__(self, size):
            self.got = size

    stack = build([bound(Hooked, arguments={"size": 1}), bound(Named, arguments={"size": 2})], nothing)
    assert frame(stack.http).layers[0].got == 1
    assert build([bound(Named, arguments={"size": 2})], nothing).http.got == (nothing, 2)


class Settings(BaseSettings):
    """Settings of a layer."""


class Thing:
    """A resource."""


@pytest.mark.parametrize("provided", [True, False])
def test_bind(provided):
    """A layer gets options, resources and settings; None for a missing resource, unless there is a default."""

    class Layer(Start):
        def __init__(self, word: str, settings: Settings, thing: Thing | None, other: Thing | None = None): ...

    contribution = MiddlewareContribution(name="layer", layer=Layer, band=MiddlewareBand.CONTEXT, options={"word": "x"})
    settings, thing = Settings(), Thing()
    plan = make_plan(
        [contribution], overrides={Settings: settings, **({Thing: thing} if provided else {})}, serves=True
    )
    (layer,) = plan.layers
    resources = {Key(Thing): thing} if provided else {}
    arguments = bind(layer, resources, {Settings: settings}).arguments
    assert {"word": "x", "settings": settings, "thing": resources.get(Key(Thing))} == {
        name: value for name, value in arguments.items() if name != "other"
    }
    assert ("other" in arguments) is provided


async def test_frames_of_one_chain_share_data():
    """The frames of one chain share their data; an application mounted in another has data of its own."""
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(current_exchange().data))

    class Mark:
        def __init__(self, mark):
            self.mark = mark

        def on_request(self, exchange):
            exchange.data[self.mark] = True

    def marked(mark):
        return bound(Mark, name=mark, arguments={"mark": mark})

    inner = build([bound(Passing), marked("c")], app)
    outer = build([marked("a"), bound(Passing), marked("b")], inner)
    await outer(http_scope(), None, None)
    assert seen == [{"c": True}]
    seen.clear()
    await build([marked("a"), bound(Passing), marked("b")], app)(http_scope(), None, None)
    assert seen == [{"a": True, "b": True}]


async def test_other_scopes_go_past_the_layers():
    """Lifespan, and types of scope that don't exist yet, go to the application itself."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, current_exchange()))

    stack = build([bound(Everything), bound(Passing)], app)
    for scope in ({"type": "lifespan"}, {"type": "unheard-of"}):
        await stack(scope, None, None)
    assert seen == [({"type": "lifespan"}, None), ({"type": "unheard-of"}, None)]


def test_no_cyclic_garbage():
    """Reference counting frees all objects of a request through a split stack of nine layers."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def send(message):
        pass

    layers = [Request, Start, End, Copying, Watch, Answer, Everything, BodyLimit, Everything]
    stack = build([bound(layer, name=f"layer{place}") for place, layer in enumerate(layers)], app)

    def requests():
        for _ in range(10):
            with pytest.raises(StopIteration):
                stack(http_scope(), None, send).send(None)

    requests()
    gc.collect()
    gc.disable()
    try:
        requests()
        assert gc.collect() == 0
    finally:
        gc.enable()


def fault(layer, **fields):
    """The error for a layer that can't be made."""
    fields = {"name": "broken", "provenance": Provenance("acme-layers", "1.2"), **fields}
    with pytest.raises(StartError) as caught:
        build([bound(layer, **fields)], nothing)
    assert caught.value.component == "broken"
    assert str(caught.value).startswith("layer 'broken' (CONTEXT, acme-layers 1.2) ")
    return caught.value


@pytest.mark.parametrize("base", [Passing, Start])
@pytest.mark.requirement("XC-E1", "P-19")
def test_constructor_that_raises(base):
    """The error names the layer and the distribution, and has the cause."""
    cause = KeyError("no such key")

    class Broken(base):
        def __init__(self, *app):
            raise cause

    error = fault(Broken)
    assert error.__cause__ is cause
    assert str(error).endswith("could not be made: KeyError: 'no such key'")


def made(thing, base):
    """A class with a constructor that returns another object."""
    return type("Odd", (base,), {"__new__": lambda cls, *app: thing})


def test_asgi_layer_that_cannot_be_called():
    """The instance of an ASGI layer must be an application."""
    assert str(fault(made(3, Passing))).endswith("made a int that can't be called as an ASGI application")


def test_hook_layer_without_hooks():
    """The instance of a hook layer must have hooks."""
    assert "made a int that has none of on_request" in str(fault(made(3, Start)))


class Switch:
    """A hook layer with a constructor that can switch the layer off."""

    def __init__(self, on):
        if not on:
            self.on_end = None

    def on_end(self, exchange):
        raise AssertionError


class ASGISwitch:
    """An ASGI layer with a constructor that can switch the layer off."""

    def __new__(cls, app, on):
        return super().__new__(cls) if on else app

    async def __call__(self, scope, receive, send):
        raise AssertionError


@pytest.mark.parametrize("layer", [Switch, ASGISwitch])
def test_a_layer_that_is_switched_off_costs_nothing(layer):
    """The stack is the same as without the layer."""

    async def app(scope, receive, send):
        raise AssertionError

    part = MiddlewareContribution(name="switch", layer=layer, band=MiddlewareBand.POLICY, options={"on": True})
    on, off = (build([BoundLayer(part, {"on": on})], app) for on in (True, False))
    assert on.http is not app
    assert (app, app) == (off.http, off.websocket)


def test_neighbours_of_a_layer_that_is_switched_off_share_a_frame():
    """Hook layers around an ASGI layer that is switched off share one frame, as without the layer."""
    off = bound(ASGISwitch, arguments={"on": False}, options={"on": False})
    stack = build([bound(Request), off, bound(Start)], nothing)
    for chain in (stack.http, stack.websocket):
        assert [type(layer) for layer in frame(chain).layers] == [Request, Start]
        assert frame(chain)._app is nothing


@pytest.mark.parametrize("scopes", [{"http"}, {"websocket"}, {"http", "websocket"}])
def test_a_layer_that_is_switched_off_answers_for_nothing(scopes):
    """An application of any kind that a layer returns unchanged isn't the layer's."""
    from starlette.middleware.base import BaseHTTPMiddleware

    class Dispatch(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            return await call_next(request)

    off = bound(ASGISwitch, arguments={"on": False}, options={"on": False}, scopes=scopes)
    host = Dispatch(nothing)
    assert (host, host) == (build([off], host).http, build([off], host).websocket)
    allowed = bound(Dispatch, scopes={"http"}, allow_base_http_middleware=True)
    assert isinstance(build([off, allowed], nothing).http, Dispatch)


def test_hook_that_cannot_be_called():
    """A hook must be callable."""

    class Odd(Start):
        def __init__(self):
            self.on_end = 3

    assert str(fault(Odd)).endswith("made a Odd that has an on_end that can't be called")


def test_async_hook():
    """An async hook is refused, also where only the instance has it."""

    class Odd(Start):
        def __init__(self):
            async def on_end(exchange): ...

            self.on_end = on_end

    assert str(fault(Odd)).endswith("has an async on_end; hooks are plain functions")


@pytest.mark.requirement("CF-17", "FA-18")
def test_base_http_middleware_in_disguise():
    """A class that returns a BaseHTTPMiddleware is refused, unless the contribution allows that."""
    from starlette.middleware.base import BaseHTTPMiddleware

    class Dispatch(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            return await call_next(request)

    disguise = type("Disguise", (Passing,), {"__new__": lambda cls, app: Dispatch(app)})
    assert str(fault(disguise)).endswith(
        "made a Dispatch that is a starlette BaseHTTPMiddleware, which isn't allowed here"
    )
    stack = build([bound(disguise, allow_base_http_middleware=True)], nothing)
    assert isinstance(stack.http, Dispatch)


async def test_stack_is_an_application_for_every_server():
    """A stack is a coroutine function for servers that check, and can't be changed."""
    import inspect

    stack = build([bound(Everything)], nothing)
    assert inspect.iscoroutinefunction(stack.__call__)
    assert inspect.iscoroutinefunction(stack.http)
    with pytest.raises(AttributeError):
        stack.app = None
    await Server(stack, http_scope()).run()
