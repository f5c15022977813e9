"""PostgreSQL's row-level security as DDL: policies that show each tenant its own rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.types import TypeEngine

from bandmaster.contrib.persistence.tenancy.identifiers import identifier, setting_name

T = TypeVar("T")

MARK = "bandmaster.tenant"
"""The key of a table's ``info`` that holds its policy."""
COLUMN = "tenant_id"
SETTING = "app.tenant"
POLICY = "tenant_isolation"

# Types that PostgreSQL stores and compares alike share one cast. Every string type is cast to TEXT: a cast to
# VARCHAR(8) would cut the name of one tenant down to the name of another.
_CASTS: Mapping[type[TypeEngine[Any]], type[TypeEngine[Any]]] = MappingProxyType(
    {
        **dict.fromkeys((sa.Uuid, sa.UUID), sa.Uuid),
        **dict.fromkeys((sa.BigInteger, sa.BIGINT), sa.BigInteger),
        **dict.fromkeys((sa.Integer, sa.INTEGER), sa.Integer),
        **dict.fromkeys((sa.String, sa.VARCHAR, sa.Text, sa.TEXT, sa.Unicode, sa.UnicodeText), sa.Text),
    }
)


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """The policy of one table: the tenant in the row's column must be the tenant in the transaction's setting.

    While the setting is unset or empty, no row is visible and none can be written.

    Raises:
        ValueError: a name isn't plain, or ``type`` isn't UUID, an integer or a string; the message names the argument.
    """

    table: str
    schema: str | None = None
    """None: the first schema of the search path."""
    column: str = COLUMN
    type: type[TypeEngine[Any]] | TypeEngine[Any] = sa.Uuid
    """The type that the setting's text is cast to: UUID, BigInteger, Integer or a string type. Stored as a class."""
    setting: str = SETTING
    name: str = POLICY
    """The policy's name, unique for its table."""

    def __post_init__(self) -> None:
        for field in ("table", "column", "name"):
            _set_field(self, field, identifier(getattr(self, field), field))
        if self.schema is not None:
            _set_field(self, "schema", identifier(self.schema, "schema"))
        _set_field(self, "setting", setting_name(self.setting, "setting"))
        _set_field(self, "type", cast_type(self.type))

    def create(self) -> tuple[ExecutableDDLElement, ...]:
        """Statements that protect the table. After each one the table is either as open as before, or closed to all."""
        return (
            EnableRowSecurity(self.table, self.schema),
            ForceRowSecurity(self.table, self.schema),
            CreateTenantPolicy(self),
        )

    def drop(self) -> tuple[ExecutableDDLElement, ...]:
        """Statements that open the table again. The table is closed to all until the last one."""
        return (
            DropPolicy(self.name, self.table, self.schema),
            NoForceRowSecurity(self.table, self.schema),
            DisableRowSecurity(self.table, self.schema),
        )


def cast_type(kind: object, label: str = "type") -> type[TypeEngine[Any]]:
    """The type for comparing a column of type ``kind``: ``Uuid``, ``BigInteger``, ``Integer`` or ``Text``.

    Raises:
        ValueError: the type is another one; the message begins with ``label``.
    """
    # Exact classes only: a subclass may render any SQL.
    found = _CASTS.get(cast("Any", kind if isinstance(kind, type) else type(kind)))
    if found is None:
        raise ValueError(f"{label}: expected UUID, BigInteger, Integer, String or Text of SQLAlchemy, got {kind!r}")
    if not getattr(kind, "native_uuid", True):
        raise ValueError(f"{label}: a Uuid with native_uuid=False is stored as CHAR(32); use a native one")
    return found


def protect(
    table: T,
    *,
    column: str = COLUMN,
    type_: type[TypeEngine[Any]] | TypeEngine[Any] | None = None,
    setting: str = SETTING,
    name: str = POLICY,
) -> T:
    """Mark a table, or a mapped class, as isolated by tenant. Returns its argument, and so works as a class decorator.

    Alembic's autogenerate then writes the policy into revisions, and ``metadata.create_all`` creates the policy. Other
    databases than PostgreSQL get the table without a policy. ``type_`` defaults to the column's own type.

    Raises:
        ValueError: ``table`` is no table, is marked already or has no such column, or a name isn't plain.
    """
    target = getattr(table, "__table__", table)
    if not isinstance(target, sa.Table):
        raise ValueError(f"table: expected a Table or a mapped class, got {table!r}")
    if MARK in target.info:
        raise ValueError(f"table: {target.fullname!r} is marked already")
    if column not in target.c:
        raise ValueError(f"column: table {target.fullname!r} has no column {column!r}")
    kind = target.c[column].type if type_ is None else type_
    target.info[MARK] = TenantPolicy(target.name, target.schema, column, kind, setting, name)
    event.listen(target, "after_create", _create_policy_after, propagate=True)  # to copies of the table as well
    return table


