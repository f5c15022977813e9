"""A Redis server for tests: the one that the environment names, else a server that is started here."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis import Redis
from redis.exceptions import RedisError

from bandmaster.contrib.redis.address import PORT, parse_address
from bandmaster.contrib.redis.testing.programs import redis_program
from bandmaster.kernel.testing import ServerUnavailable, free_port, server_process

_HOST = "127.0.0.1"
_SECONDS = 5
# A server that requires a password, or a replica without its master, is running as well.
_RUNNING_REPLIES = (b"+PONG", b"-NOAUTH", b"-MASTERDOWN")


class RedisTestSettings(BaseSettings):
    """Which Redis tests use, read from variables that begin with ``BANDMASTER_TEST_REDIS_``."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="BANDMASTER_TEST_REDIS_", extra="ignore", hide_input_in_errors=True
    )

    url: SecretStr | None = Field(
        default=None, description="The URL of a running server whose databases may be emptied; unset: start one."
    )


class RedisServer:
    """A Redis server and its address."""

    def __init__(self, url: str, process: _Process | None = None) -> None:
        self._url = url
        self._process = process

    def url(self, db: int | None = None) -> str:
        """Render the URL of a database: by default the first, or the one that the environment names."""
        return self._url if db is None else _with_database(self._url, db)

    @property
    def database(self) -> int:
        """The number of the database in `url`."""
        return parse_address(self._url).database

    @property
    def port(self) -> int:
        """The port on which the server listens."""
        return urlsplit(self._url).port or PORT

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The server process while it runs; None for a server that was not started here."""
        return None if self._process is None else self._process.running

    @property
    def log(self) -> Path:
        """The file of the server's log.

        Raises:
            RuntimeError: the server was not started here.
        """
        return self._own().log

    def empty(self, db: int | None = None) -> None:
        """Delete everything in a database."""
        with _reach(self.url(db)) as client:
            client.flushdb()

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server in good order, or end the process as a crash does.

        Raises:
            RuntimeError: the server was not started here.
        """
        self._own().stop(signal.SIGKILL if kill else signal.SIGTERM)

    def start(self) -> None:
        """Start the server again, in the same folder and at the same port.

        Raises:
            RuntimeError: the server was not started here.
            ServerUnavailable: the server can't be started.
        """
        self._own().start()

    def restart(self, *, kill: bool = False) -> None:
        """`stop` the server, and `start` the server again."""
        self.stop(kill=kill)
        self.start()

    def _own(self) -> _Process:
        if self._process is None:
            raise RuntimeError("this server was named by BANDMASTER_TEST_REDIS_URL; it isn't for tests to restart")
        return self._process


@contextmanager
def redis_server(folder: Path, *, options: Sequence[str] = ()) -> Iterator[RedisServer]:
    """Run a server until the block ends, with its log and data in ``folder``; by default no data is kept on disk.

    With ``options``, the server's own such as ``["--requirepass", "secret"]``, a server is started in any case.

    Raises:
        ServerUnavailable: no server is named, and none can be started.
    """
    named = RedisTestSettings().url
    if named is not None and not options:
        yield _make_named_server(named.get_secret_value())
        return
    process = _Process(folder, options)
    try:
        process.start()
        yield RedisServer(f"redis://{_HOST}:{process.port}/0", process)
    finally:
        process.stop(signal.SIGTERM)


def _make_named_server(url: str) -> RedisServer:
    try:
        parse_address(url)
        with _reach(url) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        raise ServerUnavailable(f"the server of BANDMASTER_TEST_REDIS_URL can't be reached: {error}") from error
    return RedisServer(url)


def _reach(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)


def _with_database(url: str, db: int) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return urlunsplit(parts._replace(query=f"db={db}"))
    return urlunsplit(parts._replace(path=f"/{db}", query=""))


class _Process:
    """The folder and the port of a server, and the process while it runs."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.port = free_port()
        self.log = folder / "redis.log"
        self._command: list[str | os.PathLike[str]] = [
            redis_program(),
            *("--port", str(self.port), "--bind", _HOST, "--dir", str(folder)),
            *("--save", "", "--appendonly", "no"),
            *options,
        ]
        self._holding = ExitStack()
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.running is None:
            self.running = self._holding.enter_context(
                server_process(self._command, name="Redis", log=self.log, ready=self._answers)
            )

    def stop(self, by: int) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.send_signal(by)
        self._holding.close()
        self.running = None

    def _answers(self) -> bool:
        with socket.create_connection((_HOST, self.port), timeout=_SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(_RUNNING_REPLIES)
