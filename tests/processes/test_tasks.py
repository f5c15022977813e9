"""Workers as processes of their own, on a real server: killed, stopped, frozen, many."""

import asyncio
import collections
import itertools
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

from bandmaster.contrib.redis.testing import redis_server
from bandmaster.contrib.taskiq import TaskIQSettings, TaskQueue
from bandmaster.contrib.taskiq.component import task_idempotency, taskiq
from bandmaster.contrib.web import request_context
from bandmaster.kernel import Kernel, KernelSettings
from bandmaster.kernel.testing import ServerUnavailable, free_port, guarded_process, skip_or_fail

HERE = Path(__file__).parents[2]
PATIENCE = 30.0
LEASE = 1.0
KEPT = ["--appendonly", "yes", "--appendfsync", "always"]

pytestmark = [pytest.mark.requirement("worker", "delivery")]


class House:
    """A Redis, worker processes, and what they have noted down."""

    def __init__(self, server, folder, guards):
        self.guards = guards
        self.server = server
        self.folder = folder
        self.facts_path = folder / "facts"
        self.processes = []
        self.url = server.url(1)

    def start(self, *command, env=None, **settings):
        """Start a process of ours; it ends with the test."""
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
        """A command, from its start to its end."""
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
        """What happened: process, time, text."""
        if not self.facts_path.exists():
            return []
        lines = [line.split(" ", 2) for line in self.facts_path.read_text().splitlines()]
        return [(int(pid), float(at), text) for pid, at, text in lines]

    def texts(self):
        return [text for _, _, text in self.facts()]

    def wait(self, done, what, patience=PATIENCE):
        until = time.monotonic() + patience
        while not done():
            assert time.monotonic() < until, f"waited in vain for {what}:\n{self.texts()[-20:]}\n{self.outputs()}"
            time.sleep(0.02)

    def wait_for(self, text, count=1, patience=PATIENCE):
        self.wait(lambda: self.texts().count(text) >= count, text, patience)

    def outputs(self):
        return "\n".join(process.output.read_text()[-3000:] for process in self.processes)

    def send(self, work):
        """Send tasks from this process, as an application would."""
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


@pytest.fixture
def house(tmp_path):
    with ExitStack() as stack:
        try:
            server = stack.enter_context(redis_server(tmp_path, options=KEPT))
        except ServerUnavailable as error:
            skip_or_fail(error)
        yield House(server, tmp_path, stack)


@contextmanager
def stopping(process, number=signal.SIGTERM):
    """Signal a process, and see how it ends."""
    began = time.monotonic()
    process.send_signal(number)
    seen = {}
    yield seen
    seen["code"] = process.wait(PATIENCE)
    seen["took"] = time.monotonic() - began


def sending(task, *calls):
    async def work(queue):
        for call in calls:
            await queue.send(task, *call)

    return work


@pytest.mark.requirement("TQ-1", "CF-03")
def test_a_worker_stops_when_asked(house):
    """It starts once what belongs to it, runs what comes, stops in reverse, and ends with 0."""
    process = house.start()
    house.ready()
    house.send(sending(tasked.mark, (1,), (2,)))
    house.wait_for("mark 2")
    with stopping(process) as seen:
        pass
    assert 0 == seen["code"], house.outputs()
    texts = house.texts()
    assert ("start neighbour", "stop neighbour", 1) == (texts[0], texts[-1], texts.count("start neighbour"))
    assert (0, 0) == ((depth := house.depth()).waiting, depth.held)


def test_the_context_travels(house):
    """Tenant and request id of who sent it."""
    house.start()
    house.ready()

    async def work(queue):
        for tenant in ("north", "south"):
            with request_context(f"of-{tenant}", tenant=tenant):
                await queue.send(tasked.whose)

    house.send(work)
    house.wait_for("whose south of-south")
    house.wait_for("whose north of-north")


def test_what_a_killed_worker_held_is_run_by_another(house):
    """Soon after its lease has run out, though nothing else arrives."""
    first = house.start()
    house.ready()
    house.send(sending(tasked.long, (60, "victim")))
    house.wait_for("begin victim")
    house.start()
    house.ready(2)
    first.kill()
    killed = time.time()
    house.wait_for("begin victim", 2)
    again = [at for _, at, text in house.facts() if text == "begin victim"][1]
    # A third for renewal that may just have come, and what a busy machine takes.
    assert 1.3 * LEASE + 1.0 > again - killed


