"""The components: which parts settings switch on, the budget, refused starts, and warnings."""

import logging

import pytest
import sqlalchemy as sa
from pydantic import SecretStr, ValidationError
from tests.contrib.audit.conftest import KEY, OLD_KEY

from bandmaster.contrib.audit import AuditLog, AuditSettings, AuditStore, ChainVerification, SqlAuditStore
from bandmaster.contrib.audit.auth.parts import audit_auth_events
from bandmaster.contrib.audit.checks import find_unused_settings
from bandmaster.contrib.audit.component import audit_log, audit_memory_store, audit_verifier
from bandmaster.contrib.audit.sql_parts import audit_migrations, audit_sql_store
from bandmaster.contrib.audit.stores.tables import audit_migrations as migrations
from bandmaster.contrib.audit.tasks.parts import audit_task_names
from bandmaster.contrib.persistence import DatabaseSettings, Migrations, database, database_schema
from bandmaster.contrib.persistence.migration import migrate
from bandmaster.kernel import Kernel, KernelSettings, PlanError, create_app
from bandmaster.kernel.testing import check_contribution, run

pytestmark = pytest.mark.anyio
KEYS = {"2026": SecretStr(KEY)}
OWN = [audit_memory_store, audit_sql_store, audit_migrations, audit_log, audit_verifier, audit_task_names]
PARTS = [*OWN, audit_auth_events, database, database_schema]


def make_kernel(*, environment="development", parts=PARTS, url=None, **settings):
    overrides = {AuditSettings: AuditSettings(**settings)}
    if url is not None:
        overrides[DatabaseSettings] = DatabaseSettings(url=url)
    return Kernel(
        contributions=parts, overrides=overrides, settings=KernelSettings(environment=environment), discover=False
    )


def names(plan):
    return {component.name for component in plan.components} - {"database", "database_schema"}


def test_without_a_store_nothing_is_on() -> None:
    """Installed without a setting the parts are left out, and the plan says so."""
    plan = make_kernel().plan
    assert set() == names(plan)
    assert () == plan.values_of(Migrations)
    assert {"audit_log", "audit_sql_store", "audit_memory_store"} <= {part.part.name for part in plan.omitted}


def test_the_store_switches_the_audit_trail_on() -> None:
    """The settings choose the store, the verification and the events of authentication."""
    always = {"audit_log", "audit_task_names", "audit_auth_events"}
    assert always | {"audit_memory_store"} == names(make_kernel(store="memory").plan)
    sql = make_kernel(store="sql", verify_interval=60, auth_events="").plan
    assert {"audit_log", "audit_task_names", "audit_sql_store", "audit_verifier"} == names(sql)
    assert ["audit"] == [part.name for part in sql.values_of(Migrations)]


@pytest.mark.requirement("XC-R1", "P-10")
def test_the_connections_are_budgeted() -> None:
    """Those of entries in transactions of their own are added to the application's."""
    url = "postgresql://shop@127.0.0.1/shop"
    without = make_kernel(url=url).plan.budget["postgres"]
    assert without + 3 == make_kernel(url=url, store="sql", pool_size=3).plan.budget["postgres"]
    assert 1 == make_kernel(store="sql", verify_interval=60).plan.budget["threads"]


def test_memory_is_refused_in_production() -> None:
    """A forgotten setting is noticed before the start."""
    with pytest.raises(PlanError, match="Set AUDIT_STORE to sql"):
        make_kernel(store="memory", environment="production", parts=OWN).check_start()


@pytest.mark.requirement("OBS-A3")
def test_the_plan_says_what_the_chain_proves() -> None:
    """OBS-A3: without a key only accidents are found, which production warns of."""
    parts = [*OWN, database, database_schema]
    for keys, said in ({}, "only accidents are found"), (KEYS, "keyed with '2026'"):
        plan = make_kernel(store="sql", keys=keys).plan
        (component,) = [component for component in plan.components if component.name == "audit_log"]
        assert said in " ".join(component.facts)
    kernel = make_kernel(store="sql", environment="production", url="postgresql://shop@127.0.0.1/shop", parts=parts)
    assert any("AUDIT_KEYS isn't set" in warning for warning in kernel.check_start())


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"keys": KEYS, "pool_size": 3}, ["AUDIT_KEYS", "AUDIT_POOL_SIZE"]),
        (
            {"store": "memory", "lock_timeout": 3, "verify_interval": 60},
            ["AUDIT_LOCK_TIMEOUT", "AUDIT_VERIFY_INTERVAL"],
        ),
        ({"store": "sql", "memory_entries": 3}, ["AUDIT_MEMORY_ENTRIES"]),
        ({"store": "sql", "keys": KEYS, "pool_size": 3}, []),
    ],
)
def test_settings_without_an_effect_are_warned_of(given, found) -> None:
    """Nothing is silent: each is named with the reason."""
    app = create_app(contributions=PARTS, overrides={AuditSettings: AuditSettings(**given)}, discover=False)
    assert found == [warning.split()[0] for warning in find_unused_settings(app)]


