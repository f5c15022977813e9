"""The session store as a component, as the settings choose one or refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr, ValidationError
from redis.asyncio import Redis
from tests.contrib.oidc.sessions.conftest import KEY, make_session

from bandmaster.contrib.oidc.redis_client import AuthRedisSettings, auth_redis
from bandmaster.contrib.oidc.sessions.component import find_session_problems, session_store, session_store_redis
from bandmaster.contrib.oidc.sessions.cookie import CookieSessionStore
from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore
from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.sessions.sql_component import session_migrations, session_store_sql
from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore
from bandmaster.contrib.oidc.sessions.store import SessionStore
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.contrib.persistence import DatabaseSettings, collect, database, database_schema
from bandmaster.contrib.redis import RedisSettings, redis
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Problem, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio
PARTS = [session_store, session_store_redis, session_store_sql, session_migrations, auth_redis]
LOGIN = AuthSettings(issuer="https://id.example", client_id="shop", audiences=("shop",), public_url="https://a.example")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No variable of this package is set."""
    import os

    for name in [name for name in os.environ if name.startswith(("AUTH_", "REDIS_", "DATABASE_"))]:
        monkeypatch.delenv(name)


@lifespan(band=LifespanBand.APPLICATION)
async def login(store: SessionStore) -> AsyncIterator[None]:
    yield


def make_kernel(*settings, parts=(), **options):
    overrides = {type(one): one for one in settings}
    return Kernel(contributions=[*PARTS, *parts], discover=False, overrides=overrides, **options)


def names_of(kernel):
    return [component.name for component in kernel.plan.components]


def findings_of(kernel):
    """The findings of the store's own check."""
    settings, auth = kernel.plan.settings_of(SessionSettings), kernel.plan.settings_of(AuthSettings)
    return list(find_session_problems(settings, auth, kernel.settings, kernel.plan))


def with_keys(store, **options):
    return SessionSettings(store=store, keys={"1": SecretStr(KEY)}, **options)


def test_without_settings_there_is_no_store():
    """An application without login has no part of login."""
    assert [] == names_of(make_kernel())
    assert () == collect(make_kernel().plan)


def test_a_login_alone_has_sessions_in_memory():
    """A provider with a client means a login."""
    assert ["session_store"] == names_of(make_kernel(LOGIN))


@pytest.mark.parametrize(("store", "kind"), [("memory", MemorySessionStore), ("cookie", CookieSessionStore)])
async def test_the_settings_choose_a_store_without_a_server(store, kind):
    """No login need be configured: an application may have one of its own."""
    kernel = make_kernel(with_keys(store))
    async with kernel.running() as resources:
        assert isinstance(resources[SessionStore], kind)


async def test_sessions_in_redis(redis_url):
    """The client is a separate one, with a pool in the budget and a probe."""
    kernel = make_kernel(with_keys("redis"), AuthRedisSettings(url=redis_url, max_connections=7))
    assert ["auth_redis", "session_store_redis"] == names_of(kernel)
    assert 8 == kernel.plan.budget["redis"]
    async with kernel.running() as resources:
        store = resources[SessionStore]
        assert isinstance(store, RedisSessionStore)
        session = make_session()
        assert session == await store.get(await store.put(session))


