"""Tests of bandmaster.kernel.stack.frame."""

import contextvars
import gc

import anyio
import pytest
from tests.asgi_cases import Server, http_scope, websocket_scope

from bandmaster.kernel.errors import BodyTooLarge
from bandmaster.kernel.stack.exchange import current_exchange
from bandmaster.kernel.stack.frame import Frame

pytestmark = pytest.mark.anyio

OK = [{"type": "http.response.start", "status": 200, "headers": []}, {"type": "http.response.body", "body": b"ok"}]


class Requests:
    """A layer with on_request only."""

    def __init__(self, name="", log=None, act=lambda exchange: None):
        self.name, self.log, self.act = name, [] if log is None else log, act

    def on_request(self, exchange):
        self.log.append(f"{self.name} request")
        self.act(exchange)


class Observer(Requests):
    """A layer with every hook; each hook can be given an action."""

    def __init__(self, name="", log=None, act=lambda exchange: None, start=None, error=None, end=None):
        super().__init__(name, log, act)
        self.start, self.error, self.end = start, error, end

    def on_response_start(self, exchange):
        self.log.append(f"{self.name} start")
        if self.start:
            self.start(exchange)

    def on_error(self, exchange, error):
        self.log.append(f"{self.name} error")
        if self.error:
            self.error(exchange, error)

    def on_end(self, exchange):
        self.log.append(f"{self.name} end")
        if self.end:
            self.end(exchange)


class Late(Observer):
    """A layer with every hook but on_request."""

    on_request = None


def fails(error):
    def act(*_):
        raise error

    return act


