"""An audit of tenant isolation, by queries of PostgreSQL's catalogue."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class IsolationGap:
    """One way around the isolation of tenants."""

    subject: str
    """The role, relation, policy or function."""
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject} {self.what}: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Audit:
    """The ways around the isolation of tenants that one role has in one database."""

    protected: int
    """The number of relations with the tenant column that were checked."""
    findings: tuple[IsolationGap, ...]
    """Each lets the role read or change rows of other tenants."""
    remarks: tuple[IsolationGap, ...]
    """Each reveals something about other tenants' rows, such as whether one exists."""


async def audit_isolation(
    connection: AsyncConnection, *, column: str, setting: str, unprotected: Collection[str] = ()
) -> Audit:
    """Audit the connection's role, and all relations and functions that the role may use.

    ``column`` is the tenant column, and ``setting`` the setting that policies must compare with. ``unprotected`` names
    relations, with or without their schema, that may stay open.
    """
    values = {"column": column, "setting": f"%{setting}%"}

    async def rows(query: str) -> list[Any]:
        return list(await connection.execute(text(_COMMON + query), values))

    excused = frozenset(unprotected)
    protected = [row for row in await rows(_PROTECTED) if not _is_excused(row, excused)]
    findings = [_report_role(row) for row in await rows(_ROLES)]
    for row in protected:
        findings += _report_relation(row)
    findings += [_report_policy(row, setting) for row in await rows(_POLICIES) if not _is_excused(row, excused)]
    findings += [_report_view(row) for row in await rows(_VIEWS) if not _is_excused(row, excused)]
    findings += [_report_function(row) for row in await rows(_FUNCTIONS)]
    remarks = [_report_reference(row) for row in await rows(_REFERENCES) if not _is_excused(row, excused)]
    return Audit(len(protected), tuple(findings), tuple(remarks))


# Tables with the tenant column, and the views that show their rows, directly or through other views.
_COMMON = """
WITH RECURSIVE guarded AS (
    SELECT c.oid, c.relkind, c.relowner, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
           n.nspname AS schema, c.relname AS name
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = CAST(:column AS text) AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
), shown AS (
    SELECT DISTINCT v.oid, v.relkind, v.relowner, v.reloptions, n.nspname AS schema, v.relname AS name
    FROM guarded g
    JOIN pg_depend d
      ON d.refobjid = g.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
    JOIN pg_namespace n ON n.oid = v.relnamespace
    UNION
    SELECT v.oid, v.relkind, v.relowner, v.reloptions, n.nspname, v.relname
    FROM shown s
    JOIN pg_depend d
      ON d.refobjid = s.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm') AND v.oid <> s.oid
    JOIN pg_namespace n ON n.oid = v.relnamespace
), asked AS (SELECT CAST(:setting AS text) AS setting)
"""

_ROLES = """
SELECT r.rolname AS role, r.rolname = current_user AS itself, r.rolsuper AS super
FROM pg_roles r
WHERE (r.rolsuper OR r.rolbypassrls) AND (r.rolname = current_user OR pg_has_role(current_user, r.oid, 'MEMBER'))
  -- A superuser is a member of everything: once is enough.
  AND (r.rolname = current_user OR NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))
ORDER BY itself DESC, role
"""

_PROTECTED = """
SELECT g.schema, g.name, g.relkind::text AS kind, g.relispartition AS part, g.relrowsecurity AS enabled,
       g.relforcerowsecurity AS forced, pg_has_role(current_user, g.relowner, 'USAGE') AS owned,
       EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = g.oid) AS policed,
       has_table_privilege(g.oid, 'TRUNCATE') AS truncates
FROM guarded g
WHERE has_table_privilege(g.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
   OR has_any_column_privilege(g.oid, 'SELECT')
ORDER BY 1, 2
"""

# PostgreSQL joins permissive policies by OR: one that lets all rows pass undoes the others.
_POLICIES = """
SELECT g.schema, g.name, p.polname AS policy
FROM guarded g
JOIN pg_policy p ON p.polrelid = g.oid, asked
WHERE p.polpermissive
  AND EXISTS (SELECT 1 FROM unnest(p.polroles) AS o(oid) WHERE o.oid = 0 OR pg_has_role(current_user, o.oid, 'USAGE'))
  AND (
    (p.polcmd <> 'a' AND COALESCE(pg_get_expr(p.polqual, p.polrelid), '') NOT LIKE asked.setting)
    OR (p.polwithcheck IS NOT NULL AND pg_get_expr(p.polwithcheck, p.polrelid) NOT LIKE asked.setting)
  )
ORDER BY 1, 2, 3
"""

