"""Policies as statements, and their effect on a server."""

import uuid
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine

from bandmaster.contrib.persistence.tenancy.row_security import (
    CreateTenantPolicy,
    DropPolicy,
    TenantPolicy,
    cast_type,
    policy_of,
    protect,
)

A, B = uuid.UUID(int=1), uuid.UUID(int=2)


def render(statement):
    return str(statement.compile(dialect=postgresql.dialect()))


def notes(metadata, kind=sa.Uuid, schema=None):
    return sa.Table(
        "notes",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tenant_id", kind, nullable=False),
        sa.Column("text", sa.String(50)),
        schema=schema,
    )


def test_the_statements_of_a_policy():
    """Each step is one statement, and the table is closed to all before it opens to one tenant."""
    theirs = "(\"tenant_id\" = (SELECT NULLIF(current_setting('app.tenant', true), '')::UUID))"
    assert [
        'ALTER TABLE "notes" ENABLE ROW LEVEL SECURITY',
        'ALTER TABLE "notes" FORCE ROW LEVEL SECURITY',
        f'CREATE POLICY "tenant_isolation" ON "notes" USING {theirs} WITH CHECK {theirs}',
    ] == [render(statement) for statement in TenantPolicy("notes").create()]
    assert [
        'DROP POLICY "tenant_isolation" ON "notes"',
        'ALTER TABLE "notes" NO FORCE ROW LEVEL SECURITY',
        'ALTER TABLE "notes" DISABLE ROW LEVEL SECURITY',
    ] == [render(statement) for statement in TenantPolicy("notes").drop()]


def test_everything_has_a_name_of_its_own():
    """Schema, column, type, setting and policy can be chosen."""
    policy = TenantPolicy("Order", "sales", "owner", sa.BigInteger(), "shop.owner", "by_owner")
    theirs = "(\"owner\" = (SELECT NULLIF(current_setting('shop.owner', true), '')::BIGINT))"
    assert f'CREATE POLICY "by_owner" ON "sales"."Order" USING {theirs} WITH CHECK {theirs}' == render(
        CreateTenantPolicy(policy)
    )
    assert 'DROP POLICY "by_owner" ON "sales"."Order"' == render(DropPolicy("by_owner", "Order", "sales"))


def test_a_statement_is_shown_as_postgresql_gets_it():
    """``str()`` renders PostgreSQL's SQL, whatever the default dialect."""
    assert 'DROP POLICY "p" ON "notes"' == str(DropPolicy("p", "notes"))


@pytest.mark.parametrize(
    ("kind", "cast"),
    [
        *[(kind, "UUID") for kind in (sa.Uuid, sa.UUID, sa.UUID(as_uuid=False), postgresql.UUID())],
        *[(kind, "BIGINT") for kind in (sa.BigInteger, sa.BIGINT())],
        *[(kind, "INTEGER") for kind in (sa.Integer, sa.INTEGER())],
        *[(kind, "TEXT") for kind in (sa.String, sa.String(8), sa.VARCHAR(8), sa.Text(), sa.TEXT, sa.Unicode(9))],
    ],
)
def test_the_types_that_tenants_are_named_by(kind, cast):
    """The cast has no length, which would cut one tenant's name down to another's."""
    assert f"'')::{cast}))" in render(CreateTenantPolicy(TenantPolicy("notes", type=kind)))


class Sly(sa.Uuid):
    """A type of the user's that renders any SQL."""


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@pytest.mark.parametrize(
    "kind",
    ["uuid", "uuid) OR (true", None, sa.Boolean, sa.Numeric(), sa.Enum("a", "b"), sa.CHAR(3), sa.JSON, Sly, Sly(), []],
)
def test_other_types_are_refused(kind):
    """The cast is one of four types, and never a given text."""
    with pytest.raises(ValueError, match=r"\Atype: expected UUID, BigInteger, Integer, String or Text"):
        TenantPolicy("notes", type=kind)


def test_a_uuid_that_is_stored_as_text_is_refused():
    """PostgreSQL couldn't compare a UUID with a CHAR(32)."""
    with pytest.raises(ValueError, match=r"type: a Uuid with native_uuid=False is stored as CHAR\(32\)"):
        cast_type(sa.Uuid(native_uuid=False))


