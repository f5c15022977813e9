"""Tests of bandmaster.kernel.discovery.loading."""

import itertools
import sys

import fastapi  # noqa: F401  # before the modules of a test are forgotten again
import pytest

from bandmaster.kernel.contributions.model import LifespanContribution, Provenance, RouteContribution
from bandmaster.kernel.discovery.loading import load, load_command
from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.errors import DiscoveryError, PlanError, Problem

HEADER = """\
from collections.abc import AsyncIterator
from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan, middleware, value
from bandmaster.kernel.contributions.model import (
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    RouteContribution,
)

@lifespan(band=LifespanBand.SERVICES, start_timeout=3)
async def database() -> AsyncIterator[str]:
    yield "up"

@middleware(band=MiddlewareBand.CONTEXT)
class Layer:
    def on_request(self, exchange): ...

routes = RouteContribution(name="routes", routes=[])
handler = ErrorHandlerContribution(name="handler", exception=ValueError, handler=print)
region = value(5, name="region")
"""
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported, and returns the module's name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(text, name=None):
        name = name or f"bandmaster_test_part_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def part(value, group="lifespan", name="audit"):
    return Found(f"bandmaster.{group}", name, value, Provenance("acme-audit", "1.2", value))


def failure(found, do=load):
    with pytest.raises(DiscoveryError) as caught:
        do(found)
    (problem,) = caught.value.problems
    assert problem.subject == found.name
    return problem, caught.value.__cause__


OFF = "switch it off with BANDMASTER_DISABLE=audit or disable={'audit'}."


def test_a_contribution_has_the_name_and_provenance_of_its_entry_point(module):
    """A contribution gets the name and provenance of the entry point, and keeps all other fields."""
    found = part(f"{module(HEADER)}:database")
    loaded = load(found)
    assert isinstance(loaded, LifespanContribution)
    assert (loaded.name, loaded.provenance, loaded.start_timeout) == ("audit", found.provenance, 3)


@pytest.mark.parametrize(
    ("group", "attribute"),
    [("middleware", "Layer"), ("routes", "routes"), ("error_handlers", "handler"), ("values", "region")],
)
def test_every_group_loads(module, group, attribute):
    """Layers, routes, error handlers and values load as components do."""
    loaded = load(part(f"{module(HEADER)}:{attribute} [extra]", group))
    assert (loaded.name, str(loaded.provenance)) == ("audit", "acme-audit 1.2")


ROUTES = """\
from fastapi import APIRouter
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

def answer(request):
    return PlainTextResponse("up")

plain = [Route("/up", answer)]
starlette = Router(plain)
fastapi = APIRouter()
fastapi.add_api_route("/up", lambda: "up")
empty = []
strange = ["/up"]
"""


@pytest.mark.parametrize("attribute", ["plain", "starlette", "fastapi"])
def test_an_entry_point_may_name_a_router(module, attribute):
    """A router, or a list of routes, is loaded as routes that have the name of the entry point."""
    found = part(f"{module(ROUTES)}:{attribute}", "routes", "shop")
    loaded = load(found)
    assert isinstance(loaded, RouteContribution)
    assert ("shop", found.provenance) == (loaded.name, loaded.provenance)
    assert ["/up"] == [route.path for route in getattr(loaded.routes, "routes", loaded.routes)]


@pytest.mark.parametrize(
    ("attribute", "kind"), [("empty", "a list"), ("strange", "a list"), ("Router", "the class Router")]
)
def test_objects_that_are_no_router(module, attribute, kind):
    """A list of other objects, and a router's class, are refused with a remedy."""
    name = module(ROUTES)
    problem, _ = failure(part(f"{name}:{attribute}", "routes"))
    assert f"{name}:{attribute} is {kind}, not a RouteContribution." in problem.message
    assert problem.hint.startswith("Make a RouteContribution of it and name that.")


def test_nested_attributes(module):
    """A dotted attribute is followed."""
    name = module(HEADER + "class Parts:\n    routes = routes\n")
    assert isinstance(load(part(f"{name}:Parts.routes", "routes")), RouteContribution)


def test_commands_are_loaded_as_they_are(module):
    """A command is loaded without a check of the type."""
    assert load_command(part(f"{module('main = 42')}:main", "commands")) == 42


