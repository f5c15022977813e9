"""What lets tenants see each other's rows, looked for in PostgreSQL's own catalogue."""

import psycopg
import pytest
from tests.contrib.persistence.tenancy.policies import PROTECT

from bandmaster.contrib.persistence import audit_isolation

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("notes"), pytest.mark.requirement("CF-02", "PE-7", "PE-18")]


@pytest.fixture(params=["psycopg", "asyncpg"])
def audited(request, postgres_database, managed):
    """What the audit finds for the serving role, or for another."""

    async def look(url=None, **options):
        manager = managed(url or postgres_database.app_url(request.param))
        async with manager.probing() as connection:
            return await audit_isolation(connection, column="tenant_id", setting="app.tenant", **options)

    return look


def leaks(postgres_database, query, url=None):
    """What the tenant blue gets by a query that it was to get nothing of."""
    with psycopg.connect((url or postgres_database.app_url()).replace("+psycopg", "")) as connection:
        connection.execute("SELECT set_config('app.tenant', 'blue', true)")
        return sorted(said for (said,) in connection.execute(query))


def told(found):
    return [str(finding) for finding in found.findings]


async def test_a_schema_that_is_in_order(audited, postgres_database):
    """Nothing to find, and one table to protect."""
    found = await audited()
    assert (1, (), ()) == (found.protected, found.findings, found.remarks)
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM notes")


@pytest.mark.parametrize("right", ["SUPERUSER", "BYPASSRLS"])
async def test_a_role_that_policies_do_not_hold_for(audited, postgres_database, superuser_runs, right):
    """Superusers, and roles with BYPASSRLS."""
    superuser_runs(f"ALTER ROLE {postgres_database.app} {right}")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM notes")
    (finding, *others) = (await audited()).findings
    assert f"the role {postgres_database.app}" == finding.subject
    assert "policies don't hold for it" in finding.what
    assert not [other for other in others if other.subject.startswith("the role")]


async def test_a_role_that_may_become_such_a_one(audited, postgres_database, superuser_runs):
    """Membership is enough: SET ROLE is a statement like any other."""
    name = f"{postgres_database.name}_power"
    superuser_runs(f"CREATE ROLE {name} BYPASSRLS", f"GRANT {name} TO {postgres_database.app}")
    try:
        assert [f"the role {name} has BYPASSRLS, and the one that serves may become it"] == [
            line.partition(":")[0] for line in told(await audited())
        ]
    finally:
        superuser_runs(f"DROP ROLE {name}")


async def test_an_owner_who_is_not_forced(audited, postgres_database, owner_runs):
    """For the owner of a table policies hold only with FORCE."""
    owner_runs("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM notes", postgres_database.owner_url())
    (line,) = told(await audited(postgres_database.owner_url()))[:1]
    assert "the table public.notes doesn't force row-level security on the role that serves" in line
    assert "on its owner" in told(await audited())[0]


async def test_the_owner_of_forced_tables(audited, postgres_database):
    """Forced, policies hold for the owner as well; that it may empty a table remains."""
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM notes", postgres_database.owner_url())
    assert ["TRUNCATE" in line for line in told(await audited(postgres_database.owner_url()))] == [True]


async def test_a_table_without_protection(audited, postgres_database, owner_runs):
    """It has the column and nothing else."""
    owner_runs("CREATE TABLE open (tenant_id text, said text)", "INSERT INTO open VALUES ('red', 'seen')")
    assert ["seen"] == leaks(postgres_database, "SELECT said FROM open")
    (line,) = told(await audited())
    assert "the table public.open has no row-level security: op.enable_tenant_rls('open')" == line
    assert [] == told(await audited(unprotected={"open"}))
    assert [] == told(await audited(unprotected={"public.open"}))
    assert [line] == told(await audited(unprotected={"other.open"}))


async def test_a_table_without_a_policy(audited, owner_runs):
    """It shows nothing to anybody, which is hardly meant."""
    owner_runs("DROP POLICY tenant_isolation ON notes")
    assert ["has row-level security without a policy" in line for line in told(await audited())] == [True]


async def test_a_second_policy_that_lets_everything_pass(audited, postgres_database, owner_runs):
    """Permissive policies add up."""
    owner_runs("CREATE POLICY generous ON notes FOR SELECT USING (said <> '')")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM notes")
    assert ["the policy generous of public.notes lets rows pass without asking app.tenant"] == [
        line.partition(":")[0] for line in told(await audited())
    ]


@pytest.mark.parametrize("policy", ["AS RESTRICTIVE FOR SELECT USING (said <> '')", "TO {owner} USING (true)"])
async def test_policies_that_take_nothing_away(audited, postgres_database, owner_runs, policy):
    """A restrictive one, and one for another role."""
    owner_runs(f"CREATE POLICY other ON notes {policy.format(owner=postgres_database.owner)}")
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM notes")
    assert [] == told(await audited())