def test_policies_of_the_same_meaning_are_equal():
    """A type as a class or an instance, with a length or without, gives equal policies."""
    assert TenantPolicy("notes", type=sa.String(8)) == TenantPolicy("notes", type=sa.Text)
    assert TenantPolicy("notes") == TenantPolicy("notes", type=sa.UUID())
    assert 1 == len({TenantPolicy("notes"), TenantPolicy("notes")})


def test_a_marked_table_has_its_columns_type():
    """The policy's type is the column's by default."""
    table = protect(notes(sa.MetaData(), sa.String(20), "sales"))
    assert TenantPolicy("notes", "sales", type=sa.Text) == policy_of(table)
    assert policy_of(notes(sa.MetaData())) is None


def test_a_mapped_class_is_marked_by_decoration():
    """``protect`` decorates a class, and returns the class."""

    class Base(orm.DeclarativeBase):
        pass

    @protect
    class Note(Base):
        __tablename__ = "notes"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        tenant_id: orm.Mapped[uuid.UUID]

    assert TenantPolicy("notes") == policy_of(Note.__table__)


def test_a_copy_of_a_marked_table_is_protected_as_itself():
    """The policy of a copy names the copy's own schema."""
    copy = protect(notes(sa.MetaData())).to_metadata(sa.MetaData(), schema="other")
    assert TenantPolicy("notes", "other") == policy_of(copy)
    assert 'ALTER TABLE "other"."notes" ENABLE ROW LEVEL SECURITY' in create_tables(
        copy.metadata, "postgresql+psycopg://"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: protect(protect(table)), "table: 'notes' is marked already"),
        (lambda table: protect(table, column="tenant"), "column: table 'notes' has no column 'tenant'"),
        (lambda table: protect(table, type_=sa.Boolean), "type: expected UUID"),
        (lambda table: protect(table, setting="tenant"), "setting: expected plain names with dots"),
        (lambda table: protect(table, name="a b"), "name: expected letters"),
        (lambda table: protect("notes"), "table: expected a Table or a mapped class, got 'notes'"),
    ],
)
def test_a_mark_that_doesnt_fit_is_refused(change, message):
    """A wrong mark is refused when the model is defined."""
    with pytest.raises(ValueError, match=message):
        change(notes(sa.MetaData()))


def create_tables(metadata, url):
    statements = []
    engine = sa.create_mock_engine(
        url, lambda statement, *_, **__: statements.append(str(statement.compile(dialect=engine.dialect)))
    )
    metadata.create_all(engine, checkfirst=False)
    return [statement.strip() for statement in statements]


def test_other_databases_get_the_table_alone():
    """Other databases create the table without a policy."""
    metadata = sa.MetaData()
    protect(notes(metadata))
    assert 1 == len(create_tables(metadata, "sqlite://"))
    assert 4 == len(create_tables(metadata, "postgresql+psycopg://"))


@contextmanager
def serving(database, tenant=None):
    """A transaction of the application's role, with a tenant."""
    engine = sa.create_engine(database.app_url(), poolclass=sa.NullPool)
    with engine.begin() as connection:
        if tenant is not None:
            connection.execute(sa.select(sa.func.set_config("app.tenant", str(tenant), True)))
        yield connection


def owner(database):
    return sa.create_engine(database.owner_url(), poolclass=sa.NullPool)


KINDS = [
    pytest.param(sa.Uuid, A, B, id="uuid"),
    pytest.param(sa.BigInteger, 2**40, 2**41, id="bigint"),
    pytest.param(sa.Integer, 1, 2, id="integer"),
    pytest.param(sa.String(8), "12345678", "12345679", id="string"),
    pytest.param(sa.Text, "a'b\"; --", "", id="text"),
]


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
@pytest.mark.parametrize(("kind", "one", "other"), KINDS)
def test_a_tenant_sees_and_writes_its_own_rows_only(postgres_database, kind, one, other):
    """A tenant reads, inserts, updates and deletes its own rows; without a tenant there are none."""
    metadata = sa.MetaData()
    table = protect(notes(metadata, kind))
    metadata.create_all(owner(postgres_database))
    with postgres_database.server.connect(postgres_database.name) as superuser:
        for number, tenant in enumerate((one, other)):
            superuser.execute("INSERT INTO notes (id, tenant_id, text) VALUES (%s, %s, 'first')", [number, tenant])

    with serving(postgres_database, one) as connection:
        assert [0] == list(connection.scalars(sa.select(table.c.id)))
        assert 1 == connection.execute(table.update().values(text="mine")).rowcount
        connection.execute(table.insert().values(id=3, tenant_id=one))
        assert 2 == connection.execute(table.delete()).rowcount
    for change in (
        table.insert().values(id=4, tenant_id=other),
        table.update().values(tenant_id=other),
    ):
        with pytest.raises(sa.exc.ProgrammingError, match="violates row-level security policy"):
            with serving(postgres_database, one) as connection:
                connection.execute(table.insert().values(id=5, tenant_id=one))
                connection.execute(change)
    with serving(postgres_database) as connection:
        assert [] == connection.execute(sa.select(table)).all()
        assert 0 == connection.execute(table.delete()).rowcount
    for missing in (None, ""):
        with pytest.raises(sa.exc.ProgrammingError, match="violates row-level security policy"):
            with serving(postgres_database, missing) as connection:
                connection.execute(table.insert().values(id=6, tenant_id=other))


