"""Metrics of several processes: the workers of a foreign server, and those of the task queue."""

import http.client
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
from tests.contrib.tracing.receiver import open_receiver

from bandmaster.contrib.redis.testing import redis_server
from bandmaster.kernel.testing import ServerUnavailable, free_port, guarded_process, skip_or_fail

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which every wait has failed."""
WEB, WORKERS = 4, 4
REQUESTS, TASKS = 40, 30


class Deployment:
    """Four web processes under uvicorn, four processes of the worker, and one endpoint for all."""

    def __init__(self, stack, folder, **settings):
        self.folder = folder
        # Not below the test's own folder: the path of a Unix socket has little room.
        self.shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metrics-")))
        self.port, self.metrics_port = free_port(), free_port()
        self.stack = stack
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "METRICS_"))},
            "METRICS_PORT": str(self.metrics_port),
            "METRICS_FOLDER": str(self.shared),
            "METRICS_QUEUE_INTERVAL": "0.2",
            "TRACING_ENABLED": "true",
            "TRACING_EXPORTER": "none",
            "TRACING_SERVICE_NAME": "metered",
            **settings,
        }

    def start(self, name, *command):
        output = self.stack.enter_context((self.folder / name).open("wb"))
        return self.stack.enter_context(
            guarded_process([sys.executable, *command], cwd=ROOT, environment=self.environment, stdout=output)
        )

    def start_web(self, processes=WEB):
        app = "tests.processes.metered:app"
        process = self.start("web", "-m", "uvicorn", app, "--port", str(self.port), "--workers", str(processes))
        self.wait(lambda: self.get("/readyz") == 200, "readiness")
        return process

    def start_worker(self, processes=WORKERS):
        command = (
            "-m",
            "bandmaster.kernel.cli",
            "worker",
            "tests.processes.metered:app",
            "--processes",
            str(processes),
        )
        return self.start("worker", *command)

    def get(self, path):
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status

    def scrape(self):
        with closing(http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=PATIENCE)) as connection:
            connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
            response = connection.getresponse()
            text = response.read().decode()
            assert response.status == 200, text
        return [sample for family in parse(text) for sample in family.samples]

    def outputs(self):
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("w*") if path.is_file())

    def wait(self, done, expected):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found = done()
                if found:
                    return found
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < end, f"waited in vain for {expected}:\n{self.outputs()}"
            time.sleep(0.05)

    def wait_workers(self, count):
        return self.wait(lambda: len(workers_of(self.scrape())) == count and self.scrape(), f"{count} processes")


def select(samples, name, **labels):
    return [one for one in samples if one.name == name and labels.items() <= one.labels.items()]


def workers_of(samples):
    return {one.labels["worker"] for one in select(samples, "bandmaster_build_info")}


def count_requests(samples):
    return sum(
        one.value for one in select(samples, "http_server_request_duration_seconds_count", http_route="/items/{id}")
    )


def count_tasks(samples):
    return sum(one.value for one in select(samples, "bandmaster_task_duration_seconds_count", outcome="done"))


@pytest.fixture
def redis_address(tmp_path):
    with ExitStack() as stack:
        try:
            server = stack.enter_context(redis_server(tmp_path))
        except ServerUnavailable as error:
            skip_or_fail(error)
        yield server.url(1)


@pytest.mark.requirement("OBS-M1", "OBS-M2", "OBS-M4")
def test_eight_processes_are_one_scrape(tmp_path, redis_address) -> None:
    """With 4 web workers and 4 task workers every scrape is whole: sums never fall, and equal what was done."""
    with ExitStack() as stack:
        deployment = Deployment(stack, tmp_path, TASKIQ_REDIS_URL=redis_address)
        deployment.start_web()
        deployment.start_worker()
        deployment.wait_workers(WEB + WORKERS)
        last = 0
        for number in range(REQUESTS):
            assert 200 == deployment.get(f"/items/{number}")
            if number < TASKS:
                assert 200 == deployment.get("/send")
            if number % 2 == 0:  # 20 scrapes in a row
                samples = deployment.scrape()
                total = count_requests(samples)
                assert (last <= total, len(workers_of(samples))) == (True, WEB + WORKERS)
                last = total
        samples = deployment.wait(
            lambda: (found := deployment.scrape()) and count_tasks(found) == TASKS and found, "the tasks"
        )
        assert REQUESTS == count_requests(samples)
        assert TASKS == sum(
            one.value for one in select(samples, "bandmaster_task_sent_total", task="tests.processes.metered:double")
        )
        everyone = {f"web-{number}" for number in range(WEB)} | {f"worker-{number}" for number in range(WORKERS)}
        for name in (
            "process_resident_memory_bytes",
            "bandmaster_component_start_duration_seconds",
            "bandmaster_budget_process",
            "target_info",
            "bandmaster_build_info",
        ):
            assert everyone == {one.labels["worker"] for one in select(samples, name)}, name
        assert everyone == {one.labels["worker"] for one in select(samples, "bandmaster_queue_messages", state="dead")}
        instances = Counter(one.labels["service_instance_id"] for one in select(samples, "target_info"))
        assert (WEB + WORKERS, 1) == (len(instances), max(instances.values()))
        assert [one for one in samples if one.exemplar is not None and one.labels.get("http_route") == "/items/{id}"]


@pytest.mark.requirement("OBS-M1")
def test_a_worker_that_is_killed(tmp_path) -> None:
    """The scrape goes on: the others answer, one of them takes the port over, and the dead one's files are removed."""
    with ExitStack() as stack:
        deployment = Deployment(stack, tmp_path)
        deployment.start_web(3)
        deployment.wait_workers(3)
        for _ in range(3):
            samples = deployment.wait_workers(3)
            before = {one.labels["service_instance_id"] for one in select(samples, "target_info")}
            # The process that serves the port, and so the one whose end matters most.
            serving = find_listener(deployment.metrics_port)
            os.kill(serving, signal.SIGKILL)
            deployment.wait(
                lambda before=before: (
                    len(
                        {one.labels["service_instance_id"] for one in select(deployment.scrape(), "target_info")}
                        - before
                    )
                    == 1
                    and len(workers_of(deployment.scrape())) == 3
                ),
                "a new process in its place",
            )
        assert {"web-0", "web-1", "web-2"} == workers_of(deployment.scrape())
        names = {path.name for path in deployment.shared.glob("*.sock")}
        assert {"web-0.sock", "web-1.sock", "web-2.sock"} == names