@pytest.mark.parametrize("kind", ["long", "blocking", "freezing"])
def test_a_task_that_takes_longer_than_a_lease_runs_once(house, kind):
    """Whether it waits, blocks a thread, or blocks the event loop itself; another worker stands by."""
    house.start()
    house.start()
    house.ready(2)
    house.send(sending(getattr(tasked, kind), (4 * LEASE, "slow")))
    house.wait_for("end slow")
    time.sleep(LEASE)
    assert (1, 1) == (house.texts().count("begin slow"), house.texts().count("end slow"))


def test_a_stop_hands_back_what_has_not_begun_and_waits_for_the_rest(house):
    """Another worker has it at once; what runs comes to its end."""
    first = house.start(TASKIQ_CONCURRENCY=1, TASKIQ_PREFETCH=10, TASKIQ_LEASE=30)
    house.ready()
    house.send(sending(tasked.long, (1.5, "running"), *[(0.01, f"waiting-{number}") for number in range(5)]))
    house.wait_for("begin running")
    house.start(TASKIQ_LEASE=30)
    house.ready(2)
    with stopping(first) as seen:
        for number in range(5):
            house.wait_for(f"end waiting-{number}", patience=5)
    assert 0 == seen["code"], house.outputs()
    assert 1 == house.texts().count("begin running") == house.texts().count("end running")


def test_a_stop_that_takes_too_long_gives_the_rest_to_others(house):
    """After the drain's time; the exit code says that work was cut short, and another worker runs it again."""
    first = house.start(BANDMASTER_DRAIN_TIMEOUT=0.5, TASKIQ_LEASE=30)
    house.ready()
    house.send(sending(tasked.long, (10, "stubborn")))
    house.wait_for("begin stubborn")
    house.start(TASKIQ_LEASE=30)
    house.ready(2)
    with stopping(first) as seen:
        house.wait_for("begin stubborn", 2, patience=5)
    assert 128 + signal.SIGTERM == seen["code"], house.outputs()
    assert 4 > seen["took"]
    house.wait_for("end stubborn")
    assert 1 == house.texts().count("end stubborn")


def test_a_second_signal_does_not_wait(house):
    """What runs is given back, and 128 + n tells it."""
    process = house.start()
    house.ready()
    house.send(sending(tasked.long, (60, "endless")))
    house.wait_for("begin endless")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    with stopping(process, signal.SIGINT) as seen:
        pass
    assert 128 + signal.SIGINT == seen["code"], house.outputs()
    assert 1 == house.depth().held + house.depth().waiting


def test_what_kills_its_worker_becomes_a_dead_letter(house):
    """After so many deliveries; what ran beside it doesn't share its fate. The command shows it, and sends it again."""
    process = house.start(*house.command("worker", "--processes", "2"))
    house.ready(2)
    house.send(sending(tasked.poison, ()))
    house.send(sending(tasked.long, *[(2.5 * LEASE, f"innocent-{number}") for number in range(4)]))
    for number in range(4):
        house.wait_for(f"end innocent-{number}", patience=60)
    house.wait(lambda: bool(house.letters()), "a dead letter")
    (letter,) = house.letters()
    assert ("tests.processes.tasked:poison", "deliveries exceeded", 3) == (
        letter.task,
        letter.reason,
        letter.deliveries,
    )
    assert 3 == house.texts().count("poison")
    listed = json.loads(house.run("deadletters", "list", "--format", "json").stdout)
    assert [letter.id] == [each["id"] for each in listed["letters"]]
    shown = house.run("deadletters", "show", letter.id)
    assert "history" in shown.stdout, shown.stderr
    with stopping(process) as seen:
        pass
    assert 0 == seen["code"], house.outputs()
    assert "Sent 1 again" in house.run("deadletters", "replay", letter.id).stdout
    assert (0, 1) == (len(house.letters()), house.depth().waiting)
    missing = house.run("deadletters", "replay", letter.id)
    assert (1, True) == (missing.returncode, letter.id in missing.stderr)


def test_processes_are_one(house):
    """Each has its health endpoint, one that dies is replaced, and all end with the one that started them, killed even."""
    port = _two_free_ports()
    parent = house.start(*house.command("worker", "--processes", "2", "--health-port", str(port)))
    house.ready(2)

    def answers(number):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{number}/readyz", timeout=2) as answer:
            return answer.status

    house.wait(lambda: answers(port) == answers(port + 1) == 200, "readiness")
    first, second = [pid for pid, _, text in house.facts() if text == "start neighbour"]
    os.kill(first, signal.SIGKILL)
    house.ready(3)
    house.wait(lambda: answers(port) == answers(port + 1) == 200, "readiness")
    parent.kill()
    parent.wait(PATIENCE)
    house.wait_for("stop neighbour", 2)
    third = [pid for pid, _, text in house.facts() if text == "start neighbour"][2]
    house.wait(lambda: not (_lives(second) or _lives(third)), "the end of both")