@pytest.mark.requirement("PE-7")
def test_tenants_with_a_common_beginning_are_kept_apart(postgres_database):
    """The setting is compared as a whole, though the column holds eight characters."""
    metadata = sa.MetaData()
    protect(notes(metadata, sa.String(8)))
    metadata.create_all(owner(postgres_database))
    with serving(postgres_database, "12345678") as connection:
        connection.exec_driver_sql("INSERT INTO notes VALUES (1, '12345678', 'secret')")
    with serving(postgres_database, "123456789") as connection:
        assert [] == connection.exec_driver_sql("SELECT * FROM notes").all()


@pytest.mark.requirement("PE-7")
def test_a_setting_that_was_left_empty_is_no_error(postgres_database):
    """After a transaction with a tenant the setting is '', which isn't cast to a UUID."""
    metadata = sa.MetaData()
    table = protect(notes(metadata))
    metadata.create_all(owner(postgres_database))
    with sa.create_engine(postgres_database.app_url(), poolclass=sa.NullPool).connect() as connection:
        with connection.begin():
            connection.execute(sa.select(sa.func.set_config("app.tenant", str(A), True)))
            connection.execute(table.insert().values(id=1, tenant_id=A))
        with connection.begin():
            assert "" == connection.scalar(sa.select(sa.func.current_setting("app.tenant", True)))
            assert [] == connection.execute(sa.select(table)).all()


@pytest.mark.requirement("PE-7")
def test_the_owner_is_bound_as_well_until_the_policy_goes(postgres_database):
    """FORCE binds the owner, and dropping the policy removes all of it."""
    metadata = sa.MetaData()
    table = protect(notes(metadata))
    engine = owner(postgres_database)
    metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(sa.select(sa.func.set_config("app.tenant", str(A), True)))
        connection.execute(table.insert().values(id=1, tenant_id=A))
        connection.commit()
        assert [] == connection.execute(sa.select(table)).all()
        for statement in policy_of(table).drop():
            connection.execute(statement)
        assert 1 == len(connection.execute(sa.select(table)).all())
        assert (False, False) == tuple(
            connection.exec_driver_sql(
                "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'notes'"
            ).one()
        )
        connection.commit()


@pytest.mark.anyio
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_asynchronous_drivers_create_policies(postgres_database, driver):
    """asyncpg, which takes one statement at a time, creates policies."""
    metadata = sa.MetaData()
    table = protect(notes(metadata))
    engine = create_async_engine(postgres_database.owner_url(driver), poolclass=sa.NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        for statement in (*policy_of(table).drop(), *policy_of(table).create()):
            await connection.execute(statement)
    async with engine.connect() as connection:
        found = await connection.scalar(sa.text("SELECT count(*) FROM pg_policies WHERE tablename = 'notes'"))
    assert 1 == found
    await engine.dispose()


def test_a_schema_that_is_translated_is_translated_here_too(postgres_database):
    """SQLAlchemy's schema_translate_map applies to policies as to tables."""
    metadata = sa.MetaData()
    protect(notes(metadata, schema="per_tenant"))
    with owner(postgres_database).begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA one")
        metadata.create_all(connection.execution_options(schema_translate_map={"per_tenant": "one"}))
        assert [("one", "notes")] == [
            tuple(row) for row in connection.exec_driver_sql("SELECT schemaname, tablename FROM pg_policies")
        ]