def answering(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


def failing(error, *messages):
    async def app(scope, receive, send):
        await answering(*messages)(scope, receive, send)
        raise error

    return app


async def run(app, *layers, scope=None, incoming=({"type": "http.request", "body": b""},), inner=False):
    scope = scope or http_scope()
    server = Server(Frame(layers, app, scope["type"], inner=inner), scope, incoming)
    await server.run()
    return server


async def raised(app, *layers, **options):
    with pytest.raises(BaseException) as caught:
        await run(app, *layers, **options)
    return caught.value


async def test_order_of_hooks():
    """on_request runs from the outermost layer to the innermost, every other hook the other way round."""
    log = []
    await run(answering(*OK), *[Observer(name, log) for name in "abc"])
    assert log == [f"{name} request" for name in "abc"] + [
        *(f"{name} start" for name in "cba"),
        *(f"{name} end" for name in "cba"),
    ]


async def test_end_comes_after_background_work():
    """on_end runs when the application has returned, not when the response was sent; both times are known."""
    log, times = [], []

    async def app(scope, receive, send):
        await answering(*OK)(scope, receive, send)
        await anyio.sleep(0.01)
        log.append("work")

    def end(exchange):
        times.extend((exchange.began, exchange.finished))

    await run(app, Observer("a", log, end=end))
    assert log == ["a request", "a start", "work", "a end"]
    assert times[0] <= times[1]


async def test_facts_at_the_end():
    """on_end finds status, headers and bytes, and no error, as an access log needs them."""
    seen = []

    def end(exchange):
        seen.extend((exchange.status, exchange.response_headers, exchange.bytes_sent, exchange.started))
        seen.extend((exchange.bytes_received, exchange.error, exchange.disconnected))

    async def app(scope, receive, send):
        await receive()
        await answering(*OK)(scope, receive, send)

    await run(app, Observer(end=end), incoming=[{"type": "http.request", "body": b"four"}])
    assert seen == [200, [], 2, True, 4, None, False]


async def test_frame_of_requests_only():
    """Where no hook can see the messages, the application gets the server's own receive and send."""
    seen = []

    async def app(scope, receive, send):
        seen.extend((receive, send))

    server = await run(app, Requests())
    assert seen == [server.receive, server.send]


async def test_answer_from_on_request():
    """When a layer answers, neither the application nor inner layers are called; outer layers see the response."""
    log = []
    layers = [
        Late("a", log),
        Observer("b", log),
        Observer("c", log, lambda exchange: exchange.respond(401, body=b"who?")),
        Late("d", log),
        Observer("e", log),
    ]
    server = await run(failing(AssertionError), *layers)
    assert log == ["b request", "c request", "c start", "b start", "a start", "c end", "b end", "a end"]
    assert (server.status, server.headers, server.body) == (401, [(b"content-length", b"4")], b"who?")


async def test_answer_in_a_frame_of_requests_only():
    """A layer with on_request only can answer, too."""
    server = await run(failing(AssertionError), Requests(act=lambda exchange: exchange.respond(204)))
    assert (server.status, server.body) == (204, b"")


async def test_changes_to_the_start():
    """Status and headers are sent as the hooks leave them, innermost first; names are in lower case."""

    def start(exchange):
        exchange.status = 201
        exchange.set_header(b"x-order", exchange.response_header(b"x-order") + b"a")

    layers = [Observer(start=start), Observer(start=lambda exchange: exchange.add_header(b"x-order", b"b"))]
    app = answering({"type": "http.response.start", "status": 200, "headers": [(b"X-App", b"1")], "extra": 1}, OK[1])
    server = await run(app, *layers)
    assert server.sent[0] == {
        "type": "http.response.start",
        "status": 201,
        "headers": [(b"x-app", b"1"), (b"x-order", b"ba")],
        "extra": 1,
    }


async def test_hooks_that_cannot_answer():
    """Neither the application nor on_response_start nor on_end can answer through the exchange."""
    refused = []

    def answer(exchange):
        with pytest.raises(RuntimeError, match="only on_request can answer"):
            exchange.respond(200)
        refused.append(True)

    async def app(scope, receive, send):
        answer(current_exchange())
        await answering(*OK)(scope, receive, send)

    await run(app, Observer(start=answer, end=answer))
    assert len(refused) == 3


async def test_unanswered_exception():
    """An exception that no hook answers is raised as the same object, with the same chain."""
    log, error, cause = [], ValueError("boom"), KeyError("cause")
    error.__cause__ = cause
    assert await raised(failing(error), Observer("a", log), Observer("b", log)) is error
    assert log == ["a request", "b request", "b error", "a error", "b end", "a end"]
    assert (error.__cause__, error.__context__, getattr(error, "__notes__", [])) == (cause, None, [])


async def test_answer_to_an_exception():
    """The first answer ends the search; every entered layer sees the answer's start, and on_end the error."""
    log, seen, error = [], [], ValueError("boom")
    layers = [
        Observer("a", log, end=lambda exchange: seen.append(exchange.error)),
        Observer("b", log, error=lambda exchange, error: exchange.respond(500, body=str(error).encode())),
        Observer("c", log),
    ]
    server = await run(failing(error), *layers)
    assert log[3:] == ["c error", "b error", "c start", "b start", "a start", "c end", "b end", "a end"]
    assert (server.status, server.body, seen) == (500, b"boom", [error])


async def test_no_answer_after_the_start():
    """Once the response has started no hook can answer, and the exception is raised."""
    error, late = ValueError("boom"), []

    def answer(exchange, error):
        late.append(exchange.started)
        if not exchange.started:
            exchange.respond(500)

    assert await raised(failing(error, OK[0]), Observer(error=answer)) is error
    assert late == [True]


async def test_on_request_that_raises():
    """Outer layers see the exception like one of the application; the hook's own layer isn't entered."""
    log, error = [], ValueError("boom")
    layers = [Observer("a", log), Late("b", log), Observer("c", log, fails(error)), Observer("d", log)]
    assert await raised(answering(*OK), *layers) is error
    assert log == ["a request", "c request", "b error", "a error", "b end", "a end"]


async def test_on_request_that_raises_is_answered():
    """An outer layer can answer the exception; only entered layers see the start of the response."""
    log = []
    layers = [
        Observer("a", log, error=lambda exchange, error: exchange.respond(503)),
        Observer("b", log, fails(ValueError())),
    ]
    server = await run(answering(*OK), *layers)
    assert (server.status, log) == (503, ["a request", "b request", "a error", "a start", "a end"])


async def test_on_request_that_answers_and_raises():
    """A hook that answers and then raises has not answered."""

    def act(exchange):
        exchange.respond(200)
        raise error

    error = ValueError("boom")
    assert await raised(answering(*OK), Observer(), Observer(act=act)) is error


async def test_on_response_start_that_raises():
    """The application's send raises the exception; the response has not started, so a hook can answer."""
    error, seen = ValueError("boom"), []

    def start(exchange):
        if not seen:
            seen.append(exchange.status)
            raise error

    layer = Observer(start=start, error=lambda exchange, error: seen.append(exchange.status) or exchange.respond(500))
    server = await run(answering(*OK), layer)
    assert (server.status, seen) == (500, [200, None])


async def test_on_response_start_that_always_raises():
    """If the answer can't start either, the first exception is raised with a note of the second."""
    error = ValueError("boom")
    layer = Observer(start=fails(KeyError("again")), error=lambda exchange, error: exchange.respond(500))
    assert await raised(failing(error), layer) is error
    assert "KeyError: 'again'" in error.__notes__[0]


async def test_on_error_that_raises():
    """The other layers still see the application's exception, which is raised with a note."""
    log, error = [], ValueError("boom")
    layers = [Observer("a", log), Observer("b", log, error=fails(KeyError("b")))]
    assert await raised(failing(error), *layers) is error
    assert log[2:] == ["b error", "a error", "b end", "a end"]
    assert "KeyError: 'b'" in error.__notes__[0]


async def test_on_error_that_raises_beside_an_answer():
    """When another hook answers, the failure of the first is raised once the answer has been sent."""
    failure = KeyError("b")
    layers = [Observer(error=lambda exchange, error: exchange.respond(500)), Observer(error=fails(failure))]
    scope = http_scope()
    server = Server(Frame(layers, failing(ValueError("boom")), "http"), scope)
    with pytest.raises(KeyError) as caught:
        await server.run()
    assert (caught.value is failure, server.status) == (True, 500)


async def test_exit_in_a_hook():
    """SystemExit and KeyboardInterrupt from a hook are raised as they are, after the ends."""
    log, exit_ = [], SystemExit(3)
    layers = [Observer("a", log), Observer("b", log, error=fails(exit_))]
    assert await raised(failing(ValueError("boom")), *layers) is exit_
    assert log[-2:] == ["b end", "a end"]
    exit_ = KeyboardInterrupt()
    layers = [Observer("a", log, end=fails(ValueError("late"))), Observer("b", log, end=fails(exit_))]
    assert await raised(answering(*OK), *layers) is exit_
    assert "ValueError: late" in exit_.__notes__[0]


async def test_client_that_has_left():
    """ClientDisconnect isn't an error: on_error isn't called, the exception is raised, and on_end knows."""
    from starlette.requests import ClientDisconnect

    log, seen = [], []
    layer = Observer("a", log, end=lambda exchange: seen.extend((exchange.disconnected, exchange.error)))
    error = ClientDisconnect()
    assert await raised(failing(error, OK[0]), layer) is error
    assert (log, seen) == (["a request", "a start", "a end"], [True, error])


async def test_os_error_of_the_application():
    """An OSError of the application, a database's for example, is an error like any other."""
    layer = Observer(error=lambda exchange, error: exchange.respond(500))
    server = await run(failing(ConnectionRefusedError()), layer)
    assert server.status == 500


async def test_on_end_that_raises():
    """on_end of the other layers runs, then the exception is raised."""
    log, error = [], ValueError("late")
    assert await raised(answering(*OK), Observer("a", log), Observer("b", log, end=fails(error))) is error
    assert log[-2:] == ["b end", "a end"]
    assert current_exchange() is None


async def test_several_on_end_that_raise():
    """Exceptions of several on_end hooks are raised as a group."""
    first, second = ValueError("first"), KeyError("second")
    group = await raised(answering(*OK), Observer(end=fails(second)), Observer(end=fails(first)))
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (first, second)


async def test_on_end_that_raises_after_an_exception():
    """The application's exception is raised, with a note of the one in on_end."""
    error = ValueError("boom")
    assert await raised(failing(error), Observer(end=fails(KeyError("late")))) is error
    assert "in act" in error.__notes__[0]
    assert "KeyError: 'late'" in error.__notes__[0]


async def test_end_of_a_cancelled_request():
    """on_end sees a cancellation, on_error doesn't."""
    log, seen = [], []
    layer = Observer("a", log, end=lambda exchange: seen.append(type(exchange.error)))

    async def app(scope, receive, send):
        tasks.cancel_scope.cancel()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await run(app, layer)
    assert (log, seen) == (["a request", "a end"], [anyio.get_cancelled_exc_class()])


async def test_cancelled_while_the_answer_is_sent():
    """A cancellation while a hook's answer is sent is raised as a cancellation, after the ends."""
    log = []
    layer = Observer("a", log, error=lambda exchange, error: exchange.respond(500))
    server = Server(Frame([layer], failing(ValueError("boom")), "http"), http_scope())
    server.on_sent = lambda message: tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        await server.run()
    assert tasks.cancel_scope.cancelled_caught
    assert (server.status, server.body, log[-1]) == (500, b"", "a end")


def test_coroutine_that_is_thrown_away():
    """on_end also runs for a request that is thrown away in another context instead of being cancelled."""
    log = []

    class Forever:
        def __await__(self):
            yield

    async def app(scope, receive, send):
        await Forever()

    coroutine = Frame([Observer("a", log)], app, "http")(http_scope(), None, None)
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()
    assert log == ["a request", "a end"]


async def reading(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    await answering(*OK)(scope, receive, send)


def pieces(*bodies):
    return [{"type": "http.request", "body": body, "more_body": True} for body in bodies[:-1]] + [
        {"type": "http.request", "body": bodies[-1], "more_body": False}
    ]


@pytest.mark.parametrize("layer", [Requests, Observer])
async def test_body_beyond_the_limit(layer):
    """A body beyond the limit is answered with 413, without an announced length and in every kind of frame."""
    limited = layer(act=lambda exchange: exchange.limit_body(5))
    server = await run(reading, limited, incoming=pieces(b"123", b"456", b"789"))
    assert (server.status, server.body) == (413, b"Content Too Large")
    server = await run(reading, limited, incoming=pieces(b"123", b"45"))
    assert server.status == 200


async def test_body_beyond_the_limit_after_the_start():
    """Once the response has started, `BodyTooLarge` is raised."""

    async def app(scope, receive, send):
        await send(OK[0])
        await receive()

    error = await raised(app, Requests(act=lambda exchange: exchange.limit_body(0)), incoming=pieces(b"1"))
    assert isinstance(error, BodyTooLarge)
    assert (error.limit, str(error)) == (0, "the request body is larger than 0 bytes")


async def test_other_answer_to_a_large_body():
    """A layer can answer `BodyTooLarge` with a response of its own."""
    layer = Observer(
        act=lambda exchange: exchange.limit_body(0),
        error=lambda exchange, error: exchange.respond(error.status_code, body=b"!"),
    )
    server = await run(reading, layer, incoming=pieces(b"1"))
    assert (server.status, server.body) == (413, b"!")


async def test_large_body_in_a_starlette_application():
    """Starlette handles `BodyTooLarge` as its own HTTPException."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def endpoint(request):
        return Response(await request.body())

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    layer = Observer(act=lambda exchange: exchange.limit_body(5))
    server = await run(app, layer, scope=http_scope() | {"method": "POST"}, incoming=pieces(b"1234", b"5678"))
    assert server.status == 413


@pytest.mark.requirement("FA-16", "P-14")
async def test_current_exchange():
    """The application and every hook find the same exchange; after the request there is none."""
    seen = []

    async def app(scope, receive, send):
        seen.append(current_exchange())
        await answering(*OK)(scope, receive, send)

    def note(exchange):
        assert exchange is current_exchange()
        seen.append(exchange)

    await run(app, Observer(act=note, start=note, end=note))
    assert len(seen) == 4
    assert {id(exchange) for exchange in seen} == {id(seen[0])}
    assert current_exchange() is None


async def test_data_is_one_for_the_request():
    """An inner frame sees its own response and the same data; outer hooks see an error that was answered inside."""
    seen = {}

    def end(exchange):
        seen["outer"] = (exchange.status, exchange.data, exchange.error)

    inner = Frame(
        [Observer(act=lambda exchange: exchange.data.update(b=2), error=lambda exchange, error: exchange.respond(500))],
        failing(error := ValueError("boom")),
        "http",
        inner=True,
    )

    async def between(scope, receive, send):
        async def sending(message):
            await send(message | {"status": 502} if message["type"] == "http.response.start" else message)

        await inner(dict(scope), receive, sending)

    await run(between, Observer(act=lambda exchange: exchange.data.update(a=1), end=end))
    assert seen["outer"] == (502, {"a": 1, "b": 2}, error)


@pytest.mark.parametrize("change", [lambda scope: {"headers": []}, lambda scope: {"state": None}, lambda scope: {}])
async def test_copied_scope_is_the_same_request(change):
    """A layer between two frames may copy the scope and replace the headers or the state, but not both."""
    seen = []

    async def app(scope, receive, send):
        seen.append(current_exchange().data)

    inner = Frame([Requests()], app, "http", inner=True)

    async def between(scope, receive, send):
        await inner({**scope, **change(scope)}, receive, send)

    await run(between, Requests(act=lambda exchange: exchange.data.update(a=1)))
    assert seen == [{"a": 1}]


async def test_other_request_in_the_same_context():
    """A request made within another request, in the same context, shares nothing with the outer one."""
    seen = []

    async def app(scope, receive, send):
        seen.append((current_exchange().data, current_exchange().outer))

    inner = Frame([Requests()], app, "http", inner=True)

    async def between(scope, receive, send):
        await inner(http_scope(), receive, send)
        await inner({"type": "http", "path": "/"}, receive, send)

    await run(between, Requests(act=lambda exchange: exchange.data.update(a=1)))
    assert seen == [({}, None), ({}, None)]


async def test_inner_frame_in_a_context_of_its_own():
    """Where a layer between two frames loses the context, the inner frame works alone."""
    await run(answering(*OK), Observer(), inner=True)


CONNECT = {"type": "websocket.connect"}


def websocket(**scope):
    return {"scope": {**websocket_scope(), **scope}, "incoming": [CONNECT]}


DENIAL = {"websocket.http.response": {}}


async def test_refusal_with_a_response():
    """Where the server supports that, a WebSocket is refused with the hook's response, which the hooks see."""
    layer = Observer(
        act=lambda exchange: exchange.respond(401, body=b"who?"),
        start=lambda exchange: exchange.add_header(b"x-seen", b"%d" % exchange.status),
    )
    server = await run(failing(AssertionError), layer, **websocket(extensions=DENIAL))
    assert server.sent == [
        {
            "type": "websocket.http.response.start",
            "status": 401,
            "headers": [(b"content-length", b"4"), (b"x-seen", b"401")],
        },
        {"type": "websocket.http.response.body", "body": b"who?"},
    ]


@pytest.mark.parametrize(("status", "code"), [(401, 1008), (413, 1008), (500, 1011), (503, 1013)])
async def test_refusal_by_closing(status, code):
    """Elsewhere a refused WebSocket is closed before the accept, with a fitting code; the client gets 403."""
    seen = []
    layer = Observer(
        act=lambda exchange: exchange.respond(status),
        end=lambda exchange: seen.extend((exchange.status, exchange.socket.close_code)),
    )
    for extensions in ({}, None):
        server = await run(failing(AssertionError), layer, **websocket(extensions=extensions))
        assert server.sent == [{"type": "websocket.close", "code": code, "reason": ""}]
    assert seen == [403, code] * 2


async def test_refusal_with_a_code():
    """A hook can refuse a WebSocket with a close code of its own."""
    layer = Requests(act=lambda exchange: exchange.close(4003, "no"))
    server = await run(failing(AssertionError), layer, **websocket())
    assert server.sent == [{"type": "websocket.close", "code": 4003, "reason": "no"}]


async def test_answer_to_a_websocket_that_fails_before_the_accept():
    """An error before the accept can be answered with a response."""
    layer = Observer(error=lambda exchange, error: exchange.respond(500, body=b"oops"))
    server = await run(failing(ValueError("boom")), layer, **websocket(extensions=DENIAL))
    assert [message.get("status") for message in server.sent] == [500, None]


async def test_close_of_a_websocket_that_fails_after_the_accept():
    """After the accept, a hook can answer an exception with a close."""
    seen = []

    def error(exchange, error):
        with pytest.raises(RuntimeError, match="has not started"):
            exchange.respond(500)
        exchange.close(1011, "oops")

    layer = Observer(error=error, end=lambda exchange: seen.extend((exchange.status, exchange.socket.close_code)))
    server = await run(failing(ValueError("boom"), {"type": "websocket.accept"}), layer, **websocket())
    assert server.sent[1:] == [{"type": "websocket.close", "code": 1011, "reason": "oops"}]
    assert seen == [101, 1011]


ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close", "code": 1000}
DENIAL_START = {"type": "websocket.http.response.start", "status": 403, "headers": []}
DENIAL_BODY = {"type": "websocket.http.response.body", "body": b"no"}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([ACCEPT, CLOSE], id="closed"),
        pytest.param([CLOSE], id="refused by a close"),
        pytest.param([DENIAL_START], id="refusal begun"),
        pytest.param([DENIAL_START, {**DENIAL_BODY, "more_body": True}], id="half of a refusal"),
        pytest.param([DENIAL_START, DENIAL_BODY], id="refused"),
    ],
)
@pytest.mark.parametrize("frames", [1, 2])
async def test_an_exception_of_a_websocket_that_is_closed(sent, frames):
    """An exception is raised where the WebSocket is closed or a refusal has begun, since no answer can be sent."""
    tried, error = [], ValueError("boom")

    def answer(exchange, error):
        exchange.close(1011)
        with pytest.raises(RuntimeError, match="has not started"):
            exchange.respond(500)
        tried.append(exchange.answer)

    app = failing(error, *sent)
    if frames == 2:
        app = Frame([Observer(error=answer)], app, "websocket", inner=True)
    scope = websocket_scope() | {"extensions": DENIAL}
    server = Server(Frame([Observer(error=answer)], app, "websocket"), scope)
    with pytest.raises(ValueError, match="boom") as caught:
        await server.run()
    assert (caught.value, [None] * frames, len(sent)) == (error, tried, len(server.sent))


