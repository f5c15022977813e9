"""The keys of a provider while the application runs: rotation, floods, outages."""

import anyio
import httpx2
import pytest
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.verifier.issuer import (
    DISCOVERY,
    ISSUER,
    JWKS,
    Issuer,
    key_for,
    make_token,
    publish,
    verifying,
)
from tests.logged import capture_logs

from bandmaster.contrib.oidc import AuthUnavailableError, InvalidTokenError

pytestmark = pytest.mark.anyio

NEW = {"kid": "two", "key": key_for("ES256", "new")}


def rotate(issuer, *, keep=True):
    """Let the provider sign by a new key, beside the old one or in place of it."""
    issuer.keys = [*(issuer.keys if keep else ()), publish(NEW["key"], NEW["kid"])]


async def gather(*functions):
    """The results or the errors of functions that run at the same time."""
    results = [None] * len(functions)

    async def run(number, function):
        try:
            results[number] = await function()
        except (InvalidTokenError, AuthUnavailableError) as error:
            results[number] = error

    async with anyio.create_task_group() as tasks:
        for number, function in enumerate(functions):
            tasks.start_soon(run, number, function)
    return results


@pytest.mark.requirement("AU-2", "CF-06")
async def test_500_cold_requests_cause_one_discovery_and_one_fetch_of_keys() -> None:
    """All wait for the same fetch, and all succeed."""
    issuer = Issuer()
    issuer.slow = 0.05
    async with verifying(issuer) as (verifier, _):
        token = make_token()
        results = await gather(*[lambda: verifier.verify(token)] * 500)
    assert {"alice"} == {principal.subject for principal in results}
    assert (1, 1) == issuer.requests


@pytest.mark.requirement("AU-2", "CA-08")
async def test_the_request_that_meets_a_new_key_succeeds() -> None:
    """Requests with the new key share one fetch of keys; discovery isn't asked again."""
    issuer = Issuer()
    async with verifying(issuer) as (verifier, _):
        await verifier.verify(make_token())
        rotate(issuer)
        issuer.slow = 0.05
        new = make_token(**NEW)
        results = await gather(*[lambda: verifier.verify(new)] * 50)
        assert {"alice"} == {principal.subject for principal in results}
        assert (1, 2) == issuer.requests
        await verifier.verify(make_token())


@pytest.mark.requirement("CA-08")
async def test_a_rotation_just_after_the_start_is_noticed() -> None:
    """The first fetch starts no cool-down, so that a key published a moment later is found at once."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock) as (verifier, providers):
        await providers["default"].keys.warm()
        rotate(issuer, keep=False)
        assert "alice" == (await verifier.verify(make_token(**NEW))).subject


@pytest.mark.requirement("CA-08")
async def test_two_rotations_in_a_row_are_noticed() -> None:
    """A fetch that brought a new key starts a short cool-down only."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock, key_cooldown=10) as (verifier, _):
        await verifier.verify(make_token())
        rotate(issuer)
        await verifier.verify(make_token(**NEW))
        clock.now += 1
        third = key_for("ES256", "third")
        issuer.keys.append(publish(third, "three"))
        assert "alice" == (await verifier.verify(make_token(kid="three", key=third))).subject


