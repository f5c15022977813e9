"""The small parts of a login: cookies, hashes, tokens of several tenants, one-time values, pauses."""

import json

import anyio
import pytest
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import make_issuer

from bandmaster.contrib.oidc import MemorySessionStore
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.login.backoff import Backoff
from bandmaster.contrib.oidc.login.cookies import CookieWriter, read_cookie, read_cookies
from bandmaster.contrib.oidc.login.http_calls import Answer
from bandmaster.contrib.oidc.login.id_token import Expectation, check_id_token, compute_hash
from bandmaster.contrib.oidc.login.navigation import find_path, is_navigation
from bandmaster.contrib.oidc.login.providers import Endpoints, SignedToken
from bandmaster.contrib.oidc.login.single_use import SingleUse
from bandmaster.contrib.oidc.login.token_endpoint import authenticate, read_answer


def make_scope(*headers, method="GET", **more):
    return {"type": "http", "method": method, "path": "/", "headers": list(headers), **more}


def test_cookies_are_read():
    """From one header or several; the first of a name counts, and malformed pairs are left out."""
    scope = make_scope((b"cookie", b"a=1; b=x=y;c ; a=2;"), (b"cookie", b"d="))
    assert read_cookies(scope) == {"a": "1", "b": "x=y", "d": ""}
    assert read_cookie(scope, "b") == "x=y"
    assert read_cookie(scope, "e") is None
    assert read_cookie(make_scope(), "a") is None


@pytest.mark.parametrize("sign", [b"\x85", b"\xa0", b"\x0b", b"\x0c", b"\x1c", b"\x1f"])
def test_a_cookie_of_a_sibling_host_has_another_name(sign):
    """Only blanks and tabs are stripped: a browser lets any host set a cookie whose name begins with another byte."""
    scope = make_scope((b"cookie", sign + b"__Host-session=theirs; \t__Host-session=ours"))
    assert read_cookie(scope, "__Host-session") == "ours"
    assert read_cookie(make_scope((b"cookie", sign + b"__Host-session=theirs")), "__Host-session") is None


def test_a_cookie_is_written():
    """With the attributes that keep others from reading or setting it."""
    assert CookieWriter(True).set("s", "v", 60.5) == "__Host-s=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
    assert CookieWriter(False).clear("s") == "s=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(
    ("algorithm", "length"),
    [("RS256", 22), ("ES384", 32), ("PS512", 43), ("EdDSA", 43), ("Ed25519", 43), ("none", None), (None, None)],
)
def test_the_hash_of_a_token_is_that_of_the_signature(algorithm, length):
    """The left half of SHA-256, SHA-384 or SHA-512, base64url."""
    found = compute_hash("token", algorithm)
    assert (None if found is None else len(found)) == length


def test_the_example_of_the_specification():
    """The at_hash of OpenID Connect Core, appendix A.3."""
    token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    assert compute_hash(token, "RS256") == "77QmUPtjPfzWtF2AnpK9RQ"


@pytest.mark.parametrize(
    ("issuer", "tenant", "accepted"),
    [
        ("https://login.example/one/v2.0", "one", True),
        ("https://login.example/two/v2.0", "two", True),
        ("https://login.example/three/v2.0", "three", False),
        ("https://login.example/one/v2.0", "two", False),
        ("https://login.example/{tenantid}/v2.0", "{tenantid}", False),
        ("https://login.example/one/v2.0", None, False),
        ("https://login.example/one/v2.0", ["one"], False),
    ],
)
def test_an_issuer_with_tenants(issuer, tenant, accepted):
    """A token is of a tenant that the settings list, and says so twice: in iss and in tid."""
    changes = {"issuer": "https://login.example/{tenantid}/v2.0", "tenants": ("one", "two")}
    provider = make_issuer("entra", OpenIDProvider(), changes)
    claims = {"iss": issuer, "tid": tenant, "sub": "a", "aud": "shop", "iat": 1000, "exp": 2000}
    try:
        check_id_token(SignedToken("RS256", "", claims), Expectation(provider, 1500, 0))
    except InvalidTokenError:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize("subject", [None, "", "  ", 7, "x" * 256, ["a"]])
def test_a_subject_that_is_none(subject):
    """OpenID Connect Core, 2: a text of 255 characters at the most."""
    provider = make_issuer("default", OpenIDProvider(), {})
    claims = {"iss": provider.issuer, "sub": subject, "aud": "shop", "iat": 1000, "exp": 2000}
    with pytest.raises(InvalidTokenError, match="subject"):
        check_id_token(SignedToken("RS256", "", claims), Expectation(provider, 1500, 0))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")], True),
        ([(b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"iframe")], False),
        ([(b"sec-fetch-mode", b"navigate")], True),
        ([(b"sec-fetch-mode", b"cors"), (b"accept", b"text/html")], False),
        ([(b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")], True),
        ([(b"accept", b"*/*")], False),
        ([(b"accept", b"text/html"), (b"x-requested-with", b"XMLHttpRequest")], False),
        ([], False),
    ],
)
def test_a_navigation(headers, expected):
    """Browsers say what they ask for, and old ones by what they accept."""
    assert is_navigation(make_scope(*headers)) is expected
    assert not is_navigation(make_scope(*headers, method="POST"))
    assert not is_navigation({**make_scope(*headers), "type": "websocket"})


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [("", "/a", "/a"), ("/x", "/x/a", "/a"), ("/x/", "/x/a", "/a"), ("/x", "/xa", "/xa"), ("/x", "/a", "/a")],
)
def test_the_path_within_the_application(root, path, expected):
    """The prefix of a mount is no part of it."""
    assert find_path({**make_scope(), "root_path": root, "path": path}) == expected


