"""The audit finds the ways around the isolation of tenants."""

import psycopg
import pytest
from tests.contrib.persistence.tenancy.policies import PROTECT

from bandmaster.contrib.persistence import audit_isolation

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("notes")]


@pytest.fixture(params=["psycopg", "asyncpg"])
def audit(request, postgres_database, make_manager):
    """The audit of the serving role, or of another role."""

    async def look(url=None, **options):
        manager = make_manager(url or postgres_database.app_url(request.param))
        async with manager.probing() as connection:
            return await audit_isolation(connection, column="tenant_id", setting="app.tenant", **options)

    return look


def leaks(postgres_database, query, url=None):
    """The rows that the tenant blue reads by a query, as a given role."""
    with psycopg.connect((url or postgres_database.app_url()).replace("+psycopg", "")) as connection:
        connection.execute("SELECT set_config('app.tenant', 'blue', true)")
        return sorted(said for (said,) in connection.execute(query))


def findings(audit):
    return [str(finding) for finding in audit.findings]


async def test_a_schema_that_is_in_order(audit, postgres_database):
    """A protected table has no findings."""
    found = await audit()
    assert (1, (), ()) == (found.protected, found.findings, found.remarks)
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM notes")


@pytest.mark.requirement("CF-02", "PE-18")
@pytest.mark.parametrize("right", ["SUPERUSER", "BYPASSRLS"])
async def test_a_role_that_policies_do_not_hold_for(audit, postgres_database, superuser_runs, right):
    """Superusers and roles with BYPASSRLS are findings."""
    superuser_runs(f"ALTER ROLE {postgres_database.app} {right}")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM notes")
    (finding, *others) = (await audit()).findings
    assert f"the role {postgres_database.app}" == finding.subject
    assert "policies don't hold for it" in finding.what
    assert not [other for other in others if other.subject.startswith("the role")]


@pytest.mark.requirement("CF-02", "PE-18")
async def test_a_role_that_may_become_a_role_with_bypassrls(audit, postgres_database, superuser_runs):
    """A role that may SET ROLE to one with BYPASSRLS is a finding."""
    name = f"{postgres_database.name}_power"
    superuser_runs(f"CREATE ROLE {name} BYPASSRLS", f"GRANT {name} TO {postgres_database.app}")
    try:
        assert [f"the role {name} has BYPASSRLS, and the one that serves may become it"] == [
            line.partition(":")[0] for line in findings(await audit())
        ]
    finally:
        superuser_runs(f"DROP ROLE {name}")


@pytest.mark.requirement("CF-02", "PE-18")
async def test_an_owner_who_is_not_forced(audit, postgres_database, owner_runs):
    """A table without FORCE shows all rows to its owner."""
    owner_runs("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM notes", postgres_database.owner_url())
    (line,) = findings(await audit(postgres_database.owner_url()))[:1]
    assert "the table public.notes doesn't force row-level security on the role that serves" in line
    assert "on its owner" in findings(await audit())[0]


async def test_the_owner_of_forced_tables(audit, postgres_database):
    """With FORCE policies bind the owner, but the owner may TRUNCATE."""
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM notes", postgres_database.owner_url())
    assert ["TRUNCATE" in line for line in findings(await audit(postgres_database.owner_url()))] == [True]


@pytest.mark.requirement("CF-02", "PE-18")
async def test_a_table_without_protection(audit, postgres_database, owner_runs):
    """A table with the tenant column and without row-level security is a finding."""
    owner_runs("CREATE TABLE open (tenant_id text, said text)", "INSERT INTO open VALUES ('red', 'seen')")
    assert ["seen"] == leaks(postgres_database, "SELECT said FROM open")
    (line,) = findings(await audit())
    assert "the table public.open has no row-level security: op.enable_tenant_rls('open')" == line
    assert [] == findings(await audit(unprotected={"open"}))
    assert [] == findings(await audit(unprotected={"public.open"}))
    assert [line] == findings(await audit(unprotected={"other.open"}))


async def test_a_table_without_a_policy(audit, owner_runs):
    """A table with row-level security and without a policy shows no rows at all."""
    owner_runs("DROP POLICY tenant_isolation ON notes")
    assert ["has row-level security without a policy" in line for line in findings(await audit())] == [True]


@pytest.mark.requirement("CF-02", "PE-18")
async def test_a_second_policy_that_lets_everything_pass(audit, postgres_database, owner_runs):
    """Permissive policies add up, so a second one that passes all rows is a finding."""
    owner_runs("CREATE POLICY generous ON notes FOR SELECT USING (said <> '')")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM notes")
    assert ["the policy generous of public.notes lets rows pass without comparing them with app.tenant"] == [
        line.partition(":")[0] for line in findings(await audit())
    ]


@pytest.mark.parametrize("policy", ["AS RESTRICTIVE FOR SELECT USING (said <> '')", "TO {owner} USING (true)"])
async def test_policies_that_take_nothing_away(audit, postgres_database, owner_runs, policy):
    """A restrictive policy, and one for another role, are no findings."""
    owner_runs(f"CREATE POLICY other ON notes {policy.format(owner=postgres_database.owner)}")
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM notes")
    assert [] == findings(await audit())


@pytest.mark.requirement("CF-02", "PE-18")
@pytest.mark.parametrize("columns", ["*", "said", "said AS whatever"])
async def test_a_view_with_its_owners_rights(audit, postgres_database, owner_runs, superuser_runs, columns):
    """A view with its owner's rights is a finding, and so is a view of the view, also without the column."""
    superuser_runs(f"CREATE VIEW seen AS SELECT {columns} FROM notes", "CREATE VIEW again AS SELECT * FROM seen")
    for view in ("seen", "again"):
        superuser_runs(f"GRANT SELECT ON {view} TO {postgres_database.app}")
    column = "whatever" if "whatever" in columns else "said"
    assert ["b1", "r1", "r2"] == leaks(postgres_database, f"SELECT {column} FROM again")
    assert ["the view public.again", "the view public.seen"] == [
        finding.subject for finding in (await audit()).findings
    ]


