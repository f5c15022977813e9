"""The sinks of the access log's layer, and records that can't be written."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from tests.asgi_cases import Rig
from tests.contrib.web.access_log.layers import (
    FailingSink,
    RecordList,
    answer_status,
    build_host,
    build_stack,
    make_settings,
    send_requests,
)

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.access_log.layer import AccessLogLayer
from bandmaster.contrib.web.access_log.sinks import AccessSink
from bandmaster.kernel import LifespanBand, create_app, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


async def test_the_default_is_json_on_standard_output(capsys, monkeypatch) -> None:
    """Without a terminal each line is one JSON object with the time in UTC."""
    monkeypatch.delenv("WEB_ACCESS_LOG", raising=False)
    application = create_app(build_host(), contributions=[AccessLogLayer], discover=False)
    async with run(application) as running:
        await running.client.get("/")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (record,) = [json.loads(line) for line in lines]
    assert ("request", 200) == (record["event"], record["status"])
    assert abs((datetime.fromisoformat(record["time"]) - datetime.now(UTC)).total_seconds()) < 60
    assert record["time"].endswith("Z")


async def test_standard_output_is_looked_up_when_the_layer_is_made(monkeypatch) -> None:
    """A replacement of standard output that is there before the start gets the lines."""
    application = create_app(
        build_host(),
        contributions=[AccessLogLayer],
        discover=False,
        overrides={WebSettings: make_settings(access_log="text")},
    )
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stdout", replaced)
    async with run(application) as running:
        await running.client.get("/")
    assert 1 == replaced.getvalue().count(" GET / 200 ")


async def test_a_component_may_provide_a_sink(capsys) -> None:
    """A sink is found by type, like any resource, and gets all records."""
    records = RecordList()

    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def shipping() -> AsyncIterator[AccessSink]:
        yield records

    application = create_app(
        build_host(), contributions=[AccessLogLayer, shipping], discover=False, overrides={WebSettings: make_settings()}
    )
    async with run(application) as running:
        await running.client.get("/")
    assert ["/"] == [record.path for record in records]
    assert '"event":"request"' not in capsys.readouterr().out


async def test_a_sink_that_fails_harms_no_request(caplog) -> None:
    """Lost records are counted, and logged once for many. A sink that works again is used again."""
    sink = FailingSink()
    built, layer = build_stack(answer_status, sink)
    with caplog.at_level(logging.WARNING, "bandmaster.web.access"):
        await send_requests(built, 5)
        sink.error = None
        await send_requests(built, 2)
    assert (5, 2) == (layer.lost, sink.written)
    assert ['the access log can\'t be written error="OSError: disk full" lost=1 lost_in_all=1'] == (caplog.messages)


async def test_warnings_of_losses_are_limited(caplog) -> None:
    """A minute after a warning there is another, of further losses or of a sink that works again."""
    sink = FailingSink()
    built, layer = build_stack(answer_status, sink)
    with caplog.at_level(logging.WARNING, "bandmaster.web.access"):
        await send_requests(built, 3)
        layer._next_warning = 0.0
        await send_requests(built, 3)
        layer._next_warning = 0.0
        sink.error = None
        await send_requests(built, 3)
    assert [
        'the access log can\'t be written error="OSError: disk full" lost=1 lost_in_all=1',
        'the access log can\'t be written error="OSError: disk full" lost=3 lost_in_all=4',
        "the access log is written again lost=2 lost_in_all=6",
    ] == caplog.messages


async def test_a_warning_that_fails_harms_no_request(monkeypatch) -> None:
    """A full disk may keep the warning from being written, too."""

    def fail(*arguments):
        raise OSError

    monkeypatch.setattr(logging.Logger, "handle", fail)
    built, layer = build_stack(answer_status, FailingSink())
    await send_requests(built, 2)
    assert 2 == layer.lost


@pytest.mark.parametrize(
    "fields", [{"client": "abc"}, {"client": 7}, {"client": ()}, {"raw_path": 7}, {"method": None}, {"endpoint": 7}]
)
async def test_a_malformed_scope_harms_no_request(fields) -> None:
    """A server or a layer with a fault may cost the record, and not the request."""
    records = RecordList()
    built, layer = build_stack(answer_status, records)
    await Rig(lambda app: built).http(answer_status, path="/200", **fields).run()
    assert 1 == len(records) + layer.lost
