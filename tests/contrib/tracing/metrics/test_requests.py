"""The metrics of requests, streams and WebSockets."""

import itertools

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.contrib.tracing.metrics.requests import KNOWN_METHODS, RequestMetrics


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Measured:
    """Request metrics with everything that they have recorded."""

    def __init__(self):
        self.clock = Clock()
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.metrics = RequestMetrics(self.provider, clock=self.clock)

    def points(self, metric):
        """The data points of one metric of the catalogue."""
        data = self.reader.get_metrics_data()
        found = [
            one
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric.name
        ]
        return [point for one in found for point in one.data.data_points]

    def point(self, metric):
        """The only data point of a metric."""
        (point,) = self.points(metric)
        return point

    def request(self, *messages, seconds=0.0, method="GET", end=None, **scope):
        """Measure one request that sends the first of these messages at once, and the last one after some seconds."""
        measurement = self.metrics.started({"type": "http", "method": method, "http_version": "1.1", **scope})
        for message in messages[:1]:
            measurement.observe(message)
        self.clock.now += seconds
        for message in messages[1:]:
            measurement.observe(message)
        self.metrics.ended(measurement, **({"status": 200, "route": "/items/{id}"} | (end or {})))
        return measurement


@pytest.fixture
def measured():
    return Measured()


