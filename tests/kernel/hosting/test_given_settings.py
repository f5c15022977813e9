"""Tests of bandmaster.kernel.hosting.given_settings."""

import itertools
import sys

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel.commands import GivenSettings
from bandmaster.kernel.errors import PlanError, TargetError

_numbers = itertools.count()
SHOP = """
from collections.abc import AsyncIterator
from tests.kernel.hosting.test_given_settings import StallSettings
from bandmaster.kernel import LifespanBand, create_app, lifespan

@lifespan(band=LifespanBand.SERVICES)
async def shop(settings: StallSettings) -> AsyncIterator[None]:
    raise NotImplementedError
    yield

def app():
    return create_app(contributions=[shop], discover=False, overrides={StallSettings: StallSettings(size=7)})
"""


class StallSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GIVEN_STALL_")

    size: int = 1


class OtherSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GIVEN_OTHER_")

    size: int = 1


@pytest.fixture
def target(tmp_path, monkeypatch):
    name = f"given_settings_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("GIVEN_STALL_SIZE", "3")
    monkeypatch.setenv("GIVEN_OTHER_SIZE", "4")
    yield f"{name}:app"
    sys.modules.pop(name, None)


def test_the_settings_of_the_application(target, tmp_path):
    """Those that its code gives have precedence, and types that the plan doesn't read come from the environment."""
    given = GivenSettings(target, str(tmp_path))
    assert (7, 4) == (given.read(StallSettings).size, given.read(OtherSettings).size)


def test_the_settings_of_the_environment(target, monkeypatch):
    """Without an application the environment counts, unless BANDMASTER_APP names one."""
    assert 3 == GivenSettings(None).read(StallSettings).size
    monkeypatch.setenv("BANDMASTER_APP", target)
    assert 7 == GivenSettings(None).read(StallSettings).size


def test_what_can_not_be_read(target, monkeypatch):
    """An application that isn't there, and a variable of another form."""
    with pytest.raises(TargetError):
        GivenSettings("nothing_here:app")
    monkeypatch.setenv("GIVEN_STALL_SIZE", "large")
    with pytest.raises(PlanError, match="GIVEN_STALL_SIZE"):
        GivenSettings(None).read(StallSettings)
