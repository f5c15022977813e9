"""Whether a database can be reached, and the errors where it can't."""

import socket

import anyio
import anyio.to_thread
import pytest

from bandmaster.contrib.persistence import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
)
from bandmaster.kernel.testing import free_port

DRIVERS = ["psycopg", "asyncpg"]
pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CF-10")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_closed_port(make_manager, driver):
    """The error comes at once, with host, port and database, and without the password."""
    port = free_port()
    manager = make_manager(f"postgresql+{driver}://somebody:hunter2@127.0.0.1:{port}/shop")
    with pytest.raises(DatabaseUnavailableError) as caught, anyio.fail_after(3):
        await manager.check()
    assert f"'shop' at 127.0.0.1:{port} as 'somebody'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.requirement("CF-10")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_server_that_never_answers(make_manager, driver):
    """The error comes after the timeout, not before and not much later."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        manager = make_manager(f"postgresql+{driver}://u:hunter2@127.0.0.1:{port}/shop", connect_timeout=1)
        began = anyio.current_time()
        with pytest.raises(DatabaseUnavailableError, match=f"127.0.0.1:{port}"):
            await manager.check()
        assert 0.9 < anyio.current_time() - began < 4


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("part", "reason"), [("password", "password authentication failed"), ("name", "does not exist")]
)
async def test_refusals_are_permanent(postgres_database, make_manager, driver, part, reason):
    """A wrong password or database is a permanent error."""
    url = postgres_database.app_url(driver)
    wrong = url.replace(postgres_database.password, "hunter2")
    if part == "name":
        wrong = postgres_database.server.url(
            "nowhere", postgres_database.app, postgres_database.password, driver=driver
        )
    with pytest.raises(DatabaseRefusedError, match=reason) as caught:
        await make_manager(wrong).check()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_an_exhausted_connection_limit_is_transient(postgres_database, superuser_runs, make_manager, driver):
    """An exhausted limit of connections is a transient error."""
    superuser_runs(f"ALTER ROLE {postgres_database.app} CONNECTION LIMIT 1")
    first, second = make_manager(postgres_database.app_url(driver)), make_manager(postgres_database.app_url(driver))
    async with first.engine.connect():
        with pytest.raises(DatabaseUnavailableError, match="too many connections for role"):
            await second.check()
    await first.dispose()
    await anyio.sleep(0.1)
    await second.check()


async def test_a_file_that_cannot_be_opened(tmp_path, make_manager):
    """The error names the file, and the problem with its folder."""
    with pytest.raises(DatabaseRefusedError, match=f"sqlite {tmp_path}/no/file can't be used.*/no doesn't exist"):
        await make_manager(f"sqlite:///{tmp_path}/no/file").check()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatabaseRefusedError, match="unable to open database file"):
        await make_manager(f"sqlite:///{tmp_path}/folder").check()
