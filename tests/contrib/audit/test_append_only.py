"""The database itself refuses to change the audit trail, also for the role that owns the tables."""

import sqlite3

import psycopg
import pytest

from bandmaster.contrib.audit import AuditEntry
from bandmaster.contrib.audit.stores.enforcement import find_missing_triggers, find_powers
from bandmaster.contrib.audit.stores.store import Draft

pytestmark = pytest.mark.anyio
REFUSED = (psycopg.errors.InsufficientPrivilege, sqlite3.IntegrityError)
CHANGES = [
    "UPDATE audit_entries SET action = 'x'",
    "UPDATE audit_entries SET details = details",
    "DELETE FROM audit_entries",
    "DELETE FROM audit_entries WHERE sequence = 3",
    "UPDATE audit_personal SET value = '\"bob\"'",
    "UPDATE audit_personal SET subject = 'bob'",
    "UPDATE audit_personal SET value = NULL, salt = NULL, subject = NULL",
    "UPDATE audit_personal SET value = NULL, salt = NULL, subject = NULL, erased_by = 3",
    "UPDATE audit_personal SET value = NULL, salt = NULL, subject = NULL, erased_by = 99",
    "DELETE FROM audit_personal",
]


@pytest.fixture
async def filled(store):
    await store.append([Draft("s", AuditEntry(action=f"a{number}", actor="ann")) for number in range(3)])
    return store


@pytest.mark.parametrize("statement", CHANGES)
async def test_the_owner_can_not_change_rows(filled, execute, statement) -> None:
    """UPDATE and DELETE are refused, and nothing has changed."""
    before = execute("SELECT * FROM audit_entries ORDER BY sequence"), execute("SELECT * FROM audit_personal")
    with pytest.raises(REFUSED, match=r"append-only"):
        execute(statement)
    assert before == (execute("SELECT * FROM audit_entries ORDER BY sequence"), execute("SELECT * FROM audit_personal"))


@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
@pytest.mark.parametrize("table", ["audit_entries", "audit_personal", "audit_entries, audit_personal CASCADE"])
async def test_the_owner_can_not_truncate(filled, execute, table) -> None:
    """TRUNCATE fires no trigger of rows: it has one of its own."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="TRUNCATE is refused"):
        execute(f"TRUNCATE {table}")
    assert [(3,)] == execute("SELECT count(*) FROM audit_entries")


@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
async def test_a_session_that_replays_changes_is_no_way_around(filled, postgres_database) -> None:
    """A superuser who sets session_replication_role = replica switches ordinary triggers off; these stay on."""
    with postgres_database.server.connect(postgres_database.name) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute("DELETE FROM audit_entries")


@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
@pytest.mark.parametrize(
    "statement", [*CHANGES[:1], *CHANGES[2:3], "TRUNCATE audit_entries", CHANGES[4], "DROP TABLE audit_entries"]
)
async def test_the_role_of_the_application_has_no_right_to(filled, postgres_database, statement) -> None:
    """Default privileges had granted UPDATE and DELETE; the migration takes them back. SELECT and INSERT stay."""
    with psycopg.connect(postgres_database.app_url().replace("+psycopg", ""), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"permission denied|must be owner"):
            connection.execute(statement)
        assert [(3,)] == connection.execute("SELECT count(*) FROM audit_entries").fetchall()


@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
async def test_a_table_of_the_same_name_excuses_nothing(filled, postgres_database) -> None:
    """A temporary audit_entries with a report of a pruning isn't what the trigger asks."""
    with psycopg.connect(postgres_database.owner_url().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE audit_entries AS SELECT * FROM public.audit_entries")
        connection.execute("UPDATE pg_temp.audit_entries SET action = 'audit.pruned', details = '{\"through\": 3}'")
        connection.execute("UPDATE pg_temp.audit_entries SET sequence = sequence + 10")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute("DELETE FROM public.audit_entries")


@pytest.mark.requirement("OBS-A1")
@pytest.mark.parametrize("column", ["sequence", "previous"])
async def test_a_fork_can_not_be_stored(filled, execute, column) -> None:
    """OBS-A1: neither the place nor the predecessor of an entry can be taken twice, whatever a writer does."""
    other = "previous" if column == "sequence" else "sequence"
    values = {"sequence": "sequence + 10", "previous": "'x'"}
    with pytest.raises((psycopg.errors.UniqueViolation, sqlite3.IntegrityError)):
        execute(
            f"INSERT INTO audit_entries ({column}, {other}, stream, hash, key_id, id, at, action, result, details, "
            f"commitments) SELECT {column}, {values[other]}, stream, hash, key_id, 'other', at, action, result, "
            "details, commitments FROM audit_entries WHERE sequence = 2"
        )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_insert_or_replace_is_no_way_around(filled, execute) -> None:
    """SQLite removes the old row without the triggers of DELETE."""
    for table in ("audit_entries", "audit_personal"):
        with pytest.raises(sqlite3.IntegrityError, match="already"):
            execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")


async def test_missing_triggers_are_told(filled, execute, database_url) -> None:
    """Somebody who owns the tables can remove the triggers, which can't be prevented: it is found."""
    assert [] == await filled.run(find_missing_triggers)
    if database_url.startswith("sqlite"):
        execute("DROP TRIGGER audit_entries_delete")
        assert ["audit_entries_delete"] == await filled.run(find_missing_triggers)
        assert "SQLite" in await filled.run(find_powers)
    else:
        execute("ALTER TABLE audit_entries DISABLE TRIGGER audit_entries_guard")
        assert ["audit_entries_guard"] == await filled.run(find_missing_triggers)
        assert "owns the tables" in await filled.run(find_powers)