def find_listener(port):
    """The process that listens on a port of this machine."""
    hexadecimal = f"0100007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1] == hexadecimal and row[3] == "0A"}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(link.readlink()) in inodes for link in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue
    raise AssertionError(f"nobody listens on {port}")


@pytest.mark.requirement("OBS-M4", "OBS-T4")
def test_workers_arrive_at_a_collector_as_series_of_their_own(tmp_path) -> None:
    """Each process exports under an id of its own, made after the fork."""
    with ExitStack() as stack:
        receiver = stack.enter_context(open_receiver())
        deployment = Deployment(stack, tmp_path, METRICS_ENDPOINT=receiver.url, METRICS_INTERVAL="0.2")
        deployment.start_web(2)
        deployment.wait_workers(2)
        for number in range(20):
            deployment.get(f"/items/{number}")
        receiver.wait_for(
            lambda one: (
                len(
                    {
                        metric.resource["service.instance.id"]
                        for metric in one.metrics
                        if metric.name == "bandmaster.build.info"
                    }
                )
                == 2
            ),
            PATIENCE,
        )
        receiver.wait_for(
            lambda one: (
                sum(
                    max(point.count for metric in group for _, point in metric.points)
                    for group in group_by_process(one.metrics).values()
                )
                == 20
            ),
            PATIENCE,
        )


def group_by_process(metrics):
    groups = {}
    for metric in metrics:
        if metric.name == "http.server.request.duration":
            groups.setdefault(metric.resource["service.instance.id"], []).append(metric)
    return groups
