"""Tests of bandmaster.kernel.testing.connection and transport, and of the server's side of a request."""

import io
import subprocess
import sys

import anyio
import httpx2
import pytest
from tests.kernel.testing.parts import VARIABLE, host

from bandmaster.kernel.testing import (
    ASGIViolationError,
    ClientGoneError,
    connect,
    read_chunk,
)

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body"}


def sending(*messages):
    """An application that reads the first message and sends these."""

    async def app(scope, receive, send):
        await receive()
        for message in messages:
            await send(message)

    return app


async def iterate(*chunks):
    for chunk in chunks:
        yield chunk


@pytest.fixture
def app():
    return host()


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
async def test_methods(app, method):
    """There is a function for each method."""
    async with connect(app) as connection:
        response = await getattr(connection.client, method)("/show")
    assert (200, method.upper()) == (response.status_code, response.json()["method"])


async def test_head(app):
    """A response to HEAD has headers and no body, whatever the application sends."""
    async with connect(app) as connection:
        response = await connection.client.head("/show")
    assert (200, b"") == (response.status_code, response.content)
    assert int(response.headers["content-length"]) > 0


async def test_query(app):
    """The application receives the query; a list gives a name several values."""
    async with connect(app) as connection:
        own = await connection.client.get("/show?a=1")
        response = await connection.client.get("/show", params={"b": [2, 3], "c": "x y"})
        only = await connection.client.get("/show", params=[("b", 2)])
    assert ["a=1", "b=2&b=3&c=x+y", "b=2"] == [each.json()["query"] for each in (own, response, only)]


async def test_path_is_decoded(app):
    """The application sees the decoded path, and the raw one beside it."""
    scopes = []

    async def spy(scope, receive, send):
        scopes.append(scope)
        await app(scope, receive, send)

    async with connect(spy) as connection:
        await connection.client.get("/show/a%20b/ü")
    assert ("/show/a b/ü", b"/show/a%20b/%C3%BC") == (scopes[0]["path"], scopes[0]["raw_path"])


async def test_headers(app):
    """A request's headers replace those of the client, and those replace the usual ones; names in any case."""
    async with connect(app, headers={"X-One": "client", "X-Two": "client", "Accept": "text/*"}) as connection:
        response = await connection.client.get("/show", headers=[("x-two", "request"), (b"x-three", b"bytes")])
    sent = response.json()["headers"]
    assert {"x-one": "client", "x-two": "request", "x-three": "bytes", "accept": "text/*", "host": "testserver"} == {
        name: sent[name] for name in ("x-one", "x-two", "x-three", "accept", "host")
    }


async def test_json(app):
    """JSON has its content type and length."""
    async with connect(app) as connection:
        seen = (await connection.client.post("/show", json={"a": [1]})).json()
    assert ('{"a":[1]}', "application/json", "9") == (
        seen["body"],
        seen["headers"]["content-type"],
        seen["headers"]["content-length"],
    )


async def test_multipart(app):
    """Files are sent as a multipart form."""
    async with connect(app) as connection:
        seen = (await connection.client.post("/show", files={"a": ("a.txt", io.BytesIO(b"one"))})).json()
    assert seen["headers"]["content-type"].startswith("multipart/form-data; boundary=")
    assert 'name="a"; filename="a.txt"' in seen["body"]


async def test_authentication(app):
    """Credentials are sent as httpx2 sends them."""
    async with connect(app) as connection:
        seen = (await connection.client.get("/show", auth=("me", "x"))).json()
    assert "Basic bWU6eA==" == seen["headers"]["authorization"]


async def test_form(app):
    """Data is sent as a form."""
    async with connect(app) as connection:
        seen = (await connection.client.post("/show", data={"a": "x y", "b": ["1", "2"]})).json()
    assert ("a=x+y&b=1&b=2", "application/x-www-form-urlencoded") == (seen["body"], seen["headers"]["content-type"])


async def test_own_content_type(app):
    """A content type of one's own stands."""
    async with connect(app) as connection:
        seen = (await connection.client.post("/show", json={}, headers={"Content-Type": "application/x"})).json()
    assert "application/x" == seen["headers"]["content-type"]