async def test_sessions_in_the_database(tmp_path):
    """The tables are those of the migrations, which the part brings itself."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'shop.db'}", migrate_on_start=True)
    kernel = make_kernel(with_keys("sql"), settings, parts=[database, database_schema])
    assert ["auth_sessions"] == [part.name for part in collect(kernel.plan)]
    async with kernel.running() as resources:
        store = resources[SessionStore]
        assert isinstance(store, SqlSessionStore)
        session = make_session()
        assert session == await store.get(await store.put(session))


def test_the_settings_redis_needs_its_url_apart_from_the_cache(redis_url):
    """A cache in the same database may be flushed, and the sessions with the cache."""
    kernel = make_kernel(
        with_keys("redis"), AuthRedisSettings(url=redis_url), RedisSettings(url=redis_url), parts=[redis]
    )
    check = kernel.plan.by_name["auth_redis"].contribution.check
    from bandmaster.kernel import EventLoop

    def find(event_loop=EventLoop.ASYNCIO):
        return list(check(kernel.plan.settings_of(AuthRedisSettings), kernel.plan, event_loop))

    assert ["AUTH_REDIS_URL and REDIS_URL name the same Redis database"] == [
        str(found).partition(" (")[0] for found in find()
    ]
    assert "redis-py runs on asyncio only." == find(EventLoop.TRIO)[0].message


def test_sessions_in_memory_are_told_in_production():
    """One process warns; several are refused, since each would know some of the sessions only."""
    production = {"environment": "production"}
    alone = make_kernel(LOGIN, parts=[login], settings=KernelSettings(**production))
    (found,) = findings_of(alone)
    assert isinstance(found, str) and "lost when the process ends" in found
    several = make_kernel(LOGIN, parts=[login], settings=KernelSettings(**production, processes=4))
    (found,) = findings_of(several)
    assert isinstance(found, Problem) and "4 processes" in found.message
    assert "AUTH_SESSION_STORE" in found.hint


def test_several_processes_are_told_in_development():
    """Logins fail at random there, too."""
    (found,) = findings_of(make_kernel(LOGIN, parts=[login], settings=KernelSettings(processes=2)))
    assert isinstance(found, str) and "2 processes don't share" in found


def test_nothing_is_told_where_nobody_asks_for_sessions():
    """A client may be there for introspection alone."""
    kernel = make_kernel(LOGIN, settings=KernelSettings(environment="production", processes=4))
    assert [] == findings_of(kernel)


@pytest.mark.parametrize("store", ["memory", "cookie", "redis"])
def test_a_store_that_nobody_uses_is_told(store):
    """The variable is set, and nobody can log in."""
    assert ["AUTH_SESSION_STORE is set, but nobody logs in: no provider has a client (AUTH_CLIENT_ID)"] == findings_of(
        make_kernel(with_keys(store))
    )
    assert [] == findings_of(make_kernel(with_keys(store), parts=[login]))
    assert [] == findings_of(make_kernel(with_keys(store), LOGIN))


async def test_a_redis_that_evicts_is_told(start_redis, logs):
    """Users would be logged out at random; a server without a bound, or one that refuses instead, isn't told of."""
    for options, expected in (
        (["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"], True),
        (["--maxmemory", "50mb", "--maxmemory-policy", "noeviction"], False),
    ):
        logs.clear()
        kernel = make_kernel(with_keys("redis"), AuthRedisSettings(url=start_redis(*options).url(0)), parts=[login])
        async with kernel.running():
            pass
        assert expected == any("sessions may be lost" in str(entry["event"]) for entry in logs)


@pytest.mark.parametrize("store", ["redis", "sql", "cookie"])
def test_stored_sessions_need_a_key(store):
    """The message says how to make one."""
    with pytest.raises(ValidationError, match=r"AUTH_SESSION_KEYS.*token_urlsafe"):
        SessionSettings(store=store)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"1": "hunter2"}, "entry 1 is shorter than 32 characters"),
        ({"1": KEY, "a.b": "a" * 43}, "the id of entry 2"),
        ({"": KEY}, "the id of entry 1"),
        ({"x" * 33: KEY}, "the id of entry 1"),
        ({"1": KEY, "2": KEY}, "under several ids"),
    ],
)
@pytest.mark.requirement("AU-17")
def test_weak_keys_are_refused(keys, message):
    """Without showing them."""
    with pytest.raises(ValidationError, match=message) as caught:
        SessionSettings(keys=keys)
    assert all(key not in str(caught.value) for key in keys.values())


@pytest.mark.requirement("AU-17")
def test_keys_come_from_a_variable_in_their_order_and_are_never_shown(monkeypatch):
    """The first one encrypts."""
    for text in (f"b={KEY},a={'a' * 43}", f'{{"b": "{KEY}", "a": "{"a" * 43}"}}'):
        monkeypatch.setenv("AUTH_SESSION_KEYS", text)
        settings = SessionSettings()
        assert ["b", "a"] == list(settings.keys)
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert KEY not in text and "a" * 43 not in text


def test_a_prefix_without_a_hash_tag_is_refused():
    """In a cluster the scripts would fail, and not before the first login."""
    for prefix in ("shop:", "shop:{}", "shop:{"):
        with pytest.raises(ValidationError, match="hash tag"):
            SessionSettings(redis_prefix=prefix)


async def test_an_override_replaces_the_store():
    """Tests give their own."""
    mine = MemorySessionStore()
    async with run(contributions=[*PARTS, login], overrides={SessionStore: mine, AuthSettings: LOGIN}) as running:
        assert mine is running.resources[SessionStore]


def test_both_stores_may_share_the_client():
    """One pool serves sessions and revoked tokens."""
    kernel = make_kernel(TokenStoreSettings(store="redis"))
    assert ["auth_redis"] == names_of(kernel)
    assert issubclass(Redis, object)
