"""An append-only, tamper-evident record of who did what, in memory or in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.audit.chain.findings import Finding as Finding
    from bandmaster.contrib.audit.chain.findings import FindingKind as FindingKind
    from bandmaster.contrib.audit.chain.keys import ChainKeys as ChainKeys
    from bandmaster.contrib.audit.component import audit_log as audit_log
    from bandmaster.contrib.audit.component import audit_verifier as audit_verifier
    from bandmaster.contrib.audit.entries.entry import AuditEntry as AuditEntry
    from bandmaster.contrib.audit.entries.entry import Result as Result
    from bandmaster.contrib.audit.entries.filters import AuditFilter as AuditFilter
    from bandmaster.contrib.audit.errors import AuditError as AuditError
    from bandmaster.contrib.audit.errors import AuditRefusedError as AuditRefusedError
    from bandmaster.contrib.audit.errors import AuditUnavailableError as AuditUnavailableError
    from bandmaster.contrib.audit.errors import UnverifiableError as UnverifiableError
    from bandmaster.contrib.audit.recording import AuditLog as AuditLog
    from bandmaster.contrib.audit.recording import AuditPage as AuditPage
    from bandmaster.contrib.audit.recording import AuditRecord as AuditRecord
    from bandmaster.contrib.audit.recording import EntryFields as EntryFields
    from bandmaster.contrib.audit.recording import OpenRecord as OpenRecord
    from bandmaster.contrib.audit.settings import AuditSettings as AuditSettings
    from bandmaster.contrib.audit.stores.memory import MemoryAuditStore as MemoryAuditStore
    from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore as SqlAuditStore
    from bandmaster.contrib.audit.stores.store import AuditStore as AuditStore
    from bandmaster.contrib.audit.stores.store import Position as Position
    from bandmaster.contrib.audit.verification.report import VerificationReport as VerificationReport
    from bandmaster.contrib.audit.verification.run import verify_store as verify_store
    from bandmaster.contrib.audit.verification.service import ChainVerification as ChainVerification
    from bandmaster.contrib.audit.verification.service import LastVerification as LastVerification

# The module of each public name. A name is imported at its first use (PEP 562): importing this package is cheap.
export_lazily(
    __name__,
    {
        "recording": ["AuditLog", "AuditPage", "AuditRecord", "EntryFields", "OpenRecord"],
        "chain.findings": ["Finding", "FindingKind"],
        "chain.keys": ["ChainKeys"],
        "component": ["audit_log", "audit_verifier"],
        "entries.entry": ["AuditEntry", "Result"],
        "entries.filters": ["AuditFilter"],
        "errors": ["AuditError", "AuditRefusedError", "AuditUnavailableError", "UnverifiableError"],
        "settings": ["AuditSettings"],
        "stores.memory": ["MemoryAuditStore"],
        "stores.sql_store": ["SqlAuditStore"],
        "stores.store": ["AuditStore", "Position"],
        "verification.report": ["VerificationReport"],
        "verification.run": ["verify_store"],
        "verification.service": ["ChainVerification", "LastVerification"],
    },
)
