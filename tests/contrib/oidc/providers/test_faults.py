"""Providers spoil their answers as a test tells them."""

from __future__ import annotations

import anyio
import httpx2
import pytest
from tests.contrib.oidc.providers.certified import OidcProvider
from tests.contrib.oidc.providers.provider import path_of

pytestmark = pytest.mark.anyio
API = "https://api.example"


async def _get(provider: OidcProvider, path: str = "/jwks", **options: float) -> httpx2.Response:
    async with provider.process.open_client() as client:
        return await client.get(f"{provider.issuer}{path}", **options)


async def test_an_answer_is_replaced_a_number_of_times(oidc_provider: OidcProvider) -> None:
    """The first requests get the fault, the next ones the provider's own answer."""
    oidc_provider.add_fault(oidc_provider.jwks_path, times=2, status=503, body="away", headers={"retry-after": "7"})
    answers = [await _get(oidc_provider) for _ in range(3)]
    assert [503, 503, 200] == [answer.status_code for answer in answers]
    assert ("away", "7") == (answers[0].text, answers[0].headers["retry-after"])


async def test_an_answer_is_changed(oidc_provider: OidcProvider) -> None:
    """A merge patch changes and removes members of the provider's own JSON."""
    oidc_provider.add_fault(
        path_of(oidc_provider.discovery_url), patch={"issuer": "https://evil.example", "jwks_uri": None}
    )
    document = await oidc_provider.discovery()
    assert "https://evil.example" == document["issuer"]
    assert "jwks_uri" not in document
    assert f"{oidc_provider.issuer}/token" == document["token_endpoint"]


async def test_the_body_of_a_token_answer_is_changed(oidc_provider: OidcProvider) -> None:
    """The patch works on streamed and on posted answers alike."""
    oidc_provider.add_fault(oidc_provider.token_path, patch={"access_token": "another"})
    assert "another" == await oidc_provider.mint(API)


async def test_requests_wait_until_they_are_released(oidc_provider: OidcProvider) -> None:
    """A test sees how many wait at once, without a clock."""
    statuses = []
    published = await oidc_provider.jwks()
    oidc_provider.add_fault(oidc_provider.jwks_path, hold=True)

    async def ask() -> None:
        answer = await _get(oidc_provider)
        statuses.append(answer.status_code)
        assert published == answer.json()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        with anyio.fail_after(30):
            while oidc_provider.waiting() < 3:
                await anyio.sleep(0.01)
        assert [] == statuses
        assert 3 == oidc_provider.release()
    assert [200] * 3 == statuses
    assert 200 == (await _get(oidc_provider)).status_code


async def test_a_connection_is_closed_without_an_answer(oidc_provider: OidcProvider) -> None:
    """The client sees a lost connection."""
    oidc_provider.add_fault(oidc_provider.jwks_path, times=1, disconnect=True)
    with pytest.raises(httpx2.RemoteProtocolError):
        await _get(oidc_provider)
    assert 200 == (await _get(oidc_provider)).status_code


async def test_an_answer_is_huge(oidc_provider: OidcProvider) -> None:
    """A body is repeated, for clients that limit the size."""
    oidc_provider.add_fault(oidc_provider.jwks_path, status=200, body="x" * 1000, repeat=2000)
    assert 2_000_000 == len((await _get(oidc_provider)).content)


async def test_an_answer_trickles(oidc_provider: OidcProvider) -> None:
    """Bytes come one by one, so that no single read takes long."""
    oidc_provider.add_fault(oidc_provider.jwks_path, status=200, body='{"keys": []}', trickle=0.01)
    async with (
        oidc_provider.process.open_client() as client,
        client.stream("GET", f"{oidc_provider.issuer}{oidc_provider.jwks_path}") as answer,
    ):
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert b'{"keys": []}' == b"".join(chunks)
    assert len(chunks) > 1


async def test_an_answer_is_delayed(oidc_provider: OidcProvider) -> None:
    """The delay is at least as long as the test says."""
    published = await oidc_provider.jwks()
    oidc_provider.add_fault(oidc_provider.jwks_path, delay=0.2)
    before = anyio.current_time()
    assert published == (await _get(oidc_provider)).json()
    assert 0.2 <= anyio.current_time() - before


async def test_the_end_of_all_faults_answers_who_waits(oidc_provider: OidcProvider) -> None:
    """No request hangs after the test that held requests."""
    oidc_provider.add_fault(oidc_provider.jwks_path, hold=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_get, oidc_provider)
        with anyio.fail_after(30):
            while not oidc_provider.waiting():
                await anyio.sleep(0.01)
        oidc_provider.clear_faults()
    assert 0 == oidc_provider.waiting()
