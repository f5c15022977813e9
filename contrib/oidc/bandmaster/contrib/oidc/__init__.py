"""Bearer tokens, login, API keys and token stores, checked strictly by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.api_keys.api_key import ApiKey as ApiKey
    from bandmaster.contrib.oidc.api_keys.api_key import KeyState as KeyState
    from bandmaster.contrib.oidc.api_keys.api_key import NewApiKey as NewApiKey
    from bandmaster.contrib.oidc.api_keys.bcrypt_hasher import BcryptHasher as BcryptHasher
    from bandmaster.contrib.oidc.api_keys.fastapi_scheme import api_key_scheme as api_key_scheme
    from bandmaster.contrib.oidc.api_keys.hashers import HmacSha256Hasher as HmacSha256Hasher
    from bandmaster.contrib.oidc.api_keys.hashers import KeyHasher as KeyHasher
    from bandmaster.contrib.oidc.api_keys.hashers import KeyHashers as KeyHashers
    from bandmaster.contrib.oidc.api_keys.layer import ApiKeyAuth as ApiKeyAuth
    from bandmaster.contrib.oidc.api_keys.service import ApiKeys as ApiKeys
    from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings as ApiKeySettings
    from bandmaster.contrib.oidc.api_keys.sql_store import SqlApiKeyStore as SqlApiKeyStore
    from bandmaster.contrib.oidc.api_keys.store import ApiKeyStore as ApiKeyStore
    from bandmaster.contrib.oidc.api_keys.store import MemoryApiKeyStore as MemoryApiKeyStore
    from bandmaster.contrib.oidc.errors import ApiKeyError as ApiKeyError

# The module of each public name. A name is imported at its first use (PEP 562), so that code which reads a principal
# needs neither cryptography nor a database.
export_lazily(
    __name__,
    {
        "api_keys.api_key": ["ApiKey", "KeyState", "NewApiKey"],
        "api_keys.bcrypt_hasher": ["BcryptHasher"],
        "api_keys.fastapi_scheme": ["api_key_scheme"],
        "api_keys.hashers": ["HmacSha256Hasher", "KeyHasher", "KeyHashers"],
        "api_keys.layer": ["ApiKeyAuth"],
        "api_keys.service": ["ApiKeys"],
        "api_keys.settings": ["ApiKeySettings"],
        "api_keys.sql_store": ["SqlApiKeyStore"],
        "api_keys.store": ["ApiKeyStore", "MemoryApiKeyStore"],
        "errors": ["ApiKeyError"],
    },
)
