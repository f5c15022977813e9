"""Names for DDL: plain ones pass, all others are refused."""

import re

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy.dialects import postgresql

from bandmaster.contrib.persistence.tenancy import row_security as rs
from bandmaster.contrib.persistence.tenancy.identifiers import LONGEST, identifier, setting_name

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
names = st.builds(
    lambda first, rest: first + rest, st.sampled_from(FIRST), st.text(f"{FIRST}0123456789$", max_size=LONGEST - 1)
)
# What people attack with, in the middle of what looks harmless, and any text there is.
meta = st.sampled_from(
    ['"', "'", ";", "--", "/*", "\\", "\0", " ", "\n", ".", "%", "%s", ":x", "(", ")", "é", "\u202e"]
)
hostile = st.one_of(
    st.text().filter(lambda text: not PLAIN.fullmatch(text)),
    st.builds(lambda before, evil, after: before + evil + after, names, meta, st.one_of(names, st.just(""))),
    st.sampled_from(["", "1a", "$a", "a" * 64, 'x"; DROP TABLE users; --', "a\n", "tenant_id = tenant_id OR true"]),
)
arguments = st.sampled_from(["table", "schema", "column", "name"])


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@given(names)
def test_a_plain_name_passes_unchanged(name):
    """Upper case, reserved words and dollar signs pass, because statements quote names."""
    assert name == identifier(name, "table")
    assert type(identifier(name, "table")) is str


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@given(hostile)
def test_anything_else_is_refused_by_the_name_of_its_argument(name):
    """The error names the argument."""
    with pytest.raises(ValueError, match=r"\Aschema: expected "):
        identifier(name, "schema")


@pytest.mark.parametrize("name", [None, 5, b"users", ["users"]])
def test_other_types_than_text_are_refused(name):
    """Values that aren't text raise a ValueError."""
    with pytest.raises(ValueError, match="table: expected letters"):
        identifier(name, "table")


def test_63_bytes_are_the_most():
    """A longer name is refused, because PostgreSQL would truncate it to another table's."""
    assert "a" * 63 == identifier("a" * 63)
    with pytest.raises(ValueError, match="name: expected at most 63 bytes, got 64"):
        identifier("a" * 64)


def test_a_subclass_of_str_is_checked_by_its_content():
    """A subclass of str is checked by the text that it holds, not by the one that it renders."""

    class Pretender(str):
        def __str__(self):
            return "x; DROP TABLE users"

    assert "users" == f"{identifier(Pretender('users'))}"
    assert type(identifier(sa.quoted_name("users", quote=False))) is str


@given(st.lists(names, min_size=2, max_size=3).map(".".join))
def test_a_setting_has_dots_between_plain_names(name):
    """A setting is two or more plain names with dots between them."""
    assume(len(name) <= LONGEST)
    assert name == setting_name(name)


@pytest.mark.parametrize(
    "name", ["tenant", "app.", ".tenant", "app..tenant", "app.te'nant", "app.1", "", None, "a.b\n"]
)
def test_other_settings_are_refused(name):
    """Names of settings, which stand in a literal, follow the same rule."""
    with pytest.raises(ValueError, match=r"\Asetting: expected plain names with dots between them"):
        setting_name(name)


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@given(hostile, arguments)
def test_no_statement_is_made_with_such_a_name(name, argument):
    """The error is raised before there is a statement to execute."""
    with pytest.raises(ValueError, match=rf"\A{argument}: expected "):
        rs.TenantPolicy(**{"table": "notes", argument: name})


@pytest.mark.requirement("CF-01", "F-01")
@pytest.mark.parametrize(
    "make",
    [
        rs.EnableRowSecurity,
        rs.DisableRowSecurity,
        rs.ForceRowSecurity,
        rs.NoForceRowSecurity,
        lambda table, schema: rs.DropPolicy("tenant_isolation", table, schema),
        lambda name, schema: rs.DropPolicy(name, "notes", schema),
    ],
)
@given(name=hostile)
def test_each_statement_refuses_such_names_by_itself(make, name):
    """Statements that are made without a policy check their names, too."""
    with pytest.raises(ValueError, match=r"(table|name): expected "):
        make(name, "public")
    with pytest.raises(ValueError, match="schema: expected "):
        make("notes", name)


@pytest.mark.requirement("CF-01", "F-01")
@given(st.builds(rs.TenantPolicy, names, st.none() | names, names, name=names))
def test_every_name_stands_in_quotes(policy):
    """Outside quotes and literals a statement holds only its own keywords."""
    for statement in (*policy.create(), *policy.drop()):
        text = str(statement.compile(dialect=postgresql.dialect()))
        bare = re.sub(r'"[^"]*"|\'[^\']*\'', "", text)
        assert re.fullmatch(r"[A-Za-z_ .=(),:]*", bare)
        quoted = [identifier(found) for found in re.findall(r'"([^"]*)"', text)]
        assert set(quoted) <= {policy.table, policy.schema, policy.column, policy.name}
        assert policy.table in quoted


@pytest.fixture(scope="module")
def superuser(postgres_server):
    with postgres_server.connect() as connection:
        yield connection


@pytest.mark.requirement("CF-01", "F-01", "PE-7")
@given(schema=names, table=names, column=names, policy=names, setting=st.tuples(names, names).map(".".join))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_accepted_means_itself_on_a_server(superuser, schema, table, column, policy, setting):
    """PostgreSQL stores accepted names unchanged: case, reserved words, dollar signs, full length."""
    assume(not schema.startswith("pg_") and schema not in ("public", "information_schema"))
    assume(column not in ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid") and len(setting) <= LONGEST)
    wanted = rs.TenantPolicy(table, schema, column, sa.BigInteger, setting, policy)
    dialect = postgresql.dialect()
    with superuser.transaction(force_rollback=True), superuser.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        cursor.execute(
            sql.SQL("CREATE TABLE {} ({} bigint)").format(sql.Identifier(schema, table), sql.Identifier(column))
        )
        for statement in wanted.create():
            cursor.execute(str(statement.compile(dialect=dialect)))
        made = cursor.execute("SELECT schemaname, tablename, policyname, qual FROM pg_policies").fetchall()
        assert [(schema, table, policy)] == [row[:3] for row in made]
        assert f"current_setting('{setting}'::text, true)" in made[0][3]
        assert made[0][3].startswith((f"({column} = ", f'("{column}" = '))
        for statement in wanted.drop():
            cursor.execute(str(statement.compile(dialect=dialect)))
        assert [] == cursor.execute("SELECT policyname FROM pg_policies").fetchall()
