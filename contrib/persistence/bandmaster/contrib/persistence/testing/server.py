"""A PostgreSQL server for tests: the one that the environment names, else a server that is started here."""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url

from bandmaster.contrib.persistence.testing.binaries import programs
from bandmaster.kernel.testing import ServerUnavailable, free_port, guarded_folder, guarded_process, server_process

_HOST = "127.0.0.1"
_SUPERUSER = "postgres"
_UNPRIVILEGED = "nobody"
_CONNECT = 5
_STOP = 20.0

_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_prepared_transactions": "20",
    # Tests connect often, and their passwords protect nothing.
    "scram_iterations": "1",
    # A client that goes silent while it connects keeps DROP DATABASE waiting until then.
    "authentication_timeout": "10s",
    "unix_socket_directories": "",
    "logging_collector": "off",
}


class PostgresTestSettings(BaseSettings):
    """Which PostgreSQL tests use, read from variables that begin with ``BANDMASTER_TEST_POSTGRES_``."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="BANDMASTER_TEST_POSTGRES_", extra="ignore", hide_input_in_errors=True
    )

    url: SecretStr | None = Field(default=None, description="A superuser's URL of a running server; unset: start one.")


class PostgresServer:
    """A PostgreSQL server, with the address and the password of its superuser."""

    def __init__(self, superuser: URL, process: _Process | None = None) -> None:
        self._superuser = superuser
        self._process = process

    @property
    def host(self) -> str:
        """The address on which the server listens."""
        return self._superuser.host or _HOST

    @property
    def port(self) -> int:
        """The port on which the server listens."""
        return self._superuser.port or 5432

    def url(
        self, database: str = "postgres", user: str = "", password: str | None = None, *, driver: str = "psycopg"
    ) -> str:
        """Render a SQLAlchemy URL that contains the password: of the superuser, unless a user is named."""
        url = self._superuser.set(drivername=f"postgresql+{driver}", database=database)
        if user:
            url = url.set(username=user, password=password)
        return url.render_as_string(hide_password=False)

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the superuser, in autocommit mode."""
        return psycopg.connect(_conninfo(self._superuser.set(database=database)), autocommit=True)

    def stop(self, *, fast: bool = True) -> None:
        """Stop the server: at once, or when the clients have left if not ``fast``.

        Raises:
            RuntimeError: the server was not started here.
        """
        self._own().stop(signal.SIGINT if fast else signal.SIGTERM)

    def start(self) -> None:
        """Start the server again, with the same data at the same port.

        Raises:
            RuntimeError: the server was not started here.
        """
        self._own().start()

    def _own(self) -> _Process:
        if self._process is None:
            raise RuntimeError("this server was named by BANDMASTER_TEST_POSTGRES_URL; it isn't for tests to restart")
        return self._process


@contextmanager
def postgres_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run a server until the block ends. With ``settings``, which are PostgreSQL's, a server is started in any case.

    Raises:
        ServerUnavailable: no server is named, and none can be started.
    """
    named = PostgresTestSettings().url
    if named is not None and settings is None:
        yield _make_named_server(make_url(named.get_secret_value()))
        return
    # Only this process' user may read pytest's own folders, and the server may run as another user.
    with guarded_folder("postgres-") as folder:
        folder.chmod(0o755)
        process = _Process(folder, {**_SETTINGS, **(settings or {})})
        try:
            process.start()
            yield PostgresServer(process.superuser, process)
        finally:
            process.stop(signal.SIGQUIT)


def _make_named_server(url: URL) -> PostgresServer:
    try:
        psycopg.connect(_conninfo(url)).close()
    except psycopg.Error as error:
        raise ServerUnavailable(f"the server of BANDMASTER_TEST_POSTGRES_URL can't be reached: {error}") from error
    return PostgresServer(url)


def _conninfo(url: URL) -> str:
    return make_conninfo(
        host=url.host,
        port=url.port,
        user=url.username,
        password=url.password,
        dbname=url.database,
        connect_timeout=_CONNECT,
    )


class _Process:
    """A database cluster in a folder, and the server process that runs on the cluster."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._who = _find_unprivileged_user()
        self._programs = programs(folder / "programs", private_ok=self._who is None)
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"
        self._settings = settings
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.superuser = URL.create(
            "postgresql+psycopg", _SUPERUSER, secrets.token_hex(8), _HOST, free_port(), "postgres"
        )
        self._make()

    def start(self) -> None:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        port = str(self.superuser.port)
        command: list[str | os.PathLike[str]] = [
            self._programs / "postgres",
            "-D",
            self._data,
            "-h",
            _HOST,
            "-p",
            port,
            *options,
        ]
        self._process = self._running.enter_context(
            server_process(
                command,
                name="PostgreSQL",
                log=self._log,
                ready=self._answers,
                cwd=self._folder,
                # The fastest stop that ends the server's own children, too, and leaves no shared memory behind.
                stop_signal=signal.SIGQUIT,
                user=None if self._who is None else self._who.pw_uid,
                group=None if self._who is None else self._who.pw_gid,
            )
        )

    def stop(self, by: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(by)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP)
        self._running.close()
        self._process = None

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(str(self.superuser.password), encoding="utf-8")
        self._data.mkdir(mode=0o700)
        if self._who is not None:
            for place in (password, self._data):
                os.chown(place, self._who.pw_uid, self._who.pw_gid)
        command: list[str | os.PathLike[str]] = [
            *(self._programs / "initdb", "-D", self._data, "-U", _SUPERUSER, "-A", "scram-sha-256"),
            *(f"--pwfile={password}", "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", "--no-instructions"),
        ]
        with (
            self._log.open("wb") as output,
            guarded_process(
                command,
                cwd=self._folder,
                stdout=output,
                user=None if self._who is None else self._who.pw_uid,
                group=None if self._who is None else self._who.pw_gid,
            ) as initdb,
        ):
            code = initdb.wait()
        password.unlink()
        if code:
            output_text = self._log.read_text(encoding="utf-8", errors="replace")
            raise ServerUnavailable(f"initdb of PostgreSQL failed:\n{output_text}")

    def _answers(self) -> bool:
        try:
            psycopg.connect(_conninfo(self.superuser)).close()
        except psycopg.OperationalError:
            return False
        return True


def _find_unprivileged_user() -> pwd.struct_passwd | None:
    """Find the user that the server runs as: another one where this process is root, which PostgreSQL refuses."""
    return None if os.getuid() else pwd.getpwnam(_UNPRIVILEGED)