@pytest.mark.parametrize("columns", ["*", "said", "said AS whatever"])
async def test_a_view_with_its_owners_rights(audited, postgres_database, owner_runs, superuser_runs, columns):
    """It needn't show the column, and a view of the view is another one."""
    superuser_runs(f"CREATE VIEW seen AS SELECT {columns} FROM notes", "CREATE VIEW again AS SELECT * FROM seen")
    for view in ("seen", "again"):
        superuser_runs(f"GRANT SELECT ON {view} TO {postgres_database.app}")
    column = "whatever" if "whatever" in columns else "said"
    assert ["b1", "r1", "r2"] == leaks(postgres_database, f"SELECT {column} FROM again")
    assert ["the view public.again", "the view public.seen"] == [
        finding.subject for finding in (await audited()).findings
    ]


async def test_a_view_with_the_callers_rights(audited, postgres_database, owner_runs):
    """``security_invoker`` makes it see what its reader sees."""
    owner_runs("CREATE VIEW seen WITH (security_invoker = on) AS SELECT * FROM notes")
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM seen")
    assert [] == told(await audited())


async def test_a_materialised_view(audited, postgres_database, superuser_runs):
    """It keeps everybody's rows, and no policy can be put on it."""
    superuser_runs(
        "CREATE MATERIALIZED VIEW kept AS SELECT said FROM notes",
        f"GRANT SELECT ON kept TO {postgres_database.app}",
    )
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM kept")
    assert ["the materialised view public.kept"] == [finding.subject for finding in (await audited()).findings]
    superuser_runs(f"REVOKE ALL ON kept FROM {postgres_database.app}")
    assert [] == told(await audited())


async def test_a_partition_that_is_read_directly(audited, postgres_database, owner_runs):
    """The parent's policies hold for queries of the parent alone."""
    owner_runs(
        "CREATE TABLE parted (tenant_id text, said text) PARTITION BY LIST (said)",
        "CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('seen')",
        "INSERT INTO parted VALUES ('red', 'seen')",
        *(statement.format("parted") for statement in PROTECT),
    )
    assert [] == leaks(postgres_database, "SELECT said FROM parted")
    assert ["seen"] == leaks(postgres_database, "SELECT said FROM parted_a")
    (finding,) = (await audited()).findings
    assert "the partition public.parted_a" == finding.subject
    assert "REVOKE ALL" in finding.remedy
    owner_runs(f"REVOKE ALL ON parted_a FROM {postgres_database.app}")
    assert [] == told(await audited())


async def test_truncate(audited, postgres_database, owner_runs):
    """It asks no policy."""
    owner_runs(f"GRANT TRUNCATE ON notes TO {postgres_database.app}")
    assert ["the table public.notes may be emptied by TRUNCATE, which asks no policy"] == [
        line.partition(":")[0] for line in told(await audited())
    ]


async def test_a_function_with_the_rights_of_a_superuser(audited, postgres_database, superuser_runs):
    """SECURITY DEFINER, owned by somebody whom policies don't bind."""
    superuser_runs(
        "CREATE FUNCTION everything() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT said FROM notes'"
    )
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT * FROM everything()")
    (finding,) = (await audited()).findings
    assert ("the function public.everything", "runs with the rights of postgres, for whom policies don't hold") == (
        finding.subject,
        finding.what,
    )
    superuser_runs("REVOKE EXECUTE ON FUNCTION everything FROM PUBLIC")
    assert [] == told(await audited())


async def test_a_function_of_an_owner_who_is_not_forced(audited, postgres_database, owner_runs):
    """The same by another way; with FORCE the owner's function sees what its caller sees."""
    owner_runs(
        "CREATE FUNCTION everything() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT said FROM notes'"
    )
    assert ["b1"] == leaks(postgres_database, "SELECT * FROM everything()")
    assert [] == told(await audited())
    owner_runs("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT * FROM everything()")
    assert ["the table public.notes", "the function public.everything"] == [
        finding.subject for finding in (await audited()).findings
    ]


async def test_a_foreign_key_without_the_tenant_is_remarked(audited, owner_runs):
    """It tells whether another tenant's row exists; with the tenant on both sides it can't."""
    owner_runs(
        "ALTER TABLE notes ADD UNIQUE (tenant_id, id)",
        "CREATE TABLE replies (tenant_id text, note int CONSTRAINT loose REFERENCES notes, CONSTRAINT tight "
        "FOREIGN KEY (tenant_id, note) REFERENCES notes (tenant_id, id))",
        *(statement.format("replies") for statement in PROTECT),
    )
    found = await audited()
    assert ["the foreign key loose of public.replies"] == [remark.subject for remark in found.remarks]
    assert () == found.findings


async def test_other_schemas_are_looked_at(audited, postgres_database, owner_runs):
    """Wherever the role may go."""
    owner_runs(
        "CREATE SCHEMA aside",
        f"GRANT USAGE ON SCHEMA aside TO {postgres_database.app}",
        "CREATE TABLE aside.open (tenant_id text)",
    )
    assert ["the table aside.open has no row-level security"] == [
        line.partition(":")[0] for line in told(await audited())
    ]


async def test_what_the_role_may_not_touch_is_left_alone(audited, postgres_database, owner_runs):
    """Tables for another service's role are its own matter."""
    owner_runs("CREATE TABLE open (tenant_id text)", f"REVOKE ALL ON open FROM {postgres_database.app}")
    assert [] == told(await audited())
