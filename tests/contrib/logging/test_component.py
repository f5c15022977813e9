"""The log as a component of an application."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator

import anyio
import pytest
import structlog
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.contrib.logging.logs import Captured, find_log_threads, make_settings, replaced_stderr

from bandmaster.contrib.logging import Log, LogSettings, access_events, redactor
from bandmaster.contrib.logging import logging as log_component
from bandmaster.contrib.logging.component import find_idle_settings, server_access_log
from bandmaster.contrib.web import AccessLogLayer, RequestContextLayer, WebSettings
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Redactor, create_app, get_logger, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

PARTS = [redactor, log_component, access_events]
log = structlog.get_logger("shop")


def make_kernel(*parts, **values) -> Kernel:
    overrides = {LogSettings: make_settings(**values)}
    return Kernel(contributions=[*PARTS, *parts], discover=False, overrides=overrides)


async def home(request) -> PlainTextResponse:
    log.info("native")
    logging.getLogger("shop").info("standard")
    return PlainTextResponse("home")


def make_app(*parts, web=None, **values):
    settings = {LogSettings: make_settings(**values), WebSettings: WebSettings(**web or {})}
    routes = [Route("/", home), Route("/metrics", home)]
    return create_app(
        Starlette(routes=routes),
        contributions=[*PARTS, AccessLogLayer, RequestContextLayer, *parts],
        discover=False,
        overrides=settings,
    )


@pytest.mark.requirement("OB-1", "OB-10")
async def test_every_event_of_a_request_has_its_id() -> None:
    """Events of structlog, of the standard library and the closing one have the id that the client got."""
    captured = Captured()
    with replaced_stderr(captured):
        async with run(make_app()) as running:
            response = await running.client.get("/")
    events = [captured.one(event) for event in ("native", "standard", "request")]
    assert [response.headers["x-request-id"]] * 3 == [event["request_id"] for event in events]
    assert ("bandmaster.web.access", 200, "/") == (events[2]["logger"], events[2]["status"], events[2]["route"])


async def test_the_log_is_first_and_last(capsys) -> None:
    """The events of every other component's start and stop are in the log."""

    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def early() -> AsyncIterator[None]:
        """Start as early as a component of an application can."""
        yield

    captured = Captured()
    with replaced_stderr(captured):
        async with make_kernel(early).running():
            pass
    events = [(event["event"], event.get("component")) for event in captured.events]
    assert ("component started", "early") in events
    assert ("component stopped", "early") in events


@pytest.mark.requirement("P-11")
async def test_logging_is_as_before_after_the_stop() -> None:
    """Handlers, levels, structlog and threads are as they were; the next application begins anew."""
    root = logging.getLogger()
    before = root.level, list(root.handlers), structlog.is_configured()
    for _ in range(2):
        captured = Captured()
        with replaced_stderr(captured):
            async with make_kernel(level="debug").running():
                log.debug("heard")
                assert 1 == len(find_log_threads())
        assert 1 == len(captured.named("heard"))
        assert before == (root.level, list(root.handlers), structlog.is_configured())
        assert [] == find_log_threads()


async def test_two_applications_live_together() -> None:
    """Of two applications in one process the newer one has the log; when it stops, the older one has it again."""
    first, second = Captured(), Captured()
    with replaced_stderr(first):
        async with make_kernel().running():
            log.info("one")
            with replaced_stderr(second):
                async with make_kernel().running():
                    log.info("two")
            log.info("three")
    assert ["one", "three"] == [e["event"] for e in first.events if e["logger"] == "shop"]
    assert ["two"] == [e["event"] for e in second.events if e["logger"] == "shop"]


async def test_a_start_that_fails_restores_everything() -> None:
    """A component that fails rolls the log back as well, after its failure was written."""

    @lifespan(band=LifespanBand.SERVICES)
    async def broken() -> AsyncIterator[None]:
        """Fail."""
        raise LookupError("no such queue, token=planted")
        yield

    root = logging.getLogger()
    before = root.level, list(root.handlers)
    captured = Captured()
    with replaced_stderr(captured), pytest.raises(Exception, match="broken"):
        async with make_kernel(broken).running():
            pass
    assert before == (root.level, list(root.handlers))
    assert captured.named("component start failed")
    assert "planted" not in captured.text


async def test_pytest_keeps_its_log(caplog, capsys) -> None:
    """With nothing set, a test run has the records in caplog, and no line is printed that wasn't before."""
    settings = {LogSettings: LogSettings()}
    kernel = Kernel(contributions=PARTS, discover=False, overrides=settings)
    handlers = list(logging.getLogger().handlers)
    async with kernel.running() as resources:
        assert not resources[Log].is_active
        assert handlers == logging.getLogger().handlers
        assert not structlog.is_configured()
        logging.getLogger("shop").warning("seen")
        assert [] == find_log_threads()
    assert ["seen"] == [record.message for record in caplog.records if record.name == "shop"]
    assert "" == "".join(capsys.readouterr())


