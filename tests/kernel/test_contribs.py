"""Tests of bandmaster.kernel.contribs."""

import tomllib
from pathlib import Path

import pytest

from bandmaster.kernel.contribs import COMMANDS, CONTRIBS, advise_module, describe_source, find_distribution

ROOT = Path(__file__).parent.parent.parent


def read(path):
    return tomllib.loads((ROOT / path / "pyproject.toml").read_text())["project"]


def test_the_contribs_of_the_repository():
    """Every contrib and every command of a contrib is known, and every contrib is an extra of bandmaster's."""
    folders = {path.parent.name for path in ROOT.glob("contrib/*/pyproject.toml")}
    assert folders == set(CONTRIBS)
    assert {
        command: folder
        for folder in sorted(folders)
        for command in read(f"contrib/{folder}")["entry-points"].get("bandmaster.commands", ())
    } == COMMANDS
    extras = read(".")["optional-dependencies"]
    assert {name: [f"bandmaster-{name}"] for name in CONTRIBS} == {name: extras[name] for name in CONTRIBS}


REDIS = "bandmaster.contrib.redis comes with bandmaster-redis: pip install 'bandmaster[redis]'."


@pytest.mark.parametrize(
    ("missing", "code", "expected"),
    [
        ("bandmaster.contrib.redis", "", REDIS),
        ("bandmaster.contrib", "from bandmaster.contrib.redis import redis", REDIS),
        ("bandmaster.contrib", "from bandmaster.contrib import redis", REDIS),
        (
            "bandmaster.contrib",
            "import x",
            (
                "The packages in bandmaster.contrib come with distributions of their own, such as bandmaster-web: pip "
                "install 'bandmaster[web]'."
            ),
        ),
        (
            "bandmaster.contrib.reddis",
            "",
            "No distribution of bandmaster's has bandmaster.contrib.reddis. Did you mean 'redis'?",
        ),
        ("bandmaster.contrib.redis.inner", "", ""),
        ("redis", "", ""),
    ],
)
def test_a_module_that_is_not_there(missing, code, expected):
    """The advice names the distribution that brings the module, and how to install it."""
    assert expected == advise_module(missing, code)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("bandmaster.contrib.redis.pool", ("bandmaster-redis", True)),
        ("redis.asyncio.client", ("bandmaster-redis", False)),
        ("redistribution", ("", False)),
        ("", ("", False)),
    ],
)
def test_the_distribution_with_a_component(module, expected):
    """A type's module tells which distribution has a component for the type, and whether that must be installed."""
    assert expected == find_distribution(module)


def test_where_a_contrib_comes_from():
    """The description names the distribution and the extra."""
    assert "bandmaster-web: pip install 'bandmaster[web]'" == describe_source("web")
