"""Bearer tokens, login, API keys and token stores, checked strictly by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.access.bearer_auth import BearerAuth as BearerAuth
    from bandmaster.contrib.oidc.access.fastapi_users import CurrentUser as CurrentUser
    from bandmaster.contrib.oidc.access.fastapi_users import OptionalUser as OptionalUser
    from bandmaster.contrib.oidc.access.open_websockets import OpenWebSockets as OpenWebSockets
    from bandmaster.contrib.oidc.access.prefixes import ProtectedPrefix as ProtectedPrefix
    from bandmaster.contrib.oidc.access.prefixes import protect as protect
    from bandmaster.contrib.oidc.access.requirements import Requirement as Requirement
    from bandmaster.contrib.oidc.access.requirements import require as require
    from bandmaster.contrib.oidc.access.security_schemes import SecurityScheme as SecurityScheme
    from bandmaster.contrib.oidc.access.settings import AccessSettings as AccessSettings
    from bandmaster.contrib.oidc.api_keys.api_key import ApiKey as ApiKey
    from bandmaster.contrib.oidc.api_keys.api_key import KeyState as KeyState
    from bandmaster.contrib.oidc.api_keys.api_key import NewApiKey as NewApiKey
    from bandmaster.contrib.oidc.api_keys.bcrypt_hasher import BcryptHasher as BcryptHasher
    from bandmaster.contrib.oidc.api_keys.hashers import HmacSha256Hasher as HmacSha256Hasher
    from bandmaster.contrib.oidc.api_keys.hashers import KeyHasher as KeyHasher
    from bandmaster.contrib.oidc.api_keys.hashers import KeyHashers as KeyHashers
    from bandmaster.contrib.oidc.api_keys.layer import ApiKeyAuth as ApiKeyAuth
    from bandmaster.contrib.oidc.api_keys.service import ApiKeys as ApiKeys
    from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings as ApiKeySettings
    from bandmaster.contrib.oidc.api_keys.sql_store import SqlApiKeyStore as SqlApiKeyStore
    from bandmaster.contrib.oidc.api_keys.store import ApiKeyStore as ApiKeyStore
    from bandmaster.contrib.oidc.api_keys.store import MemoryApiKeyStore as MemoryApiKeyStore
    from bandmaster.contrib.oidc.auth_events import AuthEvent as AuthEvent
    from bandmaster.contrib.oidc.auth_events import AuthListener as AuthListener
    from bandmaster.contrib.oidc.auth_events import report_auth_event as report_auth_event
    from bandmaster.contrib.oidc.client_credentials.component import client_credentials_for as client_credentials_for
    from bandmaster.contrib.oidc.client_credentials.settings import (
        ClientCredentialsSettings as ClientCredentialsSettings,
    )
    from bandmaster.contrib.oidc.client_credentials.source import AccessToken as AccessToken
    from bandmaster.contrib.oidc.client_credentials.source import ClientCredentials as ClientCredentials
    from bandmaster.contrib.oidc.client_credentials.token_endpoint import TokenRefusedError as TokenRefusedError
    from bandmaster.contrib.oidc.component import build_verifier as build_verifier
    from bandmaster.contrib.oidc.component import identity_providers as identity_providers
    from bandmaster.contrib.oidc.component import token_verifier as token_verifier
    from bandmaster.contrib.oidc.devprovider.provider import DevProvider as DevProvider
    from bandmaster.contrib.oidc.devprovider.settings import DevProviderSettings as DevProviderSettings
    from bandmaster.contrib.oidc.devprovider.settings import DevUser as DevUser
    from bandmaster.contrib.oidc.errors import ApiKeyError as ApiKeyError
    from bandmaster.contrib.oidc.errors import AuthError as AuthError
    from bandmaster.contrib.oidc.errors import AuthUnavailableError as AuthUnavailableError
    from bandmaster.contrib.oidc.errors import CredentialError as CredentialError
    from bandmaster.contrib.oidc.errors import InsufficientScopeError as InsufficientScopeError
    from bandmaster.contrib.oidc.errors import InvalidRequestError as InvalidRequestError
    from bandmaster.contrib.oidc.errors import InvalidTokenError as InvalidTokenError
    from bandmaster.contrib.oidc.errors import MissingCredentialError as MissingCredentialError
    from bandmaster.contrib.oidc.errors import ProviderRefusedError as ProviderRefusedError
    from bandmaster.contrib.oidc.errors import TokenStoreError as TokenStoreError
    from bandmaster.contrib.oidc.introspection.settings import IntrospectionSettings as IntrospectionSettings
    from bandmaster.contrib.oidc.introspection.verifier import IntrospectionVerifier as IntrospectionVerifier
    from bandmaster.contrib.oidc.issuers.metadata import ProviderMetadata as ProviderMetadata
    from bandmaster.contrib.oidc.issuers.provider import Provider as Provider
    from bandmaster.contrib.oidc.issuers.provider import Providers as Providers
    from bandmaster.contrib.oidc.issuers.provider import open_providers as open_providers
    from bandmaster.contrib.oidc.login.component import login_service as login_service
    from bandmaster.contrib.oidc.login.routes import login_routes as login_routes
    from bandmaster.contrib.oidc.login.service import Login as Login
    from bandmaster.contrib.oidc.login.session_layer import SessionAuth as SessionAuth
    from bandmaster.contrib.oidc.login.session_layer import get_session as get_session
    from bandmaster.contrib.oidc.login.session_sockets import SESSION_ENDED as SESSION_ENDED
    from bandmaster.contrib.oidc.login.settings import LoginSettings as LoginSettings
    from bandmaster.contrib.oidc.principal import Principal as Principal
    from bandmaster.contrib.oidc.principal import current_principal as current_principal
    from bandmaster.contrib.oidc.principal import get_principal as get_principal
    from bandmaster.contrib.oidc.principal import principal_context as principal_context
    from bandmaster.contrib.oidc.principal import set_principal as set_principal
    from bandmaster.contrib.oidc.refusals import refuse as refuse
    from bandmaster.contrib.oidc.revocations import RevocationList as RevocationList
    from bandmaster.contrib.oidc.sessions.cookie import CookieSessionStore as CookieSessionStore
    from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore as MemorySessionStore
    from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore as RedisSessionStore
    from bandmaster.contrib.oidc.sessions.settings import SessionSettings as SessionSettings
    from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore as SqlSessionStore
    from bandmaster.contrib.oidc.sessions.store import Session as Session
    from bandmaster.contrib.oidc.sessions.store import SessionStore as SessionStore
    from bandmaster.contrib.oidc.settings import AuthSettings as AuthSettings
    from bandmaster.contrib.oidc.settings import IssuerSettings as IssuerSettings
    from bandmaster.contrib.oidc.token_store.memory import MemoryTokenStore as MemoryTokenStore
    from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore as RedisTokenStore
    from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings as TokenStoreSettings
    from bandmaster.contrib.oidc.token_store.store import TokenStore as TokenStore
    from bandmaster.contrib.oidc.token_store.stored_token import StoredToken as StoredToken
    from bandmaster.contrib.oidc.token_store.stored_token import TokenExpired as TokenExpired
    from bandmaster.contrib.oidc.tokens.signatures import read_token as read_token
    from bandmaster.contrib.oidc.verifier import OpaqueTokenVerifier as OpaqueTokenVerifier
    from bandmaster.contrib.oidc.verifier import TokenVerifier as TokenVerifier

# The module of each public name. A name is imported at its first use (PEP 562): importing this package is cheap.
export_lazily(
    __name__,
    {
        "access.bearer_auth": ["BearerAuth"],
        "access.fastapi_users": ["CurrentUser", "OptionalUser"],
        "access.open_websockets": ["OpenWebSockets"],
        "access.prefixes": ["ProtectedPrefix", "protect"],
        "refusals": ["refuse"],
        "access.requirements": ["Requirement", "require"],
        "revocations": ["RevocationList"],
        "access.security_schemes": ["SecurityScheme"],
        "access.settings": ["AccessSettings"],
        "api_keys.api_key": ["ApiKey", "KeyState", "NewApiKey"],
        "api_keys.bcrypt_hasher": ["BcryptHasher"],
        "api_keys.hashers": ["HmacSha256Hasher", "KeyHasher", "KeyHashers"],
        "api_keys.layer": ["ApiKeyAuth"],
        "api_keys.service": ["ApiKeys"],
        "api_keys.settings": ["ApiKeySettings"],
        "api_keys.sql_store": ["SqlApiKeyStore"],
        "api_keys.store": ["ApiKeyStore", "MemoryApiKeyStore"],
        "auth_events": ["AuthEvent", "AuthListener", "report_auth_event"],
        "client_credentials.component": ["client_credentials_for"],
        "client_credentials.settings": ["ClientCredentialsSettings"],
        "client_credentials.source": ["AccessToken", "ClientCredentials"],
        "client_credentials.token_endpoint": ["TokenRefusedError"],
        "component": ["build_verifier", "identity_providers", "token_verifier"],
        "devprovider.provider": ["DevProvider"],
        "devprovider.settings": ["DevProviderSettings", "DevUser"],
        "errors": [
            "ApiKeyError",
            "AuthError",
            "AuthUnavailableError",
            "CredentialError",
            "InsufficientScopeError",
            "InvalidRequestError",
            "InvalidTokenError",
            "MissingCredentialError",
            "ProviderRefusedError",
            "TokenStoreError",
        ],
        "introspection.settings": ["IntrospectionSettings"],
        "introspection.verifier": ["IntrospectionVerifier"],
        "issuers.metadata": ["ProviderMetadata"],
        "issuers.provider": ["Provider", "Providers", "open_providers"],
        "login.component": ["login_service"],
        "login.routes": ["login_routes"],
        "login.service": ["Login"],
        "login.session_layer": ["SessionAuth", "get_session"],
        "login.session_sockets": ["SESSION_ENDED"],
        "login.settings": ["LoginSettings"],
        "principal": ["Principal", "current_principal", "get_principal", "principal_context", "set_principal"],
        "sessions.cookie": ["CookieSessionStore"],
        "sessions.memory": ["MemorySessionStore"],
        "sessions.redis_store": ["RedisSessionStore"],
        "sessions.settings": ["SessionSettings"],
        "sessions.sql_store": ["SqlSessionStore"],
        "sessions.store": ["Session", "SessionStore"],
        "settings": ["AuthSettings", "IssuerSettings"],
        "token_store.memory": ["MemoryTokenStore"],
        "token_store.redis_store": ["RedisTokenStore"],
        "token_store.settings": ["TokenStoreSettings"],
        "token_store.store": ["TokenStore"],
        "token_store.stored_token": ["StoredToken", "TokenExpired"],
        "tokens.signatures": ["read_token"],
        "verifier": ["OpaqueTokenVerifier", "TokenVerifier"],
    },
)
