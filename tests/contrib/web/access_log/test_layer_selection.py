"""The requests that the access log's layer logs: excluded paths, samples and slow requests."""

from __future__ import annotations

from random import Random

import pytest
from starlette.requests import Request
from starlette.responses import Response
from tests.asgi_cases import Rig
from tests.contrib.web.access_log.layers import (
    RecordList,
    answer_status,
    build_app,
    build_host,
    build_stack,
    make_settings,
    send_requests,
)

from bandmaster.contrib.web.access_log.layer import AccessLogLayer
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


async def test_excluded_paths() -> None:
    """Excluded paths are not logged, whatever their status. The decoded path is compared."""

    async def endpoint(request: Request) -> Response:
        return Response(status_code=500)

    records = RecordList()
    application = build_app(build_host(endpoint, "/{path:path}"), records, access_log_exclude=("/static/*", "/ping"))
    async with run(application) as running:
        for path in ("/static/a", "/%73tatic/a", "/ping", "/pings", "/"):
            await running.client.get(path)
    assert ["/pings", "/"] == [record.path for record in records]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
async def test_samples_are_fair(share) -> None:
    """The share of logged requests is the configured one, and the records name that share."""
    records = RecordList()
    built, layer = build_stack(answer_status, records, access_log_sample=share)
    layer._draw = Random(7).random
    await send_requests(built, 1000)
    # Four standard deviations.
    assert abs(len(records) - 1000 * share) <= 4 * (1000 * share * (1 - share)) ** 0.5
    assert {share} >= {record.sample_rate for record in records}


async def test_errors_are_never_sampled_away() -> None:
    """Every error is logged, so its record has no sample rate."""
    records = RecordList()
    built, _ = build_stack(answer_status, records, access_log_sample=0.0)
    for status in (200, 404, 499, 500, 599):
        await send_requests(built, 3, f"/{status}")
    assert [(500, None)] * 3 + [(599, None)] * 3 == [(record.status, record.sample_rate) for record in records]


async def test_slow_requests_are_never_sampled_away() -> None:
    """Every slow request is logged as a warning, and marked."""
    records = RecordList()
    built, _ = build_stack(answer_status, records, access_log_sample=0.0, access_log_slow=1e-9)
    await send_requests(built, 3)
    assert [("warning", True, None)] * 3 == [(record.level, record.slow, record.sample_rate) for record in records]


async def test_everything_is_logged_by_default() -> None:
    """Without sampling no record has a sample rate."""
    records = RecordList()
    built, _ = build_stack(answer_status, records)
    await send_requests(built, 50)
    assert [None] * 50 == [record.sample_rate for record in records]


@pytest.mark.parametrize("length", [True, False])
async def test_streams_are_not_slow(length) -> None:
    """A body without a Content-Length is never slow, since its duration depends on the application."""

    async def sending(scope, receive, send):
        headers = [(b"content-length", b"2")] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ab"})

    records = RecordList()
    built, _ = build_stack(sending, records, access_log_slow=1e-9)
    await Rig(lambda app: built).http(sending).run()
    assert [length] == [record.slow for record in records]


def test_switched_off() -> None:
    """With `access_log=off` the layer is left out, also if a component provides a sink."""
    built = build(
        [BoundLayer(AccessLogLayer, {"settings": make_settings(access_log="off"), "sink": RecordList()})],
        app=(inner := object()),
    )
    assert (inner, inner) == (built.http, built.websocket)
