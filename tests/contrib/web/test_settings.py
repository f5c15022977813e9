"""The settings of the web parts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.context import RequestContextLayer
from bandmaster.kernel import PlanError, create_app

HOLES = [
    (r"https://shop.example", "https://shopxexample"),
    (r"https://(www\.)?shop.example", "https://shopxexample"),
    (r"https://[a-z]+.shop\.example", "https://aaxshop.example"),
    (r"https://.?shop\.example", "https://xshop.example"),
    (r"https://shop\.example.*", "https://shop.example.evil.example"),
    (r"^https://shop\.example.+$", "https://shop.example.evil.example"),
    (r"https://shop\.example(.*)?", "https://shop.example.evil.example"),
    (r"https://.*shop\.example", "https://evilshop.example"),
    (r"https://(.+)shop\.example", "https://evilshop.example"),
    (r".*", "null"),
    (r"https?://.*", "https://evil.example"),
    (r"https://[a-z.]+", "https://evil.example"),
    (r"https://[\w.-]+(:\d+)?", "https://evil.example"),
    (r"https://shop\.example|null", "null"),
]


def _read_error(**values) -> str:
    with pytest.raises(ValidationError) as caught:
        WebSettings(**values)
    return str(caught.value)


def _from_environment(monkeypatch, **variables: str) -> WebSettings:
    for name, value in variables.items():
        monkeypatch.setenv(f"WEB_{name.upper()}", value)
    return WebSettings()


def test_lists_come_with_commas(monkeypatch) -> None:
    """Lists are separated by commas, with or without spaces and a last comma."""
    settings = _from_environment(
        monkeypatch,
        cors_origins="https://a.example, https://b.example,",
        cors_methods="get,PUT",
        allowed_hosts="a.example,*.b.example",
        websocket_origins="",
    )
    assert ("https://a.example", "https://b.example") == settings.cors_origins
    assert ("GET", "PUT") == settings.cors_methods
    assert ("a.example", "*.b.example") == settings.allowed_hosts
    assert () == settings.websocket_origins


def test_lists_may_be_json(monkeypatch) -> None:
    """A list in JSON is read as a list; other JSON would be read as one name, and is refused."""
    monkeypatch.setenv("WEB_CORS_ORIGINS", '["https://a.example", "https://b.example"]')
    assert ("https://a.example", "https://b.example") == WebSettings().cors_origins
    monkeypatch.setenv("WEB_CORS_ORIGINS", '{"https://a.example": 1}')
    with pytest.raises(ValidationError, match="commas between them, or a list in JSON"):
        WebSettings()


def test_limits_can_be_lifted(monkeypatch) -> None:
    """The word `none` removes a limit. An empty variable isn't set, and so leaves the limit."""
    settings = _from_environment(monkeypatch, max_body_bytes="none", max_message_bytes="None")
    assert (None, None) == (settings.max_body_bytes, settings.max_message_bytes)
    settings = _from_environment(monkeypatch, max_body_bytes="", max_message_bytes="")
    assert (10 * 1024 * 1024, 1024 * 1024) == (settings.max_body_bytes, settings.max_message_bytes)


def test_limits_of_paths_are_json(monkeypatch) -> None:
    """The order of the globs is kept."""
    settings = _from_environment(monkeypatch, body_limits='{"/b/*": 2, "/a": 1}')
    assert [("/b/*", 2), ("/a", 1)] == list(settings.body_limits.items())