@pytest.mark.parametrize("content", ["täxt", "täxt".encode()])
async def test_content(app, content):
    """Content is text or bytes."""
    async with connect(app) as connection:
        assert "täxt" == (await connection.client.post("/show", content=content)).json()["body"]


async def test_streamed_upload(app):
    """Each item of an iterable is a message of its own, and is made when the application has taken the one before."""
    made = []

    async def pieces():
        for piece in (b"one", b"", b"two"):
            made.append((piece, list(getattr(app.state, "pieces", []))))
            yield piece

    async with connect(app) as connection:
        await connection.client.post("/upload", content=pieces())
        assert [b"one", b"", b"two", b""] == [*app.state.pieces[:1], b"", *app.state.pieces[1:]]
        # Starlette leaves empty pieces out but for the last.
        assert [(b"one", []), (b"", [b"one"]), (b"two", [b"one"])] == made
        await connection.client.post("/upload", content=iterate(b"three"))
    assert [b"three", b""] == app.state.pieces


async def test_chunked_header(app):
    """A body of unknown length says so."""
    async with connect(app) as connection:
        seen = (await connection.client.post("/show", content=iterate(b"x"))).json()["headers"]
    assert ("chunked", False) == (seen["transfer-encoding"], "content-length" in seen)


async def test_failing_upload(app):
    """The exception of a request body is raised in the test, and the application receives a disconnect."""

    async def pieces():
        yield b"one"
        raise ConnectionResetError("the client's disk is broken")

    async with connect(app) as connection:
        with pytest.raises(ConnectionResetError):
            await connection.client.post("/upload", content=pieces())
        await connection.wait_idle()


async def test_upload_from_any_iterable(app):
    """A body may come from whatever can be iterated over asynchronously."""

    class Pieces:
        def __init__(self):
            self.left = [b"one", b"two"]

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    async with connect(app) as connection:
        assert "onetwo" == (await connection.client.post("/show", content=Pieces())).json()["body"]


async def test_unread_upload():
    """An application may answer without having read the body."""
    closed = []

    async def pieces():
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async with connect(sending(START, END)) as connection:
        assert 200 == (await connection.client.post("/", content=pieces())).status_code
        await anyio.wait_all_tasks_blocked()
    assert [True] == closed


async def test_base_url(app):
    """The base URL decides scheme, host and port."""
    async with connect(app, base_url="https://example.org:8443") as connection:
        assert "https://example.org:8443/show" == (await connection.client.get("/show")).json()["url"]
    async with connect(app, base_url="https://example.org") as connection:
        assert "https://example.org/show" == (await connection.client.get("/show")).json()["url"]


async def test_scope(app):
    """Keys of the scope can be other than usual, and the state is the server's, a copy for each request."""
    state = {"one": 1}
    async with connect(app, state=state) as connection:
        changed = {"asgi_scope": {"client": ("10.1.2.3", 9)}}
        seen = (await connection.client.get("/show", extensions=changed)).json()
        again = (await connection.client.get("/show")).json()
    assert ("10.1.2.3", "127.0.0.1", ["one"]) == (seen["client"], again["client"], again["state"])


async def test_cookies(app):
    """Cookies are kept and sent; one that is deleted is forgotten."""
    async with connect(app) as connection:
        connection.client.cookies.set("old", "x", domain="testserver.local")
        response = await connection.client.get("/cookies")
        seen = (await connection.client.get("/show")).json()
        kept = dict(connection.client.cookies)
    assert ({"session": "abc"}, {"session": "abc"}) == (kept, seen["cookies"])
    assert {"session": "abc"} == dict(response.cookies)


async def test_redirects_are_not_followed(app):
    """A test receives the redirect itself, unless it asks for more."""
    async with connect(app) as connection:
        response = await connection.client.get("/sub/show/")
        followed = await connection.client.get("/sub/show/", follow_redirects=True)
    assert (307, "http://testserver/sub/show") == (response.status_code, response.headers["location"])
    assert (200, [307]) == (followed.status_code, [each.status_code for each in followed.history])


