"""No kind of envelope has a secret in it."""

import json

import pytest
import sentry_sdk
from sentry_sdk.crons import capture_checkin
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from tests.contrib.logging.sentry.reporting import make_kernel, silenced

from bandmaster.contrib.logging.sentry.envelopes import redact_envelope
from bandmaster.kernel import REDACTED, Redactor, get_logger

pytestmark = pytest.mark.anyio

PLANTED = "hunter2-planted"
URL = f"postgresql://shop:{PLANTED}@db/shop"


def nest(depth):
    """A secret below some levels."""
    value = {"password": PLANTED, "url": URL, "list": [("authorization", f"Bearer {PLANTED}")]}
    for number in range(depth):
        value = {f"level{number}": [value]}
    return value


def plant(scope):
    """Put secrets into everything that a scope has."""
    scope.set_tag("api_key", PLANTED)
    scope.set_tag("harmless", URL)
    scope.set_extra("deep", nest(4))
    scope.set_context("own", nest(4))
    scope.set_user({"id": "kim", "token": PLANTED, "data": nest(2)})
    scope.add_breadcrumb({"message": f"connected to {URL}", "data": nest(2)})
    scope.add_attachment(bytes=json.dumps(nest(12)).encode(), filename="state.json")
    scope.add_attachment(bytes=f"password={PLANTED}\n{URL}".encode(), filename=f"token={PLANTED}.txt")
    scope.add_attachment(bytes=b"\x00\xff" + PLANTED.encode(), filename="dump.bin")
    scope.add_attachment(bytes=PLANTED.encode("utf-16"), filename="wide.txt")


def raise_error():
    local = PLANTED  # noqa: F841
    try:
        raise LookupError(f"no route to {URL}")
    except LookupError as error:
        raise RuntimeError({"password": PLANTED}) from error


@pytest.mark.requirement("OBS-S1", "P-13")
async def test_every_kind_of_envelope(receiver):
    """Errors, messages, transactions, check-ins, breadcrumbs and attachments arrive without the planted secret."""
    with silenced():
        async with make_kernel(receiver, flush_timeout=30).running():
            with sentry_sdk.isolation_scope() as scope:
                plant(scope)
                try:
                    raise_error()
                except RuntimeError as error:
                    sentry_sdk.capture_exception(error)
                sentry_sdk.capture_message(f"failed for {URL}")
                get_logger("bandmaster.shop").error(f"no {URL}", deep=nest(3), password=PLANTED)
                spans = [{"op": "db", "description": f"connect {URL}", "data": nest(3), "span_id": "a" * 16}]
                sentry_sdk.capture_event(
                    {"type": "transaction", "transaction": "own", "spans": spans, "extra": nest(3)}
                )
                capture_checkin("nightly", status="ok", monitor_config={"password": PLANTED, "schedule": URL})
    kinds = [item.type for item in receiver.items]
    assert {"event", "transaction", "check_in", "attachment"} <= set(kinds)
    assert (3, 1, 1) == tuple(kinds.count(kind) for kind in ("event", "transaction", "check_in"))
    assert PLANTED not in receiver.text
    assert PLANTED.encode("utf-16-le") not in b"".join(receiver.bodies)
    assert {"state.json", f"token={REDACTED}"} == {
        item.headers["filename"] for item in receiver.items if item.type == "attachment"
    }
    assert REDACTED in receiver.text


@pytest.mark.requirement("OBS-S1")
def test_an_item_with_attributes_keeps_its_form():
    """Logs and metrics keep the types of their attributes; the text loses the value of a secret attribute."""
    item = {
        "body": f"login with {PLANTED} at {URL}",
        "attributes": {
            "sentry.message.parameter.password": {"value": PLANTED, "type": "string"},
            "url": {"value": URL, "type": "string"},
            "count": {"value": 3, "type": "integer"},
        },
    }
    envelope = Envelope(items=[Item(PayloadRef(json={"items": [item]}), headers={"type": "log", "item_count": 1})])
    (shown,) = redact_envelope(envelope, Redactor()).items
    (log,) = shown.payload.json["items"]
    assert f"login with {REDACTED} at postgresql://shop:{REDACTED}@db/shop" == log["body"]
    assert {"value": 3, "type": "integer"} == log["attributes"]["count"]
    assert {"value": REDACTED, "type": "string"} == log["attributes"]["sentry.message.parameter.password"]
    assert ("log", 1) == (shown.type, shown.headers["item_count"])
    assert PLANTED not in Envelope(items=[shown]).serialize().decode()


@pytest.mark.requirement("OBS-S1")
@pytest.mark.parametrize(
    "kind", ["profile", "profile_chunk", "trace_metric", "span", "replay_event", "feedback", "new"]
)
def test_kinds_that_are_not_known(kind):
    """An item of any kind is searched, as an object or as bytes of JSON; one that is no JSON is left out."""
    for payload in (PayloadRef(json=nest(3)), json.dumps(nest(3)).encode(), PLANTED.encode()):
        envelope = redact_envelope(Envelope(items=[Item(payload, type=kind)]), Redactor(max_depth=20))
        assert PLANTED.encode() not in envelope.serialize()
        assert (payload != PLANTED.encode()) == bool(envelope.items)


def test_items_of_the_sdk_itself_stay():
    """Counts of the SDK aren't changed."""
    item = Item(PayloadRef(json={"discarded_events": []}), type="client_report")
    assert [item] == redact_envelope(Envelope(items=[item]), Redactor()).items


async def test_own_patterns_and_exempt_keys(receiver):
    """The keys that the settings of the log name are redacted, and exempt ones aren't."""
    log = {"redact_keys": ("colour",), "redact_exempt": ("session_id",)}
    with silenced():
        async with make_kernel(receiver, log=log).running():
            with sentry_sdk.isolation_scope() as scope:
                scope.set_extra("colour", "red")
                scope.set_extra("session_id", "abc")
                sentry_sdk.capture_message("painted")
    (event,) = receiver.events
    assert (REDACTED, "abc") == (event["extra"]["colour"], event["extra"]["session_id"])
