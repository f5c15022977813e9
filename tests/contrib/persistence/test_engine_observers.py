"""Observers of engines: they get every engine on which the application's statements run, and harm none."""

import threading

import pytest
from sqlalchemy import event, text
from tests.logged import capture_logs

from bandmaster.contrib.persistence import DatabaseManager, EngineObserver, database, database_component
from bandmaster.contrib.web import request_context
from bandmaster.kernel import Kernel, Named, value

pytestmark = pytest.mark.anyio


class Counting(EngineObserver):
    """Keeps the statements of all engines, apart from internal ones, and the internal ones."""

    def __init__(self):
        self.engines, self.statements, self.internal, self.threads = [], [], [], []

    def observe_engine(self, engine, database):
        self.engines.append((database, engine))
        self.threads.append(threading.current_thread())
        event.listen(engine, "before_cursor_execute", self.before)

    def before(self, connection, cursor, statement, parameters, context, many):
        internal = context.execution_options.get("bandmaster_internal")
        (self.internal if internal else self.statements).append(statement)


class Failing(EngineObserver):
    def observe_engine(self, engine, database):
        raise LookupError("the observer's own fault")


async def _select(manager):
    async with manager.session() as session:
        await session.execute(text("SELECT 1"))


async def test_engines_are_given_when_they_are_built(tmp_path, make_manager) -> None:
    """The asynchronous engine is given at once, the synchronous one at its first use, and none for health checks."""
    seen = Counting()
    manager = make_manager(f"sqlite:///{tmp_path / 'file'}", observers=[seen])
    assert [("database", manager.engine.sync_engine)] == seen.engines
    await manager.ping()
    sync = manager.sync_engine
    assert sync is manager.sync_engine
    assert [("database", manager.engine.sync_engine), ("database", sync)] == seen.engines


async def test_begins_and_health_checks_are_internal(tmp_path, make_manager) -> None:
    """What begins a transaction, and what a health check asks in SQLite in memory, has the mark."""
    for url in (f"sqlite:///{tmp_path / 'file'}", "sqlite://"):
        seen = Counting()
        manager = make_manager(url, observers=[seen])
        await manager.check()
        await manager.ping()
        await _select(manager)
        assert ["SELECT 1"] == seen.statements
        assert {"BEGIN IMMEDIATE"} <= set(seen.internal) <= {"BEGIN IMMEDIATE", "SELECT 1"}


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("options", [{"tenant_isolation": "rls"}, {"pgbouncer": True, "statement_timeout": 5}])
async def test_settings_of_transactions_are_internal(postgres_database, make_manager, notes, driver, options) -> None:
    """The statement that sets a transaction's tenant or timeouts has the mark."""
    seen = Counting()
    manager = make_manager(postgres_database.app_url(driver), observers=[seen], **options)
    with request_context(tenant="red"):
        await _select(manager)
    assert ["SELECT 1"] == seen.statements
    (begun,) = seen.internal
    assert "set_config" in begun


async def test_an_observer_that_fails_harms_no_engine(tmp_path, make_manager) -> None:
    """Other observers get the engine, and the failure is logged."""
    seen = Counting()
    with capture_logs() as logs:
        manager = make_manager(f"sqlite:///{tmp_path / 'file'}", observers=[Failing(), seen])
        await _select(manager)
    assert ["SELECT 1"] == seen.statements
    (told,) = [log for log in logs if log["event"] == "an observer of engines failed"]
    assert ("LookupError", "database", True) == (told["error"], told["database"], "Failing" in told["observer"])


async def test_every_database_of_an_application_is_observed(tmp_path, monkeypatch) -> None:
    """The first database and the named ones give their engines to the observers that components provide."""
    from typing import Annotated

    seen = Counting()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'one'}")
    monkeypatch.setenv("REPORTING_DATABASE_URL", f"sqlite:///{tmp_path / 'two'}")
    parts = [database, database_component("reporting"), value(seen, name="seen", provides=EngineObserver)]
    async with Kernel(contributions=parts, discover=False).running() as resources:
        for key in (DatabaseManager, Annotated[DatabaseManager, Named("reporting")]):
            await _select(resources[key])
    assert {"database", "reporting"} == {name for name, _ in seen.engines}
    assert ["SELECT 1"] * 2 == seen.statements
