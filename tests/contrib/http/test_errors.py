"""Errors of calls."""

import copy
import pickle
import ssl
import traceback

import httpcore2
import httpx2
import pytest
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.http import HttpRefusedError, HttpUnavailableError, errors
from bandmaster.contrib.http.errors import ClientLabel, http_errors
from bandmaster.kernel import BandmasterError, PermanentError, TransientError

LABEL = ClientLabel("http", 20, "HTTP_MAX_CONNECTIONS", "HTTP_DEADLINE")
REQUEST = httpx2.Request("GET", "https://user:hunter2@api.example:8443/hooks/hunter2?key=hunter2")
SECRET = "hunter2"
KINDS = [kind for kind in vars(httpx2).values() if isinstance(kind, type) and issubclass(kind, httpx2.HTTPError)]
TRANSIENT = {
    *("TimeoutException", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"),
    *("NetworkError", "ConnectError", "ReadError", "WriteError", "CloseError"),
    *("ProtocolError", "RemoteProtocolError", "ProxyError", "HTTPError", "RequestError", "TransportError"),
}


def translate(error, request=REQUEST):
    with pytest.raises(BandmasterError) as raised, http_errors(request, LABEL):
        raise error
    return raised.value


def make(kind):
    options = {"request": REQUEST, "response": httpx2.Response(500)} if kind is httpx2.HTTPStatusError else {}
    return kind("went wrong", **options)


@pytest.mark.requirement("XC-E1", "XC-E3", "P-19", "CF-32")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_of_httpx2_is_transient_or_permanent(kind) -> None:
    """The translation is httpx2's own class as well, has the original as its cause, and can be copied."""
    request = httpx2.Request("GET", "https://api.example", extensions={"timeout": dict.fromkeys(["pool"], 5)})
    original = make(kind)
    error = translate(original, request)
    assert isinstance(error, kind)
    assert (kind.__name__ in TRANSIENT, kind.__name__ not in TRANSIENT) == (
        isinstance(error, TransientError),
        isinstance(error, PermanentError),
    )
    assert isinstance(error, HttpUnavailableError | HttpRefusedError)
    assert (None if kind is httpx2.LocalProtocolError else original) is error.__cause__
    assert "GET https://api.example by the HTTP client 'http'" in str(error)
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(error), error.args) == (type(again), again.args)


@pytest.mark.requirement("AU-17")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_error_repeats_the_secrets_of_a_url(kind) -> None:
    """Users, paths and queries of a URL may be secrets; the method, the host and the port are enough."""
    request = httpx2.Request(REQUEST.method, REQUEST.url, extensions={"timeout": {"pool": 5}})
    error = translate(make(kind), request)
    assert "hunter2" not in str(error) + repr(error)
    assert "GET https://api.example:8443 " in str(error)


@pytest.mark.anyio
@pytest.mark.requirement("AU-17")
async def test_a_malformed_header_is_not_repeated(client) -> None:
    """h11 shows the value of a header that has a line end, which may be a token."""

    async def answer(seen, stream):
        return reply()

    async with serving(answer) as service, client() as http:
        with pytest.raises(HttpRefusedError, match="isn't valid HTTP") as raised:
            await http.get(service.url, headers={"authorization": f"Bearer {SECRET}\n"})
    assert isinstance(raised.value, httpx2.LocalProtocolError)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("reason", "permanent"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), True),
        (ssl.SSLError(1, "wrong version number"), True),
        (ssl.SSLEOFError(8, "EOF occurred"), False),
        (ConnectionRefusedError(111, "refused"), False),
        (OSError("All connection attempts failed"), False),
    ],
)
def test_tls_errors_are_permanent(reason, permanent) -> None:
    """A certificate that isn't trusted stays so; a handshake that is cut doesn't."""
    core = httpcore2.ConnectError(reason)
    error = httpx2.ConnectError(str(reason))
    error.__cause__ = core
    assert permanent is isinstance(translate(error), PermanentError)


@pytest.mark.parametrize(("code", "told"), [(18, True), (20, True), (62, False), (10, False), (None, False)])
def test_the_variable_of_the_authorities(code, told) -> None:
    """Named where the authority isn't trusted, and not where the certificate is another host's, or has expired."""
    reason = ssl.SSLCertVerificationError(1, "certificate verify failed")
    if code is not None:
        reason.verify_code = code
    error = httpx2.ConnectError(str(reason))
    error.__cause__ = httpcore2.ConnectError(reason)
    assert told is ("HTTP_TLS_CA_FILE names the authorities to trust" in str(translate(error)))