def test_commands_fail_like_parts(module):
    """A command that can't be imported is reported like a part."""
    name = module("def main(): ...\n")
    problem, cause = failure(part(f"{name}:zzz", "commands"), load_command)
    assert isinstance(cause, AttributeError)
    assert str(problem) == (
        f"command 'audit' (acme-audit 1.2) can't be loaded: module {name} has no attribute 'zzz'. Or {OFF}"
    )


def test_a_module_that_raises(module, tmp_path):
    """An exception of an import is reported with type, text and place, and is the cause."""
    name = module("\ndef fail():\n    raise KeyError('boom')\nfail()\n")
    problem, cause = failure(part(f"{name}:audit"))
    assert isinstance(cause, KeyError)
    assert str(problem) == (
        f"lifespan 'audit' (acme-audit 1.2) can't be loaded: {name} can't be imported: KeyError: 'boom' "
        f"({tmp_path / name}.py:3). Or {OFF}"
    )


def test_an_error_in_a_decorator(module, tmp_path):
    """The place of an error that one of the kernel's decorators raises is the line that uses the decorator."""
    name = module(
        "from bandmaster.kernel import LifespanBand, lifespan\n"
        "@lifespan(band=LifespanBand.SERVICES, priority=999)\nasync def database():\n    yield\n"
    )
    problem, _ = failure(part(f"{name}:database"))
    assert (
        f"{name} can't be imported: ValueError: priority: 999 lies outside its band. Allowed: SERVICES 300–399 "
        f"({tmp_path / name}.py:2)." in problem.message
    )


def test_an_error_of_the_kernel_is_a_problem_of_the_part(module):
    """A module that raises an error of the kernel's is reported like any other failure, with the part's name."""
    name = module("from bandmaster.kernel import PlanError, Problem\nraise PlanError([Problem('no')])\n")
    problem, cause = failure(part(f"{name}:database"))
    assert isinstance(cause, PlanError)
    assert f"can't be loaded: {name} can't be imported: PlanError: 1 problem in the plan:" in problem.message


def test_secrets_are_masked(module):
    """The message of an exception may hold a password, which isn't shown."""
    name = module("raise OSError('pg://joe:hunter2@db')")
    problem, _ = failure(part(f"{name}:audit"))
    assert "OSError: pg://joe:**********@db (" in problem.message


def test_an_exception_without_text(module):
    """An exception without a text is named."""
    problem, _ = failure(part(f"{module('raise RuntimeError')}:audit"))
    assert "can't be imported: RuntimeError (" in problem.message


def test_a_missing_dependency(module):
    """A module with a missing dependency gives the hint to install that dependency."""
    name = module("import bandmaster_test_no_such_module\n")
    problem, cause = failure(part(f"{name}:audit"))
    assert isinstance(cause, ModuleNotFoundError)
    assert (
        "can't be imported: ModuleNotFoundError: No module named 'bandmaster_test_no_such_module' (" in problem.message
    )
    assert problem.hint == (
        f"Install what brings 'bandmaster_test_no_such_module'; `pip check` lists what is missing. Or {OFF}"
    )


@pytest.mark.parametrize("value", ["bandmaster_test_gone:audit", "bandmaster_test_gone.audit:audit"])
def test_a_missing_module_of_its_own(value):
    """An entry point of a missing module gives the hint that the installation is damaged."""
    problem, _ = failure(part(value))
    assert problem.hint.startswith("The installation is damaged, or the entry point is misspelt: reinstall")
    assert problem.message.endswith("can't be loaded: there is no module 'bandmaster_test_gone'.")


@pytest.mark.parametrize("nested", [True, False])
def test_a_missing_package_of_bandmasters(module, nested):
    """A missing package of bandmaster.contrib gives the distribution to install, instead of blaming bandmaster."""
    missing = "bandmaster.contrib.nosuch"
    name = module(f"import {missing}\n") if nested else missing
    problem, _ = failure(part(f"{name}:audit"))
    assert problem.hint == f"No distribution of bandmaster's has {missing}. Or {OFF}"


def test_a_syntax_error(module, tmp_path):
    """A syntax error is reported with file and line."""
    name = module("def f(:\n")
    problem, cause = failure(part(f"{name}:audit"))
    assert isinstance(cause, SyntaxError)
    assert f"can't be imported: SyntaxError: invalid syntax ({name}.py, line 1)." in problem.message


