"""The PostgreSQL for tests."""

import os
import stat

import psycopg
import pytest

from bandmaster.contrib.persistence.testing import fresh_database, postgres_server
from bandmaster.contrib.persistence.testing.binaries import programs
from bandmaster.kernel.testing import ServerUnavailable


def raw(url):
    return url.replace("postgresql+psycopg://", "postgresql://")


def ask(url, statement):
    with psycopg.connect(raw(url)) as connection:
        return connection.execute(statement).fetchone()[0]


def test_a_database_has_two_roles_of_its_own(postgres_database):
    """The owner makes tables, the application uses them and makes none, and neither is a superuser."""
    with psycopg.connect(raw(postgres_database.owner_url())) as connection:
        connection.execute("CREATE TABLE things (id serial PRIMARY KEY)")
    assert 0 == ask(postgres_database.app_url(), "SELECT count(*) FROM things")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(postgres_database.app_url(), "CREATE TABLE others (id int)")
    for url in (postgres_database.owner_url(), postgres_database.app_url()):
        assert not ask(url, "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")


def test_database_and_roles_are_dropped(postgres_server):
    """Database and roles are dropped, also with an open connection."""
    with fresh_database(postgres_server) as database:
        left_open = psycopg.connect(raw(database.app_url()))
    with postgres_server.connect() as connection:
        found = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [f"{database.name}%"])
        assert [] == found.fetchall()
    left_open.close()


def test_a_wrong_password_is_refused(postgres_database):
    """The server authenticates."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(raw(postgres_database.app_url()).replace(postgres_database.password, "wrong"), "SELECT 1")


def test_no_password_is_in_the_repr(postgres_database):
    """A failing test prints its fixtures without passwords."""
    assert postgres_database.password not in repr(postgres_database)


def test_a_server_of_ones_own_can_be_restarted():
    """A restarted server has the same data, port and settings."""
    with postgres_server({"max_connections": "17"}) as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE kept (id int)")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            server.connect()
        server.start()
        assert 0 == ask(server.url(), "SELECT count(*) FROM kept")
        assert "17" == ask(server.url(), "SHOW max_connections")
    with pytest.raises(psycopg.OperationalError):
        server.connect()


def test_a_server_of_the_environment_is_used_as_it_is(postgres_server, monkeypatch):
    """A server that the environment names isn't started, and can't be stopped."""
    monkeypatch.setenv("BANDMASTER_TEST_POSTGRES_URL", raw(postgres_server.url()))
    from bandmaster.contrib.persistence.testing import postgres_server as any_server

    with any_server() as server:
        assert postgres_server.port == server.port
        with pytest.raises(RuntimeError, match="it isn't for tests to restart"):
            server.stop()


def test_a_server_of_the_environment_that_does_not_answer(monkeypatch):
    """The error names the variable."""
    monkeypatch.setenv("BANDMASTER_TEST_POSTGRES_URL", "postgresql://postgres:secret@127.0.0.1:1/postgres")
    with pytest.raises(ServerUnavailable, match="BANDMASTER_TEST_POSTGRES_URL") as caught, postgres_server():
        pass
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs the server as another user")
def test_programs_in_a_private_folder_are_copied(tmp_path, monkeypatch):
    """Programs that the server's user can't read are copied, with their libraries."""
    from bandmaster.contrib.persistence.testing import binaries

    monkeypatch.setattr(binaries, "_is_public", lambda folder: False)
    found = programs(tmp_path, private_ok=False)
    assert found.is_relative_to(tmp_path)
    assert (found / "postgres").stat().st_mode & stat.S_IXOTH
    assert next(tmp_path.glob("*.libs")).is_dir()