def policy_of(table: sa.Table) -> TenantPolicy | None:
    """The policy of a marked table, None for others. The policy names the table itself, also for a copy."""
    marked = cast("TenantPolicy | None", table.info.get(MARK))
    return None if marked is None else replace(marked, table=table.name, schema=table.schema)


def _create_policy_after(target: sa.Table, connection: sa.Connection, **_: Any) -> None:
    policy = policy_of(target)
    if policy is not None and connection.dialect.name == "postgresql":
        for statement in policy.create():
            connection.execute(statement)


class _TableStatement(ExecutableDDLElement):
    """A statement about the row-level security of one table. ``str()`` renders PostgreSQL's SQL."""

    stringify_dialect = "postgresql"

    def __init__(self, table: str, schema: str | None = None) -> None:
        self.table = identifier(table, "table")
        self.schema = None if schema is None else identifier(schema, "schema")


class _AlterTable(_TableStatement):
    action: ClassVar[str]


class EnableRowSecurity(_AlterTable):
    """``ALTER TABLE … ENABLE ROW LEVEL SECURITY``: without a policy only the owner sees rows."""

    action = "ENABLE"


class DisableRowSecurity(_AlterTable):
    """``ALTER TABLE … DISABLE ROW LEVEL SECURITY``: policies stay, without effect."""

    action = "DISABLE"


class ForceRowSecurity(_AlterTable):
    """``ALTER TABLE … FORCE ROW LEVEL SECURITY``: policies bind the owner, too."""

    action = "FORCE"


class NoForceRowSecurity(_AlterTable):
    """``ALTER TABLE … NO FORCE ROW LEVEL SECURITY``: the owner sees all rows."""

    action = "NO FORCE"


class CreateTenantPolicy(_TableStatement):
    """``CREATE POLICY``: the transaction's tenant may read and write its own rows."""

    def __init__(self, policy: TenantPolicy) -> None:
        super().__init__(policy.table, policy.schema)
        self.policy = policy


class DropPolicy(_TableStatement):
    """``DROP POLICY``."""

    def __init__(self, name: str, table: str, schema: str | None = None) -> None:
        super().__init__(table, schema)
        self.name = identifier(name, "name")


@compiles(_AlterTable, "postgresql")
def _alter_table(element: _AlterTable, compiler: DDLCompiler, **_: Any) -> str:
    return f"ALTER TABLE {_render_table(element, compiler)} {element.action} ROW LEVEL SECURITY"


@compiles(CreateTenantPolicy, "postgresql")
def _create_policy(element: CreateTenantPolicy, compiler: DDLCompiler, **_: Any) -> str:
    policy = element.policy
    quoted = compiler.preparer.quote_identifier
    kind = compiler.dialect.type_compiler_instance.process(cast("type[TypeEngine[Any]]", policy.type)())
    # When a transaction has set the setting, it is '' instead of unset afterwards, and ''::uuid is an error. With the
    # SELECT PostgreSQL reads the setting once for a query, not once for each row.
    tenant = f"(SELECT NULLIF(current_setting('{policy.setting}', true), '')::{kind})"
    condition = f"({quoted(policy.column)} = {tenant})"
    table = _render_table(element, compiler)
    return f"CREATE POLICY {quoted(policy.name)} ON {table} USING {condition} WITH CHECK {condition}"


@compiles(DropPolicy, "postgresql")
def _drop_policy(element: DropPolicy, compiler: DDLCompiler, **_: Any) -> str:
    return f"DROP POLICY {compiler.preparer.quote_identifier(element.name)} ON {_render_table(element, compiler)}"


def _render_table(element: _TableStatement, compiler: DDLCompiler) -> str:
    # The preparer quotes a quoted_name, and applies schema_translate_map; an f-string would do neither.
    table = sa.Table(
        sa.quoted_name(element.table, True),
        sa.MetaData(),
        schema=None if element.schema is None else sa.quoted_name(element.schema, True),
    )
    return compiler.preparer.format_table(table)


def _set_field(policy: TenantPolicy, field: str, value: object) -> None:
    object.__setattr__(policy, field, value)
