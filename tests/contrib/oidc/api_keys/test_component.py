"""The components: which parts settings switch on, refused starts, and the write at the stop."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER
from tests.logged import capture_logs

from bandmaster.contrib.oidc import (
    ApiKeyAuth,
    ApiKeys,
    ApiKeySettings,
    ApiKeyStore,
    HmacSha256Hasher,
    MemoryApiKeyStore,
)
from bandmaster.contrib.oidc.api_keys.checks import find_unused_settings
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.api_keys.sql_parts import api_key_migrations, api_key_sql_store
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.persistence import DatabaseSettings, Migrations, database, database_schema
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, PlanError, create_app, lifespan
from bandmaster.kernel.testing import attempt, check_contribution, run

pytestmark = pytest.mark.anyio

PEPPERS = {"2026": SecretStr(PEPPER)}
PARTS = [api_key_memory_store, api_key_sql_store, api_key_migrations, api_keys, ApiKeyAuth, database, database_schema]


def make_kernel(*, environment="development", processes=1, parts=PARTS, **settings):
    return Kernel(
        contributions=parts,
        overrides={ApiKeySettings: ApiKeySettings(**settings)},
        settings=KernelSettings(environment=environment, processes=processes),
        discover=False,
    )


def names(plan):
    return {component.name for component in plan.components} - {"database", "database_schema"}


def test_without_peppers_nothing_is_on() -> None:
    """Installed without a setting the parts are left out, and the plan says so."""
    plan = make_kernel().plan
    assert set() == names(plan)
    assert [] == list(plan.layers)
    assert () == plan.values_of(Migrations)
    assert {"api_keys", "api_key_auth", "api_key_memory_store"} <= {part.part.name for part in plan.omitted}


def test_peppers_switch_keys_on() -> None:
    """The settings choose the store; a process without peppers still has the migrations of the table."""
    memory, sql = make_kernel(peppers=PEPPERS).plan, make_kernel(peppers=PEPPERS, store="sql").plan
    assert {"api_keys", "api_key_memory_store"} == names(memory)
    assert {"api_keys", "api_key_sql_store"} == names(sql)
    assert ["api_key_auth"] == [layer.name for layer in sql.layers]
    assert (0, ["auth_api_keys"]) == (
        len(memory.values_of(Migrations)),
        [part.name for part in sql.values_of(Migrations)],
    )
    migrating = make_kernel(store="sql").plan
    assert (set(), 1) == (names(migrating), len(migrating.values_of(Migrations)))


def test_keys_in_memory_are_refused_in_production() -> None:
    """A forgotten setting is noticed before the start, and staging warns."""
    with pytest.raises(PlanError, match="Set AUTH_API_KEY_STORE to sql"):
        make_kernel(peppers=PEPPERS, environment="production").check_start()
    parts = [api_key_memory_store, api_keys]
    (warning,) = make_kernel(peppers=PEPPERS, environment="staging", parts=parts).check_start()
    assert "a restart ends all of them" in warning
    (warning,) = make_kernel(peppers=PEPPERS, processes=3, parts=parts).check_start()
    assert "each of the 3 processes knows its own keys only" in warning
    assert () == make_kernel(peppers=PEPPERS, parts=parts).check_start()


def test_threads_of_bcrypt_are_in_the_budget(monkeypatch) -> None:
    """The plan counts the threads in which a hash may be verified; without bcrypt there are none."""
    assert 3 == make_kernel(peppers=PEPPERS, hasher="bcrypt", bcrypt_threads=3).plan.budget["threads"]
    assert 2 == make_kernel(peppers=PEPPERS).plan.budget["threads"], "hashes that bcrypt made still verify"
    monkeypatch.setattr("bandmaster.contrib.oidc.api_keys.component.has_extra", lambda name: False)
    assert "threads" not in make_kernel(peppers=PEPPERS).plan.budget


async def test_the_parts_are_well_behaved() -> None:
    """The store in memory starts, stops, fails and is cancelled as a component should."""
    overrides = {ApiKeySettings: ApiKeySettings(peppers=PEPPERS)}
    await check_contribution(api_key_memory_store, overrides=overrides)
    await check_contribution(api_keys, ApiKeyAuth, beside=[api_key_memory_store], overrides=overrides)


async def test_a_store_of_ones_own_replaces_the_one_of_the_settings() -> None:
    """An override or a component of the type `ApiKeyStore` is enough."""
    own = MemoryApiKeyStore()
    overrides = {ApiKeySettings: ApiKeySettings(peppers=PEPPERS), ApiKeyStore: own}
    async with run(contributions=[api_keys, ApiKeyAuth], overrides=overrides) as running:
        assert own is running.resources[ApiKeys].store

    @lifespan(band=LifespanBand.PERSISTENCE, name="my_keys")
    async def my_keys() -> AsyncIterator[ApiKeyStore]:
        yield own

    @lifespan(band=LifespanBand.PERSISTENCE, decorates=ApiKeyStore)
    async def counting(store: ApiKeyStore) -> AsyncIterator[ApiKeyStore]:
        yield CountingStore(store)

    del overrides[ApiKeyStore]
    async with run(contributions=[my_keys, counting, api_keys], overrides=overrides) as running:
        wrapper = running.resources[ApiKeys].store
        assert (CountingStore, own) == (type(wrapper), wrapper.inner)


class CountingStore(MemoryApiKeyStore):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner


@pytest.mark.requirement("CA-51")
async def test_a_use_is_written_at_the_stop() -> None:
    """The last use before the stop is in the store, although no second has passed."""
    store = MemoryApiKeyStore()
    overrides = {ApiKeySettings: ApiKeySettings(peppers=PEPPERS), ApiKeyStore: store}
    async with run(contributions=[api_keys, ApiKeyAuth], overrides=overrides) as running:
        made = await running.resources[ApiKeys].create("acme")
        headers = {"x-api-key": made.key.get_secret_value()}
        for _ in range(3):
            assert 404 == (await running.client.get("/", headers=headers)).status_code
        assert (await store.get(made.record.id)).last_used_at is None, "no request waits for the write"
    assert (await store.get(made.record.id)).last_used_at >= made.record.created_at


@pytest.mark.requirement("CA-51")
async def test_a_store_that_fails_to_write_fails_neither_request_nor_stop() -> None:
    """The time of the last use isn't worth a failed request."""

    class Failing(MemoryApiKeyStore):
        async def record_uses(self, uses, *, interval):
            raise AuthUnavailableError("read-only")

    overrides = {ApiKeySettings: ApiKeySettings(peppers=PEPPERS), ApiKeyStore: Failing()}
    with capture_logs() as logs:
        async with run(contributions=[api_keys, ApiKeyAuth], overrides=overrides) as running:
            made = await running.resources[ApiKeys].create("acme")
            headers = {"x-api-key": made.key.get_secret_value()}
            assert 404 == (await running.client.get("/", headers=headers)).status_code
    assert "the last uses of API keys weren't written before the stop" in {log["event"] for log in logs}


