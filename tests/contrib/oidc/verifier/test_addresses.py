"""The addresses of providers."""

import pytest

from bandmaster.contrib.oidc.addresses import check_address, check_host, check_published_address, parse_address

SOURCE = "https://id.example/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://id.example/keys", "id.example"),
        ("https://ID.Example:8443/keys?x=1", "id.example"),
        ("https://id.example./keys", "id.example"),
        ("https://[2001:db8::1]:8443/", "2001:db8::1"),
        ("https://my_host/keys", "my_host"),
        ("https://1password.example", "1password.example"),
    ],
)
def test_the_host_is_found(url, host):
    """Ports, paths, capitals and a dot at the end don't count."""
    assert host == parse_address(url).host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id.example",
        "//id.example/keys",
        "https://",
        "https:///keys",
        "https://:443/",
        "https://id.example:0/",
        "https://id.example:99999/",
        "https://id.example:x/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "gopher://id.example/",
        "https://a@id.example/",
        "https://@id.example/",
        "https://id.example/#x",
        "https://id.example#",
        "https://id.example\\.evil.example/",
        "https://id.example/\nx",
        "https://id.exämple/",
        "https://[::1",
        "https://[zzz]/",
        "https://-id.example/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://id.example%2e/",
    ],
)
def test_what_parsers_read_differently_is_no_address(url):
    """Malformed URLs raise, also those that some programs would reach."""
    with pytest.raises(ValueError):
        parse_address(url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]", "a.localhost"])
def test_this_machine_is_reached_without_tls_where_that_is_allowed(host):
    """Loopback by plain HTTP depends on the environment."""
    check_address(f"http://{host}:9000/")
    with pytest.raises(ValueError, match="isn't https"):
        check_address(f"http://{host}:9000/", allow_loopback=False)


@pytest.mark.requirement("AU-10")
@pytest.mark.parametrize(
    "url",
    [
        "http://id.example/keys",
        "http://localhost.example/keys",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/keys",
        "https://192.168.0.1/keys",
        "https://[fd00::1]/keys",
        "https://[::ffff:10.0.0.1]/keys",
        # By a translator or a tunnel to IPv4, by multicast, and by the names of this machine.
        "https://[::127.0.0.1]/keys",
        "https://[64:ff9b::10.0.0.1]/keys",
        "https://[64:ff9b:1::10.0.0.1]/keys",
        "https://[2002:7f00:1::]/keys",
        "https://[::ffff:0:127.0.0.1]/keys",
        "https://[ff02::1]/keys",
        "https://224.0.0.1/keys",
        "https://ip6-localhost/keys",
        "https://localhost.localdomain/keys",
        "https://0.0.0.0/keys",
        "https://127.0.0.1/keys",
        "https://localhost/keys",
        "file:///etc/passwd",
        "https://user@id.example/",
    ],
)
def test_a_document_cannot_lead_inside(url):
    """Addresses that a discovery document names are HTTPS ones, and not internal ones."""
    with pytest.raises(ValueError):
        check_published_address(url, SOURCE, allow_loopback=False)


def test_a_document_may_name_its_own_host_and_named_ones():
    """A provider on an internal address names that address; others must be named by a setting."""
    check_published_address("https://10.0.0.1/keys", "https://10.0.0.1/discovery")
    check_published_address("http://keycloak:8080/keys", SOURCE, ["keycloak"])
    check_published_address("https://10.0.0.2/keys", SOURCE, ["10.0.0.2"])
    check_published_address("https://www.keys.example/certs", SOURCE)


@pytest.mark.parametrize(("host", "expected"), [("Keycloak", "keycloak"), ("[::1]", "::1"), ("10.0.0.1", "10.0.0.1")])
def test_hosts_are_named_in_one_way(host, expected):
    """Capitals and brackets don't count."""
    assert expected == check_host(host)
