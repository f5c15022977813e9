"""Alembic's operations for tenant policies: run, reversed, rendered, and found by autogenerate."""

import io
import uuid

import pytest
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_op_text
from alembic.autogenerate.api import AutogenContext
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops

from bandmaster.contrib.persistence.migration.operations import DisableTenantRlsOp, EnableTenantRlsOp
from bandmaster.contrib.persistence.tenancy.row_security import TenantPolicy, protect
from bandmaster.contrib.persistence.testing import fresh_database

IMPORT = "import bandmaster.contrib.persistence.migration.operations  # noqa: F401"


OTHERS = "(tenant_id = (SELECT NULLIF(current_setting('app.other', true), '')::uuid))"


def table(metadata, name="notes", kind=sa.Uuid, column="tenant_id", schema=None):
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(column, kind, nullable=False),
        schema=schema,
    )


@pytest.fixture(scope="module")
def engine(postgres_server):
    with fresh_database(postgres_server) as database:
        yield sa.create_engine(database.owner_url(), poolclass=sa.NullPool)


@pytest.fixture
def connection(engine):
    """The owner's transaction, which is rolled back after the test."""
    with engine.connect() as connection:
        yield connection


def state(connection, name="notes"):
    """The row-level security of a table: enabled, forced, and its policies."""
    flags = connection.exec_driver_sql(
        f"SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = '{name}'"
    ).scalar_one()
    policies = connection.exec_driver_sql(f"SELECT policyname FROM pg_policies WHERE tablename = '{name}'").scalars()
    return flags, sorted(policies)


def operations(connection):
    return Operations(MigrationContext.configure(connection))


def generate(connection, metadata, **options):
    options = {"compare_type": True, "target_metadata": metadata, "include_schemas": True, **options}
    return produce_migrations(MigrationContext.configure(connection, opts=options), metadata)


def code(container):
    """The lines that autogenerate writes, and their imports."""
    options = {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None}
    context = AutogenContext(MigrationContext.configure(dialect_name="postgresql"), sa.MetaData(), options)
    lines = [line for step in container.ops for line in render_op_text(context, step).splitlines()]
    return lines, {"import sqlalchemy as sa", *context.imports}


def run(connection, container):
    """Write the code, run its imports, and run the code."""
    lines, imports = code(container)
    exec("\n".join([*imports, *lines]), {"op": operations(connection)})


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
def test_a_table_is_protected_and_opened_again(connection):
    """A migration protects a table by one operation, and opens it by the other."""
    table(metadata := sa.MetaData())
    metadata.create_all(connection)
    op = operations(connection)
    op.enable_tenant_rls("notes")
    assert (True, ["tenant_isolation"]) == state(connection)
    op.disable_tenant_rls("notes")
    assert (False, []) == state(connection)


def test_between_the_two_a_migration_reaches_all_tenants_rows(connection):
    """The policy binds the owner, so a change of data opens the table for its transaction."""
    protect(table(metadata := sa.MetaData()))
    metadata.create_all(connection)
    op = operations(connection)
    change = sa.update(metadata.tables["notes"]).values(id=2)
    op.disable_tenant_rls("notes")
    connection.execute(metadata.tables["notes"].insert().values(id=1, tenant_id=uuid.uuid4()))
    op.enable_tenant_rls("notes")
    assert 0 == connection.execute(change).rowcount
    op.disable_tenant_rls("notes")
    assert 1 == connection.execute(change).rowcount
    op.enable_tenant_rls("notes")
    assert (True, ["tenant_isolation"]) == state(connection)


