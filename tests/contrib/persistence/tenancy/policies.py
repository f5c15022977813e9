"""The statements that protect a table, for tests without migrations."""

POLICY = "tenant_id = (SELECT NULLIF(current_setting('app.tenant', true), '')::text)"
PROTECT = (
    "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {0} FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY tenant_isolation ON {{0}} USING ({POLICY}) WITH CHECK ({POLICY})",
)
