"""Build the hasher that the settings describe."""

from __future__ import annotations

from bandmaster.contrib.oidc.api_keys.hashers import HmacSha256Hasher, KeyHasher, KeyHashers
from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.oidc.extras import has_extra


def build_hasher(settings: ApiKeySettings) -> KeyHasher:
    """The hasher of the settings. Keys that the other one has hashed verify as well, and change over as they are used.

    Raises:
        ValueError: there are no peppers.
    """
    by_hmac = HmacSha256Hasher(settings.peppers)
    if not has_extra("bcrypt"):
        return by_hmac
    from bandmaster.contrib.oidc.api_keys.bcrypt_hasher import BcryptHasher

    by_bcrypt = BcryptHasher(
        settings.peppers,
        rounds=settings.bcrypt_rounds,
        threads=settings.bcrypt_threads,
        wait=settings.bcrypt_wait,
        cache_seconds=settings.bcrypt_cache,
    )
    return KeyHashers(by_bcrypt, by_hmac) if settings.hasher == "bcrypt" else KeyHashers(by_hmac, by_bcrypt)