@pytest.mark.parametrize("url", ["ws://testserver/show", "ftp://testserver/show"])
async def test_other_urls(app, url):
    """A URL of another scheme than http and https is refused."""
    async with connect(app) as connection:
        with pytest.raises(httpx2.UnsupportedProtocol, match="expected a URL like 'http://testserver/items', got '"):
            await connection.client.get(url)


async def test_wrong_base_url(app):
    """A base URL without a scheme is refused by the first request."""
    async with connect(app, base_url="example.org") as connection:
        with pytest.raises(httpx2.UnsupportedProtocol, match=r"got 'example.org/show'; .* base_url completes a path"):
            await connection.client.get("/show")


async def test_context_variables():
    """A request shares no context variables with the test, nor with other requests."""
    app = host()
    VARIABLE.set("unset")
    async with connect(app) as connection:
        VARIABLE.set("set by the test")
        assert ["unset", "unset"] == [(await connection.client.get("/variable")).text for _ in range(2)]
        assert "set by the test" == VARIABLE.get()


async def test_background_tasks(app):
    """A request is over when its background tasks are."""
    async with connect(app) as connection:
        await connection.client.get("/background")
        assert app.state.done


async def test_error(app):
    """The exception of the application is raised in the test, as the same object."""
    async with connect(app) as connection:
        with pytest.raises(LookupError, match="boom"):
            await connection.client.get("/boom")
        assert 200 == (await connection.client.get("/show")).status_code


async def test_error_as_a_client_sees_it(app):
    """Without raising, the test gets the response that a client would get."""
    async with connect(app, raise_app_exceptions=False) as connection:
        response = await connection.client.get("/boom")
    assert (500, "Internal Server Error") == (response.status_code, response.text)


async def test_error_before_the_response():
    """Without raising, an application that raises before it answers is answered for as servers do."""

    async def app(scope, receive, send):
        raise LookupError

    async with connect(app, raise_app_exceptions=False) as connection:
        response = await connection.client.get("/")
        async with connection.client.stream("GET", "/") as streamed:
            assert (500, b"Internal Server Error") == (streamed.status_code, await streamed.aread())
    assert (500, "Internal Server Error", "close") == (
        response.status_code,
        response.text,
        response.headers["connection"],
    )


async def test_broken_response(app):
    """A response that breaks off raises the exception of the application."""
    async with connect(app) as connection:
        with pytest.raises((LookupError, ExceptionGroup)):
            await connection.client.get("/broken")


async def test_broken_response_as_a_client_sees_it(app):
    """Without raising, a response that breaks off is an error of the protocol, after the chunks that had come."""
    broken_off = r"GET /broken: the response broke off after 4 bytes$"
    async with connect(app, raise_app_exceptions=False) as connection:
        with pytest.raises(httpx2.RemoteProtocolError, match=broken_off):
            await connection.client.get("/broken")
        async with connection.client.stream("GET", "/broken") as response:
            assert (200, b"some") == (response.status_code, await read_chunk(response))
            with pytest.raises(httpx2.RemoteProtocolError, match=broken_off):
                await read_chunk(response)


async def test_error_after_the_response():
    """An exception of the application after the response is raised in the test, too."""

    async def app(scope, receive, send):
        await sending(START, END)(scope, receive, send)
        raise OSError("a background task failed")

    async with connect(app) as connection:
        with pytest.raises(OSError, match="a background task failed"):
            await connection.client.get("/")


async def test_stream(app):
    """A response comes chunk by chunk, and the client disconnects at the end of the block."""
    async with connect(app) as connection:
        async with connection.client.stream("GET", "/stream") as response:
            chunks = [await read_chunk(response), await read_chunk(response)]
            assert (200, [b"0;", b"1;"]) == (response.status_code, chunks)
            assert not response.is_closed
        assert "end" == app.state.seen[-1]
        assert len(app.state.seen) < 1000


async def test_stream_to_its_end(app):
    """A stream can be read to its end."""
    async with connect(app) as connection:
        async with connection.client.stream("POST", "/show", content="x" * 9) as response:
            chunks = [chunk async for chunk in response.aiter_bytes()]
            assert (1, True, b"") == (len(chunks), response.is_closed, await read_chunk(response))


