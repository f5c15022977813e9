"""Tokens as the authentication of an HTTP client."""

import anyio
import httpx2
import pytest
from tests.contrib.http.services import reply, serving
from tests.logged import capture_logs

from bandmaster.contrib.oidc.errors import AuthUnavailableError

pytestmark = pytest.mark.anyio


async def test_calls_carry_the_token(client, source, provider, service) -> None:
    """For single calls, or for all calls of a client."""
    async with source(provider.url) as credentials:
        assert 200 == (await client.get(service.url, auth=credentials)).status_code
        client.auth = credentials
        assert 200 == (await client.post(service.url, content=b"x")).status_code
        assert ["t1", "t1"] == service.tokens


@pytest.mark.requirement("CA-44")
async def test_a_refused_call_is_repeated_once_with_a_newer_token(client, source, provider, service) -> None:
    """With its body; the caller sees the second answer alone."""
    service.refused = {"t1"}
    with capture_logs("bandmaster.oidc") as logs:
        async with source(provider.url) as credentials:
            answer = await client.post(service.url, content=b"body", auth=credentials)
            assert (200, b"body") == (answer.status_code, answer.content)
            assert ["t1", "t2"] == service.tokens
            assert 200 == (await client.get(service.url, auth=credentials)).status_code
            assert ["t1", "t2", "t2"] == service.tokens
    assert [("an access token was refused", "billing", "127.0.0.1")] == [
        (log["event"], log["service"], log["host"]) for log in logs
    ]


@pytest.mark.requirement("CA-44")
async def test_a_service_that_refuses_everything_gets_two_calls(client, source, provider, service) -> None:
    """The caller sees the refusal; nothing loops."""
    service.refused = {"*"}
    async with source(provider.url, refetch_cooldown=60) as credentials:
        assert 401 == (await client.get(service.url, auth=credentials)).status_code
        assert ["t1", "t2"] == service.tokens
        for _ in range(5):
            assert 401 == (await client.get(service.url, auth=credentials)).status_code
        assert ["t1", "t2", *["t2"] * 5] == service.tokens
    assert 2 == len(provider.requests)


@pytest.mark.requirement("CA-44")
async def test_calls_that_are_refused_at_the_same_time_share_one_new_token(client, source, provider, service) -> None:
    """Fifty refusals of one token make one request for the next, also where they fill the pool of the client."""
    service.refused = {"t1"}
    statuses = []

    async def call():
        statuses.append((await client.get(service.url, auth=credentials)).status_code)

    async with source(provider.url) as credentials:
        await credentials.token()
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(call)
    assert [200] * 50 == statuses
    assert 2 == len(provider.requests)


async def test_the_same_token_again_is_not_sent_twice(client, source, provider, service) -> None:
    """Some providers issue the token that they have until it ends."""
    provider.answers = [(200, {"access_token": "same", "token_type": "bearer"})] * 2
    service.refused = {"same"}
    async with source(provider.url) as credentials:
        assert 401 == (await client.get(service.url, auth=credentials)).status_code
        assert ["same"] == service.tokens


async def test_a_stream_is_sent_once(client, source, provider, service) -> None:
    """The next call has the newer token."""
    service.refused = {"t1"}

    async def parts():
        yield b"part"

    async with source(provider.url) as credentials:
        options = {"content": parts(), "headers": {"content-length": "4"}, "auth": credentials}
        assert 401 == (await client.post(service.url, **options)).status_code
        assert 200 == (await client.get(service.url, auth=credentials)).status_code
        assert ["t1", "t2"] == service.tokens


async def test_a_redirect_to_another_host_goes_without_the_token(client, source, provider, service) -> None:
    """The other host's refusal says nothing about the token."""
    service.refused = {""}

    async def redirect(seen, stream):
        return reply(302, headers={"location": service.url.replace("127.0.0.1", "localhost")})

    async with serving(redirect) as first, source(provider.url) as credentials:
        answer = await client.get(first.url, auth=credentials, follow_redirects=True)
        assert 401 == answer.status_code
        assert [""] == service.tokens
        assert "t1" == (await credentials.token()).value
    assert 1 == len(provider.requests)


async def test_a_call_without_a_token_is_not_sent(client, source, provider, service) -> None:
    """The caller gets the error of the provider, transient or permanent."""
    provider.answers = [(503, b"")]
    async with source(provider.url) as credentials:
        with pytest.raises(AuthUnavailableError):
            await client.get(service.url, auth=credentials)
        assert [] == service.tokens


async def test_a_synchronous_client_is_refused(source) -> None:
    """Tokens are fetched asynchronously; the error says so."""

    def answer(request):
        return httpx2.Response(200)

    async with source("https://id.example/token") as credentials:
        with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
            with pytest.raises(TypeError, match=r"is for an httpx2\.AsyncClient"):
                client.get("https://api.example", auth=credentials)
