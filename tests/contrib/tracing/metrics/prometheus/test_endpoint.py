"""The endpoint of several processes, here several endpoints of one process."""

import http.client
import os
import socket
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from bandmaster.contrib.tracing.metrics.prometheus.endpoint import MetricsEndpoint, read_timeout
from bandmaster.contrib.tracing.metrics.prometheus.reader import ScrapeReader
from bandmaster.contrib.tracing.metrics.prometheus.shared_folder import SharedFolder
from bandmaster.kernel.testing import free_port, guarded_process

ACCEPT = "application/openmetrics-text; version=1.0.0"
PATIENCE = 20


class Worker:
    """An endpoint with metrics of its own."""

    def __init__(self, folder, **options):
        self.registry = CollectorRegistry()
        self.reader = ScrapeReader(registry=self.registry)
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.counter = self.provider.get_meter("test").create_counter("jobs")
        self.failures = []
        self.endpoint = MetricsEndpoint(
            self.reader.collect_families,
            **{"name": "web", "folder": folder, "report": self.failures.append, "timeout": PATIENCE} | options,
        )

    def close(self):
        self.endpoint.close()
        self.provider.shutdown()


@pytest.fixture
def start(tmp_path):
    """Makes workers that share a folder, and ends them."""
    workers = []

    def start_worker(*, joins=True, **options):
        worker = Worker(**{"folder": SharedFolder(tmp_path, private=False)} | options)
        workers.append(worker)
        if joins:
            worker.endpoint.join()
        return worker

    yield start_worker
    for worker in workers:
        worker.close()


def read(text):
    """The values of the counter by worker, and the numbers of processes by state."""
    samples = [sample for family in parse(text.decode()) for sample in family.samples]
    jobs = {sample.labels["worker"]: sample.value for sample in samples if sample.name == "jobs_total"}
    asked = {sample.labels["state"]: sample.value for sample in samples if sample.name == "bandmaster_scrape_workers"}
    return jobs, asked


def scrape(worker, timeout=None):
    text, content_type = worker.endpoint.scrape(ACCEPT, timeout)
    assert content_type.startswith("application/openmetrics-text")
    return read(text)


def ask(port, path="/metrics", **headers):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path, headers={"Accept": ACCEPT, **headers})
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())


@pytest.mark.requirement("OBS-M1")
def test_each_process_collects_from_all(start) -> None:
    """Whichever process is scraped, the scrape has the metrics of all, with a label for each."""
    workers = [start(), start(name="worker"), start()]
    for number, worker in enumerate(workers, start=1):
        worker.counter.add(number)
    expected = {"web-0": 1, "worker-0": 2, "web-1": 3}
    for worker in workers:
        assert (expected, {"answered": 3, "missing": 0}) == scrape(worker)


def test_a_process_alone_has_a_label_too(start) -> None:
    """Queries and dashboards are the same with one process as with several."""
    worker = start()
    worker.counter.add(1)
    assert ({"web-0": 1}, {"answered": 1, "missing": 0}) == scrape(worker)


def test_without_a_folder(start) -> None:
    """A process that knows of no others has its number as label, which no other process has."""
    worker = start(folder=None)
    worker.counter.add(1)
    assert {f"web-{os.getpid()}": 1} == scrape(worker)[0]


@pytest.mark.requirement("OBS-M1")
def test_a_process_that_leaves(start) -> None:
    """The scrape goes on without it, and counts nobody as missing."""
    one, two = start(), start()
    one.counter.add(1)
    two.counter.add(1)
    two.endpoint.close()
    assert ({"web-0": 1}, {"answered": 1, "missing": 0}) == scrape(one)


@pytest.mark.requirement("OBS-M1")
def test_the_socket_of_a_killed_process_is_removed(start, tmp_path) -> None:
    """A scrape cleans up what a killed process has left, and counts nobody as missing."""
    worker = start()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "web-7.sock"))
    assert {"answered": 1, "missing": 0} == scrape(worker)[1]
    assert not (tmp_path / "web-7.sock").exists()


def test_a_process_that_hangs_is_missing(start, tmp_path) -> None:
    """A scrape waits for the timeout and then has the others; the number of the missing is told."""
    worker = start()
    worker.counter.add(1)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "web-9.sock"))
        hanging.listen()
        assert ({"web-0": 1}, {"answered": 1, "missing": 1}) == scrape(worker, timeout=0.2)
    assert [] == worker.failures


def test_a_process_that_fails_is_missing(start) -> None:
    """An error in one process costs its own metrics, and is reported there."""
    one, two = start(), start()

    def fail():
        raise LookupError("no metrics")

    two.endpoint._collect = fail
    assert {"answered": 1, "missing": 1} == scrape(one)[1]
    assert [LookupError] == [type(error) for error in two.failures]


@pytest.mark.requirement("OBS-M1")
def test_one_process_serves_the_port_for_all(start) -> None:
    """The second process leaves the port to the first, and takes over when that has ended."""
    port = free_port()
    one, two = start(), start()
    one.counter.add(1)
    two.counter.add(2)
    assert (port, None) == (one.endpoint.try_serve("127.0.0.1", port), two.endpoint.try_serve("127.0.0.1", port))
    assert {"web-0": 1, "web-1": 2} == read(ask(port)[1])[0]
    one.close()
    assert port == two.endpoint.try_serve("127.0.0.1", port)
    assert {"web-1": 2} == read(ask(port)[1])[0]


