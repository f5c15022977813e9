"""``op.enable_tenant_rls`` and ``op.disable_tenant_rls``: Alembic learns them when this is imported, autogenerate too.

On other databases than PostgreSQL they do nothing, so that one migration serves production and a demo on SQLite. The
owner of a table is bound by its policy as well, and sees no row in a migration: one that changes data does it between
``op.disable_tenant_rls`` and ``op.enable_tenant_rls``, which are one transaction for everybody else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from alembic.autogenerate import comparators, renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateTableOp, DropTableOp, UpgradeOps
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy.types import TypeEngine

from bandmaster.contrib.persistence.tenancy.row_security import COLUMN, MARK, POLICY, SETTING, TenantPolicy, policy_of

Difference: TypeAlias = tuple[Literal["add_tenant_rls", "remove_tenant_rls"], TenantPolicy]

_IMPORT = "import bandmaster.contrib.persistence.migration.operations  # noqa: F401"
"""What a migration needs at its top, so that any environment knows its operations."""
_UUID = sa.Uuid


@Operations.register_operation("enable_tenant_rls")
class EnableTenantRlsOp(MigrateOperation):
    """Protect a table: row-level security, forced on its owner too, and the policy."""

    def __init__(self, policy: TenantPolicy) -> None:
        self.policy = policy

    @classmethod
    def enable_tenant_rls(
        cls,
        operations: Operations,
        table: str,
        *,
        column: str = COLUMN,
        type_: type[TypeEngine[Any]] | TypeEngine[Any] | None = None,
        setting: str = SETTING,
        name: str = POLICY,
        schema: str | None = None,
    ) -> None:
        """Let every tenant see its own rows of a table only. Without ``type_`` the column is a UUID.

        Raises:
            ValueError: an argument isn't a plain name, or the type none that tenants are named by.
        """
        operations.invoke(cls(TenantPolicy(table, schema, column, _UUID if type_ is None else type_, setting, name)))

    def reverse(self) -> DisableTenantRlsOp:
        """What undoes it."""
        return DisableTenantRlsOp(self.policy)

    def to_diff_tuple(self) -> Difference:
        """What ``compare_metadata`` tells."""
        return ("add_tenant_rls", self.policy)


@Operations.register_operation("disable_tenant_rls")
class DisableTenantRlsOp(MigrateOperation):
    """Open a table to everybody who may read it."""

    def __init__(self, policy: TenantPolicy) -> None:
        self.policy = policy

    @classmethod
    def disable_tenant_rls(
        cls,
        operations: Operations,
        table: str,
        *,
        column: str = COLUMN,
        type_: type[TypeEngine[Any]] | TypeEngine[Any] | None = None,
        setting: str = SETTING,
        name: str = POLICY,
        schema: str | None = None,
    ) -> None:
        """Drop a table's policy and its row-level security. Its arguments say what the reverse makes again.

        Raises:
            ValueError: an argument isn't a plain name, or the type none that tenants are named by.
        """
        operations.invoke(cls(TenantPolicy(table, schema, column, _UUID if type_ is None else type_, setting, name)))

    def reverse(self) -> EnableTenantRlsOp:
        """What undoes it."""
        return EnableTenantRlsOp(self.policy)

    def to_diff_tuple(self) -> Difference:
        """What ``compare_metadata`` tells."""
        return ("remove_tenant_rls", self.policy)


@Operations.implementation_for(EnableTenantRlsOp)
def _enable(operations: Operations, operation: EnableTenantRlsOp) -> None:
    _execute(operations, operation.policy.create())


@Operations.implementation_for(DisableTenantRlsOp)
def _disable(operations: Operations, operation: DisableTenantRlsOp) -> None:
    _execute(operations, operation.policy.drop())


def _execute(operations: Operations, statements: Iterable[sa.schema.ExecutableDDLElement]) -> None:
    if operations.get_context().dialect.name == "postgresql":
        for statement in statements:
            operations.execute(statement)


@renderers.dispatch_for(EnableTenantRlsOp)
def _render_enable(context: AutogenContext, operation: EnableTenantRlsOp) -> str:
    return _rendered(context, "enable_tenant_rls", operation.policy)


@renderers.dispatch_for(DisableTenantRlsOp)
def _render_disable(context: AutogenContext, operation: DisableTenantRlsOp) -> str:
    return _rendered(context, "disable_tenant_rls", operation.policy)


def _rendered(context: AutogenContext, operation: str, policy: TenantPolicy) -> str:
    context.imports.add(_IMPORT)
    plain = TenantPolicy(policy.table)
    arguments = [repr(policy.table)]
    if policy.column != plain.column:
        arguments.append(f"column={policy.column!r}")
    if policy.type is not plain.type:
        arguments.append(f"type_={context.opts['sqlalchemy_module_prefix']}{_word(policy)}")
    arguments += [
        f"{field}={value!r}"
        for field in ("setting", "name", "schema")
        if (value := getattr(policy, field)) != getattr(plain, field)
    ]
    return f"{context.opts['alembic_module_prefix']}{operation}({', '.join(arguments)})"


def _word(policy: TenantPolicy) -> str:
    return str(getattr(policy.type, "__name__", policy.type))


@dataclass(frozen=True, slots=True)
class _Found:
    """What a database has for one table."""

    on: bool
    """Row-level security is enabled, and forced on the owner."""
    policies: tuple[TenantPolicy, ...] = ()
    """Those that are exactly what a `TenantPolicy` makes."""
    names: frozenset[str] = frozenset()
    """Of all its policies."""


_Tables: TypeAlias = Mapping[tuple[str, str], _Found]

_CATALOGUE = sa.text(
    """
    SELECT n.nspname, c.relname, c.relrowsecurity AND c.relforcerowsecurity AS is_on, p.policyname, p.qual,
           p.qual = p.with_check AND p.permissive = 'PERMISSIVE' AND p.cmd = 'ALL' AND p.roles = '{public}' AS is_ours
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_policies p ON p.schemaname = n.nspname AND p.tablename = c.relname
    WHERE c.relkind IN ('r', 'p') AND n.nspname IN :schemas
    ORDER BY n.nspname, c.relname, p.policyname
    """
).bindparams(sa.bindparam("schemas", expanding=True))

# How PostgreSQL tells the condition that it was given; versions 14 to 18 agree.
_CONDITION = re.compile(
    r"""
    \( (?: \("?(?P<text>[\w$]+)"?\)::text | "?(?P<column>[\w$]+)"? ) \s = \s
    \( \s SELECT \s \(? NULLIF\(current_setting\('(?P<setting>[\w$.]+)'::text, \s true\), \s ''::text\)
    (?: \)::(?P<type>uuid|bigint|integer) )? \s AS \s "nullif" \)\)
    """,
    re.VERBOSE | re.ASCII,
)
_TYPES: Mapping[str | None, type[TypeEngine[Any]]] = MappingProxyType(
    {"uuid": sa.Uuid, "bigint": sa.BigInteger, "integer": sa.Integer, None: sa.Text}
)


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST, subgroup="bandmaster.tenant_rls")
def _compare(context: AutogenContext, upgrade: UpgradeOps, schemas: Collection[str | None]) -> PriorityDispatchResult:
    """What marked tables lack, and what unmarked ones have too much.

    A policy that says anything else than ours is somebody's own, and stays; unless it bears the name of ours.
    """
    for operation in upgrade.ops:
        if isinstance(operation, CreateTableOp):
            # It would be rendered into the migration, where it is no Python.
            operation.info.pop(MARK, None)
    on_postgresql = context.dialect is not None and context.dialect.name == "postgresql"
    opened, closed = (_by_catalogue if on_postgresql else _by_creation)(context, upgrade)
    # A column can't be changed, nor a type, while a policy uses it: these go first, and come back last. The reverse
    # has them the other way round, which is right as well: a table that was dropped is there before it is protected.
    upgrade.ops[:0] = map(DisableTenantRlsOp, opened)
    upgrade.ops += map(EnableTenantRlsOp, closed)
    return PriorityDispatchResult.CONTINUE


_Changes: TypeAlias = tuple[list[TenantPolicy], list[TenantPolicy]]
"""The policies to drop, and those to make."""


def _by_creation(context: AutogenContext, upgrade: UpgradeOps) -> _Changes:
    # Nothing can be looked up here, but a migration that was written on SQLite is to protect on PostgreSQL.
    tables = {(table.schema, table.name): table for table in context.sorted_tables}
    created = [(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, CreateTableOp)]
    return [], [policy for key in created if key in tables and (policy := policy_of(tables[key]))]


def _by_catalogue(context: AutogenContext, upgrade: UpgradeOps) -> _Changes:
    tables = {(table.schema, table.name): table for table in context.sorted_tables}
    dropped = [(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, DropTableOp)]
    default = context.dialect.default_schema_name if context.dialect is not None else None
    found = _look(context, {schema or default for schema, _ in (*tables, *dropped)})
    opened: list[TenantPolicy] = []
    closed: list[TenantPolicy] = []
    for schema, name in (*tables, *dropped):
        table = tables.get((schema, name))
        if table is not None and not context.run_object_filters(table, name, "table", False, None):
            continue
        wanted = None if table is None else policy_of(table)
        there = found.get((schema or default or "", name), _Found(on=False))
        too_much, lacking = _difference(wanted, there, schema)
        opened += too_much
        closed += lacking
    return opened, closed


def _difference(wanted: TenantPolicy | None, there: _Found, schema: str | None) -> _Changes:
    # The metadata's own way to name the schema, so that what is rendered looks like the rest.
    policies = [replace(policy, schema=schema) for policy in there.policies]
    if wanted is None:
        return policies, []
    if there.on and policies == [wanted]:
        return [], []
    if wanted.name in there.names and all(policy.name != wanted.name for policy in policies):
        policies.append(wanted)
    return policies, [wanted]


def _look(context: AutogenContext, schemas: set[str | None]) -> _Tables:
    if context.connection is None or not (named := sorted(schema for schema in schemas if schema)):
        return {}
    found: dict[tuple[str, str], _Found] = {}
    for schema, table, is_on, name, condition, is_ours in context.connection.execute(_CATALOGUE, {"schemas": named}):
        before = found.get((schema, table), _Found(on=is_on))
        if name is not None:
            policy = _recognised(schema, table, name, condition) if is_ours else None
            before = replace(
                before,
                policies=(*before.policies, *((policy,) if policy else ())),
                names=before.names | {name},
            )
        found[schema, table] = before
    return found


def _recognised(schema: str, table: str, name: str, condition: str) -> TenantPolicy | None:
    match = _CONDITION.fullmatch(condition)
    if match is not None:
        with suppress(ValueError):  # a name that isn't plain was none of ours
            column = match["text"] or match["column"]
            return TenantPolicy(table, schema, column, _TYPES[match["type"]], match["setting"], name)
    return None
