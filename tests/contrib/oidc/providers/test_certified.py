"""The certified provider does for tests as its control class says."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.util import urlsafe_b64decode
from tests.contrib.oidc.providers.browser import Callback
from tests.contrib.oidc.providers.certified import Client, OidcProvider, RefusedError, Tokens
from tests.http_servers import serve_http

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[4]
API = "https://api.example"
PATIENCE = 60


async def _verify(provider: OidcProvider, token: str, *algorithms: str) -> dict:
    keys = KeySet.import_key_set(await provider.jwks())
    return jwt.decode(token, keys, algorithms=list(algorithms)).claims


def _read_header(token: str) -> dict:
    return json.loads(urlsafe_b64decode(token.split(".")[0].encode()))


@pytest.fixture
def listener() -> Iterator[tuple[str, queue.Queue]]:
    """The address of a client's endpoint, and the forms that are posted there."""
    posted: queue.Queue = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            posted.put({name: values[0] for name, values in parse_qs(body).items()})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with serve_http(Handler) as port:
        yield f"http://127.0.0.1:{port}/logout", posted


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated:joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_minted_tokens_verify_against_the_published_keys(oidc_provider: OidcProvider, algorithm: str) -> None:
    """An access token for a resource is a JWT with that audience, its scopes, and the type of RFC 9068."""
    token = await oidc_provider.mint(API, scope="read write", algorithm=algorithm)
    claims = await _verify(oidc_provider, token, algorithm)
    assert (oidc_provider.issuer, API, "read write") == (claims["iss"], claims["aud"], claims["scope"])
    assert (algorithm, "at+jwt") == (_read_header(token)["alg"], _read_header(token)["typ"])


async def test_a_login_returns_all_tokens(oidc_provider: OidcProvider) -> None:
    """Code with PKCE: the ID token carries subject and nonce, and the userinfo endpoint the rest."""
    oidc_provider.set_user("alice", groups=["staff"])
    client = oidc_provider.add_client()
    tokens = await oidc_provider.log_in("alice", client=client, scope="openid email groups", nonce="once")
    claims = await _verify(oidc_provider, tokens.id_token or "", "RS256")
    assert ("alice", "once", client.client_id) == (claims["sub"], claims["nonce"], claims["aud"])
    info = await oidc_provider.userinfo(tokens.access_token)
    assert ("alice", "alice@example.com", ["staff"]) == (info["sub"], info["email"], info["groups"])


async def test_a_login_for_a_resource_returns_a_jwt(oidc_provider: OidcProvider) -> None:
    """The access token is meant for the resource, and belongs to the user."""
    tokens = await oidc_provider.log_in("bob", scope="openid read", resource=API)
    claims = await _verify(oidc_provider, tokens.access_token, "RS256")
    assert ("bob", API, "read") == (claims["sub"], claims["aud"], claims["scope"])


async def test_a_resource_may_be_the_default(oidc_provider: OidcProvider) -> None:
    """Clients that name no resource get JWTs, too, with the scopes of the resource."""
    oidc_provider.set_default_resource(API)
    client = oidc_provider.add_client()
    tokens = await oidc_provider.log_in("alice", client=client, scope="openid write")
    renewed = await oidc_provider.refresh(client, tokens.refresh_token or "")
    for token in (tokens.access_token, renewed.access_token):
        claims = await _verify(oidc_provider, token, "RS256")
        assert ("alice", API, "write") == (claims["sub"], claims["aud"], claims["scope"])


async def test_a_public_client_logs_in(oidc_provider: OidcProvider) -> None:
    """A client without a secret, as a page of documentation is one."""
    client = oidc_provider.add_client(public=True)
    assert (
        "alice"
        == (await _verify(oidc_provider, (await oidc_provider.log_in("alice", client=client)).id_token, "RS256"))["sub"]
    )


