"""Token stores of both kinds, with a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.contrib.oidc.real_stores import anyio_backend as anyio_backend
from tests.contrib.oidc.real_stores import clock as clock
from tests.contrib.oidc.real_stores import start_redis as start_redis

from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.token_store.memory import MemoryTokenStore
from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore
from bandmaster.contrib.oidc.token_store.stored_token import StoredToken
from bandmaster.contrib.redis import RedisSettings, open_client


def make_token(jti="t", user_id="ada", *, age=10, life=3600, **values):
    """A token that was issued some seconds ago."""
    created = datetime.now(UTC) - timedelta(seconds=age)
    return StoredToken(
        **{
            "jti": jti,
            "user_id": user_id,
            "created_at": created,
            "expires_at": created + timedelta(seconds=life),
            **values,
        }
    )


def make_principal(jti="t", subject="ada", *, issuer="https://id.example", issued_at=None, **values):
    return Principal(subject=subject, issuer=issuer, credential_id=jti, issued_at=issued_at, **values)


@pytest.fixture
async def open_tokens(redis_url, clock):
    """Opens a store of a kind."""
    async with open_client(RedisSettings(url=redis_url), "tokens") as client:

        def open_tokens(kind, **options):
            options = {"clock": clock, **options}
            return RedisTokenStore(client, **options) if kind == "redis" else MemoryTokenStore(**options)

        yield open_tokens


@pytest.fixture(params=["memory", "redis"])
def kind(request):
    return request.param


@pytest.fixture
def store(kind, open_tokens):
    """A store of each kind."""
    return open_tokens(kind)


@pytest.fixture
def own_redis(start_redis):
    """A server that the test may stop."""
    return start_redis("--loglevel", "notice")
