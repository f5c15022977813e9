"""The reference lists every public name under the path that programs import."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
from tests.docs.conftest import Site

from bandmaster.kernel import Event, events

PACKAGES = [
    "bandmaster.kernel",
    "bandmaster.kernel.commands",
    "bandmaster.kernel.testing",
    "bandmaster.contrib.fastapi",
    "bandmaster.contrib.http",
    "bandmaster.contrib.oidc",
    "bandmaster.contrib.oidc.testing",
    "bandmaster.contrib.persistence",
    "bandmaster.contrib.persistence.testing",
    "bandmaster.contrib.redis",
    "bandmaster.contrib.redis.testing",
    "bandmaster.contrib.taskiq",
    "bandmaster.contrib.tracing",
    "bandmaster.contrib.web",
]
PUBLIC = {*PACKAGES, "bandmaster.contrib", "bandmaster.kernel.events"}


def is_private(path: str) -> bool:
    """Whether a dotted path leads into a module that isn't public."""
    owner = "bandmaster"
    for name in path.split(".")[1:]:
        if f"{owner}.{name}" not in PUBLIC:
            package = importlib.import_module(owner)
            modules = {module.name for module in pkgutil.iter_modules(getattr(package, "__path__", []))}
            return name in modules - set(getattr(package, "__all__", ()))
        owner = f"{owner}.{name}"
    return False


@pytest.mark.requirement("XC-C3")
@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_heading(site: Site, package: str) -> None:
    """The heading of a name is the path from which programs import it."""
    headings = site.page("reference.md").headings
    names = [f"{package}.{name}" for name in importlib.import_module(package).__all__]
    assert [] == [name for name in names if name not in headings.get(name, "").split()]


def test_every_event_has_a_heading(site: Site) -> None:
    """Listeners match on the types of `bandmaster.kernel.events`."""
    headings = site.page("reference.md").headings
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
    names = [f"bandmaster.kernel.events.{kind.__name__}" for kind in kinds]
    assert [] == [name for name in names if name not in headings.get(name, "").split()]
    assert len(names) > 20


@pytest.mark.requirement("XC-C3")
def test_no_private_module_is_named(site: Site) -> None:
    """A private module can move without a change of the reference."""
    paths = set(re.findall(r"bandmaster(?:\.\w+)+", site.page("reference.md").text))
    assert paths > {"bandmaster.kernel.create_app", "bandmaster.contrib.taskiq.TaskQueue"}
    assert [] == sorted(path for path in paths if is_private(path))


@pytest.mark.parametrize(
    ("path", "private"),
    [
        ("bandmaster.kernel.lifespan", False),
        ("bandmaster.kernel.Kernel.running", False),
        ("bandmaster.lifespan", False),
        ("bandmaster.kernel.errors", True),
        ("bandmaster.kernel.errors.PlanError", True),
        ("bandmaster.contrib.web.cors.CORSLayer", True),
    ],
)
def test_private_modules_are_recognised(path: str, private: bool) -> None:
    """The test above recognises the path of a private module."""
    assert private == is_private(path)