async def test_an_exception_after_the_client_has_left():
    """A client that has left can't be sent anything: the exception of the application is raised."""
    error = ValueError("boom")

    async def app(scope, receive, send):
        await receive()
        await receive()
        raise error

    incoming = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    layer = Observer(error=lambda exchange, error: exchange.close(1011))
    assert error is await raised(app, layer, scope=websocket_scope(), incoming=incoming)


@pytest.mark.parametrize("sent", [0, 1, 2, 3])
async def test_an_exception_between_the_parts_of_a_response_with_trailers(sent):
    """Until the start an exception can be answered, and from then on it is raised, also before the trailers."""
    parts = [
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.body", "body": b"ok"},
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]},
    ]
    finished = []

    def end(exchange):
        finished.append(exchange.finished is not None)

    layer = Observer(error=lambda exchange, error: None if exchange.started else exchange.respond(500), end=end)
    error = ValueError("boom")
    if sent:
        assert error is await raised(failing(error, *parts[:sent]), layer)
    else:
        assert 500 == (await run(failing(error), layer)).status
    assert [sent in (0, 3)] == finished


async def test_an_exception_after_an_informational_response():
    """An early hint isn't the start of the response: an exception that follows can be answered."""
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    layer = Observer(error=lambda exchange, error: exchange.respond(500))
    sent = []

    async def send(message):
        sent.append(message)

    await Frame([layer], failing(ValueError("boom"), hint), "http")(http_scope(), None, send)
    assert [hint["type"], "http.response.start", "http.response.body"] == [message["type"] for message in sent]