def test_each_is_the_reverse_of_the_other(connection):
    """The reverse has the same arguments, so that a downgrade restores the policy."""
    policy = TenantPolicy("notes", None, "owner", sa.Text, "shop.owner", "by_owner")
    enable = EnableTenantRlsOp(policy)
    assert policy == enable.reverse().policy == enable.reverse().reverse().policy
    assert ("add_tenant_rls", policy) == enable.to_diff_tuple()
    assert ("remove_tenant_rls", policy) == enable.reverse().to_diff_tuple()

    table(metadata := sa.MetaData(), kind=sa.Text, column="owner")
    metadata.create_all(connection)
    op = operations(connection)
    for step, expected in (
        (enable, (True, ["by_owner"])),
        (enable.reverse(), (False, [])),
        (enable.reverse().reverse(), (True, ["by_owner"])),
    ):
        op.invoke(step)
        assert expected == state(connection)


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@pytest.mark.parametrize("operation", ["enable_tenant_rls", "disable_tenant_rls"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": 'notes"; DROP TABLE notes; --'}, "table: expected letters"),
        ({"table": "notes", "schema": "public.x"}, "schema: expected letters"),
        ({"table": "notes", "column": "true OR tenant_id"}, "column: expected letters"),
        ({"table": "notes", "setting": "app.tenant', true) OR ('"}, "setting: expected plain names"),
        ({"table": "notes", "name": "p USING (true)"}, "name: expected letters"),
        ({"table": "notes", "type_": "uuid) OR (true"}, "type: expected UUID"),
    ],
)
def test_metacharacters_reach_no_sql(operation, arguments, message):
    """Metacharacters are refused before any SQL is rendered, also offline."""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True}
    )
    with pytest.raises(ValueError, match=message):
        getattr(Operations(context), operation)(**arguments)
    assert "" == buffer.getvalue()


@pytest.mark.requirement("CF-01", "F-01")
def test_they_are_written_into_scripts():
    """``--sql`` renders the statements one after another."""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True}
    )
    op = Operations(context)
    op.enable_tenant_rls("notes", type_=sa.String(9), schema="sales")
    op.disable_tenant_rls("notes", schema="sales")
    theirs = "(\"tenant_id\" = (SELECT NULLIF(current_setting('app.tenant', true), '')::TEXT))"
    assert [
        'ALTER TABLE "sales"."notes" ENABLE ROW LEVEL SECURITY;',
        'ALTER TABLE "sales"."notes" FORCE ROW LEVEL SECURITY;',
        f'CREATE POLICY "tenant_isolation" ON "sales"."notes" USING {theirs} WITH CHECK {theirs};',
        'DROP POLICY "tenant_isolation" ON "sales"."notes";',
        'ALTER TABLE "sales"."notes" NO FORCE ROW LEVEL SECURITY;',
        'ALTER TABLE "sales"."notes" DISABLE ROW LEVEL SECURITY;',
    ] == [line for line in buffer.getvalue().splitlines() if line]


@pytest.mark.requirement("CF-01", "F-01")
def test_sqlite_takes_them_and_does_nothing():
    """On SQLite the operations do nothing, but check their arguments."""
    seen = []
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    with engine.connect() as connection:
        op = operations(connection)
        op.enable_tenant_rls("notes")
        op.disable_tenant_rls("notes")
        with pytest.raises(ValueError, match="table: expected letters"):
            op.enable_tenant_rls("no tes")
    assert [] == seen


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (TenantPolicy("notes"), "op.enable_tenant_rls('notes')"),
        (TenantPolicy("notes", type=sa.BigInteger), "op.enable_tenant_rls('notes', type_=sa.BigInteger)"),
        (
            TenantPolicy("notes", "sales", "owner", sa.String(4), "x.y", "mine"),
            "op.enable_tenant_rls('notes', column='owner', type_=sa.Text, setting='x.y', name='mine', schema='sales')",
        ),
    ],
)
def test_rendered_operations_leave_out_defaults(policy, text):
    """Rendered operations leave out defaults, and bring their import."""
    lines, imports = code(ops.UpgradeOps([EnableTenantRlsOp(policy)]))
    assert [text] == lines
    assert IMPORT in imports
    lines, _ = code(ops.UpgradeOps([DisableTenantRlsOp(policy)]))
    assert [text.replace("enable", "disable")] == lines


