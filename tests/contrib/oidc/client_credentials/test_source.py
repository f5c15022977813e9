"""One token for all calls, renewed once for all of them."""

import anyio
import pytest
from tests.logged import capture_logs

from bandmaster.contrib.oidc import TokenRefusedError
from bandmaster.contrib.oidc.client_credentials.token_endpoint import IssuedToken
from bandmaster.contrib.oidc.errors import AuthUnavailableError

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def patience():
    """No test hangs."""
    with anyio.fail_after(60):
        yield


async def wait_for(condition):
    while not condition():
        await anyio.sleep(0.005)


async def ask(credentials, found):
    found.append((await credentials.token()).value)


@pytest.mark.requirement("CA-44")
async def test_callers_at_the_same_time_share_one_request(source, provider) -> None:
    """A hundred calls that begin without a token make one."""
    found = []
    async with source(provider.url) as credentials:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(ask, credentials, found)
        assert ["t1"] * 100 == found
        assert "t1" == (await credentials.token()).value
    assert 1 == len(provider.requests)


@pytest.mark.requirement("CA-44")
async def test_the_end_of_a_caller_ends_no_request(source, provider) -> None:
    """The first caller goes away, and the others get the token of the request that it began."""
    provider.gate = anyio.Event()
    found = []
    async with source(provider.url) as credentials:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(ask, credentials, found)
                await wait_for(lambda: provider.requests)
                scope.cancel()
        async with anyio.create_task_group() as group:
            group.start_soon(ask, credentials, found)
            await anyio.lowlevel.checkpoint()
            provider.gate.set()
        assert ["t1"] == found
    assert 1 == len(provider.requests)


async def test_a_token_is_renewed_before_its_end(source, provider, clock) -> None:
    """By the skew, so that a call that is on its way doesn't arrive too late."""
    provider.lifetime = 100
    async with source(provider.url, skew=30) as credentials:
        for seconds, expected in [(0, "t1"), (69, "t1"), (2, "t2"), (69, "t2"), (30, "t3")]:
            clock.now += seconds
            assert expected == (await credentials.token()).value


async def test_a_short_token_is_used_for_half_of_its_life(source, provider, clock) -> None:
    """A skew that is longer than the lifetime doesn't make a request for each call."""
    provider.lifetime = 20
    async with source(provider.url, skew=30) as credentials:
        for seconds, expected in [(0, "t1"), (9, "t1"), (2, "t2")]:
            clock.now += seconds
            assert expected == (await credentials.token()).value


async def test_a_token_without_a_lifetime(source, provider, clock) -> None:
    """The setting says how long it is used."""
    provider.lifetime = None
    async with source(provider.url, lifetime=100, skew=10) as credentials:
        for seconds, expected in [(0, "t1"), (89, "t1"), (2, "t2")]:
            clock.now += seconds
            assert expected == (await credentials.token()).value


async def test_a_token_that_has_ended_already_is_used_once(source, provider) -> None:
    """The caller whose fetch it was gets the token, and nobody else."""
    provider.lifetime = 0
    async with source(provider.url) as credentials:
        assert ["t1", "t2"] == [(await credentials.token()).value for _ in range(2)]


@pytest.mark.requirement("CA-44")
async def test_only_the_token_that_was_sent_is_invalidated(source, provider) -> None:
    """A late refusal of the former token doesn't cost the new one."""
    async with source(provider.url) as credentials:
        first = await credentials.token()
        credentials.invalidate(first)
        second = await credentials.token()
        credentials.invalidate(first)
        credentials.invalidate(first)
        assert second is await credentials.token()
    assert ("t1", "t2") == (first.value, second.value)
    assert 2 == len(provider.requests)


@pytest.mark.requirement("CA-44")
async def test_a_fetch_that_began_before_an_invalidation_is_not_published(source, provider, clock) -> None:
    """The provider may have issued its token before the revocation: those who wait for it get a newer one."""
    provider.lifetime = 100
    found = []
    async with source(provider.url, skew=30) as credentials:
        first = await credentials.token()
        clock.now += 80
        provider.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(ask, credentials, found)
            await wait_for(lambda: len(provider.requests) == 2)
            credentials.invalidate(first)
            group.start_soon(ask, credentials, found)
            await wait_for(lambda: len(provider.requests) == 3)
            provider.gate.set()
        assert ["t3", "t3"] == found
        assert "t3" == (await credentials.token()).value
    assert 3 == len(provider.requests)


@pytest.mark.requirement("CA-44")
async def test_an_outdated_fetch_that_ends_last_replaces_nothing(source, clock) -> None:
    """The slow answer of the old fetch comes after that of the new one."""
    gates, begun = [anyio.Event(), anyio.Event(), anyio.Event()], []

    async def fetch():
        begun.append(len(begun))
        number = begun[-1]
        await gates[number].wait()
        return IssuedToken(f"t{number + 1}", 100)

    found = []
    async with source("https://id.example/token", fetch=fetch, skew=30) as credentials:
        gates[0].set()
        first = await credentials.token()
        clock.now += 80
        async with anyio.create_task_group() as group:
            group.start_soon(ask, credentials, found)
            await wait_for(lambda: len(begun) == 2)
            credentials.invalidate(first)
            group.start_soon(ask, credentials, found)
            await wait_for(lambda: len(begun) == 3)
            gates[2].set()
            await wait_for(lambda: found)
            gates[1].set()
        assert ["t3", "t3"] == found
        assert "t3" == (await credentials.token()).value


