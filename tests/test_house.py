"""Check rules that every source file of the kernel, the contribs and the examples keeps."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("kernel", "contrib", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if ".venv" not in str(path)
)
BANDS = "kernel/bandmaster/kernel/contributions/bands.py"
ENVIRONMENT_READERS = {
    # Lists the names of variables, to find those that no settings type reads.
    "kernel/bandmaster/kernel/settings/environment.py",
    # Clears variables for tests; it reads none.
    "kernel/bandmaster/kernel/testing/pytest_plugin.py",
    # NO_COLOR is a convention of terminals, and no setting.
    "kernel/bandmaster/kernel/process/console_logging.py",
}
OWNERS_OF_TASKS = {
    # A fixture of a test may be set up and torn down in two tasks. The file awaits its one task in the teardown.
    "kernel/bandmaster/kernel/testing/own_task.py",
    # TaskIQ starts and stops a broker by two calls, possibly from two tasks, and a task group can't span two tasks.
    # These files keep every task that they create, await it at the end, and report its failure.
    "contrib/taskiq/bandmaster/contrib/taskiq/streams/fetch_loop.py",
    "contrib/taskiq/bandmaster/contrib/taskiq/streams/acknowledgement.py",
    "contrib/taskiq/bandmaster/contrib/taskiq/streams/consumer.py",
}
PARTICIPLES = set(
    "apart both done found given gone heard held kept known left made met said seen sent shown taken through told "
    "where words".split()
)
"""Words that don't name the action of a function; so do all that end in "ed", apart from verbs."""
VERBS_IN_ED = {"embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "succeed"}


def test_there_are_sources() -> None:
    """The rules have files to check, in each of the three folders."""
    assert len(SOURCES) > 50
    assert {"kernel", "contrib", "examples"} == {path.relative_to(ROOT).parts[0] for path in SOURCES}


@pytest.mark.parametrize("path", [BANDS, *sorted(ENVIRONMENT_READERS | OWNERS_OF_TASKS)])
def test_an_exempt_file_exists(path: str) -> None:
    """A file that is exempt from a rule hasn't been moved: under its new name the rule would cover the file."""
    assert ROOT / path in SOURCES


@pytest.mark.requirement("FA-8")
def test_background_work_has_an_owner() -> None:
    """No file creates a bare task: a task group, a supervised service or a worker thread owns each task."""
    bare = _find_uses("create_task", "ensure_future", "spawn_system_task", "run_in_executor")
    assert [] == [place for place in bare if place.rpartition(":")[0] not in OWNERS_OF_TASKS]


@pytest.mark.requirement("FA-1")
def test_no_deprecated_events() -> None:
    """No file uses Starlette's deprecated start and stop events instead of the lifespan protocol."""
    assert [] == _find_uses("on_event", "add_event_handler")


@pytest.mark.requirement("FA-10", "XC-C1")
def test_settings_are_the_only_readers_of_the_environment() -> None:
    """Every variable is a field of a settings model: no other code reads the environment."""
    readers = _find_uses("environ", "getenv")
    assert [] == [place for place in readers if place.rpartition(":")[0] not in ENVIRONMENT_READERS]


@pytest.mark.requirement("CF-42")
def test_band_limits_stand_in_one_place() -> None:
    """No file of the kernel but bands.py has a limit of a band as a number."""
    limits = {number for band in range(0, 500, 100) for number in (band, band + 99)} - {0, 100}
    # These are also HTTP statuses, and the kernel uses them as such.
    limits -= {200, 300, 400, 499}
    found = [
        _render_place(path, node.lineno)
        for path in SOURCES
        if path.is_relative_to(ROOT / "kernel") and path != ROOT / BANDS
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in limits
    ]
    assert [] == found


@pytest.mark.requirement("CF-42")
def test_no_priority_is_a_number() -> None:
    """A component or a layer derives a priority from the band, or declares none."""
    found = [
        _render_place(path, value.lineno)
        for path in SOURCES
        for value in _find_priorities(_parse(path))
        if _is_made_of_numbers(value)
    ]
    assert [] == found


@pytest.mark.requirement("CF-42")
@pytest.mark.parametrize(
    "mutant",
    [
        'middleware(band=MiddlewareBand.OUTERMOST, priority=30, name="cors")',
        "MiddlewareContribution(layer=Layer, priority=100 + 50)",
        "def decorate(*, priority: int = 150): ...",
        "class Part:\n    priority: int = -1",
        "priority = 150",
    ],
)
def test_a_priority_that_is_a_number_is_found(mutant: str) -> None:
    """The rule for priorities finds a number in each place where a priority can stand."""
    assert [True] == [_is_made_of_numbers(value) for value in _find_priorities(ast.parse(mutant))]


def test_no_file_has_banner_comments() -> None:
    """A file that needs banner comments is divided into two files instead."""
    found = [
        _render_place(path, number)
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.match(r"\s*#\s*[-=]{2,}", line)
    ]
    assert [] == found


def test_the_names_of_helpers_begin_with_a_verb() -> None:
    """No private function is named by a bare participle, such as ``_said``."""
    found = [
        f"{_render_place(path, line)} {name}" for path in SOURCES for name, line in _find_participles(_parse(path))
    ]
    assert [] == found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def _told(): ...", ["_told"]),
        ("class Part:\n    async def _settled(self): ...", ["_settled"]),
        ("def _render_words(): ...\ndef _feed(): ...\ndef told(): ...", []),
        ("class Part:\n    @property\n    def _closed(self): ...", []),
    ],
)
def test_a_bare_participle_is_found(source: str, expected: list[str]) -> None:
    """The rule for names finds functions and methods, but neither verbs nor properties."""
    assert expected == [name for name, _ in _find_participles(ast.parse(source))]


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _render_place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def _find_uses(*names: str) -> list[str]:
    """Find the places where one of the names stands, alone or as an attribute."""
    return [
        _render_place(path, node.lineno)
        for path in SOURCES
        for node in ast.walk(_parse(path))
        if (isinstance(node, ast.Attribute) and node.attr in names) or (isinstance(node, ast.Name) and node.id in names)
    ]


def _find_participles(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Find the private functions with a participle for a name, and their lines. A property may have one."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("_"):
            continue
        word = node.name.strip("_")
        decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        is_participle = word in PARTICIPLES or (re.fullmatch("[a-z]+ed", word) and word not in VERBS_IN_ED)
        if is_participle and not decorators & {"property", "cached_property"}:
            yield node.name, node.lineno


def _find_priorities(tree: ast.Module) -> Iterator[ast.expr]:
    """Find the values of arguments, defaults, attributes and names that are called ``priority``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "priority":
            yield node.value
        elif isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            pairs = [
                *zip(reversed(positional), reversed(node.defaults), strict=False),
                *zip(node.kwonlyargs, node.kw_defaults, strict=True),
            ]
            yield from (default for argument, default in pairs if argument.arg == "priority" and default is not None)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any("priority" in (getattr(target, "id", None), getattr(target, "attr", None)) for target in targets):
                yield node.value


def _is_made_of_numbers(value: ast.expr) -> bool:
    """Whether an expression consists of numbers and operators alone, without a band."""
    operators = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    return all(
        isinstance(node, operators) or (isinstance(node, ast.Constant) and isinstance(node.value, int | float))
        for node in ast.walk(value)
    )