async def test_never_leaves_logging_alone() -> None:
    """LOG_TAKE_OVER=never is for programs that configure logging themselves; the redactor is there all the same."""
    handlers = list(logging.getLogger().handlers)
    async with make_kernel(take_over="never", redact_keys=["patient"]).running() as resources:
        assert handlers == logging.getLogger().handlers
        assert resources[Redactor].is_secret("patient")


async def test_other_parts_hear_every_event() -> None:
    """A component may ask for the log, and listen to it."""
    heard = []

    @lifespan(band=LifespanBand.SERVICES)
    async def listener(log: Log) -> AsyncIterator[None]:
        """Listen."""
        with log.listening(lambda event: heard.append((event.logger, event.event))):
            yield

    captured = Captured()
    with replaced_stderr(captured):
        async with make_kernel(listener).running():
            log.info("one")
            get_logger("bandmaster.redis").info("two")
        log.info("three")
    assert {("shop", "one"), ("bandmaster.redis", "two")} <= set(heard)
    assert ("shop", "three") not in heard


async def test_standard_output_by_setting(capsys) -> None:
    """LOG_STREAM chooses the stream."""
    async with make_kernel(stream="stdout").running():
        log.info("one")
    out, err = capsys.readouterr()
    assert "one" in [json.loads(line)["event"] for line in out.splitlines()]
    assert "" == err


async def test_the_console_format(monkeypatch) -> None:
    """Text for people has the form of the launcher's log."""
    captured = Captured()
    with replaced_stderr(captured):
        async with make_kernel(format="console").running():
            log.warning("order lost", order=7)
    assert "warning shop: order lost order=7\n" in captured.text


@pytest.mark.requirement("OBS-L12")
async def test_a_metrics_request_is_logged_when_it_fails() -> None:
    """Scrapes and probes that succeed give no event, and those that fail do."""
    captured = Captured()
    with replaced_stderr(captured):
        async with run(make_app()) as running:
            await running.client.get("/metrics")
            await running.client.get("/health")
    assert [("/health", 404)] == [(event["path"], event["status"]) for event in captured.named("request")]


async def test_an_access_log_in_a_form_of_its_own(capsys) -> None:
    """WEB_ACCESS_LOG=json keeps the access log's own lines on standard output; the log has no second event of them."""
    captured = Captured()
    with replaced_stderr(captured):
        async with run(make_app(web={"access_log": "json"})) as running:
            await running.client.get("/")
    assert [] == captured.named("request")
    assert '"event":"request"' in capsys.readouterr().out


async def test_logging_that_is_configured_in_the_middle(monkeypatch) -> None:
    """The log notices that other code has configured logging anew, takes over again, and says so."""
    monkeypatch.setattr("bandmaster.contrib.logging.component._LOOK", 0.01)
    captured = Captured()
    root = logging.getLogger()
    before = list(root.handlers)
    with replaced_stderr(captured):
        async with make_kernel().running():
            for handler in list(root.handlers):
                if handler not in before:
                    root.removeHandler(handler)
            with anyio.fail_after(20):
                while root.handlers == before:
                    await anyio.sleep(0.01)
            logging.getLogger("shop").warning("heard again")
    assert captured.named("heard again")
    assert captured.named("logging was configured anew while the application ran, and is taken over again")


@pytest.mark.parametrize(
    ("own", "kernel", "found"),
    [
        ({}, {}, ""),
        ({"level": "debug"}, {}, ""),
        ({"level": "debug"}, {"log_level": "debug"}, ""),
        ({"level": "debug"}, {"log_level": "info"}, "LOG_LEVEL=debug is used"),
        ({"format": "json"}, {"log_format": "console"}, "LOG_FORMAT=json is used"),
        ({"take_over": "never", "level": "debug"}, {}, "LOG_TAKE_OVER is never, so these have no effect: LOG_LEVEL"),
        ({"take_over": "never", "redact_keys": ["a"]}, {}, ""),
    ],
)
def test_settings_without_effect_are_told(own, kernel, found) -> None:
    """bandmaster check names the setting that counts, and those that don't."""
    texts = [str(each) for each in find_idle_settings(LogSettings(**own), KernelSettings(**kernel))]
    assert bool(found) is bool(texts)
    assert all(text.startswith(found) for text in texts)


def test_the_launchers_stderr_is_looked_up_at_the_start(monkeypatch) -> None:
    """A replacement of standard error that is there before the start gets the lines, also without a descriptor."""
    captured = Captured()
    monkeypatch.setattr(sys, "stderr", captured.stream)

    async def main() -> None:
        async with make_kernel().running():
            log.info("one")

    anyio.run(main)
    assert captured.named("one")


@pytest.mark.parametrize(
    ("web", "server", "warns"),
    [("auto", "true", True), ("auto", "false", False), ("off", "true", False)],
)
def test_a_servers_access_log_without_effect_is_told(web, server, warns, monkeypatch) -> None:
    """bandmaster check says that the server's own lines for requests don't come."""
    monkeypatch.setenv("BANDMASTER_SERVER_ACCESS_LOG", server)
    app = make_app(web={"access_log": web})
    texts = [str(each) for each in server_access_log.check(app)]
    assert warns is bool(texts)
    assert all(text.startswith("BANDMASTER_SERVER_ACCESS_LOG has no effect") for text in texts)
