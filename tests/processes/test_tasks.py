"""Workers as real processes on a real Redis: killed, stopped, blocked, supervised."""

import asyncio
import collections
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.processes import tasked
from tests.whole_lines import read_whole_lines

from bandmaster.contrib.redis.testing import redis_server
from bandmaster.contrib.taskiq import TaskIQSettings, TaskQueue
from bandmaster.contrib.taskiq.component import task_idempotency, taskiq
from bandmaster.contrib.web import request_context
from bandmaster.kernel import Kernel, KernelSettings
from bandmaster.kernel.shutdown.escalation import ECHO
from bandmaster.kernel.testing import ServerUnavailable, free_port, guarded_process, skip_or_fail

HERE = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds after which every wait has failed."""
STALL = 10.0
"""Seconds by which a busy machine may delay a redelivery."""
LEASE = 2.0
"""Seconds. A worker whose process gets no processor time for that long loses its messages."""
DURABLE = ["--appendonly", "yes", "--appendfsync", "always"]


class Deployment:
    """A Redis, worker processes, and the facts that their tasks wrote to a file."""

    def __init__(self, server, folder, guards):
        self.guards = guards
        self.server = server
        self.folder = folder
        self.facts_path = folder / "facts"
        self.processes = []
        self.url = server.url(1)

    def start(self, *command, env=None, **settings):
        """Start a process, which ends with the test."""
        output = self.folder / f"output-{len(self.processes)}"
        with output.open("wb") as file:
            process = self.guards.enter_context(
                guarded_process(
                    [sys.executable, *(command or self.command("worker"))],
                    cwd=HERE,
                    environment=self.environment(settings) | (env or {}),
                    stdout=file,
                )
            )
        process.output = output
        self.processes.append(process)
        return process

    @staticmethod
    def command(name, *arguments):
        return ["-m", "bandmaster.kernel.cli", name, "tests.processes.tasked:app", *arguments]

    def environment(self, settings):
        values = {name: value for name, value in os.environ.items() if not name.startswith(("BANDMASTER_", "TASKIQ_"))}
        ours = {"TASKIQ_REDIS_URL": self.url, "TASKIQ_LEASE": str(LEASE), "FACTS": str(self.facts_path)}
        return values | ours | {name: str(value) for name, value in settings.items()}

    def run(self, name, *arguments):
        """Run a command to the end."""
        return subprocess.run(
            [sys.executable, "-m", "bandmaster.kernel.cli", name, *arguments],
            cwd=HERE,
            env=self.environment({}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def facts(self):
        """The facts so far: process id, time, text."""
        lines = [line.split(" ", 2) for line in read_whole_lines(self.facts_path)]
        return [(int(pid), float(at), text) for pid, at, text in lines]

    def texts(self):
        return [text for _, _, text in self.facts()]

    def wait(self, done, expected, patience=PATIENCE):
        until = time.monotonic() + patience
        while not done():
            assert time.monotonic() < until, f"waited in vain for {expected}:\n{self.texts()[-20:]}\n{self.outputs()}"
            time.sleep(0.02)

    def wait_for(self, text, count=1, patience=PATIENCE):
        self.wait(lambda: self.texts().count(text) >= count, text, patience)

    def outputs(self):
        return "\n".join(process.output.read_text()[-3000:] for process in self.processes)

    def send(self, work):
        """Send tasks from this process, as an application does."""
        asyncio.run(self._send(work))

    async def _send(self, work):
        async with self.kernel().running() as resources:
            await work(resources[TaskQueue])

    def kernel(self):
        return Kernel(
            contributions=[tasked.parts[0], taskiq, task_idempotency],
            discover=False,
            role="web",
            settings=KernelSettings(),
            overrides={TaskIQSettings: TaskIQSettings(redis_url=self.url, lease=LEASE)},
        )

    def depth(self):
        async def ask():
            async with self.kernel().running() as resources:
                return await resources[TaskQueue].broker.depth()

        return asyncio.run(ask())

    def letters(self):
        async def ask():
            async with self.kernel().running() as resources:
                return await resources[TaskQueue].dead_letters.page()

        return asyncio.run(ask())

    def ready(self, count=1):
        self.wait_for("start neighbour", count)

    def release(self):
        """Let held tasks end."""
        self.facts_path.with_name(tasked.RELEASE).touch()


@pytest.fixture
def deployment(tmp_path):
    with ExitStack() as stack:
        try:
            server = stack.enter_context(redis_server(tmp_path, options=DURABLE))
        except ServerUnavailable as error:
            skip_or_fail(error)
        yield Deployment(server, tmp_path, stack)


@contextmanager
def stopping(process, number=signal.SIGTERM):
    """Signal a process, and wait for its exit code at the end of the block."""
    process.send_signal(number)
    seen = {}
    yield seen
    seen["code"] = process.wait(PATIENCE)


def sending(task, *calls):
    async def work(queue):
        for call in calls:
            await queue.send(task, *call)

    return work


@pytest.mark.requirement("TQ-1", "CF-03", "worker")
def test_a_worker_stops_when_asked(deployment):
    """A worker starts the components once, runs tasks, stops in reverse order at SIGTERM, and exits with 0."""
    process = deployment.start()
    deployment.ready()
    deployment.send(sending(tasked.mark, (1,), (2,)))
    deployment.wait_for("mark 2")
    with stopping(process) as seen:
        pass
    assert 0 == seen["code"], deployment.outputs()
    texts = deployment.texts()
    assert ("start neighbour", "stop neighbour", 1) == (texts[0], texts[-1], texts.count("start neighbour"))
    assert (0, 0) == ((depth := deployment.depth()).waiting, depth.held)


@pytest.mark.requirement("worker")
def test_a_task_runs_in_the_context_of_its_sender(deployment):
    """A task gets the tenant and the request id of the sender."""
    deployment.start()
    deployment.ready()

    async def work(queue):
        for tenant in ("north", "south"):
            with request_context(f"of-{tenant}", tenant=tenant):
                await queue.send(tasked.show_context)

    deployment.send(work)
    deployment.wait_for("context south of-south")
    deployment.wait_for("context north of-north")


@pytest.mark.requirement("delivery")
def test_the_task_of_a_killed_worker_runs_in_another(deployment):
    """A killed worker's task runs again soon after the lease has expired, though no other message arrives."""
    first = deployment.start()
    deployment.ready()
    deployment.send(sending(tasked.long, (60, "victim")))
    deployment.wait_for("begin victim")
    deployment.start()
    deployment.ready(2)
    first.kill()
    killed = time.time()
    deployment.wait_for("begin victim", 2)
    again = [at for _, at, text in deployment.facts() if text == "begin victim"][1]
    # The last renewal may have come just before the kill. Without a redelivery the task would never run again: nothing
    # else arrives.
    assert 1.3 * LEASE + STALL > again - killed