async def test_chunk_of_another_client():
    """Only responses of the kit's client have chunks to read."""
    with pytest.raises(TypeError, match=r"response: expected a response of the test kit's client, got <Response \[200"):
        await read_chunk(httpx2.Response(200))


async def test_disconnect(app):
    """The client can disconnect while the test goes on."""
    async with connect(app) as connection:
        async with connection.client.stream("GET", "/stream") as response:
            await response.aclose()
            assert "end" == app.state.seen[-1]
            with pytest.raises(httpx2.StreamClosed):
                await response.aread()


async def test_response_without_end():
    """A request that isn't streamed is bounded as a whole, also where its response never stops."""

    async def app(scope, receive, send):
        await send(START)
        while True:
            await send({**END, "body": b"x", "more_body": True})
            await anyio.sleep(0.001)

    async with connect(app, timeout=0.1) as connection:
        with pytest.raises(httpx2.ReadTimeout, match=r"(?s)GET /: its response didn't end \(\d+ bytes .* within 0.1 s"):
            await connection.client.get("/")


async def test_error_in_the_block(app):
    """An error of the test in the block is raised as the same object, with a note about the application's exception."""

    async def failing(scope, receive, send):
        await send(START)
        raise LookupError("boom")

    async with connect(failing) as connection:
        with pytest.raises(AssertionError) as caught:
            async with connection.client.stream("GET", "/"):
                await connection.wait_idle()
                raise AssertionError
    assert ["GET /: the application raised LookupError: boom"] == caught.value.__notes__


async def fail_after_the_disconnect(scope, receive, send):
    await receive()
    await send(START)
    while (await receive())["type"] != "http.disconnect":
        pass
    raise LookupError("boom")


async def test_stream_in_an_exception_handler():
    """An exception that the test handles already hides none of the application's."""
    async with connect(fail_after_the_disconnect) as connection:
        try:
            raise KeyError
        except KeyError:
            with pytest.raises(LookupError, match="boom"):
                async with connection.client.stream("GET", "/"):
                    pass


async def test_application_that_fails_behind_the_test():
    """An exception of the application after a failure of the test is a note on the failure."""
    with pytest.raises(AssertionError, match="mine") as caught:
        async with connect(fail_after_the_disconnect) as connection:
            try:
                async with connection.client.stream("GET", "/"):
                    raise AssertionError("mine")
            finally:
                await connection.wait_idle()
    assert ["GET /: the application raised LookupError: boom"] == caught.value.__notes__


async def test_sending_ahead():
    """An application can send ahead of its client only so far."""
    sent = []

    async def app(scope, receive, send):
        await send(START)
        for number in range(100):
            await send({**END, "body": b"x" * 10_000, "more_body": True})
            sent.append(number)
        await send(END)

    async with connect(app) as connection, connection.client.stream("GET", "/") as response:
        await anyio.wait_all_tasks_blocked()
        assert 6 == len(sent)
        assert 1_000_000 == len(await response.aread())


async def test_sending_to_nobody():
    """Sending to a client that has gone does nothing, or raises for those who know of that."""
    raised = []

    async def app(scope, receive, send):
        await send(START)
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            await send({**END, "body": b"x" * 100_000, "more_body": True})
        except OSError as error:
            raised.append(type(error))
            raise

    async with connect(app) as connection:
        async with connection.client.stream("GET", "/"):
            pass
        assert [] == raised
        known = {"asgi_scope": {"asgi": {"version": "3.0", "spec_version": "2.4"}}}
        async with connection.client.stream("GET", "/", extensions=known):
            pass
        assert [ClientGoneError] == raised


async def test_error_after_the_client_has_gone():
    """An exception of the application after the disconnect is raised in the test."""

    async def app(scope, receive, send):
        await send(START)
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ValueError("the clean-up is broken")

    async with connect(app) as connection:
        with pytest.raises(ValueError, match="the clean-up is broken"):
            async with connection.client.stream("GET", "/"):
                pass


async def test_error_that_tells_of_the_client():
    """That the client has gone is no news, also in a group."""

    async def app(scope, receive, send):
        await send(START)
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ExceptionGroup("gone", [ClientGoneError(), ConnectionResetError()])

    async with connect(app) as connection, connection.client.stream("GET", "/"):
        pass