@pytest.mark.parametrize(
    ("method", "offered", "expected"),
    [
        ("auto", ("client_secret_basic", "client_secret_post"), "basic"),
        ("auto", ("client_secret_post",), "post"),
        ("auto", (), "basic"),
        ("client_secret_post", ("client_secret_basic",), "post"),
        ("client_secret_basic", ("client_secret_post",), "basic"),
    ],
)
def test_how_the_client_authenticates(method, offered, expected):
    """As discovery says, unless the settings say how."""
    provider = make_issuer("default", OpenIDProvider(), {"token_auth_method": method})
    form, headers = authenticate(provider, Endpoints("a", "t", token_auth_methods=offered))
    assert ("authorization" in headers) is (expected == "basic")
    assert ("client_secret" in form) is (expected == "post")


def test_a_way_to_authenticate_that_is_not_known():
    """A provider that wants a signed assertion alone is an error that says so."""
    provider = make_issuer("default", OpenIDProvider(), {})
    with pytest.raises(AuthUnavailableError, match="private_key_jwt"):
        authenticate(provider, Endpoints("a", "t", token_auth_methods=("private_key_jwt",)))


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        (300, 300),
        ("300", 300),
        (300.5, 300.5),
        (0, 0),
        (None, None),
        (-1, None),
        (True, None),
        ("soon", None),
        ("²", None),
        (10**400, None),
        ([], None),
    ],
)
def test_the_lifetime_of_a_token(expires_in, expected):
    """A number, also as a text; anything else is unknown."""
    body = {"access_token": "x", "token_type": "bearer", "expires_in": expires_in}
    tokens = read_answer("p", Answer(200, "application/json", json.dumps(body).encode()), 1000)
    assert tokens.lifetime == expected
    assert tokens.expires_at == (None if expected is None else 1000 + expected)


@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token": NaN}',
        b'{"level": 1e999}',
        b'{"name": "\\ud800"}',
        b'{"sub": "alice", "sub": "bob"}',
        b"[" * 100_000,
        b"\xff",
        b"[]",
        b"null",
        b"",
    ],
    ids=range(9),
)
def test_a_body_that_is_no_object(body):
    """Malformed JSON, and JSON of another kind, is no answer."""
    assert Answer(200, "application/json", body).json is None


def test_tokens_are_in_no_text():
    """Neither tokens nor answers show what they hold."""
    secret = "s3cret-token"
    body = json.dumps({"access_token": secret, "refresh_token": secret, "id_token": secret, "token_type": "bearer"})
    answer = Answer(200, "application/json", body.encode())
    assert secret not in repr([answer, read_answer("p", answer, 0), SignedToken("RS256", "", {"b": secret})])


def test_pauses():
    """A name pauses after a failure, others don't; the number of names is bounded."""
    clock = Clock(0)
    backoff = Backoff(5, clock)
    backoff.note("a")
    assert (backoff.remaining("a"), backoff.remaining("b")) == (5, 0)
    clock.advance(5)
    assert backoff.remaining("a") == 0
    for number in range(10_050):
        backoff.note(str(number))
    assert len(backoff._until) == 10_000


@pytest.mark.anyio
async def test_a_value_is_used_once():
    """The second use is told so; one that failed doesn't count; after its time a value may come again."""
    clock = Clock()
    single_use = SingleUse(MemorySessionStore(clock=clock), clock)

    async def use(value, *, fail=False):
        async with single_use.claim("kind", value, clock.now + 10) as is_first:
            if fail:
                raise KeyError
            return is_first

    with pytest.raises(KeyError):
        await use("a", fail=True)
    assert [await use("a"), await use("a"), await use("b")] == [True, False, True]
    clock.advance(11)
    assert await use("a")


@pytest.mark.anyio
async def test_of_many_at_once_one_is_first():
    """Others with the same value wait until the first has ended."""
    clock = Clock()
    single_use = SingleUse(MemorySessionStore(clock=clock), clock)
    firsts = []

    async def use():
        async with single_use.claim("kind", "a", clock.now + 10) as is_first:
            await anyio.sleep(0)
            firsts.append(is_first)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(use)
    assert sorted(firsts) == [False] * 9 + [True]
