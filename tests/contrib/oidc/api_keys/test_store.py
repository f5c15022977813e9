"""Every store keeps the same promises: in memory, in SQLite, and in PostgreSQL through two drivers."""

import time
from dataclasses import replace

import anyio
import pytest

from bandmaster.contrib.oidc import ApiKey, ApiKeyError, MemoryApiKeyStore, SqlApiKeyStore
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0


@pytest.fixture
def anyio_backend():
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite", "psycopg", "asyncpg"])
async def store(request, tmp_path):
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryApiKeyStore()
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'keys.sqlite3'}"
    else:
        url = request.getfixturevalue("postgres_database").owner_url(driver=request.param)
    manager = DatabaseManager(DatabaseSettings(url=url, connect_timeout=20, slow_query=0))
    async with manager.engine.begin() as connection:
        from bandmaster.contrib.oidc.api_keys.tables import metadata

        await connection.run_sync(metadata.create_all)
    yield SqlApiKeyStore(manager)
    await manager.dispose()


def make(number=1, **fields):
    return ApiKey(
        **{
            "id": f"{number:013}",
            "owner": "acme",
            "hash": f"hmac-sha256$2026${number}",
            "created_at": NOW,
            **fields,
        }
    )


async def test_a_key_comes_back_as_it_was(store) -> None:
    """Every field is kept exactly, times to the microsecond, and texts in any script."""
    full = make(
        owner="Zoë 🎭 O'Neil; DROP TABLE",
        name="β% _\\",
        scopes={"read", "write:all", "!~"},
        created_at=NOW + 0.123456,
        expires_at=NOW + 0.999999,
        revoked_at=NOW + 0.000001,
        replaced_by="z" * 13,
        last_used_at=NOW - 0.5,
    )
    await store.add(full)
    await store.add(make(2))
    assert full == await store.get(full.id)
    assert full.hash == (await store.get(full.id)).hash
    assert make(2) == await store.get(make(2).id)
    assert await store.get("0" * 13) is None


async def test_times_do_not_depend_on_the_time_zone(store, monkeypatch) -> None:
    """A process far from Greenwich reads the times that another one has written, and the other way round."""
    key = make(expires_at=NOW + 10)
    await store.add(key)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert key == await store.get(key.id)
        assert [key] == list(await store.list(usable_at=NOW + 9))
        assert [] == list(await store.list(usable_at=NOW + 10))
        await store.revoke(key.id, NOW + 5)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert NOW + 5 == (await store.get(key.id)).revoked_at


async def test_an_id_is_taken_once(store) -> None:
    """A second key of an id is refused, and the first one stays."""
    await store.add(make())
    with pytest.raises(ApiKeyError, match="there is a key '0000000000001' already"):
        await store.add(make(owner="mallory"))
    assert "acme" == (await store.get(make().id)).owner


async def test_ids_are_told_apart_by_case(store) -> None:
    """An id in other letters is another id."""
    await store.add(make(id="abcdefghijklm"))
    assert await store.get("ABCDEFGHIJKLM") is None


async def test_keys_are_listed_in_pages(store) -> None:
    """By owner, by pepper, by state, behind an id, in the order of ids; filters add up."""
    keys = [
        make(1),
        make(2, owner="other"),
        make(3, hash="hmac-sha256$2025$3"),
        make(4, hash="bcrypt$2025$4"),
        make(5, hash="hmac-sha256$12025$5"),
        make(6, hash="hmac-sha256$2_25$6"),
        make(7, expires_at=NOW),
        make(8, revoked_at=NOW - 5),
        make(9, expires_at=NOW + 0.000001),
    ]
    for key in reversed(keys):
        await store.add(key)

    async def numbers(**options):
        return [int(key.id) for key in await store.list(**options)]

    assert [1, 2, 3, 4, 5, 6, 7, 8, 9] == await numbers()
    assert [1, 2, 3] == await numbers(limit=3)
    assert [4, 5] == await numbers(after=keys[2].id, limit=2)
    assert [2] == await numbers(owner="other")
    assert [3, 4] == await numbers(pepper="2025")
    assert [6] == await numbers(pepper="2_25")
    assert [1, 2, 3, 4, 5, 6, 9] == await numbers(usable_at=NOW)
    assert [4] == await numbers(pepper="2025", after=keys[2].id, owner="acme", usable_at=NOW)
    assert [] == await numbers(owner="nobody")


