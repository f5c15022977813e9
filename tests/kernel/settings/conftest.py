"""An environment without settings."""

import os

import pytest


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for variable in os.environ:
        if variable.startswith(("BANDMASTER_", "TEST_")):
            monkeypatch.delenv(variable)
