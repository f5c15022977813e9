"""A broker that records, a clock that the test sets, and values for the tests of schedules."""

import asyncio
import contextlib
import types
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import strategies as st
from taskiq import InMemoryBroker, ScheduledTask
from taskiq.cli.scheduler import run as taskiq_run
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq.message_labels import ONCE
from bandmaster.contrib.taskiq.schedules.scheduler import run_scheduler

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Inexpressible:
    def __repr__(self):
        return "a value that JSON cannot express"


INEXPRESSIBLE = Inexpressible()


def make_task(**options):
    return ScheduledTask(**{"task_name": "work", "labels": {}, "args": [], "kwargs": {}, **options})


class RecordingBroker(InMemoryBroker):
    """Keeps messages, one for each deduplication key, or raises."""

    def __init__(self, *failures):
        super().__init__()
        self.sent = []
        self.repeated = 0
        self.failures = list(failures)
        self.failing = None
        self.stuck = None

    async def kick(self, message):
        if self.stuck is not None:
            await self.stuck.wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.failing is not None:
            raise self.failing
        if message.labels[ONCE] in self.onces:
            self.repeated += 1
        else:
            self.sent.append(message)

    async def startup(self):
        pytest.fail("is its owner's to start")

    async def shutdown(self):
        pytest.fail("is its owner's to shut down")

    @property
    def onces(self):
        return [message.labels[ONCE] for message in self.sent]


class Clock:
    """A clock that runs while TaskIQ's loop sleeps, up to the time that the test allows."""

    def __init__(self, monkeypatch, start=NOON):
        self.now = self.until = start
        clock = self

        class Now(datetime):
            @classmethod
            def now(cls, tz=None):
                return clock.now

        async def sleep(seconds):
            end = clock.now + timedelta(seconds=max(0, seconds))
            # In real time, so that a real Redis can answer.
            await asyncio.sleep(0.002)
            while end > clock.until:
                await asyncio.sleep(0.001)
            clock.now = max(clock.now, end)

        monkeypatch.setattr(taskiq_run, "datetime", Now)
        monkeypatch.setattr(taskiq_run, "asyncio", types.SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))

    def __call__(self):
        return self.now

    async def pass_to(self, moment):
        """Let the time pass until a moment, and the firings until then be sent."""
        self.until = moment
        while self.now < moment:
            await anyio.sleep(0.001)
        await anyio.sleep(0.03)


@contextlib.asynccontextmanager
async def run_until_end(scheduler, interval=10):
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(run_scheduler, scheduler, interval)
            yield
            group.cancel_scope.cancel()


ZONES = st.none() | st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"])


MOMENTS = st.integers(631152000, 2524608000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


class Away:
    """A client whose commands raise ``failure``, if set."""

    def __init__(self, client):
        self.client = client
        self.failure = None

    def __getattr__(self, name):
        async def call(*arguments):
            if self.failure is not None:
                raise self.failure
            return await getattr(self.client, name)(*arguments)

        return call