async def test_the_second_login_needs_no_name(oidc_provider: OidcProvider) -> None:
    """A browser keeps its session at the provider; another browser has none."""
    client = oidc_provider.add_client()
    url = _make_login_url(oidc_provider, client.client_id, client.redirect_uri)
    async with oidc_provider.browser() as browser:
        first = await browser.follow(url, user="alice")
        second = await browser.follow(url)
        assert {"code", "iss", "state"} == first.parameters.keys() == second.parameters.keys()
    with pytest.raises(AssertionError, match="who logs in"):
        await oidc_provider.authorize(url)


async def test_a_denied_login_returns_an_error(oidc_provider: OidcProvider) -> None:
    """The callback gets the error, with the issuer (RFC 9207)."""
    client = oidc_provider.add_client()
    url = _make_login_url(oidc_provider, client.client_id, client.redirect_uri)
    answer = (await oidc_provider.authorize(url, deny=True)).parameters
    assert ("access_denied", oidc_provider.issuer) == (answer["error"], answer["iss"])


async def test_the_callback_may_be_a_form(oidc_provider: OidcProvider) -> None:
    """With form_post the parameters are posted, not in the address."""
    client = oidc_provider.add_client()
    url = _make_login_url(oidc_provider, client.client_id, client.redirect_uri, response_mode="form_post")
    callback = await oidc_provider.authorize(url, user="alice")
    assert client.redirect_uri == callback.url
    assert "code" in (callback.form or {})


def _make_login_url(provider: OidcProvider, client_id: str, redirect_uri: str, **parameters: str) -> str:
    query = {"client_id": client_id, "redirect_uri": redirect_uri, "response_type": "code", "scope": "openid"}
    query |= {"state": "s", "code_challenge": "a" * 43, "code_challenge_method": "S256", **parameters}
    return f"{provider.issuer}/auth?{urlencode(query)}"


async def test_a_refresh_token_is_rotated_and_spent_once(oidc_provider: OidcProvider) -> None:
    """Spending a refresh token twice ends the whole grant, the winner's new token included."""
    client = oidc_provider.add_client()
    first = await oidc_provider.log_in("alice", client=client)
    second = await oidc_provider.refresh(client, first.refresh_token or "")
    for spent in (first, second):
        with pytest.raises(RefusedError) as refused:
            await oidc_provider.refresh(client, spent.refresh_token or "")
        assert (400, "invalid_grant") == (refused.value.status, refused.value.error)


async def test_opaque_tokens_are_introspected_and_revoked(oidc_provider: OidcProvider) -> None:
    """An opaque token is known to the provider alone."""
    client = oidc_provider.add_client()
    token = await oidc_provider.mint(API, scope="read", opaque=True, client=client)
    before = await oidc_provider.introspect(client, token)
    await oidc_provider.revoke(client, token)
    after = await oidc_provider.introspect(client, token)
    assert (True, API, "read") == (before["active"], before["aud"], before["scope"])
    assert {"active": False} == after
    assert "." not in token


async def test_keys_are_rotated_on_command(oidc_provider: OidcProvider) -> None:
    """New keys sign at once; old ones are published on request, and the next test begins with the first ones."""
    first = {key["kid"] for key in (await oidc_provider.jwks())["keys"]}
    kept = oidc_provider.rotate_keys(keep=True)
    assert first | set(kept.values()) == {key["kid"] for key in (await oidc_provider.jwks())["keys"]}
    assert kept["RS256"] == _read_header(await oidc_provider.mint(API))["kid"]
    alone = oidc_provider.rotate_keys()
    assert set(alone.values()) == {key["kid"] for key in (await oidc_provider.jwks())["keys"]}
    oidc_provider.reset()
    assert first == {key["kid"] for key in (await oidc_provider.jwks())["keys"]}