async def test_a_refusal_that_fails():
    """An exception while a hook's own refusal is sent is raised: the refusal isn't complete."""
    error = OSError("lost")

    async def send(message):
        if message["type"] == DENIAL_BODY["type"]:
            raise error

    layer = Observer(act=lambda exchange: exchange.respond(403, body=b"no"))
    with pytest.raises(OSError, match="lost") as caught:
        await Frame([layer], failing(AssertionError), "websocket")(
            websocket_scope() | {"extensions": DENIAL}, None, send
        )
    assert error is caught.value


async def test_websocket_disconnect_that_is_raised():
    """WebSocketDisconnect isn't an error, either."""
    from starlette.websockets import WebSocketDisconnect

    log, error = [], WebSocketDisconnect(1001)
    assert await raised(failing(error, {"type": "websocket.accept"}), Observer("a", log), **websocket()) is error
    assert log == ["a request", "a start", "a end"]


def cyclic_objects(app, *layers, scope=http_scope):
    """How many objects of ten requests only the garbage collector frees."""

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    frame = Frame(layers, app, scope()["type"])

    def requests():
        for _ in range(10):
            try:
                frame(scope(), receive, send).send(None)
            except (StopIteration, ValueError):
                pass

    requests()
    gc.collect()
    gc.disable()
    try:
        requests()
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("app", "layer"),
    [
        (answering(*OK), Observer()),
        (failing(ValueError), Observer()),
        (failing(ValueError, OK[0]), Observer()),
        (failing(ValueError), Observer(error=lambda exchange, error: exchange.respond(500))),
        (failing(ValueError), Observer(end=fails(ValueError))),
        (answering(*OK), Observer(end=fails(ValueError))),
        (answering(*OK), Observer(act=fails(ValueError))),
        (answering(*OK), Observer(act=lambda exchange: exchange.respond(204))),
        (failing(ValueError), Observer(start=fails(ValueError), error=lambda exchange, e: exchange.respond(500))),
    ],
    ids=["plain", "raises", "late", "answered", "both", "end", "request", "refused", "unanswerable"],
)
def test_no_cyclic_garbage(app, layer):
    """However a request ends, reference counting frees all its objects."""
    assert cyclic_objects(app, layer, Observer()) == 0


def test_no_cyclic_garbage_of_websockets():
    """Reference counting frees all objects of a WebSocket."""
    app = answering({"type": "websocket.accept"}, {"type": "websocket.close"})
    assert cyclic_objects(app, Observer(), scope=websocket_scope) == 0