@pytest.mark.parametrize("kind", ["long", "blocking", "freezing"])
def test_a_task_that_takes_longer_than_a_lease_runs_once(deployment, kind):
    """A task longer than the lease runs once, also while blocking a thread or the event loop."""
    deployment.start()
    deployment.start()
    deployment.ready(2)
    deployment.send(sending(getattr(tasked, kind), (2.5 * LEASE, "slow")))
    deployment.wait_for("end slow")
    time.sleep(LEASE)
    assert (1, 1) == (deployment.texts().count("begin slow"), deployment.texts().count("end slow"))


@pytest.mark.requirement("worker")
def test_a_stop_releases_unstarted_tasks_and_waits_for_running_ones(deployment):
    """A stopping worker releases unstarted tasks to another worker at once, and finishes the running task."""
    # The drain lasts longer than every wait below, so only the end of the running task can end the worker.
    patient = {"BANDMASTER_DRAIN_TIMEOUT": 60, "BANDMASTER_TERMINATION_GRACE": 90}
    first = deployment.start(TASKIQ_CONCURRENCY=1, TASKIQ_PREFETCH=10, TASKIQ_LEASE=30, **patient)
    deployment.ready()
    deployment.send(sending(tasked.held, ("running",)))
    deployment.send(sending(tasked.long, *[(0.01, f"waiting-{number}") for number in range(5)]))
    deployment.wait_for("begin running")
    deployment.start(TASKIQ_LEASE=30)
    deployment.ready(2)
    with stopping(first) as seen:
        for number in range(5):
            deployment.wait_for(f"end waiting-{number}", patience=20)  # less than the lease
        deployment.release()
    assert 0 == seen["code"], deployment.outputs()
    assert 1 == deployment.texts().count("begin running") == deployment.texts().count("end running")