async def test_a_rotation_keeps_sessions_and_grants(oidc_provider: OidcProvider) -> None:
    """Refresh tokens work after new keys are made."""
    client = oidc_provider.add_client()
    tokens = await oidc_provider.log_in("alice", client=client)
    kids = oidc_provider.rotate_keys()
    renewed = await oidc_provider.refresh(client, tokens.refresh_token or "")
    assert kids["RS256"] == _read_header(renewed.id_token or "")["kid"]


async def test_grants_are_revoked_on_command(oidc_provider: OidcProvider) -> None:
    """The named user's tokens end, and no other's."""
    client = oidc_provider.add_client()
    alice, bob = [await oidc_provider.log_in(user, client=client) for user in ("alice", "bob")]
    assert 1 == oidc_provider.revoke_grants("alice")
    with pytest.raises(RefusedError, match="invalid_grant"):
        await oidc_provider.refresh(client, alice.refresh_token or "")
    assert (await oidc_provider.refresh(client, bob.refresh_token or "")).access_token


async def test_the_end_of_a_session_is_told_to_the_client(oidc_provider: OidcProvider, listener) -> None:
    """Back-channel logout reaches a client on loopback, with the session's id."""
    url, posted = listener
    client = oidc_provider.add_client(backchannel_logout_uri=url, backchannel_logout_session_required=True)
    tokens = await oidc_provider.log_in("alice", client=client)
    sid = (await _verify(oidc_provider, tokens.id_token or "", "RS256")).get("sid")
    assert 1 == await oidc_provider.end_sessions("alice")
    token = posted.get(timeout=PATIENCE)["logout_token"]
    claims = await _verify(oidc_provider, token, "RS256")
    assert ("alice", client.client_id, sid) == (claims["sub"], claims["aud"], claims["sid"])
    assert "http://schemas.openid.net/event/backchannel-logout" in claims["events"]
    assert [{"url": url, "logout_token": token}] == oidc_provider.logouts()
    with pytest.raises(RefusedError, match="invalid_grant"):
        await oidc_provider.refresh(client, tokens.refresh_token or "")


async def test_logout_tokens_may_be_kept(oidc_provider: OidcProvider) -> None:
    """Where the application doesn't listen on a port, the test hands the token over itself."""
    client = oidc_provider.add_client(backchannel_logout_uri="http://127.0.0.1:1/logout")
    await oidc_provider.log_in("alice", client=client)
    oidc_provider.keep_logouts()
    await oidc_provider.end_sessions()
    (logout,) = oidc_provider.logouts()
    assert "sid" not in await _verify(oidc_provider, logout["logout_token"], "RS256")


async def test_an_application_logs_its_user_out(oidc_provider: OidcProvider) -> None:
    """RP-initiated logout ends the session at the provider, and returns to the application."""
    out = "http://127.0.0.1/out"
    client = oidc_provider.add_client(post_logout_redirect_uris=[out])
    login = _make_login_url(oidc_provider, client.client_id, client.redirect_uri)
    query = urlencode({"client_id": client.client_id, "post_logout_redirect_uri": out, "state": "kept"})
    async with oidc_provider.browser() as browser:
        await browser.follow(login, user="alice")
        left = await browser.follow(f"{oidc_provider.issuer}/session/end?{query}")
        with pytest.raises(AssertionError, match="who logs in"):
            await browser.follow(login)
    assert f"{out}?state=kept" == left.url


async def test_lifetimes_are_set_on_command(oidc_provider: OidcProvider) -> None:
    """Tokens expire after the seconds that the test wants."""
    oidc_provider.set_ttl(AccessToken=7)
    assert 7 == (await oidc_provider.log_in("alice")).expires_in
    claims = await _verify(oidc_provider, await oidc_provider.mint(API), "RS256")
    assert 7 == claims["exp"] - claims["iat"]


async def test_requests_are_counted(oidc_provider: OidcProvider) -> None:
    """Each test counts from zero, and control commands don't count."""
    assert {} == oidc_provider.counts()
    for _ in range(2):
        await oidc_provider.discovery()
    await oidc_provider.mint(API)
    assert {"/.well-known/openid-configuration": 2, oidc_provider.token_path: 1} == oidc_provider.counts()
    oidc_provider.forget_counts()
    assert {} == oidc_provider.counts()