def start(status=200, **headers):
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def body(data=b"", *, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.mark.requirement("P-16", "OB-5")
def test_the_duration_has_the_labels_of_the_conventions(measured) -> None:
    """The names and the unit are those of OpenTelemetry's stable conventions for HTTP servers."""
    measured.request(start(content_length="2"), body(b"ok"), seconds=0.25)
    point = measured.point(catalogue.REQUEST_DURATION)
    expected = {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/items/{id}",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert (expected, 1, 0.25) == (point.attributes, point.count, point.sum)
    assert ("http.server.request.duration", "s") == (catalogue.REQUEST_DURATION.name, catalogue.REQUEST_DURATION.unit)


@pytest.mark.requirement("OBS-M6")
def test_the_boundaries_are_those_of_the_conventions(measured) -> None:
    """The buckets are made for seconds: 5 ms to 10 s."""
    measured.request()
    expected = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert expected == tuple(measured.point(catalogue.REQUEST_DURATION).explicit_bounds)


def test_an_error_is_a_label(measured) -> None:
    """A failed request has the type of its error, and the status that the client got."""
    measured.request(end={"status": 500, "error_type": "shop.OutOfStock"})
    attributes = measured.point(catalogue.REQUEST_DURATION).attributes
    assert ("shop.OutOfStock", 500) == (attributes["error.type"], attributes["http.response.status_code"])


def test_a_request_without_response_and_route_has_no_such_labels(measured) -> None:
    """The client left before there was a status, and no route had matched."""
    measured.request(end={"status": None, "route": None})
    attributes = measured.point(catalogue.REQUEST_DURATION).attributes
    assert set() == {"http.response.status_code", "http.route", "error.type"} & set(attributes)


@pytest.mark.requirement("OBS-M3")
def test_clients_cannot_make_series(measured) -> None:
    """100 000 requests with different paths, hosts, methods, schemes and versions make a bounded number of series."""
    for number in range(100_000):
        measured.request(
            method=f"M{number}",
            scheme=f"s{number}",
            http_version=f"v{number}",
            path=f"/items/{number}",
            headers=[(b"host", b"h%d.example" % number)],
            server=(f"h{number}", number),
            client=(f"10.0.0.{number}", number),
            query_string=b"%d" % number,
        )
    assert 1 == len(measured.points(catalogue.REQUEST_DURATION))
    assert 1 == len(measured.points(catalogue.ACTIVE_REQUESTS))
    assert 100_000 == measured.point(catalogue.REQUEST_DURATION).count
    assert "_OTHER" == measured.point(catalogue.REQUEST_DURATION).attributes["http.request.method"]


@pytest.mark.requirement("OBS-M3")
def test_every_label_is_in_the_catalogue(measured) -> None:
    """No metric has a label that its entry doesn't name, whatever the requests are."""
    outcomes = itertools.product((None, 200, 500), (None, "/a"), (None, "E"))
    for status, route, error in outcomes:
        end = {"status": status, "route": route, "error_type": error}
        measured.request(end=end)
        measured.request(start(content_type="text/event-stream"), body(b"x", more=True), end=end)
        measurement = measured.metrics.started({"type": "websocket"})
        measurement.observe({"type": "websocket.send", "text": "x"})
        measurement.observe({"type": "websocket.close", "code": 1000})
        measured.metrics.ended(measurement, **end)
    for metric in catalogue.ALL:
        for point in measured.points(metric):
            assert set(point.attributes) <= set(metric.labels), metric.name


def test_known_methods_are_labels_of_their_own(measured) -> None:
    """Each known method is a label; methods are compared with case, as RFC 9110 (9.1) has it."""
    for method in [*KNOWN_METHODS, "get"]:
        measured.request(method=method)
    found = {point.attributes["http.request.method"] for point in measured.points(catalogue.REQUEST_DURATION)}
    assert {*KNOWN_METHODS, "_OTHER"} == found


def test_active_requests_rise_and_fall(measured) -> None:
    """A request counts as active from its start until its end, also if the end is reported twice."""
    one = measured.metrics.started({"type": "http", "method": "GET"})
    two = measured.metrics.started({"type": "http", "method": "GET"})
    assert 2 == measured.point(catalogue.ACTIVE_REQUESTS).value
    measured.metrics.ended(one, status=200)
    measured.metrics.ended(one, status=200)
    measured.metrics.ended(two, status=500, error_type="500")
    assert 0 == measured.point(catalogue.ACTIVE_REQUESTS).value
    assert 2 == sum(point.count for point in measured.points(catalogue.REQUEST_DURATION))


def test_background_tasks_are_no_part_of_the_duration(measured) -> None:
    """The duration ends with the last byte; work that an application does for itself afterwards doesn't count."""
    measurement = measured.metrics.started({"type": "http", "method": "GET"})
    measurement.observe(start(content_length="2"))
    measured.clock.now += 1
    measurement.observe(body(b"ok"))
    measured.clock.now += 60
    measured.metrics.ended(measurement, status=200)
    assert 1 == measured.point(catalogue.REQUEST_DURATION).sum


@pytest.mark.requirement("OBS-M6")
def test_a_stream_counts_until_its_response_began(measured) -> None:
    """A stream of an hour isn't a request of an hour: the two times are in metrics of their own."""
    measurement = measured.metrics.started({"type": "http", "method": "GET", "http_version": "2"})
    measured.clock.now += 0.25
    measurement.observe(start(content_type="text/event-stream"))
    measured.clock.now += 2
    measurement.observe(body(b": hello\n\n", more=True))
    assert 1 == measured.point(catalogue.ACTIVE_STREAMS).value
    measured.clock.now += 3600
    measurement.observe(body(b"data: 1\n\n", more=True))
    measured.metrics.ended(measurement, status=200, route="/events")
    assert 0.25 == measured.point(catalogue.REQUEST_DURATION).sum
    assert 2.25 == measured.point(catalogue.STREAM_FIRST_BYTE).sum
    assert 3602.25 == measured.point(catalogue.STREAM_DURATION).sum
    assert 0 == measured.point(catalogue.ACTIVE_STREAMS).value
    assert "/events" == measured.point(catalogue.STREAM_DURATION).attributes["http.route"]


@pytest.mark.parametrize(
    "messages",
    [
        [start(), body(b"a", more=True), body(b"b")],
        [start(content_type="text/event-stream; charset=utf-8"), body(b"all at once")],
        [start(content_type="Text/Event-Stream")],
        [start(), body(b"", more=True)],
    ],
    ids=["in parts", "events at once", "events without any", "an empty first part"],
)
@pytest.mark.requirement("OBS-M6")
def test_streams(measured, messages) -> None:
    """A body of unknown length in several parts is a stream, and so are events."""
    measured.request(*messages, seconds=60)
    assert 60 == measured.point(catalogue.STREAM_DURATION).sum
    assert 0 == measured.point(catalogue.REQUEST_DURATION).sum
    assert 0 == measured.point(catalogue.ACTIVE_STREAMS).value


@pytest.mark.parametrize(
    ("method", "messages"),
    [
        ("GET", [start(content_length="2"), body(b"a", more=True), body(b"b")]),
        ("GET", [start(), body(b"whole")]),
        ("GET", [start(304), body(b"", more=True), body()]),
        ("HEAD", [start(content_type="text/event-stream"), body(b"", more=True), body()]),
        ("GET", [{"type": "http.response.start", "status": 200}, body(b"no headers at all")]),
        ("GET", [start(), {"type": "http.response.pathsend", "path": "/file"}]),
        ("GET", []),
    ],
    ids=["known length", "one part", "not modified", "HEAD", "no headers", "a file", "no response"],
)
@pytest.mark.requirement("OBS-M6")
def test_no_streams(measured, method, messages) -> None:
    """A body of known length, in one part or none isn't a stream: its whole time counts."""
    measured.request(*messages, method=method, seconds=3)
    assert [] == measured.points(catalogue.STREAM_DURATION)
    assert 3 == measured.point(catalogue.REQUEST_DURATION).sum


def test_a_stream_that_fails_before_its_first_byte(measured) -> None:
    """A stream that ends without a byte has a length of life and no time to the first byte."""
    measured.request(start(content_type="text/event-stream"), seconds=2, end={"error_type": "OSError"})
    assert [] == measured.points(catalogue.STREAM_FIRST_BYTE)
    assert "OSError" == measured.point(catalogue.STREAM_DURATION).attributes["error.type"]


def test_a_websocket(measured) -> None:
    """A WebSocket has a length of life, messages in both directions and a close code, and is no request."""
    measurement = measured.metrics.started({"type": "websocket", "scheme": "wss", "http_version": "1.1"})
    assert 1 == measured.point(catalogue.ACTIVE_WEBSOCKETS).value
    measurement.observe({"type": "websocket.accept"})
    for _ in range(3):
        measurement.observe_received({"type": "websocket.receive", "text": "?"})
        measurement.observe({"type": "websocket.send", "text": "!"})
    measurement.observe({"type": "websocket.send", "text": "bye"})
    measurement.observe_received({"type": "websocket.disconnect", "code": 1001})
    measured.clock.now += 90
    measured.metrics.ended(measurement, status=101, route="/chat/{room}")
    point = measured.point(catalogue.WEBSOCKET_DURATION)
    expected = {
        "url.scheme": "wss",
        "http.route": "/chat/{room}",
        "http.response.status_code": 101,
        "close_code": "1001",
    }
    assert (expected, 90) == (point.attributes, point.sum)
    directions = {
        point.attributes["network.io.direction"]: point.value for point in measured.points(catalogue.WEBSOCKET_MESSAGES)
    }
    assert {"transmit": 4, "receive": 3} == directions
    assert 0 == measured.point(catalogue.ACTIVE_WEBSOCKETS).value
    assert [] == measured.points(catalogue.REQUEST_DURATION)


@pytest.mark.requirement("OBS-M3")
def test_close_codes_are_bounded(measured) -> None:
    """Clients choose codes from 3000 up freely; such codes are one label."""
    for code in (1000, 1005, 3000, 4999, 70000):
        measurement = measured.metrics.started({"type": "websocket"})
        measurement.observe_received({"type": "websocket.disconnect", "code": code})
        measured.metrics.ended(measurement, status=101)
    found = {point.attributes["close_code"] for point in measured.points(catalogue.WEBSOCKET_DURATION)}
    assert {"1000", "1005", "_OTHER"} == found


def test_the_first_close_code_counts(measured) -> None:
    """Servers report a disconnect after the application's own close, with a code of their own."""
    measurement = measured.metrics.started({"type": "websocket"})
    measurement.observe({"type": "websocket.close", "code": 1008})
    measurement.observe_received({"type": "websocket.disconnect", "code": 1006})
    measured.metrics.ended(measurement, status=101)
    assert "1008" == measured.point(catalogue.WEBSOCKET_DURATION).attributes["close_code"]


def test_a_provider_that_makes_nothing() -> None:
    """The API's provider without an SDK takes everything."""
    metrics = RequestMetrics(NoOpMeterProvider())
    measurement = metrics.started({"type": "http", "method": "GET"})
    metrics.ended(measurement, status=200)
