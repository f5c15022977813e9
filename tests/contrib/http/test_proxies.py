"""Proxies, from the environment and from the settings."""

from base64 import b64encode

import httpx2
import pytest
from tests.contrib.http.services import proxying, reply, serving

from bandmaster.contrib.http import HttpRefusedError, HttpSettings, HttpUnavailableError
from bandmaster.contrib.http.proxies import make_proxy_rules
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio

ADDRESSES = [
    f"{scheme}://{host}{port}/"
    for scheme in ("http", "https")
    for host in (
        "example.com",
        "www.example.com",
        "badexample.com",
        "example.org",
        "localhost",
        "a.localhost",
        "127.0.0.1",
        "10.1.2.3",
        "11.1.2.3",
        "[::1]",
        "[fd00::1]",
    )
    for port in ("", ":8080")
]


@pytest.mark.parametrize(
    "exempt",
    [
        "",
        "example.com",
        ".example.com",
        "*.example.com",
        "EXAMPLE.com",
        "localhost",
        "127.0.0.1",
        "10.0.0.0/8",
        "::1",
        "[::1]",
        "fd00::/8",
        "example.com:8080",
        "127.0.0.1:8080",
        "https://example.com",
        "all://10.1.2.3",
        "example.com, 10.0.0.0/8 ,,::1",
        "*",
        "example.com,*",
        "ex ample.com",
        "example.com/path",
        "10.0.0.0/99",
    ],
)
def test_exempt_hosts_are_those_of_httpx2(exempt, monkeypatch) -> None:
    """NO_PROXY means for this client what it means for httpx2's own."""
    proxies = {"http_proxy": "http://one:1", "https_proxy": "http://two:2"}
    for name, value in {**proxies, "no_proxy": exempt}.items():
        monkeypatch.setenv(name, value)
    theirs = httpx2.AsyncClient()
    rules = make_proxy_rules(HttpSettings())
    for address in ADDRESSES:
        url = httpx2.URL(address)
        transport = theirs._transport_for_url(url)
        expected = None
        if transport is not theirs._transport:
            proxy = transport._pool._proxy_url
            expected = f"http://{proxy.host.decode()}:{proxy.port}"
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        assert expected == rules.choose(url.scheme, url.host, port), address


@pytest.mark.parametrize(
    ("options", "plain", "encrypted"),
    [
        ({}, None, None),
        ({"http_proxy": "http://a:1"}, "http://a:1", None),
        ({"https_proxy": "http://a:1"}, None, "http://a:1"),
        ({"all_proxy": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"all_proxy": "http://a:1", "http_proxy": "http://b:1"}, "http://b:1", "http://a:1"),
        ({"proxy_url": "http://c:1", "http_proxy": "http://b:1", "no_proxy": "*"}, "http://c:1", "http://c:1"),
        ({"environment_proxies": False, "all_proxy": "http://a:1"}, None, None),
    ],
)
def test_the_settings_have_precedence(options, plain, encrypted) -> None:
    """A client's own proxy is for all calls, and the environment can be left out."""
    rules = make_proxy_rules(HttpSettings(**options))
    assert (plain, encrypted) == (rules.choose("http", "x", 80), rules.choose("https", "x", 443))


def failing_once(status=503):
    """An answer that succeeds at the second attempt."""
    attempts = []

    async def answer(seen, stream):
        attempts.append(seen)
        return reply(status) if len(attempts) == 1 else reply(body=b"served")

    return answer


@pytest.mark.requirement("CA-61")
@pytest.mark.parametrize("place", ["environment", "settings", "none"])
@pytest.mark.parametrize("secure", [False, True])
async def test_repetitions_and_headers_hold_with_and_without_a_proxy(
    client, authority, monkeypatch, place, secure
) -> None:
    """A call that fails once succeeds by the proxy, and its headers are forwarded there as well."""
    from bandmaster.contrib.web import request_context

    async with serving(failing_once(), authority.context if secure else None) as service, proxying() as proxy:
        options = {"forward_hosts": "127.0.0.1", "tls_ca_file": authority.file}
        if place == "environment":
            monkeypatch.setenv("HTTPS_PROXY" if secure else "HTTP_PROXY", proxy.url)
        elif place == "settings":
            options["proxy_url"] = proxy.url
        async with client(max_connections=1, **options) as http:
            with request_context("request-1"):
                answer = await http.get(f"{service.url}/path?q=1")
            assert (200, b"served") == (answer.status_code, answer.content)
            assert ["request-1", "request-1"] == [seen.headers.get("x-request-id") for seen in service.requests]
            assert ["/path?q=1"] * 2 == [seen.target for seen in service.requests]
            assert 1 == http.gauges()[0].open
        expected = [] if place == "none" else ["CONNECT"] if secure else ["GET", "GET"]
        assert expected == [seen.method for seen in proxy.requests][: len(expected) or None]


async def test_one_pool_serves_direct_calls_and_those_by_a_proxy(client) -> None:
    """The number of connections is that of the setting, however many proxies there are."""

    async def answer(seen, stream):
        return reply(body=b"served")

    async with serving(answer) as near, serving(answer) as far, proxying() as proxy:
        exempt = f"127.0.0.1:{near.port}"
        async with client(http_proxy=proxy.url, no_proxy=exempt, max_connections=1) as http:
            for _ in range(3):
                assert b"served" == (await http.get(near.url)).content
                assert b"served" == (await http.get(far.url)).content
                assert 1 == http.gauges()[0].open
        assert [f"{far.url}/"] * 3 == [seen.target for seen in proxy.requests]


async def test_a_proxy_gets_the_user_and_the_service_does_not(client) -> None:
    """Credentials of the URL are decoded, and sent to the proxy alone."""

    async def answer(seen, stream):
        return reply()

    user = f"Basic {b64encode(b'user:p@ss').decode()}"
    async with serving(answer) as service, proxying(user) as proxy:
        async with client(proxy_url=f"http://user:p%40ss@127.0.0.1:{proxy.port}") as http:
            assert 200 == (await http.get(service.url)).status_code


async def test_a_proxy_that_refuses_is_a_permanent_error(client, authority) -> None:
    """A missing password isn't tried again; the error names no secret."""

    async def answer(seen, stream):
        return reply()

    async with serving(answer, authority.context) as service, proxying("Basic x") as proxy:
        async with client(proxy_url=f"http://user:hunter2@127.0.0.1:{proxy.port}") as http:
            with pytest.raises(HttpRefusedError, match="407") as raised:
                await http.get(service.url)
        assert isinstance(raised.value, httpx2.ProxyError)
        assert "hunter2" not in str(raised.value)
        assert 1 == len(proxy.requests)


async def test_a_proxy_that_is_away_is_a_transient_error(client) -> None:
    """The call fails, and isn't sent directly instead."""

    async def answer(seen, stream):
        return reply()

    async with serving(answer) as service:
        async with client(proxy_url=f"http://127.0.0.1:{free_port()}") as http:
            with pytest.raises(HttpUnavailableError):
                await http.get(service.url)
        assert 0 == service.connections
