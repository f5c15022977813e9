"""PgBouncer in transaction mode, where clients share a session of the server."""

import os
import pwd
import shutil

import anyio
import psycopg
import pytest
from sqlalchemy import text

from bandmaster.contrib.persistence import DatabaseRefusedError
from bandmaster.contrib.web import request_context
from bandmaster.kernel.testing import ServerUnavailable, free_port, guarded_folder, server_process, skip_or_fail

DRIVERS = ["psycopg", "asyncpg"]
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("notes")]


@pytest.fixture
def folder():
    """Not pytest's folder: only its user may read that, and PgBouncer may run as another user."""
    with guarded_folder("pgbouncer-") as folder:
        yield folder


@pytest.fixture
def bouncer(folder, postgres_database):
    """Makes URLs of the serving role that lead through PgBouncer, which has two server connections."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        skip_or_fail(ServerUnavailable("there is no pgbouncer; Debian has it as a package of that name"))
    server, port = postgres_database.server, free_port()
    users = folder / "users"
    users.write_text(f'"{postgres_database.app}" "{postgres_database.password}"\n')
    settings = folder / "pgbouncer.ini"
    settings.write_text(f"""
[databases]
* = host={server.host} port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = 2
max_client_conn = 200
""")
    who = None if os.getuid() else pwd.getpwnam("nobody")
    if who is not None:
        for place in (folder, users, settings):
            os.chown(place, who.pw_uid, who.pw_gid)

    def url(driver):
        return postgres_database.app_url(driver).replace(f":{server.port}/", f":{port}/")

    def ready():
        try:
            psycopg.connect(url("psycopg").replace("+psycopg", ""), prepare_threshold=None).close()
        except psycopg.OperationalError:
            return False
        return True

    with server_process(
        [program, settings],
        name="PgBouncer",
        log=folder / "log",
        ready=ready,
        user=who and who.pw_uid,
        group=who and who.pw_gid,
    ):
        yield url


@pytest.mark.parametrize("driver", DRIVERS)
async def test_transactions_are_whole_and_kept_apart(bouncer, make_manager, superuser_runs, postgres_database, driver):
    """Six hundred transactions of two tenants share two sessions of the server, thirty at a time."""
    manager = make_manager(bouncer(driver), pgbouncer=True, tenant_isolation="rls", pool_size=30, statement_timeout=7)
    expected = {"red": ["r1", "r2"], "blue": ["b1"]}
    wrong = []

    async def user(number):
        for turn in range(20):
            tenant = "red" if (number + turn) % 2 else "blue"
            with request_context(tenant=tenant):
                async with manager.session() as session:
                    query = text(
                        "SELECT said, current_setting('statement_timeout') FROM notes WHERE said <> :no ORDER BY 1"
                    )
                    rows = (await session.execute(query, {"no": "x"})).all()
                    if [row[0] for row in rows] != expected[tenant] or {row[1] for row in rows} != {"7s"}:
                        wrong.append((tenant, rows))

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(user, number)
    assert [] == wrong
    there = superuser_runs(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{postgres_database.app}'")
    assert there[0][0] <= 2


@pytest.mark.parametrize("driver", DRIVERS)
async def test_nothing_stays_with_the_session(bouncer, make_manager, driver):
    """Neither the tenant nor a timeout stays set for the next client."""
    manager = make_manager(bouncer(driver), pgbouncer=True, tenant_isolation="rls", statement_timeout=7)
    for _ in range(4):
        with request_context(tenant="red"):
            async with manager.session() as session:
                await session.execute(text("SELECT 1"))
    with psycopg.connect(bouncer("psycopg").replace("+psycopg", ""), autocommit=True, prepare_threshold=None) as plain:
        for _ in range(4):
            query = "SELECT current_setting('statement_timeout'), current_setting('app.tenant', true)"
            timeout, tenant = plain.execute(query).fetchone()
            assert ("0", True) == (timeout, not tenant)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_without_the_setting_the_error_names_it(bouncer, make_manager, driver):
    """Without DATABASE_PGBOUNCER the error names the setting."""
    with pytest.raises(DatabaseRefusedError, match="set DATABASE_PGBOUNCER=true"):
        await make_manager(bouncer(driver)).check()