async def test_it_speaks_https(oidc_provider_https: OidcProvider) -> None:
    """The whole login works with a certificate that only the fixture's context trusts."""
    tokens = await oidc_provider_https.log_in("alice")
    claims = await _verify(oidc_provider_https, tokens.id_token or "", "RS256")
    document = await oidc_provider_https.discovery()
    assert oidc_provider_https.issuer == claims["iss"] == document["issuer"]
    assert {"https"} == {urlsplit(url).scheme for name, url in document.items() if name.endswith(("_endpoint", "_uri"))}
    async with httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(oidc_provider_https.discovery_url)


async def test_an_own_provider_is_stopped_and_started(own_oidc_provider: OidcProvider) -> None:
    """Connections are refused meanwhile; afterwards the address is the same, and the keys are others."""
    before = await own_oidc_provider.jwks()
    own_oidc_provider.stop()
    with pytest.raises(httpx2.ConnectError):
        await own_oidc_provider.discovery()
    own_oidc_provider.start()
    assert own_oidc_provider.issuer == (await own_oidc_provider.discovery())["issuer"]
    assert before != await own_oidc_provider.jwks()


async def test_the_shared_provider_is_not_stopped(oidc_provider: OidcProvider) -> None:
    """A stop would fail the tests of others."""
    for forbidden in (oidc_provider.stop, oidc_provider.start):
        with pytest.raises(RuntimeError, match="own_oidc_provider"):
            forbidden()


async def test_nothing_is_left_of_the_test_before(oidc_provider: OidcProvider) -> None:
    """Clients, tokens, lifetimes and faults end with a reset."""
    client = oidc_provider.add_client()
    tokens = await oidc_provider.log_in("alice", client=client)
    oidc_provider.set_ttl(AccessToken=7)
    oidc_provider.add_fault(oidc_provider.token_path, status=503)
    oidc_provider.reset()
    with pytest.raises(RefusedError, match="invalid_client"):
        await oidc_provider.refresh(client, tokens.refresh_token or "")
    assert 3600 == (await oidc_provider.log_in("alice")).expires_in


async def test_a_command_that_fails_is_reported(oidc_provider: OidcProvider) -> None:
    """A mistake in a test shows as an error of the test."""
    with pytest.raises(RuntimeError, match="there is no command nonsense"):
        oidc_provider.process.command("nonsense")


def test_secrets_are_in_no_repr() -> None:
    """A failing test prints its values, and CI keeps the print."""
    tokens = Tokens("hidden", 1, "", "hidden", "hidden")
    assert "hidden" not in repr([Client("c", "hidden"), tokens, Callback("u", {"code": "hidden"})])


KILLED = """
import sys, time
from pathlib import Path
from tests.contrib.oidc.providers.certified import PROGRAM
from tests.contrib.oidc.providers.npm import OIDC_PROVIDER
from tests.contrib.oidc.providers.process import run_provider

with run_provider(PROGRAM, OIDC_PROVIDER, Path(sys.argv[1])) as process:
    print(process.issuer, flush=True)
    time.sleep(600)
"""


@pytest.mark.usefixtures("oidc_provider_process")  # skips where there is no provider
def test_a_killed_test_run_leaves_no_provider(tmp_path: Path) -> None:
    """SIGKILL ends the run without clean-up, and the provider all the same."""
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        port = urlsplit(run.stdout.readline().strip()).port or 0
        assert 0 == _connect(port)
        run.send_signal(signal.SIGKILL)
        run.wait(PATIENCE)
    end = time.monotonic() + PATIENCE
    while 0 == _connect(port):
        assert time.monotonic() < end
        time.sleep(0.05)


def _connect(port: int) -> int:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port))