_VIEWS = """
SELECT s.schema, s.name, s.relkind::text AS kind
FROM shown s
WHERE (has_table_privilege(s.oid, 'SELECT, INSERT, UPDATE, DELETE') OR has_any_column_privilege(s.oid, 'SELECT'))
  AND (s.relkind = 'm' OR NOT COALESCE(s.reloptions && ARRAY['security_invoker=true', 'security_invoker=on',
                                                             'security_invoker=1', 'security_invoker=yes'], false))
ORDER BY 1, 2
"""

_FUNCTIONS = """
SELECT n.nspname AS schema, f.proname AS name, o.rolname AS owner
FROM pg_proc f
JOIN pg_namespace n ON n.oid = f.pronamespace
JOIN pg_roles o ON o.oid = f.proowner
WHERE f.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (o.rolsuper OR o.rolbypassrls
       OR EXISTS (SELECT 1 FROM guarded g WHERE g.relowner = f.proowner AND NOT g.relforcerowsecurity))
  AND has_function_privilege(f.oid, 'EXECUTE')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = f.oid AND d.deptype = 'e')
  AND EXISTS (SELECT 1 FROM guarded)
ORDER BY 1, 2
"""

_REFERENCES = """
SELECT g.schema, g.name, k.conname AS key, t.name AS target
FROM guarded g
JOIN pg_constraint k ON k.conrelid = g.oid AND k.contype = 'f' AND k.conparentid = 0
JOIN guarded t ON t.oid = k.confrelid
WHERE NOT EXISTS (
    SELECT 1 FROM pg_attribute a
    WHERE a.attrelid = g.oid AND a.attname = CAST(:column AS text) AND a.attnum = ANY (k.conkey)
)
ORDER BY 1, 2, 3
"""


def _is_excused(row: Any, names: Collection[str]) -> bool:
    return row.name in names or f"{row.schema}.{row.name}" in names


def _report_role(row: Any) -> IsolationGap:
    right = "is a superuser" if row.super else "has BYPASSRLS"
    if row.itself:
        remedy = "serve as a role without that right, and migrate as the one that owns the tables"
        return IsolationGap(f"the role {row.role}", f"{right}, and policies don't hold for it", remedy)
    remedy = f"REVOKE {row.role} FROM the role that serves"
    return IsolationGap(f"the role {row.role}", f"{right}, and the one that serves may become it", remedy)


def _report_relation(row: Any) -> list[IsolationGap]:
    kind = {"p": "partitioned table", "f": "foreign table"}.get(row.kind, "partition" if row.part else "table")
    subject = f"the {kind} {row.schema}.{row.name}"
    if row.kind == "f":
        return [
            IsolationGap(subject, "is on another server, where policies of this one don't hold", "REVOKE ALL on it")
        ]
    found = []
    if not row.enabled:
        hint = ", or REVOKE ALL on it: its parent's policies hold only for queries of the parent" if row.part else ""
        found.append(IsolationGap(subject, "has no row-level security", f"op.enable_tenant_rls({row.name!r}){hint}"))
    elif not row.policed:
        found.append(
            IsolationGap(subject, "has row-level security without a policy", f"op.enable_tenant_rls({row.name!r})")
        )
    if row.enabled and not row.forced:
        owner = "the role that serves" if row.owned else "its owner"
        found.append(
            IsolationGap(
                subject, f"doesn't force row-level security on {owner}", "ALTER TABLE ... FORCE ROW LEVEL SECURITY"
            )
        )
    if row.truncates:
        found.append(
            IsolationGap(
                subject, "may be emptied by TRUNCATE, which policies don't hold for", "REVOKE TRUNCATE from the role"
            )
        )
    return found


def _report_policy(row: Any, setting: str) -> IsolationGap:
    return IsolationGap(
        f"the policy {row.policy} of {row.schema}.{row.name}",
        f"lets rows pass without comparing them with {setting}",
        "drop it, compare with the setting, or make it AS RESTRICTIVE",
    )


def _report_view(row: Any) -> IsolationGap:
    subject = f"the {'materialised view' if row.kind == 'm' else 'view'} {row.schema}.{row.name}"
    if row.kind == "m":
        return IsolationGap(
            subject, "keeps rows of every tenant, and policies don't hold for it", "REVOKE SELECT on it"
        )
    return IsolationGap(
        subject, "reads protected rows with its owner's rights", "ALTER VIEW ... SET (security_invoker = true)"
    )


def _report_function(row: Any) -> IsolationGap:
    return IsolationGap(
        f"the function {row.schema}.{row.name}",
        f"runs with the rights of {row.owner}, for whom policies don't hold",
        "make it SECURITY INVOKER, or REVOKE EXECUTE on it",
    )


def _report_reference(row: Any) -> IsolationGap:
    return IsolationGap(
        f"the foreign key {row.key} of {row.schema}.{row.name}",
        f"may point to another tenant's row of {row.target}, and so reveals that it exists",
        "let it include the tenant column on both sides",
    )
