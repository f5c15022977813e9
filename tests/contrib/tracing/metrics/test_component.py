"""The provider of meters of a running application, and its export to a collector."""

import threading
from contextlib import ExitStack

import anyio
import pytest
from opentelemetry.metrics import MeterProvider
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.contrib.tracing.metrics.served import PARTS, make_app
from tests.contrib.tracing.receiver import open_receiver
from tests.logged import capture_logs

from bandmaster.contrib.tracing import OpenTelemetrySettings, TracingSettings
from bandmaster.contrib.tracing.metrics import global_provider, metrics_settings
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.kernel import Context, Kernel, KernelSettings, LifespanBand, PlanError, Restart, lifespan
from bandmaster.kernel.events import ComponentStopped
from bandmaster.kernel.testing import free_port, run

pytestmark = pytest.mark.anyio
SLOW = 3600.0
"""Seconds between two exports, so that the only one is that of the stop."""


def make_kernel(kernel=None, **settings):
    return Kernel(
        contributions=PARTS,
        discover=False,
        role="web",
        settings=KernelSettings(**kernel or {}),
        overrides={
            MetricsSettings: MetricsSettings(**settings),
            OpenTelemetryMetricsSettings: OpenTelemetryMetricsSettings(),
            OpenTelemetrySettings: OpenTelemetrySettings(),
            TracingSettings: TracingSettings(service_name="shop"),
        },
    )


def find_metric(receiver, name):
    return [metric for metric in receiver.metrics if metric.name == name]


def export_threads():
    return [one for one in threading.enumerate() if one.name == "OtelPeriodicExportingMetricReader"]


async def wait_for_threads():
    """Wait until every thread of an export has ended, as it does even under a collector that hangs."""
    with anyio.fail_after(20):
        while export_threads():
            await anyio.sleep(0.01)


@pytest.mark.requirement("OB-5", "P-16", "P-17")
async def test_metrics_arrive_at_a_collector(receiver) -> None:
    """The stop exports what was measured, by the names of the conventions, with the service and the process."""
    host = Starlette(routes=[Route("/items/{id}", lambda request: PlainTextResponse("ok"))])
    async with run(make_app(host, endpoint=receiver.url, interval=SLOW)) as running:
        await running.client.get("/items/1")
    (metric,) = find_metric(receiver, "http.server.request.duration")
    ((attributes, point),) = metric.points
    assert ("s", "histogram", 1) == (metric.unit, metric.kind, point.count)
    assert ("/items/{id}", 200) == (attributes["http.route"], attributes["http.response.status_code"])
    assert "shop" == metric.resource["service.name"]
    assert metric.resource["service.instance.id"]
    states = {
        (attributes["component"], attributes["state"]): point.as_int
        for attributes, point in find_metric(receiver, "bandmaster.component.state")[0].points
    }
    assert (1, 0) == (states["runtime_metrics", "stopped"], states["runtime_metrics", "running"])
    assert not export_threads()


async def test_metrics_are_exported_again_and_again(receiver) -> None:
    """The interval is that of the setting."""
    async with run(make_app(Starlette(), endpoint=receiver.url, interval=0.05)):
        await anyio.to_thread.run_sync(receiver.wait_for_exports, 3)


@pytest.mark.requirement("OBS-T11")
async def test_headers_and_compression(receiver) -> None:
    """The collector gets the headers of the setting."""
    headers = SecretStr("api-key=s3cret%2Cvalue")
    async with run(make_app(Starlette(), endpoint=receiver.url, headers=headers, compression="gzip", interval=SLOW)):
        pass
    (export,) = receiver.exports
    assert ("/v1/metrics", "s3cret,value", "gzip") == (
        export.path,
        export.headers["api-key"],
        export.headers["content-encoding"],
    )


@pytest.mark.parametrize("mode", ["hang", "503", "away"])
@pytest.mark.requirement("OBS-T1", "OB-6")
async def test_a_stop_within_its_deadline(mode) -> None:
    """Whatever the collector does, the stop of the component takes no longer than its timeout and a little."""
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{free_port()}"
        if mode != "away":
            url = stack.enter_context(open_receiver(mode)).url
        app = make_app(Starlette(), endpoint=url, interval=SLOW, stop_timeout=1)
        seen = []
        with capture_logs("") as logs:
            async with run(app) as running:
                running.kernel.listen(seen.append)
            await wait_for_threads()
    told = [one for one in logs if "export" in one["event"]]
    assert ["metrics can't be exported"] == [one["event"] for one in told]
    (stopped,) = [event for event in seen if isinstance(event, ComponentStopped) and event.component == "metrics"]
    # The export alone would take ten seconds; the deadline is one, and the rest is for a busy machine. Nothing but the
    # one event is logged: the exporter's own records are stopped until its thread has ended.
    assert stopped.own < 5


