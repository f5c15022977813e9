"""TaskIQ's registry for the tests of declarations."""

import pytest
from taskiq import AsyncBroker


@pytest.fixture
def registry(monkeypatch):
    """Clear TaskIQ's registry of shared tasks, which lasts as long as the process."""
    monkeypatch.setattr(AsyncBroker, "global_task_registry", {})
