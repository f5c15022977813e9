"""``op.enable_tenant_rls`` and ``op.disable_tenant_rls``, which importing this module registers with Alembic.

On other databases than PostgreSQL they do nothing, so that one migration serves production and a demo on SQLite. The
policy binds the owner of the table, too, so that a migration sees no rows. A migration that changes data does so
between ``op.disable_tenant_rls`` and ``op.enable_tenant_rls``; both are in one transaction, so that others see neither.
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
"""The import at the top of a revision, so that every environment registers the operations."""
_UUID = sa.Uuid


class _TenantRlsOp(MigrateOperation):
    """An operation on the row-level security of one table."""

    def __init__(self, policy: TenantPolicy) -> None:
        self.policy = policy

    @classmethod
    def run(
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
        """Protect a table, so that each tenant sees its own rows only; ``op.disable_tenant_rls`` opens the table.

        The default of ``type_`` is a UUID. ``disable_tenant_rls`` takes the same arguments, so that its reverse can
        create the policy again.

        Raises:
            ValueError: a name isn't plain, or ``type_`` isn't UUID, an integer or a string.
        """
        operations.invoke(cls(TenantPolicy(table, schema, column, _UUID if type_ is None else type_, setting, name)))


@Operations.register_operation("enable_tenant_rls", "run")
class EnableTenantRlsOp(_TenantRlsOp):
    """Protect a table: row-level security, forced on its owner too, and the policy."""

    def reverse(self) -> DisableTenantRlsOp:
        """The operation that undoes this one."""
        return DisableTenantRlsOp(self.policy)

    def to_diff_tuple(self) -> Difference:
        """The difference for ``compare_metadata``."""
        return ("add_tenant_rls", self.policy)


@Operations.register_operation("disable_tenant_rls", "run")
class DisableTenantRlsOp(_TenantRlsOp):
    """Drop a table's policy and its row-level security."""

    def reverse(self) -> EnableTenantRlsOp:
        """The operation that undoes this one."""
        return EnableTenantRlsOp(self.policy)

    def to_diff_tuple(self) -> Difference:
        """The difference for ``compare_metadata``."""
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
    return _render_operation(context, "enable_tenant_rls", operation.policy)


@renderers.dispatch_for(DisableTenantRlsOp)
def _render_disable(context: AutogenContext, operation: DisableTenantRlsOp) -> str:
    return _render_operation(context, "disable_tenant_rls", operation.policy)


def _render_operation(context: AutogenContext, operation: str, policy: TenantPolicy) -> str:
    context.imports.add(_IMPORT)
    plain = TenantPolicy(policy.table)
    arguments = [repr(policy.table)]
    if policy.column != plain.column:
        arguments.append(f"column={policy.column!r}")
    if policy.type is not plain.type:
        arguments.append(f"type_={context.opts['sqlalchemy_module_prefix']}{_render_type(policy)}")
    arguments += [
        f"{field}={value!r}"
        for field in ("setting", "name", "schema")
        if (value := getattr(policy, field)) != getattr(plain, field)
    ]
    return f"{context.opts['alembic_module_prefix']}{operation}({', '.join(arguments)})"


def _render_type(policy: TenantPolicy) -> str:
    return str(getattr(policy.type, "__name__", policy.type))


@dataclass(frozen=True, slots=True)
class _TableState:
    """The row-level security that a database has for one table."""

    on: bool
    """Whether row-level security is enabled, and forced on the owner."""
    policies: tuple[TenantPolicy, ...] = ()
    """The policies with exactly the SQL of a `TenantPolicy`."""
    names: frozenset[str] = frozenset()
    """The names of all policies of the table."""


_Tables: TypeAlias = Mapping[tuple[str, str], _TableState]

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

# The condition of a policy as PostgreSQL renders it; versions 14 to 18 agree.
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
    """Add operations for marked tables without their policy, and for unmarked tables with one.

    A policy with another condition is the user's own and stays, unless its name is the one that a marked table needs.
    """
    for operation in upgrade.ops:
        if isinstance(operation, CreateTableOp):
            # Alembic renders ``info`` into the revision, and the text of a policy isn't valid Python.
            operation.info.pop(MARK, None)
    on_postgresql = context.dialect is not None and context.dialect.name == "postgresql"
    dropped, created = (_compare_catalogue if on_postgresql else _list_created)(context, upgrade)
    # A column or a type can't be changed while a policy uses it, so policies are dropped first and created last. The
    # downgrade reverses the order, which is right as well: a dropped table exists again before it is protected.
    upgrade.ops[:0] = map(DisableTenantRlsOp, dropped)
    upgrade.ops += map(EnableTenantRlsOp, created)
    return PriorityDispatchResult.CONTINUE


_Changes: TypeAlias = tuple[list[TenantPolicy], list[TenantPolicy]]
"""The policies to drop, and those to create."""


def _list_created(context: AutogenContext, upgrade: UpgradeOps) -> _Changes:
    # Other databases have no catalogue of policies, but a revision generated on SQLite must protect on PostgreSQL.
    tables = {(table.schema, table.name): table for table in context.sorted_tables}
    created = [(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, CreateTableOp)]
    return [], [policy for key in created if key in tables and (policy := policy_of(tables[key]))]


def _compare_catalogue(context: AutogenContext, upgrade: UpgradeOps) -> _Changes:
    tables = {(table.schema, table.name): table for table in context.sorted_tables}
    dropped = [(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, DropTableOp)]
    default = context.dialect.default_schema_name if context.dialect is not None else None
    found = _read_catalogue(context, {schema or default for schema, _ in (*tables, *dropped)})
    surplus: list[TenantPolicy] = []
    missing: list[TenantPolicy] = []
    for schema, name in (*tables, *dropped):
        table = tables.get((schema, name))
        if table is not None and not context.run_object_filters(table, name, "table", False, None):
            continue
        wanted = None if table is None else policy_of(table)
        existing = found.get((schema or default or "", name), _TableState(on=False))
        drop, create = _compare_table(wanted, existing, schema)
        surplus += drop
        missing += create
    return surplus, missing


def _compare_table(wanted: TenantPolicy | None, existing: _TableState, schema: str | None) -> _Changes:
    # The schema as the metadata names it (None for the default), so that all rendered operations look alike.
    policies = [replace(policy, schema=schema) for policy in existing.policies]
    if wanted is None:
        return policies, []
    if existing.on and policies == [wanted]:
        return [], []
    if wanted.name in existing.names and all(policy.name != wanted.name for policy in policies):
        policies.append(wanted)
    return policies, [wanted]


def _read_catalogue(context: AutogenContext, schemas: set[str | None]) -> _Tables:
    if context.connection is None or not (named := sorted(schema for schema in schemas if schema)):
        return {}
    found: dict[tuple[str, str], _TableState] = {}
    for schema, table, is_on, name, condition, is_ours in context.connection.execute(_CATALOGUE, {"schemas": named}):
        before = found.get((schema, table), _TableState(on=is_on))
        if name is not None:
            policy = _parse_policy(schema, table, name, condition) if is_ours else None
            before = replace(
                before,
                policies=(*before.policies, *((policy,) if policy else ())),
                names=before.names | {name},
            )
        found[schema, table] = before
    return found


def _parse_policy(schema: str, table: str, name: str, condition: str) -> TenantPolicy | None:
    match = _CONDITION.fullmatch(condition)
    if match is not None:
        with suppress(ValueError):  # this package creates no policy with a name that isn't plain
            column = match["text"] or match["column"]
            return TenantPolicy(table, schema, column, _TYPES[match["type"]], match["setting"], name)
    return None
