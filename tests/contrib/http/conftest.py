"""Certificates and clients for tests of HTTP calls."""

import ssl
from dataclasses import dataclass

import pytest
from tests.contrib.redis.certificates import certificate

from bandmaster.contrib.http import HttpSettings, open_client
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail


@dataclass(frozen=True)
class Authority:
    """A certificate for 127.0.0.1, and the context of a server that has it."""

    file: str
    key: str
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate for services on loopback."""
    try:
        made = certificate(tmp_path_factory.mktemp("certificates"), "service")
    except ServerUnavailable as error:
        skip_or_fail(error)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    return Authority(made.cert, made.key, context)


@pytest.fixture
def client():
    """Opens a client with short pauses, outside of an application."""

    def opened(name="http", *, transport=None, observers=(), **options):
        settings = HttpSettings(**{"backoff_base": 0.001, "backoff_cap": 0.001, **options})
        return open_client(settings, name, transport=transport, observers=observers)

    return opened


@pytest.fixture(autouse=True)
def no_proxies_of_this_machine(monkeypatch):
    """Proxies that the environment of the tests names aren't used."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