@pytest.mark.requirement("CA-06")
async def test_known_keys_during_an_outage_cost_one_attempt_for_each_pause() -> None:
    """Requests that could all do with newer keys don't ask a provider that is away, one after the other."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock, key_ttl=10) as (verifier, _):
        await verifier.verify(make_token())
        issuer.away = True
        clock.now += 10
        for attempts, seconds in ((1, 0), (1, 0.9), (2, 0.1)):
            clock.now += seconds
            for _ in range(5):
                assert "alice" == (await verifier.verify(make_token())).subject
                await anyio.wait_all_tasks_blocked()
            assert (1, 1 + attempts) == issuer.requests


@pytest.mark.requirement("CA-07")
async def test_a_document_that_changes_without_a_new_key_ends_no_cool_down() -> None:
    """Only a new key shows that a rotation is going on."""
    issuer, clock = Issuer(), Clock(1000.0)
    issuer.keys.append(publish(key_for("ES256", "other"), "two"))
    async with verifying(issuer, clock=clock, key_cooldown=10) as (verifier, _):
        await verifier.verify(make_token())
        issuer.keys.pop()
        for seconds, keys in ((0, 2), (5, 2), (5.1, 3)):
            clock.now += seconds
            with pytest.raises(InvalidTokenError):
                await verifier.verify(make_token(kid="unknown"))
            assert (1, keys) == issuer.requests


async def test_keys_that_are_gone_are_asked_for_once() -> None:
    """Discovery is asked whether they have moved; where they haven't, the same address isn't asked again."""
    issuer = Issuer()
    issuer.answers[issuer.document["jwks_uri"]] = lambda request: httpx2.Response(404)
    async with verifying(issuer) as (verifier, _):
        with pytest.raises(AuthUnavailableError, match="status 404"):
            await verifier.verify(make_token())
    assert (2, 1) == issuer.requests


@pytest.mark.requirement("CA-08")
async def test_a_rotation_of_keys_without_ids_is_noticed() -> None:
    """A token without a key id that no known key has signed causes a fetch as well."""
    issuer = Issuer(publish(key_for("ES256"), None))
    async with verifying(issuer) as (verifier, _):
        await verifier.verify(make_token(kid=None))
        issuer.keys = [publish(NEW["key"], None)]
        assert "alice" == (await verifier.verify(make_token(kid=None, key=NEW["key"]))).subject


@pytest.mark.requirement("AU-2", "CA-07")
async def test_a_flood_of_unknown_keys_costs_one_fetch_per_cool_down() -> None:
    """Neither the number of tokens nor their ids matter, discovery isn't asked, and known tokens verify meanwhile."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock, key_cooldown=10) as (verifier, _):
        good = make_token()
        await verifier.verify(good)
        flood = [make_token(kid=f"x{number}") for number in range(500)]
        for round_ in range(1, 4):
            results = await gather(*[lambda token=token: verifier.verify(token) for token in flood])
            assert {InvalidTokenError} == {type(error) for error in results}
            assert (1, 1 + round_) == issuer.requests
            await verifier.verify(good)
            clock.now += 10.1


@pytest.mark.requirement("CA-07")
async def test_known_tokens_do_not_wait_for_the_fetch_of_a_flood() -> None:
    """While the fetch for an unknown key hangs, other tokens verify without a request."""
    issuer = Issuer()
    async with verifying(issuer) as (verifier, _), anyio.create_task_group() as tasks:
        await verifier.verify(make_token())
        issuer.hangs = True
        tasks.start_soon(gather, lambda: verifier.verify(make_token(kid="unknown")))
        with anyio.fail_after(30):
            while issuer.requests != (1, 2):
                await anyio.sleep(0)
            for _ in range(20):
                assert "alice" == (await verifier.verify(make_token())).subject
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("AU-2")
async def test_a_caller_that_gives_up_does_not_end_the_shared_fetch() -> None:
    """The client that began the fetch disconnects, and the others still get the keys by it."""
    issuer = Issuer()
    issuer.slow = 0.1
    async with verifying(issuer) as (verifier, _), anyio.create_task_group() as tasks:
        with anyio.CancelScope() as first:

            async def give_up():
                await anyio.sleep(0.03)
                first.cancel()

            tasks.start_soon(give_up)
            await verifier.verify(make_token())
        assert first.cancelled_caught
        assert "alice" == (await verifier.verify(make_token())).subject
    assert (1, 1) == issuer.requests


@pytest.mark.requirement("CA-06")
async def test_an_outage_at_the_start_costs_few_fetches() -> None:
    """All first requests fail by one attempt. Until the pause is over the others fail at once, with a time to wait."""
    issuer, clock = Issuer(), Clock(1000.0)
    issuer.away = True
    async with verifying(issuer, clock=clock) as (verifier, _):
        token = make_token()
        for _ in range(3):
            results = await gather(*[lambda: verifier.verify(token)] * 500)
            assert {AuthUnavailableError} == {type(error) for error in results}
            assert {1} == {error.retry_after for error in results}
        assert (1, 0) == issuer.requests
        pauses = []
        for _ in range(8):
            clock.now += 31
            with pytest.raises(AuthUnavailableError) as unavailable:
                await verifier.verify(token)
            pauses.append(unavailable.value.retry_after)
        assert [2, 4, 8, 16, 30, 30, 30, 30] == pauses
        assert (9, 0) == issuer.requests
        issuer.away = False
        clock.now += 31
        assert "alice" == (await verifier.verify(token)).subject


