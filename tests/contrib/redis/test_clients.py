"""Clients by Unix socket and by TLS."""

import ssl

import pytest
from tests.contrib.redis.certificates import certificate
from tests.contrib.redis.relays import relay

from bandmaster.contrib.redis import (
    RedisClosedError,
    RedisRefusedError,
    RedisSettings,
    RedisUnavailableError,
    redis,
)
from bandmaster.kernel.testing import ServerUnavailable, attempt, skip_or_fail

pytestmark = pytest.mark.anyio


async def start_failure(url, **options):
    settings = RedisSettings(url=url, connect_timeout=1, probe_timeout=1, **options)
    outcome = await attempt(contributions=[redis], overrides={RedisSettings: settings})
    outcome.assert_failed(component="redis")
    return outcome.cause


async def test_a_unix_socket(start_server, tmp_path, open_redis) -> None:
    """A client by Unix socket selects the database, and stays closed after the stop."""
    socket = tmp_path / "r.sock"
    start_server("--unixsocket", str(socket), "--requirepass", "pw")
    url = f"unix://:pw@{socket}?db=3"
    async with open_redis(url, max_connections=2) as client:
        await client.set("key", "value")
        assert {"db3"} == set(await client.info("keyspace"))
    with pytest.raises(RedisClosedError):
        await client.get("key")
    (await attempt(contributions=[redis], overrides={RedisSettings: RedisSettings(url=url)})).assert_clean()


async def test_a_unix_socket_that_fails(start_server, tmp_path) -> None:
    """A missing server and a wrong password are told apart, though redis-py wraps the second in the first."""
    socket = tmp_path / "r.sock"
    missing = await start_failure(f"unix://{socket}")
    assert isinstance(missing, RedisUnavailableError)
    assert f"Redis at {socket}, database 0" in str(missing)
    start_server("--unixsocket", str(socket), "--requirepass", "right")
    wrong = await start_failure(f"unix://:hunter2@{socket}")
    assert isinstance(wrong, RedisRefusedError)
    assert "refuses the user or the password of REDIS_URL" in str(wrong)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    try:
        return {
            "server": certificate(folder, "server"),
            "elsewhere": certificate(folder, "elsewhere", "127.0.0.2"),
            "client": certificate(folder, "client"),
        }
    except ServerUnavailable as error:
        skip_or_fail(error)


def serve_tls(made, asks_for=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    if asks_for is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(asks_for.cert)
    return context


async def test_tls(local_server, certificates, open_redis) -> None:
    """A client by TLS trusts the configured certificate, and has the same pool and guard."""
    async with relay(local_server.port, serve_tls(certificates["server"])) as wire:
        url = f"rediss://127.0.0.1:{wire.port}/1"
        async with open_redis(url, tls_ca_file=certificates["server"].cert) as client:
            await client.set("key", "value")
            wire.cut()
            assert b"value" == await client.get("key")
        with pytest.raises(RedisClosedError):
            await client.get("key")
        settings = RedisSettings(url=url, tls_ca_file=certificates["server"].cert)
        (await attempt(contributions=[redis], overrides={RedisSettings: settings})).assert_clean()


async def test_an_untrusted_certificate(local_server, certificates) -> None:
    """An untrusted certificate is refused for good, with the setting to change."""
    async with relay(local_server.port, serve_tls(certificates["server"])) as wire:
        for options in ({}, {"tls_ca_file": certificates["client"].cert}):
            cause = await start_failure(f"rediss://127.0.0.1:{wire.port}", **options)
            assert isinstance(cause, RedisRefusedError)
            assert f"127.0.0.1:{wire.port}, database 0 is not trusted" in str(cause)
            assert "certificate verify failed" in str(cause)
            assert "REDIS_TLS_CA_FILE" in str(cause)
        assert 2 == wire.accepted or 0 == wire.saw(b"HELLO")


async def test_a_certificate_for_another_host(local_server, certificates, open_redis) -> None:
    """A certificate for another host is refused, unless the settings allow that host."""
    made = certificates["elsewhere"]
    async with relay(local_server.port, serve_tls(made)) as wire:
        url = f"rediss://127.0.0.1:{wire.port}"
        cause = await start_failure(url, tls_ca_file=made.cert)
        assert isinstance(cause, RedisRefusedError)
        assert "IP address mismatch" in str(cause)
        async with open_redis(url, tls_ca_file=made.cert, tls_check_hostname=False) as client:
            assert await client.ping()


async def test_a_certificate_of_the_client(local_server, certificates, open_redis) -> None:
    """The client's certificate is sent to a server that asks for one."""
    server, own = certificates["server"], certificates["client"]
    async with relay(local_server.port, serve_tls(server, asks_for=own)) as wire:
        url = f"rediss://127.0.0.1:{wire.port}"
        trusted = {"tls_ca_file": server.cert}
        async with open_redis(url, tls_cert_file=own.cert, tls_key_file=own.key, **trusted) as client:
            assert await client.ping()
        with pytest.raises((RedisRefusedError, RedisUnavailableError)):
            async with open_redis(url, retries=0, **trusted) as client:
                await client.ping()


async def test_missing_certificates(certificates) -> None:
    """Missing certificates fail the start with the variable and the file."""
    for fields, expected in [
        ({"tls_ca_file": "/no/such/ca.pem"}, "REDIS_TLS_CA_FILE=/no/such/ca.pem"),
        (
            {"tls_cert_file": certificates["client"].cert},
            f"REDIS_TLS_CERT_FILE={certificates['client'].cert}",
        ),
    ]:
        settings = RedisSettings(url="rediss://127.0.0.1:1", **fields)
        outcome = await attempt(contributions=[redis], discover=False, overrides={RedisSettings: settings})
        outcome.assert_problem("certificates for Redis can't be read", expected)


async def test_certificates_are_read_once(local_server, certificates, open_redis, monkeypatch) -> None:
    """Certificates aren't read for each connection, which would block the event loop."""
    async with relay(local_server.port, serve_tls(certificates["server"])) as wire:
        url = f"rediss://127.0.0.1:{wire.port}"
        async with open_redis(url, tls_ca_file=certificates["server"].cert, max_connections=3) as client:
            monkeypatch.setattr(ssl, "create_default_context", None)
            held = [await client.connection_pool.get_connection() for _ in range(3)]
            for connection in held:
                await client.connection_pool.release(connection)
