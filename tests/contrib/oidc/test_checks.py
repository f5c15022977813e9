"""The check for settings that another one switches off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bandmaster.contrib.oidc import (
    AccessSettings,
    ApiKeySettings,
    AuthSettings,
    DevProviderSettings,
    RevocationList,
    SessionSettings,
    TokenStoreSettings,
)
from bandmaster.contrib.oidc.access.open_websockets import open_websockets
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.checks import (
    find_idle_revocations,
    find_idle_settings,
    find_switched_off,
    find_unchosen,
)
from bandmaster.contrib.oidc.devprovider.component import dev_provider
from bandmaster.contrib.oidc.sessions.component import session_store
from bandmaster.contrib.oidc.token_store.component import token_store
from bandmaster.kernel import KernelSettings, LifespanBand, Plan, Settings, create_app, lifespan

KEYS = {"1": "k" * 32}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (TokenStoreSettings(max_tokens=5), "AUTH_TOKEN_STORE isn't set, so that no token can be revoked"),
        (AccessSettings(dev_bypass_subject="ada"), "AUTH_DEV_BYPASS isn't set"),
        (AccessSettings(websocket_end=False, websocket_recheck=5), "AUTH_WEBSOCKET_END is off"),
        (DevProviderSettings(dev_provider_token_seconds=5), "AUTH_DEV_PROVIDER isn't set"),
        (AccessSettings(websocket_end=False), None),
        (AccessSettings(websocket_recheck=5), None),
        (TokenStoreSettings(AUTH_TOKEN_STORE="memory", max_tokens=5), None),
    ],
)
def test_settings_that_another_one_switches_off(settings: Settings, found: str | None) -> None:
    """Each warning names the switch and the variables that nothing uses."""
    warnings = list(find_switched_off(make_plan(settings)))
    if found is None:
        assert [] == warnings
    else:
        assert 1 == len(warnings)
        assert found in warnings[0]
        assert "these have no effect: AUTH_" in warnings[0]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (SessionSettings(store="sql", keys=KEYS, max_sessions=5), "AUTH_SESSION_MAX_SESSIONS has no effect"),
        (SessionSettings(store="sql", keys=KEYS, cookie_limit=600), "it is for 'cookie'."),
        (SessionSettings(cookie_limit=600), "because AUTH_SESSION_STORE is 'memory'"),
        (SessionSettings(lock_lease=5), "it is for 'redis' and 'sql'."),
        (SessionSettings(store="redis", keys=KEYS, purge_interval=5), "AUTH_SESSION_PURGE_INTERVAL has no effect"),
        (TokenStoreSettings(AUTH_TOKEN_STORE="redis", max_tokens=5), "AUTH_TOKEN_STORE_MAX_TOKENS has no effect"),
        (TokenStoreSettings(AUTH_TOKEN_STORE="memory", redis_prefix="x:"), "AUTH_TOKEN_STORE is 'memory'"),
        (ApiKeySettings(peppers=KEYS, bcrypt_rounds=13), "because AUTH_API_KEY_HASHER is 'hmac-sha256'"),
        (SessionSettings(max_sessions=5), None),
        (SessionSettings(store="redis", keys=KEYS, lock_lease=5, redis_prefix="{x}:"), None),
        (SessionSettings(store="cookie", keys=KEYS, cookie_limit=600, lock_wait=5), None),
        (TokenStoreSettings(redis_prefix="x:"), None),
        (ApiKeySettings(peppers=KEYS, hasher="bcrypt", bcrypt_rounds=13), None),
    ],
)
def test_settings_of_another_choice(settings: Settings, found: str | None) -> None:
    """What is for another store, or another hasher, has no effect. All of it is switched off without a store."""
    parts = [session_store, token_store, api_key_memory_store, api_keys]
    plan = create_app(contributions=parts, overrides={type(settings): settings}, discover=False).plan
    warnings = list(find_unchosen(plan))
    assert (0 if found is None else 1) == len(warnings)
    assert found is None or found in warnings[0]


@lifespan(band=LifespanBand.SERVICES)
async def own_list() -> AsyncIterator[RevocationList]:
    raise NotImplementedError
    yield


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([], ["AUTH_WITHOUT_REVOCATIONS", "AUTH_WEBSOCKET_RECHECK"]),
        ([api_key_memory_store, api_keys], ["AUTH_WITHOUT_REVOCATIONS"]),
        ([token_store], []),
        ([own_list], []),
    ],
)
def test_settings_about_revocations_where_nothing_revokes(parts: list[Any], found: list[str]) -> None:
    """The keys' service ends WebSockets and knows nothing of tokens."""
    overrides = {
        AccessSettings: AccessSettings(without_revocations="accept", websocket_recheck=5),
        ApiKeySettings: ApiKeySettings(peppers=KEYS),
        TokenStoreSettings: TokenStoreSettings(AUTH_TOKEN_STORE="memory"),
    }
    app = create_app(contributions=[open_websockets, *parts], overrides=overrides, discover=False)
    assert found == [warning.partition(" has no effect")[0] for warning in find_idle_revocations(app.plan)]
    untouched = create_app(contributions=[open_websockets], discover=False)
    assert [] == list(find_idle_revocations(untouched.plan))


def test_settings_of_providers_without_a_provider() -> None:
    """The clocks' leeway counts for verifiers of the application's own, too, and the public address for logins."""
    values: dict[str, Any] = {
        "key_ttl": 5,
        "provider_away": "degrade",
        "leeway": 5,
        "public_url": "https://shop.example",
    }
    (warning,) = find_idle_settings(AuthSettings(**values))
    assert "these have no effect: AUTH_KEY_TTL, AUTH_PROVIDER_AWAY. Set AUTH_ISSUER" in str(warning)
    assert [] == list(find_idle_settings(AuthSettings(issuer="https://id.example", **values)))


def make_plan(settings: Settings) -> Plan:
    return create_app(
        contributions=[token_store, open_websockets, dev_provider],
        overrides={type(settings): settings},
        settings=KernelSettings(environment="test"),
        discover=False,
    ).plan