@pytest.mark.requirement("OBS-T3")
async def test_an_outage_is_told_once(receiver) -> None:
    """One event tells that the export fails, and one that it works again; the exporter's own records are stopped."""
    receiver.mode = "400"
    with capture_logs("") as logs:
        async with run(make_app(Starlette(), endpoint=receiver.url, interval=0.05)):
            await anyio.to_thread.run_sync(receiver.wait_for_exports, 4)
            receiver.mode = "ok"
            await anyio.to_thread.run_sync(receiver.wait_for, lambda one: one.metrics)
    told = [one["event"] for one in logs if "export" in one["event"]]
    assert ["metrics can't be exported", "metrics are exported again"] == told


@pytest.mark.requirement("OBS-T3", "OBS-T1")
async def test_requests_do_not_wait_for_a_collector_that_hangs() -> None:
    """Exports are made in another thread, so that a hanging one keeps no request."""
    with open_receiver("hang") as receiver:
        host = Starlette(routes=[Route("/", lambda request: PlainTextResponse("ok"))])
        app = make_app(host, endpoint=receiver.url, interval=0.05, stop_timeout=0.2)
        async with run(app) as running:
            await anyio.to_thread.run_sync(receiver.wait_for_exports, 1)
            with anyio.fail_after(20):
                for _ in range(50):
                    assert 200 == (await running.client.get("/")).status_code
        await wait_for_threads()


@pytest.mark.requirement("OB-8")
async def test_with_nothing_set_there_are_no_metrics() -> None:
    """The plan has no part of metrics, nothing provides a provider, and no thread runs."""
    async with run(make_app(Starlette())) as running:
        assert MeterProvider not in running.resources
        assert not {"metrics", "metrics_endpoint", "runtime_metrics"} & {part.name for part in running.plan.components}
        assert not export_threads()


async def test_services_and_probes_are_observed(receiver) -> None:
    """Restarts of a service and a failing probe are metrics."""
    failures = []

    @lifespan(band=LifespanBand.SERVICES, name="shaky")
    async def shaky(context: Context):
        async def work():
            failures.append(1)
            if len(failures) < 3:
                raise OSError("again")

        async def probe():
            raise OSError("down")

        context.supervise(work, restart=Restart(initial_delay=0, jitter=0))
        context.add_probe("shaky", probe, critical=False)
        yield

    async with run(make_app(Starlette(), parts=[shaky], endpoint=receiver.url, interval=SLOW)) as running:
        with anyio.fail_after(20):
            while len(failures) < 3:
                await anyio.sleep(0.01)
        await running.client.get("/readyz")
    ((attributes, point),) = find_metric(receiver, "bandmaster.service.restarts")[0].points
    assert ({"component": "shaky", "service": "work"}, 2) == (attributes, point.as_int)
    ((attributes, point),) = find_metric(receiver, "bandmaster.probe.failing")[0].points
    assert ({"probe": "shaky"}, 1) == (attributes, point.as_int)


async def test_budgets_are_metrics(receiver) -> None:
    """The budget of one process, of all, and the limit."""

    @lifespan(band=LifespanBand.SERVICES, name="pool", budget={"postgres": 15})
    async def pool():
        yield

    settings = KernelSettings(processes=4, limits={"postgres": 97})
    from bandmaster.kernel import create_app

    app = create_app(
        Starlette(),
        contributions=[*PARTS, pool],
        discover=False,
        role="web",
        settings=settings,
        overrides={MetricsSettings: MetricsSettings(endpoint=receiver.url, interval=SLOW)},
    )
    async with run(app):
        pass
    found = {
        name: find_metric(receiver, f"bandmaster.budget.{name}")[0].points[0][1].as_int
        for name in ("process", "total", "limit")
    }
    assert {"process": 15, "total": 60, "limit": 97} == found


