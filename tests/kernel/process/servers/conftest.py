"""Settings of the servers under test."""

import os

import pytest

from bandmaster.kernel.process.servers.settings import ServerSettings


@pytest.fixture
def settings(monkeypatch):
    """Make settings that don't depend on the environment."""
    for name in list(os.environ):
        if name.startswith("BANDMASTER_"):
            monkeypatch.delenv(name)
    return lambda **fields: ServerSettings(**{"port": 0, **fields})