def test_a_port_of_another_program(start) -> None:
    """The error of the system is raised, and another process may try as well."""
    one, two = start(), start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for worker in (one, two):
            with pytest.raises(OSError, match="in use"):
                worker.endpoint.try_serve("127.0.0.1", port)


@pytest.mark.requirement("OBS-M7")
def test_a_token(start) -> None:
    """Without the right token there are no metrics."""
    worker = start(token="correct horse battery")
    port = worker.endpoint.try_serve("127.0.0.1", 0)
    wrong = [{}, {"Authorization": "Bearer correct horse"}, {"Authorization": "Basic correct horse battery"}]
    for headers in wrong:
        status, body, found = ask(port, **headers)
        assert (401, "Bearer", False) == (status, found["WWW-Authenticate"], b"jobs" in body)
    assert 200 == ask(port, Authorization="bearer correct horse battery")[0]
    assert 404 == ask(port, "/")[0]


def test_the_format_follows_the_accept_header(start) -> None:
    """Prometheus asks for OpenMetrics; others get the older text."""
    port = start().endpoint.try_serve("127.0.0.1", 0)
    assert ask(port)[2]["Content-Type"].startswith("application/openmetrics-text")
    assert ask(port, Accept="*/*")[2]["Content-Type"].startswith("text/plain; version=0.0.4")


def test_a_failing_scrape_is_answered(start) -> None:
    """The client gets a 500 without details, and the operators the error."""
    worker = start()
    port = worker.endpoint.try_serve("127.0.0.1", 0)

    def fail():
        raise LookupError("secret")

    worker.endpoint._collect = fail
    status, body, _ = ask(port)
    assert (500, b"failed\n", [LookupError]) == (status, body, [type(error) for error in worker.failures])


@pytest.mark.requirement("OBS-M2")
def test_metrics_of_prometheus_client_are_served_too(start) -> None:
    """What libraries register with prometheus-client's registry is in the scrape, with the label of the process."""
    worker = start()
    Counter("theirs", "Theirs.", registry=worker.registry).inc(5)
    text = worker.endpoint.scrape(ACCEPT)[0]
    assert b'theirs_total{worker="web-0"} 5.0' in text


def test_a_failing_collector_of_a_library_is_left_out(start) -> None:
    """The metrics of the application are served all the same, and the failure is reported once a scrape."""
    reported = []

    class Failing:
        def collect(self):
            raise RuntimeError("no")

    worker = start()
    worker.reader._registry = Failing()
    worker.reader._report = lambda *report: reported.append(report)
    worker.counter.add(1)
    assert {"web-0": 1} == scrape(worker)[0]
    assert [("the registry of prometheus-client", "a collector failed: RuntimeError")] == reported


def test_concurrent_scrapes(start) -> None:
    """Many scrapes at once of several processes are all whole, and no value falls."""
    workers = [start() for _ in range(4)]
    errors, stop = [], threading.Event()

    def count():
        while not stop.is_set():
            for worker in workers:
                worker.counter.add(1)

    def scrape_often(worker):
        last = 0
        for _ in range(10):
            jobs, asked = scrape(worker)
            total = sum(jobs.values())
            if total < last or asked["missing"] or len(jobs) != 4:
                errors.append((last, total, asked))
            last = total

    for worker in workers:
        worker.counter.add(1)
    counting = threading.Thread(target=count)
    counting.start()
    scraping = [threading.Thread(target=scrape_often, args=[worker]) for worker in workers]
    for thread in scraping:
        thread.start()
    for thread in scraping:
        thread.join()
    stop.set()
    counting.join()
    assert [] == errors


FORK = """
import os, sys, time
from pathlib import Path
from bandmaster.contrib.tracing.metrics.prometheus.endpoint import MetricsEndpoint
from bandmaster.contrib.tracing.metrics.prometheus.shared_folder import SharedFolder
endpoint = MetricsEndpoint(list, name="web", folder=SharedFolder(Path(sys.argv[1]), private=False))
endpoint.join()
assert endpoint.try_serve("127.0.0.1", int(sys.argv[2]))
if os.fork() == 0:
    print("forked", flush=True)
    time.sleep(1000)
time.sleep(1000)
"""


@pytest.mark.requirement("OBS-T4", "OBS-M1")
def test_a_forked_child_holds_nothing(start, tmp_path) -> None:
    """A child that the application has forked, and that outlives it, keeps neither the port nor the slot."""
    port = free_port()
    command = [sys.executable, "-c", FORK, str(tmp_path), str(port)]
    with guarded_process(command, stdout=subprocess.PIPE) as process:
        assert b"forked\n" == process.stdout.readline()
        process.kill()
        process.wait()
        worker = start()
        assert ("web-0", port) == (worker.endpoint.name, worker.endpoint.try_serve("127.0.0.1", port))
        assert {"answered": 1, "missing": 0} == scrape(worker)[1]
        process.stdout.close()


@pytest.mark.parametrize(
    ("header", "most", "expected"),
    [
        (None, 5, 5),
        ("10", 5, 5),
        ("1", 5, 0.8),
        ("0", 5, 5),
        ("-1", 5, 5),
        ("soon", 5, 5),
        ("nan", 5, 5),
        ("inf", 5, 5),
    ],
)
def test_the_timeout_of_prometheus(header, most, expected) -> None:
    """A scrape ends before Prometheus gives it up."""
    assert expected == read_timeout(header, most)
