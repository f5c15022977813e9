"""PostgreSQL's row-level security as DDL: each tenant sees its own rows, and without a tenant there are none."""

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
"""Where a table's ``info`` holds its policy."""
COLUMN = "tenant_id"
SETTING = "app.tenant"
POLICY = "tenant_isolation"

# Types that are stored and compared alike stand for one cast. Strings are cast to TEXT whatever their length: a cast to
# VARCHAR(8) would cut a longer tenant's name down to another tenant's.
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
    """One table's isolation: a row belongs to the tenant in its column, a transaction to the one in the setting.

    While the setting is unset or empty, no row is visible and none can be written.

    Raises:
        ValueError: a name isn't plain, or a type isn't one that tenants are named by; the message names the argument.
    """

    table: str
    schema: str | None = None
    """None means the first of the search path."""
    column: str = COLUMN
    type: type[TypeEngine[Any]] | TypeEngine[Any] = sa.Uuid
    """What the setting's text is cast to: UUID, BigInteger, Integer or a string type. Kept as a class."""
    setting: str = SETTING
    name: str = POLICY
    """The policy's own name, unique for its table."""

    def __post_init__(self) -> None:
        for field in ("table", "column", "name"):
            _set(self, field, identifier(getattr(self, field), field))
        if self.schema is not None:
            _set(self, "schema", identifier(self.schema, "schema"))
        _set(self, "setting", setting_name(self.setting, "setting"))
        _set(self, "type", cast_type(self.type))

    def create(self) -> tuple[ExecutableDDLElement, ...]:
        """What protects the table. Each statement leaves it either as open as it was, or closed to everybody."""
        return (
            EnableRowSecurity(self.table, self.schema),
            ForceRowSecurity(self.table, self.schema),
            CreateTenantPolicy(self),
        )

    def drop(self) -> tuple[ExecutableDDLElement, ...]:
        """What opens the table again; it is closed to everybody until the last statement."""
        return (
            DropPolicy(self.name, self.table, self.schema),
            NoForceRowSecurity(self.table, self.schema),
            DisableRowSecurity(self.table, self.schema),
        )


def cast_type(kind: object, label: str = "type") -> type[TypeEngine[Any]]:
    """The one of ``Uuid``, ``BigInteger``, ``Integer`` and ``Text`` that a column's type is compared as.

    Raises:
        ValueError: none of them is; the message begins with ``label``.
    """
    # Exact classes: a subclass may render anything.
    found = _CASTS.get(cast("Any", kind if isinstance(kind, type) else type(kind)))
    if found is None:
        raise ValueError(f"{label}: expected UUID, BigInteger, Integer, String or Text of SQLAlchemy, got {kind!r}")
    if not getattr(kind, "native_uuid", True):
        raise ValueError(f"{label}: a Uuid with native_uuid=False is stored as CHAR(32); use one that is native")
    return found


def protect(
    table: T,
    *,
    column: str = COLUMN,
    type_: type[TypeEngine[Any]] | TypeEngine[Any] | None = None,
    setting: str = SETTING,
    name: str = POLICY,
) -> T:
    """Mark a table, or a mapped class, as isolated by tenant; returns it, so that it decorates a class as well.

    Alembic's autogenerate then asks for the policy, and ``metadata.create_all`` makes it. Other databases than
    PostgreSQL get the table without it. ``type_`` is the column's own type unless given.

    Raises:
        ValueError: it is no table, is marked already, has no such column, or an argument doesn't fit.
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
    event.listen(target, "after_create", _after_create, propagate=True)  # to copies of the table as well
    return table


def policy_of(table: sa.Table) -> TenantPolicy | None:
    """The policy that a table is marked with; for a copy of a marked table, the copy's own."""
    marked = cast("TenantPolicy | None", table.info.get(MARK))
    return None if marked is None else replace(marked, table=table.name, schema=table.schema)


def _after_create(target: sa.Table, connection: sa.Connection, **_: Any) -> None:
    policy = policy_of(target)
    if policy is not None and connection.dialect.name == "postgresql":
        for statement in policy.create():
            connection.execute(statement)


class _OnTable(ExecutableDDLElement):
    """A statement about the row-level security of one table. For people it is shown as PostgreSQL gets it."""

    stringify_dialect = "postgresql"

    def __init__(self, table: str, schema: str | None = None) -> None:
        self.table = identifier(table, "table")
        self.schema = None if schema is None else identifier(schema, "schema")


class _AlterTable(_OnTable):
    action: ClassVar[str]


class EnableRowSecurity(_AlterTable):
    """``ALTER TABLE … ENABLE ROW LEVEL SECURITY``: without a policy nobody but the owner sees a row."""

    action = "ENABLE"


class DisableRowSecurity(_AlterTable):
    """``ALTER TABLE … DISABLE ROW LEVEL SECURITY``: policies stay, and mean nothing."""

    action = "DISABLE"


class ForceRowSecurity(_AlterTable):
    """``ALTER TABLE … FORCE ROW LEVEL SECURITY``: the owner too."""

    action = "FORCE"


class NoForceRowSecurity(_AlterTable):
    """``ALTER TABLE … NO FORCE ROW LEVEL SECURITY``: the owner sees all."""

    action = "NO FORCE"


class CreateTenantPolicy(_OnTable):
    """``CREATE POLICY``: rows of the transaction's tenant, to read and to write."""

    def __init__(self, policy: TenantPolicy) -> None:
        super().__init__(policy.table, policy.schema)
        self.policy = policy


class DropPolicy(_OnTable):
    """``DROP POLICY``."""

    def __init__(self, name: str, table: str, schema: str | None = None) -> None:
        super().__init__(table, schema)
        self.name = identifier(name, "name")


@compiles(_AlterTable, "postgresql")
def _alter_table(element: _AlterTable, compiler: DDLCompiler, **_: Any) -> str:
    return f"ALTER TABLE {_relation(element, compiler)} {element.action} ROW LEVEL SECURITY"


@compiles(CreateTenantPolicy, "postgresql")
def _create_policy(element: CreateTenantPolicy, compiler: DDLCompiler, **_: Any) -> str:
    policy = element.policy
    quoted = compiler.preparer.quote_identifier
    kind = compiler.dialect.type_compiler_instance.process(cast("type[TypeEngine[Any]]", policy.type)())
    # After a SET LOCAL has ended the setting is '' instead of unset, and ''::uuid would be an error. The SELECT makes
    # it one look at the setting for a query, not one for each row.
    theirs = f"(SELECT NULLIF(current_setting('{policy.setting}', true), '')::{kind})"
    condition = f"({quoted(policy.column)} = {theirs})"
    return f"CREATE POLICY {quoted(policy.name)} ON {_relation(element, compiler)} USING {condition} WITH CHECK {condition}"


@compiles(DropPolicy, "postgresql")
def _drop_policy(element: DropPolicy, compiler: DDLCompiler, **_: Any) -> str:
    return f"DROP POLICY {compiler.preparer.quote_identifier(element.name)} ON {_relation(element, compiler)}"


def _relation(element: _OnTable, compiler: DDLCompiler) -> str:
    # The preparer, not an f-string, is what quotes a quoted_name; and it knows of schema_translate_map.
    table = sa.Table(
        sa.quoted_name(element.table, True),
        sa.MetaData(),
        schema=None if element.schema is None else sa.quoted_name(element.schema, True),
    )
    return compiler.preparer.format_table(table)


def _set(policy: TenantPolicy, field: str, value: object) -> None:
    object.__setattr__(policy, field, value)
