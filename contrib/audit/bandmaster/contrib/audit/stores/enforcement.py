"""Find missing triggers of the append-only tables, and the powers of the connected role."""

from __future__ import annotations

from sqlalchemy import Connection, text

_TRIGGERS = {
    "postgresql": (
        "audit_entries_guard",
        "audit_entries_truncate",
        "audit_personal_guard",
        "audit_personal_truncate",
    ),
    "sqlite": (
        "audit_entries_delete",
        "audit_entries_insert",
        "audit_entries_update",
        "audit_personal_delete",
        "audit_personal_insert",
        "audit_personal_update",
    ),
}
_IN_POSTGRESQL = text(
    "SELECT t.tgname FROM pg_trigger t WHERE t.tgenabled = 'A' "
    "AND t.tgrelid IN (to_regclass('audit_entries'), to_regclass('audit_personal'))"
)
_IN_SQLITE = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
_ROLE = text(
    "SELECT current_user AS name, r.rolsuper AS is_super, pg_has_role(current_user, c.relowner, 'USAGE') AS is_owner "
    "FROM pg_class c, pg_roles r WHERE c.oid = to_regclass('audit_entries') AND r.rolname = current_user"
)


def find_missing_triggers(connection: Connection) -> list[str]:
    """The triggers that should refuse changes and aren't there, or are disabled."""
    dialect = connection.dialect.name
    found = set(connection.scalars(_IN_POSTGRESQL if dialect == "postgresql" else _IN_SQLITE))
    return [name for name in _TRIGGERS.get(dialect, ()) if name not in found]


def find_powers(connection: Connection) -> str | None:
    """The way in which the connected role could remove the triggers; None if there is none."""
    if connection.dialect.name != "postgresql":
        return "whoever may write to SQLite's file can remove the triggers that refuse changes"
    row = connection.execute(_ROLE).one_or_none()
    if row is None:
        return None
    if row.is_super:
        return f"the role {row.name} is a superuser, who can remove the triggers that refuse changes"
    if row.is_owner:
        return f"the role {row.name} owns the tables, and can remove the triggers that refuse changes"
    return None
