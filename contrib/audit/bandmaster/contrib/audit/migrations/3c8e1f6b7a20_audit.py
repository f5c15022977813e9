"""audit

Revision ID: 3c8e1f6b7a20
Revises:
Create Date: 2026-11-29 14:12:51.204813+00:00
"""

import sqlalchemy as sa
from alembic import op

revision: str = "3c8e1f6b7a20"
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = ("audit",)
depends_on: str | tuple[str, ...] | None = None

TABLES = ("audit_entries", "audit_personal")


def upgrade() -> None:
    """Create the tables of the audit trail, and have the database refuse to change them."""
    op.create_table(
        "audit_entries",
        sa.Column("stream", sa.String(length=300), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("tenant", sa.String(length=255), nullable=True),
        sa.Column("resource_type", sa.String(length=255), nullable=True),
        sa.Column("resource_id", sa.String(length=255), nullable=True),
        sa.Column("request_id", sa.String(length=255), nullable=True),
        sa.Column("correlation_id", sa.String(length=255), nullable=True),
        sa.Column("task", sa.String(length=255), nullable=True),
        sa.Column("task_id", sa.String(length=255), nullable=True),
        sa.Column("schedule", sa.String(length=255), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("commitments", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "sequence"),
    )
    op.create_index("uq_audit_entries_previous", "audit_entries", ["stream", "previous"], unique=True)
    op.create_index("uq_audit_entries_id", "audit_entries", ["id"], unique=True)
    op.create_index("ix_audit_entries_at", "audit_entries", ["at", "stream", "sequence"])
    op.create_index("ix_audit_entries_action", "audit_entries", ["stream", "action", "sequence"])
    op.create_index("ix_audit_entries_resource", "audit_entries", ["resource_type", "resource_id"])
    op.create_index("ix_audit_entries_request_id", "audit_entries", ["request_id"])
    op.create_table(
        "audit_personal",
        sa.Column("stream", sa.String(length=300), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("salt", sa.String(length=64), nullable=True),
        sa.Column("erased_by", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("stream", "sequence", "name"),
    )
    op.create_index("ix_audit_personal_subject", "audit_personal", ["subject"])
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables: the audit trail ends."""
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_guard_entries()")
        op.execute("DROP FUNCTION audit_guard_personal()")
        op.execute("DROP FUNCTION audit_guard_truncate()")


# An entry of the audit trail itself is what allows a change: the report of a pruning, or of an erasure. The schema is
# that of the table, so that no table of the same name elsewhere, such as a temporary one, is asked.
_IS_PRUNED = """
    EXECUTE format(
        'SELECT EXISTS (SELECT 1 FROM %I.audit_entries e WHERE e.stream = $1 AND e.action = ''audit.pruned'' '
        'AND e.sequence > $2 AND ((e.details::jsonb) ->> ''through'')::bigint >= $2)', TG_TABLE_SCHEMA)
    INTO allowed USING OLD.stream, OLD.sequence;
"""

POSTGRESQL = (
    f"""
CREATE FUNCTION audit_guard_entries() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed boolean := false;
BEGIN
    IF TG_OP = 'DELETE' THEN {_IS_PRUNED}
        IF allowed THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_entries is append-only: % of entry % of the stream % is refused',
        TG_OP, OLD.sequence, OLD.stream USING ERRCODE = 'insufficient_privilege';
END $$
""",
    f"""
CREATE FUNCTION audit_guard_personal() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed boolean := false;
BEGIN
    IF TG_OP = 'DELETE' THEN {_IS_PRUNED}
        IF allowed THEN
            RETURN OLD;
        END IF;
    ELSIF OLD.erased_by IS NULL AND NEW.value IS NULL AND NEW.salt IS NULL AND NEW.subject IS NULL
        AND (NEW.stream, NEW.sequence, NEW.name) = (OLD.stream, OLD.sequence, OLD.name)
        AND NEW.erased_by > OLD.sequence THEN
        EXECUTE format(
            'SELECT EXISTS (SELECT 1 FROM %I.audit_entries e WHERE e.stream = $1 AND e.sequence = $2 '
            'AND e.action = ''audit.erased'')', TG_TABLE_SCHEMA)
        INTO allowed USING NEW.stream, NEW.erased_by;
        IF allowed THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_personal is append-only: % of % of entry % of the stream % is refused',
        TG_OP, OLD.name, OLD.sequence, OLD.stream USING ERRCODE = 'insufficient_privilege';
END $$
""",  # noqa: S608  # the only text that is put in is a literal of this file
    """
CREATE FUNCTION audit_guard_truncate() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: TRUNCATE is refused', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$
""",
    """
CREATE TRIGGER audit_entries_guard BEFORE UPDATE OR DELETE ON audit_entries
FOR EACH ROW EXECUTE FUNCTION audit_guard_entries()
""",
    """
CREATE TRIGGER audit_personal_guard BEFORE UPDATE OR DELETE ON audit_personal
FOR EACH ROW EXECUTE FUNCTION audit_guard_personal()
""",
    "CREATE TRIGGER audit_entries_truncate BEFORE TRUNCATE ON audit_entries EXECUTE FUNCTION audit_guard_truncate()",
    "CREATE TRIGGER audit_personal_truncate BEFORE TRUNCATE ON audit_personal EXECUTE FUNCTION audit_guard_truncate()",
    # Also in a session that replays changes of another server (session_replication_role = replica).
    "ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER audit_entries_guard",
    "ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER audit_entries_truncate",
    "ALTER TABLE audit_personal ENABLE ALWAYS TRIGGER audit_personal_guard",
    "ALTER TABLE audit_personal ENABLE ALWAYS TRIGGER audit_personal_truncate",
    # Rights that default privileges have granted to the role of the application, or to everybody.
    """
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN
        SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid IN ('audit_entries'::regclass, 'audit_personal'::regclass) AND a.grantee <> c.relowner
    LOOP
        EXECUTE 'REVOKE UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON audit_entries, audit_personal FROM ' || role;
    END LOOP;
END $$
""",
)

# A literal of this file.
_SQLITE_IS_PRUNED = (
    "EXISTS (SELECT 1 FROM audit_entries e WHERE e.stream = OLD.stream AND e.action = 'audit.pruned' "
    "AND e.sequence > OLD.sequence AND json_extract(e.details, '$.through') >= OLD.sequence)"
)

SQLITE = (
    """
CREATE TRIGGER audit_entries_update BEFORE UPDATE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only: UPDATE is refused'); END
""",
    f"""
CREATE TRIGGER audit_entries_delete BEFORE DELETE ON audit_entries WHEN NOT {_SQLITE_IS_PRUNED}
BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only: DELETE is refused'); END
""",
    # INSERT OR REPLACE removes rows without the triggers of DELETE.
    """
CREATE TRIGGER audit_entries_insert BEFORE INSERT ON audit_entries WHEN EXISTS (
    SELECT 1 FROM audit_entries e
    WHERE (e.stream = NEW.stream AND (e.sequence = NEW.sequence OR e.previous = NEW.previous)) OR e.id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_entries has this entry already'); END
""",
    """
CREATE TRIGGER audit_personal_update BEFORE UPDATE ON audit_personal WHEN NOT (
    OLD.erased_by IS NULL AND NEW.value IS NULL AND NEW.salt IS NULL AND NEW.subject IS NULL
    AND NEW.stream = OLD.stream AND NEW.sequence = OLD.sequence AND NEW.name = OLD.name
    AND NEW.erased_by IS NOT NULL AND NEW.erased_by > OLD.sequence AND EXISTS (
        SELECT 1 FROM audit_entries e
        WHERE e.stream = NEW.stream AND e.sequence = NEW.erased_by AND e.action = 'audit.erased'))
BEGIN SELECT RAISE(ABORT, 'audit_personal is append-only: UPDATE is refused'); END
""",
    f"""
CREATE TRIGGER audit_personal_delete BEFORE DELETE ON audit_personal WHEN NOT {_SQLITE_IS_PRUNED}
BEGIN SELECT RAISE(ABORT, 'audit_personal is append-only: DELETE is refused'); END
""",
    """
CREATE TRIGGER audit_personal_insert BEFORE INSERT ON audit_personal WHEN EXISTS (
    SELECT 1 FROM audit_personal p
    WHERE p.stream = NEW.stream AND p.sequence = NEW.sequence AND p.name = NEW.name)
BEGIN SELECT RAISE(ABORT, 'audit_personal has this field already'); END
""",
)
