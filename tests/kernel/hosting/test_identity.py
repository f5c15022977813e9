"""Tests of bandmaster.kernel.hosting.identity."""

import importlib.metadata

import pytest
from fastapi import FastAPI
from tests.kernel.hosting.apps import composed
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.errors import PlanError

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("FA-12", "CF-34")
def test_title_and_version_come_from_the_distribution():
    """Title and version are those of the distribution, unless set; a FastAPI host has them in the document, too."""
    installed = importlib.metadata.version("anyio")
    for settings, expected in (
        ({}, ("Mine", "9")),
        ({"distribution": "anyio"}, ("anyio", installed)),
        ({"distribution": "anyio", "title": "Set"}, ("Set", installed)),
        ({"distribution": "anyio", "title": "Set", "version": "2"}, ("Set", "2")),
        ({"version": "2"}, ("Mine", "2")),
    ):
        for made_already in (False, True):
            host = FastAPI(title="Mine", version="9")
            if made_already:
                host.openapi()
            app = composed(host=host, settings=settings)
            info = host.openapi()["info"]
            assert expected == (app.title, app.version) == (info["title"], info["version"])


def test_a_host_without_a_title_has_one():
    """An application has a title and a version, with every kind of host."""
    assert ("bandmaster", "") == (composed().title, composed().version)
    assert ("Set", "2") == (composed(settings={"title": "Set", "version": "2"}).title, "2")


@pytest.mark.requirement("FA-12", "CF-34")
def test_a_distribution_that_is_not_there_is_a_problem():
    """The problem names the variable, and the most similar distribution that is installed."""
    with pytest.raises(PlanError) as raised:
        composed(settings={"distribution": "starlete"})
    assert (
        "BANDMASTER_DISTRIBUTION is 'starlete', which isn't installed. Install it, or unset the variable. Did you mean "
        "'starlette'?"
    ) == str(raised.value.problems[0])