@pytest.mark.parametrize("field", ["access_log_exclude", "body_limits"])
def test_a_glob_that_matches_nothing_is_refused(field: str) -> None:
    """The message suggests the glob with a slash."""
    assert "did you mean '/uploads/*'" in _read_error(
        **{field: {"uploads/*": 1} if field == "body_limits" else "uploads/*"}
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[0:0::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("*", "*"),
    ],
)
@pytest.mark.parametrize("field", ["cors_origins", "websocket_origins"])
def test_origins_are_normalized(field: str, given: str, kept: str) -> None:
    """Origins are in lower case, without the default port of the scheme (RFC 6454, 6.2)."""
    assert (kept,) == getattr(WebSettings(**{field: given}), field)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("shop.example", "has no scheme; did you mean 'https://shop.example'?"),
        ("Shop.example:8443/", "has no scheme; did you mean 'https://shop.example:8443'?"),
        ("https://shop.example/", "did you mean 'https://shop.example'?"),
        ("https://shop.example/basket?x#y", "did you mean 'https://shop.example'?"),
        ("https://shop.example:443/", "did you mean 'https://shop.example'?"),
        ("https://bücher.example", "did you mean 'https://xn--bcher-kva.example'?"),
        ("null", "it can't be let in"),
        ("https://*.shop.example", "cors_origin_regex"),
        ("https://", "is no origin"),
        ("https:shop.example", "is no origin"),
        ("https://user@shop.example", "is no origin"),
        ("https://shop.example:port", "is no origin"),
        ("https://shop.example:65536", "is no origin"),
        ("https://shop.example:0443", "is no origin"),
        ("https://shop..example", "is no origin"),
        ("https://[::g]", "is no origin"),
        ("https://shop example", "is no origin"),
        ("1https://shop.example", "is no origin"),
    ],
)
@pytest.mark.parametrize("field", ["cors_origins", "websocket_origins"])
def test_an_origin_that_no_browser_sends_is_refused(field: str, given: str, message: str) -> None:
    """Such an origin would let no page in, so the message suggests another."""
    error = _read_error(**{field: given})
    assert repr(given) in error
    assert message in error


@settings(deadline=None)
@given(
    st.sampled_from(["http", "HTTPS", "app"]),
    st.from_regex(r"[A-Za-z0-9-]{1,9}(\.[a-z]{1,5})?", fullmatch=True),
    st.none() | st.integers(1, 65535),
)
def test_a_parsed_origin_is_parsed_to_itself(scheme: str, host: str, port: int | None) -> None:
    """Parsing an origin twice changes nothing."""
    (kept,) = WebSettings(cors_origins=(f"{scheme}://{host}" + (f":{port}" if port else ""),)).cors_origins
    assert (kept,) == WebSettings(cors_origins=(kept,)).cors_origins
    assert kept == kept.lower()


@pytest.mark.parametrize("field", ["cors_origins", "websocket_origins", "allowed_hosts"])
def test_other_names_beside_a_star_are_refused(field: str) -> None:
    """A list with a star and a name has one too many."""
    other = "shop.example" if field == "allowed_hosts" else "https://shop.example"
    assert "naming others beside it means nothing" in _read_error(**{field: ("*", other)})


@pytest.mark.requirement("CF-05", "FA-5")
def test_credentials_for_every_origin_are_refused() -> None:
    """With both, every page on the web could act for the user who is logged in."""
    assert "name the origins" in _read_error(cors_origins="*", cors_credentials=True)
    assert "lets every origin in" in _read_error(cors_origin_regex="https?://.*", cors_credentials=True)
    WebSettings(cors_origins="https://shop.example", cors_credentials=True)


@pytest.mark.parametrize("expression", HOLES, ids=[expression for expression, _ in HOLES])
def test_an_expression_with_a_hole_is_refused(expression: tuple[str, str]) -> None:
    """Each of these expressions matches an origin that a stranger can have."""
    pattern, stranger = expression
    assert re.fullmatch(pattern, stranger)
    assert repr(pattern) in _read_error(cors_origin_regex=pattern)


@pytest.mark.parametrize(
    "expression",
    [
        r"https://shop\.example",
        r"^https://shop\.example$",
        r"https://[a-z0-9-]+\.shop\.example",
        r"https://.*\.shop\.example",
        r"https://(.+\.)?shop\.example(:\d+)?",
        r"https://shop\.example(:.*)?",
        r"https://[^.]+\.shop[.]example",
        r"https://[\].a]+\.shop\.example",
        r"https://.{1,20}\.shop\.example",
        r"http://localhost:[0-9]+",
        r"https://pr-\d+--preview\.shop\.example",
    ],
)
def test_an_expression_without_a_hole_is_kept(expression: str) -> None:
    """An expression needs no anchors, since whole origins are compared."""
    assert expression == WebSettings(cors_origin_regex=expression).cors_origin_regex


def test_the_message_suggests_an_expression() -> None:
    """The suggestion has escaped dots, and no other change."""
    assert repr(r"https://([a.]+\.)?shop\.example") in _read_error(cors_origin_regex=r"https://([a.]+\.)?shop.example")