@pytest.mark.requirement("CA-44")
async def test_a_service_that_refuses_every_token_does_not_flood_the_provider(source, provider, clock) -> None:
    """A token that was fetched because of a refusal stays for a while, although it is refused as well."""
    async with source(provider.url, refetch_cooldown=5) as credentials:
        credentials.invalidate(await credentials.token())
        for _ in range(10):
            credentials.invalidate(await credentials.token())
        assert 2 == len(provider.requests)
        clock.now += 6
        credentials.invalidate(await credentials.token())
        assert "t3" == (await credentials.token()).value


async def test_an_outage_costs_one_attempt_for_each_pause(source, provider, clock) -> None:
    """Callers get the error at once, with the time of the next attempt; the pauses grow up to the setting."""
    provider.answers = [(503, b"")] * 4
    with capture_logs("bandmaster.oidc") as logs:
        async with source(provider.url, longest_pause=3) as credentials:
            for attempts, pause in [(1, 1), (2, 2), (3, 3), (4, 3)]:
                for _ in range(5):
                    with pytest.raises(
                        AuthUnavailableError, match=r"no access token for 'billing': .* status 503"
                    ) as raised:
                        await credentials.token()
                    assert pause == raised.value.retry_after
                assert attempts == len(provider.requests)
                clock.now += pause
            assert "t5" == (await credentials.token()).value
    assert ["an access token can't be fetched"] * 4 == [log["event"] for log in logs]
    assert ("warning", "billing", 1) == (logs[0]["log_level"], logs[0]["service"], logs[0]["next_attempt"])


async def test_a_refusal_is_not_repeated_by_each_call(source, provider, clock) -> None:
    """A wrong secret locks no account; the right one is found without a new start."""
    provider.answers = [(401, {"error": "invalid_client"})]
    async with source(provider.url) as credentials:
        for _ in range(5):
            with pytest.raises(
                TokenRefusedError, match=r"no access token for 'billing': .* 401 invalid_client"
            ) as raised:
                await credentials.token()
            assert "invalid_client" == raised.value.oauth_error
        assert 1 == len(provider.requests)
        clock.now += 1
        assert "t2" == (await credentials.token()).value


@pytest.mark.requirement("CA-42")
@pytest.mark.parametrize("answer", [(503, b""), (400, {"error": "invalid_request"})])
async def test_a_token_serves_until_its_end_while_the_provider_is_away(source, provider, clock, answer) -> None:
    """A token is renewed early, so that calls survive an outage of half a minute."""
    provider.lifetime = 100
    async with source(provider.url, skew=30) as credentials:
        assert "t1" == (await credentials.token()).value
        provider.answers = [answer] * 100
        clock.now += 75
        for _ in range(3):
            assert "t1" == (await credentials.token()).value
        assert 2 == len(provider.requests)
        clock.now += 24
        assert "t1" == (await credentials.token()).value
        clock.now += 2
        with pytest.raises((AuthUnavailableError, TokenRefusedError)):
            await credentials.token()


async def test_an_unexpected_failure_ends_one_request(source, clock) -> None:
    """A fault in one request is logged and told to the callers; the component and the application go on."""
    answers = [KeyError("a fault"), IssuedToken("t2", 60)]

    async def fetch():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with capture_logs() as logs:
        async with source("https://id.example/token", fetch=fetch) as credentials:
            with pytest.raises(AuthUnavailableError, match=r"no access token for 'billing': .* KeyError"):
                await credentials.token()
            clock.now += 1
            assert "t2" == (await credentials.token()).value
    assert "a token request failed unexpectedly" in [log["event"] for log in logs if log["log_level"] == "error"]


async def test_a_token_that_was_refused_does_not_serve_during_an_outage(source, provider) -> None:
    """A revoked token is worse than none."""
    async with source(provider.url) as credentials:
        first = await credentials.token()
        provider.answers = [(503, b"")]
        credentials.invalidate(first)
        with pytest.raises(AuthUnavailableError):
            await credentials.token()


async def test_a_stopped_source_fetches_nothing(source, provider) -> None:
    """Callers that wait, and those that come later, get an error instead of waiting for ever."""
    provider.gate = anyio.Event()
    errors = []

    async def ask_and_fail():
        try:
            await credentials.token()
        except AuthUnavailableError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as group:
        async with source(provider.url) as credentials:
            group.start_soon(ask_and_fail)
            await wait_for(lambda: provider.requests)
    await ask_and_fail()
    assert ["no access token for 'billing': the application has stopped"] * 2 == errors


@pytest.mark.requirement("AU-17")
async def test_no_text_of_a_token_has_its_value(source, provider) -> None:
    """Tokens show up in tracebacks and logs."""
    provider.answers = [(200, {"access_token": "hunter2", "token_type": "bearer"})]
    async with source(provider.url) as credentials:
        token = await credentials.token()
        assert "hunter2" == token.value
        assert "hunter2" not in f"{token!r} {token} {credentials!r} {await credentials._fetch_token()!r}"