async def test_timeout(app):
    """A test never hangs: the error of the timeout names the missing step and the application's line."""
    async with connect(app, timeout=0.05) as connection:
        with pytest.raises(httpx2.ReadTimeout, match=r"(?s)GET /hang: no response; .*in hang\n.*within 0.05 s"):
            await connection.client.get("/hang")

    async def endless(scope, receive, send):
        await send(START)
        await send({**END, "body": b"12345", "more_body": True})
        await anyio.sleep_forever()

    async with connect(endless, timeout=0.05) as connection:
        with pytest.raises(httpx2.ReadTimeout, match=r"GET /: its response didn't end \(5 bytes have come; stream\(\)"):
            await connection.client.get("/")


async def test_timeout_of_background_work():
    """A background task that doesn't end is named as such."""

    async def app(scope, receive, send):
        await sending(START, END)(scope, receive, send)
        await anyio.sleep_forever()

    async with connect(app) as connection:
        with pytest.raises(httpx2.ReadTimeout, match="GET /: the response came, but the application went on"):
            await connection.client.get("/", timeout=0.05)


async def test_timeout_of_a_stream(app):
    """Each step of a stream has the timeout, and so has the application's end."""
    async with connect(app) as connection:
        with pytest.raises(httpx2.ReadTimeout, match="GET /hang: no response"):
            async with connection.client.stream("GET", "/hang", timeout=0.05):
                raise NotImplementedError

        async def stubborn(scope, receive, send):
            await send(START)
            await anyio.sleep_forever()

    async with connect(stubborn) as connection:
        with pytest.raises(httpx2.ReadTimeout, match="GET /: the application did not end"):
            async with connection.client.stream("GET", "/", timeout=0.05):
                pass


async def test_cancelled_request(app):
    """Cancelling the wait is the client's going away; the application goes on as on a server."""
    heard = []

    async def app(scope, receive, send):
        await receive()
        heard.append((await receive())["type"])
        await anyio.sleep(0.02)
        heard.append("went on")

    async with connect(app) as connection:
        with anyio.move_on_after(0.02):
            await connection.client.get("/")
        await connection.wait_idle()
    assert ["http.disconnect", "went on"] == heard


async def test_wait_idle_names_what_is_served(app):
    """`wait_idle` names the calls that don't end."""
    async with connect(app, timeout=0.05) as connection:
        with pytest.raises(httpx2.ReadTimeout, match="no response"):
            await connection.client.get("/hang")
        with pytest.raises(TimeoutError, match=r"GET /hang did not end within 0.05 s"):
            await connection.wait_idle()


async def test_the_end_cancels_what_is_served():
    """The end of the block cancels the requests that are still served."""
    ended = []

    async def app(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with connect(app) as connection:
        with anyio.move_on_after(0.01):
            await connection.client.get("/")
    assert [True] == ended
    with pytest.raises(RuntimeError, match="the client has been closed"):
        await connection.client.get("/")
    with pytest.raises(RuntimeError, match="the client is closed: the application that it was connected to"):
        async with connection.websocket("/"):
            raise NotImplementedError


async def test_errors_that_nobody_waited_for():
    """Exceptions of abandoned requests are raised at the end of the block."""

    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ValueError(scope["path"])

    async def leave(connection, path):
        with anyio.move_on_after(0.01):
            await connection.client.get(path)
        await connection.wait_idle()

    with pytest.raises(ValueError, match="/one") as one:
        async with connect(app) as connection:
            await leave(connection, "/one")
    assert ["while serving GET /one, for which no test waited any more"] == one.value.__notes__
    with pytest.raises(ExceptionGroup) as both:
        async with connect(app) as connection:
            await leave(connection, "/one")
            await leave(connection, "/two")
    assert ["/one", "/two"] == [str(error) for error in both.value.exceptions]
    async with connect(app, raise_app_exceptions=False) as connection:
        await leave(connection, "/one")


async def test_body_error_comes_out_alone(app):
    """An error of the test comes out as itself, not in a group."""
    with pytest.raises(AssertionError, match="mine"):
        async with connect(app):
            raise AssertionError("mine")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "returned without a response"),
        ([START], "returned without the end of its response"),
        ([END], "sent 'http.response.body', expected 'http.response.start'"),
        ([START, START], "sent 'http.response.start', expected 'http.response.body'"),
        ([START, END, END], "after the response had ended"),
        ([{**START, "headers": [("a", "b")]}], "headers must be bytes"),
        (
            [{**START, "headers": [(b"content-length", b"1"), (b"Content-Length", b"2")]}],
            "more than one content-length",
        ),
        ([{**START, "headers": [(b"content-length", b"1")]}, END], "has 0 bytes, but its content-length says 1"),
        ([{**START, "headers": [(b"content-length", b"1")]}, {**END, "body": b"xx"}], "has 2 bytes"),
        ([{**START, "status": 204}, {**END, "body": b"x"}], "a 204 has no body, got 1 bytes"),
        ([START, {"type": "http.response.push"}], "sent 'http.response.push'"),
        ([START, {"type": "http.response.trailers"}], "sent 'http.response.trailers'"),
    ],
)
async def test_violations(messages, said):
    """A violation of the specification is raised, in the application and in the test."""
    async with connect(sending(*messages)) as connection:
        with pytest.raises(ASGIViolationError, match=said):
            await connection.client.get("/")