def test_an_invalid_expression_is_refused() -> None:
    """The message has the error of the regular expression."""
    assert "'https://(' is no regular expression: missing )" in _read_error(cors_origin_regex="https://(")


def test_an_empty_expression_is_none(monkeypatch) -> None:
    """An empty variable is the same as none."""
    assert _from_environment(monkeypatch, cors_origin_regex="").cors_origin_regex is None


@pytest.mark.parametrize("field", ["cors_methods", "cors_headers", "cors_expose_headers"])
@pytest.mark.parametrize("given", ["a b", "a:b", "ä", "a\nb"])
def test_methods_and_names_are_tokens(field: str, given: str) -> None:
    """A value that is no token can't get into the headers that list these settings."""
    assert repr(given) in _read_error(**{field: (given,)})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Shop.Example", "shop.example"),
        ("shop.example.", "shop.example"),
        ("*.shop.example", "*.shop.example"),
        ("localhost", "localhost"),
        ("my_service", "my_service"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::0:1]", "[::1]"),
        ("*", "*"),
    ],
)
def test_hosts_are_normalized(given: str, kept: str) -> None:
    """Host names are in lower case, without a dot at the end."""
    assert (kept,) == WebSettings(allowed_hosts=given).allowed_hosts


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://shop.example", "did you mean 'shop.example'?"),
        ("https://shop.example:8443/x", "did you mean 'shop.example'?"),
        ("shop.example:8000", "did you mean 'shop.example'?"),
        ("[::1]:8000", "did you mean '[::1]'?"),
        ("shop.example/x", "did you mean 'shop.example'?"),
        (".shop.example", "did you mean '*.shop.example'?"),
        ("bücher.example", "did you mean 'xn--bcher-kva.example'?"),
        ("*shop.example", "is no host name"),
        ("shop.*", "is no host name"),
        ("*.*.example", "is no host name"),
        ("*.", "is no host name"),
        ("*.[::1]", "is no host name"),
        ("::1", "is no host name"),
        ("[::g]", "is no host name"),
        ("shop..example", "is no host name"),
        ("user@shop.example", "is no host name"),
        ("shop example", "is no host name"),
    ],
)
def test_an_invalid_host_is_refused(given: str, message: str) -> None:
    """Such a host would refuse every request, so the message suggests another."""
    error = _read_error(allowed_hosts=given)
    assert repr(given) in error
    assert message in error


def test_an_empty_list_of_hosts_is_refused() -> None:
    """A service without hosts would refuse every request."""
    assert "* serves any" in _read_error(allowed_hosts="")


@pytest.mark.parametrize("field", ["content_security_policy", "permissions_policy", "referrer_policy"])
@pytest.mark.parametrize("character", ["\r", "\n", "\x00", "\x1b", "\x7f", "é"])
def test_a_value_that_no_header_may_have_is_refused(field: str, character: str) -> None:
    """A line break would begin another header, and programs disagree about other control characters."""
    assert repr(character) in _read_error(**{field: f"origin{character}x"})


def test_whitespace_around_a_header_is_removed() -> None:
    """A value from a file may end in a line break, which servers refuse to send."""
    assert "default-src 'self'" == WebSettings(content_security_policy=" default-src 'self'\n").content_security_policy


def test_referrer_policies_are_known() -> None:
    """An unknown policy is refused, since browsers ignore one. A list names fallbacks for older browsers."""
    assert "'no-referer' is no referrer policy" in _read_error(referrer_policy="no-referer")
    policy = "no-referrer, strict-origin-when-cross-origin"
    assert policy == WebSettings(referrer_policy=policy).referrer_policy
    assert "" == WebSettings(referrer_policy="").referrer_policy


@pytest.mark.requirement("CF-05", "FA-5")
def test_a_mistake_is_a_plan_error(monkeypatch) -> None:
    """A wrong setting is reported before anything is started."""
    monkeypatch.setenv("WEB_CORS_ORIGINS", "*")
    monkeypatch.setenv("WEB_CORS_CREDENTIALS", "true")
    with pytest.raises(PlanError, match="name the origins"):
        create_app(contributions=[RequestContextLayer], discover=False)