def test_an_import_that_exits(module, tmp_path):
    """A module that calls sys.exit() is a problem, and doesn't end the process."""
    name = module("import sys\nsys.exit(3)\n")
    problem, cause = failure(part(f"{name}:audit"))
    assert isinstance(cause, SystemExit)
    assert (
        f"{name} can't be imported: it calls sys.exit(3) when it is imported ({tmp_path / name}.py:2)."
        in problem.message
    )


def test_an_interrupt_passes(module):
    """Ctrl-C during an import interrupts the process."""
    with pytest.raises(KeyboardInterrupt):
        load(part(f"{module('raise KeyboardInterrupt')}:audit"))


def test_a_misspelt_attribute(module):
    """The nearest attribute is suggested for a misspelt one."""
    name = module(HEADER)
    problem, cause = failure(part(f"{name}:databse"))
    assert isinstance(cause, AttributeError)
    assert str(problem) == (
        f"lifespan 'audit' (acme-audit 1.2) can't be loaded: module {name} has no attribute 'databse'. "
        f"Did you mean 'database'? Or {OFF}"
    )


def test_a_wrong_attribute(module):
    """Without a near miss, the attributes that fit are listed."""
    problem, _ = failure(part(f"{module(HEADER)}:zzz"))
    assert problem.hint == f"It has 'database'. Or {OFF}"


def test_a_wrong_attribute_with_nothing_that_fits(module):
    """Without an attribute that fits there is no suggestion, and no lazy export is imported."""
    text = "def __dir__():\n    return ['lazy']\ndef __getattr__(name):\n    raise AttributeError(name)\n"
    problem, _ = failure(part(f"{module(text)}:zzz"))
    assert problem.hint == f"Or {OFF}"


def test_a_wrong_nested_attribute(module):
    """A missing attribute of an object is reported with the object's type."""
    name = module("value = 3\n")
    problem, _ = failure(part(f"{name}:value.zzz"))
    assert "an int has no attribute 'zzz'" in problem.message


@pytest.mark.parametrize("error", ["RuntimeError('late')", "SystemExit(1)"])
def test_a_lazy_export_that_fails(module, error):
    """A module that imports an attribute on first use may fail only then."""
    name = module(f"def __getattr__(name):\n    raise {error}\n")
    problem, _ = failure(part(f"{name}:audit"))
    assert "late" in problem.message or "sys.exit(1)" in problem.message


@pytest.mark.parametrize(
    ("group", "attribute", "what", "remedy"),
    [
        ("lifespan", "plain", "the function plain()", "Decorate it with @lifespan(band=...)."),
        ("lifespan", "number", "an int", "Make a LifespanContribution of it and name that."),
        ("lifespan", "os", "the module os", "Make a LifespanContribution of it and name that."),
        ("lifespan", "Layer", "a MiddlewareContribution", "It belongs into group 'bandmaster.middleware'."),
        (
            "lifespan",
            "LifespanContribution",
            "the class LifespanContribution",
            "Name one that you made of it, not the class itself.",
        ),
        ("middleware", "Plain", "the class Plain", "Decorate it with @middleware(band=...)."),
        ("middleware", "plain", "the function plain()", "Make a MiddlewareContribution of it and name that."),
        ("routes", "plain", "the function plain()", "Make a RouteContribution of it and name that."),
    ],
)
def test_objects_that_are_no_contribution_of_their_group(module, group, attribute, what, remedy):
    """An object of the wrong type is reported with the actual type, the expected type and a remedy."""
    name = module(f"{HEADER}\nimport os\nnumber = 3\ndef plain(): ...\nclass Plain: ...\n")
    problem, cause = failure(part(f"{name}:{attribute}", group))
    assert f"can't be loaded: {name}:{attribute} is {what}, not a " in problem.message
    assert problem.hint == f"{remedy} Or {OFF}"
    assert cause is None


def test_a_name_that_does_not_do(module):
    """The name of an entry point has to be valid as the name of a part."""
    problem, cause = failure(part(f"{module(HEADER)}:database", name="my audit"))
    assert isinstance(cause, ValueError)
    assert "its name doesn't do as name: expected letters" in problem.message


def test_a_malformed_entry_is_not_imported():
    """A malformed entry point is reported, and not imported."""
    bad = Found("bandmaster.lifespan", "audit", "sys:", Provenance(), problem=Problem("Malformed.", subject="audit"))
    assert failure(bad)[0].message == "Malformed."