async def test_head_needs_no_body():
    """A HEAD may announce a length and send nothing."""
    async with connect(sending({**START, "headers": [(b"content-length", b"9")]}, END)) as connection:
        assert "9" == (await connection.client.head("/")).headers["content-length"]


async def test_extensions():
    """Messages of extensions pass where the scope offers them."""
    trailers = {"type": "http.response.trailers", "headers": [(b"a", b"b")]}
    early = {"type": "http.response.early_hint", "links": []}
    path = {"type": "http.response.pathsend", "path": "/tmp/x"}
    offered = {"asgi_scope": {"extensions": {early["type"]: {}, path["type"]: {}, trailers["type"]: {}}}}
    async with connect(sending({**START, "trailers": True}, {**END, "body": b"x"}, trailers)) as connection:
        response = await connection.client.get("/", extensions=offered)
        assert (b"x", trailers) == (response.content, response.extensions["asgi_messages"][-1])
    async with connect(sending(START, early, path)) as connection:
        response = await connection.client.get("/", extensions=offered)
        assert [START, early, path] == response.extensions["asgi_messages"]


async def test_task_cancelled_from_within():
    """An application that cancels its own task breaks the response off."""

    async def app(scope, receive, send):
        raise anyio.get_cancelled_exc_class()

    if anyio.get_cancelled_exc_class().__module__.startswith("trio"):
        pytest.skip("trio lets nobody cancel a task but by its scopes")
    async with connect(app) as connection:
        with pytest.raises(httpx2.RemoteProtocolError, match="GET /: the call was cancelled"):
            await connection.client.get("/")


async def test_the_client_is_httpx2s(app):
    """The client is an `httpx2.AsyncClient`, which the connection closes."""
    async with connect(app) as connection:
        client = connection.client
        assert (True, True) == (isinstance(client, httpx2.AsyncClient), client is connection.client)
        assert not client.is_closed
    assert client.is_closed


def test_without_httpx2():
    """Only the client needs httpx2: everything else can be imported and used, and the client names the extra."""
    code = """if True:
        import sys
        sys.modules["httpx2"] = None
        import anyio
        from bandmaster.kernel import testing
        for name in testing.__all__:
            getattr(testing, name)

        async def main():
            async with testing.run() as running:
                print("seen:", running.events.kinds)
                try:
                    running.client
                except ModuleNotFoundError as error:
                    print("seen:", error)

        anyio.run(main)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ("", 0) == (done.stderr, done.returncode)
    assert [
        "['KernelStarting', 'Ready']",
        "the test kit's client needs httpx2, which isn't installed. Install it: pip install 'bandmaster[testing]'",
    ] == [line.removeprefix("seen: ") for line in done.stdout.splitlines() if line.startswith("seen: ")]
