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


async def _cause(url, **options):
    settings = RedisSettings(url=url, connect_timeout=1, probe_timeout=1, **options)
    outcome = await attempt(contributions=[redis], overrides={RedisSettings: settings})
    outcome.assert_failed(component="redis")
    return outcome.cause


# -- Unix sockets ----------------------------------------------------------------------------------------------------


async def test_a_unix_socket(start_server, tmp_path, opened) -> None:
    """With a database, and closed for good as any other."""
    socket = tmp_path / "r.sock"
    start_server("--unixsocket", str(socket), "--requirepass", "pw")
    url = f"unix://:pw@{socket}?db=3"
    async with opened(url, max_connections=2) as client:
        await client.set("key", "value")
        assert {"db3"} == set(await client.info("keyspace"))
    with pytest.raises(RedisClosedError):
        await client.get("key")
    (await attempt(contributions=[redis], overrides={RedisSettings: RedisSettings(url=url)})).assert_clean()


async def test_a_unix_socket_that_fails(start_server, tmp_path) -> None:
    """For want of a server, or of the right password: redis-py wraps the second in the first."""
    socket = tmp_path / "r.sock"
    missing = await _cause(f"unix://{socket}")
    assert isinstance(missing, RedisUnavailableError)
    assert f"Redis at {socket}, database 0" in str(missing)
    start_server("--unixsocket", str(socket), "--requirepass", "right")
    wrong = await _cause(f"unix://:hunter2@{socket}")
    assert isinstance(wrong, RedisRefusedError)
    assert "refuses the user or the password of REDIS_URL" in str(wrong)


# -- TLS -------------------------------------------------------------------------------------------------------------


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


def _speaking(made, asks_for=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    if asks_for is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(asks_for.cert)
    return context


async def test_tls(local_server, certificates, opened) -> None:
    """With a certificate that the settings trust; the pool and its guard are the same."""
    async with relay(local_server.port, _speaking(certificates["server"])) as wire:
        url = f"rediss://127.0.0.1:{wire.port}/1"
        async with opened(url, tls_ca_file=certificates["server"].cert) as client:
            await client.set("key", "value")
            wire.cut()
            assert b"value" == await client.get("key")
        with pytest.raises(RedisClosedError):
            await client.get("key")
        settings = RedisSettings(url=url, tls_ca_file=certificates["server"].cert)
        (await attempt(contributions=[redis], overrides={RedisSettings: settings})).assert_clean()


async def test_a_certificate_that_nobody_trusts(local_server, certificates) -> None:
    """Is refused for good, and the setting that would change it is named."""
    async with relay(local_server.port, _speaking(certificates["server"])) as wire:
        for options in ({}, {"tls_ca_file": certificates["client"].cert}):
            cause = await _cause(f"rediss://127.0.0.1:{wire.port}", **options)
            assert isinstance(cause, RedisRefusedError)
            assert f"127.0.0.1:{wire.port}, database 0 is not trusted" in str(cause)
            assert "certificate verify failed" in str(cause)
            assert "REDIS_TLS_CA_FILE" in str(cause)
        assert 2 == wire.accepted or 0 == wire.saw(b"HELLO")


async def test_a_certificate_for_another_host(local_server, certificates, opened) -> None:
    """Is refused, unless the settings let it pass."""
    made = certificates["elsewhere"]
    async with relay(local_server.port, _speaking(made)) as wire:
        url = f"rediss://127.0.0.1:{wire.port}"
        cause = await _cause(url, tls_ca_file=made.cert)
        assert isinstance(cause, RedisRefusedError)
        assert "IP address mismatch" in str(cause)
        async with opened(url, tls_ca_file=made.cert, tls_check_hostname=False) as client:
            assert await client.ping()


async def test_a_certificate_of_the_client(local_server, certificates, opened) -> None:
    """Is shown to who asks for it."""
    server, own = certificates["server"], certificates["client"]
    async with relay(local_server.port, _speaking(server, asks_for=own)) as wire:
        url = f"rediss://127.0.0.1:{wire.port}"
        trusted = {"tls_ca_file": server.cert}
        async with opened(url, tls_cert_file=own.cert, tls_key_file=own.key, **trusted) as client:
            assert await client.ping()
        with pytest.raises((RedisRefusedError, RedisUnavailableError)):
            async with opened(url, retries=0, **trusted) as client:
                await client.ping()


async def test_certificates_that_are_not_there(certificates) -> None:
    """Fail the start with the variable and the file."""
    cause = await _cause("rediss://127.0.0.1:1", tls_ca_file="/no/such/ca.pem")
    assert isinstance(cause, RedisRefusedError)
    assert "REDIS_TLS_CA_FILE=/no/such/ca.pem" in str(cause)
    cause = await _cause("rediss://127.0.0.1:1", tls_cert_file=certificates["client"].cert)
    assert f"REDIS_TLS_CERT_FILE={certificates['client'].cert}" in str(cause)


async def test_certificates_are_read_once(local_server, certificates, opened, monkeypatch) -> None:
    """Not again for each connection, which would hold up the event loop."""
    async with relay(local_server.port, _speaking(certificates["server"])) as wire:
        url = f"rediss://127.0.0.1:{wire.port}"
        async with opened(url, tls_ca_file=certificates["server"].cert, max_connections=3) as client:
            monkeypatch.setattr(ssl, "create_default_context", None)
            held = [await client.connection_pool.get_connection() for _ in range(3)]
            for connection in held:
                await client.connection_pool.release(connection)
