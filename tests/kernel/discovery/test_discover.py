"""Tests of bandmaster.kernel.discovery.discover."""

import itertools
import sys

import pytest

from bandmaster.kernel.discovery.discover import Discovery, discover, find, load_command
from bandmaster.kernel.discovery.lockfile import Lock
from bandmaster.kernel.errors import DiscoveryError

PART = """\
from collections.abc import AsyncIterator
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.model import RouteContribution

@lifespan(band=LifespanBand.SERVICES)
async def component() -> AsyncIterator[str]:
    yield "up"

routes = RouteContribution(name="routes", routes=[])
"""
_numbers = itertools.count()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory of installed distributions, on the path; `install` puts one there and gives its module's name."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.chdir(tmp_path)
    return folder


def install(site, name, entry_points, *, version="1.0", code=PART):
    module = f"bandmaster_test_{name}_{next(_numbers)}"
    (site / f"{module}.py").write_text(code)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{module}.py,sha256=x,1\n")
    (info / "entry_points.txt").write_text(entry_points.replace("MODULE", module))
    return module


LIFESPAN = "[bandmaster.lifespan]\n{} = MODULE:component\n"


def problems_of(site, **arguments):
    with pytest.raises(DiscoveryError) as caught:
        discover(path=[str(site)], **arguments)
    return [str(problem) for problem in caught.value.problems], caught.value.__cause__


def test_nothing_installed(site):
    """An environment without parts has no problems."""
    assert discover(path=[str(site)]) == Discovery()


def test_everything_installed(site):
    """Parts are loaded by group and name; commands are found, and loaded by the command line."""
    install(site, "acme", f"[bandmaster.routes]\nusers = MODULE:routes\n{LIFESPAN.format('b')}a = MODULE:component\n")
    module = install(site, "tools", "[bandmaster.commands]\nwork = MODULE:main\n", code="main = 42\n")
    found = discover(path=[str(site)])
    assert [(part.name, str(part.provenance)) for part in found.contributions] == [
        ("a", "acme 1.0"),
        ("b", "acme 1.0"),
        ("users", "acme 1.0"),
    ]
    assert [part.name for part in found.commands] == ["work"]
    assert found.found == find([str(site)])
    assert (found.left_out, found.warnings) == ((), ())
    assert module not in sys.modules
    assert load_command(found.commands[0]) == 42


ROUTER = """\
from starlette.routing import Route, Router

router = Router([Route("/up", print)])
routes = [Route("/down", print)]
"""


def test_a_distribution_may_name_its_router(site):
    """A router, and a list of routes, become routes with the name and provenance of the entry point."""
    install(site, "shop", "[bandmaster.routes]\nhealth = MODULE:router\nmore = MODULE:routes\n", code=ROUTER)
    found = discover(path=[str(site)]).contributions
    assert [("health", "shop 1.0"), ("more", "shop 1.0")] == [(part.name, str(part.provenance)) for part in found]


def test_disabled_parts_are_not_imported(site):
    """A part that fails on import can be disabled."""
    module = install(site, "acme", LIFESPAN.format("audit"), code="raise RuntimeError\n")
    found = discover(path=[str(site)], disable={"audit"})
    assert found.contributions == ()
    assert [left.reason for left in found.left_out] == ["it is disabled"]
    assert module not in sys.modules


def test_distributions_outside_the_allowlist_are_not_imported(site):
    """A distribution outside of the allowlist isn't imported."""
    module = install(site, "acme", LIFESPAN.format("audit"), code="raise RuntimeError\n")
    install(site, "known", LIFESPAN.format("cache"))
    found = discover(path=[str(site)], mode="allowlist", allow={"known"})
    assert [part.name for part in found.contributions] == ["cache"]
    assert [left.found.name for left in found.left_out] == ["audit"]
    assert module not in sys.modules