@pytest.mark.requirement("worker")
def test_a_task_that_outlasts_the_drain_is_released(deployment):
    """A task that outlasts the drain runs again in another worker; the exit code reports that work was cut short."""
    first = deployment.start(BANDMASTER_DRAIN_TIMEOUT=0.5, TASKIQ_LEASE=30)
    deployment.ready()
    deployment.send(sending(tasked.held, ("stubborn",)))
    deployment.wait_for("begin stubborn")
    deployment.start(TASKIQ_LEASE=30)
    deployment.ready(2)
    with stopping(first) as seen:
        deployment.wait_for("begin stubborn", 2, patience=20)  # less than the lease
    assert 128 + signal.SIGTERM == seen["code"], deployment.outputs()
    deployment.release()
    deployment.wait_for("end stubborn")
    assert 1 == deployment.texts().count("end stubborn")


def test_a_second_signal_does_not_wait(deployment):
    """A second signal ends the drain: the running task is released, and the exit code is 128 + n."""
    process = deployment.start()
    deployment.ready()
    deployment.send(sending(tasked.long, (60, "endless")))
    deployment.wait_for("begin endless")
    process.send_signal(signal.SIGTERM)
    deployment.wait(lambda: "stop requested" in process.output.read_text(), "the first signal")
    time.sleep(2 * ECHO)  # a signal shortly after another one counts as its echo
    with stopping(process, signal.SIGINT) as seen:
        pass
    assert 128 + signal.SIGINT == seen["code"], deployment.outputs()
    assert 1 == deployment.depth().held + deployment.depth().waiting


def test_a_message_that_kills_its_workers_becomes_a_dead_letter(deployment):
    """A message that kills its workers becomes a dead letter, unlike tasks beside it; a command replays the letter."""
    process = deployment.start(*deployment.command("worker", "--processes", "2"))
    deployment.ready(2)
    deployment.send(sending(tasked.poison, ()))
    deployment.send(sending(tasked.long, *[(2.5 * LEASE, f"innocent-{number}") for number in range(4)]))
    for number in range(4):
        deployment.wait_for(f"end innocent-{number}", patience=120)
    deployment.wait(lambda: bool(deployment.letters()), "a dead letter")
    (letter,) = deployment.letters()
    assert ("tests.processes.tasked:poison", "deliveries exceeded", 3) == (
        letter.task,
        letter.reason,
        letter.deliveries,
    )
    assert 3 == deployment.texts().count("poison")
    listed = json.loads(deployment.run("deadletters", "list", "--format", "json").stdout)
    assert [letter.id] == [each["id"] for each in listed["letters"]]
    shown = deployment.run("deadletters", "show", letter.id)
    assert "history" in shown.stdout, shown.stderr
    with stopping(process) as seen:
        pass
    assert 0 == seen["code"], deployment.outputs()
    assert "Sent 1 again" in deployment.run("deadletters", "replay", letter.id).stdout
    assert (0, 1) == (len(deployment.letters()), deployment.depth().waiting)
    missing = deployment.run("deadletters", "replay", letter.id)
    assert (1, True) == (missing.returncode, letter.id in missing.stderr)


def test_worker_processes_are_supervised(deployment):
    """Each process has health endpoints, a dead one is replaced, and all end when the supervisor is killed."""
    port = find_two_free_ports()
    parent = deployment.start(*deployment.command("worker", "--processes", "2", "--health-port", str(port)))
    deployment.ready(2)

    def answers(number):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{number}/readyz", timeout=2) as answer:
            return answer.status

    deployment.wait(lambda: answers(port) == answers(port + 1) == 200, "readiness")
    first, second = [pid for pid, _, text in deployment.facts() if text == "start neighbour"]
    os.kill(first, signal.SIGKILL)
    deployment.ready(3)
    deployment.wait(lambda: answers(port) == answers(port + 1) == 200, "readiness")
    parent.kill()
    parent.wait(PATIENCE)
    deployment.wait_for("stop neighbour", 2)
    third = [pid for pid, _, text in deployment.facts() if text == "start neighbour"][2]
    deployment.wait(lambda: not (is_alive(second) or is_alive(third)), "the end of both")


def test_a_wrong_configuration_is_reported_once(deployment):
    """Several processes report a wrong configuration once, with exit code 78."""
    process = deployment.start(*deployment.command("worker", "--processes", "3"), TASKIQ_CONCURRENCY="none")
    assert 78 == process.wait(PATIENCE)
    assert 1 == process.output.read_text().count("TASKIQ_CONCURRENCY"), process.output.read_text()


def test_an_unreachable_server_fails_the_start(deployment):
    """The exit code is 70, and the error shows the variable without the password."""
    process = deployment.start(TASKIQ_REDIS_URL=f"redis://user:hunter2@127.0.0.1:{free_port()}")
    assert 70 == process.wait(PATIENCE)
    output = process.output.read_text()
    assert ("TASKIQ_REDIS_URL" in output, "hunter2" in output) == (True, False), output