@pytest.mark.parametrize(
    "given",
    [
        {"store": "disk"},
        {"keys": "2026=short"},
        {"keys": f"2026={KEY},2025={KEY}"},
        {"pool_size": 0},
        {"lock_timeout": 0},
        {"verify_interval": 1},
        {"memory_entries": 0},
        {"auth_queue": 0},
        {"max_details": 1},
    ],
)
def test_settings_out_of_range_are_refused(given) -> None:
    """P-18: when they are read; the message doesn't quote a key."""
    with pytest.raises(ValidationError) as raised:
        AuditSettings(**given)
    assert KEY not in str(raised.value)


def test_keys_are_shown_nowhere() -> None:
    """Neither the settings nor the plan have them in a text."""
    settings = AuditSettings(store="memory", keys=f"2026={KEY},2025={OLD_KEY}")
    assert KEY not in repr(settings)
    assert ["2026", "2025"] == list(settings.keys)


@pytest.fixture
def audited(database_url, tmp_path):
    """What `run` needs for an application with the audit trail in a database."""
    overrides = {
        AuditSettings: AuditSettings(
            store="sql", keys=KEYS, verify_interval=60, checkpoint_file=tmp_path / "seen", auth_events=""
        ),
        DatabaseSettings: DatabaseSettings(url=database_url, migrate_on_start=True, connect_timeout=20, slow_query=0),
    }
    return {"contributions": [*OWN, database, database_schema], "overrides": overrides}


async def test_an_application_with_a_database(audited, execute, caplog) -> None:
    """Migrated at the start, recorded, verified by itself, and stopped without connections left."""
    caplog.set_level(logging.INFO)
    async with run(**audited) as running:
        await running.resources[AuditLog].record("order.create", actor="ann")
        verification = running.resources[ChainVerification]
        assert "sound" == (await verification.verify()).outcome
        assert isinstance(running.resources[AuditStore], SqlAuditStore)
        ready = (await running.client.get("/readyz")).json()
        assert "pass" == ready["checks"]["audit_verifier"]["status"]
    assert [(1,)] == execute("SELECT count(*) FROM audit_entries")
    assert "triggers are missing" not in caplog.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_level_that_leaves_out_the_entries_is_warned_of(audited, caplog) -> None:
    """OBS-A2: without log events the log is no anchor, which nobody would notice before it is needed."""
    caplog.set_level(logging.WARNING)
    async with run(**audited):
        pass
    assert "entries of the audit trail aren't logged" in caplog.text
    caplog.clear()
    caplog.set_level(logging.INFO)
    async with run(**audited):
        pass
    assert "aren't logged" not in caplog.text


async def test_tables_without_triggers_are_warned_of(audited, execute, database_url, caplog) -> None:
    """Somebody has removed one: the start says which."""
    await migrate.upgrade(sa.make_url(DatabaseSettings(url=database_url).url), (migrations.value,))
    if database_url.startswith("sqlite"):
        execute("DROP TRIGGER audit_entries_update")
    else:
        execute("DROP TRIGGER audit_entries_guard ON audit_entries")
    async with run(**audited):
        pass
    assert "triggers are missing" in caplog.text


@pytest.mark.parametrize("part", [audit_memory_store, audit_log, audit_task_names], ids=lambda part: part.name)
async def test_the_parts_are_good_neighbours(part) -> None:
    """They pass the checks of the test kit for contributions."""
    parts = [each for each in (audit_memory_store, audit_log) if each is not part]
    await check_contribution(part, beside=parts, overrides={AuditSettings: AuditSettings(store="memory")})