def test_all_problems_at_once(site):
    """Bad files, bad entries, clashes and failed imports are reported together, with the first failure as cause."""
    install(site, "a", f"{LIFESPAN.format('first')}second = MODULE\n", code="raise KeyError('boom')\n")
    install(site, "b", LIFESPAN.format("third"), code="component = 1\n")
    install(site, "c", LIFESPAN.format("twice"))
    install(site, "d", LIFESPAN.format("twice"))
    (site / "e-1.0.dist-info").mkdir()
    (site / "e-1.0.dist-info" / "entry_points.txt").mkdir()
    problems, cause = problems_of(site)
    starts = ("It can't be told", "lifespan 'second'", "lifespan 'twice'", "lifespan 'first'", "lifespan 'third'")
    assert [problem.startswith(start) for problem, start in zip(problems, starts, strict=True)] == [True] * 5
    assert isinstance(cause, KeyError)


def test_the_first_failure_is_the_cause(site):
    """Of several failures, the first by group and name is chained."""
    install(site, "a", LIFESPAN.format("b"), code="raise KeyError\n")
    install(site, "b", LIFESPAN.format("a"), code="raise ValueError\n")
    problems, cause = problems_of(site)
    assert len(problems) == 2
    assert isinstance(cause, ValueError)


def test_groups(site):
    """Parts of other groups than those asked for aren't loaded and can't fail."""
    install(site, "acme", f"[bandmaster.routes]\nusers = MODULE:routes\n{LIFESPAN.format('a')}")
    install(site, "bad", f"{LIFESPAN.format('bad')}[bandmaster.commands]\nc = MODULE:c\n", code="raise RuntimeError\n")
    found = discover(path=[str(site)], groups=["routes", "bandmaster.commands"])
    assert [part.name for part in found.contributions] == ["users"]
    assert [part.name for part in found.found] == ["users", "c"]


@pytest.mark.requirement("P-18")
def test_an_unknown_group(site):
    """An unknown group is a wrong argument."""
    with pytest.raises(ValueError, match=r"groups: 'bandmaster\.lifespans' isn't one .* mean 'bandmaster\.lifespan'\?"):
        discover(path=[str(site)], groups=["lifespans"])


def test_warnings_come_along(site):
    """Warnings of the search and of the trust are returned to the caller."""
    install(site, "acme", "[bandmaster.lifespans]\na = MODULE:a\n")
    found = discover(path=[str(site)], disable={"audit", "mine"}, elsewhere=["mine"])
    assert found.warnings == (
        "acme 1.0 has 'a' in group 'bandmaster.lifespans', which nothing reads. Did you mean 'lifespan'?",
        "'audit' is disabled, but no part has that name.",
    )


@pytest.mark.parametrize("given", ["lock", "path", "default"])
def test_locked(site, given):
    """Parts that equal the lock are loaded; the lock is passed, named, or in the working directory."""
    install(site, "acme", LIFESPAN.format("audit"))
    lock = Lock.of(find([str(site)]))
    lock.write("bandmaster.lock")
    lock.write("other.lock")
    argument = {"lock": lock, "path": "other.lock", "default": None}[given]
    found = discover(path=[str(site)], mode="locked", lock=argument)
    assert [part.name for part in found.contributions] == ["audit"]


def test_locked_and_changed(site):
    """No part is imported if one differs from the lock."""
    modules = [install(site, "acme", LIFESPAN.format("audit"))]
    lock = Lock.of(find([str(site)]))
    modules.append(install(site, "evil", LIFESPAN.format("evil")))
    problems, _ = problems_of(site, mode="locked", lock=lock)
    assert len(problems) == 1
    assert "+ evil 1.0 is installed, but isn't in the lock" in problems[0]
    assert not sys.modules.keys() & {*modules}


def test_locked_without_a_lock(site):
    """A missing lock file is reported together with the other problems."""
    (site / "e-1.0.dist-info").mkdir()
    (site / "e-1.0.dist-info" / "entry_points.txt").mkdir()
    problems, cause = problems_of(site, mode="locked")
    assert problems[0].startswith("It can't be told")
    assert problems[1] == "There is no lock file bandmaster.lock. Make one with: bandmaster lock"
    assert isinstance(cause, FileNotFoundError)
