"""The components of the audit trail: the log, the store in memory, and the verification while the application runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping

from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.recording import AuditLog
from bandmaster.contrib.audit.settings import AuditSettings, is_enabled
from bandmaster.contrib.audit.stores.memory import MemoryAuditStore
from bandmaster.contrib.audit.stores.store import AuditStore
from bandmaster.contrib.audit.verification.service import ChainVerification
from bandmaster.kernel import Context, KernelSettings, LifespanBand, Problem, Redactor, get_logger, lifespan


def is_in_memory(settings: AuditSettings) -> bool:
    """Whether entries are kept in memory."""
    return settings.store == "memory"


def verifies_itself(settings: AuditSettings) -> bool:
    """Whether the application verifies the chains while it runs. Those in memory lose their beginnings."""
    return settings.store == "sql" and settings.verify_interval is not None


def find_memory_problems(settings: AuditSettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    """Refuse in production that entries end with the process."""
    yield from kernel.refuse_in_production(
        "The audit trail is kept in memory, so that a restart ends it", f"Set {settings.variable('store')} to sql."
    )


@lifespan(band=LifespanBand.PERSISTENCE, name="audit_memory_store", when=is_in_memory, check=find_memory_problems)
async def audit_memory_store(settings: AuditSettings) -> AsyncIterator[AuditStore]:
    """The newest entries in the memory of the process, for development."""
    get_logger("bandmaster.audit").info(
        "the audit trail is kept in memory, and ends with the process", hint=f"set {settings.variable('store')} to sql"
    )
    yield MemoryAuditStore(ChainKeys(settings.keys), max_entries=settings.memory_entries)


def find_key_problems(settings: AuditSettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    """Warn in production that the chain has no key."""
    if kernel.is_production and not settings.keys:
        yield (
            f"{settings.variable('keys')} isn't set, so that whoever can write to the audit trail's tables can write "
            "another history: 'bandmaster audit verify' finds accidents only."
        )


def describe_chain(settings: AuditSettings) -> Iterator[str]:
    """The plan's line about the chain: whether there is a key."""
    if settings.keys:
        yield f"chain of hashes: keyed with {next(iter(settings.keys))!r}"
    else:
        yield f"chain of hashes: without a key ({settings.variable('keys')}), so that only accidents are found"


@lifespan(
    band=LifespanBand.PERSISTENCE, name="audit_log", when=is_enabled, check=find_key_problems, facts=describe_chain
)
async def audit_log(settings: AuditSettings, store: AuditStore, redactor: Redactor | None) -> AsyncIterator[AuditLog]:
    """The audit trail: records who did what, and lists it."""
    log = get_logger("bandmaster.audit")
    if settings.store == "sql" and not log.is_enabled_for(logging.INFO):
        log.warning(
            "entries of the audit trail aren't logged, so that no log can be compared with the tables",
            hint="let the logger bandmaster.audit log INFO",
        )
    yield AuditLog(store, redactor=redactor, max_details=settings.max_details)


def count_threads(settings: AuditSettings) -> Mapping[str, int]:
    """The budget: one thread that computes hashes."""
    return {"threads": 1}


@lifespan(band=LifespanBand.SERVICES, name="audit_verifier", when=verifies_itself, budget=count_threads)
async def audit_verifier(
    settings: AuditSettings, store: AuditStore, context: Context
) -> AsyncIterator[ChainVerification]:
    """Verifies the chains of the audit trail from time to time. The health check warns after a finding."""
    assert settings.verify_interval is not None
    verification = ChainVerification(
        store,
        ChainKeys(settings.keys),
        interval=settings.verify_interval,
        checkpoint_file=settings.checkpoint_file,
    )
    context.add_probe(context.name, verification.probe, critical=False)
    context.supervise(verification.run, name="audit_verification")
    yield verification
