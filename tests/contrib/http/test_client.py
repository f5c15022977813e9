"""The client outside of an application."""

import logging

import anyio
import httpx2
import pytest
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.http import HttpRefusedError, HttpSettings, open_client
from bandmaster.contrib.http.proxies import make_proxy_rules

pytestmark = pytest.mark.anyio

PROXY = "http://user:hunter2@proxy:3128"


async def answer(seen, stream):
    return reply(body=b"served", headers={"content-type": "text/plain"})


async def test_it_is_the_client_of_httpx2(client) -> None:
    """Everything that httpx2's client offers works: methods, parameters, JSON, streams, hooks and authentication."""
    hooked = []

    async def hook(response):
        hooked.append(response.status_code)

    async with serving(answer) as service, client(base_url=f"{service.url}/v1") as http:
        assert isinstance(http, httpx2.AsyncClient)
        http.event_hooks = {"response": [hook]}
        assert "served" == (await http.get("/items", params={"page": 2}, auth=("user", "secret"))).text
        assert 200 == (await http.post("/items", json=[1])).status_code
        async with http.stream("GET", "/items") as response:
            assert ["served"] == [line async for line in response.aiter_lines()]
            assert "GET" == response.request.method
            assert response.elapsed is not None
        targets = [(seen.method, seen.target) for seen in service.requests]
        assert [("GET", "/v1/items?page=2"), ("POST", "/v1/items"), ("GET", "/v1/items")] == targets
        assert service.requests[0].headers["authorization"].startswith("Basic ")
        assert [200] * 3 == hooked


async def test_the_time_outs_are_those_of_the_settings(client) -> None:
    """Each phase has its own, and a call may have others."""
    async with client(connect_timeout=1, read_timeout=2, write_timeout=3, pool_timeout=4) as http:
        assert httpx2.Timeout(connect=1, read=2, write=3, pool=4) == http.timeout
        assert 9 == http.build_request("GET", "http://a", timeout=9).extensions["timeout"]["read"]


async def test_a_test_may_answer_in_place_of_services() -> None:
    """Repetitions are the real ones, and the transport isn't closed: it belongs to the test."""
    answers = [httpx2.Response(503), httpx2.Response(200)]

    class Answers(httpx2.AsyncBaseTransport):
        closed = False

        async def handle_async_request(self, request):
            return answers.pop(0)

        async def aclose(self):
            self.closed = True

    transport = Answers()
    async with open_client(HttpSettings(backoff_base=0.001), "test", transport=transport) as http:
        assert 200 == (await http.get("https://api.example")).status_code
        assert () == http.gauges()
    assert not transport.closed


async def test_a_client_without_readable_certificates_is_not_opened(tmp_path) -> None:
    """The error names the variable."""
    with pytest.raises(HttpRefusedError, match="HTTP_TLS_CA_FILE="):
        async with open_client(HttpSettings(tls_ca_file=tmp_path / "absent.pem"), "test"):
            pass


@pytest.mark.requirement("AU-17")
async def test_the_log_has_no_paths(client, caplog) -> None:
    """httpx2 logs each call with its whole address; webhooks and queries have keys in theirs."""
    caplog.set_level(logging.DEBUG)
    async with serving(answer) as service, client() as http:
        await http.get(f"http://user:hunter2@{service.host}/hooks/hunter2?key=hunter2")
        messages = [record.getMessage() for record in caplog.records if record.name == "httpx2"]
    assert [f'HTTP Request: GET {service.url} "HTTP/1.1 200 Scripted"'] == messages
    assert "hunter2" not in caplog.text
    assert [] == logging.getLogger("httpx2").filters


@pytest.mark.requirement("AU-17")
async def test_no_text_of_a_client_has_the_password_of_its_proxy(client) -> None:
    """A client shows up in tracebacks."""
    async with client("billing", proxy_url=PROXY) as http:
        parts = [http, http._connections, http._connections._pool, make_proxy_rules(HttpSettings(proxy_url=PROXY))]
        assert "hunter2" not in "".join(map(repr, parts))


async def test_events_of_a_service_have_no_deadline(client) -> None:
    """Event streams go on for longer than any call; an answer that is none is refused."""

    async def send_events(seen, stream):
        if seen.target == "/none":
            return reply(body=b"no events")
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for _ in range(5):
            await stream.send(b"data: tick\n\n")
            await anyio.sleep(0.05)
        return None

    async with serving(send_events) as service, client(deadline=0.1) as http:
        async with http.sse(service.url) as source:
            assert ["tick"] * 5 == [event.data async for event in source]
        async with http.sse(f"{service.url}/none", extensions={"deadline": 50}) as source:
            with pytest.raises(HttpRefusedError, match="text/event-stream") as raised:
                async for _ in source:
                    pass
        assert isinstance(raised.value, httpx2.SSEError)
