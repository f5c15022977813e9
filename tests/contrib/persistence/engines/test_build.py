"""Engines have the pools, timeouts and echo of the settings."""

import anyio.to_thread
import pytest

from bandmaster.contrib.persistence import DatabaseSettings
from bandmaster.contrib.persistence.engines.build import build_async_engine, build_sync_engine

URLS = ["postgresql://u@h/d", "postgresql+asyncpg://u@h/d", "sqlite:///file"]
pytestmark = pytest.mark.anyio


def build(settings):
    return {
        "async": build_async_engine(settings, size=settings.pool_size, overflow=settings.max_overflow).sync_engine,
        "sync": build_sync_engine(settings, size=settings.sync_pool_size, overflow=settings.sync_max_overflow),
    }


@pytest.mark.requirement("CF-07", "F-02", "PE-8", "PE-14", "F-08", "CF-37", "F-09", "PE-15", "PE-9")
@pytest.mark.parametrize("url", URLS)
async def test_a_manager_builds_its_pools_from_the_settings(make_manager, url):
    """Size, overflow, timeout, recycle and echo are those of the settings, in both engines."""
    manager = make_manager(
        url,
        pool_size=7,
        max_overflow=4,
        sync_pool_size=2,
        sync_max_overflow=1,
        pool_timeout=12,
        pool_recycle=345,
        echo=True,
    )
    for engine, size, overflow in ((manager.engine.sync_engine, 7, 4), (manager.sync_engine, 2, 1)):
        pool = engine.pool
        assert (size, overflow, 12, 345, True) == (
            pool.size(),
            pool._max_overflow,
            pool.timeout(),
            pool._recycle,
            engine.echo,
        )
    await anyio.to_thread.run_sync(manager.sync_engine.dispose)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("field", ["pool_pre_ping", "echo"])
@pytest.mark.parametrize("value", [True, False])
def test_switches_reach_the_engine(url, field, value):
    """A pooled connection is checked before use, and parameters are shown, only where the settings say so."""
    for engine in build(DatabaseSettings(url=url, **{field: value})).values():
        if field == "pool_pre_ping":
            assert value is engine.pool._pre_ping
        else:
            assert (value, not value) == (engine.echo, engine.hide_parameters)