@pytest.mark.requirement("CA-50")
async def test_a_removed_pepper_is_noticed_at_the_start() -> None:
    """The start lists the keys that would die, and not those that have ended anyway."""
    store = MemoryApiKeyStore()
    settings = ApiKeySettings(peppers={"2025": SecretStr(OLD_PEPPER)})
    old = ApiKeys(store, HmacSha256Hasher(settings.peppers), settings)
    dying = [(await old.create("acme")).record.id for _ in range(23)]
    ended = (await old.create("acme")).record.id
    await old.revoke(ended)

    options = {"contributions": [api_keys], "overrides": {ApiKeyStore: store}}
    options["overrides"][ApiKeySettings] = ApiKeySettings(peppers=PEPPERS)
    outcome = await attempt(**options)
    outcome.assert_failed(component="api_keys")
    text = str(outcome.cause)
    assert "23 API keys in use can't be verified with AUTH_API_KEY_PEPPERS" in text
    assert "hmac-sha256 with the pepper '2025'" in text
    assert "and 3 more" in text
    assert 20 == sum(key_id in text for key_id in dying)
    assert ended not in text
    assert "bandmaster apikey revoke --pepper ID" in text

    for key_id in dying:
        await old.revoke(key_id)
    (await attempt(**options)).assert_clean()


async def test_an_application_that_serves_without_keys_says_503() -> None:
    """Where operators let the start go on without API keys, a key can't be checked; other requests are served."""
    store = MemoryApiKeyStore()
    settings = ApiKeySettings(peppers={"2025": SecretStr(OLD_PEPPER)})
    made = await ApiKeys(store, HmacSha256Hasher(settings.peppers), settings).create("acme")
    async with run(
        contributions=[api_keys, ApiKeyAuth],
        overrides={ApiKeySettings: ApiKeySettings(peppers=PEPPERS), ApiKeyStore: store},
        settings=KernelSettings(on_start_failure={"api_keys": "degrade"}),
    ) as running:
        assert 404 == (await running.client.get("/")).status_code
        answer = await running.client.get("/", headers={"x-api-key": made.key.get_secret_value()})
        assert 503 == answer.status_code


@pytest.mark.requirement("CA-50")
async def test_a_pepper_that_is_still_there_is_enough() -> None:
    """Keys of an older pepper that is still configured don't hold up a start."""
    store = MemoryApiKeyStore()
    settings = ApiKeySettings(peppers={"2025": SecretStr(OLD_PEPPER)})
    await ApiKeys(store, HmacSha256Hasher(settings.peppers), settings).create("acme")
    both = ApiKeySettings(peppers={**PEPPERS, **settings.peppers})
    outcome = await attempt(contributions=[api_keys], overrides={ApiKeySettings: both, ApiKeyStore: store})
    outcome.assert_clean()


