"""The types of an HTTP client and of its calls."""

from typing import assert_type

import httpx2

from bandmaster.contrib.http import (
    HttpClient,
    HttpPoolGauge,
    HttpSettings,
    http,
    http_client,
    open_client,
    read_limited,
)
from bandmaster.kernel import LifespanContribution, Resources

assert_type(http, LifespanContribution)
assert_type(http_client("billing", prefix="BILLING_"), LifespanContribution)


async def takes_clients(resources: Resources) -> None:
    assert_type(resources[httpx2.AsyncClient], httpx2.AsyncClient)
    async with open_client(
        HttpSettings(), "script", transport=httpx2.MockTransport(lambda request: httpx2.Response(200))
    ) as client:
        assert_type(client, HttpClient)
        assert_type(client.gauges(), tuple[HttpPoolGauge, ...])
        assert_type(await client.get("https://api.example"), httpx2.Response)
        async with client.stream("GET", "https://api.example") as response:
            assert_type(await read_limited(response, 10), bytes)