@pytest.mark.parametrize(
    ("settings", "warns"),
    [({"interval": 5}, True), ({}, False), ({"enabled": False, "interval": 5}, False), ({"port": 9464}, False)],
)
def test_settings_without_metrics_are_warned_of(settings, warns) -> None:
    """``bandmaster check`` names settings that nothing reads, because there are no metrics."""
    found = list(metrics_settings.check(make_app(Starlette(), **settings)))
    assert warns == any("there are no metrics, so these have no effect: METRICS_INTERVAL" in one for one in found)


def test_the_plan_says_where_metrics_go() -> None:
    """The plan names the collector, the endpoints and the variables that don't count, and no secret."""
    kernel = make_kernel(
        endpoint="http://team:s3cret@collector:4318",
        port=9464,
        application_path="/metrics",
        token=SecretStr("0123456789abcdef"),
        interval=5,
    )
    facts = kernel.plan.by_name["metrics"].facts
    assert (
        (
            "metrics go to http://collector:4318/v1/metrics (METRICS_ENDPOINT) by http/protobuf "
            "every 5 s (METRICS_INTERVAL)"
        ),
        "Prometheus scrapes http://127.0.0.1:9464/metrics, with a token",
        "Prometheus scrapes /metrics on the application's port, with a token",
    ) == facts


@pytest.mark.parametrize(
    ("kernel", "settings", "message"),
    [
        ({}, {"enabled": True}, "metrics are made and go nowhere"),
        ({}, {"endpoint": "http://c", "token": SecretStr("0123456789abcdef")}, "METRICS_TOKEN can't have an effect"),
        ({}, {"endpoint": "http://c", "folder": "/run/shop"}, "METRICS_FOLDER can't have an effect"),
        (
            {"processes": 4},
            {"application_path": "/metrics", "token": SecretStr("0123456789abcdef")},
            "has the metrics of one process alone",
        ),
        ({"termination_grace": 11}, {"port": 9464}, "METRICS_STOP_TIMEOUT is 3 s"),
        ({"environment": "staging"}, {"exporter": "console"}, "which production refuses"),
    ],
)
def test_settings_that_are_warned_of(kernel, settings, message) -> None:
    """``bandmaster check`` tells of each before the start."""
    assert [text for text in make_kernel(kernel, **settings).check_start() if message in text]


@pytest.mark.requirement("OB-4")
def test_the_console_is_refused_in_production() -> None:
    """Metrics on standard output would stand among the logs."""
    with pytest.raises(PlanError, match="METRICS_EXPORTER is console"):
        make_kernel({"environment": "production"}, exporter="console").check_start()


def test_a_global_provider_that_nobody_has_set_is_refused(monkeypatch) -> None:
    """The error says what to do."""
    monkeypatch.setattr(global_provider, "find_global_provider", lambda: None)
    with pytest.raises(PlanError, match="no other program has set"):
        make_kernel(provider="use_global").check_start()


@pytest.mark.requirement("OBS-T10")
async def test_the_global_provider(receiver, monkeypatch) -> None:
    """With the setting, metrics that a library makes by the global API are exported; a second run takes its turn."""
    from opentelemetry import metrics
    from opentelemetry.metrics import _internal as internals
    from opentelemetry.util._once import Once

    monkeypatch.setattr(internals, "_METER_PROVIDER", None)
    monkeypatch.setattr(internals, "_METER_PROVIDER_SET_ONCE", Once())
    for turn in ("first", "second"):
        async with run(make_app(Starlette(), endpoint=receiver.url, interval=SLOW, provider="set_global")):
            metrics.get_meter("library").create_counter(turn).add(1)
        assert find_metric(receiver, turn)
    metrics.get_meter("library").create_counter("afterwards").add(1)


@pytest.mark.requirement("OBS-T10")
async def test_a_foreign_global_provider_stays(receiver, monkeypatch) -> None:
    """What another program has set is neither replaced nor exported twice; an event says so."""
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.metrics import _internal as internals

    foreign = NoOpMeterProvider()
    monkeypatch.setattr(internals, "_METER_PROVIDER", foreign)
    with capture_logs() as logs:
        async with run(make_app(Starlette(), endpoint=receiver.url, interval=SLOW, provider="set_global")):
            pass
    assert internals._METER_PROVIDER is foreign
    assert [one for one in logs if one["event"] == "the global provider of meters is somebody else's and stays"]
    async with run(make_app(Starlette(), provider="use_global", enabled=True)) as running:
        assert running.resources[MeterProvider] is foreign