async def test_a_revocation_keeps_its_first_time(store) -> None:
    """Revoking again changes nothing, and an unknown id revokes nothing."""
    await store.add(make())
    revoked = await store.revoke(make().id, NOW + 1)
    assert replace(make(), revoked_at=NOW + 1) == revoked
    assert revoked == await store.revoke(make().id, NOW + 9)
    assert revoked == await store.get(make().id)
    assert await store.revoke("x" * 13, NOW) is None


@pytest.mark.requirement("CA-52")
@pytest.mark.parametrize(
    ("own_end", "ends_at", "expected"),
    [
        (None, NOW + 10, {"expires_at": NOW + 10}),
        (NOW + 5, NOW + 10, {"expires_at": NOW + 5}),
        (NOW + 20, NOW + 10, {"expires_at": NOW + 10}),
        (None, NOW, {"revoked_at": NOW}),
        (NOW + 5, NOW, {"expires_at": NOW + 5, "revoked_at": NOW}),
    ],
)
async def test_a_rotated_key_ends(store, own_end, ends_at, expected) -> None:
    """The old key ends at the deadline or at an earlier end, and is revoked without a grace."""
    old, new = make(expires_at=own_end), make(2)
    await store.add(old)
    assert await store.rotate(old.id, new, now=NOW, ends_at=ends_at)
    assert replace(old, replaced_by=new.id, **expected) == await store.get(old.id)
    assert new == await store.get(new.id)


@pytest.mark.parametrize(
    "fields", [{"revoked_at": NOW - 1}, {"expires_at": NOW}, {"replaced_by": "z" * 13}, {"id": "y" * 13}]
)
async def test_what_has_ended_is_not_rotated(store, fields) -> None:
    """A key that has ended, was rotated or doesn't exist isn't changed, and no successor is stored."""
    old = make(**fields)
    await store.add(old)
    assert not await store.rotate(make().id if "id" in fields else old.id, make(2), now=NOW, ends_at=NOW + 1)
    assert old == await store.get(old.id)
    assert await store.get(make(2).id) is None


async def test_a_failed_rotation_leaves_both_keys_as_they_were(store) -> None:
    """Where the successor can't be stored the old key isn't ended."""
    await store.add(make(1))
    await store.add(make(2))
    with pytest.raises(ApiKeyError, match="already"):
        await store.rotate(make(1).id, make(2, owner="new"), now=NOW, ends_at=NOW + 1)
    assert [make(1), make(2)] == list(await store.list())


@pytest.mark.requirement("CA-52")
async def test_of_many_rotations_at_once_one_is_done(store) -> None:
    """One successor is stored, however many callers rotate the same key."""
    await store.add(make(1))
    done = []

    async def rotate(number):
        if await store.rotate(make(1).id, make(number), now=NOW, ends_at=NOW + 10):
            done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(2, 12):
            tasks.start_soon(rotate, number)
    assert 1 == len(done)
    assert [1, *done] == [int(key.id) for key in await store.list()]
    assert make(done[0]).id == (await store.get(make(1).id)).replaced_by


@pytest.mark.requirement("CA-51")
async def test_a_use_is_written_once_per_interval(store) -> None:
    """A use that is too soon after the noted one isn't written; unknown ids are passed over."""
    one, two = make(1), make(2, last_used_at=NOW)
    await store.add(one)
    await store.add(two)

    async def record(uses):
        await store.record_uses(uses, interval=60)
        return (await store.get(one.id)).last_used_at, (await store.get(two.id)).last_used_at

    assert (NOW, NOW) == await record({one.id: NOW, two.id: NOW + 59.999, "x" * 13: NOW})
    assert (NOW, NOW + 60) == await record({one.id: NOW + 1, two.id: NOW + 60})
    assert (NOW, NOW + 60) == await record({two.id: NOW + 30})
    assert (NOW + 61, NOW + 60) == await record({one.id: NOW + 61})


