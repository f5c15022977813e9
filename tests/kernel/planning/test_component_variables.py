"""Tests of bandmaster.kernel.planning.component_variables."""

from collections.abc import AsyncIterator

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel import Kernel, LifespanBand, lifespan
from bandmaster.kernel.planning.component_variables import list_place_variables


class CacheSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="CACHE_")
    server: str = "db"
    port: int = 1
    tls_ca_file: str = ""
    pool_size: int = 10
    user: str = Field(default="me", validation_alias="CACHE_LOGIN")


class Cache: ...


@lifespan(band=LifespanBand.PERSISTENCE)
async def cache(settings: CacheSettings) -> AsyncIterator[Cache]:
    yield Cache()


@lifespan(band=LifespanBand.SERVICES)
async def index(cache: Cache) -> AsyncIterator[None]:
    yield


def test_the_variables_that_say_where_something_is():
    """The variables of addresses, files and users, by which a component fails to connect; not those of sizes."""
    plan = Kernel(discover=False, contributions=[cache, index]).plan
    assert ["CACHE_SERVER", "CACHE_PORT", "CACHE_TLS_CA_FILE", "CACHE_LOGIN"] == list_place_variables(plan, "cache")
    assert [] == list_place_variables(plan, "index")
    assert [] == list_place_variables(plan, "layer")