def test_a_worker_needs_a_shared_queue(deployment):
    """A worker without a shared queue exits with 78 and names the variable to set."""
    process = deployment.start(TASKIQ_REDIS_URL="")
    assert 78 == process.wait(PATIENCE)
    assert "Set TASKIQ_REDIS_URL" in process.output.read_text()


@pytest.mark.requirement("TQ-4")
def test_two_schedulers_send_once(deployment):
    """Two schedulers send each firing once, also while one of them is killed."""

    def firings():
        return [text for text in deployment.texts() if text.startswith("tick ")]

    # With a lease that can't expire here: a redelivery would run a firing a second time, too.
    deployment.start(TASKIQ_LEASE=60)
    schedulers = [deployment.start(*deployment.command("scheduler")) for _ in range(2)]
    deployment.ready(3)
    deployment.wait(lambda: len(firings()) >= 3, "three firings")
    schedulers[0].kill()
    before = len(firings())
    deployment.wait(lambda: len(firings()) >= before + 2, "two more firings")
    with stopping(schedulers[1]) as seen:
        pass
    assert 0 == seen["code"], deployment.outputs()
    assert sorted(set(firings())) == sorted(firings())


def test_under_taskiqs_own_command(deployment):
    """``taskiq worker`` with this package's broker and receiver runs the kernel's worker in each process."""
    receiver = ["--receiver", "bandmaster.contrib.taskiq:KernelReceiver", "--workers", "2"]
    process = deployment.start("-m", "taskiq", "worker", "tests.processes.tasked:broker", *receiver)
    deployment.ready(2)
    deployment.send(sending(tasked.mark, *[(number,) for number in range(20)]))
    for number in range(20):
        deployment.wait_for(f"mark {number}")
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    deployment.wait_for("stop neighbour", 2)


@pytest.mark.requirement("delivery")
def test_no_task_is_lost(deployment):
    """Each of 1200 tasks has its effect, though workers are killed and the server is restarted.

    A task that ran twice was with a worker that was killed, or ended while the server was away.
    """
    count = 1200
    chance = random.Random(7)
    few = {"TASKIQ_CONCURRENCY": 5}
    workers = [deployment.start(**few) for _ in range(3)]
    deployment.ready(3)
    dead = set()
    sending_all = threading.Thread(
        target=deployment.send, args=(sending(tasked.mark, *[(number,) for number in range(count)]),)
    )
    sending_all.start()
    away = (0.0, 0.0)
    for kill in range(8):
        time.sleep(chance.uniform(0.3, 0.8))
        victim = chance.randrange(3)
        workers[victim].kill()
        dead.add(workers[victim].pid)
        workers[victim] = deployment.start(**few)
        if kill == 4:
            down = time.time()
            deployment.server.restart(kill=True)
            away = (down - LEASE, time.time() + LEASE)
    sending_all.join()

    def missing():
        return set(range(count)) - {int(text.split()[1]) for text in deployment.texts() if text.startswith("mark ")}

    deployment.wait(lambda: not missing(), "every task", 180)
    deployment.wait(lambda: (deployment.depth().waiting, deployment.depth().held) == (0, 0), "an empty queue")
    taken, done = collections.defaultdict(list), collections.defaultdict(list)
    for pid, at, text in deployment.facts():
        kind, _, number = text.partition(" ")
        if kind in ("take", "mark"):
            (taken if kind == "take" else done)[int(number)].append((pid, at))
    # Otherwise the test would prove nothing: no worker would have been killed in the middle of a task.
    assert sum(len(seen) for seen in taken.values()) > sum(len(seen) for seen in done.values())
    twice = {number: seen for number, seen in done.items() if len(seen) > 1}
    assert {} == {
        number: seen
        for number, seen in twice.items()
        if seen[0][0] not in dead and not away[0] <= seen[0][1] <= away[1]
    }
    assert [] == deployment.letters()
    print(f"{count} tasks, {len(dead)} workers killed, one restart: {len(twice)} ran to their end twice")


def find_two_free_ports():
    """Find two neighbouring free ports, and return the first."""
    while True:
        port = free_port()
        with socket.socket() as neighbour, suppress(OSError, OverflowError):
            neighbour.bind(("127.0.0.1", port + 1))
            return port


def is_alive(pid):
    """Whether a process runs; a zombie doesn't."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
