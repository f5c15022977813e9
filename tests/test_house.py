"""Rules that hold for every line of the kernel, the contribs and the examples."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("kernel", "contrib", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if ".venv" not in str(path)
)
ENVIRONMENT_READERS = {
    # Clears variables for tests; it reads none.
    "kernel/bandmaster/kernel/testing/pytest_plugin.py",
}


OWNERS_OF_TASKS = {
    # TaskIQ starts and stops a broker by two calls, which may come from two tasks: no task group can live in between.
    # What is created there is kept, awaited at the end, and its failures are told.
    "contrib/taskiq/bandmaster/contrib/taskiq/streams/intake.py",
    "contrib/taskiq/bandmaster/contrib/taskiq/streams/settling.py",
    "contrib/taskiq/bandmaster/contrib/taskiq/streams/working.py",
}


def _names(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno


def _uses(*names: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in SOURCES
        for name, line in _names(path)
        if name in names
    ]


def test_there_are_sources() -> None:
    """The rules below are held against something."""
    assert len(SOURCES) > 50


@pytest.mark.requirement("FA-8")
def test_background_work_has_an_owner() -> None:
    """No bare task is created anywhere: a task group, a supervised service or a worker thread owns it."""
    bare = _uses("create_task", "ensure_future", "spawn_system_task", "run_in_executor")
    assert [] == [place for place in bare if place.rpartition(":")[0] not in OWNERS_OF_TASKS]


@pytest.mark.requirement("FA-1")
def test_no_deprecated_events() -> None:
    """The lifespan protocol is the only way in which anything starts or stops."""
    assert [] == _uses("on_event", "add_event_handler")


@pytest.mark.requirement("FA-10", "XC-C1")
def test_settings_are_the_only_readers_of_the_environment() -> None:
    """Whatever can be set is a field of a settings model."""
    strangers = [place for place in _uses("environ", "getenv") if place.rpartition(":")[0] not in ENVIRONMENT_READERS]
    assert [] == strangers


@pytest.mark.requirement("CF-42")
def test_band_limits_stand_in_one_place() -> None:
    """Nobody else writes a band's limits as numbers."""
    limits = {number for band in range(0, 500, 100) for number in (band, band + 99)} - {0, 100}
    # 400 and 499 are also HTTP statuses, which is what the kernel uses them for.
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
        for path in SOURCES
        if path.name != "bands.py" and "kernel/bandmaster" in path.as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in limits - {200, 300, 400, 499}
    ]
    assert [] == found


@pytest.mark.requirement("CF-42")
def test_no_priority_is_a_number() -> None:
    """A component or a layer names its band, and derives the priority from the band or leaves it out."""
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{value.lineno}"
        for path in SOURCES
        for value in _find_priorities(ast.parse(path.read_text(encoding="utf-8")))
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
    """The rule above finds a number in each place where a priority can stand."""
    assert [True] == [_is_made_of_numbers(value) for value in _find_priorities(ast.parse(mutant))]


def _find_priorities(tree: ast.Module) -> Iterator[ast.expr]:
    """Every value that is given to something called ``priority``: an argument, a default, an attribute, a name."""
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
    """Whether an expression has numbers and operators alone, so that no band is in it."""
    operators = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    return all(
        isinstance(node, operators) or (isinstance(node, ast.Constant) and isinstance(node.value, int | float))
        for node in ast.walk(value)
    )
