"""Tests of settings among the needs."""

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from tests.kernel.contributions.signatures.examples import Database, PoolSettings

from bandmaster.kernel.contributions.signatures import is_settings


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PoolSettings, True),
        (BaseSettings, True),
        (BaseModel, False),
        (Database, False),
        (list[int], False),
        (PoolSettings(), False),
        (None, False),
    ],
)
def test_settings_are_pydantic_settings(kind, expected):
    """A class that derives from BaseSettings, and nothing else."""
    assert expected == is_settings(kind)


def test_what_is_not_loaded_has_no_settings(monkeypatch):
    """No class derives from a package that nobody has imported."""
    monkeypatch.delitem(__import__("sys").modules, "pydantic_settings")
    assert not is_settings(PoolSettings)
