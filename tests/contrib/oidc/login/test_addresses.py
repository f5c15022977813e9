"""The addresses of the login, and the pages to come back to."""

from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmaster.contrib.oidc.login.addresses import Addresses, find_origin

APP = Addresses("https://app.example/shop")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/orders", "/orders"),
        ("/orders?a=1&b=//x#part", "/orders?a=1&b=//x#part"),
        ("orders", "/shop/orders"),
        ("https://app.example/orders", "/orders"),
        ("https://APP.example:443/orders", "/orders"),
        ("/a/../b", "/b"),
        ("/%2F%2Fevil.example", "/%2F%2Fevil.example"),
        ("/?next=https://evil.example", "/?next=https://evil.example"),
    ],
)
def test_a_page_of_our_own(target, expected):
    """A path, and an address of our own origin, are kept as a path."""
    assert APP.keep_same_origin(target, "/") == expected


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "https://evil.example",
        "https:/\\evil.example",
        "https://evil.example/@app.example",
        "https://app.example@evil.example/",
        "https://user@app.example/",
        "https://app.example.evil.example/",
        "https://app.example:8443/",
        "http://app.example/",
        "HTTP://app.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "mailto:a@app.example",
        "https://[::1",
        "https://app.example:port/",
        "/ä",
        "/" + "x" * 1024,
        "/\x7f",
        "/\x00",
        "/\u2028/evil.example",
    ],
    ids=repr,
)
def test_a_page_of_others(target):
    """Everything else leads to the page of the settings."""
    assert APP.keep_same_origin(target, "/start") == "/shop/start"


@settings(max_examples=500)
@given(st.text(st.sampled_from("/\\:@?#.%evilxample-app\t\n https"), max_size=30))
def test_no_page_leaves_the_origin(target):
    """Whatever is asked for, a browser stays: the result is a path, read from our origin as our origin."""
    path = APP.keep_same_origin(target, "/")
    assert path.startswith("/")
    assert not path.startswith("//")
    assert not set(path) & set("\t\n\r\\ ")
    assert find_origin(urljoin("https://app.example/auth/callback", path)) == "https://app.example"


@pytest.mark.parametrize(
    "url",
    [
        *("", "app.example", "//app.example", "ftp://app.example", "https://", "https://a b", "https://a?x"),
        *("https://a#x", "https://u:p@a", "https://a:0", "https://a:x", "https://ä.example", "https://a\\b"),
    ],
)
def test_a_public_address_that_is_none(url):
    """Only a scheme, a host, a port and a path make a public address."""
    with pytest.raises(ValueError, match="public_url"):
        Addresses(url)


def test_the_addresses():
    """All of them begin with the public address; that of the first provider has no name in it."""
    addresses = Addresses("https://app.example:8443/")
    assert addresses.origin == "https://app.example:8443"
    assert addresses.callback("default") == "https://app.example:8443/auth/callback"
    assert addresses.callback("entra") == "https://app.example:8443/auth/callback/entra"
    assert addresses.login == "https://app.example:8443/auth/login"
    assert addresses.login_path("entra", "/a?b=c&d") == "/auth/login/entra?return_to=/a%3Fb%3Dc%26d"
    assert Addresses("http://[::1]:8000").origin == "http://[::1]:8000"
    assert Addresses("HTTPS://App.example:443").origin == "https://app.example"