@pytest.mark.requirement("CA-06")
async def test_a_provider_that_hangs_is_waited_for_by_one_request_at_a_time() -> None:
    """After a failure a single request waits for the next attempt; all others fail at once."""
    issuer, clock = Issuer(), Clock(1000.0)
    issuer.away = True
    async with verifying(issuer, clock=clock, fetch_timeout=60) as (verifier, _), anyio.create_task_group() as tasks:
        token = make_token()
        with pytest.raises(AuthUnavailableError):
            await verifier.verify(token)
        issuer.away, issuer.hangs = False, True
        clock.now += 60
        ended = []

        async def wait_for_the_provider():
            with pytest.raises(AuthUnavailableError):
                await verifier.verify(token)
            ended.append(True)

        tasks.start_soon(wait_for_the_provider)
        with anyio.fail_after(30):
            while issuer.requests != (2, 0):
                await anyio.sleep(0)
            results = await gather(*[lambda: verifier.verify(token)] * 100)
        assert {AuthUnavailableError} == {type(error) for error in results}
        assert ([], (2, 0)) == (ended, issuer.requests)
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("CA-06")
async def test_no_request_waits_longer_than_one_time_out() -> None:
    """Discovery and keys together have one time-out, which neither of them alone reaches here."""
    issuer = Issuer()
    issuer.slow = 0.3
    async with verifying(issuer, fetch_timeout=0.4) as (verifier, _):
        with pytest.raises(AuthUnavailableError, match=r"doesn't answer within 0\.4 s"):
            await verifier.verify(make_token())


@pytest.mark.requirement("AU-2")
async def test_known_keys_serve_during_an_outage() -> None:
    """Old keys serve until they are as old as the setting says; then requests get 503, until the provider is back."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock, key_ttl=600, key_max_age=3600) as (verifier, _):
        token = make_token()
        await verifier.verify(token)
        issuer.away = True
        for _ in range(11):
            clock.now += 300
            assert "alice" == (await verifier.verify(token)).subject
            await anyio.wait_all_tasks_blocked()  # the attempt that the request began, and didn't wait for
        clock.now += 600
        with pytest.raises(AuthUnavailableError, match=r"keys can't be reached|can't be reached"):
            await verifier.verify(token)
        issuer.away = False
        clock.now += 60
        assert "alice" == (await verifier.verify(token)).subject


@pytest.mark.requirement("AU-2", "CA-08")
async def test_an_unknown_key_during_an_outage_is_neither_accepted_nor_refused() -> None:
    """The key may be a new one: 503, and after the outage the token holds, without a cool-down in between."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock) as (verifier, _):
        await verifier.verify(make_token())
        rotate(issuer)
        issuer.away = True
        for _ in range(3):
            with pytest.raises(AuthUnavailableError):
                await verifier.verify(make_token(**NEW))
        assert (1, 2) == issuer.requests
        issuer.away = False
        clock.now += 1.5
        assert "alice" == (await verifier.verify(make_token(**NEW))).subject


@pytest.mark.requirement("AU-2", "CA-06")
async def test_no_request_waits_for_a_provider_that_is_known_to_be_away() -> None:
    """While an attempt hangs, tokens by known keys verify however old the keys are, and other tokens fail at once."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with (
        verifying(issuer, clock=clock, key_ttl=600, fetch_timeout=60) as (verifier, _),
        anyio.create_task_group() as tasks,
    ):
        await verifier.verify(make_token())
        issuer.away = True
        clock.now += 5000
        assert "alice" == (await verifier.verify(make_token())).subject
        await anyio.wait_all_tasks_blocked()
        issuer.away, issuer.hangs = False, True
        clock.now += 5000
        with anyio.fail_after(30):
            assert "alice" == (await verifier.verify(make_token())).subject
            while issuer.requests != (1, 3):
                await anyio.sleep(0)
            for _ in range(20):
                assert "alice" == (await verifier.verify(make_token())).subject
                with pytest.raises(AuthUnavailableError):
                    await verifier.verify(make_token(**NEW))
        assert (1, 3) == issuer.requests
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("AU-2")
async def test_old_keys_are_fetched_anew_beside_the_requests() -> None:
    """After the TTL a request starts the fetch and doesn't wait; much later it does, so that a withdrawn key ends."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock, key_ttl=600) as (verifier, providers):
        token = make_token()
        await verifier.verify(token)
        rotate(issuer, keep=False)
        clock.now += 601
        assert "alice" == (await verifier.verify(token)).subject
        await anyio.wait_all_tasks_blocked()
        assert ["two"] == list(providers["default"].keys.value.named)
        issuer.keys = [publish(key_for("ES256"))]
        clock.now += 1201
        with pytest.raises(InvalidTokenError):
            await verifier.verify(make_token(**NEW))


