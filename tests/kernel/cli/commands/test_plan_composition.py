"""Tests of bandmaster.kernel.cli.commands.plan: collections, decorators, conditions, replacements, time-outs."""

import json

import pytest

STORE = """
from collections.abc import AsyncIterator, Mapping, Sequence
from pydantic_settings import BaseSettings
from bandmaster.kernel import LifespanBand, MiddlewareBand, lifespan, middleware, value

class CacheSettings(BaseSettings):
    cache_enabled: bool = False

class Repository: ...
class Exporter: ...

def is_enabled(settings: CacheSettings) -> bool:
    return settings.cache_enabled

@lifespan(band=LifespanBand.PERSISTENCE)
async def repository() -> AsyncIterator[Repository]: yield Repository()

@lifespan(band=LifespanBand.PERSISTENCE, decorates=Repository)
async def cached(inner: Repository) -> AsyncIterator[Repository]: yield inner

@lifespan(band=LifespanBand.SERVICES)
async def csv() -> AsyncIterator[Exporter]: yield Exporter()

@lifespan(band=LifespanBand.SERVICES, when=is_enabled)
async def pdf() -> AsyncIterator[Exporter]: yield Exporter()

@lifespan(band=LifespanBand.APPLICATION, start_timeout=5)
async def reports(
    repository: Repository, exporters: Sequence[Exporter], nothing: Mapping[str, CacheSettings]
) -> AsyncIterator[None]:
    yield

page = value(Exporter(), name="page")

@middleware(band=MiddlewareBand.POLICY)
class Limit:
    def on_end(self, exchange): ...
"""
ENTRY_POINTS = """
[bandmaster.lifespan]
repository = acme_store:repository
cached = acme_store:cached
csv = acme_store:csv
pdf = acme_store:pdf
reports = acme_store:reports
[bandmaster.values]
page = acme_store:page
[bandmaster.middleware]
limit = acme_store:Limit
"""
SHOP = """
import dataclasses
from bandmaster.kernel import create_app
def app():
    from acme_store import Limit, page, pdf
    mine = dataclasses.replace(Limit, name="limit")
    return create_app(
        contributions=[mine, dataclasses.replace(page, name="mine")], disable={"middleware:limit", "mine"}
    )
"""


@pytest.fixture
def store(sandbox):
    sandbox.install("acme-store", ENTRY_POINTS, acme_store=STORE)
    sandbox.write("shop.py", SHOP)
    sandbox.setenv(BANDMASTER_START_TIMEOUTS="csv=60", BANDMASTER_STOP_TIMEOUTS="csv=4,cvs=1")
    return sandbox


def test_for_people(store):
    """The plan shows decorators, collections, parts left out or replaced, and the origin of time-outs."""
    told = store.run("plan", "shop:app").stdout
    lines = [line.strip() for line in told.splitlines()]
    assert "decorates Repository: takes the one of 'repository', and provides it to everybody else" in lines
    assert "waits for repository: it decorates its Repository" in lines
    assert "waits for cached: it needs its Repository, around the one of 'repository'" in lines
    assert "takes exporters: Sequence[Exporter]: 'page' and 'csv'" in lines
    assert "takes nothing: Mapping[str, CacheSettings]: none" in lines
    assert "has 60 s to start (BANDMASTER_START_TIMEOUTS) and 4 s to stop (BANDMASTER_STOP_TIMEOUTS)" in lines
    assert "has 5 s to start" in lines
    assert "pdf: its when= says no to CacheSettings  acme-store 1.2" in lines
    assert "mine: it is disabled  in code, acme_store:Exporter" in lines
    assert any(line.startswith("1 limit") and line.endswith(", replaces the one of acme-store 1.2") for line in lines)
    assert "middleware:limit: it is disabled, and code replaces it  acme-store 1.2" in lines
    assert ("BANDMASTER_STOP_TIMEOUTS names 'cvs', which no component has. Did you mean 'csv'?") in lines


def test_for_programs(store):
    """The JSON has the same facts as fields."""
    told = json.loads(store.run("plan", "shop:app", "--format", "json").stdout)
    components = {component["name"]: component for component in told["components"]}
    assert ("Repository", ["Repository"]) == (components["cached"]["decorates"], components["cached"]["provides"])
    assert [{"type": "Repository", "provider": "repository", "decorators": ["cached"]}] == told["decorated"]
    assert [("repository", None), (None, ["page", "csv"]), (None, [])] == [
        ({"cached": "repository"}.get(need["from"]), need.get("each_from")) for need in components["reports"]["needs"]
    ]
    assert "repository" == components["cached"]["needs"][0]["from"]
    assert (60, "BANDMASTER_START_TIMEOUTS", 4, "BANDMASTER_STOP_TIMEOUTS") == tuple(
        components["csv"][field]
        for field in ("start_timeout", "start_timeout_from", "stop_timeout", "stop_timeout_from")
    )
    assert ("acme-store 1.2", [None]) == (
        told["layers"][0]["replaces"],
        [value["replaces"] for value in told["values"]],
    )
    assert [("pdf", "when", ["CacheSettings"]), ("mine", "disabled", [])] == sorted(
        ((part["name"], part["reason"], part["by"]) for part in told["not_started"]), reverse=True
    )


def test_explain(store):
    """The explanation of a part has the sources."""
    told = store.run("plan", "shop:app", "--explain", "reports").stdout
    assert "takes repository: Repository from 'cached', around 'repository'" in told
    assert (
        "from 'page' and 'csv' ('mine' would provide one, but it is disabled; 'pdf' would provide one, but its when= "
        "says no to CacheSettings)"
    ) in told
    assert "pdf: left out: its when= says no to CacheSettings" in store.run("plan", "--explain", "pdf").stdout
    told = json.loads(store.run("plan", "shop:app", "--explain", "cached", "--format", "json").stdout)
    assert "Repository: from 'cached', around 'repository'" in told["facts"]


def test_the_settings_of_conditions_are_listed(store):
    """The settings of conditions count as read, also those of a part that is left out."""
    told = json.loads(store.run("config", "--format", "json").stdout)
    (group,) = [group for group in told["groups"] if group["type"] == "CacheSettings"]
    assert "read by pdf (acme-store 1.2)" == group["read_by"]
    (kernel,) = [group for group in told["groups"] if group["type"] == "KernelSettings"]
    (setting,) = [one for one in kernel["settings"] if one["variable"] == "BANDMASTER_START_TIMEOUTS"]
    assert ("csv=60", "name=float, comma separated") == (setting["value"], setting["type"])
