"""Settings of the servers under test."""

import os

import pytest

from bandmaster.kernel.process.servers.settings import ServerSettings


@pytest.fixture
def settings(monkeypatch):
    """Settings of this test, whatever the environment holds."""
    for name in list(os.environ):
        if name.startswith("BANDMASTER_"):
            monkeypatch.delenv(name)
    return lambda **fields: ServerSettings(**{"port": 0, **fields})