def test_processes_that_cannot_be_configured(house):
    """It is said once, with 78."""
    process = house.start(*house.command("worker", "--processes", "3"), TASKIQ_CONCURRENCY="none")
    assert 78 == process.wait(PATIENCE)
    assert 1 == process.output.read_text().count("TASKIQ_CONCURRENCY"), process.output.read_text()


def test_a_server_that_is_not_there(house):
    """70, and the address without the password."""
    process = house.start(TASKIQ_REDIS_URL=f"redis://user:hunter2@127.0.0.1:{free_port()}")
    assert 70 == process.wait(PATIENCE)
    output = process.output.read_text()
    assert ("TASKIQ_REDIS_URL" in output, "hunter2" in output) == (True, False), output


def test_a_worker_without_a_queue(house):
    """It says what it would need."""
    process = house.start(TASKIQ_REDIS_URL="")
    assert 78 == process.wait(PATIENCE)
    assert "Set TASKIQ_REDIS_URL" in process.output.read_text()


@pytest.mark.requirement("TQ-4")
def test_two_schedulers_send_once(house):
    """Each second's task runs once, whoever sends it, also while one of them is killed."""
    house.start()
    schedulers = [house.start(*house.command("scheduler")) for _ in range(2)]
    house.ready(3)
    house.wait_for("tick", 3)
    schedulers[0].kill()
    before = house.texts().count("tick")
    house.wait_for("tick", before + 2)
    with stopping(schedulers[1]) as seen:
        pass
    assert 0 == seen["code"], house.outputs()
    times = [at for _, at, text in house.facts() if text == "tick"]
    assert len(times) == len({round(at) for at in times}) or _at_least(0.5, times), times


def test_under_taskiqs_own_command(house):
    """``taskiq worker`` with our broker and receiver runs the kernel's worker in each of its processes."""
    receiver = ["--receiver", "bandmaster.contrib.taskiq:KernelReceiver", "--workers", "2"]
    process = house.start("-m", "taskiq", "worker", "tests.processes.tasked:broker", *receiver)
    house.ready(2)
    house.send(sending(tasked.mark, *[(number,) for number in range(20)]))
    for number in range(20):
        house.wait_for(f"mark {number}")
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    house.wait_for("stop neighbour", 2)


def test_nothing_is_lost(house):
    """A thousand tasks, workers killed at random, the server restarted: each has its effect. What ran twice had been
    with a worker that was killed, or was done while the server was away.
    """
    count = 1200
    chance = random.Random(7)
    few = {"TASKIQ_CONCURRENCY": 5}
    workers = [house.start(**few) for _ in range(3)]
    house.ready(3)
    dead = set()
    sending_all = threading.Thread(
        target=house.send, args=(sending(tasked.mark, *[(number,) for number in range(count)]),)
    )
    sending_all.start()
    away = (0.0, 0.0)
    for kill in range(8):
        time.sleep(chance.uniform(0.3, 0.8))
        victim = chance.randrange(3)
        workers[victim].kill()
        dead.add(workers[victim].pid)
        workers[victim] = house.start(**few)
        if kill == 4:
            down = time.time()
            house.server.restart(kill=True)
            away = (down - LEASE, time.time() + LEASE)
    sending_all.join()

    def missing():
        return set(range(count)) - {int(text.split()[1]) for text in house.texts() if text.startswith("mark ")}

    house.wait(lambda: not missing(), "every task", 90)
    house.wait(lambda: (house.depth().waiting, house.depth().held) == (0, 0), "an empty queue")
    taken, done = collections.defaultdict(list), collections.defaultdict(list)
    for pid, at, text in house.facts():
        kind, _, number = text.partition(" ")
        if kind in ("take", "mark"):
            (taken if kind == "take" else done)[int(number)].append((pid, at))
    # Otherwise nothing was shown: workers were killed with tasks in their hands.
    assert sum(len(seen) for seen in taken.values()) > sum(len(seen) for seen in done.values())
    twice = {number: seen for number, seen in done.items() if len(seen) > 1}
    assert {} == {
        number: seen
        for number, seen in twice.items()
        if seen[0][0] not in dead and not away[0] <= seen[0][1] <= away[1]
    }
    assert [] == house.letters()
    print(f"{count} tasks, {len(dead)} workers killed, one restart: {len(twice)} ran to their end twice")


def _two_free_ports():
    """The first of two neighbours."""
    while True:
        port = free_port()
        with socket.socket() as neighbour, suppress(OSError, OverflowError):
            neighbour.bind(("127.0.0.1", port + 1))
            return port


def _at_least(seconds, times):
    times = sorted(times)
    return all(later - earlier >= seconds for earlier, later in itertools.pairwise(times))


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