async def test_a_view_with_the_callers_rights(audit, postgres_database, owner_runs):
    """A view with ``security_invoker`` is no finding."""
    owner_runs("CREATE VIEW seen WITH (security_invoker = on) AS SELECT * FROM notes")
    assert ["b1"] == leaks(postgres_database, "SELECT said FROM seen")
    assert [] == findings(await audit())


@pytest.mark.requirement("CF-02", "PE-18")
async def test_a_materialised_view(audit, postgres_database, superuser_runs):
    """A materialised view keeps rows of all tenants, and can't have a policy."""
    superuser_runs(
        "CREATE MATERIALIZED VIEW kept AS SELECT said FROM notes",
        f"GRANT SELECT ON kept TO {postgres_database.app}",
    )
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT said FROM kept")
    assert ["the materialised view public.kept"] == [finding.subject for finding in (await audit()).findings]
    superuser_runs(f"REVOKE ALL ON kept FROM {postgres_database.app}")
    assert [] == findings(await audit())


@pytest.mark.requirement("CF-02", "PE-18")
async def test_a_partition_that_is_read_directly(audit, postgres_database, owner_runs):
    """The parent's policies don't hold for queries of a partition."""
    owner_runs(
        "CREATE TABLE parted (tenant_id text, said text) PARTITION BY LIST (said)",
        "CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('seen')",
        "INSERT INTO parted VALUES ('red', 'seen')",
        *(statement.format("parted") for statement in PROTECT),
    )
    assert [] == leaks(postgres_database, "SELECT said FROM parted")
    assert ["seen"] == leaks(postgres_database, "SELECT said FROM parted_a")
    (finding,) = (await audit()).findings
    assert "the partition public.parted_a" == finding.subject
    assert "REVOKE ALL" in finding.remedy
    owner_runs(f"REVOKE ALL ON parted_a FROM {postgres_database.app}")
    assert [] == findings(await audit())


@pytest.mark.requirement("CF-02", "PE-18")
async def test_truncate(audit, postgres_database, owner_runs):
    """TRUNCATE isn't bound by policies."""
    owner_runs(f"GRANT TRUNCATE ON notes TO {postgres_database.app}")
    assert ["the table public.notes may be emptied by TRUNCATE, which policies don't hold for"] == [
        line.partition(":")[0] for line in findings(await audit())
    ]


@pytest.mark.requirement("CF-02", "PE-18")
async def test_a_function_with_the_rights_of_a_superuser(audit, postgres_database, superuser_runs):
    """A SECURITY DEFINER function of an owner whom policies don't bind is a finding."""
    superuser_runs(
        "CREATE FUNCTION everything() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT said FROM notes'"
    )
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT * FROM everything()")
    (finding,) = (await audit()).findings
    assert ("the function public.everything", "runs with the rights of postgres, for whom policies don't hold") == (
        finding.subject,
        finding.what,
    )
    superuser_runs("REVOKE EXECUTE ON FUNCTION everything FROM PUBLIC")
    assert [] == findings(await audit())


@pytest.mark.requirement("CF-02", "PE-18")
async def test_a_function_of_an_owner_who_is_not_forced(audit, postgres_database, owner_runs):
    """Such a function of a table's owner is a finding without FORCE, and none with FORCE."""
    owner_runs(
        "CREATE FUNCTION everything() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT said FROM notes'"
    )
    assert ["b1"] == leaks(postgres_database, "SELECT * FROM everything()")
    assert [] == findings(await audit())
    owner_runs("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY")
    assert ["b1", "r1", "r2"] == leaks(postgres_database, "SELECT * FROM everything()")
    assert ["the table public.notes", "the function public.everything"] == [
        finding.subject for finding in (await audit()).findings
    ]


async def test_a_foreign_key_without_the_tenant_is_remarked(audit, owner_runs):
    """A foreign key without the tenant column reveals that another tenant's row exists."""
    owner_runs(
        "ALTER TABLE notes ADD UNIQUE (tenant_id, id)",
        "CREATE TABLE replies (tenant_id text, note int CONSTRAINT loose REFERENCES notes, CONSTRAINT tight "
        "FOREIGN KEY (tenant_id, note) REFERENCES notes (tenant_id, id))",
        *(statement.format("replies") for statement in PROTECT),
    )
    found = await audit()
    assert ["the foreign key loose of public.replies"] == [remark.subject for remark in found.remarks]
    assert () == found.findings


@pytest.mark.requirement("CF-02", "PE-18")
async def test_other_schemas_are_audited(audit, postgres_database, owner_runs):
    """All schemas that the role may use are audit."""
    owner_runs(
        "CREATE SCHEMA aside",
        f"GRANT USAGE ON SCHEMA aside TO {postgres_database.app}",
        "CREATE TABLE aside.open (tenant_id text)",
    )
    assert ["the table aside.open has no row-level security"] == [
        line.partition(":")[0] for line in findings(await audit())
    ]


async def test_tables_of_other_roles_are_no_findings(audit, postgres_database, owner_runs):
    """Tables that the role may not use are no findings."""
    owner_runs("CREATE TABLE open (tenant_id text)", f"REVOKE ALL ON open FROM {postgres_database.app}")
    assert [] == findings(await audit())