async def test_a_store_that_is_away_at_the_start_is_told() -> None:
    """A database that isn't critical may come up later; the log says that the peppers weren't checked."""

    class Away(MemoryApiKeyStore):
        async def count_usable(self, now):
            raise AuthUnavailableError("away")

    overrides = {ApiKeySettings: ApiKeySettings(peppers=PEPPERS), ApiKeyStore: Away()}
    with capture_logs() as logs:
        async with run(contributions=[api_keys], overrides=overrides):
            pass
    (told,) = [log for log in logs if "weren't checked for missing peppers" in log["event"]]
    assert ("warning", "away") == (told["log_level"], told["error"])


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("database_url", ["sqlite", "psycopg"], indirect=True)
async def test_a_whole_application_keeps_keys_in_its_database(database_url) -> None:
    """From an empty database: migrated at the start, a key made, used, kept over a restart, and the use noted."""
    overrides = {
        ApiKeySettings: ApiKeySettings(peppers=PEPPERS, store="sql"),
        DatabaseSettings: DatabaseSettings(url=database_url, migrate_on_start=True, connect_timeout=20),
    }
    async with run(contributions=PARTS, overrides=overrides, timeout=60) as running:
        made = await running.resources[ApiKeys].create("acme", scopes=["read"])
        headers = {"x-api-key": made.key.get_secret_value()}
        assert 404 == (await running.client.get("/", headers=headers)).status_code
    async with run(contributions=PARTS, overrides=overrides, timeout=60) as running:
        assert 404 == (await running.client.get("/", headers=headers)).status_code
        found = await running.resources[ApiKeys].get(made.record.id)
        assert found.last_used_at is not None
        await running.resources[ApiKeys].revoke(made.record.id)
        assert 401 == (await running.client.get("/", headers=headers)).status_code


def test_settings_without_effect_are_told_by_check() -> None:
    """A prefix without a pepper gives nobody an API key."""

    def find(**settings):
        app = create_app(contributions=PARTS, overrides={ApiKeySettings: ApiKeySettings(**settings)}, discover=False)
        return list(find_unused_settings(app))

    rest = "set, but AUTH_API_KEY_PEPPERS isn't, so that there are no API keys."
    assert [f"AUTH_API_KEY_PREFIX, AUTH_API_KEY_STORE are {rest}"] == find(store="sql", prefix="acme")
    assert [f"AUTH_API_KEY_PREFIX is {rest}"] == find(prefix="acme")
    assert [] == find()
    assert [] == find(peppers={})
    assert [] == find(peppers=PEPPERS, prefix="acme")


WITHOUT = """
import sys, json
for name in ("bandmaster.contrib.persistence", "bcrypt", "sqlalchemy"):
    sys.modules[name] = None  # as if it weren't installed
import anyio
from pydantic import SecretStr
from bandmaster.contrib.oidc import ApiKeys, ApiKeySettings, ApiKeyAuth
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.api_keys.sql_parts import api_key_migrations, api_key_sql_store
from bandmaster.kernel import Kernel
parts = [api_key_memory_store, api_key_sql_store, api_key_migrations, api_keys, ApiKeyAuth]
kernel = Kernel(contributions=parts, discover=False)
async def main():
    async with kernel.running() as resources:
        keys = resources[ApiKeys]
        made = await keys.create("acme")
        return (await keys.verify(made.key.get_secret_value())).subject
subject = anyio.run(main)
try:
    ApiKeySettings(store="sql")
except ValueError as error:
    refused = str(error)
print(json.dumps({"subject": subject, "refused": refused, "budget": dict(kernel.plan.budget),
    "parts": [c.name for c in kernel.plan.components], "omitted": [o.part.name for o in kernel.plan.omitted]}))
"""


def test_no_extra_is_needed_for_keys_in_memory() -> None:
    """Without SQLAlchemy and bcrypt every entry point loads, keys work in memory, and sql names the extra."""
    environment = {**os.environ, "AUTH_API_KEY_PEPPERS": f"2026={PEPPER}"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (0, "") == (done.returncode, done.stderr)
    answer = json.loads(done.stdout)
    assert "acme" == answer["subject"]
    assert "pip install 'bandmaster-oidc[sql]'" in answer["refused"]
    assert {} == answer["budget"]
    assert ["api_key_memory_store", "api_keys"] == answer["parts"]
    assert {"api_key_sql_store", "auth_api_keys_migrations"} == set(answer["omitted"])


def test_importing_the_package_is_cheap() -> None:
    """Reading settings and principals needs neither SQLAlchemy, FastAPI nor bcrypt."""
    code = (
        "import sys; import bandmaster.contrib.oidc as oidc; oidc.ApiKeySettings; oidc.ApiKeys; oidc.ApiKeyAuth;"
        "print([name for name in ('sqlalchemy', 'fastapi', 'bcrypt', 'joserfc', 'typer') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "[]\n" == done.stdout


def test_every_public_name_can_be_imported() -> None:
    """The lazy exports name existing objects."""
    import bandmaster.contrib.oidc as oidc

    names = ["ApiKey", "ApiKeyError", "ApiKeys", "ApiKeySettings", "ApiKeyStore", "BcryptHasher", "HmacSha256Hasher"]
    names += ["KeyHasher", "KeyHashers", "KeyState", "MemoryApiKeyStore", "NewApiKey", "SqlApiKeyStore"]
    assert names == [getattr(oidc, name).__name__ for name in names]
    assert "api_key_auth" == oidc.ApiKeyAuth.name
