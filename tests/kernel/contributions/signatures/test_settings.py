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
    """Settings are the classes that derive from BaseSettings, and no others."""
    assert expected == is_settings(kind)


def test_no_settings_without_pydantic_settings(monkeypatch):
    """No class derives from a package that hasn't been imported."""
    monkeypatch.delitem(__import__("sys").modules, "pydantic_settings")
    assert not is_settings(PoolSettings)
