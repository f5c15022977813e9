"""Sources, a broker and a clock for the tests of schedules."""

from uuid import uuid4

import pytest
from tests.contrib.taskiq.schedules.helpers import Clock, RecordingBroker

from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules, RedisSchedules


@pytest.fixture(params=["redis", "memory"])
def source(request, client):
    return RedisSchedules(client, f"{uuid4().hex}:") if request.param == "redis" else MemorySchedules()


@pytest.fixture
def broker():
    made = RecordingBroker()
    yield made
    made.executor.shutdown()


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)
