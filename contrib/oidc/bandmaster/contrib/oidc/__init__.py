"""Bearer tokens, login, API keys and token stores, checked strictly by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.devprovider.provider import DevProvider as DevProvider
    from bandmaster.contrib.oidc.devprovider.settings import DevProviderSettings as DevProviderSettings
    from bandmaster.contrib.oidc.devprovider.settings import DevUser as DevUser

# A name is imported when it is first used: code that reads settings needs neither cryptography nor an HTTP client.
export_lazily(
    __name__,
    {
        "devprovider.provider": ["DevProvider"],
        "devprovider.settings": ["DevProviderSettings", "DevUser"],
    },
)