async def test_unchanged_keys_are_not_imported_again() -> None:
    """An unchanged document yields the same key set."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock) as (verifier, providers):
        await verifier.verify(make_token())
        before = providers["default"].keys.value
        clock.now += 10_000
        await verifier.verify(make_token())
        assert before is providers["default"].keys.value
    assert (1, 2) == issuer.requests


async def test_old_discovery_is_fetched_anew_with_the_keys() -> None:
    """A new address of the keys is noticed after the TTL, although the old one still answers."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock, key_ttl=600, discovery_ttl=1000) as (verifier, _):
        await verifier.verify(make_token())
        issuer.answers[f"{ISSUER}/moved"] = lambda request: {"keys": issuer.keys}
        issuer.document["jwks_uri"] = f"{ISSUER}/moved"
        for expected in ((1, 2), (2, 3), (2, 4)):
            clock.now += 601
            await verifier.verify(make_token())
            await anyio.wait_all_tasks_blocked()
            assert expected == issuer.requests
        assert 1 == issuer.counts[f"{ISSUER}/moved"]


async def test_keys_that_have_moved_are_found() -> None:
    """Where the known address has gone, discovery is asked again, at once."""
    issuer, clock = Issuer(), Clock(1000.0)
    async with verifying(issuer, clock=clock) as (verifier, _):
        await verifier.verify(make_token())
        issuer.answers[f"{ISSUER}/moved"] = issuer.answers.pop(JWKS)
        issuer.document["jwks_uri"] = f"{ISSUER}/moved"
        rotate(issuer)
        assert "alice" == (await verifier.verify(make_token(**NEW))).subject


@pytest.mark.requirement("CA-01")
async def test_with_an_address_of_keys_discovery_is_not_needed() -> None:
    """Tokens are compared with the public issuer, and the keys come from the internal address."""
    issuer = Issuer()
    issuer.answers = {"http://keycloak:8080/keys": lambda request: {"keys": issuer.keys}}
    changes = {"jwks_url": "http://keycloak:8080/keys", "plain_http_hosts": ["keycloak"]}
    async with verifying(issuer, allow_loopback=False, **changes) as (verifier, _):
        assert ISSUER == (await verifier.verify(make_token())).issuer
        with pytest.raises(InvalidTokenError):
            await verifier.verify(make_token(iss="http://keycloak:8080"))
    assert {"http://keycloak:8080/keys": 1} == issuer.counts


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(302, headers={"location": "https://attacker.example/keys"}),
        httpx2.Response(301, headers={"location": "http://169.254.169.254/"}),
        httpx2.Response(404),
        httpx2.Response(401),
        httpx2.Response(204),
        httpx2.Response(200, content=b"<html>"),
        httpx2.Response(200, content=b"[]"),
        httpx2.Response(200, content=b'{"keys": [], "keys": []}'),
        httpx2.Response(200, content=b" " * 600_000),
        httpx2.Response(200, content=b"{}", headers={"content-encoding": "zstd-of-our-own"}),
        httpx2.Response(500),
        httpx2.Response(503),
        httpx2.Response(429),
    ],
    ids=lambda answer: f"{answer.status_code} {len(answer.content)}",
)
@pytest.mark.parametrize("url", [DISCOVERY, JWKS])
@pytest.mark.requirement("AU-10", "CF-19")
async def test_any_other_answer_than_a_document_leads_to_503(url, answer) -> None:
    """Redirects, errors, other documents and large ones are an outage for requests, told once in the log."""
    issuer, clock = Issuer(), Clock(1000.0)
    issuer.answers[url] = answer
    with capture_logs() as logs:
        async with verifying(issuer, clock=clock) as (verifier, _):
            for _ in range(5):
                with pytest.raises(AuthUnavailableError) as unavailable:
                    await verifier.verify(make_token())
    assert url in str(unavailable.value)
    assert {DISCOVERY, url} == set(issuer.counts)
    assert 1 == sum("keys of the provider 'default' can't be fetched" in str(one) for one in logs)
