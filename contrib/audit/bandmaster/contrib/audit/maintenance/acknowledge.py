"""Acknowledge breaks that are explained, by entries after which the verification goes on."""

from __future__ import annotations

from collections.abc import Sequence

from bandmaster.contrib.audit.chain.actions import ACKNOWLEDGED, CHECKPOINT
from bandmaster.contrib.audit.chain.findings import Finding
from bandmaster.contrib.audit.chain.link import ChainLink
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.entries.entry import AuditEntry
from bandmaster.contrib.audit.stores.store import AuditStore, Draft

_AT_ONCE = 100
"""Findings that one entry acknowledges, at the most."""


async def acknowledge_findings(
    store: AuditStore, findings: Sequence[Finding], *, actor: str, reason: str
) -> list[ChainLink]:
    """Write entries that acknowledge findings. Another state of the same entries is another finding.

    Raises:
        AuditUnavailableError, AuditRefusedError: the store can't be written.
    """
    by_stream: dict[str, list[Finding]] = {}
    for finding in findings:
        by_stream.setdefault(finding.stream, []).append(finding)
    links: list[ChainLink] = []
    for stream, found in sorted(by_stream.items()):
        for start in range(0, len(found), _AT_ONCE):
            part = found[start : start + _AT_ONCE]
            details = {
                "findings": [each.fingerprint for each in part],
                "explained": [str(each) for each in part],
                "reason": reason,
            }
            entry = AuditEntry(action=ACKNOWLEDGED, details=details, actor=actor)
            links += await store.append([Draft(stream, entry)])
    return links


async def vouch_for_heads(store: AuditStore, heads: Sequence[Head], *, actor: str) -> list[ChainLink]:
    """Write a keyed entry at the end of each stream: it vouches for the entries before, which have no key.

    Raises:
        AuditUnavailableError, AuditRefusedError: the store can't be written.
    """
    links: list[ChainLink] = []
    for head in heads:
        details = {"sequence": head.sequence, "head": head.hash}
        entry = AuditEntry(action=CHECKPOINT, details=details, actor=actor)
        links += await store.append([Draft(head.stream, entry)])
    return links
