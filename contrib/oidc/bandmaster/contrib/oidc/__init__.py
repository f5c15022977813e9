"""Bearer tokens, login, API keys and token stores, checked strictly by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.client_credentials.component import client_credentials_for as client_credentials_for
    from bandmaster.contrib.oidc.client_credentials.settings import (
        ClientCredentialsSettings as ClientCredentialsSettings,
    )
    from bandmaster.contrib.oidc.client_credentials.source import AccessToken as AccessToken
    from bandmaster.contrib.oidc.client_credentials.source import ClientCredentials as ClientCredentials
    from bandmaster.contrib.oidc.client_credentials.token_endpoint import TokenRefusedError as TokenRefusedError

# A name is imported when it is first used: code that reads settings needs neither an HTTP client nor cryptography.
export_lazily(
    __name__,
    {
        "client_credentials.component": ["client_credentials_for"],
        "client_credentials.settings": ["ClientCredentialsSettings"],
        "client_credentials.source": ["AccessToken", "ClientCredentials"],
        "client_credentials.token_endpoint": ["TokenRefusedError"],
    },
)
