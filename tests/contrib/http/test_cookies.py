"""Cookies, which a shared client doesn't keep."""

import httpx2
import pytest
from tests.contrib.http.services import reply, serving

pytestmark = pytest.mark.anyio


async def answer(seen, stream):
    return reply(
        302 if seen.target == "/first" else 200, headers={"set-cookie": "session=1; Path=/", "location": "/next"}
    )


@pytest.mark.requirement("CA-64")
async def test_no_cookie_of_an_answer_goes_out_with_another_call(client) -> None:
    """Two calls in a row send none, nor does the call that follows a redirect; the answer still has the cookie."""
    async with serving(answer) as service, client() as http:
        for path in ("/", "/", "/first"):
            response = await http.get(f"{service.url}{path}", follow_redirects=True)
            assert "1" == response.cookies["session"]
        assert 4 == len(service.requests)
        assert [None] * 4 == [seen.headers.get("cookie") for seen in service.requests]
        assert 0 == len(http.cookies)


@pytest.mark.requirement("CA-64")
async def test_a_cookie_of_one_call_is_sent_once(client) -> None:
    """The caller sends it as a header."""
    async with serving(answer) as service, client() as http:
        await http.get(service.url, headers={"cookie": "mine=1"})
        await http.get(service.url)
        assert ["mine=1", None] == [seen.headers.get("cookie") for seen in service.requests]


async def test_cookies_of_the_client_are_refused(client) -> None:
    """A cookie for the shared client is refused, since the client would never send it."""
    async with client() as http:
        with pytest.raises(ValueError, match="send one with its call"):
            http.cookies.set("session", "1")
        with pytest.raises(ValueError, match="send one with its call"):
            http.cookies = {"session": "1"}
        assert isinstance(http.cookies, httpx2.Cookies)


async def test_redirects_are_followed_when_asked(client) -> None:
    """By default the caller gets the redirect itself."""
    async with serving(answer) as service, client() as http:
        assert 302 == (await http.get(f"{service.url}/first")).status_code
        assert 1 == len(service.requests)
        assert 200 == (await http.get(f"{service.url}/first", follow_redirects=True)).status_code
