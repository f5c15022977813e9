"""Tests of bandmaster.kernel.lazy."""

import ast
import importlib
import sys
import types
from pathlib import Path

import pytest

from bandmaster.kernel.lazy import export_lazily

ROOT = Path(__file__).parents[2]
PACKAGES = {
    ".".join(path.parent.parts[path.parts.index("bandmaster") :]): path
    for folder in ("kernel", "contrib")
    for path in sorted((ROOT / folder).rglob("bandmaster/**/__init__.py"))
    if "\nexport_lazily(" in path.read_text()
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two modules, one of which can't be imported."""
    folder = tmp_path / "lazily"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from bandmaster.kernel.lazy import export_lazily\n"
        "export_lazily(__name__, {'stock': ['Stock', 'count'], 'broken': ['other']})\n"
    )
    (folder / "stock.py").write_text("class Stock: ...\ncount = object()\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("lazily")
    for name in [name for name in sys.modules if name.partition(".")[0] == "lazily"]:
        del sys.modules[name]


def test_a_name_is_imported_when_it_is_first_used(package):
    """The name's module, and no other, is imported then; afterwards the name is a plain attribute."""
    assert "lazily.stock" not in sys.modules
    stock = package.Stock
    assert stock is sys.modules["lazily.stock"].Stock is vars(package)["Stock"]
    assert "lazily.broken" not in sys.modules
    with pytest.raises(RuntimeError, match=r"^imported$"):
        package.other


def test_names_are_listed_before_they_are_imported(package):
    """``__all__`` and ``dir`` name everything, in order."""
    assert ["Stock", "count", "other"] == package.__all__
    assert {"Stock", "count", "other", "__name__"} < set(dir(package))
    assert sorted(dir(package)) == dir(package)
    assert "lazily.stock" not in sys.modules


def test_a_name_that_a_package_does_not_have(package):
    """Unknown names raise as for any module; modules inside the package can still be imported."""
    with pytest.raises(AttributeError, match=r"^module 'lazily' has no attribute 'nothing'$"):
        package.nothing
    with pytest.raises(ImportError):
        exec("from lazily import nothing")
    exec("from lazily import stock")
    assert isinstance(package.stock, types.ModuleType)


def test_a_name_may_come_from_beside_the_package(monkeypatch):
    """A module that begins with a dot is looked for beside the package."""
    inner = types.ModuleType("bandmaster.kernel.planning.inner")
    monkeypatch.setitem(sys.modules, inner.__name__, inner)
    export_lazily(inner.__name__, {".plan": ["Plan"]})
    assert "bandmaster.kernel.planning.plan" == inner.Plan.__module__


def read_table(tree):
    """The names of a package's one table, each with a module."""
    (call,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") == "export_lazily"
    ]
    return [(name, home) for home, names in ast.literal_eval(call.args[1]).items() for name in names]


def read_imports(tree, package):
    """The names that type checkers see, each with a module relative to the package."""
    checking = [node.body for node in tree.body if isinstance(node, ast.If)]
    nodes = [node for body in (tree.body, *checking) for node in body if isinstance(node, ast.ImportFrom)]
    parent = package.rpartition(".")[0]
    for node in nodes:
        for alias in node.names:
            if alias.asname is not None:
                assert alias.asname == alias.name
                inside = node.module.startswith(f"{package}.")
                yield alias.name, node.module.removeprefix(f"{package}." if inside else parent)


def test_packages_are_found():
    """The tests below look at all packages that export lazily."""
    assert {"bandmaster.kernel", "bandmaster.kernel.planning", "bandmaster.kernel.testing"} <= PACKAGES.keys()


@pytest.mark.requirement("XC-C3", "CF-24")
@pytest.mark.parametrize("package", PACKAGES)
def test_checkers_see_what_is_exported(package):
    """The names that type checkers see are those of the table, each once and from the same module."""
    tree = ast.parse(PACKAGES[package].read_text())
    table = read_table(tree)
    assert sorted(table) == sorted(read_imports(tree, package))
    assert sorted(name for name, _ in table) == importlib.import_module(package).__all__


@pytest.mark.requirement("XC-C3", "CF-24")
@pytest.mark.parametrize(
    ("package", "name", "home"),
    [
        (package, name, home)
        for package, path in PACKAGES.items()
        for name, home in read_table(ast.parse(path.read_text()))
    ],
)
def test_every_name_can_be_imported(package, name, home):
    """A name gives the documented object of the module in the table, and the same each time."""
    module = importlib.import_module(package)
    value = getattr(module, name)
    assert value is getattr(importlib.import_module(f".{home}", package), name)
    assert value.__doc__
    assert value is vars(module)[name]