@pytest.mark.requirement("CA-50")
async def test_a_hash_is_replaced_if_it_is_the_old_one(store) -> None:
    """Compare and swap: of two replacements the second finds another hash."""
    await store.add(make())
    new = "hmac-sha256$2027$77"
    assert await store.replace_hash(make().id, make().hash, new)
    assert not await store.replace_hash(make().id, make().hash, "hmac-sha256$2028$78")
    assert not await store.replace_hash("x" * 13, new, new)
    found = await store.get(make().id)
    assert (new, "hmac-sha256$2027") == (found.hash, found.hashed_with)
    assert [found] == list(await store.list(pepper="2027"))
    assert [] == list(await store.list(pepper="2026"))


@pytest.mark.requirement("CA-50")
async def test_usable_keys_are_counted_by_pepper(store) -> None:
    """Keys that have ended don't count: nobody misses them."""
    for key in (
        make(1),
        make(2),
        make(3, hash="hmac-sha256$2025$3", expires_at=NOW + 1),
        make(4, hash="hmac-sha256$2024$4", expires_at=NOW),
        make(5, hash="bcrypt$2025$5"),
        make(6, hash="bcrypt$2023$6", revoked_at=NOW),
    ):
        await store.add(key)
    assert {"hmac-sha256$2026": 2, "hmac-sha256$2025": 1, "bcrypt$2025": 1} == await store.count_usable(NOW)


async def test_a_database_that_is_away_is_a_transient_error() -> None:
    """Each method says that the keys can't be checked now: neither SQLAlchemy's error nor "no such key"."""
    url = f"postgresql://shop:hunter2@127.0.0.1:{free_port()}/shop"
    manager = DatabaseManager(DatabaseSettings(url=url, connect_timeout=20, slow_query=0))
    store = SqlApiKeyStore(manager)
    calls = [
        store.get(make().id),
        store.add(make()),
        store.list(),
        store.revoke(make().id, NOW),
        store.rotate(make().id, make(2), now=NOW, ends_at=NOW),
        store.record_uses({make().id: NOW}, interval=60),
        store.replace_hash(make().id, "a$b$c", "d$e$f"),
        store.count_usable(NOW),
    ]
    for call in calls:
        with pytest.raises(AuthUnavailableError, match="can't be used at the moment") as caught:
            await call
        assert "hunter2" not in str(caught.value)
    await manager.dispose()


async def test_a_missing_table_is_a_permanent_error_that_says_what_to_run(tmp_path) -> None:
    """A database without the migrations is a mistake of the deployment."""
    manager = DatabaseManager(DatabaseSettings(url=f"sqlite:///{tmp_path / 'empty.sqlite3'}"))
    with pytest.raises(ApiKeyError, match=r"no table auth_api_keys yet, make the table: bandmaster db upgrade"):
        await SqlApiKeyStore(manager).get(make().id)
    await manager.dispose()
    with pytest.raises(ApiKeyError, match="refuses the API keys"):
        await SqlApiKeyStore(manager).list()


@pytest.mark.parametrize("isolation", ["rls", "off"])
async def test_a_key_is_found_before_the_tenant_is_known(postgres_database, isolation) -> None:
    """With isolation of tenants no tenant is needed to look a key up."""
    from bandmaster.contrib.oidc.api_keys.tables import metadata

    url = postgres_database.owner_url()
    manager = DatabaseManager(DatabaseSettings(url=url, connect_timeout=20, slow_query=0, tenant_isolation=isolation))
    async with manager.probing() as connection:
        await connection.run_sync(metadata.create_all)
    store = SqlApiKeyStore(manager)
    await store.add(make())
    await store.record_uses({make().id: NOW}, interval=60)
    assert NOW == (await store.get(make().id)).last_used_at
    await manager.dispose()