MODELS = [
    pytest.param({}, {}, id="defaults"),
    pytest.param({"name": "Order", "column": "group", "kind": sa.BigInteger}, {"column": "group"}, id="quoted"),
    pytest.param({"kind": sa.String(12)}, {}, id="varchar"),
    pytest.param({"kind": sa.Text}, {"setting": "shop.te$nant", "name": "by_tenant"}, id="text"),
    pytest.param({"kind": sa.Integer, "schema": "sales"}, {"type_": sa.BigInteger}, id="schema"),
    pytest.param({"schema": "public"}, {}, id="default-schema-by-name"),
    pytest.param({"kind": sa.SmallInteger}, {"type_": sa.Integer}, id="smallint"),
]


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@pytest.mark.parametrize(("model", "marks"), MODELS)
def test_autogenerate_writes_what_a_marked_table_needs_and_then_nothing(connection, model, marks):
    """The generated code runs in both directions, and then models and database match."""
    connection.exec_driver_sql("CREATE SCHEMA sales")
    protect(table(metadata := sa.MetaData(), **model), **marks)
    name = model.get("name", "notes")
    script = generate(connection, metadata)
    assert [ops.CreateTableOp, EnableTenantRlsOp] == [type(step) for step in script.upgrade_ops.ops]

    run(connection, script.upgrade_ops)
    assert (True, [marks.get("name", "tenant_isolation")]) == state(connection, name)
    assert [] == generate(connection, metadata).upgrade_ops.as_diffs()

    run(connection, script.downgrade_ops)
    assert not sa.inspect(connection).has_table(name, model.get("schema"))


@pytest.fixture
def marked(connection):
    """A database that matches its models."""
    protect(table(metadata := sa.MetaData()))
    metadata.create_all(connection)
    return metadata


def kinds(script):
    return [type(step) for step in script.upgrade_ops.ops]


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE notes NO FORCE ROW LEVEL SECURITY",
        "ALTER POLICY tenant_isolation ON notes USING (true)",
        "ALTER POLICY tenant_isolation ON notes WITH CHECK (true)",
        "ALTER POLICY tenant_isolation ON notes TO CURRENT_USER",
        "DROP POLICY tenant_isolation ON notes",
        "ALTER POLICY tenant_isolation ON notes RENAME TO other",
        "DROP POLICY tenant_isolation ON notes; CREATE POLICY tenant_isolation ON notes FOR SELECT USING (true)",
        f"CREATE POLICY second ON notes USING {OTHERS} WITH CHECK {OTHERS}",
    ],
)
def test_damage_is_found_and_mended(connection, marked, damage):
    """Every change that opens a marked table is a difference, which one migration repairs."""
    connection.exec_driver_sql(damage)
    script = generate(connection, marked)
    assert set(kinds(script)) <= {EnableTenantRlsOp, DisableTenantRlsOp} and kinds(script)
    run(connection, script.upgrade_ops)
    assert (True, ["tenant_isolation"]) == state(connection)
    assert [] == generate(connection, marked).upgrade_ops.as_diffs()


def test_a_table_that_is_no_longer_marked_is_opened(connection, marked):
    """A table without its mark is opened, and the downgrade restores its policy."""
    table(unmarked := sa.MetaData())
    script = generate(connection, unmarked)
    assert [("remove_tenant_rls", TenantPolicy("notes"))] == script.upgrade_ops.as_diffs()
    run(connection, script.upgrade_ops)
    assert (False, []) == state(connection)
    run(connection, script.downgrade_ops)
    assert (True, ["tenant_isolation"]) == state(connection)


