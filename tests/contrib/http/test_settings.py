"""Settings of an HTTP client."""

import pytest
from pydantic import ValidationError

from bandmaster.contrib.http import HttpSettings
from bandmaster.kernel import load_settings, named_settings


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("base_url", "billing.internal", "expected an address such as https://billing.internal/v1"),
        ("base_url", "ftp://billing.internal", "expected an address"),
        ("base_url", "https://user:hunter2@billing.internal", "has a user or a password"),
        ("base_url", "https://billing.internal?key=1", "has a query or a fragment"),
        ("base_url", "https://billing.internal:hunter2", "isn't a URL"),
        ("proxy_url", "ftp://proxy:3128", "expected a proxy such as http://host:3128"),
        ("proxy_url", "http://user:hunter2@:3128", "expected a proxy"),
        ("proxy_url", "http://user:hunter2@proxy:port", "isn't a URL"),
        ("max_connections", 0, "greater than or equal to 1"),
        ("deadline", 0, "greater than 0"),
        ("deadline", "inf", "finite number"),
        ("retries", -1, "greater than or equal to 0"),
        ("forward_hosts", "https://orders.internal", "leave out the scheme and the path"),
        ("forward_hosts", "*", "every host on the internet"),
        ("forward_hosts", "orders internal", "isn't a host"),
        ("tls_key_file", "key.pem", "needs tls_cert_file"),
        ("backoff_base", 5, "must not be above backoff_cap"),
        ("max_idle_connections", 21, "must not be above max_connections"),
    ],
)
@pytest.mark.requirement("P-18", "XC-C1")
def test_wrong_values_are_refused(field, value, reason) -> None:
    """The message says what is expected, and repeats no password."""
    with pytest.raises(ValidationError) as raised:
        HttpSettings(**{field: value})
    text = str(raised.value)
    assert reason in text
    assert "hunter2" not in text


def test_the_variables_of_proxies_have_no_prefix(monkeypatch) -> None:
    """Every client reads the variables that all programs share, in capitals or small letters."""
    kind = named_settings(HttpSettings, "billing", about="the HTTP client 'billing'")
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")
    monkeypatch.setenv("https_proxy", "http://other:3129")
    monkeypatch.setenv("NO_PROXY", "localhost, .internal,10.0.0.0/8")
    monkeypatch.setenv("BILLING_HTTP_PROXY_URL", "socks5://third")
    for settings in (load_settings(HttpSettings), load_settings(kind)):
        assert ("http://proxy:3128", "http://other:3129") == (settings.http_proxy, settings.https_proxy)
        assert ("localhost", ".internal", "10.0.0.0/8") == settings.no_proxy
    assert (None, "socks5://third") == (load_settings(HttpSettings).proxy_url, load_settings(kind).proxy_url)


def test_an_empty_variable_means_no_proxy(monkeypatch) -> None:
    """Shells switch a proxy off in this way."""
    monkeypatch.setenv("HTTP_PROXY", "")
    monkeypatch.setenv("NO_PROXY", "")
    settings = load_settings(HttpSettings)
    assert (None, ()) == (settings.http_proxy, settings.no_proxy)


def test_none_is_no_deadline(monkeypatch) -> None:
    """A client without a deadline is one that somebody asked for."""
    assert 30 == load_settings(HttpSettings).deadline
    monkeypatch.setenv("HTTP_DEADLINE", "none")
    assert load_settings(HttpSettings).deadline is None


@pytest.mark.requirement("AU-17")
def test_no_text_of_the_settings_has_the_password_of_a_proxy() -> None:
    """Neither the repr nor a dump has it."""
    settings = HttpSettings(proxy_url="http://user:hunter2@proxy:3128", https_proxy="http://user:hunter2@proxy:3128")
    assert "hunter2" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    assert "http://user:***@proxy:3128" == settings.model_dump()["proxy_url"]
