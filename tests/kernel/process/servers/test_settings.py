"""Tests of bandmaster.kernel.process.servers.settings."""

import importlib.util

import pytest
from pydantic import ValidationError

from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.settings.display import describe_settings


@pytest.mark.requirement("FA-10", "XC-C1", "XC-C6")
def test_every_setting_is_described():
    """Every setting has a description and a variable with the prefix."""
    for setting in describe_settings(ServerSettings):
        assert setting.description
        assert setting.variable == "NOTIFY_SOCKET" or setting.variable.startswith("BANDMASTER_SERVER_")


def test_settings_from_the_environment(monkeypatch):
    """Variables have the prefix BANDMASTER_SERVER_; proxies are separated by commas."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "81")
    monkeypatch.setenv("BANDMASTER_SERVER_TRUSTED_PROXIES", "10.0.0.1, 10.1.0.0/16")
    read = ServerSettings()
    assert (read.port, read.trusted_proxies) == (81, {"10.0.0.1", "10.1.0.0/16"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"server": "hypercorn", "trusted_proxies": "*"}, "hypercorn has no such option"),
        ({"server": "granian", "websocket_message_limit": 5}, "choose the server 'uvicorn' or 'hypercorn'"),
        ({"loop": "trio"}, "uvicorn doesn't run on trio"),
        ({"uds": "/tmp/a", "fd": 3}, "uds: BANDMASTER_SERVER_FD is set, too"),
        ({"port": 65536}, "port"),
        (
            {"server": "granian", "header_limit": 8191},
            "header_limit: granian takes 8192 or more; raise it, or change the server",
        ),
        ({"uds": "/tmp/" + "a" * 200}, "the path has 205 bytes, and that of a Unix socket at most 10"),
    ],
)
def test_settings_that_a_server_does_not_support(settings, fields, said):
    """A setting that would have no effect with the chosen server is refused."""
    with pytest.raises(ValidationError) as refused:
        settings(**fields)
    assert said in str(refused.value)


@pytest.mark.parametrize("host", ["", " ", "127.0.0.1:80", "[::1]", "a b"])
def test_a_host_that_is_no_address(settings, host):
    """The address is judged when settings are read, so that a check refuses what the launcher can't bind."""
    with pytest.raises(ValidationError, match="expected an address or a name alone"):
        settings(host=host)
    assert ["127.0.0.1", "::1"] == [settings(host=good).host for good in (" 127.0.0.1", "::1")]


@pytest.mark.parametrize("host", ["300.1.1.1", "1.2.3.4.5", "a::b::c", "fe80::g", "a..b", f"{'a' * 64}.example"])
def test_a_host_that_is_certain_not_to_resolve(settings, host):
    """Neither an address nor a name, on whichever machine."""
    with pytest.raises(ValidationError, match="expected an address or a name; this is neither"):
        settings(host=host)
    for good in ("localhost", "shop_1.internal.", "127.1", "::", "fe80::1%lo", "0.0.0.0", "café.example"):
        assert good == settings(host=good).host


@pytest.mark.parametrize(
    ("proxies", "said"),
    [
        ("nope,10.0.0.1", "'nope' is neither an address, nor a network such as 10.0.0.0/8, nor *"),
        ("300.1.1.1", "'300.1.1.1' is neither an address"),
        ("10.0.0.1/33", "'10.0.0.1/33' is neither an address"),
        ("10.0.0.1/8", "'10.0.0.1/8' is an address inside a network; write 10.0.0.0/8"),
        ("*,10.0.0.1", "* is every proxy, and stands alone"),
    ],
)
def test_proxies_that_no_request_comes_from(monkeypatch, proxies, said):
    """A server would compare the text with addresses, and never trust a proxy."""
    monkeypatch.setenv("BANDMASTER_SERVER_TRUSTED_PROXIES", proxies)
    with pytest.raises(ValidationError) as refused:
        ServerSettings()
    assert said in str(refused.value)


@pytest.mark.parametrize("proxies", ["*", "10.0.0.1", "::1,fd00::/8", "10.0.0.0/8", "/run/proxy.sock", "unix:", ""])
def test_proxies_that_servers_know(monkeypatch, proxies):
    """Addresses, networks, paths of Unix sockets, and the star."""
    monkeypatch.setenv("BANDMASTER_SERVER_TRUSTED_PROXIES", proxies)
    assert {part for part in proxies.split(",") if part} == ServerSettings().trusted_proxies


def test_a_backlog_that_no_system_takes(settings):
    """A number that listen() can't take is refused, and doesn't end the run with a traceback."""
    with pytest.raises(ValidationError, match="backlog"):
        settings(backlog=2**31)


def test_the_event_loop(settings, monkeypatch):
    """The event loop auto is uvloop if that is installed."""
    assert settings(loop="uvloop").runs_on_uvloop
    assert not settings(loop="asyncio").runs_on_uvloop
    assert settings(loop="trio", server="hypercorn").runs_on_trio
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not settings().runs_on_uvloop