def test_policies_with_other_conditions_stay(connection, marked):
    """Autogenerate leaves policies with other conditions alone."""
    connection.exec_driver_sql("CREATE POLICY auditors ON notes FOR SELECT USING (current_user = 'auditor')")
    assert [] == generate(connection, marked).upgrade_ops.as_diffs()
    table(other := sa.MetaData(), "others")
    other.create_all(connection)
    connection.exec_driver_sql("ALTER TABLE others ENABLE ROW LEVEL SECURITY")
    connection.exec_driver_sql("CREATE POLICY auditors ON others FOR SELECT USING (current_user = 'auditor')")
    other.remove(other.tables["others"])
    table(both := sa.MetaData(), "others")
    protect(table(both))
    assert [] == generate(connection, both).upgrade_ops.as_diffs()


def test_a_dropped_table_comes_back_protected(connection, marked):
    """The downgrade of a dropped table creates its policy as well."""
    script = generate(connection, sa.MetaData())
    assert [DisableTenantRlsOp, ops.DropTableOp] == kinds(script)
    run(connection, script.upgrade_ops)
    run(connection, script.downgrade_ops)
    assert (True, ["tenant_isolation"]) == state(connection)


def test_the_tenant_column_may_change_its_type(connection, marked):
    """The policy is dropped before its column changes, and created afterwards."""
    protect(table(changed := sa.MetaData(), kind=sa.String(40)))
    script = generate(connection, changed)
    assert [DisableTenantRlsOp, ops.ModifyTableOps, EnableTenantRlsOp] == kinds(script)
    run(connection, script.upgrade_ops)
    assert [] == generate(connection, changed).upgrade_ops.as_diffs()
    connection.exec_driver_sql("SELECT set_config('app.tenant', 'not a uuid', false)")
    connection.exec_driver_sql("INSERT INTO notes VALUES (1, 'not a uuid')")


def test_excluded_tables_are_left_alone(connection, marked):
    """The environment's include_object excludes tables here as well."""
    connection.exec_driver_sql("ALTER TABLE notes DISABLE ROW LEVEL SECURITY")
    assert [] == generate(connection, marked, include_object=lambda *_: False).upgrade_ops.as_diffs()


def test_the_parent_of_partitions_is_compared(connection):
    """The parent of partitions is compared, since queries go through it."""
    metadata = sa.MetaData()
    protect(
        sa.Table(
            "events",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("tenant_id", sa.Uuid, primary_key=True),
            postgresql_partition_by="HASH (tenant_id)",
        )
    )
    run(connection, generate(connection, metadata).upgrade_ops)
    assert (True, ["tenant_isolation"]) == state(connection, "events")
    assert [] == generate(connection, metadata).upgrade_ops.as_diffs()


@pytest.mark.requirement("CF-01", "F-01")
def test_a_migration_that_was_written_on_sqlite_protects_on_postgresql(connection):
    """A revision that is generated on SQLite holds the policies for PostgreSQL."""
    protect(table(metadata := sa.MetaData()))
    with sa.create_engine("sqlite://", poolclass=sa.NullPool).connect() as sqlite:
        script = generate(sqlite, metadata)
        assert [ops.CreateTableOp, EnableTenantRlsOp] == kinds(script)
        run(sqlite, script.upgrade_ops)
        assert [] == generate(sqlite, metadata).upgrade_ops.as_diffs()
        run(connection, script.upgrade_ops)
        run(sqlite, script.downgrade_ops)
    assert (True, ["tenant_isolation"]) == state(connection)
    assert [] == generate(connection, metadata).upgrade_ops.as_diffs()


def test_other_entries_of_a_tables_info_stay(connection):
    """Only the mark of this package is removed from a rendered table's ``info``."""
    protect(table(metadata := sa.MetaData())).info["owner"] = "sales"
    lines, _ = code(generate(connection, metadata).upgrade_ops)
    assert "info={'owner': 'sales'}" in "\n".join(lines)
    assert "owner" in metadata.tables["notes"].info and len(metadata.tables["notes"].info) == 2
