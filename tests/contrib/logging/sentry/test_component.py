"""The component: settings, start, stop, outages, and other clients of the SDK."""

import subprocess
import sys
import time

import pytest
import sentry_sdk
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.contrib.logging.sentry.receiver import PATIENCE
from tests.contrib.logging.sentry.reporting import (
    LOG_PARTS,
    SENTRY_PARTS,
    WEB_PARTS,
    make_app,
    make_kernel,
    silenced,
)
from tests.logged import capture_logs

from bandmaster.contrib.logging import SentrySettings
from bandmaster.contrib.logging.sentry.checks import find_unused_settings
from bandmaster.contrib.logging.sentry.component import find_missing_extra
from bandmaster.kernel import create_app
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("OBS-T1")
@pytest.mark.parametrize("mode", ["hang", "503"])
async def test_the_stop_ends_within_the_deadline(receiver, mode):
    """A server that hangs or refuses holds the stop for no longer than the deadline, and the loss is told."""
    receiver.mode = mode
    with capture_logs() as logs:
        kernel = make_kernel(receiver, take_over="never", flush_timeout=1)
        async with kernel.running():
            for number in range(20):
                sentry_sdk.capture_message(f"lost {number}")
            began = time.monotonic()
        took = time.monotonic() - began
    receiver.close()
    assert took < 1 + PATIENCE / 4  # the deadline, on a busy machine
    (told,) = [line for line in logs if line["event"] == "errors weren't sent to Sentry"]
    assert told["waiting"] or told["lost"]


async def test_a_stop_loses_nothing(receiver):
    """Events that wait are sent before the stop."""
    with silenced():
        async with make_kernel(receiver, flush_timeout=30).running():
            for number in range(50):
                sentry_sdk.capture_message(f"kept {number}")
    assert {f"kept {number}" for number in range(50)} == {event["message"] for event in receiver.events}


async def test_an_outage_is_told_once(receiver):
    """The first error that can't be sent is told, and the number of all of them at the stop."""
    receiver.mode = "503"
    with capture_logs() as logs:
        async with make_kernel(receiver, take_over="never", flush_timeout=30).running():
            for number in range(5):
                sentry_sdk.capture_message(f"lost {number}")
    assert 1 == len([line for line in logs if line["event"] == "an error can't be sent to Sentry"])
    assert [5] == [line["lost"] for line in logs if line["event"] == "errors weren't sent to Sentry"]


async def test_the_client_from_before_has_its_place_again(receiver):
    """A client that the program has made is replaced while the application runs, with a warning."""
    scope = sentry_sdk.get_global_scope()
    before = scope.client
    own = sentry_sdk.Client(default_integrations=False, auto_enabling_integrations=False)
    scope.set_client(own)
    try:
        with capture_logs() as logs:
            async with make_kernel(receiver, take_over="never").running():
                assert sentry_sdk.get_client() is not own
        assert sentry_sdk.get_client() is own
    finally:
        own.close()
        scope.set_client(before)
    assert 1 == len([line for line in logs if line["event"].startswith("sentry_sdk.init was called before")])


async def test_two_applications_in_one_process(receiver):
    """Each application has its turn, one after the other and one inside the other."""
    with silenced():
        for number in range(2):
            async with make_kernel(receiver).running():
                sentry_sdk.capture_message(f"first {number}")
                async with make_kernel(receiver).running():
                    sentry_sdk.capture_message(f"inner {number}")
                sentry_sdk.capture_message(f"second {number}")
    assert not sentry_sdk.get_client().is_active()
    expected = {f"{name} {number}" for name in ("first", "inner", "second") for number in range(2)}
    assert expected == {event["message"] for event in receiver.events}


@pytest.mark.requirement("OBS-S2")
async def test_no_byte_of_a_body_is_read(receiver):
    """Handlers that read the body themselves, also below a mount, get all of it, and the event has none of it."""

    async def read_raw(scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    async def read_form(request):
        async with request.form() as form:
            return PlainTextResponse(str(len(await form["file"].read())))

    async def fail_unread(request):
        raise LookupError("nobody read the body")

    routes = [
        *[Mount("/raw", read_raw), Route("/form", read_form, methods=["POST"])],
        Route("/fail", fail_unread, methods=["POST"]),
    ]
    with silenced():
        async with run(make_app(receiver, Starlette(routes=routes)), raise_app_exceptions=False) as running:
            body = b"planted-body" * 10_000
            raw = await running.client.post("/raw/", content=body)
            form = await running.client.post("/form", files={"file": ("a.txt", body)})
            failed = await running.client.post("/fail", content=body)
    assert (str(len(body)), str(len(body)), 500) == (raw.text, form.text, failed.status_code)
    assert 1 == len(receiver.events)
    assert "planted-body" not in receiver.text


async def test_without_a_dsn_there_is_nothing():
    """Without a DSN the plan leaves all parts out, and the SDK isn't imported."""
    app = create_app(Starlette(), contributions=[*LOG_PARTS, *WEB_PARTS, *SENTRY_PARTS], discover=False)
    names = {part.name for part in (*app.plan.components, *app.plan.layers)}
    assert not {name for name in names if "sentry" in name}
    code = "import sys, bandmaster.contrib.logging.sentry.component; print('sentry_sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "False\n" == done.stdout


@pytest.mark.parametrize(
    "dsn",
    ["https://host/1", "https://key@host", "https://key@host/", "ftp://key@host/1", "key", "https://key@host:x/1"],
)
def test_a_malformed_dsn(dsn):
    """A DSN without a key or a project is refused, and isn't repeated."""
    with pytest.raises(ValidationError, match="expected https://KEY@HOST/PROJECT") as raised:
        SentrySettings(dsn=dsn)
    assert "key@host" not in str(raised.value)


@pytest.mark.parametrize("dsn", ["", "  ", None])
def test_an_empty_dsn_is_none(dsn):
    """An empty variable sends no errors."""
    assert SentrySettings(dsn=dsn).dsn is None


def test_a_dsn_below_a_path():
    """A server may stand below a path."""
    assert SentrySettings(dsn=" https://key@host:9000/sentry/42 ").is_enabled


def test_settings_without_effect(monkeypatch):
    """The check warns of settings beside a missing DSN."""
    monkeypatch.setenv("SENTRY_RELEASE", "shop@1")
    app = create_app(Starlette(), contributions=[*LOG_PARTS, *WEB_PARTS, *SENTRY_PARTS], discover=False)
    assert ["SENTRY_RELEASE is set, but SENTRY_DSN isn't, so that no error is sent."] == list(find_unused_settings(app))


def test_a_missing_sdk(monkeypatch):
    """A DSN without the SDK is a problem of the plan that names the extra."""
    monkeypatch.setattr("bandmaster.contrib.logging.sentry.component.find_spec", lambda name: None)
    (problem,) = find_missing_extra(SentrySettings(dsn="https://key@host/1"))
    assert "pip install 'bandmaster-logging[sentry]'" in problem.hint
