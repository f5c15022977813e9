"""A plain client of httpx, for libraries that still ask for one."""

import subprocess
import sys

import httpx
import httpx2
import pytest
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.http import HttpSettings, http, plain_httpx
from bandmaster.kernel import Kernel
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


async def answer(seen, stream):
    return reply(body=b"served", headers={"set-cookie": "session=1"})


async def test_it_provides_a_client_of_httpx_beside_the_shared_one() -> None:
    """With the limits and time-outs of the settings, without cookies, and closed at the stop."""
    settings = HttpSettings(read_timeout=7, max_connections=6)
    async with serving(answer) as service:
        async with run(contributions=[http, plain_httpx], overrides={HttpSettings: settings}) as running:
            client = running.resources[httpx.AsyncClient]
            assert type(client) is httpx.AsyncClient
            assert running.resources[httpx2.AsyncClient] is not client
            assert 7 == client.timeout.read
            for _ in range(2):
                assert b"served" == (await client.get(service.url)).content
            assert [None, None] == [seen.headers.get("cookie") for seen in service.requests]
            assert 12 == running.plan.budget["http"]
        assert client.is_closed


def test_its_pools_are_in_the_budget() -> None:
    """httpx has a pool for each proxy, and one for direct connections."""
    settings = HttpSettings(http_proxy="http://a:1", https_proxy="http://b:1", max_connections=5)
    kernel = Kernel(contributions=[plain_httpx], overrides={HttpSettings: settings}, discover=False)
    assert {"http": 15} == dict(kernel.plan.budget)


WITHOUT_HTTPX = """
import sys
from importlib.abc import MetaPathFinder


class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "httpx":
            raise ModuleNotFoundError(name, name=name)


sys.meta_path.insert(0, Absent())
import importlib.util

found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "httpx" else found(name, package)

from bandmaster.contrib.http import http, plain_httpx
from bandmaster.kernel import Kernel

plan = Kernel(contributions=[http, plain_httpx], discover=False).plan
print([component.name for component in plan.components], [(each.part.name, each.reason) for each in plan.omitted])
"""


def test_it_is_left_out_without_httpx() -> None:
    """The entry point is that of the extra [httpx]; the plan says that the part is left out."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_HTTPX], capture_output=True, text=True, timeout=60, check=False
    )
    assert ("['http'] [('httpx', 'its when= says no')]\n", "") == (done.stdout, done.stderr)