@pytest.mark.parametrize(
    ("text", "permanent"), [("407 Proxy Authentication Required", True), ("403 Forbidden", True), ("502 Bad", False)]
)
def test_a_proxy_refuses_by_its_status(text, permanent) -> None:
    """A proxy that can't reach the service may do so later."""
    assert permanent is isinstance(translate(httpx2.ProxyError(text)), PermanentError)


@pytest.mark.parametrize(
    ("kind", "phase", "expected"),
    [
        (httpx2.ConnectTimeout, "connect", "no connection within 5 s"),
        (httpx2.ReadTimeout, "read", "no bytes of the answer within 5 s"),
        (httpx2.WriteTimeout, "write", "the request couldn't be sent within 5 s"),
    ],
)
def test_a_time_out_names_the_phase(kind, phase, expected) -> None:
    """The seconds are those of the request."""
    request = httpx2.Request("GET", "https://api.example", extensions={"timeout": {phase: 5}})
    assert str(translate(kind(""), request)).endswith(expected)
    assert str(translate(kind(""), REQUEST)).endswith("timed out")


@pytest.mark.anyio
@pytest.mark.parametrize("status", [302, 400, 401, 404, 408, 425, 429, 500, 501, 502, 503, 504, 505])
async def test_a_status_is_transient_or_permanent(client, status) -> None:
    """Services that are overloaded or broken may recover; a refusal stays."""

    def answer(request):
        return httpx2.Response(status, headers={"retry-after": "7"})

    async with client(retries=0, transport=httpx2.MockTransport(answer)) as http:
        response = await http.get("https://api.example/hooks/hunter2?key=hunter2")
        with pytest.raises(httpx2.HTTPStatusError) as raised:
            response.raise_for_status()
    error = raised.value
    is_transient = status in (408, 425, 429, 500, 502, 503, 504)
    assert (is_transient, not is_transient) == (isinstance(error, TransientError), isinstance(error, PermanentError))
    assert (7 if is_transient else None) == getattr(error, "retry_after", None)
    assert str(error).startswith(f"GET https://api.example was answered with {status} ")
    assert (status, "api.example") == (error.response.status_code, error.request.url.host)
    assert error.__cause__ is None
    assert type(error) is type(pickle.loads(pickle.dumps(error)))


@pytest.mark.anyio
async def test_a_success_is_no_error(client) -> None:
    """The method returns the response, as httpx2's does."""
    async with client(transport=httpx2.MockTransport(lambda request: httpx2.Response(204))) as http:
        response = await http.get("https://api.example")
        assert response is response.raise_for_status()


@pytest.mark.anyio
@pytest.mark.requirement("AU-17")
@pytest.mark.parametrize(
    "url", ["http://user:hun/ter2@api.example", "http://api.example:hunter2/", "http://a\nhunter2"]
)
async def test_a_malformed_url_is_permanent_and_not_repeated(client, url) -> None:
    """The rest of the text may be a password."""
    async with client() as http:
        with pytest.raises(HttpRefusedError, match="the URL of a call can't be read") as raised:
            await http.get(url)
    assert isinstance(raised.value, httpx2.InvalidURL)
    assert "hun" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.anyio
async def test_a_body_in_a_broken_encoding_is_permanent(client) -> None:
    """Bytes that aren't gzip are the service's fault, and stay so."""

    async def answer(seen, stream):
        return reply(body=b"not gzip", headers={"content-encoding": "gzip"})

    async with serving(answer) as service, client() as http:
        with pytest.raises(HttpRefusedError) as raised:
            await http.get(service.url)
        assert isinstance(raised.value, httpx2.DecodingError)
        async with http.stream("GET", service.url) as response:
            with pytest.raises(HttpRefusedError):
                async for _ in response.aiter_text():
                    pass


def test_the_classes_are_public_by_name() -> None:
    """pickle finds the class of an error in its module."""
    assert errors.UnavailableConnectError.__module__ == "bandmaster.contrib.http.errors"
    assert issubclass(errors.UnavailableConnectError, httpx2.ConnectError)
