"""The check for settings that another one switches off."""

from __future__ import annotations

import pytest

from bandmaster.contrib.oidc import AccessSettings, DevProviderSettings, TokenStoreSettings
from bandmaster.contrib.oidc.access.open_websockets import open_websockets
from bandmaster.contrib.oidc.checks import find_switched_off
from bandmaster.contrib.oidc.devprovider.component import dev_provider
from bandmaster.contrib.oidc.token_store.component import token_store
from bandmaster.kernel import KernelSettings, Settings, create_app


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
    app = create_app(
        contributions=[token_store, open_websockets, dev_provider],
        overrides={type(settings): settings},
        settings=KernelSettings(environment="test"),
        discover=False,
    )
    warnings = list(find_switched_off(app.plan))
    if found is None:
        assert [] == warnings
    else:
        assert 1 == len(warnings)
        assert found in warnings[0]
        assert "these have no effect: AUTH_" in warnings[0]
