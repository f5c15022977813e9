"""The components of API keys: the service, and the stores that the settings choose from."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping

from bandmaster.contrib.oidc.api_keys.build import build_hasher
from bandmaster.contrib.oidc.api_keys.hashers import KeyHasher
from bandmaster.contrib.oidc.api_keys.layer import has_peppers
from bandmaster.contrib.oidc.api_keys.pending_updates import PendingUpdates
from bandmaster.contrib.oidc.api_keys.service import ApiKeys
from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.oidc.api_keys.store import ApiKeyStore, MemoryApiKeyStore
from bandmaster.contrib.oidc.errors import ApiKeyError, AuthUnavailableError
from bandmaster.contrib.oidc.extras import has_extra
from bandmaster.contrib.oidc.revocations import RevocationList
from bandmaster.kernel import Context, KernelSettings, LifespanBand, Problem, get_logger, lifespan

_SHOWN = 20
"""Ids that an error lists, at most."""


def is_in_memory(settings: ApiKeySettings) -> bool:
    """Whether API keys are switched on, and kept in memory."""
    return settings.is_enabled and settings.store == "memory"


def find_memory_problems(settings: ApiKeySettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    """Refuse in production that keys end with the process."""
    yield from kernel.refuse_in_production(
        "API keys are kept in memory, so that a restart ends all of them, and other processes don't know them",
        f"Set {settings.variable('store')} to sql.",
    )
    if kernel.processes > 1:
        yield (
            f"API keys are kept in memory, so that each of the {kernel.processes} processes knows its own keys only. "
            f"Set {settings.variable('store')} to sql."
        )


@lifespan(band=LifespanBand.PERSISTENCE, name="api_key_memory_store", when=is_in_memory, check=find_memory_problems)
async def api_key_memory_store(settings: ApiKeySettings) -> AsyncIterator[ApiKeyStore]:
    """API keys in the memory of the process, for development."""
    get_logger("bandmaster.oidc").info(
        "API keys are kept in memory, and end with the process", hint=f"set {settings.variable('store')} to sql"
    )
    yield MemoryApiKeyStore()


def count_threads(settings: ApiKeySettings) -> Mapping[str, int]:
    """The budget: threads for bcrypt."""
    # Also while another hasher makes new hashes: those that bcrypt has made are verified until they are replaced.
    return {"threads": settings.bcrypt_threads} if has_extra("bcrypt") else {}


# As a revocation list the service ends the WebSockets of a key that is revoked while they are open.
@lifespan(band=LifespanBand.SERVICES, name="api_keys", provides=RevocationList, when=has_peppers, budget=count_threads)
async def api_keys(store: ApiKeyStore, settings: ApiKeySettings, context: Context) -> AsyncIterator[ApiKeys]:
    """API keys: made, verified, revoked and rotated."""
    hasher = build_hasher(settings)
    await _check_peppers(store, hasher, settings)
    updates = PendingUpdates(store, interval=settings.last_used_interval)
    context.supervise(updates.run, name="api_key_updates")
    yield ApiKeys(store, hasher, settings, updates=updates)
    await updates.write_last()


async def _check_peppers(store: ApiKeyStore, hasher: KeyHasher, settings: ApiKeySettings) -> None:
    """Check that every usable key can still be verified.

    Raises:
        ApiKeyError: a pepper is missing; the message lists the keys that nobody could use any more.
    """
    now = time.time()
    try:
        counts = await store.count_usable(now)
    except AuthUnavailableError as error:
        # A database that isn't critical may be away at the start.
        get_logger("bandmaster.oidc").warning(
            "API keys weren't checked for missing peppers, because their store is away", error=str(error)
        )
        return
    missing = {way: count for way, count in counts.items() if not hasher.can_verify(f"{way}$")}
    if not missing:
        return
    lost = []
    for way, count in sorted(missing.items()):
        algorithm, _, pepper = way.partition("$")
        found = await store.list(pepper=pepper, usable_at=now, limit=_SHOWN)
        ids = [key.id for key in found if key.hashed_with == way]
        more = f" and {count - len(ids)} more" if count > len(ids) else ""
        lost.append(f"by {algorithm} with the pepper {pepper!r}: {', '.join(ids)}{more}")
    raise ApiKeyError(
        f"{sum(missing.values())} API keys in use can't be verified with {settings.variable('peppers')}. They were "
        f"hashed {'; '.join(lost)}. Put the pepper back, or revoke them: bandmaster apikey revoke --pepper ID"
    )
