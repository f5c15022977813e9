"""Fixtures of the kernel's tests."""

import logging
import os
import signal

import pytest
from tests.logged import HandlersWithoutPytest

from bandmaster.kernel.shutdown.stop_signals import STOP_SIGNALS


@pytest.fixture
def left_as_it_was(monkeypatch, tmp_path):
    """Let a test run a kernel in this process: without the environment's settings, and with the handlers restored.

    The log is in the format for people.
    """
    for name in list(os.environ):
        if name.startswith(("BANDMASTER_", "NOTIFY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(logging.getLogger(), "handlers", HandlersWithoutPytest())
    monkeypatch.setenv("BANDMASTER_LOG_FORMAT", "console")
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    assert before == {number: signal.getsignal(number) for number in before}
